//! Two servers and the wire between them, in virtual time. The wire loses, repeats and delays what it carries, until it
//! is mended; what goes one way stays in order, as on a stream.

#[path = "../model/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use pam_pps::xml::{Document, Element, Limits};
use pam_pps::{
    Config as Options, Decision, Engine, Input, InputKind, Need, RosterSubscription, ServiceKind, Timestamp,
};

pub(crate) use random::Random;

pub(crate) const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
pub(crate) const PAM: &str = "urn:xmpp:pam:0";
const SECOND: i64 = 1_000_000;

pub(crate) fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

fn domain(jid: &str) -> &str {
    let bare = bare(jid);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

/// Reads a stanza.
pub(crate) fn read<T>(xml: &str, read: impl FnOnce(Element<'_>) -> T) -> T {
    let document = Document::parse(xml, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {xml}"));
    read(document.root())
}

fn header(xml: &str) -> [String; 4] {
    read(xml, |root| ["type", "id", "from", "to"].map(|name| root.attr(name).unwrap_or("").to_owned()))
}

/// What a device knows of its account's list: an entry and its state, by service, node and subscription id.
pub(crate) type List = BTreeMap<(String, String), String>;

/// A client that asks for the list once, and then lives on what it is told.
#[derive(Debug, Default)]
pub(crate) struct Device {
    pub(crate) list: List,
    pub(crate) ver: String,
}

/// A server: the engine, the accounts with their devices, and what is due.
pub(crate) struct Server {
    pub(crate) domain: &'static str,
    component: Option<&'static str>,
    engine: Option<Engine>,
    database: PathBuf,
    starts: u32,
    pub(crate) accounts: BTreeSet<&'static str>,
    pub(crate) devices: BTreeMap<String, Device>,
    wake: Option<i64>,
    /// Answers of this server to its own devices, by id.
    answers: BTreeMap<String, String>,
    /// What the devices could not make sense of.
    pub(crate) complaints: Vec<String>,
}

/// A request that reached a service, and whether it was granted.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) service: String,
    pub(crate) account: String,
    pub(crate) payload: String,
    pub(crate) granted: bool,
}

pub(crate) struct World {
    pub(crate) servers: [Server; 2],
    pub(crate) now: i64,
    pub(crate) random: Random,
    pub(crate) mended: bool,
    /// Per direction: when it arrives, and what.
    wire: [VecDeque<(i64, String)>; 2],
    /// Subscriptions asked of services over the wire, in the order in which they got there.
    pub(crate) asked: Vec<Asked>,
    ids: u64,
}

impl Server {
    fn open(&mut self) {
        self.engine = None;
        let mut options = Options::new();
        options.set("database", self.database.to_str().expect("the path is text")).expect("a file");
        // No identifier comes twice in the life of a server.
        self.starts += 1;
        options.set("seed", &format!("{} {}", self.domain, self.starts)).expect("any text");
        let engine = Engine::open(&options).expect("the store opens");
        let mut accounts = Options::new();
        accounts.set("check_interval", "3600").expect("seconds");
        engine.serve(self.domain, ServiceKind::Accounts, &accounts).expect("a host");
        if let Some(component) = self.component {
            engine.serve(component, ServiceKind::Component, &Options::new()).expect("a component");
        }
        self.engine = Some(engine);
        self.wake = None;
        for device in self.devices.values_mut() {
            *device = Device::default();
        }
    }

    fn serves(&self, domain: &str) -> bool {
        domain == self.domain || Some(domain) == self.component
    }

    /// What an input leads to.
    fn feed(&mut self, now: &mut i64, mut input: Input) -> (Vec<String>, bool) {
        let (mut stanzas, mut passed) = (Vec::new(), false);
        let engine = self.engine.as_ref().expect("it runs");
        let decisions = loop {
            *now += 1_000;
            let outcome = engine.handle(Timestamp::from_micros(*now), &input).expect("it makes sense");
            if !outcome.needs_facts() {
                break outcome.decisions;
            }
            for decision in outcome.decisions {
                match decision {
                    Decision::Need(Need::Account(jid)) => {
                        input.facts.insert_account(&jid, self.accounts.contains(jid.as_str()));
                    }
                    Decision::Need(Need::Roster { owner, contact }) => {
                        input.facts.insert_roster(&owner, &contact, RosterSubscription::None, Vec::new());
                    }
                    Decision::Need(Need::Admin { who, service }) => input.facts.insert_admin(&who, &service, false),
                    Decision::Need(Need::Blocked { owner, contact }) => {
                        input.facts.insert_blocked(&owner, &contact, false);
                    }
                    other => panic!("{other:?} beside questions"),
                }
            }
        };
        for decision in decisions {
            match decision {
                Decision::Pass => passed = true,
                Decision::Route { stanza } => stanzas.push(stanza),
                Decision::Multicast { stanza, id, recipients } => {
                    for (place, to) in recipients.iter().enumerate() {
                        stanzas.push(stanza.replacen("<message", &format!("<message id='{id}-{place}' to='{to}'"), 1));
                    }
                }
                Decision::Wake(time) => {
                    let time = time.micros();
                    self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
                }
                _ => {}
            }
        }
        (stanzas, passed)
    }

    /// A message or an answer for a device.
    fn deliver(&mut self, to: &str, stanza: &str) {
        let [_, id, _, _] = header(stanza);
        if stanza.starts_with("<iq") {
            self.answers.insert(id, stanza.to_owned());
            return;
        }
        let Some(device) = self.devices.get_mut(to) else { return };
        let complaint = read(stanza, |root| {
            let notify = root.child("notify", PAM)?;
            let subscription = notify.child("subscription", PUBSUB)?;
            let attribute = |name: &str| subscription.attr(name).unwrap_or("").to_owned();
            let key = (notify.attr("service")?.to_owned(), attribute("node"));
            if root.attr("from") != Some(bare(to)) || attribute("jid") != bare(to) {
                return Some(format!("{to} is told of what is not its own: {stanza}"));
            }
            let ver = notify.attr("ver")?.to_owned();
            match attribute("subscription").as_str() {
                "none" => drop(device.list.remove(&key)),
                state => drop(device.list.insert(key, state.to_owned())),
            }
            device.ver = ver;
            None
        });
        self.complaints.extend(complaint);
    }
}

impl World {
    pub(crate) fn new(folder: &Path, seed: u64) -> Self {
        let server = |domain: &'static str, component, accounts: &[&'static str]| {
            let devices = accounts.iter().flat_map(|account| {
                ["laptop", "phone"].map(|resource| (format!("{account}/{resource}"), Device::default()))
            });
            let mut server = Server {
                domain,
                component,
                engine: None,
                starts: 0,
                database: folder.join(format!("{domain}.sqlite")),
                accounts: accounts.iter().copied().collect(),
                devices: devices.collect(),
                wake: None,
                answers: BTreeMap::new(),
                complaints: Vec::new(),
            };
            server.open();
            server
        };
        let servers = [
            server("a.example", None, &["romeo@a.example", "benvolio@a.example"]),
            server("b.example", Some("pubsub.b.example"), &["juliet@b.example", "capulet@b.example"]),
        ];
        let mut world = Self {
            servers,
            now: 1_700_000_000 * SECOND,
            random: Random::new(seed),
            mended: false,
            wire: [VecDeque::new(), VecDeque::new()],
            asked: Vec::new(),
            ids: 0,
        };
        (0..2).for_each(|server| world.log_in_all(server));
        world
    }

    pub(crate) fn place(&self, jid: &str) -> usize {
        usize::from(!self.servers[0].serves(domain(jid)))
    }

    pub(crate) fn restart(&mut self, server: usize) {
        self.servers[server].open();
        self.log_in_all(server);
    }

    fn log_in_all(&mut self, server: usize) {
        let devices: Vec<String> = self.servers[server].devices.keys().cloned().collect();
        for device in devices {
            self.log_in(&device);
        }
    }

    /// The device shows itself and asks for the list.
    pub(crate) fn log_in(&mut self, device: &str) {
        let server = self.place(device);
        self.servers[server].devices.entry(device.to_owned()).or_default();
        self.input(server, Input::stanza(format!("<presence xmlns='jabber:client' from='{device}'/>")));
        let (list, ver) = self.list(device);
        self.servers[server].devices.insert(device.to_owned(), Device { list, ver });
    }

    pub(crate) fn remove_account(&mut self, account: &'static str) {
        let server = self.place(account);
        self.servers[server].accounts.remove(account);
        self.servers[server].devices.retain(|device, _| bare(device) != account);
        self.input(server, Input::new(InputKind::AccountRemoved(account.to_owned())));
    }

    pub(crate) fn add_account(&mut self, account: &'static str) {
        let server = self.place(account);
        self.servers[server].accounts.insert(account);
        for resource in ["laptop", "phone"] {
            self.log_in(&format!("{account}/{resource}"));
        }
    }

    /// Gives an input to a server and takes care of all that follows from it there.
    pub(crate) fn input(&mut self, server: usize, input: Input) {
        let (stanzas, passed) = self.servers[server].feed(&mut self.now, input.clone());
        if passed && let InputKind::Stanza(stanza) = &input.kind {
            let [kind, id, from, to] = header(stanza);
            if stanza.starts_with("<iq") && (kind == "get" || kind == "set") {
                self.route(
                    server,
                    format!("<iq xmlns='jabber:client' type='error' id='{id}' from='{to}' to='{from}'/>"),
                );
            }
        }
        for stanza in stanzas {
            self.route(server, stanza);
        }
    }

    fn route(&mut self, server: usize, stanza: String) {
        let [_, _, _, to] = header(&stanza);
        if !self.servers[server].serves(domain(&to)) {
            return self.send(server, stanza);
        }
        if to.contains('/') {
            return self.servers[server].deliver(&to, &stanza);
        }
        self.input(server, Input::stanza(stanza));
    }

    /// Over the wire, if it gets there.
    fn send(&mut self, server: usize, stanza: String) {
        let [kind, id, from, to] = header(&stanza);
        let delay = if self.mended { SECOND / 10 } else { self.random.below(20) as i64 * SECOND };
        let bounce = |condition: &str| {
            format!(
                "<iq xmlns='jabber:client' type='error' id='{id}' from='{to}' to='{from}'><error type='wait'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
        };
        let request = stanza.starts_with("<iq") && (kind == "get" || kind == "set");
        let lost = !self.mended && self.random.one_in(4);
        if !self.mended && request && self.random.one_in(4) {
            // Of something that has got there, the server can only say that no answer came.
            let not_found = lost && self.random.one_in(2);
            let condition = if not_found { "remote-server-not-found" } else { "remote-server-timeout" };
            self.put_on_wire(1 - server, delay, bounce(condition));
        }
        if lost {
            return;
        }
        let twice = !self.mended && self.random.one_in(10);
        if twice {
            self.put_on_wire(server, delay, stanza.clone());
        }
        self.put_on_wire(server, delay, stanza);
    }

    /// `from`: which server it comes from, or seems to.
    fn put_on_wire(&mut self, from: usize, delay: i64, stanza: String) {
        let last = self.wire[from].back().map_or(0, |(time, _)| *time);
        self.wire[from].push_back(((self.now + delay).max(last), stanza));
    }

    /// Time goes on.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let end = self.now + seconds * SECOND;
        for _ in 0..200_000 {
            let arrival = (0..2).filter_map(|from| Some((self.wire[from].front()?.0, from))).min();
            let wake = (0..2).filter_map(|server| Some((self.servers[server].wake?, server))).min();
            let next = [arrival.map(|(time, _)| time), wake.map(|(time, _)| time)].into_iter().flatten().min();
            let Some(time) = next.filter(|time| *time <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(time);
            match arrival.filter(|(arrival, _)| *arrival == time) {
                Some((_, from)) => {
                    let stanza = self.wire[from].pop_front().map(|(_, stanza)| stanza).unwrap_or_default();
                    self.arrive(1 - from, stanza);
                }
                None => {
                    let (_, server) = wake.expect("one of the two is due");
                    self.servers[server].wake = None;
                    self.input(server, Input::tick());
                }
            }
        }
        panic!("the servers never rest");
    }

    fn arrive(&mut self, server: usize, stanza: String) {
        let [kind, id, from, to] = header(&stanza);
        let payload = read(&stanza, |root| root.children().map(|child| child.to_standalone()).collect::<String>());
        let subscribes = payload.contains("<subscribe ") || payload.contains("<unsubscribe ");
        if !(kind == "set" && subscribes) {
            return self.route(server, stanza);
        }
        let (stanzas, _) = self.servers[server].feed(&mut self.now, Input::stanza(stanza));
        let answers =
            stanzas.iter().map(|stanza| header(stanza)).filter(|[_, answer, _, back]| *answer == id && *back == from);
        let kinds: Vec<String> = answers.map(|[kind, ..]| kind).collect();
        assert!(kinds.len() == 1, "one answer: {stanzas:?}");
        self.asked.push(Asked { service: to, account: from, payload, granted: kinds[0] == "result" });
        for stanza in stanzas {
            self.route(server, stanza);
        }
    }

    /// A request of a device; the answer, if it came at once.
    pub(crate) fn ask(&mut self, device: &str, to: &str, kind: &str, payload: &str) -> Option<String> {
        self.ids += 1;
        let id = format!("q{}", self.ids);
        let server = self.place(device);
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        let stanza = format!("<iq xmlns='jabber:client' type='{kind}' id='{id}' from='{device}'{to}>{payload}</iq>");
        self.input(server, Input::stanza(stanza));
        self.servers[server].answers.remove(&id)
    }

    /// The account's list and its version.
    pub(crate) fn list(&mut self, device: &str) -> (List, String) {
        let answer = self.ask(device, "", "get", &format!("<subscriptions xmlns='{PAM}'/>"));
        let answer = answer.expect("the account answers at once");
        read(&answer, |root| {
            let list = root.child("subscriptions", PAM).unwrap_or_else(|| panic!("no list: {answer}"));
            let mut entries = List::new();
            for entry in list.children() {
                let attribute = |name: &str| entry.attr(name).unwrap_or("").to_owned();
                assert_eq!(attribute("jid"), bare(device));
                let old = entries.insert((attribute("service"), attribute("node")), attribute("subscription"));
                assert!(old.is_none(), "twice in the list: {answer}");
            }
            (entries, list.attr("ver").unwrap_or("").to_owned())
        })
    }

    /// Attributes of the elements of that name in an answer.
    pub(crate) fn found(
        &mut self,
        device: &str,
        to: &str,
        payload: &str,
        name: &str,
        attributes: [&str; 2],
    ) -> BTreeSet<[String; 2]> {
        let answer = self.ask(device, to, "get", payload).expect("an answer at once");
        fn walk(element: Element<'_>, name: &str, attributes: [&str; 2], found: &mut BTreeSet<[String; 2]>) {
            if element.name() == name && element.attr(attributes[0]).is_some() {
                found.insert(attributes.map(|attribute| element.attr(attribute).unwrap_or("").to_owned()));
            }
            element.children().for_each(|child| walk(child, name, attributes, found));
        }
        let mut found = BTreeSet::new();
        read(&answer, |root| walk(root, name, attributes, &mut found));
        found
    }
}
