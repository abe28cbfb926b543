//! Commands of an administrator: words in, lines of text out, the same for every host.
//!
//! The words are separated by tabs or, where there is no tab, by blanks; then only the last one may contain blanks. The parts
//! of a line are separated by tabs. A command that makes no sense is answered with one line `error: WHY`.

use super::context::{Context, Handled, ServiceRef, Stop};
use super::decision::Decision;
use super::dispatch;
use super::input::InputKind;
use super::subscriptions::Ending;
use crate::error::{Error, ErrorKind};
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::Node;
use crate::pubsub::store::Maintenance;
use crate::xep::Reply;
use crate::xml::Document;

/// Every command with its arguments and meaning.
const COMMANDS: &[(&str, &str)] = &[
    ("help", "this list"),
    ("list-nodes SERVICE", "nodes with items and subscribers"),
    ("delete-node SERVICE NODE", "deletes a node and tells its subscribers"),
    ("publish SERVICE NODE PAYLOAD", "publishes an item as the service itself"),
    ("list-subscriptions SERVICE NODE", "who is subscribed, and how"),
    ("end-subscription SERVICE NODE JID", "ends the subscriptions of a literal JID and tells it"),
    ("list-pam ACCOUNT", "the account's list of subscriptions (XEP-0376)"),
    ("list-public ACCOUNT", "what the account is publicly subscribed to (XEP-0465)"),
    ("list-public-subscribers SERVICE NODE", "who is publicly subscribed to the node (XEP-0465)"),
    ("integrity-check", "looks for damage in the database; takes a while, and others wait"),
    ("vacuum", "gives the room of what was deleted back to the disk; takes a while, and others wait"),
];

/// What a command does with the store as a whole, outside of transactions.
pub(crate) fn maintenance(input: &InputKind) -> Option<Maintenance> {
    match input {
        InputKind::Command(text) => match text.trim_end() {
            "integrity-check" => Some(Maintenance::IntegrityCheck),
            "vacuum" => Some(Maintenance::Vacuum),
            _ => None,
        },
        _ => None,
    }
}

/// What is replied to a command that failed.
pub(crate) fn failure(error: &Error) -> Decision {
    Decision::Reply(format!("error: {}", error.to_string().replace('\n', " ")))
}

fn wrong(text: impl Into<String>) -> Stop {
    Stop::Failed(Error::new(ErrorKind::InvalidArgument, text.into()))
}

fn service(context: &Context<'_>, jid: Option<&str>) -> Handled<ServiceRef> {
    let jid = BareJid::parse(jid.ok_or_else(|| wrong("the service is missing"))?)?;
    context.service_at(&jid).ok_or_else(|| wrong(format!("{jid} is not served here")))
}

fn existing(context: &mut Context<'_>, service: &ServiceRef, name: Option<&str>) -> Handled<Node> {
    let name = name.ok_or_else(|| wrong("the node is missing"))?;
    context.node(service, name)?.ok_or_else(|| wrong(format!("{name} is no node of {}", service.jid)))
}

/// Publishes as the service itself; the id of the item.
fn publish(context: &mut Context<'_>, service: &ServiceRef, node: &str, payload: &str) -> Handled<String> {
    let reply = dispatch::publish(context, service, node, None, payload)?;
    let Reply::Result(answer) = reply else { return Err(wrong("the service does not take it")) };
    let limits = context.memory.settings.limits;
    let answer = Document::parse(&answer, &limits)?;
    let item = answer.root().child("publish", ns::PUBSUB).and_then(|publish| publish.child("item", ns::PUBSUB));
    Ok(format!("published {}", item.and_then(|item| item.attr("id")).unwrap_or("")))
}

/// Runs a command and replies with its lines.
pub(crate) fn run(context: &mut Context<'_>, text: &str) -> Handled<()> {
    match lines(context, text) {
        Ok(lines) => context.out.push(Decision::Reply(lines.join("\n"))),
        Err(Stop::Failed(error)) if matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Jid) => {
            context.out.push(failure(&error));
        }
        Err(stop) => return Err(stop),
    }
    Ok(())
}

fn lines(context: &mut Context<'_>, text: &str) -> Handled<Vec<String>> {
    let command = text.split(['\t', ' ']).next().unwrap_or("");
    let count = COMMANDS.iter().find(|(usage, _)| usage.split(' ').next() == Some(command));
    let count = count.map_or(1, |(usage, _)| usage.split(' ').count());
    let words: Vec<&str> =
        if text.contains('\t') { text.split('\t').collect() } else { text.splitn(count, ' ').collect() };
    if words.len() > count {
        return Err(wrong("there are more words than the command takes"));
    }
    let word = |place: usize| words.get(place).copied().filter(|word| !word.is_empty());
    let (first, second) = (word(1), word(2));
    let mut lines = Vec::new();
    match command {
        "help" => lines.extend(COMMANDS.iter().map(|(usage, meaning)| format!("{usage}\t{meaning}"))),
        "list-nodes" => {
            let service = service(context, first)?;
            if context.stored_service(&service)?.is_some() {
                context.flush()?;
                for node in context.nodes(&service, None, usize::MAX)? {
                    let (name, counters) = (&node.name, node.counters);
                    let access = node.config.access_model.as_str();
                    lines.push(format!(
                        "{name}\t{access}\t{} items\t{} subscribers",
                        counters.items, counters.subscribers
                    ));
                }
            }
        }
        "delete-node" => {
            let service = service(context, first)?;
            let node = existing(context, &service, second)?;
            let actor = Jid::Bare(service.jid.clone());
            context.delete_node(&service, &node, None, &actor)?;
            lines.push(format!("deleted {}", node.name));
        }
        "publish" => {
            let service = service(context, first)?;
            let (node, payload) = second.zip(word(3)).ok_or_else(|| wrong("node or payload is missing"))?;
            lines.push(publish(context, &service, node, payload)?);
        }
        "list-subscriptions" => {
            let service = service(context, first)?;
            let node = existing(context, &service, second)?;
            for subscription in context.store().subscriptions(node.key, None, usize::MAX)? {
                let public = if subscription.wants_public { "public" } else { "private" };
                lines.push(format!("{}\t{}\t{public}", subscription.jid, subscription.state.as_str()));
            }
        }
        "end-subscription" => {
            let service = service(context, first)?;
            let node = existing(context, &service, second)?;
            let jid = Jid::parse(word(3).ok_or_else(|| wrong("the JID is missing"))?)?;
            let known = context.store().subscriptions_to(node.key, jid.bare_str())?;
            let known: Vec<_> = known.into_iter().filter(|subscription| subscription.jid == jid).collect();
            if known.is_empty() {
                return Err(wrong(format!("{jid} is not subscribed to {}", node.name)));
            }
            for subscription in &known {
                context.end_subscription(&service, &node, subscription, Ending::Told)?;
            }
            lines.push(format!("ended {} of {jid}", known.len()));
        }
        "list-pam" => {
            let account = service(context, first)?;
            for entry in context.store().pam_entries(account.jid.as_str())? {
                lines.push(format!("{}\t{}\t{}", entry.service, entry.node_name, entry.state.as_str()));
            }
            for place in context.store().subscriptions_of(account.jid.as_str(), None)? {
                lines.push(format!("{}\t{}\t{}", place.service, place.node_name, place.subscription.state.as_str()));
            }
        }
        "list-public" => {
            let account = service(context, first)?;
            let place = crate::pubsub::store::Place::First;
            for entry in context.store().public_subscriptions(account.jid.as_str(), place, u64::from(u32::MAX))?.rows {
                lines.push(format!("{}\t{}\tsince {}", entry.jid, entry.node_name, entry.since));
            }
        }
        "list-public-subscribers" => {
            let service = service(context, first)?;
            let node = existing(context, &service, second)?;
            let place = crate::pubsub::store::Place::First;
            for entry in context.store().public_subscribers(node.key, place, u64::from(u32::MAX))?.rows {
                lines.push(format!("{}\tsince {}", entry.jid, entry.since));
            }
        }
        _ => return Err(wrong(format!("there is no command \"{}\"; try help", command.escape_default()))),
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use crate::{Config, Decision, Engine, Input, InputKind, ServiceKind, Timestamp};

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn engine() -> Engine {
        let engine = Engine::open(&Config::new()).expect("memory");
        let mut options = Config::new();
        options.set("create_nodes", "anyone").expect("an option");
        engine.serve("pubsub.localhost", ServiceKind::Component, &options).expect("a component");
        engine
    }

    fn ask(engine: &Engine, from: &str, content: &str) {
        let stanza = format!(
            "<iq type='set' id='1' from='{from}' to='pubsub.localhost'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             {content}</pubsub></iq>"
        );
        let outcome = engine.handle(NOW, &Input::stanza(stanza)).expect("it makes sense");
        assert!(format!("{outcome:?}").contains("type='result'"), "{outcome:?}");
    }

    fn run(engine: &Engine, command: &str) -> (String, usize) {
        let outcome = engine.handle(NOW, &Input::new(InputKind::Command(command.to_owned()))).expect("an answer");
        let reply = outcome.decisions.iter().find_map(|decision| match decision {
            Decision::Reply(text) => Some(text.clone()),
            _ => None,
        });
        (reply.expect("a reply"), outcome.decisions.len())
    }

    #[test]
    fn lists_and_ends() {
        let engine = engine();
        ask(&engine, "juliet@a.example/x", "<create node='two words'/>");
        for jid in ["romeo@b.example", "romeo@b.example/orchard"] {
            let public = "<public xmlns='urn:xmpp:pps:0'/>";
            let content = format!("<subscribe node='two words' jid='{jid}'>{public}</subscribe>");
            ask(&engine, "romeo@b.example/orchard", &content);
        }
        let said = |command: &str| run(&engine, command).0;
        assert_eq!(said("list-nodes pubsub.localhost"), "two words\topen\t0 items\t2 subscribers");
        let both = "romeo@b.example\tsubscribed\tpublic\nromeo@b.example/orchard\tsubscribed\tpublic";
        assert_eq!(said("list-subscriptions pubsub.localhost two words"), both);
        assert_eq!(said("list-subscriptions\tpubsub.localhost\ttwo words"), both);
        let shown = said("list-public-subscribers pubsub.localhost two words");
        assert_eq!(shown, "romeo@b.example\tsince 2023-11-14T22:13:20Z");
        let (reply, decisions) = run(&engine, "end-subscription\tpubsub.localhost\ttwo words\tromeo@b.example/orchard");
        assert_eq!((&*reply, decisions), ("ended 1 of romeo@b.example/orchard", 2), "the subscriber is told");
        assert_eq!(said("list-subscriptions pubsub.localhost two words"), "romeo@b.example\tsubscribed\tpublic");
        assert_eq!(said("delete-node pubsub.localhost two words"), "deleted two words");
        assert_eq!(said("list-nodes pubsub.localhost"), "");
        assert_eq!(said("integrity-check"), "ok");
        assert_eq!(said("vacuum"), "ok");
        let known = said("help");
        assert!(known.lines().all(|line| line.contains('\t')) && known.contains("end-subscription SERVICE NODE JID\t"));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let engine = engine();
        ask(&engine, "juliet@a.example/x", "<create node='n'/>");
        for (command, why) in [
            ("", "there is no command"),
            ("list-nods pubsub.localhost", "there is no command \"list-nods\""),
            ("list-nodes", "the service is missing"),
            ("list-nodes elsewhere.example", "is not served here"),
            ("list-nodes a@b@c", "JID"),
            ("list-nodes\tpubsub.localhost\tmore", "more words"),
            ("list-subscriptions pubsub.localhost", "the node is missing"),
            ("delete-node pubsub.localhost m", "m is no node of pubsub.localhost"),
            ("end-subscription pubsub.localhost n", "the JID is missing"),
            ("end-subscription pubsub.localhost n a@b.example", "is not subscribed"),
        ] {
            let (reply, _) = run(&engine, command);
            assert!(reply.starts_with("error: ") && reply.contains(why), "{command}: {reply}");
        }
    }
}
