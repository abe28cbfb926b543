//! Taking over the data of the module that was there before: one document per service, all of it or nothing.

use std::sync::Arc;

use super::context::{Context, Handled, Stop};
use super::decision::Decision;
use crate::error::{Error, ErrorKind};
use crate::forms::Form;
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::config::Limit;
use crate::pubsub::policy::Kind;
use crate::pubsub::store::{NewSubscription, ServiceKey};
use crate::pubsub::{Affiliation, Item, ItemId, Policy, SubId, SubscriptionOptions, SubscriptionState};
use crate::time::Timestamp;
use crate::xep::options::{Offered, read_options};
use crate::xml::{Document, Element, Limits, Writer};

#[derive(Debug, Default)]
struct Counts {
    nodes: i64,
    items: i64,
    subscriptions: i64,
    bytes: i64,
}

/// Old data is one's own: it may be as large as it is.
const LIMITS: Limits =
    Limits { bytes: u32::MAX as usize - 2, depth: 128, attributes: 256, children: u32::MAX as usize };

fn wrong(text: impl Into<String>) -> Stop {
    Stop::Failed(Error::new(ErrorKind::InvalidArgument, text.into()))
}

/// Imports a document and replies with what was taken over.
pub(crate) fn run(context: &mut Context<'_>, xml: &str) -> Handled<()> {
    let document = Document::parse(xml, &LIMITS)?;
    let root = document.root();
    if !root.is("import", ns::IMPORT) {
        return Err(wrong("not an import document"));
    }
    let jid = BareJid::parse(root.attr("service").ok_or_else(|| wrong("the service is not named"))?)?;
    let service = context.service_at(&jid).ok_or_else(|| wrong(format!("{jid} is not served here")))?;
    let found = context.store().service(&service.name)?;
    if found.as_ref().is_some_and(|row| row.imported || row.nodes > 0) {
        return Err(wrong(format!("{jid} has data already")));
    }
    let mut row = match found {
        Some(row) => row,
        None => context.change().insert_service(&service.name)?,
    };
    let mut counts = Counts::default();
    let account = service.host.policy.kind == Kind::Account;
    for node in root.children().filter(|child| child.is("node", ns::IMPORT)) {
        import_node(context, row.key, account.then_some(&jid), service.policy(), node, &mut counts)?;
    }
    row.imported = true;
    row.nodes = counts.nodes;
    row.bytes = counts.bytes;
    context.change().update_service(&row)?;
    context.memory.cache.remove_service(&service.name);
    let mut writer = Writer::new();
    writer.start("imported").attr("nodes", &counts.nodes.to_string());
    writer.attr("items", &counts.items.to_string()).attr("subscriptions", &counts.subscriptions.to_string());
    context.out.push(Decision::Reply(writer.finish()));
    Ok(())
}

fn import_node(
    context: &mut Context<'_>,
    service: ServiceKey,
    account: Option<&BareJid>,
    policy: &Policy,
    node: Element<'_>,
    counts: &mut Counts,
) -> Handled<()> {
    let name = node.attr("name").filter(|name| !name.is_empty()).ok_or_else(|| wrong("a node has no name"))?;
    let mut config = policy.defaults_for(name);
    if let Some(x) = node.child("x", ns::DATA_FORMS) {
        let form = Form::read(x).map_err(|_| wrong(format!("node {name}: the configuration cannot be read")))?;
        for (var, values) in form.fields() {
            // What the old module knew and this one does not is left behind; the log of the host says what was read.
            let _ = config.set(var, &values);
        }
    }
    let now = context.now;
    let owner = node.children().find(|c| c.name() == "affiliation" && c.attr("affiliation") == Some("owner"));
    let owner = owner.and_then(|owner| owner.attr("jid")).and_then(|jid| Jid::parse(jid).ok()).map(|jid| jid.to_bare());
    let creator = account.cloned().or(owner).map_or_else(String::new, |jid| jid.as_str().to_owned());
    let config = Arc::new(config);
    let made = context.change().insert_node(service, name, &creator, now, &config)?;
    let mut counters = made.counters;
    let mut oldest = None;
    for child in node.children().filter(|child| child.ns() == ns::IMPORT) {
        match child.name() {
            "affiliation" => {
                let jid = child.attr("jid").and_then(|jid| Jid::parse(jid).ok());
                let affiliation = child.attr("affiliation").and_then(Affiliation::parse);
                if let (Some(jid), Some(affiliation)) = (jid, affiliation)
                    && account.is_none_or(|account| *account != jid.to_bare())
                {
                    context.change().set_affiliation(made.key, jid.bare_str(), affiliation)?;
                }
            }
            "subscription" => {
                let Some(jid) = child.attr("jid").and_then(|jid| Jid::parse(jid).ok()) else { continue };
                let state = child.attr("subscription").and_then(SubscriptionState::parse);
                let state = state.unwrap_or(SubscriptionState::Subscribed);
                let mut options = SubscriptionOptions::default();
                let offered = Offered { bodies: account.is_none(), roomnick: None };
                if let Some(Ok(form)) = child.child("x", ns::DATA_FORMS).map(Form::read)
                    && let Ok((read, _)) = read_options(&options, &form, now, offered)
                {
                    options = read;
                }
                let known = context.store().subscriptions_to(made.key, jid.bare_str())?;
                if state == SubscriptionState::None || known.iter().any(|subscription| subscription.jid == jid) {
                    continue;
                }
                let subid = SubId::from(context.memory.ids.random());
                let new = NewSubscription {
                    node: made.key,
                    jid: &jid,
                    subid: &subid,
                    state,
                    wants_public: false,
                    options: &options,
                    created: now,
                };
                context.change().insert_subscription(&new)?;
                counters.subscribers += i64::from(state == SubscriptionState::Subscribed);
                counts.subscriptions += 1;
            }
            "item" => {
                let id = child.attr("id").filter(|id| !id.is_empty());
                let id = id.ok_or_else(|| wrong(format!("node {name}: an item has no id")))?;
                let payload: Arc<str> = child.only_child().map_or_else(String::new, |p| p.to_standalone()).into();
                let removed = context.change().delete_item(made.key, id)?;
                counters.items -= removed.items;
                counts.items -= removed.items;
                counts.bytes -= removed.bytes;
                let item = Item {
                    seq: counters.next_seq,
                    id: ItemId::from(id),
                    publisher: child.attr("publisher").unwrap_or(&creator).into(),
                    published: child.attr("published").and_then(Timestamp::parse).unwrap_or(now),
                    payload,
                };
                context.change().insert_item(made.key, &item)?;
                oldest = Some(oldest.map_or(item.published, |oldest: Timestamp| oldest.min(item.published)));
                counters.next_seq += 1;
                counters.items += 1;
                counts.items += 1;
                counts.bytes += item.payload.len() as i64;
            }
            _ => {}
        }
    }
    if let (Limit::Of(seconds @ 1..), Some(oldest)) = (config.item_expire, oldest) {
        let due = oldest.plus_seconds(i64::from(seconds));
        counters.sweep_at = Some(due);
        context.wake_at(due);
    }
    context.change().update_node_counters(made.key, &counters)?;
    counts.nodes += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{Config, Decision, Engine, Input, InputKind, Outcome, ServiceKind, Timestamp};

    fn reply(outcome: &Outcome) -> &str {
        let texts = outcome.decisions.iter().find_map(|decision| match decision {
            Decision::Reply(text) | Decision::Route { stanza: text } => Some(text),
            _ => None,
        });
        texts.expect("an answer")
    }

    #[test]
    fn what_expires_does_so_by_itself() {
        let engine = Engine::open(&Config::new()).expect("memory");
        engine.serve("pubsub.localhost", ServiceKind::Component, &Config::new()).expect("a component");
        let now = Timestamp::parse("2026-01-01T00:00:10Z").expect("a time");
        let field = "<field var='pubsub#item_expire'><value>60</value></field>";
        let item = |id: &str, second: u8| {
            format!("<item id='{id}' published='2026-01-01T00:00:0{second}Z'><x xmlns='urn:x'/></item>")
        };
        let document = format!(
            "<import xmlns='urn:pam_pps:import:1' service='pubsub.localhost'><node name='n'><x xmlns='jabber:x:data' \
             type='submit'>{field}</x>{}{}</node></import>",
            item("younger", 5),
            item("older", 0)
        );
        let outcome = engine.handle(now, &Input::new(InputKind::Import(document))).expect("it is taken over");
        assert!(reply(&outcome).contains("items='2'"), "{outcome:?}");
        let due = Timestamp::parse("2026-01-01T00:01:00Z").expect("a time");
        assert!(outcome.decisions.contains(&Decision::Wake(due)), "{outcome:?}");
        engine.handle(due.plus_seconds(1), &Input::tick()).expect("time passes");
        // Asked with the clock of before: what is gone has been removed, and is not only hidden.
        let nodes = Input::new(InputKind::Command("list-nodes pubsub.localhost".to_owned()));
        let outcome = engine.handle(now, &nodes).expect("it makes sense");
        assert!(reply(&outcome).contains("1 items"), "{outcome:?}");
    }
}
