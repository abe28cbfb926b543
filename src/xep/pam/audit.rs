//! What services elsewhere told may have been lost, with either server down: an approval, a removal, the end of a node. So
//! each service is asked at times what it has for an account, and the account's list follows.
//!
//! A round goes through all lists, a few at a time: soon after the start, and then once in the time that is set. A service that
//! answers with a page (XEP-0059), which does not say what is missing, is asked for one node after the other instead.

use super::{AUDIT, recovery};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled};
use crate::jid::BareJid;
use crate::ns;
use crate::pubsub::SubscriptionState;
use crate::pubsub::store::Intent;
use crate::stanza::{self, Condition, IqType, Stanza};
use crate::time::Timestamp;

/// Seconds from the start of the engine to the first round.
const FIRST: i64 = 10;

/// Lists asked about in one go, and seconds to the next.
const CHUNK: usize = 50;
const PAUSE: i64 = 1;

/// How often a service that cannot be reached is asked in one round.
const ATTEMPTS: i64 = 6;

/// Where the present round is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    /// The last account and service that were looked at; none between two rounds.
    cursor: Option<(String, String)>,
    /// When it goes on.
    next: Option<Timestamp>,
    began: Timestamp,
}

/// When there is something to do.
pub(crate) fn next(context: &mut Context<'_>) -> Option<Timestamp> {
    let intervals = context.hosts.values().filter_map(|host| host.check_interval);
    intervals.min()?;
    let first = context.now.plus_seconds(FIRST);
    Some(*context.memory.round.next.get_or_insert(first))
}

/// Goes on with the round.
pub(super) fn go_on(context: &mut Context<'_>) -> Handled<()> {
    let now = context.now;
    let Some(interval) = context.hosts.values().filter_map(|host| host.check_interval).min() else { return Ok(()) };
    if next(context).is_none_or(|next| next > now) {
        return Ok(());
    }
    let mut round = context.memory.round.clone();
    if round.cursor.is_none() {
        round.began = now;
    }
    let after = round.cursor.as_ref().map_or(("", ""), |(account, service)| (account, service));
    let places = context.store().pam_services(after, CHUNK)?;
    for (account, service) in &places {
        let host = context.service_at(&BareJid::from_prepared(account)).map(|account| account.host);
        if host.is_some_and(|host| host.check_interval.is_some()) {
            ask(context, account, service)?;
        }
    }
    let more = places.len() == CHUNK;
    round.cursor = places.into_iter().next_back().filter(|_| more);
    round.next = Some(if more {
        now.plus_seconds(PAUSE)
    } else {
        round.began.plus_seconds(interval).max(now.plus_seconds(PAUSE))
    });
    context.memory.round = round;
    Ok(())
}

fn ask(context: &mut Context<'_>, account: &str, service: &str) -> Handled<()> {
    let asked = |intent: &Intent| intent.operation == AUDIT && *intent.service == *service;
    if context.store().intents_of(account)?.iter().any(asked) {
        return Ok(());
    }
    send(context, account, service, "", 1)
}

/// Asks for the subscriptions to one node, or to all of them if its name is empty.
fn send(context: &mut Context<'_>, account: &str, service: &str, node: &str, attempts: i64) -> Handled<()> {
    let id = context.memory.ids.request("pam");
    let mut iq = stanza::iq(IqType::Get, &id, account, service);
    iq.start_ns("pubsub", ns::PUBSUB)
        .start("subscriptions")
        .optional_attr("node", Some(node).filter(|n| !n.is_empty()));
    let stanza = iq.finish();
    let deadline = context.now.plus_seconds(recovery::patience(context, attempts - 1));
    let intent = Intent {
        id: id.into(),
        account: account.into(),
        service: service.into(),
        node_name: node.into(),
        subid: "".into(),
        operation: AUDIT,
        requester: "".into(),
        request_id: "".into(),
        request_to: "".into(),
        stanza: stanza.as_str().into(),
        attempts,
        deadline,
    };
    context.change().put_intent(&intent)?;
    context.wake_at(deadline);
    context.out.push(Decision::Route { stanza });
    Ok(())
}

/// No answer came.
pub(super) fn overdue(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    context.change().delete_intent(&intent.id)?;
    if intent.attempts >= ATTEMPTS {
        Ok(())
    } else {
        send(context, &intent.account, &intent.service, intent.node_name.as_str(), intent.attempts + 1)
    }
}

/// Goes on with the next node of a service that is asked for one after the other.
fn ask_next(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    let (account, service) = (&*intent.account, &*intent.service);
    let entries = context.store().pam_entries(account)?;
    let of_service = entries.iter().filter(|entry| *entry.service == *service).map(|entry| entry.node_name.as_str());
    match of_service.filter(|node| *node > intent.node_name.as_str()).min() {
        Some(node) => send(context, account, service, node, 1),
        None => Ok(()),
    }
}

/// What the service has. Entries that it does not know are gone, the others have the state that it says; what is not in
/// the list was not made by the account and stays out of it.
pub(super) fn answered(context: &mut Context<'_>, intent: &Intent, stanza: &Stanza<'_>) -> Handled<()> {
    let asked = intent.node_name.as_str();
    if stanza.r#type != IqType::Result.as_str() {
        let error = stanza.element.child("error", ns::CLIENT).map(stanza::StanzaError::received);
        return match error {
            // An unreachable service is asked again when the deadline has come.
            Some(error) if recovery::is_unreachable(&error) => Ok(context.change().put_intent(intent)?),
            // About that node nothing is certain, but the service does answer.
            Some(error) if !asked.is_empty() && error.condition() == Condition::ItemNotFound => {
                ask_next(context, intent)
            }
            _ => Ok(()),
        };
    }
    let pubsub = stanza.element.child("pubsub", ns::PUBSUB);
    let Some(list) = pubsub.and_then(|pubsub| pubsub.child("subscriptions", ns::PUBSUB)) else { return Ok(()) };
    let paged = pubsub.is_some_and(|pubsub| pubsub.child("set", ns::RSM).is_some());
    let (account, service) = (&*intent.account, &*intent.service);
    let under_way = context.store().intents_of(account)?;
    for entry in context.store().pam_entries(account)?.into_iter().filter(|entry| *entry.service == *service) {
        let node = entry.node_name.as_str();
        if !asked.is_empty() && node != asked {
            continue;
        }
        // What was asked for since the question decides.
        if under_way.iter().any(|intent| *intent.service == *service && intent.node_name == entry.node_name) {
            continue;
        }
        let found = list.children().find(|subscription| {
            let subid = subscription.attr("subid").unwrap_or("");
            // With the node in the request, the service need not repeat it (section 5.6 of XEP-0060).
            subscription.attr("node").map_or(!asked.is_empty(), |listed| listed == node)
                && subscription.attr("jid") == Some(account)
                && (entry.subid.is_empty() || subid.is_empty() || *entry.subid == *subid)
        });
        if paged && found.is_none() {
            continue;
        }
        let state = found.and_then(|s| s.attr("subscription")).and_then(SubscriptionState::parse);
        let state = state.unwrap_or(if found.is_some() { entry.state } else { SubscriptionState::None });
        if state != entry.state {
            super::events::follow_entry(context, &BareJid::from_prepared(account), &entry, state)?;
        }
    }
    if paged || !asked.is_empty() { ask_next(context, intent) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::FIRST;
    use crate::{Config, Decision, Engine, Input, ServiceKind, Timestamp};

    #[test]
    fn the_first_round_is_planned_once_there_are_accounts() {
        let engine = Engine::open(&Config::new()).expect("memory");
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        // A host may tick before it says what it serves.
        let outcome = engine.handle(now, &Input::tick()).expect("nothing to do");
        assert!(outcome.decisions.is_empty(), "{outcome:?}");
        engine.serve("localhost", ServiceKind::Accounts, &Config::new()).expect("accounts");
        let message = Input::stanza("<message from='a@localhost' to='localhost'/>");
        let outcome = engine.handle(now, &message).expect("an outcome");
        assert!(outcome.decisions.contains(&Decision::Wake(now.plus_seconds(FIRST))), "{outcome:?}");
    }
}
