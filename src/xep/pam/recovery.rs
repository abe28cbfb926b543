//! Requests whose answer did not come: the service is asked again until both sides agree.
//!
//! An unsubscription is sent again; it does no harm twice. A subscription is not, since it might be one that the owner has
//! given up meanwhile: the service is asked what it has. If it has one, the request is made once more, for it may be that
//! one which the service has not got: then it does not know yet whether the subscription is public. Intents are in the
//! store, so a restart changes nothing.

use super::{
    AUTO_SUBSCRIBE, AUTO_UNSUBSCRIBE, CHECK, CHECK_PUBLICLY, Operation, RENEW, RENEW_PUBLICLY, SUBSCRIBE,
    SUBSCRIBE_PUBLICLY, Told, UNSUBSCRIBE, answer_requester, bump, drop_entries, notify_of, put_entry, read_told,
};
use crate::engine::Decision;
use crate::engine::context::{Context, Handled};
use crate::jid::BareJid;
use crate::ns;
use crate::pubsub::SubscriptionState;
use crate::pubsub::store::{Intent, PamEntry};
use crate::stanza::{self, Condition, IqType, PubsubCondition, Stanza, StanzaError};
use crate::xml::Document;

/// Attempts of a request after which a newer one was made: it is never repeated.
pub(super) const SUPERSEDED: i64 = i64::MAX;

/// Attempts until the service is given up: with [`patience`], about ten days.
const MAX_ATTEMPTS: i64 = 45;

/// Seconds until the attempt after so many is overdue: twice as long each time, six hours at last.
pub(super) fn patience(context: &Context<'_>, attempts: i64) -> i64 {
    let doublings = u32::try_from(attempts.clamp(0, 20)).unwrap_or(20);
    (context.memory.settings.request_timeout << doublings).min(6 * 3_600)
}

/// The answer did not come in time.
pub(super) fn overdue(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    let error = StanzaError::new(Condition::RemoteServerTimeout).by(&intent.account);
    answer_requester(context, intent, Err(error));
    retry(context, intent)
}

/// The service could not be reached, or may have something else than it was to have: it is asked again after a while, not
/// at once, since an error comes back as fast as it was sent.
pub(super) fn later(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    if intent.attempts == SUPERSEDED {
        return Ok(());
    }
    if intent.operation == UNSUBSCRIBE {
        mark_unsubscribing(context, intent)?;
    }
    let deadline = context.now.plus_seconds(patience(context, intent.attempts - 1));
    context.change().put_intent(&Intent { requester: "".into(), deadline, ..intent.clone() })?;
    context.wake_at(deadline);
    Ok(())
}

/// Asks again, for nobody in particular.
pub(super) fn retry(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    context.change().delete_intent(&intent.id)?;
    let (account, service, node) = (&*intent.account, &*intent.service, intent.node_name.as_str());
    if intent.attempts == SUPERSEDED {
        return Ok(());
    }
    if intent.operation == UNSUBSCRIBE {
        mark_unsubscribing(context, intent)?;
    }
    if intent.attempts >= MAX_ATTEMPTS {
        log::warn!("{service} was asked {MAX_ATTEMPTS} times about {account} and {node} and is given up");
        return Ok(());
    }
    let id = context.memory.ids.request("pam");
    let (operation, kind) = match intent.operation {
        SUBSCRIBE | CHECK | RENEW => (CHECK, IqType::Get),
        SUBSCRIBE_PUBLICLY | CHECK_PUBLICLY | RENEW_PUBLICLY => (CHECK_PUBLICLY, IqType::Get),
        AUTO_SUBSCRIBE => (AUTO_SUBSCRIBE, IqType::Set),
        AUTO_UNSUBSCRIBE => (AUTO_UNSUBSCRIBE, IqType::Set),
        _ => (UNSUBSCRIBE, IqType::Set),
    };
    let mut iq = stanza::iq(kind, &id, account, service);
    iq.start_ns("pubsub", ns::PUBSUB);
    if operation == AUTO_SUBSCRIBE {
        iq.start("subscribe").attr("node", node).attr("jid", account);
    } else if matches!(operation, UNSUBSCRIBE | AUTO_UNSUBSCRIBE) {
        iq.start("unsubscribe").attr("node", node).attr("jid", account);
        iq.optional_attr("subid", Some(&*intent.subid).filter(|subid| !subid.is_empty()));
    } else {
        iq.start("subscriptions").attr("node", node);
    }
    let stanza = iq.finish();
    let deadline = context.now.plus_seconds(patience(context, intent.attempts));
    let again = Intent {
        id: id.into(),
        operation,
        requester: "".into(),
        // Of a subscription, the request as it was made first.
        attempts: intent.attempts + 1,
        deadline,
        ..intent.clone()
    };
    context.change().put_intent(&again)?;
    context.wake_at(deadline);
    context.out.push(Decision::Route { stanza });
    Ok(())
}

/// The list goes on showing what is being ended until the service has agreed, but remembers the wish.
fn mark_unsubscribing(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    let (account, node) = (&*intent.account, intent.node_name.as_str());
    for entry in context.store().pam_entries_for(account, &intent.service, node)? {
        let named = intent.subid.is_empty() || *entry.subid == *intent.subid;
        if named && !entry.unsubscribing {
            context.change().put_pam_entry(account, &PamEntry { unsubscribing: true, ..entry })?;
        }
    }
    Ok(())
}

/// A client asks for something new about the node: what was still being asked does not matter any more, except that nobody
/// knows what has become of it; whether there was anything.
pub(super) fn supersede(
    context: &mut Context<'_>,
    account: &BareJid,
    service: &str,
    node: &str,
    code: u8,
) -> Handled<bool> {
    let mut doubt = false;
    for intent in context.store().intents_of(account.as_str())? {
        if *intent.service != *service || intent.node_name.as_str() != node {
            continue;
        }
        doubt = true;
        if intent.requester.is_empty() {
            context.change().delete_intent(&intent.id)?;
        } else {
            // Its answer still counts, but if it does not come, only the newer request is made again.
            // And what was to be public is not, if that is not wanted any more.
            let withdrawn = intent.operation == SUBSCRIBE_PUBLICLY && code != SUBSCRIBE_PUBLICLY;
            let operation = if withdrawn { SUBSCRIBE } else { intent.operation };
            context.change().put_intent(&Intent { attempts: SUPERSEDED, operation, ..intent })?;
        }
    }
    Ok(doubt)
}

/// What the service has, when it was asked after a lost answer.
pub(super) fn checked(context: &mut Context<'_>, intent: &Intent, stanza: &Stanza<'_>) -> Handled<()> {
    let (account, node) = (&*intent.account, intent.node_name.as_str());
    if stanza.r#type != IqType::Result.as_str() {
        return failed(context, intent, stanza);
    }
    let list = stanza.element.child("pubsub", ns::PUBSUB).and_then(|p| p.child("subscriptions", ns::PUBSUB));
    let found = list.into_iter().flat_map(|list| list.children()).find(|subscription| {
        // With the node in the request, the service need not repeat it (section 5.6).
        subscription.attr("node").is_none_or(|listed| listed == node) && subscription.attr("jid") == Some(account)
    });
    let state = found.and_then(|s| s.attr("subscription")).and_then(SubscriptionState::parse);
    let (Some(subscription), Some(state)) = (found, state.filter(|state| *state != SubscriptionState::None)) else {
        return gone(context, intent);
    };
    let told = Told { state, subid: subscription.attr("subid").unwrap_or("").to_owned() };
    // In doubt it is not public (XEP-0465, section 4.3).
    take(context, intent, &told, false)?;
    renew(context, intent)
}

/// The list has what the service says, and the devices are told if that is news.
fn take(context: &mut Context<'_>, intent: &Intent, told: &Told, public: bool) -> Handled<()> {
    let operation = Operation::of(intent);
    let version = context.store().pam_version(&intent.account)?;
    put_entry(context, &operation, told, public)?;
    if context.store().pam_version(&intent.account)? == version {
        return Ok(());
    }
    notify_of(context, &operation, &told.subid, told.state)
}

/// What the service has can be told from its refusal: a subscription that waits for approval already, or no such node.
pub(super) fn learn(context: &mut Context<'_>, intent: &Intent, error: &StanzaError) -> Handled<()> {
    if matches!(error.condition(), Condition::ItemNotFound | Condition::Gone) {
        return gone(context, intent);
    }
    if error.pubsub() != Some(PubsubCondition::PendingSubscription) {
        return Ok(());
    }
    let present = context.store().pam_entries_for(&intent.account, &intent.service, intent.node_name.as_str())?;
    let subid = present.first().map_or_else(String::new, |entry| entry.subid.to_string());
    let public = matches!(intent.operation, SUBSCRIBE_PUBLICLY | RENEW_PUBLICLY);
    take(context, intent, &Told { state: SubscriptionState::Pending, subid }, public)
}

/// The service has no such subscription.
fn gone(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    let operation = Operation::of(intent);
    if !drop_entries(context, &operation)? {
        return Ok(());
    }
    bump(context, &operation.account)?;
    context.unlist_subscription(&operation.account, &intent.service, operation.node)?;
    notify_of(context, &operation, "", SubscriptionState::None)
}

/// The request that may have been lost, once more.
fn renew(context: &mut Context<'_>, intent: &Intent) -> Handled<()> {
    let limits = context.memory.settings.limits;
    let document = Document::parse(&intent.stanza, &limits)?;
    let Some(payload) = document.root().child("pubsub", ns::PUBSUB) else { return Ok(()) };
    let id = context.memory.ids.request("pam");
    let mut iq = stanza::iq(IqType::Set, &id, &intent.account, &intent.service);
    iq.raw(&payload.to_standalone());
    let operation = if intent.operation == CHECK_PUBLICLY { RENEW_PUBLICLY } else { RENEW };
    let deadline = context.now.plus_seconds(patience(context, intent.attempts));
    context.change().put_intent(&Intent { id: id.into(), operation, deadline, ..intent.clone() })?;
    context.wake_at(deadline);
    context.out.push(Decision::Route { stanza: iq.finish() });
    Ok(())
}

/// The answer to a request that was made once more.
pub(super) fn renewed(context: &mut Context<'_>, intent: &Intent, stanza: &Stanza<'_>) -> Handled<()> {
    if stanza.r#type != IqType::Result.as_str() {
        return failed(context, intent, stanza);
    }
    let public = intent.operation == RENEW_PUBLICLY;
    let told = read_told(stanza.element.child("pubsub", ns::PUBSUB), SUBSCRIBE);
    let told = told.unwrap_or(Told { state: SubscriptionState::Subscribed, subid: String::new() });
    take(context, intent, &told, public)?;
    if public && told.state == SubscriptionState::Subscribed {
        let account = BareJid::from_prepared(&intent.account);
        context.list_subscription(&account, &intent.service, intent.node_name.as_str())?;
    }
    Ok(())
}

/// The service could not be reached and is asked again, or its refusal says what it has.
fn failed(context: &mut Context<'_>, intent: &Intent, stanza: &Stanza<'_>) -> Handled<()> {
    match stanza.element.child("error", ns::CLIENT).map(StanzaError::received) {
        Some(error) if is_unreachable(&error) => later(context, intent),
        Some(error) => learn(context, intent, &error),
        None => Ok(()),
    }
}

/// Whether an error says that the request may never have arrived.
pub(super) fn is_unreachable(error: &StanzaError) -> bool {
    matches!(error.condition(), Condition::RemoteServerNotFound | Condition::RemoteServerTimeout)
}
