//! Options in the form in which they are used.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::NodeConfig;
use crate::pubsub::config::{AccessModel, Limit};
use crate::pubsub::policy::{CreateNodes, Eventing, Kind, Policy};
use crate::pubsub::rules::Rules;
use crate::pubsub::store::JournalLimits;
use crate::xml::Limits;

/// What a host or component of this server is to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// A host with accounts: each is a service of its own (XEP-0163).
    Accounts,
    /// A pubsub component (XEP-0060).
    Component,
    /// A chat service: each of its rooms, and each occupant of them, is a service of its own (XEP-0316).
    Rooms,
}

/// Settings of the whole engine.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) max_resources: usize,
    pub(crate) caps_kept: usize,
    pub(crate) request_timeout: i64,
}

impl Settings {
    pub(crate) fn read(config: &Config) -> Self {
        Self {
            limits: Limits {
                bytes: config.number("max_stanza_bytes") as usize,
                depth: config.number("max_stanza_depth") as usize,
                attributes: config.number("max_stanza_attributes") as usize,
                children: config.number("max_stanza_children") as usize,
            },
            max_resources: config.number("max_resources") as usize,
            caps_kept: config.number("caps_kept") as usize,
            request_timeout: config.number("request_timeout") as i64,
        }
    }
}

/// A host or component that is served.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) domain: String,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) import: bool,
    pub(crate) events: bool,
    /// Whether its rooms publish what they say of themselves.
    pub(crate) conference_info: bool,
    /// Seconds between two looks at what services elsewhere have for the accounts; none if there are none.
    pub(crate) check_interval: Option<i64>,
    /// Seconds without interest after which a subscription ends that an account made by itself; none if it makes none.
    pub(crate) auto_subscribe: Option<i64>,
    /// What is kept of events for the accounts; none if nothing is.
    pub(crate) journal: Option<Journal>,
}

/// The journals of accounts (extension to XEP-0376).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Journal {
    pub(crate) limits: JournalLimits,
    /// Seconds.
    pub(crate) expiry: i64,
}

/// All of them, by domain.
pub(crate) type Hosts = HashMap<String, Arc<Host>>;

impl Host {
    pub(crate) fn read(domain: &str, kind: ServiceKind, config: &Config) -> Result<Self> {
        let eventing = eventing(kind, config.text("eventing"))?;
        let account = kind == ServiceKind::Accounts;
        // An account, a room and an occupant have the same defaults (XEP-0163 and XEP-0316, section 5 of each).
        let personal = kind != ServiceKind::Component;
        let mut defaults = match eventing {
            Some(profile @ (Eventing::Rooms | Eventing::Conversations)) => profile.defaults(),
            _ if personal => NodeConfig::account(),
            _ => NodeConfig::component(),
        };
        let max_items = config.text("default_max_items");
        if !max_items.is_empty() {
            defaults.max_items = Limit::parse(max_items).ok_or_else(|| {
                let why = format!(
                    "option \"default_max_items\" is \"{}\", but takes a number or max",
                    max_items.escape_default()
                );
                Error::new(ErrorKind::InvalidOption, why)
            })?;
        }
        let policy = Policy {
            kind: match kind {
                ServiceKind::Accounts => Kind::Account,
                ServiceKind::Component => Kind::Component,
                ServiceKind::Rooms => Kind::Room,
            },
            defaults: Arc::new(defaults),
            default_rules: Arc::new(rules(config, "default_node_config", kind)?),
            forced: Arc::new(rules(config, "force_node_config", kind)?),
            create_nodes: match config.text("create_nodes") {
                "anyone" => CreateNodes::Anyone,
                "admins" => CreateNodes::Admins,
                _ => CreateNodes::Local,
            },
            auto_create: match config.text("autocreate_on_publish") {
                "" => personal,
                value => value == "true",
            },
            auto_create_on_subscribe: config.boolean("autocreate_on_subscribe"),
            expose_publisher: config.boolean("expose_publisher"),
            admins_own: config.text("default_admin_affiliation") == "owner",
            max_items: u32::try_from(config.number("max_items")).unwrap_or(u32::MAX),
            max_nodes: if personal { u32::try_from(config.number("max_nodes")).unwrap_or(u32::MAX) } else { u32::MAX },
            max_bytes: if personal { config.number("max_bytes") } else { u64::MAX },
            owners_publish: config.text("room_publish") == "owners",
            eventing,
            max_subscriptions: u32::try_from(config.number("max_subscriptions")).unwrap_or(u32::MAX),
            max_subscriptions_node: match config.number("max_subscriptions_node") {
                0 => u32::MAX,
                limit => u32::try_from(limit).unwrap_or(u32::MAX),
            },
            max_nodes_discoitems: usize::try_from(config.number("max_nodes_discoitems")).unwrap_or(usize::MAX),
            quiet_offline: account && config.boolean("ignore_pep_from_offline"),
        };
        let journal = Journal {
            limits: JournalLimits {
                entries: usize::try_from(config.number("journal_max_events")).unwrap_or(usize::MAX),
                bytes: usize::try_from(config.number("journal_max_bytes")).unwrap_or(usize::MAX),
            },
            expiry: i64::try_from(config.number("journal_expiry")).unwrap_or(i64::MAX),
        };
        Ok(Self {
            domain: domain.to_owned(),
            name: config.text("name").to_owned(),
            policy,
            import: config.boolean("import"),
            events: config.boolean("events"),
            conference_info: kind == ServiceKind::Rooms && config.boolean("conference_info"),
            check_interval: Some(i64::try_from(config.number("check_interval")).unwrap_or(i64::MAX))
                .filter(|interval| account && *interval > 0),
            auto_subscribe: (account && config.boolean("auto_subscribe"))
                .then(|| i64::try_from(config.number("auto_subscribe_expiry")).unwrap_or(i64::MAX)),
            journal: (account && config.boolean("journal")).then_some(journal),
        })
    }
}

/// The settings of an option for nodes by their names.
fn rules(config: &Config, option: &str, kind: ServiceKind) -> Result<Rules> {
    let wrong = |why: String| Error::new(ErrorKind::InvalidOption, format!("option \"{option}\": {why}"));
    let rules = Rules::parse(config.text(option)).map_err(wrong)?;
    if kind == ServiceKind::Rooms && rules.any(|config| config.access_model != AccessModel::Presence) {
        return Err(wrong("nodes in rooms are for those who are there: \"access_model\" is presence".to_owned()));
    }
    Ok(rules)
}

/// Which part of XEP-0207 the option asks for: accounts have one, components the others. `true` may stand where it holds for
/// every host of a server: it is about accounts only.
fn eventing(kind: ServiceKind, text: &str) -> Result<Option<Eventing>> {
    let wanted = match (kind, text) {
        (_, "" | "false") => return Ok(None),
        (ServiceKind::Accounts, "true") => return Ok(Some(Eventing::Presence)),
        (_, "true") => return Ok(None),
        (ServiceKind::Component, "rooms") => return Ok(Some(Eventing::Rooms)),
        (ServiceKind::Component, "conversations") => return Ok(Some(Eventing::Conversations)),
        (ServiceKind::Accounts, _) => "rooms and conversations are on a component",
        (ServiceKind::Component, _) => "a component takes another word",
        (ServiceKind::Rooms, _) => "a chat service has rooms of its own",
    };
    Err(Error::new(ErrorKind::InvalidOption, format!("option \"eventing\" is \"{text}\", but {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::{Eventing, Host, ServiceKind};
    use crate::config::Config;

    #[test]
    fn each_part_of_the_profile_has_its_place() {
        let read = |kind, value| {
            let mut config = Config::new();
            config.set("eventing", value).expect("a value of the option");
            Host::read("example", kind, &config).map(|host| host.policy.eventing)
        };
        use ServiceKind::{Accounts, Component, Rooms};
        for kind in [Accounts, Component, Rooms] {
            assert_eq!(read(kind, "false").expect("off"), None);
        }
        assert_eq!(read(Accounts, "true").expect("accounts"), Some(Eventing::Presence));
        assert_eq!(read(Component, "rooms").expect("rooms"), Some(Eventing::Rooms));
        assert_eq!(read(Component, "conversations").expect("conversations"), Some(Eventing::Conversations));
        // In the global section of a configuration.
        assert_eq!([read(Component, "true").expect("ignored"), read(Rooms, "true").expect("ignored")], [None, None]);
        for (kind, value) in
            [(Accounts, "rooms"), (Accounts, "conversations"), (Rooms, "rooms"), (Rooms, "conversations")]
        {
            let error = read(kind, value).expect_err("it is not there").to_string();
            assert!(error.contains("eventing") && error.contains(value), "{error}");
        }
    }
}
