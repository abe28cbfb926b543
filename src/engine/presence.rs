//! Who is online, as far as each service was told, and what their clients want (XEP-0163, section 4.2).
//!
//! Kept in memory only: presence ends with the host process too. Every change is noted in an undo list until the
//! transaction it belongs to has been committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::rooms::{Conference, Occupant, Room, Rooms, Stay};
use crate::jid::{BareJid, FullJid};
use crate::ns;
use crate::pubsub::store::NodeKey;
use crate::time::Timestamp;

/// What a client wants, from its capabilities.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Nodes asked for by `NODE+notify`.
    wanted: HashSet<Box<str>>,
    /// Whether the client knows XEP-0376.
    pub(crate) pam: bool,
}

impl Features {
    /// Picks from disco features what matters here.
    pub(crate) fn read<'a>(features: impl Iterator<Item = &'a str>) -> Self {
        let mut read = Self::default();
        for feature in features {
            if let Some(node) = feature.strip_suffix("+notify") {
                read.wanted.insert(node.into());
            } else if feature == ns::PAM {
                read.pam = true;
            }
        }
        read
    }

    /// The features that [`Features::read`] makes the same of.
    pub(crate) fn to_list(&self) -> Vec<String> {
        let mut list: Vec<_> = self.wanted.iter().map(|node| format!("{node}+notify")).collect();
        if self.pam {
            list.push(ns::PAM.to_owned());
        }
        list.sort_unstable();
        list
    }

    /// Whether events of that node are wanted.
    pub(crate) fn wants(&self, node: &str) -> bool {
        self.wanted.contains(node)
    }

    /// Every node asked for.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(AsRef::as_ref)
    }
}

/// What is known of a client's capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caps {
    /// It showed none.
    None,
    /// It showed this hash, whose features have been asked for.
    Asked(Arc<str>),
    /// They are known; the hash is empty where the answer did not fit it and holds for this client alone.
    Known(Arc<str>, Arc<Features>),
}

/// One available resource, as one service sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resource {
    /// Its capabilities.
    pub(crate) caps: Caps,
    /// Bit of its `<show/>` in [`crate::pubsub::subscription::SHOW_VALUES`].
    pub(crate) show: u8,
    /// Nodes whose last item it has been sent (or could have been) since it came online.
    pub(crate) sent: Arc<HashSet<NodeKey>>,
}

impl Resource {
    /// Its features, if known.
    pub(crate) fn features(&self) -> Option<&Arc<Features>> {
        match &self.caps {
            Caps::Known(_, features) => Some(features),
            Caps::None | Caps::Asked(_) => None,
        }
    }

    /// Whether it asked for events of that node.
    pub(crate) fn wants(&self, node: &str) -> bool {
        self.features().is_some_and(|features| features.wants(node))
    }
}

/// A capabilities query that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// `id` of the stanza sent.
    pub(crate) id: Arc<str>,
    /// Whom it was sent to.
    pub(crate) asked: FullJid,
    /// What the client showed.
    pub(crate) shown: Arc<Shown>,
    /// When somebody else is to be asked.
    pub(crate) deadline: Timestamp,
    /// The clients that showed the same hash, by service.
    pub(crate) waiting: Vec<(Arc<str>, FullJid)>,
}

/// Capabilities as shown in presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// "algorithm:hash", the key under which the features are kept.
    pub(crate) key: Arc<str>,
    /// The disco node to ask at.
    pub(crate) node: String,
    /// Whether it is of XEP-0390 rather than of XEP-0115.
    pub(crate) second: bool,
}

type Resources = HashMap<Box<str>, Resource>;

/// Everything that presence told.
#[derive(Debug, Default)]
pub(crate) struct Presences {
    services: HashMap<Arc<str>, Known>,
    total: usize,
    /// Resources that used XEP-0376 in their session.
    used_pam: HashSet<FullJid>,
    /// Resources that have an item in the node `presence` of their account (XEP-0207).
    publishing: HashSet<FullJid>,
    /// Nodes whose events a resource takes, by bare JID and resource; all of them if there is no entry.
    filters: HashMap<BareJid, HashMap<Box<str>, Vec<String>>>,
    /// Who is in which room.
    rooms: Rooms,
    queries: HashMap<Arc<str>, Query>,
    by_id: HashMap<Arc<str>, Arc<str>>,
    undo: Vec<Undo>,
}

/// Whom one service knows.
#[derive(Debug, Default)]
struct Known {
    everyone: HashMap<BareJid, Resources>,
    count: usize,
}

#[derive(Debug)]
enum Undo {
    Resource(Arc<str>, FullJid, Option<Resource>),
    Query(Arc<str>, Option<Query>),
    Occupant(Stay, Option<Occupant>),
    Conference(Arc<str>, Option<Conference>),
    Room(Arc<str>, Option<Box<Room>>, Option<Known>),
    Gone(Arc<str>, Option<String>),
}

impl Presences {
    /// The resource, as that service sees it.
    pub(crate) fn resource(&self, service: &str, jid: &FullJid) -> Option<&Resource> {
        self.services.get(service)?.everyone.get(jid.bare_str())?.get(jid.resource())
    }

    /// Every available resource of a bare JID.
    pub(crate) fn resources(&self, service: &str, bare: &str) -> impl Iterator<Item = (&str, &Resource)> {
        let found = self.services.get(service).and_then(|service| service.everyone.get(bare));
        found.into_iter().flatten().map(|(name, resource)| (name.as_ref(), resource))
    }

    /// Every bare JID with available resources.
    pub(crate) fn everyone(&self, service: &str) -> impl Iterator<Item = (&BareJid, &Resources)> {
        self.services.get(service).into_iter().flat_map(|service| &service.everyone)
    }

    /// How many resources a service knows of.
    pub(crate) fn count(&self, service: &str) -> usize {
        self.services.get(service).map_or(0, |service| service.count)
    }

    /// How many resources all services know of.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Notes that the resource used XEP-0376.
    pub(crate) fn note_pam(&mut self, jid: &FullJid) {
        self.used_pam.insert(jid.clone());
    }

    /// Notes that the resource publishes its presence to a node.
    pub(crate) fn note_publishing(&mut self, jid: &FullJid) {
        self.publishing.insert(jid.clone());
    }

    /// Whether it does, and its session has not ended since.
    pub(crate) fn is_publishing(&self, jid: &FullJid) -> bool {
        self.publishing.contains(jid)
    }

    /// Forgets what held for the session.
    pub(crate) fn end_session(&mut self, jid: &FullJid) {
        self.used_pam.remove(jid);
        self.publishing.remove(jid);
        self.set_filter(jid, None);
    }

    /// Limits the events that the resource takes, or lifts the limit.
    pub(crate) fn set_filter(&mut self, jid: &FullJid, nodes: Option<Vec<String>>) {
        if let Some(nodes) = nodes {
            self.filters.entry(jid.to_bare()).or_default().insert(jid.resource().into(), nodes);
        } else if let Some(filters) = self.filters.get_mut(jid.bare_str()) {
            filters.remove(jid.resource());
            if filters.is_empty() {
                self.filters.remove(jid.bare_str());
            }
        }
    }

    /// The nodes that the resource limits itself to.
    pub(crate) fn filter(&self, jid: &FullJid) -> Option<&[String]> {
        Some(self.filters.get(jid.bare_str())?.get(jid.resource())?)
    }

    /// Whether any resource of the bare JID limits itself.
    pub(crate) fn has_filters(&self, bare: &str) -> bool {
        self.filters.contains_key(bare)
    }

    /// Whether the resource knows XEP-0376: by its capabilities, or because it used it.
    pub(crate) fn knows_pam(&self, service: &str, jid: &FullJid) -> bool {
        let listed = self.resource(service, jid).and_then(Resource::features).is_some_and(|features| features.pam);
        listed || self.used_pam.contains(jid)
    }

    /// Every service that knows of this resource.
    pub(crate) fn services_of(&self, jid: &FullJid) -> Vec<Arc<str>> {
        let knows = |service: &&Arc<str>| self.resource(service, jid).is_some();
        self.services.keys().filter(knows).cloned().collect()
    }

    /// Sets or removes a resource; what was there before.
    pub(crate) fn put(&mut self, service: &Arc<str>, jid: &FullJid, new: Option<Resource>) -> Option<Resource> {
        let old = self.exchange(service, jid, new);
        self.undo.push(Undo::Resource(service.clone(), jid.clone(), old.clone()));
        old
    }

    fn exchange(&mut self, service: &Arc<str>, jid: &FullJid, new: Option<Resource>) -> Option<Resource> {
        let features = new.as_ref().and_then(Resource::features).cloned();
        let old = self.exchange_resource(service, jid, new);
        self.rooms.note_features(service, jid, old.as_ref().and_then(Resource::features), features.as_ref());
        old
    }

    fn exchange_resource(&mut self, service: &Arc<str>, jid: &FullJid, new: Option<Resource>) -> Option<Resource> {
        if let Some(new) = new {
            let known = self.services.entry(service.clone()).or_default();
            let old = known.everyone.entry(jid.to_bare()).or_default().insert(jid.resource().into(), new);
            if old.is_none() {
                known.count += 1;
                self.total += 1;
            }
            return old;
        }
        let known = self.services.get_mut(service)?;
        let resources = known.everyone.get_mut(jid.bare_str())?;
        let old = resources.remove(jid.resource());
        if old.is_some() {
            known.count -= 1;
            self.total -= 1;
        }
        if resources.is_empty() {
            known.everyone.remove(jid.bare_str());
            if known.everyone.is_empty() {
                self.services.remove(service);
            }
        }
        old
    }

    /// Who is in which room.
    pub(crate) fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Sets or removes an occupant of a room.
    pub(crate) fn put_occupant(&mut self, stay: &Stay, new: Option<Occupant>) {
        let old = self.rooms.exchange(stay, new);
        self.undo.push(Undo::Occupant(stay.clone(), old));
    }

    /// Sets or removes what a room publishes of itself.
    pub(crate) fn put_conference(&mut self, room: &Arc<str>, new: Option<Conference>) {
        let old = self.rooms.exchange_conference(room, new);
        self.undo.push(Undo::Conference(room.clone(), old));
    }

    /// Forgets a room with all who are in it, however many they are.
    pub(crate) fn remove_room(&mut self, name: &Arc<str>) {
        self.put_conference(name, None);
        let room = self.rooms.take(name).map(Box::new);
        let known = self.services.remove(name);
        self.total -= known.as_ref().map_or(0, |known| known.count);
        self.undo.push(Undo::Room(name.clone(), room, known));
    }

    /// Notes from which name on the store may hold something of occupants of a room that is gone; none if it does not.
    pub(crate) fn put_gone(&mut self, room: &Arc<str>, from: Option<String>) {
        let old = self.rooms.exchange_gone(room, from);
        self.undo.push(Undo::Gone(room.clone(), old));
    }

    /// The query that asks for this hash.
    pub(crate) fn query(&self, key: &str) -> Option<&Query> {
        self.queries.get(key)
    }

    /// The hash that the query of this stanza id asks for.
    pub(crate) fn query_by_id(&self, id: &str) -> Option<&Query> {
        self.queries.get(self.by_id.get(id)?)
    }

    /// How many queries are under way.
    pub(crate) fn query_count(&self) -> usize {
        self.queries.len()
    }

    /// Queries whose answer is overdue.
    pub(crate) fn overdue_queries(&self, now: Timestamp) -> Vec<Query> {
        self.queries.values().filter(|query| query.deadline <= now).cloned().collect()
    }

    /// When the next query will be overdue.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.queries.values().map(|query| query.deadline).min()
    }

    /// Sets or removes the query for a hash.
    pub(crate) fn put_query(&mut self, key: &Arc<str>, new: Option<Query>) {
        let old = self.exchange_query(key, new);
        self.undo.push(Undo::Query(key.clone(), old));
    }

    fn exchange_query(&mut self, key: &Arc<str>, new: Option<Query>) -> Option<Query> {
        let old = self.queries.remove(key);
        if let Some(old) = &old {
            self.by_id.remove(&old.id);
        }
        if let Some(new) = new {
            self.by_id.insert(new.id.clone(), key.clone());
            self.queries.insert(key.clone(), new);
        }
        old
    }

    /// Forgets a service with everything it knows.
    pub(crate) fn remove_service(&mut self, service: &str) {
        if let Some(known) = self.services.remove(service) {
            self.total -= known.count;
        }
    }

    /// Forgets every service of a domain.
    pub(crate) fn remove_domain(&mut self, domain: &str) {
        self.rooms.remove_domain(domain);
        let of_domain = |service: &str| service.split_once('@').map_or(service, |(_, domain)| domain) == domain;
        self.services.retain(|service, known| {
            let kept = !of_domain(service);
            self.total -= if kept { 0 } else { known.count };
            kept
        });
    }

    /// What was done is stored: there is no way back.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// A point to return to.
    pub(crate) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Returns to the last commit.
    pub(crate) fn rollback(&mut self) {
        self.rollback_to(0);
    }

    /// Returns to a point since the last commit.
    pub(crate) fn rollback_to(&mut self, mark: usize) {
        for undo in self.undo.split_off(mark.min(self.undo.len())).into_iter().rev() {
            match undo {
                Undo::Resource(service, jid, old) => drop(self.exchange(&service, &jid, old)),
                Undo::Query(key, old) => drop(self.exchange_query(&key, old)),
                Undo::Occupant(stay, old) => drop(self.rooms.exchange(&stay, old)),
                Undo::Conference(room, old) => drop(self.rooms.exchange_conference(&room, old)),
                Undo::Gone(room, old) => drop(self.rooms.exchange_gone(&room, old)),
                Undo::Room(name, room, known) => {
                    self.rooms.put_back(&name, room.map(|room| *room));
                    self.total += known.as_ref().map_or(0, |known| known.count);
                    if let Some(known) = known {
                        self.services.insert(name, known);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Caps, Features, Presences, Resource};
    use crate::jid::FullJid;

    #[test]
    fn features_survive_the_store() {
        let features = Features::read(["a+notify", "urn:xmpp:pam:0", "b", "c+notify"].into_iter());
        let list = features.to_list();
        assert_eq!(Features::read(list.iter().map(String::as_str)), features);
        assert!(features.wants("a") && !features.wants("b") && features.pam);
    }

    #[test]
    fn a_domain_is_forgotten() {
        let mut presences = Presences::default();
        let jid = FullJid::parse("juliet@b.example/balcony").expect("valid");
        let resource = Resource { caps: Caps::None, show: 0, sent: Arc::default() };
        for service in ["romeo@a.example", "a.example", "romeo@b.a.example", "a.example@b.example"] {
            presences.put(&service.into(), &jid, Some(resource.clone()));
        }
        presences.commit();
        presences.remove_domain("a.example");
        let mut left = presences.services_of(&jid);
        left.sort_unstable();
        assert_eq!(left, ["a.example@b.example", "romeo@b.a.example"].map(Arc::from));
        assert_eq!(presences.total(), 2);
    }

    #[test]
    fn rollback_restores() {
        let mut presences = Presences::default();
        let service: Arc<str> = "romeo@localhost".into();
        let jid = FullJid::parse("juliet@localhost/balcony").expect("valid");
        let resource = Resource { caps: Caps::None, show: 0, sent: Arc::default() };
        presences.put(&service, &jid, Some(resource.clone()));
        presences.commit();
        presences.put(&service, &jid, Some(Resource { show: 1, ..resource.clone() }));
        presences.put(&service, &jid, None);
        assert_eq!(presences.count(&service), 0);
        presences.rollback();
        assert_eq!(presences.resource(&service, &jid), Some(&resource));
    }
}
