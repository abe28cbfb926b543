//! The roster that nobody needs any more (section 4): computed from who is subscribed to the node `presence` of the account,
//! and to whose nodes `presence` the account is subscribed.
//!
//! It is a node of a name of our own, which only its owner may read. An item is what a roster push would be, its id the
//! JID of the contact. `<request/>` marks a contact who waits for an answer.

use std::collections::BTreeMap;

use super::super::{Operation, Reply, Request};
use super::presence::is_owners;
use crate::engine::context::{Context, Handled};
use crate::forms;
use crate::jid::BareJid;
use crate::ns;
use crate::pubsub::policy::PRESENCE;
use crate::pubsub::{Refusal, SubscriptionState};
use crate::rsm::{self, Position, Query};
use crate::stanza::{Condition, IqType, PubsubCondition, StanzaError};
use crate::xml::Writer;

/// Contacts in one answer.
const PAGE: usize = 1_000;

/// How the account and a contact stand to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    /// The contact sees the account's presence.
    from: bool,
    /// The contact has asked to see it.
    requested: bool,
    /// The account sees the contact's presence.
    to: bool,
    /// The account has asked to see it.
    asks: bool,
}

impl Standing {
    /// RFC 6121, section 2.1.2.5.
    const fn subscription(self) -> &'static str {
        match (self.from, self.to) {
            (true, true) => "both",
            (true, false) => "from",
            (false, true) => "to",
            (false, false) => "none",
        }
    }
}

type Contacts = Vec<(String, Standing)>;

fn contacts(context: &mut Context<'_>, request: &Request<'_>) -> Handled<Contacts> {
    let account = &request.service.jid;
    let mut contacts: BTreeMap<String, Standing> = BTreeMap::new();
    if let Some(node) = context.node(&request.service, PRESENCE)? {
        for subscription in context.store().subscriptions(node.key, None, usize::MAX)? {
            let contact = contacts.entry(subscription.jid.bare_str().to_owned()).or_default();
            contact.from |= context.is_live(&subscription);
            contact.requested |= subscription.state == SubscriptionState::Pending;
        }
    }
    let mut follows = |service: &str, state: SubscriptionState| {
        // An account is meant: a pubsub service may have a node of that name too.
        if BareJid::from_prepared(service).local().is_some() && service != account.as_str() {
            let contact = contacts.entry(service.to_owned()).or_default();
            contact.to |= state == SubscriptionState::Subscribed;
            contact.asks |= state == SubscriptionState::Pending;
        }
    };
    for place in context.store().subscriptions_of(account.as_str(), None)? {
        if place.node_name.as_str() == PRESENCE && place.subscription.jid.as_full().is_none() {
            follows(&place.service, place.subscription.state);
        }
    }
    for entry in context.store().pam_entries(account.as_str())? {
        if entry.node_name.as_str() == PRESENCE && !entry.unsubscribing {
            follows(&entry.service, entry.state);
        }
    }
    contacts.retain(|jid, standing| *standing != Standing::default() && jid != account.as_str());
    Ok(contacts.into_iter().collect())
}

/// Answers for the node.
pub(super) fn answer(context: &mut Context<'_>, request: &Request<'_>, operation: Operation) -> Handled<Reply> {
    if !is_owners(context, request) {
        return Err(Refusal::Forbidden.into());
    }
    let unsupported =
        |feature| StanzaError::new(Condition::FeatureNotImplemented).with(PubsubCondition::Unsupported(feature));
    match operation {
        Operation::Change => Err(StanzaError::new(Condition::Forbidden).into()),
        Operation::Subscribe => Err(unsupported("subscribe").into()),
        Operation::Archive => Err(StanzaError::new(Condition::FeatureNotImplemented).into()),
        Operation::Info => Ok(info()),
        Operation::Items if request.kind == IqType::Set => Err(StanzaError::new(Condition::BadRequest).into()),
        Operation::Items | Operation::Names => {
            let contacts = contacts(context, request)?;
            list(request, &contacts, operation == Operation::Names)
        }
    }
}

fn list(request: &Request<'_>, contacts: &Contacts, names: bool) -> Handled<Reply> {
    let query = Query::child_of(request.element)?;
    let items = request.element.child("items", ns::PUBSUB);
    let wanted: Vec<&str> =
        items.into_iter().flat_map(|items| items.children()).filter_map(|item| item.attr("id")).collect();
    let mut chosen: Vec<&(String, Standing)> = contacts.iter().collect();
    let mut part = None;
    if wanted.is_empty() {
        let max = query
            .as_ref()
            .and_then(|query| query.max)
            .map_or(PAGE, |max| usize::try_from(max).unwrap_or(PAGE))
            .min(PAGE);
        let count = contacts.len();
        // In the order of the JIDs: a page is found whether or not the contact beside it is still there.
        let (from, to) = match query.as_ref().map(|query| &query.position) {
            None | Some(Position::First) => (0, max),
            Some(Position::Last) => (count.saturating_sub(max), count),
            Some(Position::After(jid)) => {
                let at = contacts.partition_point(|(contact, _)| contact.as_str() <= &**jid);
                (at, at + max)
            }
            Some(Position::Before(jid)) => {
                let at = contacts.partition_point(|(contact, _)| contact.as_str() < &**jid);
                (at.saturating_sub(max), at)
            }
            Some(Position::Index(index)) => {
                let at = usize::try_from(*index).unwrap_or(count).min(count);
                (at, at + max)
            }
        };
        chosen = chosen.drain(from.min(count)..to.min(count)).collect();
        part = (query.is_some() || chosen.len() < count).then_some((from as u64, count as u64));
    } else {
        chosen.retain(|(jid, _)| wanted.contains(&jid.as_str()));
    }
    let mut writer = Writer::with_capacity(chosen.len() * 160 + 256);
    if names {
        writer.start_ns("query", ns::DISCO_ITEMS).attr("node", ns::EVENTING_ROSTER);
        for (jid, _) in &chosen {
            writer.start("item").attr("jid", request.service.jid.as_str()).attr("name", jid).end();
        }
    } else {
        writer.start_ns("pubsub", ns::PUBSUB).start("items").attr("node", ns::EVENTING_ROSTER);
        for (jid, standing) in &chosen {
            write_contact(&mut writer, jid, *standing);
        }
        writer.end();
    }
    if let Some((index, count)) = part {
        let ends = chosen.first().zip(chosen.last()).map(|(first, last)| (first.0.as_str(), last.0.as_str()));
        rsm::write(&mut writer, ends, Some(index), Some(count));
    }
    Ok(Reply::Result(writer.finish()))
}

fn write_contact(writer: &mut Writer, jid: &str, standing: Standing) {
    writer.start("item").attr("id", jid).start_ns("query", ns::ROSTER);
    writer.start("item").attr("jid", jid).attr("subscription", standing.subscription());
    writer.optional_attr("ask", standing.asks.then_some("subscribe"));
    if standing.requested {
        writer.start_ns("request", ns::EVENTING_ROSTER).end();
    }
    writer.end().end().end();
}

fn info() -> Reply {
    let mut writer = Writer::new();
    writer.start_ns("query", ns::DISCO_INFO).attr("node", ns::EVENTING_ROSTER);
    writer.start("identity").attr("category", "pubsub").attr("type", "leaf").end();
    writer.start("feature").attr("var", ns::PUBSUB).end();
    writer.start("feature").attr("var", ns::DISCO_INFO).end();
    forms::start(&mut writer, "result", ns::META_DATA);
    forms::field(&mut writer, "pubsub#access_model", Some("list-single"), None, &[], &["whitelist"]);
    Reply::Result(writer.finish())
}
