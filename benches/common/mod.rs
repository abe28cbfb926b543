//! Databases of several sizes, made once by each benchmark in a folder that goes with it.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use pam_pps::jid::Jid;
use pam_pps::pubsub::config::Limit;
use pam_pps::pubsub::store::{NewSubscription, NodeKey, ServiceKey, Store};
use pam_pps::pubsub::{Affiliation, Counters, Item, NodeConfig, SubId, SubscriptionOptions, SubscriptionState};
use pam_pps::store::sqlite::{Options, Sqlite};
use pam_pps::{Config, Engine, Input, Outcome, ServiceKind, Timestamp};

pub(crate) const SERVICE: &str = "pubsub.localhost";
pub(crate) const OWNER: &str = "owner@localhost";
const NOW: i64 = 1_700_000_000_000_000;

/// How much there is in a database: so many items in one node, subscribers of another, nodes besides.
/// With `PAM_PPS_BENCH_FULL` a million of each.
pub(crate) fn sizes() -> Vec<i64> {
    let full = std::env::var_os("PAM_PPS_BENCH_FULL").is_some();
    [1_000, 100_000, 1_000_000].into_iter().filter(|&size| full || size < 1_000_000).collect()
}

/// A folder that is removed with everything in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pam_pps-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store that holds `size` of everything: the keys of its service, of the node with the items, of the one with the
/// subscribers.
pub(crate) fn fill(folder: &Folder, size: i64) -> (Sqlite, ServiceKey, NodeKey, NodeKey) {
    let mut store = Sqlite::open(&folder.file(&format!("{size}.db")), &Options::default()).expect("a store");
    let at = Timestamp::from_micros(NOW);
    let mut transaction = store.begin().expect("a transaction");
    let mut service = transaction.insert_service(SERVICE).expect("a service");
    let config = NodeConfig { persist_items: true, max_items: Limit::Of(size as u32), ..NodeConfig::component() };
    let config = Arc::new(config);
    let mut node = |name: &str| {
        let node = transaction.insert_node(service.key, name, OWNER, at, &config).expect("a node").key;
        transaction.set_affiliation(node, OWNER, Affiliation::Owner).expect("an owner");
        node
    };
    let (items, crowd) = (node("items"), node("crowd"));
    for number in 0..size {
        node(&format!("node{number:07}"));
    }
    for number in 1..=size {
        transaction.insert_item(items, &item(number)).expect("an item");
    }
    let options = SubscriptionOptions::default();
    for number in 0..size {
        let jid = Jid::parse(&format!("user{number}@there.example")).expect("a JID");
        let new = NewSubscription {
            node: crowd,
            jid: &jid,
            subid: &SubId::from(format!("s{number}").as_str()),
            state: SubscriptionState::Subscribed,
            wants_public: false,
            options: &options,
            created: at,
        };
        transaction.insert_subscription(&new).expect("a subscription");
    }
    let counters = Counters { next_seq: size + 1, items: size, ..Counters::default() };
    transaction.update_node_counters(items, &counters).expect("counters");
    let counters = Counters { next_seq: 1, subscribers: size, ..Counters::default() };
    transaction.update_node_counters(crowd, &counters).expect("counters");
    (service.nodes, service.bytes, service.imported) = (size + 2, size * 300, true);
    transaction.update_service(&service).expect("the service");
    transaction.commit().expect("a commit");
    (store, service.key, items, crowd)
}

/// An item of 300 bytes.
pub(crate) fn item(seq: i64) -> Item {
    Item {
        seq,
        id: format!("item{seq}").as_str().into(),
        publisher: OWNER.into(),
        published: Timestamp::from_micros(NOW + seq),
        payload: payload().into(),
    }
}

pub(crate) fn payload() -> String {
    format!("<entry xmlns='http://www.w3.org/2005/Atom'>{}</entry>", "x".repeat(249))
}

/// An engine on one of these stores.
pub(crate) fn engine(folder: &Folder, size: i64) -> Engine {
    let mut config = Config::new();
    let file = folder.file(&format!("{size}.db"));
    config.set("database", file.to_str().expect("a plain name")).expect("an option");
    let engine = Engine::open(&config).expect("an engine");
    let mut options = Config::new();
    options.set("max_items", "2000000").expect("an option");
    engine.serve(SERVICE, ServiceKind::Component, &options).expect("a service");
    engine
}

/// Handles one request of the owner, which must not be refused.
pub(crate) fn ask(engine: &Engine, number: i64, kind: &str, from: &str, child: &str) -> Outcome {
    let input = Input::stanza(format!("<iq type='{kind}' id='r' from='{from}' to='{SERVICE}'>{child}</iq>"));
    let outcome = engine.handle(Timestamp::from_micros(NOW + 10_000_000 + number), &input).expect("handled");
    let refused = |decision: &pam_pps::Decision| {
        matches!(decision, pam_pps::Decision::Need(_))
            || matches!(decision, pam_pps::Decision::Route { stanza } if stanza.contains("type='error'"))
    };
    assert!(!outcome.decisions.iter().any(refused), "{:?}", outcome.decisions);
    outcome
}

/// The median of some runs, in microseconds.
pub(crate) fn measure(rounds: usize, mut run: impl FnMut(usize)) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|round| {
            let start = Instant::now();
            run(round);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

pub(crate) fn time(micros: f64) -> String {
    if micros < 10_000.0 { format!("{micros:.0} µs") } else { format!("{:.0} ms", micros / 1e3) }
}
