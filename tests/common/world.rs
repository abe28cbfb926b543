//! A small XMPP server in memory: accounts, sessions, presence, routing. The brain is the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::brain::{Brain, Call, Decided, Fact, Place, Question};
use super::rooms::{ROOMS, Room};
use super::roster::Account;
use super::xml::{self, CLIENT, Element};

/// The domain of the accounts, and the component that the engine serves.
pub(crate) const ACCOUNTS: &str = "localhost";
pub(crate) const SERVICE: &str = "pubsub.localhost";

const BLOCKING: &str = "urn:xmpp:blocking";
const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
const PING: &str = "urn:xmpp:ping";
const ROSTER: &str = "jabber:iq:roster";
const SUBSCRIPTION_TYPES: [&str; 4] = ["subscribe", "subscribed", "unsubscribe", "unsubscribed"];

/// A session of an account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    actor: usize,
    pub(crate) presence: Option<Element>,
    pub(crate) wants_roster: bool,
    directed: BTreeSet<String>,
}

pub(crate) struct World {
    brain: Box<dyn Brain>,
    pub(crate) now: i64,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) sessions: BTreeMap<String, Session>,
    /// Domains of connected components.
    pub(crate) components: BTreeMap<String, usize>,
    pub(crate) queue: VecDeque<Element>,
    pub(crate) delivered: VecDeque<(usize, Element)>,
    pub(crate) pushes: u32,
    pub(crate) rooms: BTreeMap<String, Room>,
    /// Requests that a room has passed on: who asked whom, and under which id.
    pub(crate) relayed: BTreeMap<String, (String, String, String)>,
    pub(crate) relays: u32,
    wake: Option<i64>,
}

/// The part before the resource.
pub(crate) fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// The resource, or nothing.
pub(crate) fn resource_of(jid: &str) -> &str {
    jid.split_once('/').map_or("", |(_, resource)| resource)
}

fn domain_of(jid: &str) -> &str {
    let bare = bare(jid);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

impl World {
    pub(crate) fn new(brain: Box<dyn Brain>, now: i64) -> Self {
        Self {
            brain,
            now,
            accounts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            components: BTreeMap::new(),
            queue: VecDeque::new(),
            delivered: VecDeque::new(),
            pushes: 0,
            rooms: BTreeMap::new(),
            relayed: BTreeMap::new(),
            relays: 0,
            wake: None,
        }
    }

    /// The server ends, and starts again with another engine on the same store.
    pub(crate) fn restart(self, open: impl FnOnce() -> Result<Box<dyn Brain>, String>) -> Result<Self, String> {
        let Self { brain, now, accounts, pushes, .. } = self;
        drop(brain);
        let mut world = Self { accounts, pushes, ..Self::new(open()?, now) };
        // What was due while the server was down is due now.
        world.feed(&Call::Tick)?;
        world.run()?;
        Ok(world)
    }

    pub(crate) fn log_in(&mut self, full: &str, actor: usize) {
        self.sessions.insert(full.to_owned(), Session { actor, ..Session::default() });
    }

    /// The connection of a session is gone; the server says so to whoever saw it.
    pub(crate) fn log_out(&mut self, full: &str) -> Result<(), String> {
        if self.sessions.get(full).is_some_and(|session| session.presence.is_some()) {
            let gone = Element::stanza("presence").with("type", "unavailable").with("from", full);
            self.broadcast(full, gone)?;
        }
        self.sessions.remove(full);
        self.feed(&Call::SessionEnded(full.to_owned()))?;
        self.run()
    }

    /// A stanza as a client sent it.
    pub(crate) fn take_from_client(&mut self, full: &str, mut stanza: Element) -> Result<(), String> {
        stanza.set("from", full);
        let to = stanza.get("to").map(str::to_owned);
        if stanza.name == "presence" {
            let kind = stanza.get("type").unwrap_or_default().to_owned();
            match to {
                _ if SUBSCRIPTION_TYPES.contains(&kind.as_str()) => self.subscription_out(full, &stanza)?,
                None => self.broadcast(full, stanza)?,
                Some(to) => {
                    if let Some(session) = self.sessions.get_mut(full) {
                        if kind.is_empty() {
                            session.directed.insert(to)
                        } else {
                            session.directed.remove(&to)
                        };
                    }
                    self.queue.push_back(stanza);
                }
            }
        } else if to.as_deref().is_none_or(|to| to == bare(full)) {
            self.own_account(full, &stanza)?;
        } else if to.is_some_and(|to| self.blocks(bare(full), bare(&to))) {
            if stanza.get("type") != Some("error") && stanza.get("type") != Some("result") {
                self.deliver(full, stanza.error("cancel", "not-acceptable"));
            }
        } else {
            self.queue.push_back(stanza);
        }
        self.run()
    }

    /// A stanza as a component sent it.
    pub(crate) fn take_from_component(&mut self, stanza: Element) -> Result<(), String> {
        self.queue.push_back(stanza);
        self.run()
    }

    /// Virtual time goes on, with a stop at each time that the engine asked for.
    pub(crate) fn pass_time(&mut self, seconds: i64) -> Result<(), String> {
        let end = self.now + seconds * 1_000_000;
        for _ in 0..10_000 {
            let Some(wake) = self.wake.filter(|&wake| wake <= end) else {
                self.now = self.now.max(end);
                return Ok(());
            };
            self.wake = None;
            self.now = self.now.max(wake);
            self.feed(&Call::Tick)?;
            self.run()?;
        }
        Err("the engine asks to be woken without end".to_owned())
    }

    /// Routes until nothing is left to route.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..100_000 {
            let Some(stanza) = self.queue.pop_front() else { return Ok(()) };
            self.route(stanza)?;
        }
        Err("stanzas go round and round".to_owned())
    }

    /// Gives an input to the engine, with the facts that it wants; says whether the host is to go on with the stanza.
    pub(crate) fn feed(&mut self, call: &Call) -> Result<bool, String> {
        self.now += 1_000;
        let mut decided = self.brain.call(self.now, call)?;
        for _ in 0..100 {
            let facts: Vec<Fact> = decided
                .iter()
                .filter_map(|decision| if let Decided::Need(question) = decision { Some(question) } else { None })
                .map(|question| self.fact(question))
                .collect();
            if facts.is_empty() {
                return self.carry_out(decided);
            }
            if decided.iter().any(|decision| !matches!(decision, Decided::Need(_) | Decided::Wake(_))) {
                return Err(format!("decisions beside questions: {decided:?}"));
            }
            decided = self.brain.again(self.now, &facts)?;
        }
        Err(format!("the engine asks without end: {decided:?}"))
    }

    fn fact(&self, question: &Question) -> Fact {
        match question.clone() {
            Question::Account(jid) => Fact::Account { exists: self.accounts.contains_key(&jid), jid },
            Question::Roster { owner, contact } => {
                let item = self.accounts.get(&owner).and_then(|account| account.roster.get(bare(&contact)));
                let (stance, groups) = item.map(|item| (item.stance, item.groups.clone())).unwrap_or_default();
                Fact::Roster { owner, contact, stance, groups }
            }
            Question::Admin { who, service } => {
                Fact::Admin { is_admin: bare(&who) == format!("admin@{ACCOUNTS}"), who, service }
            }
            Question::Blocked { owner, contact } => {
                Fact::Blocked { blocked: self.blocks(&owner, bare(&contact)), owner, contact }
            }
            Question::Import(service) => Fact::Import { service, done: true },
            Question::Room { who, room } => self.room_fact(&who, &room),
            Question::RoomInfo(room) => self.room_info(&room),
        }
    }

    fn blocks(&self, owner: &str, contact: &str) -> bool {
        self.accounts
            .get(owner)
            .is_some_and(|account| account.blocked.contains(contact) || account.blocked.contains(domain_of(contact)))
    }

    fn carry_out(&mut self, decided: Vec<Decided>) -> Result<bool, String> {
        let mut pass = false;
        for decision in decided {
            match decision {
                Decided::Pass => pass = true,
                Decided::Route(stanza) => {
                    let stanza = self.checked(&stanza)?;
                    self.queue.push_back(stanza);
                }
                Decided::Multicast { stanza, id, recipients } => {
                    let stanza = self.checked(&stanza)?;
                    if stanza.get("to").is_some() || stanza.get("id").is_some() {
                        return Err(format!("a multicast with an address or id: {}", stanza.write(CLIENT)));
                    }
                    for (index, recipient) in recipients.iter().enumerate() {
                        let copy = stanza.clone().with("to", recipient).with("id", &format!("{id}-{index}"));
                        self.queue.push_back(copy);
                    }
                }
                Decided::Wake(time) => self.wake = Some(self.wake.map_or(time, |wake| wake.min(time))),
                Decided::Need(_) | Decided::Other => {}
            }
        }
        Ok(pass)
    }

    /// What the engine sends must be XML in `jabber:client`, and must come from an address that it serves.
    fn checked(&self, text: &str) -> Result<Element, String> {
        let stanza = xml::parse_stanza(text).map_err(|why| format!("the engine sends {why}: {text}"))?;
        let from = stanza.get("from").unwrap_or_default();
        // An event that came for an account may be handed on to its resources, from whom it came.
        let to = stanza.get("to").unwrap_or_default();
        let handed_on = stanza.name == "message" && domain_of(to) == ACCOUNTS && to.contains('/');
        if stanza.ns != CLIENT || !(handed_on || [ACCOUNTS, SERVICE, ROOMS].contains(&domain_of(from))) {
            return Err(format!("the engine sends what it may not: {text}"));
        }
        Ok(stanza)
    }

    /// To a session; `from` is filled in as a client would read its absence.
    pub(crate) fn deliver(&mut self, full: &str, mut stanza: Element) {
        if let Some(session) = self.sessions.get(full) {
            if stanza.get("from").is_none() {
                stanza.set("from", bare(full));
            }
            self.delivered.push_back((session.actor, stanza));
        }
    }

    fn route(&mut self, stanza: Element) -> Result<(), String> {
        let to = stanza.get("to").unwrap_or_default().to_owned();
        let from = stanza.get("from").unwrap_or_default().to_owned();
        match domain_of(&to) {
            ACCOUNTS if to.contains('@') => {
                if self.blocks(bare(&to), bare(&from)) {
                    self.refuse(&stanza, "service-unavailable");
                    return Ok(());
                }
                self.for_account(&to, &from, stanza)
            }
            ACCOUNTS => self.for_domain(&stanza),
            ROOMS => self.for_rooms(stanza),
            SERVICE => {
                if self.feed(&Call::Stanza(stanza.write("")))? {
                    self.refuse(&stanza, "service-unavailable");
                }
                Ok(())
            }
            domain => {
                match self.components.get(domain) {
                    Some(&actor) => self.delivered.push_back((actor, stanza)),
                    None => self.refuse(&stanza, "remote-server-not-found"),
                }
                Ok(())
            }
        }
    }

    /// An error for what can be answered with one.
    pub(crate) fn refuse(&mut self, stanza: &Element, condition: &str) {
        let kind = stanza.get("type").unwrap_or_default();
        let answerable = match stanza.name.as_str() {
            "iq" => kind == "get" || kind == "set",
            "message" => kind != "error" && kind != "headline",
            _ => false,
        };
        if answerable {
            self.queue.push_back(stanza.error("cancel", condition));
        }
    }

    fn for_domain(&mut self, stanza: &Element) -> Result<(), String> {
        if stanza.name == "iq" && stanza.get("type") == Some("get") {
            if stanza.child(PING, "ping").is_some() {
                self.queue.push_back(stanza.reply("result"));
                return Ok(());
            }
            if stanza.child(DISCO_INFO, "query").is_some_and(|query| query.get("node").is_none()) {
                let answer = self.disco_info(stanza, Place::Domain)?;
                self.queue.push_back(answer);
                return Ok(());
            }
        }
        if stanza.name != "presence" && self.feed(&Call::Stanza(stanza.write("")))? {
            self.refuse(stanza, "service-unavailable");
        }
        Ok(())
    }

    /// The host's own answer with the engine's features in it.
    fn disco_info(&self, stanza: &Element, place: Place) -> Result<Element, String> {
        let own = Element::new(DISCO_INFO, "identity");
        let own = match place {
            Place::Domain => own.with("category", "server").with("type", "im").with("name", "in memory"),
            Place::Account | Place::Room => own.with("category", "account").with("type", "registered"),
        };
        let query = Element::new(DISCO_INFO, "query").with_child(own);
        Ok(stanza.reply("result").with_child(self.with_features(query, ACCOUNTS, place)?))
    }

    /// An answer of the host with what the engine has to say there.
    pub(crate) fn with_features(&self, mut query: Element, domain: &str, place: Place) -> Result<Element, String> {
        let feature = |var: &str| Element::new(DISCO_INFO, "feature").with("var", var);
        for line in self.brain.features(domain, place)?.lines() {
            let mut parts = line.split('\t');
            let child = match parts.next() {
                Some("identity") => {
                    let mut next = || parts.next().unwrap_or_default();
                    let identity = Element::new(DISCO_INFO, "identity").with("category", next()).with("type", next());
                    let name = next();
                    if name.is_empty() { identity } else { identity.with("name", name) }
                }
                Some(var) => feature(var),
                None => continue,
            };
            query = query.with_child(child);
        }
        let has_info = query.children().any(|child| child.get("var") == Some(DISCO_INFO));
        Ok(if has_info { query } else { query.with_child(feature(DISCO_INFO)) })
    }

    /// An IQ or a message of a session to its own account.
    fn own_account(&mut self, full: &str, stanza: &Element) -> Result<(), String> {
        let mut addressed = stanza.clone();
        addressed.set("to", bare(full));
        if stanza.name == "iq" {
            let answer = if stanza.child(ROSTER, "query").is_some() {
                self.roster_iq(full, &addressed)?
            } else if stanza.child(PING, "ping").is_some() {
                Some(addressed.reply("result"))
            } else if let Some(answer) = self.block_iq(full, &addressed) {
                Some(answer)
            } else {
                return self.account_stanza(bare(full), full, stanza.clone());
            };
            if let Some(answer) = answer {
                self.deliver(full, answer);
            }
            return Ok(());
        }
        self.account_stanza(bare(full), full, addressed)
    }

    fn block_iq(&mut self, full: &str, stanza: &Element) -> Option<Element> {
        let request = stanza.children().find(|child| child.ns == BLOCKING)?;
        let jids: Vec<String> = request.children().filter_map(|item| item.get("jid")).map(str::to_owned).collect();
        let account = self.accounts.get_mut(bare(full))?;
        match request.name.as_str() {
            "block" => account.blocked.extend(jids),
            "unblock" if jids.is_empty() => account.blocked.clear(),
            "unblock" => account.blocked.retain(|jid| !jids.contains(jid)),
            _ => {
                let mut list = Element::new(BLOCKING, "blocklist");
                for jid in &account.blocked {
                    list = list.with_child(Element::new(BLOCKING, "item").with("jid", jid));
                }
                return Some(stanza.reply("result").with_child(list));
            }
        }
        Some(stanza.reply("result"))
    }

    fn for_account(&mut self, to: &str, from: &str, stanza: Element) -> Result<(), String> {
        let kind = stanza.get("type").unwrap_or_default().to_owned();
        if stanza.name == "presence" {
            if SUBSCRIPTION_TYPES.contains(&kind.as_str()) {
                return self.subscription_in(&stanza);
            }
            if kind == "probe" {
                if self.stance(bare(to), bare(from)).from() {
                    self.show_presence(bare(to), from, false);
                }
                return Ok(());
            }
            if Self::is_full(to) {
                self.deliver(to, stanza);
                return Ok(());
            }
            self.feed(&Call::Stanza(stanza.write("")))?;
            for full in self.available(to) {
                self.deliver(&full, stanza.clone().with("to", &full));
            }
            return Ok(());
        }
        if !Self::is_full(to) {
            return self.account_stanza(to, from, stanza);
        }
        if self.sessions.contains_key(to) {
            // Events for one device are shown to the engine, whoever delivers them.
            if stanza.name == "message" && stanza.child(EVENT, "event").is_some() {
                self.feed(&Call::Stanza(stanza.write("")))?;
            }
            self.deliver(to, stanza);
        } else if stanza.name == "message" && ["", "normal", "chat"].contains(&kind.as_str()) {
            return self.account_stanza(bare(to), from, stanza.with("to", bare(to)));
        } else {
            self.refuse(&stanza, "service-unavailable");
        }
        Ok(())
    }

    /// An IQ or a message for a bare JID: the engine first, then what any server does.
    fn account_stanza(&mut self, owner: &str, from: &str, stanza: Element) -> Result<(), String> {
        let query = stanza.child(DISCO_INFO, "query").filter(|query| query.get("node").is_none());
        if query.is_some() && stanza.get("type") == Some("get") {
            let known = bare(from) == owner || self.stance(owner, bare(from)).from();
            if known {
                let mut addressed = stanza.clone();
                addressed.set("to", owner);
                let answer = self.disco_info(&addressed, Place::Account)?;
                self.queue.push_back(answer);
                return Ok(());
            }
        }
        if !self.feed(&Call::Stanza(stanza.write("")))? {
            return Ok(());
        }
        let mut addressed = stanza;
        addressed.set("to", owner);
        if addressed.name == "iq" {
            // Nodes of disco that nobody claims do not exist (XEP-0030), at least at accounts that do.
            let asks_for_node = addressed.child(DISCO_INFO, "query").is_some() && self.accounts.contains_key(owner);
            self.refuse(&addressed, if asks_for_node { "item-not-found" } else { "service-unavailable" });
            return Ok(());
        }
        if addressed.get("type") == Some("error") {
            return Ok(());
        }
        let priority = |world: &Self, full: &str| -> i32 {
            let presence = world.sessions[full].presence.as_ref();
            presence.and_then(|it| it.child(CLIENT, "priority")?.text().parse().ok()).unwrap_or(0)
        };
        let mut hearing = self.available(owner);
        hearing.retain(|full| priority(self, full) >= 0);
        if addressed.get("type") != Some("headline") {
            let highest = hearing.iter().map(|full| priority(self, full)).max();
            hearing.retain(|full| Some(priority(self, full)) == highest);
        }
        for full in hearing {
            self.deliver(&full, addressed.clone());
        }
        Ok(())
    }

    /// Presence without an address.
    fn broadcast(&mut self, full: &str, stanza: Element) -> Result<(), String> {
        let gone = stanza.get("type") == Some("unavailable");
        let owner = bare(full).to_owned();
        let Some(session) = self.sessions.get_mut(full) else { return Ok(()) };
        let first = session.presence.is_none() && !gone;
        session.presence = (!gone).then(|| stanza.clone());
        let directed = if gone { std::mem::take(&mut session.directed) } else { BTreeSet::new() };
        self.feed(&Call::Stanza(stanza.write("")))?;
        for other in self.available(&owner) {
            self.deliver(&other, stanza.clone().with("to", &other));
            if first && other != full {
                let theirs = self.sessions[&other].presence.clone();
                if let Some(presence) = theirs {
                    self.deliver(full, presence.with("to", full));
                }
            }
        }
        let roster = self.accounts.get(&owner).map(|account| account.roster.clone()).unwrap_or_default();
        for (contact, item) in &roster {
            if item.stance.from() && !self.blocks(&owner, contact) {
                self.queue.push_back(stanza.clone().with("to", contact));
            }
        }
        for jid in directed.iter().filter(|jid| !roster.get(bare(jid)).is_some_and(|item| item.stance.from())) {
            self.queue.push_back(stanza.clone().with("to", jid));
        }
        for (contact, _) in roster.iter().filter(|(_, item)| first && item.stance.to()) {
            if domain_of(contact) == ACCOUNTS {
                if self.stance(contact, &owner).from() {
                    self.show_presence(contact, full, false);
                }
            } else {
                let probe = Element::stanza("presence").with("type", "probe").with("from", &owner);
                self.queue.push_back(probe.with("to", contact));
            }
        }
        self.run()
    }
}
