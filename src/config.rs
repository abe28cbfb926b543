//! The table of options: name, meaning, default, and what a value has to look like.
//!
//! Options are set by name and text, so that a new one never changes the C ABI. The host's spelling of a name (a prefix
//! in Prosody) is the binding's business.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

/// Options by name; unset ones have their default.
#[derive(Debug, Clone, Default)]
pub struct Config {
    values: BTreeMap<&'static str, String>,
}

/// What the values of an option look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One option.
#[derive(Debug)]
pub struct OptionInfo {
    /// Its name.
    pub name: &'static str,
    /// Its default, as text; empty where there is none.
    pub default: &'static str,
    /// What its values look like.
    pub shape: Shape,
    /// Whether it belongs to one host or component rather than to the engine.
    pub per_service: bool,
    /// What it means.
    pub meaning: &'static str,
}

const fn option(
    name: &'static str,
    default: &'static str,
    shape: Shape,
    per_service: bool,
    meaning: &'static str,
) -> OptionInfo {
    OptionInfo { name, default, shape, per_service, meaning }
}

/// Every option.
pub const OPTIONS: &[OptionInfo] = &[
    option("database", "memory", Shape::Text, false, "file of the SQLite database, or \"memory\""),
    option(
        "commit",
        "os",
        Shape::Word(&["os", "disk"]),
        false,
        "what an answer promises: \"os\" survives the death of the process, \"disk\" the loss of power",
    ),
    option(
        "cache_size",
        "67108864",
        Shape::Number(0, 1 << 40),
        false,
        "bytes for nodes, items and subscriptions in memory",
    ),
    option("max_stanza_bytes", "1048576", Shape::Number(10_000, 1 << 30), false, "longest stanza read"),
    option("max_stanza_depth", "64", Shape::Number(8, 1024), false, "elements inside one another"),
    option("max_stanza_attributes", "64", Shape::Number(8, 1024), false, "attributes of one element"),
    option("max_stanza_children", "16384", Shape::Number(16, 1 << 24), false, "children of one element"),
    option(
        "max_resources",
        "10000",
        Shape::Number(1, 1 << 24),
        false,
        "resources whose presence is known to one service",
    ),
    option("max_queue", "100000", Shape::Number(16, 1 << 24), false, "inputs waiting for the worker"),
    option("group_commit", "512", Shape::Number(1, 65_536), false, "inputs in one transaction at most"),
    option(
        "readers",
        "2",
        Shape::Number(0, 64),
        false,
        "threads that answer submitted requests which only read, beside the one that writes",
    ),
    option("caps_kept", "10000", Shape::Number(16, 1 << 24), false, "capability hashes remembered"),
    option(
        "request_timeout",
        "60",
        Shape::Number(1, 3_600),
        false,
        "seconds until a request sent to another service is overdue; the next ones wait twice as long each time",
    ),
    option(
        "seed",
        "",
        Shape::Text,
        false,
        "for tests: identifiers are derived from it instead of from the system's randomness",
    ),
    option("name", "", Shape::Text, true, "name of the service in disco#info"),
    option(
        "create_nodes",
        "local",
        Shape::Word(&["anyone", "local", "admins"]),
        true,
        "who creates nodes on a component",
    ),
    option(
        "check_interval",
        "86400",
        Shape::Number(0, 1 << 31),
        true,
        "seconds between two looks at what services elsewhere have for the accounts; 0 for never",
    ),
    option(
        "auto_subscribe",
        "false",
        Shape::Boolean,
        true,
        "XEP-0376 extension: follow contacts' nodes by subscriptions of the account",
    ),
    option(
        "auto_subscribe_expiry",
        "2592000",
        Shape::Number(1, 1 << 31),
        true,
        "seconds until a subscription made by auto_subscribe ends for which no client has asked",
    ),
    option(
        "room_publish",
        "nobody",
        Shape::Word(&["nobody", "owners"]),
        true,
        "who may publish to a room itself, besides the server: nobody, or its owners",
    ),
    option(
        "conference_info",
        "true",
        Shape::Boolean,
        true,
        "rooms publish their name, description, subject and number of occupants (urn:ietf:params:xml:ns:conference-info)",
    ),
    option("journal", "false", Shape::Boolean, true, "XEP-0376 extension: keep events for devices that were away"),
    option("journal_max_events", "10000", Shape::Number(1, 1 << 31), true, "events kept for one account"),
    option("journal_max_bytes", "4194304", Shape::Number(1_000, 1 << 40), true, "bytes of events kept for one account"),
    option("journal_expiry", "2592000", Shape::Number(1, 1 << 31), true, "seconds for which an event is kept"),
    option(
        "eventing",
        "",
        Shape::Word(&["", "false", "true", "rooms", "conversations"]),
        true,
        "XEP-0207: `true` gives each account the node `presence`; on a component, \"rooms\" or \"conversations\" makes each node one",
    ),
    option("max_nodes", "1000", Shape::Number(1, 1 << 31), true, "nodes of one account; a component has no limit"),
    option(
        "max_bytes",
        "67108864",
        Shape::Number(1_000, 1 << 50),
        true,
        "bytes of payloads of one account; a component has no limit",
    ),
    option("max_subscriptions", "10000", Shape::Number(1, 1 << 31), true, "subscriptions of one bare JID"),
    option(
        "max_subscriptions_node",
        "0",
        Shape::Number(0, u32::MAX as u64),
        true,
        "subscriptions to one node; 0 for no limit",
    ),
    option(
        "max_nodes_discoitems",
        "1000",
        Shape::Number(1, 1_000),
        true,
        "nodes in one answer to disco#items; whoever wants more pages through them",
    ),
    option("max_items", "10000", Shape::Number(1, 1 << 31), true, "what \"max\" means for pubsub#max_items"),
    option(
        "autocreate_on_publish",
        "",
        Shape::Word(&["", "true", "false"]),
        true,
        "a publish to a missing node makes it (default: on accounts only)",
    ),
    option("autocreate_on_subscribe", "false", Shape::Boolean, true, "a subscription to a missing node makes it"),
    option("expose_publisher", "false", Shape::Boolean, true, "every item shows its publisher"),
    option(
        "default_admin_affiliation",
        "owner",
        Shape::Word(&["owner", "none"]),
        true,
        "how administrators stand to every node of a component",
    ),
    option("default_max_items", "", Shape::Text, true, "pubsub#max_items of new nodes"),
    option(
        "default_node_config",
        "",
        Shape::Text,
        true,
        "configuration of new nodes, for all or by patterns of names: lines \"access_model=open\", \"[pattern]\"",
    ),
    option(
        "force_node_config",
        "",
        Shape::Text,
        true,
        "configuration that nodes have whatever their owners say, those that are there already included; written in the same way",
    ),
    option(
        "ignore_pep_from_offline",
        "false",
        Shape::Boolean,
        true,
        "an account's contacts get no last items while it is offline; they get them when it comes online",
    ),
    option(
        "import",
        "false",
        Shape::Boolean,
        true,
        "ask the host once per service for data of the module that was there before",
    ),
    option("events", "false", Shape::Boolean, true, "tell the host's own modules of changes"),
];

impl Config {
    /// Every option at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option. An unknown name or a value of the wrong shape is refused with an error that names both.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let Some(info) = OPTIONS.iter().find(|info| info.name == name) else {
            return Err(Error::new(
                ErrorKind::UnknownOption,
                format!("there is no option \"{}\"", name.escape_default()),
            ));
        };
        let wanted = match info.shape {
            Shape::Text => None,
            Shape::Boolean => (!matches!(value, "true" | "false")).then(|| "true or false".to_owned()),
            Shape::Number(from, to) => {
                let fits = value.parse::<u64>().is_ok_and(|number| (from..=to).contains(&number));
                (!fits).then(|| format!("a whole number from {from} to {to}"))
            }
            Shape::Word(words) => (!words.contains(&value)).then(|| {
                let words: Vec<_> = words.iter().filter(|w| !w.is_empty()).map(|w| format!("\"{w}\"")).collect();
                words.join(" or ")
            }),
        };
        if let Some(wanted) = wanted {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("option \"{name}\" is \"{}\", but takes {wanted}", value.escape_default()),
            ));
        }
        self.values.insert(info.name, value.to_owned());
        Ok(())
    }

    /// The value of an option as text.
    ///
    /// # Panics
    /// If the table has no such option: a bug of this crate.
    pub(crate) fn text(&self, name: &str) -> &str {
        let info = OPTIONS.iter().find(|info| info.name == name).expect("the option is in the table");
        self.values.get(name).map_or(info.default, String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub(crate) fn boolean(&self, name: &str) -> bool {
        self.text(name) == "true"
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, OPTIONS, Shape};
    use crate::error::ErrorKind;

    #[test]
    fn defaults_fit_their_shape() {
        for info in OPTIONS {
            let mut config = Config::new();
            if !info.default.is_empty() || !matches!(info.shape, Shape::Text) {
                config.set(info.name, info.default).expect(info.name);
            }
        }
    }

    #[test]
    fn what_is_refused() {
        let mut config = Config::new();
        let error = config.set("comit", "os").expect_err("unknown");
        assert_eq!((error.kind(), error.to_string().contains("comit")), (ErrorKind::UnknownOption, true));
        let error = config.set("commit", "never").expect_err("wrong word");
        assert_eq!(error.to_string(), "option \"commit\" is \"never\", but takes \"os\" or \"disk\"");
        assert_eq!(config.set("cache_size", "-1").expect_err("wrong number").kind(), ErrorKind::InvalidOption);
    }
}
