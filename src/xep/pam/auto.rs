//! Extension to XEP-0376, section 3.5: the account subscribes by itself to what its devices ask for with `+notify`, at
//! contacts whose accounts know XEP-0376 too. So it hears of events even while no device is there.
//!
//! Presence starts it: that of a contact, and that of a device of the owner's. Such a subscription is kept apart from the
//! list, and ends when no device has asked for the node for a time that is set by the administrator.

use super::{AUTO_DISCO, AUTO_SUBSCRIBE, AUTO_UNSUBSCRIBE, read_told, recovery};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef, Stop};
use crate::engine::dispatch;
use crate::jid::{BareJid, FullJid, Jid};
use crate::ns;
use crate::pubsub::SubscriptionState;
use crate::pubsub::store::{AutoSubscription, Intent};
use crate::stanza::{self, IqType, Stanza};
use crate::xml::{Document, Writer};

/// Seconds for which a service that has refused is left alone.
const REFUSAL: i64 = 24 * 3_600;

/// Subscriptions looked at in one tick.
const SWEEP: usize = 500;

/// A device of the owner's or a contact has come, or its capabilities have become known.
pub(super) fn interest(context: &mut Context<'_>, account: &ServiceRef, jid: &FullJid) -> Handled<()> {
    if account.host.auto_subscribe.is_none() {
        return Ok(());
    }
    let own = account.is_owner(jid.bare_str());
    let nodes = if own { wanted_by(context, account, Some(jid.resource())) } else { wanted_by(context, account, None) };
    if nodes.is_empty() {
        return Ok(());
    }
    let contacts: Vec<BareJid> = if own {
        let everyone = context.memory.presences.everyone(&account.name).map(|(bare, _)| bare.clone());
        let mut contacts: Vec<_> = everyone.filter(|bare| *bare != account.jid).collect();
        contacts.sort_unstable();
        contacts
    } else {
        vec![jid.to_bare()]
    };
    let mut all = true;
    for contact in contacts {
        context.gather(|context| follow(context, account, &contact, &nodes), &mut all)?;
    }
    if all { Ok(()) } else { Err(Stop::Need) }
}

/// A device that asked for nodes is going: the time without interest begins now.
pub(super) fn departure(context: &mut Context<'_>, account: &ServiceRef, jid: &FullJid) -> Handled<()> {
    let Some(expiry) = account.host.auto_subscribe else { return Ok(()) };
    let nodes = wanted_by(context, account, Some(jid.resource()));
    if nodes.is_empty() {
        return Ok(());
    }
    let expire_at = context.now.plus_seconds(expiry);
    for auto in context.store().auto_subscriptions(account.jid.as_str())? {
        let asked = nodes.iter().any(|node| node == auto.node_name.as_str());
        if asked && auto.state != SubscriptionState::None && auto.expire_at < expire_at {
            context.change().put_auto_subscription(&AutoSubscription { expire_at, ..auto })?;
        }
    }
    Ok(())
}

/// Nodes that the owner's devices ask for, or one of them.
fn wanted_by(context: &Context<'_>, account: &ServiceRef, resource: Option<&str>) -> Vec<String> {
    let name = account.jid.as_str();
    let devices = context.memory.presences.resources(name, name);
    let devices = devices.filter(|(device, _)| resource.is_none_or(|resource| resource == *device));
    let features = devices.filter_map(|(_, device)| device.features());
    let mut nodes: Vec<String> = features.flat_map(|features| features.wanted()).map(str::to_owned).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn is_wanted(context: &Context<'_>, account: &str, node: &str) -> bool {
    context.memory.presences.resources(account, account).any(|(_, device)| device.wants(node))
}

/// Subscribes to nodes of a contact, unless it is no contact, does not know XEP-0376, or has them already.
fn follow(context: &mut Context<'_>, account: &ServiceRef, contact: &BareJid, nodes: &[String]) -> Handled<()> {
    // Only accounts have contacts' nodes.
    if contact.local().is_none() || !context.relation(&account.jid, contact.as_str())?.follows {
        return Ok(());
    }
    let here = context.service_at(contact);
    let mut missing = Vec::new();
    for node in nodes {
        if let Some(auto) = context.store().auto_subscription(account.jid.as_str(), contact.as_str(), node)? {
            refresh(context, account, &auto)?;
        } else if !is_explicit(context, account, contact, here.as_ref(), node)? {
            missing.push(node.as_str());
        }
    }
    if missing.is_empty() || (here.is_none() && !knows_pam(context, account, contact)?) {
        return Ok(());
    }
    for node in missing {
        match &here {
            Some(service) => subscribe_here(context, account, service, node)?,
            None => subscribe_elsewhere(context, account, contact, node)?,
        }
    }
    Ok(())
}

/// Notes that the node is still asked for. Not each time: a fifth of the time may have passed.
fn refresh(context: &mut Context<'_>, account: &ServiceRef, auto: &AutoSubscription) -> Handled<()> {
    let Some(expiry) = account.host.auto_subscribe.filter(|_| auto.state != SubscriptionState::None) else {
        return Ok(());
    };
    let expire_at = context.now.plus_seconds(expiry);
    if auto.expire_at.plus_seconds(expiry / 5) < expire_at {
        let refreshed = AutoSubscription { expire_at, ..auto.clone() };
        context.change().put_auto_subscription(&refreshed)?;
    }
    Ok(())
}

fn is_explicit(
    context: &mut Context<'_>,
    account: &ServiceRef,
    contact: &BareJid,
    here: Option<&ServiceRef>,
    node: &str,
) -> Handled<bool> {
    let jid = account.jid.as_str();
    let pending = |intent: &Intent| *intent.service == *contact.as_str() && intent.node_name.as_str() == node;
    let Some(service) = here else {
        return Ok(!context.store().pam_entries_for(jid, contact.as_str(), node)?.is_empty()
            || context.store().intents_of(jid)?.iter().any(pending));
    };
    let Some(node) = context.node(service, node)? else { return Ok(true) };
    Ok(context.store().subscriptions_to(node.key, jid)?.iter().any(|subscription| subscription.jid.as_str() == jid))
}

/// Whether the contact's account is known to know XEP-0376; if nothing is known, it is asked.
fn knows_pam(context: &mut Context<'_>, account: &ServiceRef, contact: &BareJid) -> Handled<bool> {
    let (jid, service) = (account.jid.as_str(), contact.as_str());
    if let Some(known) = context.memory.pam_contacts.get(&(jid.to_owned(), service.to_owned())) {
        return Ok(*known);
    }
    let asked = |intent: &Intent| intent.operation == AUTO_DISCO && *intent.service == *service;
    if !context.store().intents_of(jid)?.iter().any(asked) {
        let query = format!("<query xmlns='{}'/>", ns::DISCO_INFO);
        send(context, &Asked { account: jid, service, node: "", subid: "", code: AUTO_DISCO }, IqType::Get, &query)?;
    }
    Ok(false)
}

struct Asked<'a> {
    account: &'a str,
    service: &'a str,
    node: &'a str,
    subid: &'a str,
    code: u8,
}

fn send(context: &mut Context<'_>, asked: &Asked<'_>, kind: IqType, payload: &str) -> Handled<()> {
    let id = context.memory.ids.request("pam");
    let mut iq = stanza::iq(kind, &id, asked.account, asked.service);
    iq.raw(payload);
    let stanza = iq.finish();
    let deadline = context.now.plus_seconds(context.memory.settings.request_timeout);
    let intent = Intent {
        id: id.into(),
        account: asked.account.into(),
        service: asked.service.into(),
        node_name: asked.node.into(),
        subid: asked.subid.into(),
        operation: asked.code,
        requester: "".into(),
        request_id: "".into(),
        request_to: "".into(),
        stanza: stanza.as_str().into(),
        attempts: 1,
        deadline,
    };
    context.change().put_intent(&intent)?;
    context.wake_at(deadline);
    context.out.push(Decision::Route { stanza });
    Ok(())
}

fn payload(operation: &'static str, account: &str, node: &str, subid: &str) -> String {
    let mut writer = Writer::new();
    writer.start_ns("pubsub", ns::PUBSUB).start(operation).attr("node", node).attr("jid", account);
    writer.optional_attr("subid", Some(subid).filter(|subid| !subid.is_empty()));
    writer.finish()
}

fn subscribe_elsewhere(context: &mut Context<'_>, account: &ServiceRef, contact: &BareJid, node: &str) -> Handled<()> {
    let (account, service) = (account.jid.as_str(), contact.as_str());
    let payload = payload("subscribe", account, node, "");
    let asked = Asked { account, service, node, subid: "", code: AUTO_SUBSCRIBE };
    send(context, &asked, IqType::Set, &payload)
}

/// At a service of this server, within the same transaction.
fn subscribe_here(context: &mut Context<'_>, account: &ServiceRef, service: &ServiceRef, node: &str) -> Handled<()> {
    // Written first: so the subscription is not taken for one of the list.
    put(context, account, service.jid.as_str(), node, SubscriptionState::Subscribed, "")?;
    let payload = payload("subscribe", account.jid.as_str(), node, "");
    let state = serve(context, account, service, &payload)?.unwrap_or(SubscriptionState::None);
    put(context, account, service.jid.as_str(), node, state, "")
}

fn serve(
    context: &mut Context<'_>,
    account: &ServiceRef,
    service: &ServiceRef,
    payload: &str,
) -> Handled<Option<SubscriptionState>> {
    let limits = context.memory.settings.limits;
    let document = Document::parse(payload, &limits)?;
    match dispatch::serve(context, Jid::Bare(account.jid.clone()), service.clone(), &document) {
        Ok(crate::xep::Reply::Result(xml)) => {
            let document = Document::parse(&xml, &limits)?;
            Ok(read_told(Some(document.root()), AUTO_SUBSCRIBE).map(|told| told.state))
        }
        Ok(_) | Err(Stop::Refused(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

fn put(
    context: &mut Context<'_>,
    account: &ServiceRef,
    service: &str,
    node: &str,
    state: SubscriptionState,
    subid: &str,
) -> Handled<()> {
    let expiry = account.host.auto_subscribe.unwrap_or(REFUSAL);
    let seconds = if state == SubscriptionState::None { REFUSAL } else { expiry };
    let auto = AutoSubscription {
        account: account.name.clone(),
        service: service.into(),
        node_name: node.into(),
        subid: subid.into(),
        state,
        expire_at: context.now.plus_seconds(seconds),
    };
    context.wake_at(auto.expire_at);
    context.change().put_auto_subscription(&auto)?;
    Ok(())
}

/// The answer to a request that was made here.
pub(super) fn answered(context: &mut Context<'_>, intent: &Intent, stanza: &Stanza<'_>) -> Handled<()> {
    let account = BareJid::from_prepared(&intent.account);
    let Some(account) = context.service_at(&account) else { return Ok(()) };
    let succeeded = stanza.r#type == IqType::Result.as_str();
    match intent.operation {
        AUTO_DISCO => {
            let query = stanza.element.child("query", ns::DISCO_INFO).filter(|_| succeeded);
            let features = query.into_iter().flat_map(|query| query.children());
            let known =
                features.filter(|child| child.is("feature", ns::DISCO_INFO)).any(|f| f.attr("var") == Some(ns::PAM));
            let contacts = &mut context.memory.pam_contacts;
            if contacts.len() >= context.memory.settings.caps_kept {
                contacts.clear();
            }
            contacts.insert((intent.account.to_string(), intent.service.to_string()), known);
            let nodes = wanted_by(context, &account, None);
            if known { follow(context, &account, &BareJid::from_prepared(&intent.service), &nodes) } else { Ok(()) }
        }
        AUTO_SUBSCRIBE => {
            let (service, node) = (&*intent.service, intent.node_name.as_str());
            if !context.store().pam_entries_for(&intent.account, service, node)?.is_empty() {
                return Ok(());
            }
            let told = read_told(stanza.element.child("pubsub", ns::PUBSUB).filter(|_| succeeded), AUTO_SUBSCRIBE);
            match told {
                Some(told) => put(context, &account, service, node, told.state, &told.subid),
                None if succeeded => put(context, &account, service, node, SubscriptionState::Subscribed, ""),
                None => put(context, &account, service, node, SubscriptionState::None, ""),
            }
        }
        _ => {
            let error = stanza.element.child("error", ns::CLIENT).map(stanza::StanzaError::received);
            let unreachable = error.is_some_and(|error| recovery::is_unreachable(&error));
            if unreachable { recovery::later(context, intent) } else { Ok(()) }
        }
    }
}

/// An answer did not come in time. Presence begins it all again, but what was to end has to end.
pub(super) fn overdue(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    match intent.operation {
        AUTO_DISCO => Ok(context.change().delete_intent(&intent.id)?),
        _ => recovery::retry(context, intent),
    }
}

/// Ends what nobody has asked for in the time that was set.
pub(super) fn sweep(context: &mut Context<'_>) -> Handled<()> {
    let now = context.now;
    for auto in context.store().expired_auto_subscriptions(now, SWEEP)? {
        let account = BareJid::from_prepared(&auto.account);
        let Some(account) = context.service_at(&account) else {
            context.change().delete_auto_subscription(&auto.account, &auto.service, auto.node_name.as_str())?;
            continue;
        };
        let wanted = is_wanted(context, account.jid.as_str(), auto.node_name.as_str());
        match account.host.auto_subscribe.filter(|_| wanted && auto.state != SubscriptionState::None) {
            Some(expiry) => {
                let expire_at = now.plus_seconds(expiry);
                context.change().put_auto_subscription(&AutoSubscription { expire_at, ..auto })?;
            }
            None => end(context, &account, &auto)?,
        }
    }
    Ok(())
}

/// Ends one, at the service as well.
pub(super) fn end(context: &mut Context<'_>, account: &ServiceRef, auto: &AutoSubscription) -> Handled<()> {
    let (jid, service, node) = (account.jid.as_str(), &*auto.service, auto.node_name.as_str());
    if auto.state != SubscriptionState::None {
        let payload = payload("unsubscribe", jid, node, &auto.subid);
        match context.service_at(&BareJid::from_prepared(service)) {
            // Still there while it ends: so it is not taken for one of the list.
            Some(here) => drop(serve(context, account, &here, &payload)?),
            None => unsubscribe(context, jid, service, node, &auto.subid)?,
        }
    }
    context.change().delete_auto_subscription(jid, service, node)?;
    Ok(())
}

/// Unsubscribes elsewhere, and does not forget it before the service has agreed; the list has nothing to do with it.
pub(super) fn unsubscribe(
    context: &mut Context<'_>,
    account: &str,
    service: &str,
    node: &str,
    subid: &str,
) -> Handled<()> {
    let payload = payload("unsubscribe", account, node, subid);
    let asked = Asked { account, service, node, subid, code: AUTO_UNSUBSCRIBE };
    send(context, &asked, IqType::Set, &payload)
}

/// The owner does not see the presence of the contact any more.
pub(super) fn roster_changed(context: &mut Context<'_>, account: &ServiceRef, contact: &Jid) -> Handled<()> {
    let mut of_contact = context.store().auto_subscriptions(account.jid.as_str())?;
    of_contact.retain(|auto| *auto.service == *contact.bare_str());
    if of_contact.is_empty() || context.relation(&account.jid, contact.bare_str())?.follows {
        return Ok(());
    }
    of_contact.iter().try_for_each(|auto| end(context, account, auto))
}
