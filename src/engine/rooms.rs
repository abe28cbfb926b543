//! Who is in which room, as far as XEP-0316 asks: the occupants with their nicks and sessions, the nodes they have, and what
//! their clients want.
//!
//! The service of an occupant is bound to the stay, not to the nick: it has a name of its own, which no address can
//! have, and moves with the occupant. Kept in memory only, like presence; what the store holds of an occupant ends with the stay,
//! or when the rooms are served again. Changes are noted in the undo list of [`super::presence::Presences`].
//!
//! A room may have tens of thousands of occupants: everything is found by what is asked for, so that an event costs those who
//! want it and not those who are there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::input::RoomInfo;
use super::presence::Features;
use crate::jid::{BareJid, FullJid};
use crate::time::Timestamp;

/// The name of an occupant's service: "/", domain, "/", bare JID of the room, "/", an identifier.
pub(crate) type Stay = Arc<str>;

/// One occupant of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Occupant {
    /// The resource of the occupant JID.
    pub(crate) nick: Arc<str>,
    /// Real full JIDs of the clients behind it.
    pub(crate) sessions: Arc<BTreeSet<FullJid>>,
    /// Names of the nodes it has.
    pub(crate) nodes: Arc<BTreeSet<Box<str>>>,
    /// Whether it has ever had a node: otherwise the store holds nothing of it.
    pub(crate) published: bool,
    /// Whether somebody behind it has subscribed explicitly to something in the room.
    pub(crate) subscribed: bool,
}

/// What a room publishes of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conference {
    /// What the host says of it now.
    pub(crate) info: Arc<RoomInfo>,
    /// What was published last: this, and how many occupants.
    pub(crate) said: Option<(Arc<RoomInfo>, usize)>,
    /// When that was.
    pub(crate) at: Option<Timestamp>,
    /// When it is to be published again.
    pub(crate) due: Option<Timestamp>,
    /// Somebody was not sent the last one, since the next one follows at once.
    pub(crate) owed: bool,
}

/// Every room with somebody in it.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: HashMap<Arc<str>, Room>,
    conferences: HashMap<Arc<str>, Conference>,
    due: BTreeSet<(Timestamp, Arc<str>)>,
    /// Rooms that are gone, of whose occupants the store may hold something: from this name on.
    gone: BTreeMap<Arc<str>, String>,
}

/// The occupants of one room, and the ways to find them.
#[derive(Debug, Default)]
pub(super) struct Room {
    occupants: HashMap<Stay, Occupant>,
    by_nick: HashMap<Arc<str>, Stay>,
    by_session: HashMap<FullJid, Stay>,
    by_bare: HashMap<BareJid, BTreeSet<FullJid>>,
    by_node: HashMap<Box<str>, BTreeSet<Stay>>,
    /// Clients with the same features: a client version, usually. Found by the address of the features.
    by_features: HashMap<usize, (Arc<Features>, HashSet<FullJid>)>,
}

/// A name for the service of a new occupant.
pub(crate) fn stay(room: &str, id: &str) -> Stay {
    let domain = room.split_once('@').map_or(room, |(_, domain)| domain);
    format!("/{domain}/{room}/{id}").into()
}

/// Names of services of occupants in rooms of a domain lie between these two.
pub(crate) fn stays_of(domain: &str) -> (String, String) {
    (format!("/{domain}/"), format!("/{domain}0"))
}

/// Names of services of occupants of one room lie between these two.
pub(crate) fn stays_in(room: &str) -> (String, String) {
    (stay(room, "").as_ref().to_owned(), stay(room, "").trim_end_matches('/').to_owned() + "0")
}

/// The room, if the name of the service is that of an occupant.
pub(crate) fn room_of(service: &str) -> Option<&str> {
    Some(service.strip_prefix('/')?.split_once('/')?.1.rsplit_once('/')?.0)
}

impl Rooms {
    /// The occupant with that service.
    pub(crate) fn occupant(&self, stay: &str) -> Option<&Occupant> {
        self.rooms.get(room_of(stay)?)?.occupants.get(stay)
    }

    /// How many occupants a room has.
    pub(crate) fn count(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, |room| room.occupants.len())
    }

    /// Who has the nick.
    pub(crate) fn by_nick(&self, room: &str, nick: &str) -> Option<&Stay> {
        self.rooms.get(room)?.by_nick.get(nick)
    }

    /// Who the client is in the room.
    pub(crate) fn by_session(&self, room: &str, session: &FullJid) -> Option<&Stay> {
        self.rooms.get(room)?.by_session.get(session)
    }

    /// Clients of one bare JID in the room.
    pub(crate) fn sessions_of(&self, room: &str, bare: &str) -> impl Iterator<Item = &FullJid> {
        self.rooms.get(room).and_then(|room| room.by_bare.get(bare)).into_iter().flatten()
    }

    /// The occupants behind whom a bare JID stands, once for each client.
    pub(crate) fn stays_of(&self, room: &str, bare: &str) -> impl Iterator<Item = &Stay> {
        self.sessions_of(room, bare).filter_map(move |session| self.by_session(room, session))
    }

    /// The occupants that have a node of that name.
    pub(crate) fn with_node(&self, room: &str, node: &str) -> Vec<Stay> {
        let found = self.rooms.get(room).and_then(|room| room.by_node.get(node));
        found.into_iter().flatten().cloned().collect()
    }

    /// The clients that asked for events of nodes of that name.
    pub(crate) fn wanting(&self, room: &str, node: &str) -> impl Iterator<Item = &FullJid> {
        self.groups_wanting(room, node).flatten()
    }

    /// How many they are.
    pub(crate) fn count_wanting(&self, room: &str, node: &str) -> usize {
        self.groups_wanting(room, node).map(HashSet::len).sum()
    }

    fn groups_wanting(&self, room: &str, node: &str) -> impl Iterator<Item = &HashSet<FullJid>> {
        let groups = self.rooms.get(room).into_iter().flat_map(|room| room.by_features.values());
        groups.filter(move |(features, _)| features.wants(node)).map(|(_, clients)| clients)
    }

    /// Sets or removes an occupant; what was there before.
    pub(super) fn exchange(&mut self, stay: &Stay, new: Option<Occupant>) -> Option<Occupant> {
        let name = room_of(stay)?;
        if new.is_some() && !self.rooms.contains_key(name) {
            self.rooms.insert(name.into(), Room::default());
        }
        let room = self.rooms.get_mut(name)?;
        let old = room.exchange(stay, new);
        if room.occupants.is_empty() {
            self.rooms.remove(name);
        }
        old
    }

    /// A client in a room has other features now, or none that are known.
    pub(super) fn note_features(
        &mut self,
        room: &str,
        client: &FullJid,
        old: Option<&Arc<Features>>,
        new: Option<&Arc<Features>>,
    ) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        if let Some(address) = old.map(|features| Arc::as_ptr(features).addr())
            && let Some((_, clients)) = room.by_features.get_mut(&address)
        {
            clients.remove(client);
            if clients.is_empty() {
                room.by_features.remove(&address);
            }
        }
        if let Some(features) = new {
            let group = room.by_features.entry(Arc::as_ptr(features).addr());
            group.or_insert_with(|| (features.clone(), HashSet::new())).1.insert(client.clone());
        }
    }

    /// Takes a room with all its occupants out at once.
    pub(super) fn take(&mut self, room: &str) -> Option<Room> {
        self.rooms.remove(room)
    }

    pub(super) fn put_back(&mut self, name: &Arc<str>, room: Option<Room>) {
        match room {
            Some(room) => drop(self.rooms.insert(name.clone(), room)),
            None => drop(self.rooms.remove(name)),
        }
    }

    /// Two names of services between which those of occupants who are not there any more are to be removed.
    pub(crate) fn next_gone(&self) -> Option<(Arc<str>, String, String)> {
        let (room, from) = self.gone.first_key_value()?;
        Some((room.clone(), from.clone(), stays_in(room).1))
    }

    /// Notes from which name on the store may hold something of occupants of a room that is gone; none if it does not.
    pub(super) fn exchange_gone(&mut self, room: &Arc<str>, from: Option<String>) -> Option<String> {
        match from {
            Some(from) => self.gone.insert(room.clone(), from),
            None => self.gone.remove(room),
        }
    }

    /// What a room publishes of itself, if somebody is there.
    pub(crate) fn conference(&self, room: &str) -> Option<&Conference> {
        self.conferences.get(room)
    }

    /// When the next room is to publish something of itself, and which.
    pub(crate) fn next_conference(&self) -> Option<(Timestamp, Arc<str>)> {
        self.due.first().cloned()
    }

    pub(super) fn exchange_conference(&mut self, room: &Arc<str>, new: Option<Conference>) -> Option<Conference> {
        if let Some(due) = new.as_ref().and_then(|new| new.due) {
            self.due.insert((due, room.clone()));
        }
        let due = new.as_ref().and_then(|new| new.due);
        let old = match new {
            Some(new) => self.conferences.insert(room.clone(), new),
            None => self.conferences.remove(room),
        };
        if let Some(before) = old.as_ref().and_then(|old| old.due).filter(|before| Some(*before) != due) {
            self.due.remove(&(before, room.clone()));
        }
        old
    }

    /// Forgets every room of a domain.
    pub(super) fn remove_domain(&mut self, domain: &str) {
        let stays = |room: &str| room.split_once('@').is_none_or(|(_, of)| of != domain);
        self.rooms.retain(|room, _| stays(room));
        self.conferences.retain(|room, _| stays(room));
        self.due.retain(|(_, room)| stays(room));
        self.gone.retain(|room, _| stays(room));
    }
}

impl Room {
    fn exchange(&mut self, stay: &Stay, new: Option<Occupant>) -> Option<Occupant> {
        let old = self.occupants.remove(stay);
        if let Some(old) = &old {
            if self.by_nick.get(&old.nick) == Some(stay) {
                self.by_nick.remove(&old.nick);
            }
            for session in
                old.sessions.iter().filter(|session| new.as_ref().is_none_or(|new| !new.sessions.contains(*session)))
            {
                if self.by_session.get(session) == Some(stay) {
                    self.by_session.remove(session);
                    self.forget_session(session);
                }
            }
            for node in old.nodes.iter().filter(|node| new.as_ref().is_none_or(|new| !new.nodes.contains(*node))) {
                if let Some(stays) = self.by_node.get_mut(node) {
                    stays.remove(stay);
                    if stays.is_empty() {
                        self.by_node.remove(node);
                    }
                }
            }
        }
        if let Some(new) = new {
            self.by_nick.insert(new.nick.clone(), stay.clone());
            for session in new.sessions.iter() {
                self.by_session.insert(session.clone(), stay.clone());
                self.by_bare.entry(session.to_bare()).or_default().insert(session.clone());
            }
            for node in new.nodes.iter() {
                self.by_node.entry(node.clone()).or_default().insert(stay.clone());
            }
            self.occupants.insert(stay.clone(), new);
        }
        old
    }

    fn forget_session(&mut self, session: &FullJid) {
        if let Some(sessions) = self.by_bare.get_mut(session.bare_str()) {
            sessions.remove(session);
            if sessions.is_empty() {
                self.by_bare.remove(session.bare_str());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Conference, Features, Occupant, Rooms, room_of, stay, stays_in, stays_of};
    use crate::jid::FullJid;
    use crate::time::Timestamp;

    fn occupant(nick: &str, session: &str, nodes: &[&str]) -> Occupant {
        Occupant {
            nick: nick.into(),
            sessions: Arc::new([FullJid::parse(session).expect("valid")].into()),
            nodes: Arc::new(nodes.iter().map(|&node| node.into()).collect()),
            ..Occupant::default()
        }
    }

    #[test]
    fn names_of_services() {
        let name = stay("coven@chat.example", "x1");
        assert_eq!(room_of(&name), Some("coven@chat.example"));
        assert_eq!(room_of("coven@chat.example"), None);
        for (from, to) in [stays_of("chat.example"), stays_in("coven@chat.example")] {
            assert!(*from < *name && *name < *to);
            for other in [stay("coven@chat.example.org", "x1"), stay("coven@chat", "x1")] {
                assert!(*other < *from || *other >= *to);
            }
        }
        let (from, to) = stays_in("coven@chat.example");
        let other = stay("coven2@chat.example", "x1");
        assert!(*other < *from || *other >= *to);
    }

    #[test]
    fn every_way_leads_to_the_occupant_and_ends_with_it() {
        let mut rooms = Rooms::default();
        let (room, first, second) = ("r@c", stay("r@c", "1"), stay("r@c", "2"));
        let session = FullJid::parse("a@x/1").expect("valid");
        rooms.exchange(&first, Some(occupant("one", "a@x/1", &["n", "m"])));
        rooms.exchange(&second, Some(occupant("two", "b@x/1", &["n"])));
        assert_eq!((rooms.by_nick(room, "one"), rooms.count(room)), (Some(&first), 2));
        assert_eq!(rooms.by_session(room, &session), Some(&first));
        assert_eq!(rooms.stays_of(room, "a@x").collect::<Vec<_>>(), [&first]);
        assert_eq!(rooms.with_node(room, "n").len(), 2);
        let old = rooms.exchange(&first, Some(occupant("three", "a@x/1", &["m"])));
        assert_eq!((rooms.by_nick(room, "one"), rooms.by_nick(room, "three")), (None, Some(&first)));
        assert_eq!(rooms.with_node(room, "n"), std::slice::from_ref(&second));
        rooms.exchange(&first, old);
        assert_eq!((rooms.by_nick(room, "one"), rooms.by_nick(room, "three")), (Some(&first), None));
        rooms.exchange(&first, None);
        assert_eq!(rooms.sessions_of(room, "a@x").count(), 0);
        rooms.exchange(&second, None);
        assert!(rooms.rooms.is_empty());
    }

    #[test]
    fn clients_are_found_by_what_they_want() {
        let mut rooms = Rooms::default();
        let clients = ["a@x/1", "b@x/1"].map(|jid| FullJid::parse(jid).expect("valid"));
        for (place, client) in clients.iter().enumerate() {
            rooms.exchange(&stay("r@c", &place.to_string()), Some(occupant(client.as_str(), client.as_str(), &[])));
        }
        let features = |list: &[&str]| Arc::new(Features::read(list.iter().copied()));
        let (tune, both) = (features(&["tune+notify"]), features(&["tune+notify", "mood+notify"]));
        rooms.note_features("r@c", &clients[0], None, Some(&tune));
        rooms.note_features("r@c", &clients[1], None, Some(&both));
        assert_eq!((rooms.wanting("r@c", "tune").count(), rooms.count_wanting("r@c", "tune")), (2, 2));
        assert_eq!(rooms.wanting("r@c", "mood").collect::<Vec<_>>(), [&clients[1]]);
        rooms.note_features("r@c", &clients[1], Some(&both), Some(&tune));
        assert_eq!((rooms.count_wanting("r@c", "tune"), rooms.count_wanting("r@c", "mood")), (2, 0));
        rooms.note_features("r@c", &clients[0], Some(&tune), None);
        assert_eq!(rooms.wanting("r@c", "tune").collect::<Vec<_>>(), [&clients[1]]);
    }

    #[test]
    fn what_is_due_is_found_in_its_order() {
        let mut rooms = Rooms::default();
        let at = |micros: i64| Some(Conference { due: Some(Timestamp::from_micros(micros)), ..Conference::default() });
        let names: [Arc<str>; 2] = ["a@c".into(), "b@c".into()];
        rooms.exchange_conference(&names[0], at(2));
        let old = rooms.exchange_conference(&names[1], at(1));
        assert_eq!(rooms.next_conference().map(|(_, name)| name), Some(names[1].clone()));
        rooms.exchange_conference(&names[1], old);
        assert_eq!(rooms.next_conference().map(|(_, name)| name), Some(names[0].clone()));
        rooms.exchange_conference(&names[0], at(2));
        rooms.exchange_conference(&names[0], Some(Conference::default()));
        assert_eq!(rooms.next_conference(), None);
    }
}
