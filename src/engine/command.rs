//! Commands of an administrator: words in, lines of text out, the same for every host.

use super::context::{Context, Handled, ServiceRef, Stop};
use super::decision::Decision;
use crate::error::{Error, ErrorKind};
use crate::jid::{BareJid, Jid};

/// Every command with its arguments and meaning.
const COMMANDS: &[(&str, &str)] = &[
    ("help", "this list"),
    ("list-nodes SERVICE", "nodes with items and subscribers"),
    ("delete-node SERVICE NODE", "deletes a node and tells its subscribers"),
    ("list-subscriptions SERVICE NODE", "who is subscribed, and how"),
    ("list-pam ACCOUNT", "the account's list of subscriptions (XEP-0376)"),
    ("list-public ACCOUNT", "what the account is publicly subscribed to (XEP-0465)"),
];

fn wrong(text: impl Into<String>) -> Stop {
    Stop::Failed(Error::new(ErrorKind::InvalidArgument, text.into()))
}

fn service(context: &Context<'_>, jid: Option<&str>) -> Handled<ServiceRef> {
    let jid = BareJid::parse(jid.ok_or_else(|| wrong("the service is missing"))?)?;
    context.service_at(&jid).ok_or_else(|| wrong(format!("{jid} is not served here")))
}

/// Runs a command and replies with its lines.
pub(crate) fn run(context: &mut Context<'_>, text: &str) -> Handled<()> {
    let mut words = text.splitn(3, ' ');
    let (command, first, second) = (words.next().unwrap_or(""), words.next(), words.next());
    let mut lines = Vec::new();
    match command {
        "help" => lines.extend(COMMANDS.iter().map(|(usage, meaning)| format!("{usage}\t{meaning}"))),
        "list-nodes" => {
            let service = service(context, first)?;
            if let Some(row) = context.stored_service(&service)? {
                context.flush()?;
                for node in context.store().nodes(row.key, None, usize::MAX)? {
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
            let name = second.ok_or_else(|| wrong("the node is missing"))?;
            let node =
                context.node(&service, name)?.ok_or_else(|| wrong(format!("{name} is no node of {}", service.jid)))?;
            let actor = Jid::Bare(service.jid.clone());
            context.delete_node(&service, &node, None, &actor)?;
            lines.push(format!("deleted {name}"));
        }
        "list-subscriptions" => {
            let service = service(context, first)?;
            let name = second.ok_or_else(|| wrong("the node is missing"))?;
            let node =
                context.node(&service, name)?.ok_or_else(|| wrong(format!("{name} is no node of {}", service.jid)))?;
            for subscription in context.store().subscriptions(node.key, None, usize::MAX)? {
                let public = if subscription.wants_public { "public" } else { "private" };
                lines.push(format!("{}\t{}\t{public}", subscription.jid, subscription.state.as_str()));
            }
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
        _ => return Err(wrong(format!("there is no command \"{}\"; try help", command.escape_default()))),
    }
    context.out.push(Decision::Reply(lines.join("\n")));
    Ok(())
}
