//! Random operations from a fixed seed.

pub(crate) use super::random::Random;
use super::{ACCOUNT, COMPONENT, Config, NODES, bare};

/// A full JID that sends requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Actor(pub(crate) &'static str);

/// The owner of the account, contacts of several kinds, a stranger, and somebody of another server.
pub(crate) const ACTORS: [Actor; 5] = [
    Actor("juliet@a.example/r"),
    Actor("romeo@a.example/r"),
    Actor("nurse@a.example/r"),
    Actor("tybalt@a.example/r"),
    Actor("mercutio@b.example/r"),
];

impl Actor {
    pub(crate) fn bare(self) -> &'static str {
        bare(self.0)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Request {
    Create(Config),
    /// Items of these ids; `otherwise` is what a missing node shall be.
    Publish {
        ids: Vec<String>,
        payload: String,
        otherwise: Option<Config>,
    },
    Retract {
        id: String,
        notify: bool,
    },
    Purge,
    Delete,
    Configure(Config),
    Subscribe {
        jid: String,
        public: bool,
        pam: bool,
    },
    Unsubscribe {
        jid: String,
    },
    /// Owners say who is subscribed.
    Decide {
        jid: String,
        allow: bool,
    },
    Affiliate {
        jid: &'static str,
        affiliation: &'static str,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Request {
        actor: Actor,
        service: &'static str,
        node: &'static str,
        request: Request,
    },
    /// Another place in the account's roster.
    Roster {
        contact: &'static str,
        presence: bool,
        group: &'static str,
    },
    /// The engine is dropped and opened again.
    Restart,
}

fn config(random: &mut Random, service: &str) -> Config {
    let models: &[&str] = if service == ACCOUNT {
        &["open", "presence", "roster", "whitelist", "authorize"]
    } else {
        &["open", "whitelist", "authorize"]
    };
    Config {
        access: random.pick(models),
        publish: random.pick(&["publishers", "subscribers", "open"]),
        max_items: random.pick(&[1, 2, 3, 10]),
        notify_retract: random.one_in(2),
        notify_delete: !random.one_in(4),
        deliver: !random.one_in(6),
        last_on_sub: random.one_in(2),
    }
}

/// The next operation. Requests that make sense are frequent, those that must be refused are not rare.
pub(crate) fn random(random: &mut Random, step: usize) -> Operation {
    if random.one_in(40) {
        return Operation::Restart;
    }
    if random.one_in(25) {
        let contact = random.pick(&ACTORS[1..]).bare();
        let presence = !random.one_in(3);
        return Operation::Roster { contact, presence, group: random.pick(&["friends", "others"]) };
    }
    let service = random.pick(&[ACCOUNT, COMPONENT]);
    let node = random.pick(&NODES);
    let actor = if random.one_in(3) { ACTORS[0] } else { random.pick(&ACTORS) };
    let request = match random.below(22) {
        0 | 1 => Request::Create(config(random, service)),
        2..=7 => {
            let mut ids: Vec<String> = (0..=random.below(2)).map(|_| format!("i{}", random.below(6))).collect();
            ids.dedup();
            let payload = format!("<x xmlns='urn:x' step='{step}'/>");
            Request::Publish { ids, payload, otherwise: Some(config(random, service)) }
        }
        8 | 9 => Request::Retract { id: format!("i{}", random.below(6)), notify: random.one_in(2) },
        10 => Request::Purge,
        11 if random.one_in(2) => Request::Delete,
        11 | 12 => Request::Configure(config(random, service)),
        13..=16 => {
            // Full JIDs come from one actor only, who shows nothing publicly.
            let remote = actor == ACTORS[4];
            let jid = if remote && random.one_in(2) { actor.0 } else { actor.bare() };
            let public = !remote && random.one_in(2);
            Request::Subscribe { jid: jid.to_owned(), public, pam: !remote && random.one_in(2) }
        }
        17 => {
            let full = actor == ACTORS[4] && random.one_in(2);
            Request::Unsubscribe { jid: (if full { actor.0 } else { actor.bare() }).to_owned() }
        }
        18 | 19 => {
            let subscriber = random.pick(&ACTORS);
            let full = subscriber == ACTORS[4] && random.one_in(2);
            let jid = (if full { subscriber.0 } else { subscriber.bare() }).to_owned();
            Request::Decide { jid, allow: !random.one_in(3) }
        }
        _ => {
            let affiliation = random.pick(&["owner", "publisher", "publish-only", "member", "none", "outcast"]);
            Request::Affiliate { jid: random.pick(&ACTORS).bare(), affiliation }
        }
    };
    Operation::Request { actor, service, node, request }
}
