//! What happens in a room of many (XEP-0316), by how many are there. Each input has a transaction of its own.
//!
//! ```text
//! cargo bench --bench rooms
//! ```

#![allow(missing_docs)]

mod common;

use std::time::Instant;

use base64::Engine as _;
use common::{Folder, measure, payload, time};
use pam_pps::{Config, Decision, Engine, Input, InputKind, Need, RoomAffiliation, RoomInfo, ServiceKind, Timestamp};
use sha1::Digest as _;

const ROOM: &str = "coven@rooms.localhost";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// Occupants that have a node, wanted by everyone; the others have none.
const PUBLISHERS: usize = 100;
/// Clients that want the other node.
const FEW: usize = 10;

struct Host {
    engine: Engine,
    now: i64,
    wake: Option<i64>,
}

fn features(wanted: &[&str]) -> String {
    wanted.iter().map(|node| format!("<feature var='{node}+notify'/>")).collect()
}

fn hash(wanted: &[&str]) -> String {
    let input: String = wanted.iter().map(|node| format!("{node}+notify<")).collect();
    base64::prelude::BASE64_STANDARD.encode(sha1::Sha1::digest(format!("client/pc//Bench<{input}")))
}

fn client(number: usize) -> String {
    format!("person{number}@there.example/x")
}

impl Host {
    fn open(folder: &Folder) -> Self {
        let mut config = Config::new();
        config.set("database", folder.file("rooms.db").to_str().expect("a plain name")).expect("an option");
        config.set("max_resources", "20000").expect("an option");
        let engine = Engine::open(&config).expect("an engine");
        engine.serve("rooms.localhost", ServiceKind::Rooms, &Config::new()).expect("rooms");
        Self { engine, now: 1_700_000_000_000_000, wake: None }
    }

    fn give(&mut self, mut input: Input) -> Vec<Decision> {
        self.now += 1;
        loop {
            let outcome = self.engine.handle(Timestamp::from_micros(self.now), &input).expect("handled");
            if !outcome.needs_facts() {
                for decision in &outcome.decisions {
                    if let Decision::Wake(time) = decision {
                        self.wake = Some(self.wake.map_or(time.micros(), |wake| wake.min(time.micros())));
                    }
                }
                return outcome.decisions;
            }
            for decision in &outcome.decisions {
                match decision {
                    Decision::Need(Need::Room { who, room }) => {
                        input.facts.insert_room(who, room, RoomAffiliation::None, true);
                    }
                    Decision::Need(Need::RoomInfo(room)) => input.facts.insert_room_info(room, RoomInfo::default()),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn show(&mut self, number: usize, wanted: &[&str], kind: &str) -> Vec<Decision> {
        let (client, hash) = (client(number), hash(wanted));
        let decisions = self.give(Input::stanza(format!(
            "<presence {kind} from='{ROOM}/n{number}' to='{ROOM}'>\
             <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x:bench' ver='{hash}'/>\
             <x xmlns='http://jabber.org/protocol/muc#user'><item jid='{client}'/></x></presence>"
        )));
        for decision in &decisions {
            let Decision::Route { stanza } = decision else { continue };
            let Some(rest) = stanza.split(" id='").nth(1).filter(|_| stanza.starts_with("<iq")) else { continue };
            let id = rest.split('\'').next().expect("an id");
            self.give(Input::stanza(format!(
                "<iq type='result' id='{id}' from='{client}' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'>\
                 <identity category='client' type='pc' name='Bench'/>{}</query></iq>",
                features(wanted)
            )));
        }
        decisions
    }

    fn publish(&mut self, number: usize, node: &str) -> usize {
        let payload = payload();
        let decisions = self.give(Input::stanza(format!(
            "<iq type='set' id='p' from='{}' to='{ROOM}/n{number}'><pubsub xmlns='{PUBSUB}'><publish node='{node}'>\
             <item id='i'>{payload}</item></publish></pubsub></iq>",
            client(number)
        )));
        let told = decisions.iter().map(|decision| match decision {
            Decision::Multicast { recipients, .. } => recipients.len(),
            _ => 0,
        });
        told.sum()
    }

    /// Does what is due at once; the longest of it, in microseconds.
    fn rest(&mut self) -> f64 {
        let mut longest = 0.0_f64;
        while self.wake.is_some_and(|wake| wake <= self.now) {
            self.wake = None;
            longest = longest.max(measure(1, |_| drop(self.give(Input::tick()))));
        }
        longest
    }
}

/// A room with so many in it, of whom the first ones have published.
fn full(folder: &Folder, occupants: usize) -> Host {
    let mut host = Host::open(folder);
    for number in 0..occupants {
        let few: &[&str] = &["urn:x:few", "urn:x:tune"];
        host.show(number, if number < FEW { few } else { &few[1..] }, "");
        host.rest();
    }
    (0..PUBLISHERS).for_each(|number| _ = host.publish(number, "urn:x:tune"));
    host
}

fn main() {
    println!("{PUBLISHERS} occupants have a node that everyone wants; {FEW} clients want another one:\n");
    println!(
        "| occupants | joins, wants nothing | joins, 100 last items | event for all | for ten | leaves | with a node | all leave, each | \
         destroyed | the longest step after it |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for occupants in [200, 1_000, 10_000] {
        let folder = Folder::new(&format!("rooms-{occupants}"));
        let mut host = full(&folder, occupants);
        let rounds = 51;
        let quiet = measure(rounds, |round| drop(host.show(20_000 + round, &[], "")));
        let mut brought = 0;
        let eager = measure(rounds, |round| brought = host.show(30_000 + round, &["urn:x:tune"], "").len());
        assert!(brought >= PUBLISHERS, "{brought} last items");
        let mut told = 0;
        let all = measure(rounds, |_| told = host.publish(20, "urn:x:tune"));
        assert!(told >= occupants, "{told} were told");
        let few = measure(rounds, |_| told = host.publish(20, "urn:x:few"));
        assert_eq!(told, FEW, "those who want it are told");
        let gone = "type='unavailable'";
        let leaves = measure(rounds, |round| drop(host.show(20_000 + round, &[], gone)));
        (0..rounds).for_each(|round| _ = host.publish(30_000 + round, "urn:x:tune"));
        let with_node = measure(rounds, |round| drop(host.show(30_000 + round, &[], gone)));
        host.rest();
        let begun = Instant::now();
        (0..occupants).for_each(|number| drop(host.show(number, &[], gone)));
        let each = begun.elapsed().as_secs_f64() * 1e6 / occupants as f64;
        drop(host);
        drop(folder);

        let folder = Folder::new(&format!("rooms-destroyed-{occupants}"));
        let mut host = full(&folder, occupants);
        (PUBLISHERS..occupants).for_each(|number| _ = host.publish(number, "urn:x:own"));
        let destroyed = measure(1, |_| drop(host.give(Input::new(InputKind::AccountRemoved(ROOM.to_owned())))));
        let longest = host.rest();
        let figures = [quiet, eager, all, few, leaves, with_node, each, destroyed, longest].map(time);
        println!("| {occupants} | {} |", figures.join(" | "));
    }
}
