//! An engine in memory with a host that answers whatever is needed; what the engine says is checked.

use pam_pps::xml::{Document, Limits};
use pam_pps::{
    Config, Decision, Engine, Input, InputKind, Need, RoomAffiliation, RoomInfo, RosterSubscription, ServiceKind,
    Timestamp,
};

/// An account of the host, a member of the roster, and a component.
pub const PEOPLE: [&str; 4] = ["juliet@a.example/r", "romeo@a.example/r", "romeo@a.example/s", "mercutio@b.example/r"];
/// Where requests go.
pub const SERVICES: [&str; 4] = ["juliet@a.example", "romeo@a.example", "pubsub.a.example", "a.example"];

/// Two rooms of the host.
pub const ROOMS: [&str; 2] = ["coven@rooms.a.example", "cave@rooms.a.example"];

pub struct Server {
    engine: Engine,
    now: i64,
    /// Facts are bits of this.
    pub facts: u8,
    /// The last question to a client.
    asked: String,
}

impl Server {
    /// Accounts have the node `presence`; `eventing` says what the nodes of the component are (XEP-0207).
    pub fn new(eventing: &str) -> Self {
        let mut config = Config::new();
        config.set("seed", "fuzz").expect("any text");
        let engine = Engine::open(&config).expect("memory is there");
        let mut options = Config::new();
        options.set("max_nodes", "5").expect("a number");
        options.set("events", "true").expect("a boolean");
        options.set("eventing", "true").expect("a value");
        engine.serve("a.example", ServiceKind::Accounts, &options).expect("a host");
        options.set("eventing", eventing).expect("a value");
        engine.serve("pubsub.a.example", ServiceKind::Component, &options).expect("a component");
        options.set("eventing", "false").expect("a value");
        options.set("room_publish", "owners").expect("a word");
        engine.serve("rooms.a.example", ServiceKind::Rooms, &options).expect("rooms");
        Self { engine, now: 1_700_000_000_000_000, facts: 0b0101_0011, asked: String::new() }
    }

    fn answer(&self, input: &mut Input, need: &Need) {
        let bit = |place: u8| self.facts & (1 << place) != 0;
        match need {
            Need::Account(jid) => input.facts.insert_account(jid, bit(0)),
            Need::Roster { owner, contact } => {
                let stance = if bit(1) { RosterSubscription::Both } else { RosterSubscription::None };
                input.facts.insert_roster(owner, contact, stance, vec!["friends".to_owned()]);
            }
            Need::Admin { who, service } => input.facts.insert_admin(who, service, bit(2)),
            Need::Blocked { owner, contact } => input.facts.insert_blocked(owner, contact, bit(3)),
            Need::Import(service) => input.facts.insert_import(service, bit(4)),
            Need::RoomInfo(room) => {
                let name = if bit(6) { "coven" } else { "" }.to_owned();
                input.facts.insert_room_info(room, RoomInfo { name, ..RoomInfo::default() });
            }
            Need::Room { who, room } => {
                let affiliation = if bit(5) { RoomAffiliation::Owner } else { RoomAffiliation::None };
                input.facts.insert_room(who, room, affiliation, bit(4));
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: i64) {
        self.now += seconds * 1_000_000;
        self.give(Input::tick());
    }

    /// Gives an input and answers its needs; what comes out is XML, and never a failure of the engine itself.
    pub fn give(&mut self, mut input: Input) {
        for round in 0.. {
            assert!(round < 20, "the engine asks again and again: {input:?}");
            self.now += 1;
            let Ok(outcome) = self.engine.handle(Timestamp::from_micros(self.now), &input) else { return };
            let mut asked = false;
            for decision in &outcome.decisions {
                match decision {
                    Decision::Need(need) => {
                        asked = true;
                        self.answer(&mut input, need);
                    }
                    Decision::Route { stanza } => {
                        assert!(!stanza.contains("<internal-server-error"), "{stanza} to {input:?}");
                        check(stanza);
                        let id = stanza.split(" id='").nth(1).and_then(|rest| rest.split('\'').next());
                        if let Some(id) = id.filter(|id| id.starts_with("pps-")) {
                            id.clone_into(&mut self.asked);
                        }
                    }
                    Decision::Multicast { stanza, recipients, .. } => {
                        assert!(!recipients.is_empty(), "nobody gets {stanza}");
                        check(stanza);
                    }
                    Decision::Event(_) | Decision::Pass | Decision::Wake(_) | Decision::Reply(_) => {}
                }
            }
            if !asked {
                return;
            }
        }
    }

    /// The id of the last question that the engine asked somebody.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    pub fn stanza(&mut self, xml: impl Into<String>) {
        self.give(Input::stanza(xml));
    }

    pub fn input(&mut self, kind: InputKind, privileged: bool) {
        let mut input = Input::new(kind);
        input.privileged = privileged;
        self.give(input);
    }
}

fn check(stanza: &str) {
    let limits = Limits { bytes: usize::MAX, ..Limits::default() };
    if let Err(error) = Document::parse(stanza, &limits) {
        panic!("the engine sends what is no XML ({error}): {stanza}");
    }
}
