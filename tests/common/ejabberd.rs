//! How the live door starts ejabberd.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::live_door::{ADMIN, Federation};
use super::xml::{Element, Node};

/// Options that a service has; all others are for accounts or the engine.
const OF_SERVICES: [&str; 7] = [
    "create_nodes",
    "max_subscriptions",
    "max_items",
    "autocreate_on_publish",
    "autocreate_on_subscribe",
    "expose_publisher",
    "default_admin_affiliation",
];
/// Options that accounts do not have.
const NOT_OF_ACCOUNTS: [&str; 5] = [
    "create_nodes",
    "autocreate_on_publish",
    "autocreate_on_subscribe",
    "expose_publisher",
    "default_admin_affiliation",
];

/// What is to be started.
pub(crate) struct Start<'a> {
    pub(crate) version: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) needs: &'a BTreeMap<String, String>,
    /// How many pubsub services.
    pub(crate) services: usize,
    pub(crate) externals: &'a BTreeSet<String>,
    pub(crate) folder: &'a Path,
    pub(crate) stock: bool,
    pub(crate) federation: Option<Federation>,
}

/// tests/ejabberd/live.py with what is wanted.
pub(crate) fn command(start: &Start<'_>) -> Command {
    let Start { version, domain, needs, services, externals, folder, stock, federation } = *start;
    let live = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ejabberd/live.py");
    let mut command = Command::new(live);
    command.args(["--version", version, "--stdin", "--host", domain, "--pubsub", "no", "--timeout", "60"]);
    command.arg("--rooms").arg(format!("rooms.{domain}"));
    if let Some(Federation { port, peer, peer_port }) = federation {
        command.arg("--s2s-port").arg(port.to_string());
        command.arg("--peer").arg(format!("{peer}=127.0.0.1:{peer_port}"));
    }
    if let Ok(dist) = std::env::var("PAM_PPS_EJABBERD_DIST") {
        command.args(["--dist", &dist]);
    }
    command.arg("--user").arg(format!("{ADMIN}@{domain}:password"));
    command.arg("--admin").arg(format!("{ADMIN}@localhost"));
    command.arg("--data").arg(folder.join("data"));
    for domain in externals {
        command.arg("--external").arg(format!("{domain}=secret"));
    }
    let names: Vec<String> = (0..services).map(|number| format!("pubsub-{number}.{domain}")).collect();
    if stock {
        command.args(["--backend", "stock", "--set"]).arg(format!("hosts={names:?}"));
        return command;
    }
    let mut needs = needs.clone();
    if federation.is_some() {
        // Those of the other server are not local.
        needs.entry("pubsub.create_nodes".to_owned()).or_insert_with(|| "anyone".to_owned());
    }
    let options = |wanted: &dyn Fn(&str) -> Option<String>| {
        let found: Vec<_> =
            needs.iter().filter_map(|(key, value)| Some(format!("\"{}\": {}", wanted(key)?, json(value)))).collect();
        format!("{{{}}}", found.join(", "))
    };
    let of_service = options(&|key| {
        let key = key.strip_prefix("pubsub.").or_else(|| OF_SERVICES.contains(&key).then_some(key))?;
        Some(key.to_owned())
    });
    let mut map = String::new();
    for name in names {
        let comma = if map.is_empty() { "" } else { ", " };
        let _ = write!(map, "{comma}\"{name}\": {of_service}");
    }
    command.arg("--set").arg(format!("services={{{map}}}"));
    // Options of rooms stand beside those of accounts.
    let beside = needs.iter().map(|(key, value)| (key.strip_prefix("rooms.").unwrap_or(key), value));
    for (key, value) in beside.filter(|(key, _)| !key.contains('.') && !NOT_OF_ACCOUNTS.contains(key)) {
        command.arg("--set").arg(format!("{key}={}", json(value)));
    }
    command
}

fn json(value: &str) -> String {
    if value == "true" || value == "false" || value.parse::<f64>().is_ok() {
        return value.to_owned();
    }
    format!("{value:?}")
}

/// What the server does by itself and scripts do not speak of: tests/ejabberd/differences.tsv has the reasons.
pub(crate) struct Differences(Vec<Difference>);

struct Difference {
    /// The stanza is left out; otherwise only this child of it.
    whole: bool,
    stanza: String,
    r#type: String,
    child: String,
    namespace: String,
}

impl Differences {
    pub(crate) fn read() -> Result<Self, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ejabberd/differences.tsv");
        let text = std::fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        let row = |line: &str| {
            let wrong = || format!("{}: {line}", path.display());
            let fields: Vec<&str> = line.split('\t').collect();
            let [kind, stanza, r#type, child, namespace, reason] = fields[..] else { return Err(wrong()) };
            if reason.is_empty() || !["ignored", "echoed"].contains(&kind) {
                return Err(wrong());
            }
            let [stanza, r#type, child, namespace] = [stanza, r#type, child, namespace].map(str::to_owned);
            Ok(Difference { whole: kind == "ignored", stanza, r#type, child, namespace })
        };
        text.lines().skip(1).map(row).collect::<Result<_, _>>().map(Self)
    }

    /// The stanza as scripts know it, if they know it at all.
    pub(crate) fn apply(&self, mut stanza: Element) -> Option<Element> {
        for row in &self.0 {
            let fits = stanza.name == row.stanza && stanza.get("type") == Some(&row.r#type);
            if !fits || stanza.child(&row.namespace, &row.child).is_none() {
                continue;
            }
            if row.whole {
                return None;
            }
            let is_echo = |node: &Node| matches!(node, Node::Element(child) if child.name == row.child && child.ns == row.namespace);
            stanza.nodes.retain(|node| !is_echo(node));
        }
        Some(stanza)
    }
}
