//! What the XEPs and the readings say of rooms, as plainly as it can be written down: lists, and loops over them.

pub(crate) mod host;
#[path = "../model/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use random::Random;

pub(crate) const ROOMS: [&str; 2] = ["coven@rooms.example", "cave@rooms.example"];
pub(crate) const NICKS: [&str; 4] = ["one", "two", "three", "four"];
pub(crate) const NODES: [&str; 3] = ["n", "m", "o"];
pub(crate) const CLIENTS: [&str; 6] = [
    "juliet@a.example/x",
    "juliet@a.example/y",
    "romeo@a.example/x",
    "romeo@a.example/y",
    "nurse@b.example/x",
    "tybalt@b.example/x",
];

pub(crate) fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// Whose nodes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Room,
    Nick(&'static str),
    /// The occupant who asks, or somebody's former place if it is not there.
    Own,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    Publish,
    Retract,
    Delete,
    Subscribe { full: bool },
    Unsubscribe { full: bool },
    Read,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    /// `wants`: a bit for each node whose events the client asks for; none: it shows no capabilities.
    Join {
        nick: &'static str,
        wants: Option<u8>,
    },
    Capabilities {
        wants: u8,
    },
    Rename {
        nick: &'static str,
    },
    Leave,
    Voice(bool),
    Ask {
        what: Ask,
        target: Target,
        node: &'static str,
    },
    /// The room itself.
    RoomPublishes {
        node: &'static str,
    },
    RoomDeletes {
        node: &'static str,
    },
    Destroy,
    Restart,
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Refused,
    /// It is for the person behind the nick, or nobody is there.
    Passed,
}

/// An event: to whom, from whom, what, at which node, the item's number, and whether it is an old one.
pub(crate) type Told = (String, String, &'static str, &'static str, usize, bool);

#[derive(Debug, Default, Clone)]
struct Node {
    /// No two nodes have the same.
    number: usize,
    item: Option<usize>,
    subscribers: BTreeSet<String>,
}

type Nodes = BTreeMap<&'static str, Node>;

#[derive(Debug, Default)]
struct Client {
    wants: u8,
    seen: BTreeSet<usize>,
}

#[derive(Debug)]
struct Occupant {
    nick: &'static str,
    clients: BTreeMap<&'static str, Client>,
    nodes: Nodes,
}

#[derive(Debug, Default)]
struct Room {
    nodes: Nodes,
    occupants: Vec<Occupant>,
    mute: BTreeSet<&'static str>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    rooms: BTreeMap<&'static str, Room>,
    numbers: usize,
}

fn wanted(wants: u8, node: &str) -> bool {
    NODES.iter().position(|name| *name == node).is_some_and(|place| wants & (1 << place) != 0)
}

impl Room {
    fn occupant_of(&self, client: &str) -> Option<usize> {
        self.occupants.iter().position(|occupant| occupant.clients.contains_key(client))
    }

    fn by_nick(&self, nick: &str) -> Option<usize> {
        self.occupants.iter().position(|occupant| occupant.nick == nick)
    }

    fn clients(&self) -> impl Iterator<Item = (&'static str, &Client)> {
        self.occupants.iter().flat_map(|occupant| occupant.clients.iter().map(|(jid, client)| (*jid, client)))
    }

    /// Every node with the JID that it is at.
    fn places<'r>(&'r self, room: &'r str) -> impl Iterator<Item = (String, &'static str, &'r Node)> {
        let own = self.nodes.iter().map(move |(name, node)| (room.to_owned(), *name, node));
        let others = self.occupants.iter().flat_map(move |occupant| {
            occupant.nodes.iter().map(move |(name, node)| (format!("{room}/{}", occupant.nick), *name, node))
        });
        own.chain(others)
    }

    fn all_nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.values_mut().chain(self.occupants.iter_mut().flat_map(|occupant| occupant.nodes.values_mut()))
    }

    /// Whoever is there and asked for it, and whoever is there and subscribed.
    fn audience(&self, name: &str, node: &Node) -> Vec<String> {
        let hears = |(jid, client): &(&'static str, &Client)| {
            wanted(client.wants, name) || node.subscribers.contains(*jid) || node.subscribers.contains(bare(jid))
        };
        self.clients().filter(hears).map(|(jid, _)| jid.to_owned()).collect()
    }

    /// The client has what it wants now; what is new to it comes.
    fn show(&mut self, room: &str, jid: &str, wants: u8) -> Vec<Told> {
        let Some(place) = self.occupant_of(jid) else { return Vec::new() };
        let before = self.occupants[place].clients[jid].wants;
        let nodes: Vec<(String, &'static str, Node)> =
            self.places(room).map(|(at, name, node)| (at, name, node.clone())).collect();
        let Some(client) = self.occupants[place].clients.get_mut(jid) else { return Vec::new() };
        client.wants = wants;
        client.seen.extend(nodes.iter().filter(|(_, name, _)| wanted(before, name)).map(|(.., node)| node.number));
        let mut told = Vec::new();
        for (at, name, node) in nodes.iter().filter(|(_, name, _)| wanted(wants, name)) {
            if client.seen.insert(node.number)
                && let Some(item) = node.item
            {
                told.push((jid.to_owned(), at.clone(), "item", *name, item, true));
            }
        }
        told
    }

    /// A client goes from an occupant, who goes with the last one.
    fn take(&mut self, jid: &str) -> Client {
        let Some(place) = self.occupant_of(jid) else { return Client::default() };
        let client = self.occupants[place].clients.remove(jid).unwrap_or_default();
        if self.occupants[place].clients.is_empty() {
            self.occupants.remove(place);
        }
        client
    }

    fn put(&mut self, nick: &'static str, jid: &'static str, client: Client) {
        match self.by_nick(nick) {
            Some(place) => drop(self.occupants[place].clients.insert(jid, client)),
            None => self.occupants.push(Occupant { nick, clients: [(jid, client)].into(), nodes: Nodes::new() }),
        }
    }
}

impl Model {
    /// Whether a client is in the room, and under which nick.
    pub(crate) fn nick_of(&self, room: &str, client: &str) -> Option<&'static str> {
        let room = self.rooms.get(room)?;
        Some(room.occupants[room.occupant_of(client)?].nick)
    }

    /// Whether the chat service lets a client have the nick.
    pub(crate) fn may_have(&self, room: &str, client: &str, nick: &str) -> bool {
        let found = self.rooms.get(room).and_then(|room| Some(&room.occupants[room.by_nick(nick)?]));
        found.is_none_or(|occupant| occupant.clients.keys().all(|jid| bare(jid) == bare(client)))
    }

    pub(crate) fn has_voice(&self, room: &str, client: &str) -> bool {
        self.rooms.get(room).is_some_and(|room| room.occupant_of(client).is_some() && !room.mute.contains(client))
    }

    /// Whether the operation can happen now, and the model knows what comes of it.
    pub(crate) fn makes_sense(&self, room: &str, who: &str, operation: Operation) -> bool {
        let nick_of = self.nick_of(room, who);
        match operation {
            Operation::Join { nick, .. } => nick_of.is_none() && self.may_have(room, who, nick),
            Operation::Rename { nick } => nick_of.is_some_and(|own| own != nick) && self.may_have(room, who, nick),
            Operation::Capabilities { .. } | Operation::Leave | Operation::Voice(_) => nick_of.is_some(),
            // What a second subscription does is told elsewhere.
            Operation::Ask { what: Ask::Subscribe { full }, target, node } => {
                let jid = if full { who } else { bare(who) };
                let Some(found) = self.rooms.get(room) else { return true };
                let nodes = match target {
                    Target::Room => Some(&found.nodes),
                    Target::Own => found.occupant_of(who).map(|place| &found.occupants[place].nodes),
                    Target::Nick(nick) => found.by_nick(nick).map(|place| &found.occupants[place].nodes),
                };
                !nodes.and_then(|nodes| nodes.get(node)).is_some_and(|node| node.subscribers.contains(jid))
            }
            _ => true,
        }
    }

    /// How many occupants all rooms have.
    pub(crate) fn occupants(&self) -> usize {
        self.rooms.values().map(|room| room.occupants.len()).sum()
    }

    /// Full JIDs of those who are there.
    pub(crate) fn present(&self, room: &str) -> BTreeSet<&'static str> {
        self.rooms.get(room).into_iter().flat_map(|room| room.clients().map(|(jid, _)| jid)).collect()
    }

    /// How many nodes, items and subscriptions there are.
    pub(crate) fn rows(&self) -> [usize; 3] {
        let nodes = self.rooms.iter().flat_map(|(name, room)| room.places(name)).map(|(.., node)| node);
        nodes.fold([0; 3], |[nodes, items, subscriptions], node| {
            [nodes + 1, items + usize::from(node.item.is_some()), subscriptions + node.subscribers.len()]
        })
    }

    /// The operation, if it makes sense now.
    pub(crate) fn apply(
        &mut self,
        name: &'static str,
        who: &'static str,
        operation: Operation,
    ) -> (Verdict, Vec<Told>) {
        let room = self.rooms.entry(name).or_default();
        match operation {
            Operation::Join { nick, wants } => {
                if room.occupants.is_empty() {
                    // Whoever was subscribed was cut off with the server.
                    room.nodes.values_mut().for_each(|node| node.subscribers.clear());
                }
                room.put(nick, who, Client::default());
                (Verdict::Done, wants.map_or_else(Vec::new, |wants| room.show(name, who, wants)))
            }
            Operation::Capabilities { wants } => (Verdict::Done, room.show(name, who, wants)),
            Operation::Rename { nick } => {
                let alone = room.occupant_of(who).filter(|&place| room.occupants[place].clients.len() == 1);
                match alone {
                    Some(place) if room.by_nick(nick).is_none() => room.occupants[place].nick = nick,
                    _ => {
                        let client = room.take(who);
                        room.put(nick, who, client);
                    }
                }
                (Verdict::Done, Vec::new())
            }
            Operation::Leave => {
                room.take(who);
                room.mute.remove(who);
                let alone = !room.clients().any(|(jid, _)| bare(jid) == bare(who));
                for node in room.all_nodes() {
                    node.subscribers.retain(|jid| jid != who && !(alone && bare(jid) == bare(who)));
                }
                (Verdict::Done, Vec::new())
            }
            Operation::Voice(voice) => {
                if voice {
                    room.mute.remove(who)
                } else {
                    room.mute.insert(who)
                };
                (Verdict::Done, Vec::new())
            }
            Operation::RoomPublishes { node } => self.publish(name, None, node),
            Operation::RoomDeletes { node } => self.delete(name, None, node),
            Operation::Destroy => {
                self.rooms.remove(name);
                (Verdict::Done, Vec::new())
            }
            Operation::Restart => {
                for room in self.rooms.values_mut() {
                    room.occupants.clear();
                    room.mute.clear();
                }
                (Verdict::Done, Vec::new())
            }
            Operation::Ask { what, target, node } => self.ask(name, who, what, target, node),
        }
    }

    fn ask(
        &mut self,
        name: &'static str,
        who: &'static str,
        what: Ask,
        target: Target,
        node: &'static str,
    ) -> (Verdict, Vec<Told>) {
        let nobody = |verdict| (verdict, Vec::new());
        let room = &self.rooms[name];
        let own = room.occupant_of(who);
        let place = match target {
            Target::Room => None,
            Target::Own => own,
            Target::Nick(nick) => room.by_nick(nick),
        };
        if target != Target::Room && place.is_none() {
            return nobody(Verdict::Passed);
        }
        let nodes = place.map_or(&room.nodes, |place| &room.occupants[place].nodes);
        let there = nodes.get(node);
        let voice = self.has_voice(name, who);
        match what {
            Ask::Read => nobody(match there {
                None if place.is_some() => Verdict::Passed,
                Some(_) if own.is_some() => Verdict::Done,
                _ => Verdict::Refused,
            }),
            _ if own.is_none() => nobody(Verdict::Refused),
            Ask::Subscribe { full } => {
                let jid = if full { who } else { bare(who) }.to_owned();
                let Some(known) = there else { return nobody(Verdict::Refused) };
                let item = known.item;
                let hears = |other: &&str| if full { *other == who } else { bare(other) == jid };
                let hearing: Vec<&str> = room.clients().map(|(jid, _)| jid).filter(hears).collect();
                let at = place.map_or(name.to_owned(), |place| format!("{name}/{}", room.occupants[place].nick));
                let last = |to: &&str| Some(((*to).to_owned(), at.clone(), "item", node, item?, true));
                let told = hearing.iter().filter_map(last).collect();
                self.node(name, place, node).subscribers.insert(jid);
                (Verdict::Done, told)
            }
            Ask::Unsubscribe { full } => {
                let jid = if full { who } else { bare(who) };
                let known = there.is_some_and(|node| node.subscribers.contains(jid));
                if known {
                    self.node(name, place, node).subscribers.remove(jid);
                }
                nobody(if known { Verdict::Done } else { Verdict::Refused })
            }
            _ if target == Target::Room || place != own => nobody(Verdict::Refused),
            Ask::Publish if !voice => nobody(Verdict::Refused),
            Ask::Publish => self.publish(name, place, node),
            Ask::Retract => {
                if there.is_none_or(|node| node.item.is_none()) {
                    return nobody(Verdict::Refused);
                }
                self.node(name, place, node).item = None;
                (Verdict::Done, self.tell(name, place, node, "retract", 0))
            }
            Ask::Delete => self.delete(name, place, node),
        }
    }

    /// A node that is there or is to be.
    fn node(&mut self, room: &'static str, place: Option<usize>, node: &'static str) -> &mut Node {
        let room = self.rooms.entry(room).or_default();
        let nodes = match place {
            Some(place) => &mut room.occupants[place].nodes,
            None => &mut room.nodes,
        };
        nodes.entry(node).or_default()
    }

    fn tell(
        &self,
        name: &'static str,
        place: Option<usize>,
        node: &'static str,
        what: &'static str,
        item: usize,
    ) -> Vec<Told> {
        let room = &self.rooms[name];
        let (at, nodes) = match place {
            Some(place) => (format!("{name}/{}", room.occupants[place].nick), &room.occupants[place].nodes),
            None => (name.to_owned(), &room.nodes),
        };
        let audience = room.audience(node, &nodes[node]);
        audience.into_iter().map(|to| (to, at.clone(), what, node, item, false)).collect()
    }

    fn publish(&mut self, room: &'static str, place: Option<usize>, name: &'static str) -> (Verdict, Vec<Told>) {
        self.numbers += 1;
        let number = self.numbers;
        let node = self.node(room, place, name);
        node.item = Some(number);
        if node.number == 0 {
            node.number = number;
        }
        (Verdict::Done, self.tell(room, place, name, "item", number))
    }

    /// The number of the item that is published next.
    pub(crate) fn next_item(&self) -> usize {
        self.numbers + 1
    }

    fn delete(&mut self, room: &'static str, place: Option<usize>, name: &'static str) -> (Verdict, Vec<Told>) {
        let there = match place {
            Some(place) => self.rooms[room].occupants[place].nodes.contains_key(name),
            None => self.rooms[room].nodes.contains_key(name),
        };
        if !there {
            return (Verdict::Refused, Vec::new());
        }
        let told = self.tell(room, place, name, "delete", 0);
        let room = self.rooms.entry(room).or_default();
        match place {
            Some(place) => room.occupants[place].nodes.remove(name),
            None => room.nodes.remove(name),
        };
        (Verdict::Done, told)
    }
}
