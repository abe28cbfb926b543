//! XEP-0316 (0.1): rooms and their occupants as pubsub services.
//!
//! A room and each of its occupants is a service under one policy; who is in the room has the presence that the access
//! model asks for. An occupant's service lives as long as the stay and moves with the nick ([`crate::engine::rooms`]).
//!
//! The host shows what happens by presence: from the occupant JID to the room, with the real JID of one client in
//! `<item jid/>` as XEP-0045 (section 7.2.3) shows it to moderators; `unavailable` when that client left, with status 303 and the new
//! nick when it has another one. What only the host knows, affiliation and voice, is asked when it matters. Requests for
//! nodes that an occupant does not have stay with the host, which relays them to the person behind (avatars, keys).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::requests::action;
use super::{DocumentInfo, Extension, Request, Where};
use crate::engine::RoomAffiliation;
use crate::engine::context::{Asker, Context, Handled, ServiceRef};
use crate::engine::event::Happened;
use crate::engine::notify::{Audience, Reach};
use crate::engine::presence::Resource;
use crate::engine::rooms::{Occupant, Stay, stay};
use crate::engine::settings::Host;
use crate::engine::subscriptions::Ending;
use crate::jid::{FullJid, Jid};
use crate::ns;
use crate::pubsub::config::SendLastPublishedItem;
use crate::pubsub::{Node, Refusal};
use crate::stanza::{Condition, ErrorType, IqType, PubsubCondition, Stanza, StanzaError};

/// Subscriptions read from the store at a time.
const CHUNK: usize = 1_000;

pub(crate) struct Mep;

impl Extension for Mep {
    fn documents(&self) -> &'static [DocumentInfo] {
        &[DocumentInfo {
            number: "0316",
            title: "MUC Eventing Protocol",
            version: "0.1",
            complete: false,
            notes: "rooms and occupants",
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
                context.enter(to, from.resource(), &session);
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
            _ => return Ok(()),
        };
        let Some(occupant) = context.memory.presences.rooms().occupant(&service.name) else { return Ok(()) };
        let mut nodes = occupant.nodes.as_ref().clone();
        let changed = if there { nodes.insert(node.name.as_str().into()) } else { nodes.remove(node.name.as_str()) };
        if changed {
            let occupant = Occupant { nodes: Arc::new(nodes), ..occupant.clone() };
            context.memory.presences.put_occupant(&service.name, Some(occupant));
        }
        Ok(())
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
    fn enter(&mut self, room: &ServiceRef, nick: &str, session: &FullJid) {
        let rooms = self.memory.presences.rooms();
        if rooms.by_session(&room.name, session).is_some() {
            return;
        }
        let stay = match rooms.by_nick(&room.name, nick).cloned() {
            Some(stay) => stay,
            None => stay(&room.name, &self.memory.ids.random()),
        };
        let mut occupant =
            self.occupant(&stay).unwrap_or_else(|| Occupant { nick: nick.into(), ..Occupant::default() });
        let mut sessions = occupant.sessions.as_ref().clone();
        sessions.insert(session.clone());
        occupant.sessions = Arc::new(sessions);
        self.memory.presences.put_occupant(&stay, Some(occupant));
    }

    /// A client has another nick. What the occupant has moves along, unless other clients stay behind under the old nick, or
    /// somebody is there under the new one already.
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
        self.drop_session(&stay, session)?;
        self.enter(room, nick, session);
        Ok(())
    }

    /// A client has left the room: by itself, kicked, banned, or cut off.
    fn leave(&mut self, room: &ServiceRef, session: &FullJid) -> Handled<()> {
        let Some(stay) = self.memory.presences.rooms().by_session(&room.name, session).cloned() else { return Ok(()) };
        self.memory.presences.put(&room.name, session, None);
        self.drop_session(&stay, session)?;
        let alone = self.memory.presences.rooms().sessions_of(&room.name, session.bare_str()).is_empty();
        for place in self.store().subscriptions_of(session.bare_str(), None)? {
            let subscribed = &place.subscription.jid;
            let ended = subscribed.as_full().map_or(alone, |jid| jid == session);
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

    /// Takes a client from an occupant; with the last one all that the occupant has goes, silently.
    fn drop_session(&mut self, stay: &Stay, session: &FullJid) -> Handled<()> {
        let Some(occupant) = self.occupant(stay) else { return Ok(()) };
        if occupant.sessions.len() == 1 && occupant.sessions.contains(session) {
            return self.drop_occupant(stay);
        }
        let mut sessions = occupant.sessions.as_ref().clone();
        sessions.remove(session);
        let occupant = Occupant { sessions: Arc::new(sessions), ..occupant };
        self.memory.presences.put_occupant(stay, Some(occupant));
        Ok(())
    }

    fn drop_occupant(&mut self, stay: &Stay) -> Handled<()> {
        // Most have published nothing: for them the store is not asked.
        if self.occupant(stay).is_some_and(|occupant| !occupant.nodes.is_empty())
            && let Some(service) = self.occupant_service(stay)
        {
            self.remove_service(&service)?;
        } else if let Some(service) = self.occupant_service(stay)
            && let Some(row) = self.stored_service(&service)?
        {
            self.change().delete_service(row.key)?;
            self.memory.cache.remove_service(stay);
        }
        self.memory.presences.put_occupant(stay, None);
        Ok(())
    }

    /// The room was destroyed, or begins anew: all that it and its occupants had goes, silently.
    pub(crate) fn room_removed(&mut self, room: &ServiceRef) -> Handled<()> {
        for stay in self.memory.presences.rooms().stays(&room.name) {
            if let Some(occupant) = self.occupant(&stay) {
                for session in occupant.sessions.iter() {
                    self.memory.presences.put(&room.name, session, None);
                }
            }
            self.drop_occupant(&stay)?;
        }
        self.remove_service(room)
    }

    /// Who gets an event of a room or an occupant: whoever is there and asked for it, and whoever is there and subscribed.
    pub(crate) fn room_audience(&mut self, service: &ServiceRef, node: &Node, _reach: Reach) -> Handled<Audience> {
        let room = service.room();
        let mut recipients: Vec<Arc<str>> = Vec::new();
        for (bare, resources) in self.memory.presences.everyone(room) {
            let wanting = resources.iter().filter(|(_, resource)| resource.wants(node.name.as_str()));
            recipients.extend(wanting.map(|(name, _)| Arc::from(format!("{bare}/{name}"))));
        }
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
        if !subscribed.is_empty() {
            let known: HashSet<Arc<str>> = recipients.iter().cloned().collect();
            let more = subscribed.iter().map(FullJid::as_str).filter(|jid| !known.contains(*jid));
            recipients.extend(more.map(Arc::from));
        }
        Ok(Audience { others: recipients.into(), ..Audience::default() })
    }

    /// The clients in the room that a subscriber's JID stands for.
    fn places_of(&self, room: &str, jid: &Jid) -> Vec<FullJid> {
        let rooms = self.memory.presences.rooms();
        match jid {
            Jid::Full(jid) => rooms.by_session(room, jid).map(|_| jid.clone()).into_iter().collect(),
            Jid::Bare(jid) => rooms.sessions_of(room, jid.as_str()),
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
                if sent.insert(node.key) && on_presence {
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
