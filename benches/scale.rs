//! How much an operation on subscriptions costs by how many there are (XEP-0376, XEP-0465), what an account with many
//! contacts costs (XEP-0163), and how much memory a full store takes. Each input has a transaction of its own.
//!
//! ```text
//! cargo bench --bench scale               every table, a million subscribers
//! cargo bench --bench scale -- --quick    a hundred thousand
//! ```

#![allow(missing_docs)]

mod common;

use common::{Folder, OWNER, SERVICE, fill, measure, payload, time};
use pam_pps::jid::Jid;
use pam_pps::pubsub::store::{NewSubscription, NodeKey, ServiceKey, Store, Transaction};
use pam_pps::pubsub::{Affiliation, Counters, NodeConfig, SubId, SubscriptionOptions, SubscriptionState};
use pam_pps::store::sqlite::{Options, Sqlite};
use pam_pps::{Config, Decision, Engine, Input, Need, RosterSubscription, ServiceKind, Timestamp};

const NOW: i64 = 1_700_000_000_000_000;
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const FOLLOWERS: &str = "urn:xmpp:pps:subscribers:0";

/// An engine and the host that answers what it asks.
struct Host {
    engine: Engine,
    now: i64,
}

impl Host {
    fn open(file: &std::path::Path, cache: usize) -> Self {
        let mut config = Config::new();
        config.set("database", file.to_str().expect("a plain name")).expect("an option");
        config.set("cache_size", &cache.to_string()).expect("an option");
        let engine = Engine::open(&config).expect("an engine");
        let mut options = Config::new();
        options.set("max_items", "2000000").expect("an option");
        options.set("max_subscriptions", "1000000").expect("an option");
        engine.serve(SERVICE, ServiceKind::Component, &options).expect("a service");
        engine.serve("localhost", ServiceKind::Accounts, &options).expect("a host");
        Self { engine, now: NOW + 10_000_000 }
    }

    /// Handles a stanza; what is to be sent.
    fn give(&mut self, stanza: &str) -> Vec<Decision> {
        self.now += 1;
        let mut input = Input::stanza(stanza);
        loop {
            let outcome = self.engine.handle(Timestamp::from_micros(self.now), &input).expect("handled");
            let mut asked = false;
            for decision in &outcome.decisions {
                let Decision::Need(need) = decision else { continue };
                asked = true;
                let facts = &mut input.facts;
                match need {
                    Need::Account(jid) => facts.insert_account(jid, true),
                    Need::Roster { owner, contact } => {
                        facts.insert_roster(owner, contact, RosterSubscription::Both, Vec::new());
                    }
                    Need::Admin { who, service } => facts.insert_admin(who, service, false),
                    Need::Blocked { owner, contact } => facts.insert_blocked(owner, contact, false),
                    Need::Import(service) => facts.insert_import(service, true),
                    Need::Room { .. } | Need::RoomInfo(_) => unreachable!("no rooms are served here"),
                }
            }
            if !asked {
                return outcome.decisions;
            }
        }
    }

    /// Handles a request that must not be refused.
    fn ask(&mut self, kind: &str, from: &str, to: &str, child: &str) -> Vec<Decision> {
        let decisions = self.give(&format!("<iq type='{kind}' id='r' from='{from}' to='{to}'>{child}</iq>"));
        let refused =
            |decision: &Decision| matches!(decision, Decision::Route { stanza } if stanza.contains("type='error'"));
        assert!(!decisions.iter().any(refused), "{decisions:?}");
        decisions
    }
}

fn told(decisions: &[Decision]) -> usize {
    let count = |decision: &Decision| match decision {
        Decision::Multicast { recipients, .. } => recipients.len(),
        _ => 0,
    };
    decisions.iter().map(count).sum()
}

fn make_node(transaction: &mut dyn Transaction, service: ServiceKey, name: &str) -> NodeKey {
    let at = Timestamp::from_micros(NOW);
    let config = std::sync::Arc::new(NodeConfig::component());
    let node = transaction.insert_node(service, name, OWNER, at, &config).expect("a node").key;
    transaction.set_affiliation(node, OWNER, Affiliation::Owner).expect("an owner");
    node
}

fn subscribe(transaction: &mut dyn Transaction, node: NodeKey, name: &str, jid: &str, wants_public: bool) {
    let at = Timestamp::from_micros(NOW);
    let options = SubscriptionOptions::default();
    let new = NewSubscription {
        node,
        jid: &Jid::parse(jid).expect("a JID"),
        subid: &SubId::from(format!("{name}{jid}").as_str()),
        state: SubscriptionState::Subscribed,
        wants_public,
        options: &options,
        created: at,
    };
    transaction.insert_subscription(&new).expect("a subscription");
    if wants_public {
        transaction.insert_public_subscriber(node, jid, at).expect("a mark");
        if jid.ends_with("@localhost") {
            transaction.insert_public_subscription(jid, SERVICE, name, at).expect("a mark");
        }
    }
}

/// A store with a node of many subscribers, of whom each tenth is public, and accounts with subscriptions of their own.
fn crowd(folder: &Folder, subscribers: i64, accounts: &[(&str, i64)]) -> Host {
    let file = folder.file("crowd.db");
    let mut store = Sqlite::open(&file, &Options::default()).expect("a store");
    let mut transaction = store.begin().expect("a transaction");
    let mut service = transaction.insert_service(SERVICE).expect("a service");
    let node = make_node(&mut *transaction, service.key, "crowd");
    for number in 0..subscribers {
        subscribe(&mut *transaction, node, "crowd", &format!("user{number}@there.example"), number % 10 == 0);
    }
    let counters = Counters { next_seq: 1, subscribers, ..Counters::default() };
    transaction.update_node_counters(node, &counters).expect("counters");
    // Somebody in the middle has withdrawn: places have to be counted from then on.
    for number in [subscribers / 4, subscribers / 2] {
        let gone = format!("user{}@there.example", number / 10 * 10);
        transaction.delete_public_subscriber(node, &gone).expect("a mark");
    }
    let most = accounts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    for number in 0..most {
        let name = format!("node{number:07}");
        let node = make_node(&mut *transaction, service.key, &name);
        for (account, _) in accounts.iter().filter(|(_, count)| number < *count) {
            subscribe(&mut *transaction, node, &name, account, true);
        }
    }
    make_node(&mut *transaction, service.key, "other");
    (service.nodes, service.imported) = (most + 2, true);
    transaction.update_service(&service).expect("the service");
    transaction.commit().expect("a commit");
    drop(store);
    Host::open(&file, 64 << 20)
}

fn page(node: &str, index: i64) -> String {
    let set = format!("<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><index>{index}</index></set>");
    format!("<pubsub xmlns='{PUBSUB}'><items node='{node}'/>{set}</pubsub>")
}

/// Subscribes and withdraws through an account, in public.
fn follow(host: &mut Host, account: &str, node: &str) {
    let device = format!("{account}/phone");
    for word in ["subscribe", "unsubscribe"] {
        let public = if word == "subscribe" { "<public xmlns='urn:xmpp:pps:0'/>" } else { "" };
        let request = format!(
            "<pam xmlns='urn:xmpp:pam:0' jid='{SERVICE}'>\
             <{word} xmlns='{PUBSUB}' node='{node}' jid='{account}'>{public}</{word}></pam>"
        );
        host.ask("set", &device, account, &request);
    }
}

fn accounts(rounds: usize) {
    println!("An account with many subscriptions, all of them public (XEP-0376, XEP-0465):\n");
    println!("| subscriptions | the whole list | page of ten public ones | follow and withdraw |");
    println!("| --- | --- | --- | --- |");
    let folder = Folder::new("accounts");
    let accounts = [("small@localhost", 10), ("middle@localhost", 1_000), ("large@localhost", 10_000)];
    let mut host = crowd(&folder, 1_000, &accounts);
    for (account, count) in accounts {
        let device = format!("{account}/phone");
        let whole = measure(rounds / 10, |_| {
            host.ask("get", &device, account, "<subscriptions xmlns='urn:xmpp:pam:0'/>");
        });
        let one = measure(rounds, |round| {
            let index = (round as i64 * 7_919) % (count - 9).max(1);
            host.ask("get", &device, account, &page("urn:xmpp:pps:subscriptions:0", index));
        });
        let both = measure(rounds, |_| follow(&mut host, account, "other"));
        println!("| {count} | {} | {} | {} |", time(whole), time(one), time(both));
    }
}

fn publish(host: &mut Host, node: &str, number: usize) -> usize {
    let payload = payload();
    let item = format!("<item id='i{number}'>{payload}</item>");
    let request = format!("<pubsub xmlns='{PUBSUB}'><publish node='{node}'>{item}</publish></pubsub>");
    told(&host.ask("set", OWNER, SERVICE, &request))
}

fn nodes(rounds: usize, sizes: &[i64]) {
    println!("\nA node with many subscribers, each tenth of them public (XEP-0465):\n");
    println!(
        "| subscribers | page of ten public ones | follow and withdraw | event, audience known | per recipient | \
         event after a change |\n| --- | --- | --- | --- | --- | --- |"
    );
    for &size in sizes {
        let folder = Folder::new(&format!("crowd-{size}"));
        let mut host = crowd(&folder, size, &[("romeo@localhost", 10)]);
        let list = format!("{FOLLOWERS}/crowd");
        let one = measure(rounds, |round| {
            let index = (round as i64 * 7_919) % (size / 10 - 12);
            host.ask("get", OWNER, SERVICE, &page(&list, index));
        });
        let both = measure(rounds, |_| follow(&mut host, "romeo@localhost", "crowd"));
        let few = if size > 100_000 { 5 } else { 21 };
        let mut recipients = 0;
        publish(&mut host, "crowd", 0);
        let event = measure(few, |round| recipients = publish(&mut host, "crowd", round));
        assert!(recipients as i64 >= size, "{recipients} were told");
        let mut times = Vec::new();
        for round in 0..few {
            follow(&mut host, "romeo@localhost", "crowd");
            times.push(measure(1, |_| assert!(publish(&mut host, "crowd", round) as i64 >= size)));
        }
        times.sort_by(f64::total_cmp);
        let each = event / recipients as f64;
        let after = time(times[times.len() / 2]);
        println!("| {size} | {} | {} | {} | {each:.2} µs | {after} |", time(one), time(both), time(event));
    }
}

/// An account whose contacts are online and want its node.
fn contacts(rounds: usize) {
    const VER: &str = "VBDs0HWJYXrrX/s6T5of4/yArmE=";
    println!("\nPersonal eventing, contacts online that want the node (XEP-0163):\n");
    println!("| contacts | one publish | per contact |\n| --- | --- | --- |");
    for contacts in [1, 100, 1_000] {
        let folder = Folder::new(&format!("contacts-{contacts}"));
        let mut host = Host::open(&folder.file("pep.db"), 64 << 20);
        for number in 0..contacts {
            let jid = format!("contact{number}@there.example/x");
            let presence = format!(
                "<presence from='{jid}' to='juliet@localhost'>\
                 <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x:bench' ver='{VER}'/></presence>"
            );
            for decision in host.give(&presence) {
                let Decision::Route { stanza } = decision else { continue };
                let Some(rest) = stanza.split(" id='").nth(1).filter(|_| stanza.starts_with("<iq")) else { continue };
                let id = rest.split('\'').next().expect("an id");
                host.give(&format!(
                    "<iq type='result' id='{id}' from='{jid}' to='juliet@localhost'>\
                     <query xmlns='http://jabber.org/protocol/disco#info' node='urn:x:bench#{VER}'>\
                     <identity category='client' type='pc' name='Bench'/><feature var='urn:x:tune+notify'/></query></iq>"
                ));
            }
        }
        let payload = payload();
        let mut recipients = 0;
        let one = measure(rounds, |round| {
            let item = format!("<item id='i{round}'>{payload}</item>");
            let request = format!("<pubsub xmlns='{PUBSUB}'><publish node='urn:x:tune'>{item}</publish></pubsub>");
            recipients = told(&host.ask("set", "juliet@localhost/a", "juliet@localhost", &request));
        });
        assert_eq!(recipients, contacts, "every contact is told");
        println!("| {contacts} | {} | {:.2} µs |", time(one), one / contacts as f64);
    }
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()).and_then(|number| number.parse::<f64>().ok());
    kibibytes.unwrap_or(f64::NAN) / 1024.0
}

/// In a process of its own: the database and the cache; the resident memory at several times.
fn remember(file: &str, cache: usize, size: i64) {
    let before = resident();
    let mut host = Host::open(std::path::Path::new(file), cache);
    let opened = resident();
    for round in 0..20_000 {
        let index = (round * 7_919) % (size - 10);
        host.ask("get", OWNER, SERVICE, &page("items", index));
        let node = format!("node{:07}", (round * 104_729) % size);
        publish(&mut host, &node, round as usize);
    }
    println!("{before:.0} {opened:.0} {:.0}", resident());
}

fn memory(sizes: &[i64]) {
    println!(
        "\nResident memory, MiB: items in one node and nodes in the store, pages and publications all over them:\n"
    );
    println!("| items and nodes | file | `cache_size` | process | with the store open | after 40,000 requests |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for &size in sizes {
        let folder = Folder::new(&format!("memory-{size}"));
        drop(fill(&folder, size));
        let file = folder.file(&format!("{size}.db"));
        let on_disk = std::fs::metadata(&file).map_or(0, |data| data.len() >> 20);
        for cache in [8, 64] {
            let child = std::process::Command::new(std::env::current_exe().expect("this program"))
                .args(["--bench", "remember", file.to_str().expect("a plain name")])
                .args([(cache << 20).to_string(), size.to_string()])
                .output()
                .expect("a second process");
            let figures = String::from_utf8_lossy(&child.stdout).trim().replace(' ', " | ");
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
            println!("| {size} | {on_disk} MiB | {cache} MiB | {figures} |");
        }
    }
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` wants to know whether it starts, no more.
        return;
    }
    arguments.retain(|argument| argument != "--bench");
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["remember", file, cache, size] = words[..] {
        remember(file, cache.parse().expect("bytes"), size.parse().expect("a number"));
        return;
    }
    let quick = words.contains(&"--quick");
    let rounds = if quick { 200 } else { 1_000 };
    let sizes: &[i64] = if quick { &[1_000, 100_000] } else { &[1_000, 100_000, 1_000_000] };
    let wanted = |name: &str| words.iter().all(|word| *word == "--quick") || words.contains(&name);
    if wanted("accounts") {
        accounts(rounds);
    }
    if wanted("nodes") {
        nodes(rounds, sizes);
    }
    if wanted("contacts") {
        contacts(rounds);
    }
    if wanted("memory") {
        memory(&sizes[1..]);
    }
}
