//! Events that services send to an account: what they change in its list, and who of its devices gets them.
//!
//! As long as no device has set a filter and there is no journal, the host delivers them. Otherwise each available
//! device gets its copy from here. An event about something that is not listed is always the host's.

use super::{Change, SubscriptionState};
use super::{bump, journal, notify};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::jid::{BareJid, FullJid, Jid};
use crate::ns;
use crate::pubsub::store::{AutoSubscription, PamEntry};
use crate::stanza::Stanza;
use crate::xml::{Element, Writer};

fn event_of<'d>(stanza: &Stanza<'d>) -> Option<Element<'d>> {
    stanza.element.child("event", ns::PUBSUB_EVENT)
}

/// An event for the account; true if the host has nothing left to do with it.
pub(super) fn for_account(context: &mut Context<'_>, stanza: &Stanza<'_>, account: &ServiceRef) -> Handled<bool> {
    let Some(event) = event_of(stanza) else { return Ok(false) };
    let host = &account.host;
    let filtered = context.memory.presences.has_filters(account.jid.as_str());
    let looks = filtered || host.journal.is_some() || host.auto_subscribe.is_some();
    let listed = if looks { find_listed(context, account, &stanza.from, event)? } else { None };
    let needless = match &listed {
        Some(listed) if listed.auto => came_by_presence(context, stanza, account)?,
        _ => false,
    };
    follow(context, &account.jid, &stanza.from, event)?;
    let Some(listed) = listed.filter(|listed| listed.auto || filtered || host.journal.is_some()) else {
        return Ok(false);
    };
    let (there, seen) = if needless { (true, true) } else { deliver(context, stanza, account, listed) };
    journal::keep(context, account, stanza, listed.node, journal::Came { to_device: false, seen })?;
    // With nobody there, the host forgets headlines and stores the others: so a device that comes this very moment
    // does not get what was written down as unseen. And nobody waits for what was not asked for.
    let forgotten = host.journal.is_some() && stanza.r#type == "headline";
    Ok(there || forgotten || listed.auto)
}

/// An event for one device, which gets it in any case. A service that knows the presence of the owner's devices tells
/// them, not the account (XEP-0163, section 4.3.2).
pub(super) fn for_device(
    context: &mut Context<'_>,
    stanza: &Stanza<'_>,
    account: &ServiceRef,
    device: &FullJid,
) -> Handled<()> {
    let Some(event) = event_of(stanza) else { return Ok(()) };
    let keeps = account.host.journal.is_some();
    let listed = if keeps { find_listed(context, account, &stanza.from, event)? } else { None };
    follow(context, &account.jid, &stanza.from, event)?;
    let Some(listed) = listed else { return Ok(()) };
    let seen = context.memory.presences.resource(&account.name, device).is_some();
    journal::keep(context, account, stanza, listed.node, journal::Came { to_device: true, seen })
}

/// A subscription of the account, as far as an event is concerned.
#[derive(Debug, Clone, Copy)]
struct Listed<'d> {
    node: &'d str,
    /// Whether the account made it by itself: then events are for the devices that ask for the node.
    auto: bool,
}

/// The subscription that an event is for.
fn find_listed<'d>(
    context: &mut Context<'_>,
    account: &ServiceRef,
    from: &Jid,
    event: Element<'d>,
) -> Handled<Option<Listed<'d>>> {
    let Some(node) = event.children().find_map(|child| child.attr("node")) else { return Ok(None) };
    let jid = account.jid.as_str();
    if context.store().auto_subscription(jid, from.as_str(), node)?.is_some() {
        return Ok(Some(Listed { node, auto: true }));
    }
    let found = match context.service_at(&from.to_bare()) {
        None => !context.store().pam_entries_for(jid, from.as_str(), node)?.is_empty(),
        Some(service) => match context.node(&service, node)? {
            Some(node) => context.store().subscriptions_to(node.key, jid)?.iter().any(|s| s.jid.as_str() == jid),
            None => false,
        },
    };
    Ok(found.then_some(Listed { node, auto: false }))
}

/// Whether that is the last item of a node whose service knows the presence of the owner's devices: it has sent it to those
/// that ask for it.
fn came_by_presence(context: &mut Context<'_>, stanza: &Stanza<'_>, account: &ServiceRef) -> Handled<bool> {
    let last = stanza.element.child("delay", ns::DELAY).is_some();
    Ok(last && context.relation(&account.jid, stanza.from.bare_str())?.presence)
}

/// Sends a copy to each available device whose filter lets it through; whether there was any device, and any such one.
fn deliver(context: &mut Context<'_>, stanza: &Stanza<'_>, account: &ServiceRef, listed: Listed<'_>) -> (bool, bool) {
    let (name, node) = (account.jid.as_str(), listed.node);
    let mut devices: Vec<FullJid> = context
        .memory
        .presences
        .resources(name, name)
        .filter(|(_, device)| !listed.auto || device.wants(node))
        .filter_map(|(resource, _)| FullJid::parse(&format!("{name}/{resource}")).ok())
        .collect();
    devices.sort_unstable();
    let body = content(stanza);
    let mut seen = false;
    for jid in &devices {
        let filter = context.memory.presences.filter(jid);
        if filter.is_some_and(|nodes| !nodes.iter().any(|wanted| wanted == node)) {
            continue;
        }
        seen = true;
        let mut writer = Writer::with_capacity(body.len() + 128);
        writer.start("message").attr("from", stanza.from.as_str()).attr("to", jid.as_str());
        writer.optional_attr("id", Some(stanza.id).filter(|id| !id.is_empty()));
        writer.optional_attr("type", Some(stanza.r#type).filter(|kind| !kind.is_empty())).raw(&body);
        context.out.push(Decision::Route { stanza: writer.finish() });
    }
    (!devices.is_empty(), seen)
}

/// What a message holds, as XML.
pub(super) fn content(stanza: &Stanza<'_>) -> String {
    stanza.element.children().map(|child| child.to_standalone()).collect()
}

/// The service of an entry says that something has changed by itself: approval, removal, deletion of the node.
fn follow(context: &mut Context<'_>, account: &BareJid, from: &Jid, event: Element<'_>) -> Handled<()> {
    let Jid::Bare(service) = from else { return Ok(()) };
    if context.service_at(service).is_some() {
        return Ok(());
    }
    for child in event.children() {
        let Some(node) = child.attr("node") else { continue };
        let state = match child.name() {
            "subscription" if child.attr("jid").is_none_or(|jid| jid == account.as_str()) => {
                child.attr("subscription").and_then(SubscriptionState::parse)
            }
            "delete" => Some(SubscriptionState::None),
            _ => None,
        };
        let Some(state) = state else { continue };
        if let Some(auto) = context.store().auto_subscription(account.as_str(), service.as_str(), node)? {
            // One that has ended is not made again at once.
            context.change().put_auto_subscription(&AutoSubscription { state, ..auto })?;
            continue;
        }
        for entry in context.store().pam_entries_for(account.as_str(), service.as_str(), node)? {
            if child.attr("subid").is_some_and(|subid| *subid != *entry.subid) || entry.state == state {
                continue;
            }
            follow_entry(context, account, &entry, state)?;
        }
    }
    Ok(())
}

pub(super) fn follow_entry(
    context: &mut Context<'_>,
    account: &BareJid,
    entry: &PamEntry,
    state: SubscriptionState,
) -> Handled<()> {
    let (service, node) = (&*entry.service, entry.node_name.as_str());
    if state == SubscriptionState::None {
        context.change().delete_pam_entry(account.as_str(), service, node, &entry.subid)?;
    } else {
        context.change().put_pam_entry(account.as_str(), &PamEntry { state, ..entry.clone() })?;
    }
    match (state, entry.wants_public) {
        (SubscriptionState::Subscribed, true) => context.list_subscription(account, service, node)?,
        (SubscriptionState::Subscribed, false) => {}
        _ => context.unlist_subscription(account, service, node)?,
    }
    bump(context, account)?;
    let jid = account.as_str();
    notify(context, &Change { account, service, node, jid, subid: &entry.subid, state }, None)
}
