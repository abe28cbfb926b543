//! Who is in which room, as far as XEP-0316 asks: the occupants with their nicks and sessions, and the nodes they have.
//!
//! The service of an occupant is bound to the stay, not to the nick: it has a name of its own, which no address can
//! have, and moves with the occupant. Kept in memory only, like presence; what the store holds of an occupant ends with the stay,
//! or when the rooms are served again. Changes are noted in the undo list of [`super::presence::Presences`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::jid::FullJid;

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
}

/// Every room with somebody in it.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: HashMap<Arc<str>, Room>,
}

/// The occupants of one room, and the ways to find them.
#[derive(Debug, Default)]
struct Room {
    occupants: HashMap<Stay, Occupant>,
    by_nick: HashMap<Arc<str>, Stay>,
    by_session: HashMap<FullJid, Stay>,
    by_node: HashMap<Box<str>, BTreeSet<Stay>>,
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

/// The room, if the name of the service is that of an occupant.
pub(crate) fn room_of(service: &str) -> Option<&str> {
    Some(service.strip_prefix('/')?.split_once('/')?.1.rsplit_once('/')?.0)
}

impl Rooms {
    /// The occupant with that service.
    pub(crate) fn occupant(&self, stay: &str) -> Option<&Occupant> {
        self.rooms.get(room_of(stay)?)?.occupants.get(stay)
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
    pub(crate) fn sessions_of(&self, room: &str, bare: &str) -> Vec<FullJid> {
        let sessions = self.rooms.get(room).into_iter().flat_map(|room| room.by_session.keys());
        sessions.filter(|session| session.bare_str() == bare).cloned().collect()
    }

    /// The occupants that have a node of that name.
    pub(crate) fn with_node(&self, room: &str, node: &str) -> Vec<Stay> {
        let found = self.rooms.get(room).and_then(|room| room.by_node.get(node));
        found.into_iter().flatten().cloned().collect()
    }

    /// Everyone in the room.
    pub(crate) fn stays(&self, room: &str) -> Vec<Stay> {
        self.rooms.get(room).into_iter().flat_map(|room| room.occupants.keys().cloned()).collect()
    }

    /// Sets or removes an occupant; what was there before.
    pub(super) fn exchange(&mut self, stay: &Stay, new: Option<Occupant>) -> Option<Occupant> {
        let name = room_of(stay)?;
        if new.is_some() && !self.rooms.contains_key(name) {
            self.rooms.insert(name.into(), Room::default());
        }
        let room = self.rooms.get_mut(name)?;
        let old = room.occupants.remove(stay);
        if let Some(old) = &old {
            if room.by_nick.get(&old.nick) == Some(stay) {
                room.by_nick.remove(&old.nick);
            }
            for session in
                old.sessions.iter().filter(|session| new.as_ref().is_none_or(|new| !new.sessions.contains(*session)))
            {
                if room.by_session.get(session) == Some(stay) {
                    room.by_session.remove(session);
                }
            }
            for node in old.nodes.iter().filter(|node| new.as_ref().is_none_or(|new| !new.nodes.contains(*node))) {
                if let Some(stays) = room.by_node.get_mut(node) {
                    stays.remove(stay);
                    if stays.is_empty() {
                        room.by_node.remove(node);
                    }
                }
            }
        }
        match new {
            Some(new) => {
                room.by_nick.insert(new.nick.clone(), stay.clone());
                for session in new.sessions.iter() {
                    room.by_session.insert(session.clone(), stay.clone());
                }
                for node in new.nodes.iter() {
                    room.by_node.entry(node.clone()).or_default().insert(stay.clone());
                }
                room.occupants.insert(stay.clone(), new);
            }
            None if room.occupants.is_empty() => {
                self.rooms.remove(name);
            }
            None => {}
        }
        old
    }

    /// Forgets every room of a domain.
    pub(super) fn remove_domain(&mut self, domain: &str) {
        self.rooms.retain(|room, _| room.split_once('@').is_none_or(|(_, of)| of != domain));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Occupant, Rooms, room_of, stay, stays_of};
    use crate::jid::FullJid;

    fn occupant(nick: &str, session: &str, nodes: &[&str]) -> Occupant {
        Occupant {
            nick: nick.into(),
            sessions: Arc::new([FullJid::parse(session).expect("valid")].into()),
            nodes: Arc::new(nodes.iter().map(|&node| node.into()).collect()),
        }
    }

    #[test]
    fn names_of_services() {
        let name = stay("coven@chat.example", "x1");
        assert_eq!(room_of(&name), Some("coven@chat.example"));
        assert_eq!(room_of("coven@chat.example"), None);
        let (from, to) = stays_of("chat.example");
        assert!(*from < *name && *name < *to);
        let other = stay("coven@chat.example.org", "x1");
        assert!(*other < *from || *other >= *to);
    }

    #[test]
    fn every_way_leads_to_the_occupant_and_ends_with_it() {
        let mut rooms = Rooms::default();
        let (room, first, second) = ("r@c", stay("r@c", "1"), stay("r@c", "2"));
        let session = FullJid::parse("a@x/1").expect("valid");
        rooms.exchange(&first, Some(occupant("one", "a@x/1", &["n", "m"])));
        rooms.exchange(&second, Some(occupant("two", "b@x/1", &["n"])));
        assert_eq!(rooms.by_nick(room, "one"), Some(&first));
        assert_eq!(rooms.by_session(room, &session), Some(&first));
        assert_eq!(rooms.with_node(room, "n").len(), 2);
        let old = rooms.exchange(&first, Some(occupant("three", "a@x/1", &["m"])));
        assert_eq!((rooms.by_nick(room, "one"), rooms.by_nick(room, "three")), (None, Some(&first)));
        assert_eq!(rooms.with_node(room, "n"), std::slice::from_ref(&second));
        rooms.exchange(&first, old);
        assert_eq!((rooms.by_nick(room, "one"), rooms.by_nick(room, "three")), (Some(&first), None));
        rooms.exchange(&first, None);
        rooms.exchange(&second, None);
        assert!(rooms.rooms.is_empty());
    }
}
