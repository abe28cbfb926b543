//! Who gets an event, and how it is said (XEP-0060, sections 7.1.2 and 12.2; XEP-0163, section 4.3).
//!
//! On a component the recipients are the literal JIDs that subscribed. On an account they are the explicit subscribers
//! and whoever sent presence with a fitting `+notify`. A bare JID with interested resources gets one copy at each of
//! them, one without gets a single copy at the bare JID; an explicit subscription never adds a second copy.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::audience::KnownAudience;
use super::context::{Context, Handled, ServiceRef};
use super::decision::Decision;
use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::pubsub::config::{ItemReply, Limit, NotificationType, SendLastPublishedItem};
use crate::pubsub::policy::Eventing;
use crate::pubsub::store::{Place, Subscriber};
use crate::pubsub::subscription::Expiry;
use crate::pubsub::{Action, Affiliation, Item, Node, Subscription, SubscriptionState};
use crate::time::Timestamp;
use crate::xml::Writer;

/// Subscriptions read from the store at a time.
const CHUNK: usize = 1_000;

/// Resources of one account that a new subscriber is told of, the latest ones (XEP-0207).
const PRESENCES: u64 = 100;

/// Who gets an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audience {
    /// Those who also receive the account's presence: they are told whom to reply to.
    pub(crate) contacts: Vec<Arc<str>>,
    /// Those of a component who want the payload in words as well (`pubsub#include_body`).
    pub(crate) readers: Vec<Arc<str>>,
    /// The payload in words, if there are any.
    pub(crate) summary: Option<String>,
    /// Everyone else.
    pub(crate) others: Others,
}

/// The greater part of an audience; shared with the cache where it can be.
pub(crate) type Others = Arc<[Arc<str>]>;

/// Which subscribers an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those in state subscribed.
    Subscribed,
    /// Those who wait as well (the node is going).
    Everyone,
}

/// Whether nothing but the store decides if somebody gets events, and how.
fn is_lasting(subscriber: &Subscriber) -> bool {
    subscriber.show_values == 0 && subscriber.expire_at.is_none() && !subscriber.include_body
}

impl Context<'_> {
    /// Finds out who gets an event of the node. Nothing is written; facts may be needed.
    pub(crate) fn audience(&mut self, service: &ServiceRef, node: &Node, reach: Reach) -> Handled<Audience> {
        if !node.config.deliver_notifications && reach == Reach::Subscribed {
            return Ok(Audience::default());
        }
        if service.is_account() {
            return self.account_audience(service, node, reach);
        }
        if service.in_room() {
            return self.room_audience(service, node, reach);
        }
        if reach == Reach::Subscribed
            && let Some(cached) = self.memory.cache.node(node.service, node.name.as_str())
            && let Some(audience) = &mut cached.audience
        {
            return Ok(Audience { others: audience.list(), ..Audience::default() });
        }
        if reach == Reach::Everyone {
            return self.everyone(node);
        }
        let (mut recipients, mut readers) = (Vec::new(), Vec::new());
        let mut lasting = !node.config.presence_based_delivery;
        let mut after = None;
        loop {
            let chunk = self.store().subscribers(node.key, after, CHUNK)?;
            after = chunk.last().map(|subscriber| subscriber.key);
            let last = chunk.len() < CHUNK;
            for subscriber in chunk {
                lasting &= is_lasting(&subscriber);
                if self.is_due(service, node, &subscriber) {
                    let list = if subscriber.include_body { &mut readers } else { &mut recipients };
                    list.push(subscriber.jid);
                }
            }
            if last {
                break;
            }
        }
        let others: Others = recipients.into();
        if lasting && let Some(cached) = self.memory.cache.node(node.service, node.name.as_str()) {
            cached.audience = Some(KnownAudience::new(others.clone()));
            self.memory.cache.reweigh(node.service, node.name.as_str());
        }
        Ok(Audience { others, readers, ..Audience::default() })
    }

    /// Every subscriber, and who waits to be one.
    fn everyone(&mut self, node: &Node) -> Handled<Audience> {
        let mut everyone = Vec::new();
        let mut after = None;
        loop {
            let chunk = self.store().subscriptions(node.key, after, CHUNK)?;
            after = chunk.last().map(|subscription| subscription.key);
            everyone.extend(chunk.iter().map(|subscription| Arc::from(subscription.jid.as_str())));
            if chunk.len() < CHUNK {
                return Ok(Audience { others: everyone.into(), ..Audience::default() });
            }
        }
    }

    /// Whether somebody who is subscribed to a component's node gets its events now.
    fn is_due(&self, service: &ServiceRef, node: &Node, subscriber: &Subscriber) -> bool {
        if subscriber.expire_at.is_some_and(|end| end <= self.now) {
            return false;
        }
        // Whoever is subscribed passes `authorize`: being subscribed is what the model asks for.
        let standing =
            crate::pubsub::Standing { affiliation: subscriber.affiliation, subscribed: true, relation: None };
        if crate::pubsub::may(standing, Action::Receive, &node.config).is_err() {
            return false;
        }
        self.is_there(service, node, &subscriber.jid, subscriber.show_values)
    }

    /// Whether the subscriber's presence is one in which events are wanted: by the node (`pubsub#presence_based_delivery`), and
    /// by the subscription, whose wish is given as bits of its `pubsub#show-values`.
    fn is_there(&self, service: &ServiceRef, node: &Node, jid: &str, wanted: u8) -> bool {
        if !node.config.presence_based_delivery && wanted == 0 {
            return true;
        }
        let fits = |show: u8| wanted == 0 || show & wanted != 0;
        let presences = &self.memory.presences;
        match Jid::from_prepared(jid) {
            Jid::Full(jid) => presences.resource(&service.name, &jid).is_some_and(|resource| fits(resource.show)),
            Jid::Bare(jid) => presences.resources(&service.name, jid.as_str()).any(|(_, resource)| fits(resource.show)),
        }
    }

    /// Keeps what is known of a node's audience in step with a subscription that is in that state now.
    pub(crate) fn audience_changed(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        subscription: &Subscription,
        state: SubscriptionState,
    ) -> Handled<()> {
        let name = node.name.as_str();
        if self.memory.cache.node(node.service, name).is_none_or(|cached| cached.audience.is_none()) {
            return Ok(());
        }
        let mut gets = false;
        if state == SubscriptionState::Subscribed && subscription.options.deliver {
            let affiliation = self.affiliation(service, node, subscription.jid.bare_str())?;
            let subscriber = Subscriber::of(subscription, affiliation);
            if !is_lasting(&subscriber) {
                self.forget_audience(node);
                return Ok(());
            }
            gets = self.is_due(service, node, &subscriber);
        }
        if let Some(cached) = self.memory.cache.node(node.service, name)
            && let Some(known) = &mut cached.audience
        {
            known.change(subscription.jid.as_str(), gets);
            if known.is_outdated() {
                self.forget_audience(node);
            }
        }
        Ok(())
    }

    /// Whether a subscription is in force now: an ended lease counts no more, whenever it is swept.
    pub(crate) fn is_live(&self, subscription: &Subscription) -> bool {
        subscription.state == SubscriptionState::Subscribed && !self.has_ended(subscription)
    }

    /// Whether the lease of a subscription is over, swept or not.
    pub(crate) fn has_ended(&self, subscription: &Subscription) -> bool {
        matches!(subscription.options.expire, Expiry::At(end) if end <= self.now)
    }

    fn account_audience(&mut self, service: &ServiceRef, node: &Node, reach: Reach) -> Handled<Audience> {
        // By bare JID: the full JIDs that want it, and the literal JIDs that are subscribed.
        let mut candidates: BTreeMap<BareJid, (Vec<Arc<str>>, Vec<Jid>)> = BTreeMap::new();
        for (bare, resources) in self.memory.presences.everyone(&service.name) {
            let wanting = resources.iter().filter(|(_, resource)| resource.wants(node.name.as_str()));
            let wanting: Vec<Arc<str>> = wanting.map(|(name, _)| format!("{bare}/{name}").into()).collect();
            if !wanting.is_empty() {
                candidates.entry(bare.clone()).or_default().0 = wanting;
            }
        }
        let mut after = None;
        loop {
            let chunk = self.store().subscriptions(node.key, after, CHUNK)?;
            after = chunk.last().map(|subscription| subscription.key);
            for subscription in &chunk {
                let options = &subscription.options;
                let is_there = || self.is_there(service, node, subscription.jid.as_str(), options.show_values);
                if reach == Reach::Everyone || (self.is_live(subscription) && options.deliver && is_there()) {
                    candidates.entry(subscription.jid.to_bare()).or_default().1.push(subscription.jid.clone());
                }
            }
            if chunk.len() < CHUNK {
                break;
            }
        }
        let mut audience = Audience::default();
        let mut others = Vec::new();
        let mut all = true;
        for (bare, (wanting, subscribed)) in candidates {
            let standing = self
                .gather(|context| context.recipient(service, node, &bare, !subscribed.is_empty(), reach), &mut all)?;
            let Some(Some(is_contact)) = standing else { continue };
            let mut recipients: Vec<Arc<str>> = Vec::new();
            let literal_full = subscribed.iter().filter(|jid| jid.as_full().is_some());
            recipients.extend(literal_full.map(|jid| Arc::from(jid.as_str())));
            let has_bare = subscribed.iter().any(|jid| jid.as_full().is_none());
            if wanting.is_empty() && has_bare {
                recipients.push(bare.as_str().into());
            }
            recipients.extend(wanting.into_iter().filter(|jid| !subscribed.iter().any(|s| s.as_str() == &**jid)));
            if is_contact {
                audience.contacts.append(&mut recipients);
            } else {
                others.append(&mut recipients);
            }
        }
        if !all {
            return Err(super::context::Stop::Need);
        }
        audience.others = others.into();
        Ok(audience)
    }

    /// Whether the bare JID may have the account's events now, and if so, whether it receives the account's presence.
    fn recipient(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        bare: &BareJid,
        subscribed: bool,
        reach: Reach,
    ) -> Handled<Option<bool>> {
        if service.is_owner(bare.as_str()) {
            return Ok(Some(true));
        }
        let affiliation = self.affiliation(service, node, bare.as_str())?;
        if affiliation == Affiliation::Outcast && reach == Reach::Subscribed {
            return Ok(None);
        }
        let mut all = true;
        let relation = self.gather(|context| context.relation(&service.jid, bare.as_str()), &mut all)?;
        let blocked = self.gather(|context| context.is_blocked(&service.jid, bare), &mut all)?;
        let (Some(relation), Some(blocked)) = (relation, blocked) else {
            return Err(super::context::Stop::Need);
        };
        if blocked {
            return Ok(None);
        }
        let standing = crate::pubsub::Standing { affiliation, subscribed, relation: Some(&relation) };
        let entitled = crate::pubsub::may(standing, Action::Receive, &node.config).is_ok();
        let tell = entitled || (reach == Reach::Everyone && subscribed);
        Ok(tell.then_some(relation.presence))
    }

    /// Sends `<event>BODY</event>` to an audience.
    pub(crate) fn notify(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        audience: Audience,
        body: &str,
        reply_to: Option<&Jid>,
    ) {
        let Audience { contacts, readers, summary, others } = audience;
        // In a room or conversation it is the only sign of who speaks (XEP-0207, section 5).
        let author = reply_to.filter(|_| shows_author(service));
        let reply_to = reply_to.filter(|_| service.is_account());
        let all = [(contacts.into(), reply_to, None), (others, author, None), (readers.into(), author, summary)];
        for (recipients, reply_to, summary) in all {
            let recipients: Others = recipients;
            if recipients.is_empty() {
                continue;
            }
            let mut writer = event_message(service, node, None, body);
            if let Some(jid) = reply_to {
                write_reply_to(&mut writer, jid.as_str());
            }
            if let Some(summary) = summary {
                writer.start("body").text(&summary).end();
            }
            let id = self.event_id(node);
            self.out.push(Decision::Multicast { stanza: writer.finish(), id, recipients });
        }
    }

    /// The `id` of a notification names the node, so that a delivery error can be traced to a subscription.
    fn event_id(&mut self, node: &Node) -> String {
        format!("{:x}.{}", node.key.0, self.memory.ids.event())
    }

    /// Sends `<event>BODY</event>` to one JID.
    pub(crate) fn notify_one(
        &mut self,
        service: &ServiceRef,
        node: &Node,
        to: &str,
        body: &str,
        published: Option<(Timestamp, Option<&str>)>,
    ) {
        let mut writer = event_message(service, node, Some(to), body);
        if let Some((stamp, reply_to)) = published {
            writer.start_ns("delay", ns::DELAY).attr("stamp", &stamp.to_string()).end();
            if let Some(jid) = reply_to {
                write_reply_to(&mut writer, jid);
            }
        }
        let id = self.event_id(node);
        let stanza = writer.finish();
        let stanza = stanza.replacen("<message", &format!("<message id='{id}-0'"), 1);
        self.out.push(Decision::Route { stanza });
    }

    /// Items published at or before this time have expired (`pubsub#item_expire`).
    pub(crate) fn live_after(&self, node: &Node) -> Option<Timestamp> {
        match node.config.item_expire {
            Limit::Of(0) | Limit::Max => None,
            Limit::Of(seconds) => Some(self.now.plus_seconds(-i64::from(seconds))),
        }
    }

    /// The newest item that has not expired.
    pub(crate) fn last_item(&mut self, node: &Node) -> Handled<Option<Arc<Item>>> {
        let live_after = self.live_after(node);
        if let Some(cached) = self.memory.cache.node(node.service, node.name.as_str())
            && let Some(last) = &cached.last
        {
            let live = live_after.is_none_or(|limit| last.published > limit);
            return Ok(live.then(|| last.clone()));
        }
        let last = self.store().last_item(node.key, live_after)?.map(Arc::new);
        if let (Some(last), Some(cached)) = (&last, self.memory.cache.node(node.service, node.name.as_str())) {
            cached.last = Some(last.clone());
            self.memory.cache.reweigh(node.service, node.name.as_str());
        }
        Ok(last)
    }

    /// Sends the newest item to one JID, with the time at which it was published.
    pub(crate) fn send_last_item(&mut self, service: &ServiceRef, node: &Node, to: &str, contact: bool) -> Handled<()> {
        if !node.config.deliver_notifications {
            return Ok(());
        }
        if service.eventing(node.name.as_str()) == Some(Eventing::Presence) {
            // One item for each resource: all of them are the present state.
            let live_after = self.live_after(node);
            let page = self.store().items(node.key, &node.counters, live_after, Place::Last, PRESENCES)?;
            for item in page.rows {
                let body = items_body(service, node, std::slice::from_ref(&item));
                let reply_to = contact.then_some(&*item.publisher);
                self.notify_one(service, node, to, &body, Some((item.published, reply_to)));
            }
            return Ok(());
        }
        if let Some(item) = self.last_item(node)? {
            let body = items_body(service, node, std::slice::from_ref(&*item));
            let reply_to = (contact || shows_author(service)).then_some(&*item.publisher);
            self.notify_one(service, node, to, &body, Some((item.published, reply_to)));
        }
        Ok(())
    }

    /// Sends the last items that a resource of a contact (or of the account itself) has coming, once each.
    pub(crate) fn send_wanted_items(&mut self, service: &ServiceRef, jid: &crate::jid::FullJid) -> Handled<()> {
        if service.in_room() {
            return self.send_items_in_room(service, jid);
        }
        if !service.is_account() || self.stored_service(service)?.is_none_or(|row| row.nodes == 0) {
            return Ok(());
        }
        if service.policy().quiet_offline && !service.is_owner(jid.bare_str()) {
            let account = service.jid.as_str();
            if self.memory.presences.resources(&service.name, account).next().is_none() {
                return Ok(());
            }
        }
        let Some(resource) = self.memory.presences.resource(&service.name, jid).cloned() else {
            return Ok(());
        };
        let Some(features) = resource.features().cloned() else {
            return Ok(());
        };
        let mut wanted: Vec<&str> = features.wanted().collect();
        wanted.sort_unstable();
        let mut sent: HashSet<_> = resource.sent.as_ref().clone();
        let mut due = Vec::new();
        let bare = jid.to_bare();
        for name in wanted {
            let Some(node) = self.node(service, name)? else { continue };
            let subscriptions = self.store().subscriptions_to(node.key, bare.as_str())?;
            let subscribed = subscriptions.iter().any(|subscription| self.is_live(subscription));
            let Some(contact) = self.recipient(service, &node, &bare, subscribed, Reach::Subscribed)? else {
                // Whoever comes to be entitled later has this item coming.
                sent.remove(&node.key);
                continue;
            };
            let on_presence = node.config.send_last_published_item == SendLastPublishedItem::OnSubAndPresence;
            if sent.insert(node.key) && on_presence {
                due.push((node, contact));
            }
        }
        for (node, contact) in due {
            self.send_last_item(service, &node, jid.as_str(), contact)?;
        }
        let sent = Arc::new(sent);
        self.memory.presences.put(&service.name, jid, Some(super::presence::Resource { sent, ..resource }));
        Ok(())
    }
}

fn event_message(service: &ServiceRef, node: &Node, to: Option<&str>, body: &str) -> Writer {
    let mut writer = Writer::with_capacity(body.len() + 256);
    writer.start("message").attr("from", service.jid.as_str()).optional_attr("to", to);
    if service.in_room() || node.config.notification_type == NotificationType::Headline {
        writer.attr("type", "headline");
    }
    writer.start_ns("event", ns::PUBSUB_EVENT).raw(body).end();
    writer
}

/// Whether everybody is told who published: in rooms and conversations (XEP-0207).
fn shows_author(service: &ServiceRef) -> bool {
    matches!(service.policy().eventing, Some(Eventing::Rooms | Eventing::Conversations))
}

/// XEP-0163, section 4.3.1: whom to reply to.
fn write_reply_to(writer: &mut Writer, jid: &str) {
    writer.start_ns("addresses", ns::ADDRESS);
    writer.start("address").attr("type", "replyto").attr("jid", jid).end().end();
}

/// Who published an item, if items of the node show it.
pub(crate) fn shown_publisher<'i>(service: &'i ServiceRef, node: &Node, item: &'i Item) -> Option<&'i str> {
    let shows = node.config.itemreply == ItemReply::Publisher || service.policy().expose_publisher;
    if service.in_room() {
        // One publisher per node: the room or the occupant. Nothing tells who that really is.
        return shows.then_some(service.jid.as_str());
    }
    // The bare JID: a resource would tell more than who wrote it.
    shows.then(|| item.publisher.split_once('/').map_or(&*item.publisher, |(bare, _)| bare))
}

/// Writes one `<item/>`, as it is retrieved or notified.
pub(crate) fn write_item(writer: &mut Writer, item: &Item, publisher: Option<&str>, payload: bool) {
    writer.start("item").attr("id", item.id.as_str()).optional_attr("publisher", publisher);
    writer.raw(if payload { &item.payload } else { "" }).end();
}

/// `<items/>` for a notification.
pub(crate) fn items_body(service: &ServiceRef, node: &Node, items: &[Item]) -> String {
    let mut writer = Writer::with_capacity(256 + items.iter().map(|item| item.payload.len()).sum::<usize>());
    writer.start("items").attr("node", node.name.as_str());
    let carries_items = node.config.persist_items || node.config.deliver_payloads;
    for item in items.iter().filter(|_| carries_items) {
        write_item(&mut writer, item, shown_publisher(service, node, item), node.config.deliver_payloads);
    }
    writer.finish()
}

/// `<items/>` that says what was removed.
pub(crate) fn retract_body<'i>(node: &str, ids: impl Iterator<Item = &'i str>) -> String {
    let mut writer = Writer::new();
    writer.start("items").attr("node", node);
    for id in ids {
        writer.start("retract").attr("id", id).end();
    }
    writer.finish()
}
