//! Two servers that follow each other's nodes over a wire that loses, repeats and delays, with restarts in between. Once
//! the wire is mended and time has passed, the lists of the accounts, those of the services, the public ones and what the
//! devices were told say the same as a plain model of what has reached the services.
//!
//! The seeds are fixed. `PAM_PPS_SEEDS=100..200` plays others, `PAM_PPS_STEPS` more of each.

mod twins;

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

use twins::{List, PUBSUB, World, bare, read};

const OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
const PPS: &str = "urn:xmpp:pps:0";

/// Services with somebody who owns the nodes there.
const SERVICES: [(&str, &str); 3] = [
    ("juliet@b.example", "juliet@b.example/laptop"),
    ("pubsub.b.example", "capulet@b.example/laptop"),
    ("romeo@a.example", "romeo@a.example/laptop"),
];
const NODES: [&str; 2] = ["urn:x:one", "urn:x:two"];
const FOLLOWERS: [&str; 3] = ["romeo@a.example", "benvolio@a.example", "juliet@b.example"];
/// This account comes and goes.
const FICKLE: &str = "benvolio@a.example";

/// What a person last wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Subscribed,
    Public,
    None,
}

/// A subscriber as a service has it.
#[derive(Debug, Clone, Copy)]
struct Subscriber {
    pending: bool,
    public: bool,
}

#[derive(Debug, Default)]
struct Node {
    authorize: bool,
    subscribers: BTreeMap<String, Subscriber>,
}

/// What has reached the services, and what it comes to.
#[derive(Debug, Default)]
struct Model {
    nodes: BTreeMap<(String, String), Node>,
    wishes: BTreeMap<(String, String, String), Wish>,
}

impl Model {
    /// A request at a service; whether it is granted.
    fn ask(&mut self, service: &str, account: &str, node: &str, wish: Wish) -> bool {
        let Some(node) = self.nodes.get_mut(&(service.to_owned(), node.to_owned())) else { return false };
        if wish == Wish::None {
            return node.subscribers.remove(account).is_some();
        }
        let owner = SERVICES.iter().any(|(known, owner)| *known == service && bare(owner) == account);
        let pending = node.authorize && !owner;
        let public = wish == Wish::Public;
        let old = node.subscribers.insert(account.to_owned(), Subscriber { pending, public });
        let Some(old) = old else { return true };
        if let Some(subscriber) = node.subscribers.get_mut(account) {
            subscriber.pending = old.pending;
        }
        // Who waits and asks for nothing new is told to wait (XEP-0060, section 6.1.3.7).
        !(old.pending && old.public == public)
    }

    /// What the list of the account should be.
    fn list(&self, account: &str) -> List {
        let mut list = List::new();
        for ((service, node), found) in &self.nodes {
            if let Some(subscriber) = found.subscribers.get(account) {
                let state = if subscriber.pending { "pending" } else { "subscribed" };
                list.insert((service.clone(), node.clone()), state.to_owned());
            }
        }
        list
    }

    fn public(&self, account: &str) -> BTreeSet<[String; 2]> {
        let shown = |node: &Node| node.subscribers.get(account).is_some_and(|found| found.public && !found.pending);
        let nodes = self.nodes.iter().filter(|(_, node)| shown(node));
        nodes.map(|((service, node), _)| [service.clone(), node.clone()]).collect()
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn seeds() -> std::ops::Range<u64> {
    let given = env::var("PAM_PPS_SEEDS").ok();
    let parse = |text: &str| {
        let (first, last) = text.split_once("..")?;
        Some(first.parse().ok()?..last.parse().ok()?)
    };
    given.as_deref().map_or(1..17, |text| parse(text).expect("PAM_PPS_SEEDS is like 100..200"))
}

struct Play {
    world: World,
    model: Model,
    log: Vec<String>,
}

impl Play {
    fn note(&mut self, what: String) {
        let seconds = self.world.now / 1_000_000 - 1_700_000_000;
        self.log.push(format!("{seconds}: {what}"));
    }

    /// What has come to services over the wire since the last time.
    fn follow(&mut self) {
        for asked in std::mem::take(&mut self.world.asked) {
            let (node, wish) = read(&format!("<q>{}</q>", asked.payload), |root| {
                let pubsub = root.children().next().expect("a payload");
                let operation = pubsub.children().next().expect("an operation");
                let public = operation.child("public", PPS).is_some();
                let wish = match operation.name() {
                    "unsubscribe" => Wish::None,
                    _ if public => Wish::Public,
                    _ => Wish::Subscribed,
                };
                (operation.attr("node").unwrap_or("").to_owned(), wish)
            });
            let granted = self.model.ask(&asked.service, &asked.account, &node, wish);
            self.note(format!("{} has got {wish:?} of {} for {node}: {granted}", asked.service, asked.account));
            assert_eq!(asked.granted, granted, "{asked:?}; left: the engine");
        }
    }

    fn pass(&mut self, seconds: i64) {
        // In small steps: what happens at the services is to be noted before something else happens there.
        let end = self.world.now + seconds * 1_000_000;
        while self.world.now < end {
            self.world.pass(((end - self.world.now) / 1_000_000).clamp(1, 600));
            self.follow();
        }
    }

    /// A person's wish, by one of the devices.
    fn wish(&mut self, account: &'static str, service: &'static str, node: &'static str, wish: Wish) {
        let device = format!("{account}/{}", self.world.random.pick(&["laptop", "phone"]));
        let inner = match wish {
            Wish::None => format!("<unsubscribe xmlns='{PUBSUB}' node='{node}' jid='{account}'/>"),
            Wish::Subscribed => format!("<subscribe xmlns='{PUBSUB}' node='{node}' jid='{account}'/>"),
            Wish::Public => {
                format!("<subscribe xmlns='{PUBSUB}' node='{node}' jid='{account}'><public xmlns='{PPS}'/></subscribe>")
            }
        };
        self.note(format!("{device} wants {wish:?} of {service} {node}"));
        self.model.wishes.insert((account.into(), service.into(), node.into()), wish);
        let payload = format!("<pam xmlns='urn:xmpp:pam:0' jid='{service}'>{inner}</pam>");
        let answer = self.world.ask(&device, "", "set", &payload);
        if self.world.place(account) == self.world.place(service) {
            let granted = self.model.ask(service, account, node, wish);
            let answer = answer.expect("a service of the same server answers at once");
            assert_eq!(read(&answer, |root| root.attr("type") == Some("result")), granted, "{answer}");
        }
    }

    /// The owner of a service does something.
    fn rule(&mut self, service: &'static str, owner: &'static str, node: &'static str) {
        let key = (service.to_owned(), node.to_owned());
        let Some(found) = self.model.nodes.get(&key) else {
            let authorize = self.world.random.one_in(2);
            let model = if authorize { "authorize" } else { "open" };
            let payload = format!(
                "<pubsub xmlns='{PUBSUB}'><create node='{node}'/><configure><x xmlns='jabber:x:data' type='submit'>\
                 <field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>\
                 <field var='pubsub#access_model'><value>{model}</value></field></x></configure></pubsub>"
            );
            self.note(format!("{owner} makes {service} {node}: {model}"));
            self.done(owner, service, &payload);
            self.model.nodes.insert(key, Node { authorize, subscribers: BTreeMap::new() });
            return;
        };
        let choice = self.world.random.below(4);
        let subscribers: Vec<String> = found.subscribers.keys().cloned().collect();
        if choice == 0 {
            self.note(format!("{owner} deletes {service} {node}"));
            self.done(owner, service, &format!("<pubsub xmlns='{OWNER}'><delete node='{node}'/></pubsub>"));
            self.model.nodes.remove(&key);
        } else if !subscribers.is_empty() {
            let subscriber = &subscribers[self.world.random.below(subscribers.len())];
            let state = if choice == 1 { "none" } else { "subscribed" };
            self.note(format!("{owner} makes {subscriber} {state} at {service} {node}"));
            let payload = format!(
                "<pubsub xmlns='{OWNER}'><subscriptions node='{node}'>\
                 <subscription jid='{subscriber}' subscription='{state}'/></subscriptions></pubsub>"
            );
            self.done(owner, service, &payload);
            let node = self.model.nodes.get_mut(&key).expect("it is there");
            if choice == 1 {
                node.subscribers.remove(subscriber);
            } else if let Some(found) = node.subscribers.get_mut(subscriber) {
                found.pending = false;
            }
        }
    }

    fn done(&mut self, device: &str, to: &str, payload: &str) {
        let answer = self.world.ask(device, to, "set", payload).expect("an answer at once");
        assert!(read(&answer, |root| root.attr("type") == Some("result")), "{payload}: {answer}");
    }

    fn come_or_go(&mut self) {
        if self.world.servers[0].accounts.contains(FICKLE) {
            self.note(format!("{FICKLE} is removed"));
            self.world.remove_account(FICKLE);
            for ((service, _), node) in &mut self.model.nodes {
                if self.world.place(service) == self.world.place(FICKLE) {
                    node.subscribers.remove(FICKLE);
                }
            }
            for ((account, ..), wish) in &mut self.model.wishes {
                if account == FICKLE {
                    *wish = Wish::None;
                }
            }
        } else {
            self.note(format!("{FICKLE} is there again"));
            self.world.add_account(FICKLE);
        }
    }

    fn step(&mut self) {
        let random = &mut self.world.random;
        match random.below(20) {
            0..9 => {
                let (account, (service, _), node) =
                    (random.pick(&FOLLOWERS), random.pick(&SERVICES), random.pick(&NODES));
                let wish = random.pick(&[Wish::Subscribed, Wish::Public, Wish::Public, Wish::None]);
                if self.world.servers[self.world.place(account)].accounts.contains(account) {
                    self.wish(account, service, node, wish);
                }
            }
            9..13 => {
                let ((service, owner), node) = (random.pick(&SERVICES), random.pick(&NODES));
                self.rule(service, owner, node);
            }
            13 => {
                let server = random.below(2);
                self.note(format!("{} restarts", self.world.servers[server].domain));
                self.world.restart(server);
            }
            14 if random.one_in(2) => self.come_or_go(),
            _ => {
                let seconds = random.pick(&[1, 5, 30, 70, 300]);
                self.pass(seconds);
            }
        }
        self.follow();
    }

    fn compare(&mut self) {
        for (service, owner) in SERVICES {
            for name in NODES {
                let Some(node) = self.model.nodes.get(&(service.to_owned(), name.to_owned())) else { continue };
                // Who waits is not in the owner's list, but in that of the account.
                let approved = node.subscribers.iter().filter(|(_, found)| !found.pending);
                let wanted: BTreeSet<[String; 2]> =
                    approved.map(|(jid, _)| [jid.clone(), "subscribed".to_owned()]).collect();
                let shown = node.subscribers.iter().filter(|(_, found)| found.public && !found.pending);
                let public: BTreeSet<[String; 2]> = shown.map(|(jid, _)| [jid.clone(), String::new()]).collect();
                let payload = format!("<pubsub xmlns='{OWNER}'><subscriptions node='{name}'/></pubsub>");
                let found = self.world.found(owner, service, &payload, "subscription", ["jid", "subscription"]);
                assert_eq!(found, wanted, "subscribers of {service} {name}; left: the engine");
                let payload =
                    format!("<pubsub xmlns='{PUBSUB}'><items node='urn:xmpp:pps:subscribers:0/{name}'/></pubsub>");
                let found = self.world.found(owner, service, &payload, "subscriber", ["jid", "nothing"]);
                assert_eq!(found, public, "public subscribers of {service} {name}; left: the engine");
            }
        }
        for ((account, service, node), wish) in &self.model.wishes {
            let found = self.model.nodes.get(&(service.clone(), node.clone())).and_then(|n| n.subscribers.get(account));
            assert!(*wish != Wish::None || found.is_none(), "{account} wanted to leave {service} {node}");
            let public = found.is_some_and(|found| found.public);
            assert!(*wish == Wish::Public || !public, "{account} did not want {service} {node} to be seen");
        }
        for account in FOLLOWERS {
            let server = self.world.place(account);
            if !self.world.servers[server].accounts.contains(account) {
                continue;
            }
            for resource in ["laptop", "phone"] {
                let device = format!("{account}/{resource}");
                let (list, ver) = self.world.list(&device);
                assert_eq!(list, self.model.list(account), "the list of {account}; left: the engine");
                let known = &self.world.servers[server].devices[&device];
                assert_eq!(known.list, list, "what {device} was told; right: the list");
                assert_eq!(known.ver, ver, "the version that {device} was told; right: that of the list");
            }
            let device = format!("{account}/laptop");
            let payload = format!("<pubsub xmlns='{PUBSUB}'><items node='urn:xmpp:pps:subscriptions:0'/></pubsub>");
            let found = self.world.found(&device, account, &payload, "subscription", ["jid", "node"]);
            assert_eq!(found, self.model.public(account), "the public list of {account}; left: the engine");
        }
        for server in &self.world.servers {
            assert_eq!(server.complaints, Vec::<String>::new());
        }
    }
}

fn play(seed: u64, steps: usize) {
    let folder = env::temp_dir().join(format!("pam_pps-federation-{}-{seed}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the test");
    let mut play = Play { world: World::new(&folder, seed), model: Model::default(), log: Vec::new() };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..2 {
            for _ in 0..steps {
                play.step();
            }
            play.note("the wire is mended".to_owned());
            play.world.mended = true;
            // The longest pause between two attempts, and some time for what follows.
            play.pass(14 * 3_600);
            play.compare();
            play.world.mended = false;
        }
    }));
    let log = std::mem::take(&mut play.log);
    drop(play);
    let _ = fs::remove_dir_all(&folder);
    if let Err(panic) = result {
        eprintln!("seed {seed}:\n{}", log.join("\n"));
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn both_sides_agree_in_the_end() {
    let steps = number("PAM_PPS_STEPS", 60);
    seeds().for_each(|seed| play(seed, steps));
}
