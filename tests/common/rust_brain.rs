//! The engine through its Rust API and `handle`.

use pam_pps::{
    Config, Decision, Engine, Input, InputKind, Need, RoomAffiliation, RoomInfo, RosterSubscription, ServiceKind,
    Timestamp, Where,
};

use super::brain::{Brain, Call, Decided, Fact, Kind, Place, Question, Setup, Stance};

struct RustBrain {
    engine: Engine,
    input: Option<Input>,
}

/// Opens an engine.
pub(crate) fn open(setup: &Setup) -> Result<Box<dyn Brain>, String> {
    let engine = Engine::open(&config(&setup.options)?).map_err(|why| why.to_string())?;
    for (domain, kind, options) in &setup.services {
        let kind = match kind {
            Kind::Accounts => ServiceKind::Accounts,
            Kind::Component => ServiceKind::Component,
            Kind::Rooms => ServiceKind::Rooms,
        };
        engine.serve(domain, kind, &config(options)?).map_err(|why| why.to_string())?;
    }
    Ok(Box::new(RustBrain { engine, input: None }))
}

fn config(options: &[(String, String)]) -> Result<Config, String> {
    let mut config = Config::new();
    for (key, value) in options {
        config.set(key, value).map_err(|why| why.to_string())?;
    }
    Ok(config)
}

impl RustBrain {
    fn handle(&mut self, now: i64) -> Result<Vec<Decided>, String> {
        let input = self.input.as_ref().ok_or("no input was given")?;
        let outcome = self.engine.handle(Timestamp::from_micros(now), input).map_err(|why| why.to_string())?;
        Ok(outcome.decisions.into_iter().map(decided).collect())
    }
}

fn decided(decision: Decision) -> Decided {
    match decision {
        Decision::Pass => Decided::Pass,
        Decision::Route { stanza } => Decided::Route(stanza),
        Decision::Multicast { stanza, id, recipients } => {
            Decided::Multicast { stanza, id, recipients: recipients.iter().map(ToString::to_string).collect() }
        }
        Decision::Need(need) => Decided::Need(match need {
            Need::Account(jid) => Question::Account(jid),
            Need::Roster { owner, contact } => Question::Roster { owner, contact },
            Need::Admin { who, service } => Question::Admin { who, service },
            Need::Blocked { owner, contact } => Question::Blocked { owner, contact },
            Need::Import(service) => Question::Import(service),
            Need::Room { who, room } => Question::Room { who, room },
            Need::RoomInfo(room) => Question::RoomInfo(room),
        }),
        Decision::Wake(time) => Decided::Wake(time.micros()),
        _ => Decided::Other,
    }
}

impl Brain for RustBrain {
    fn call(&mut self, now: i64, call: &Call) -> Result<Vec<Decided>, String> {
        self.input = Some(match call {
            Call::Stanza(xml) => Input::stanza(xml.as_str()),
            Call::Tick => Input::tick(),
            Call::SessionEnded(jid) => Input::session_ended(jid.as_str()),
            Call::AccountRemoved(jid) => Input::new(InputKind::AccountRemoved(jid.clone())),
            Call::RoomChanged(jid) => Input::new(InputKind::RoomChanged(jid.clone())),
            Call::RosterChanged { owner, contact } => {
                Input::new(InputKind::RosterChanged { owner: owner.clone(), contact: contact.clone() })
            }
        });
        self.handle(now)
    }

    fn again(&mut self, now: i64, facts: &[Fact]) -> Result<Vec<Decided>, String> {
        let known = &mut self.input.as_mut().ok_or("no input was given")?.facts;
        for fact in facts.iter().cloned() {
            match fact {
                Fact::Account { jid, exists } => known.insert_account(&jid, exists),
                Fact::Roster { owner, contact, stance, groups } => {
                    let subscription = match stance {
                        Stance::None => RosterSubscription::None,
                        Stance::To => RosterSubscription::To,
                        Stance::From => RosterSubscription::From,
                        Stance::Both => RosterSubscription::Both,
                    };
                    known.insert_roster(&owner, &contact, subscription, groups);
                }
                Fact::Admin { who, service, is_admin } => known.insert_admin(&who, &service, is_admin),
                Fact::Blocked { owner, contact, blocked } => known.insert_blocked(&owner, &contact, blocked),
                Fact::Import { service, done } => known.insert_import(&service, done),
                Fact::RoomInfo { room, name, description, subject } => {
                    known.insert_room_info(&room, RoomInfo { name, description, subject });
                }
                Fact::Room { who, room, affiliation, voice } => {
                    let affiliation = match affiliation.as_str() {
                        "outcast" => RoomAffiliation::Outcast,
                        "member" => RoomAffiliation::Member,
                        "admin" => RoomAffiliation::Admin,
                        "owner" => RoomAffiliation::Owner,
                        _ => RoomAffiliation::None,
                    };
                    known.insert_room(&who, &room, affiliation, voice);
                }
            }
        }
        self.handle(now)
    }

    fn features(&self, domain: &str, place: Place) -> Result<String, String> {
        let place = match place {
            Place::Account => Where::Account,
            Place::Domain => Where::Domain,
            Place::Room => Where::Room,
        };
        self.engine.features(domain, place).map_err(|why| why.to_string())
    }
}
