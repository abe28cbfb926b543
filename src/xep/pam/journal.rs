//! Extension to XEP-0376, sections 2.3 and 3.7: the account keeps the events of its subscriptions, for devices that were
//! away.
//!
//! It is asked for them like an archive (XEP-0313), under the node `urn:xmpp:pam:0`. Each result says when the event came
//! and whether a device was there to see it.

use super::events;
use crate::engine::Decision;
use crate::engine::context::{Context, Handled, ServiceRef};
use crate::engine::ids::Ids;
use crate::mam::{self, Found, Query};
use crate::ns;
use crate::pubsub::store::{JournalEntry, JournalFilter, NewJournalEntry, Place};
use crate::rsm::Position;
use crate::stanza::{Condition, IqType, Stanza, StanzaError};
use crate::time::Timestamp;
use crate::xep::{Reply, Request};
use crate::xml::Writer;

/// The form field that names a node.
const NODE_FIELD: &str = "{urn:xmpp:pam:0}node";

/// Seconds within which a service tells all devices of the same event.
const SAME_EVENT: i64 = 60;

/// How an event came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came {
    /// Whether it was for one device only: others may get copies of their own.
    pub(super) to_device: bool,
    /// Whether a device was there to see it.
    pub(super) seen: bool,
}

/// Writes down an event, if the account has a journal.
pub(super) fn keep(
    context: &mut Context<'_>,
    account: &ServiceRef,
    stanza: &Stanza<'_>,
    node: &str,
    came: Came,
) -> Handled<()> {
    let Some(settings) = account.host.journal else { return Ok(()) };
    let content = events::content(stanza);
    if content.len() > settings.limits.bytes {
        return Ok(());
    }
    let (jid, service) = (account.jid.as_str(), stanza.from.as_str());
    if let Some(last) = context.store().last_journal_entry(jid, service, node)?
        && is_copy(context.now, stanza, came, &last)
    {
        if came.seen && !last.seen {
            context.change().see_journal_entry(last.key)?;
        }
        return Ok(());
    }
    let (arrived, expire_at) = (context.now, context.now.plus_seconds(settings.expiry));
    let new = NewJournalEntry { service, node_name: node, arrived, expire_at, seen: came.seen, content: &content };
    context.change().insert_journal_entry(jid, &new, settings.limits)?;
    context.wake_at(expire_at);
    Ok(())
}

/// Whether that is the newest event of its node once more: for another device, or as the last item.
fn is_copy(now: Timestamp, stanza: &Stanza<'_>, came: Came, last: &JournalEntry) -> bool {
    let event = stanza.element.child("event", ns::PUBSUB_EVENT).map(|event| event.to_standalone());
    let same = event.is_some_and(|event| last.content.contains(&event));
    let again = stanza.element.child("delay", ns::DELAY).is_some();
    same && (again || (came.to_device && now < last.arrived.plus_seconds(SAME_EVENT)))
}

fn id_of(context: &Context<'_>, account: &str, key: i64) -> String {
    Ids::sealed(&context.memory.secret, &["journal", account], key)
}

/// Answers a query of the account's own devices; those of others are the host's, as are all if there is no journal.
pub(super) fn query(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Reply> {
    let account = request.service.jid.clone();
    if request.service.host.journal.is_none() || request.from.to_bare() != account {
        return Ok(Reply::Pass);
    }
    let jid = account.as_str();
    if request.kind == IqType::Get {
        return Ok(Reply::Result(mam::form(Some(NODE_FIELD))));
    }
    let query = Query::read(request.element, Some(NODE_FIELD))?;
    let service = query.with.as_ref().map(|with| with.bare_str());
    let (start, end, now) = (query.start, query.end, context.now);
    let filter = JournalFilter { service, node_name: query.extra.as_deref(), start, end, now };
    let place = match &query.page.position {
        Position::First => Place::First,
        Position::Last => Place::Last,
        Position::Index(index) => Place::Index(*index),
        Position::After(id) => Place::After(find(context, jid, id)?),
        Position::Before(id) => Place::Before(find(context, jid, id)?),
    };
    let page = context.store().journal(jid, &filter, place, query.limit())?;
    let ids: Vec<String> = page.rows.iter().map(|entry| id_of(context, jid, entry.key)).collect();
    for (entry, id) in page.rows.iter().zip(&ids) {
        let mut message = Writer::with_capacity(entry.content.len() + 128);
        message.start_ns("message", ns::CLIENT).attr("from", &entry.service).attr("to", jid).raw(&entry.content);
        let mut seen = Writer::new();
        if entry.seen {
            seen.start_ns("seen", ns::PAM_JOURNAL);
        }
        let (message, seen) = (message.finish(), seen.finish());
        let found = Found { id, time: entry.arrived, message: &message, beside: &seen };
        let stanza_id = context.memory.ids.event();
        let stanza = query.result(jid, request.from.as_str(), &stanza_id, &found);
        context.out.push(Decision::Route { stanza });
    }
    let ends = ids.first().zip(ids.last()).map(|(first, last)| (first.as_str(), last.as_str()));
    Ok(Reply::Result(query.fin(ends, ids.len() as u64, page.index, page.count)))
}

/// The entry of that identifier, which must still be there.
fn find(context: &mut Context<'_>, account: &str, id: &str) -> Handled<i64> {
    let key = Ids::unsealed(&context.memory.secret, id);
    if let Some(key) = key.filter(|key| id_of(context, account, *key) == id) {
        let (start, end) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        let all = JournalFilter { service: None, node_name: None, start, end, now: context.now };
        let page = context.store().journal(account, &all, Place::After(key - 1), 1)?;
        if page.rows.first().is_some_and(|entry| entry.key == key) {
            return Ok(key);
        }
    }
    Err(StanzaError::new(Condition::ItemNotFound).into())
}
