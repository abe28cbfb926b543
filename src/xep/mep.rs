//! XEP-0316 (0.1): rooms and their occupants as pubsub services.
//!
//! A room and each of its occupants is a service under one policy; who is in the room has the presence that the access
//! model asks for. An occupant's service lives as long as the stay and moves with the nick ([`crate::engine::rooms`]).
//!
//! The host shows what happens by presence: from the occupant JID to the room, with the real JID of one client in
//! `<item jid/>` as XEP-0045 (section 7.2.3) shows it to moderators; `unavailable` when that client left, with status 303 and the new
//! nick when it has another one. What only the host knows, affiliation and voice, is asked when it matters. Requests for
//! nodes that an occupant does not have stay with the host, which relays them to the person behind (avatars, keys).
//!
//! Whoever leaves takes along what it published, at once. When a room is destroyed, nobody finds its occupants any more, and
//! the store forgets them in steps.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::requests::action;
use super::{DocumentInfo, Extension, Request, Where};
use crate::engine::RoomAffiliation;
use crate::engine::context::{Asker, Context, Handled, ServiceRef};
use crate::engine::event::Happened;
use crate::engine::notify::{Audience, Reach};
use crate::engine::presence::Resource;
use crate::engine::rooms::{Occupant, Stay, stay, stays_in};
use crate::engine::settings::Host;
use crate::engine::subscriptions::Ending;
use crate::jid::{FullJid, Jid};
use crate::ns;
use crate::pubsub::config::SendLastPublishedItem;
use crate::pubsub::{Node, Refusal, SubscriptionState};
use crate::stanza::{Condition, ErrorType, IqType, PubsubCondition, Stanza, StanzaError};
use crate::time::Timestamp;

/// Subscriptions read from the store at a time.
const CHUNK: usize = 1_000;

/// Services of occupants of a destroyed room that one tick removes; the next one follows at once if there are more.
const STEP: usize = 500;

pub(crate) struct Mep;

impl Extension for Mep {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[DocumentInfo {
            number: "0316",
            title: "MUC Eventing Protocol",
            version: "0.1",
            complete: true,
            notes: "rooms and occupants; rooms publish their conference information by themselves",
        }]
    }

    fn serves_rooms(&self) -> bool {
        true
    }

    fn features(&self, _host: &Host, at: Where) -> &'static [&'static str] {
        match at {
            Where::Room => &[
                "http://jabber.org/protocol/pubsub#access-presence",
                "http://jabber.org/protocol/pubsub#auto-create",
                "http://jabber.org/protocol/pubsub#auto-subscribe",
                "http://jabber.org/protocol/pubsub#filtered-notifications",
                "http://jabber.org/protocol/pubsub#last-published",
                "http://jabber.org/protocol/pubsub#presence-notifications",
                "http://jabber.org/protocol/pubsub#presence-subscribe",
            ],
            _ => &[],
        }
    }

    fn on_presence(&self, context: &mut Context<'_>, stanza: &Stanza<'_>, to: &ServiceRef) -> Handled<()> {
        let Some(from) = stanza.from.as_full().filter(|from| from.bare_str() == to.jid.as_str()) else { return Ok(()) };
        let x = stanza.element.child("x", ns::MUC_USER);
        let Some(item) = x.and_then(|x| x.child("item", ns::MUC_USER)) else { return Ok(()) };
        let Some(session) = item.attr("jid") else { return Ok(()) };
        let session = FullJid::parse(session)?;
        let renamed = x.into_iter().flat_map(|x| x.children()).any(|child| child.attr("code") == Some("303"));
        match (stanza.r#type, item.attr("nick")) {
            ("", _) => {
                context.enter(to, from.resource(), &session)?;
                context.resource_came(to, stanza.element, &session)
            }
            ("unavailable", Some(nick)) if renamed => {
                let new = FullJid::parse(&format!("{}/{nick}", to.jid))?;
                context.rename(to, new.resource(), &session)
            }
            ("unavailable", _) => context.leave(to, &session),
            _ => Ok(()),
        }
    }

    fn on_event(&self, context: &mut Context<'_>, event: &Happened<'_>) -> Handled<()> {
        let (service, node, there) = match event {
            Happened::NodeCreated { service, node, .. } => (service, node, true),
            Happened::NodeDeleted { service, node, .. } => (service, node, false),
            Happened::SubscriptionChanged { service, jid, new, .. } if *new != SubscriptionState::None => {
                context.note_subscribed(service.room(), jid);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let Some(occupant) = context.memory.presences.rooms().occupant(&service.name) else { return Ok(()) };
        let mut nodes = occupant.nodes.as_ref().clone();
        let changed = if there { nodes.insert(node.name.as_str().into()) } else { nodes.remove(node.name.as_str()) };
        if changed {
            let occupant = Occupant { nodes: Arc::new(nodes), published: true, ..occupant.clone() };
            context.memory.presences.put_occupant(&service.name, Some(occupant));
        }
        Ok(())
    }

    fn next_tick(&self, context: &mut Context<'_>) -> Option<Timestamp> {
        context.memory.presences.rooms().next_gone().map(|_| context.now)
    }

    fn on_tick(&self, context: &mut Context<'_>) -> Handled<()> {
        context.remove_gone()
    }
}

/// Finds out who asks, and whether the request is for the service or for the person behind it. Refuses what nobody of
/// that standing may ask.
pub(crate) fn admit(context: &mut Context<'_>, request: &Request<'_>) -> Handled<bool> {
    let (service, element) = (&request.service, request.element);
    let session = request.from.as_full();
    let own_stay = session.and_then(|jid| context.memory.presences.rooms().by_session(service.room(), jid)).cloned();
    let own = context.privileged || (service.is_occupant() && own_stay.as_ref() == Some(&service.name));
    context.asker = Asker { own, inside: context.privileged || own_stay.is_some() };
    match element.ns() {
        ns::PUBSUB | ns::PUBSUB_OWNER => {}
        ns::DISCO_INFO | ns::DISCO_ITEMS => return admit_disco(context, request),
        _ => return Ok(false),
    }
    let action = action(element, element.ns())?;
    let node = action.attr("node").filter(|node| !node.is_empty());
    let subscribes = element.ns() == ns::PUBSUB && matches!(action.name(), "subscribe" | "unsubscribe" | "options");
    if service.is_occupant() && request.kind == IqType::Get && !context.privileged {
        // What the occupant does not have is asked of the person behind.
        let ours = match node {
            Some(node) => context.node(service, node)?.is_some(),
            None => own,
        };
        if !ours {
            return Ok(false);
        }
    }
    if request.kind == IqType::Get || subscribes {
        must_be_inside(context, request)?;
    } else {
        may_change(context, request, element.ns() == ns::PUBSUB_OWNER, action.name())?;
    }
    if element.ns() == ns::PUBSUB_OWNER && matches!(action.name(), "subscriptions" | "affiliations") {
        // Both would name the people behind the nicks, and there is one publisher per node.
        let feature = if action.name() == "subscriptions" { "manage-subscriptions" } else { "modify-affiliations" };
        let error = StanzaError::new(Condition::FeatureNotImplemented);
        return Err(error.with(PubsubCondition::Unsupported(feature)).into());
    }
    Ok(true)
}

/// The room answers for itself and adds its nodes; a client behind an occupant answers for what is not a node here.
fn admit_disco(context: &mut Context<'_>, request: &Request<'_>) -> Handled<bool> {
    let (service, inside) = (&request.service, context.asker.inside);
    if request.kind != IqType::Get {
        return Ok(false);
    }
    match request.element.attr("node").filter(|node| !node.is_empty()) {
        Some(node) => Ok(context.node(service, node)?.is_some()),
        None if request.element.ns() == ns::DISCO_INFO => Ok(false),
        None if service.is_occupant() => {
            let occupant = context.memory.presences.rooms().occupant(&service.name);
            Ok(inside && occupant.is_some_and(|occupant| !occupant.nodes.is_empty()))
        }
        None => Ok(true),
    }
}

fn must_be_inside(context: &mut Context<'_>, request: &Request<'_>) -> Handled<()> {
    if context.asker.inside {
        return Ok(());
    }
    let (affiliation, _) = context.room_standing(&request.from, request.service.room())?;
    Err(match affiliation {
        RoomAffiliation::Outcast => Refusal::Forbidden,
        _ => Refusal::PresenceRequired,
    }
    .into())
}

/// An occupant changes what is its own; a room does what the server tells it.
fn may_change(context: &mut Context<'_>, request: &Request<'_>, owners: bool, action: &str) -> Handled<()> {
    if context.privileged {
        return Ok(());
    }
    let service = &request.service;
    let publishes = !owners && matches!(action, "publish" | "create");
    if service.is_occupant() {
        if !context.asker.inside {
            return Err(StanzaError::new(Condition::NotAcceptable).of_type(ErrorType::Modify).into());
        }
        if !context.asker.own || (publishes && !context.room_standing(&request.from, service.room())?.1) {
            return Err(Refusal::Forbidden.into());
        }
        return Ok(());
    }
    let deletes = owners && action == "delete";
    let allowed = (deletes || service.policy().owners_publish)
        && context.asker.inside
        && context.room_standing(&request.from, service.room())?.0 == RoomAffiliation::Owner;
    context.asker.own = allowed;
    if allowed { Ok(()) } else { Err(Refusal::Forbidden.into()) }
}

impl Context<'_> {
    fn occupant(&self, stay: &str) -> Option<Occupant> {
        self.memory.presences.rooms().occupant(stay).cloned()
    }

    /// A client is in the room under that nick.
    fn enter(&mut self, room: &ServiceRef, nick: &str, session: &FullJid) -> Handled<()> {
        let rooms = self.memory.presences.rooms();
        if rooms.by_session(&room.name, session).is_some() {
            return Ok(());
        }
        if rooms.count(&room.name) == 0 {
            self.room_described(room)?;
            self.end_stale_subscriptions(room)?;
        }
        let rooms = self.memory.presences.rooms();
        let subscribed = rooms
            .stays_of(&room.name, session.bare_str())
            .any(|stay| rooms.occupant(stay).is_some_and(|occupant| occupant.subscribed));
        let (stay, known) = match rooms.by_nick(&room.name, nick).cloned() {
            Some(stay) => (stay.clone(), self.occupant(&stay)),
            None => (stay(&room.name, &self.memory.ids.random()), None),
        };
        let comes = known.is_none();
        let mut occupant = known.unwrap_or_else(|| Occupant { nick: nick.into(), ..Occupant::default() });
        Arc::make_mut(&mut occupant.sessions).insert(session.clone());
        occupant.subscribed |= subscribed;
        self.memory.presences.put_occupant(&stay, Some(occupant));
        if comes {
            self.occupants_changed(room);
        }
        Ok(())
    }

    /// A client has another nick. What the occupant has moves along, unless other clients stay behind under the old nick, or
    /// somebody is there under the new one already. What the client is subscribed to does in any case.
    fn rename(&mut self, room: &ServiceRef, nick: &str, session: &FullJid) -> Handled<()> {
        let rooms = self.memory.presences.rooms();
        let Some(stay) = rooms.by_session(&room.name, session).cloned() else { return Ok(()) };
        let taken = rooms.by_nick(&room.name, nick).is_some();
        let Some(occupant) = self.occupant(&stay) else { return Ok(()) };
        if *occupant.nick == *nick {
            return Ok(());
        }
        if occupant.sessions.len() == 1 && !taken {
            let occupant = Occupant { nick: nick.into(), ..occupant };
            self.memory.presences.put_occupant(&stay, Some(occupant));
            return Ok(());
        }
        // Others of the same bare JID are there, under one nick or the other: from them the mark of being subscribed is taken over.
        self.drop_session(&stay, session)?;
        self.enter(room, nick, session)
    }

    /// A client has left the room: by itself, kicked, banned, or cut off.
    fn leave(&mut self, room: &ServiceRef, session: &FullJid) -> Handled<()> {
        let Some(stay) = self.memory.presences.rooms().by_session(&room.name, session).cloned() else { return Ok(()) };
        let subscribed = self.occupant(&stay).is_some_and(|occupant| occupant.subscribed);
        self.memory.presences.put(&room.name, session, None);
        self.drop_session(&stay, session)?;
        if self.memory.presences.rooms().count(&room.name) == 0 {
            self.memory.presences.put_conference(&room.name, None);
        } else if self.memory.presences.rooms().occupant(&stay).is_none() {
            self.occupants_changed(room);
        }
        // Most have not subscribed to anything: for them the store is not asked.
        if !subscribed {
            return Ok(());
        }
        let alone = self.memory.presences.rooms().sessions_of(&room.name, session.bare_str()).next().is_none();
        for place in self.store().subscriptions_of(session.bare_str(), None)? {
            let subscribed = &place.subscription.jid;
            let ended = alone || subscribed.as_full() == Some(session);
            let service = self.service_at(&crate::jid::BareJid::from_prepared(&place.service));
            let Some(service) = service.filter(|service| ended && service.in_room() && service.room() == &*room.name)
            else {
                continue;
            };
            if let Some(node) = self.node(&service, place.node_name.as_str())? {
                self.end_subscription(&service, &node, &place.subscription, Ending::Silent)?;
            }
        }
        Ok(())
    }

    /// Notes that clients of that JID have subscribed to something in the room, which ends when they leave.
    fn note_subscribed(&mut self, room: &str, jid: &Jid) {
        let stays: Vec<Stay> = self.memory.presences.rooms().stays_of(room, jid.bare_str()).cloned().collect();
        for stay in stays {
            if let Some(occupant) = self.occupant(&stay).filter(|occupant| !occupant.subscribed) {
                self.memory.presences.put_occupant(&stay, Some(Occupant { subscribed: true, ..occupant }));
            }
        }
    }

    /// Nobody is in the room: whoever is subscribed to its nodes was there when the server ended.
    fn end_stale_subscriptions(&mut self, room: &ServiceRef) -> Handled<()> {
        let Some(row) = self.stored_service(room)?.filter(|row| row.nodes > 0) else { return Ok(()) };
        self.flush()?;
        for node in self.store().nodes(row.key, None, usize::MAX)? {
            if node.counters.subscribers == 0 {
                continue;
            }
            let Some(node) = self.node(room, node.name.as_str())? else { continue };
            for subscription in self.store().subscriptions(node.key, None, usize::MAX)? {
                self.end_subscription(room, &node, &subscription, Ending::Silent)?;
            }
        }
        Ok(())
    }

    /// Takes a client from an occupant; with the last one all that the occupant has goes, silently.
    fn drop_session(&mut self, stay: &Stay, session: &FullJid) -> Handled<()> {
        let Some(mut occupant) = self.occupant(stay) else { return Ok(()) };
        if occupant.sessions.len() == 1 && occupant.sessions.contains(session) {
            return self.drop_occupant(stay, &occupant);
        }
        Arc::make_mut(&mut occupant.sessions).remove(session);
        self.memory.presences.put_occupant(stay, Some(occupant));
        Ok(())
    }

    fn drop_occupant(&mut self, stay: &Stay, occupant: &Occupant) -> Handled<()> {
        let service = self.occupant_service(stay);
        self.memory.presences.put_occupant(stay, None);
        // Most have published nothing: for them the store is not asked.
        match service.filter(|_| occupant.published) {
            Some(service) => self.remove_service(&service),
            None => Ok(()),
        }
    }

    /// The room was destroyed, or begins anew: all that it and its occupants had goes, silently. From now on nobody finds
    /// the occupants; what the store holds of them is removed in steps.
    pub(crate) fn room_removed(&mut self, room: &ServiceRef) -> Handled<()> {
        if self.memory.presences.rooms().count(&room.name) > 0 {
            self.memory.presences.remove_room(&room.name);
            self.memory.presences.put_gone(&room.name, Some(stays_in(&room.name).0));
            self.wake_at(self.now);
        }
        self.remove_service(room)
    }

    /// Removes from the store what some occupants of a destroyed room had.
    fn remove_gone(&mut self) -> Handled<()> {
        let Some((room, from, to)) = self.memory.presences.rooms().next_gone() else { return Ok(()) };
        let found = self.store().services_between(&from, &to, STEP)?;
        for service in &found {
            // The room may be there again, with others in it.
            if self.memory.presences.rooms().occupant(&service.jid).is_none() {
                self.change().delete_service(service.key)?;
                self.memory.cache.remove_service(&service.jid);
            }
        }
        let last = found.last().filter(|_| found.len() == STEP);
        // The least name that is greater.
        self.memory.presences.put_gone(&room, last.map(|last| format!("{}\0", last.jid)));
        Ok(())
    }

    /// Who gets an event of a room or an occupant: whoever is there and asked for it, and whoever is there and subscribed.
    pub(crate) fn room_audience(&mut self, service: &ServiceRef, node: &Node, _reach: Reach) -> Handled<Audience> {
        let room = service.room();
        let wanting = self.memory.presences.rooms().wanting(room, node.name.as_str());
        let mut recipients: Vec<Arc<str>> = wanting.map(FullJid::shared).collect();
        let mut after = None;
        let mut subscribed = BTreeSet::new();
        loop {
            let chunk = self.store().subscriptions(node.key, after, CHUNK)?;
            after = chunk.last().map(|subscription| subscription.key);
            for subscription in chunk.iter().filter(|subscription| subscription.options.deliver) {
                if self.is_live(subscription) {
                    subscribed.extend(self.places_of(room, &subscription.jid));
                }
            }
            if chunk.len() < CHUNK {
                break;
            }
        }
        let presences = &self.memory.presences;
        let wants = |jid: &FullJid| presences.resource(room, jid).is_some_and(|known| known.wants(node.name.as_str()));
        recipients.extend(subscribed.iter().filter(|jid| !wants(jid)).map(FullJid::shared));
        Ok(Audience { others: recipients.into(), ..Audience::default() })
    }

    /// The clients in the room that a subscriber's JID stands for.
    pub(crate) fn places_of(&self, room: &str, jid: &Jid) -> Vec<FullJid> {
        let rooms = self.memory.presences.rooms();
        match jid {
            Jid::Full(jid) => rooms.by_session(room, jid).map(|_| jid.clone()).into_iter().collect(),
            Jid::Bare(jid) => rooms.sessions_of(room, jid.as_str()).cloned().collect(),
        }
    }

    /// The nodes of a name in a room: its own, and those of its occupants.
    fn nodes_in_room(&mut self, room: &ServiceRef, name: &str) -> Handled<Vec<(ServiceRef, Node)>> {
        let mut found = Vec::new();
        if let Some(node) = self.node(room, name)? {
            found.push((room.clone(), node));
        }
        for stay in self.memory.presences.rooms().with_node(&room.name, name) {
            let Some(service) = self.occupant_service(&stay) else { continue };
            if let Some(node) = self.node(&service, name)? {
                found.push((service, node));
            }
        }
        Ok(found)
    }

    /// Sends a client in the room the last items of the nodes that it wants, once each.
    pub(crate) fn send_items_in_room(&mut self, room: &ServiceRef, jid: &FullJid) -> Handled<()> {
        let Some(resource) = self.memory.presences.resource(&room.name, jid).cloned() else { return Ok(()) };
        let Some(features) = resource.features().cloned() else { return Ok(()) };
        let mut wanted: Vec<&str> = features.wanted().collect();
        wanted.sort_unstable();
        let mut sent = resource.sent.as_ref().clone();
        for name in wanted {
            for (service, node) in self.nodes_in_room(room, name)? {
                let on_presence = node.config.send_last_published_item == SendLastPublishedItem::OnSubAndPresence;
                if sent.insert(node.key) && on_presence && !self.follows_at_once(&service, &node) {
                    self.send_last_item(&service, &node, jid.as_str(), false)?;
                }
            }
        }
        self.memory.presences.put(&room.name, jid, Some(Resource { sent: Arc::new(sent), ..resource }));
        Ok(())
    }

    /// What a client in a room has wanted until now it has seen; it is to get the last items of what it wants newly.
    pub(crate) fn note_seen(&mut self, room: &ServiceRef, jid: &FullJid) -> Handled<()> {
        let Some(resource) = self.memory.presences.resource(&room.name, jid).cloned() else { return Ok(()) };
        let Some(features) = resource.features().cloned() else { return Ok(()) };
        let mut sent = resource.sent.as_ref().clone();
        for name in features.wanted() {
            sent.extend(self.nodes_in_room(room, name)?.iter().map(|(_, node)| node.key));
        }
        self.memory.presences.put(&room.name, jid, Some(Resource { sent: Arc::new(sent), ..resource }));
        Ok(())
    }
}
