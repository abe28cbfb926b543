//! Random comings and goings, changes of nicks and of what clients want, publications and subscriptions in two rooms, with
//! restarts in between, against a plain model: who is sent what, who is refused, and what the store holds. No event reaches
//! anybody who is not in the room, nothing tells who somebody is, and nothing is held of those who have left.
//!
//! The seeds are fixed. `PAM_PPS_SEEDS=100..200` plays others, `PAM_PPS_STEPS` more of each.

mod room_model;

use std::path::Path;
use std::{env, fs};

use room_model::host::Host;
use room_model::{Ask, CLIENTS, Model, NICKS, NODES, Operation, ROOMS, Random, Target, Verdict};

fn seeds() -> std::ops::Range<u64> {
    let given = env::var("PAM_PPS_SEEDS").ok();
    let parse = |text: &str| {
        let (first, last) = text.split_once("..")?;
        Some(first.parse().ok()?..last.parse().ok()?)
    };
    given.as_deref().map_or(1..9, |text| parse(text).expect("PAM_PPS_SEEDS is like 100..200"))
}

/// The next operation; those that make sense are frequent, those that must be refused are not rare.
fn random(random: &mut Random) -> Operation {
    let (node, nick) = (random.pick(&NODES), random.pick(&NICKS));
    let wants = random.below(8) as u8;
    let target = match random.below(4) {
        0 => Target::Room,
        1 => Target::Nick(nick),
        _ => Target::Own,
    };
    let elsewhere = if random.one_in(3) { Target::Room } else { Target::Nick(nick) };
    let full = random.one_in(2);
    let ask = |what, target| Operation::Ask { what, target, node };
    match random.below(47) {
        0..=11 => Operation::Join { nick, wants: (!random.one_in(6)).then_some(wants) },
        12 | 13 => Operation::Capabilities { wants },
        14..=16 => Operation::Rename { nick },
        17..=19 => Operation::Leave,
        20 => Operation::Voice(!random.one_in(2)),
        21..=27 => ask(Ask::Publish, target),
        28..=30 => ask(Ask::Retract, target),
        31 => ask(Ask::Delete, target),
        32..=37 => ask(Ask::Subscribe { full }, elsewhere),
        38 => ask(Ask::Unsubscribe { full }, elsewhere),
        39 | 40 => ask(Ask::Read, elsewhere),
        41..=45 => Operation::RoomPublishes { node },
        _ => match random.below(8) {
            0 => Operation::Destroy,
            1 => Operation::Restart,
            _ => Operation::RoomDeletes { node },
        },
    }
}

fn play(seed: u64, steps: usize) -> (usize, usize) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("room-properties-{seed}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("it is ours");
    }
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    let database = folder.join("engine.sqlite");
    let mut numbers = Random::new(seed);
    let (mut model, mut host) = (Model::default(), Host::new(&database));
    let (mut done, mut events) = (0, 0);
    for step in 0..steps {
        let (room, operation) = (numbers.pick(&ROOMS), random(&mut numbers));
        // Mostly somebody who is there: what outsiders may not is soon seen.
        let inside: Vec<&'static str> = model.present(room).into_iter().collect();
        let outsiders = inside.is_empty() || numbers.one_in(3);
        let who = numbers.pick(if outsiders { &CLIENTS } else { &inside });
        if !model.makes_sense(room, who, operation) {
            continue;
        }
        // Printed only if the test fails.
        println!("seed {seed}, step {step}: {who} in {room}: {operation:?}");
        let mut insiders = model.present(room);
        let (verdict, told) = host.perform(&model, &database, room, who, operation);
        let (expected_verdict, mut expected) = model.apply(room, who, operation);
        expected.sort_unstable();
        assert_eq!(verdict, expected_verdict, "what comes of it; left: the engine");
        insiders.extend(model.present(room));
        for (to, ..) in &told {
            assert!(insiders.contains(to.as_str()), "{to} is told and is not in {room}");
        }
        assert_eq!(told, expected, "who is told what; left: the engine");
        let [nodes, items, subscriptions, services] = host.rows();
        assert_eq!([nodes, items, subscriptions], model.rows(), "what the store holds; left: the store");
        assert!(services <= model.occupants(), "{services} services for {} occupants", model.occupants());
        done += usize::from(verdict == Verdict::Done);
        events += told.len();
    }
    drop(host);
    fs::remove_dir_all(&folder).expect("it is ours");
    (done, events)
}

#[test]
fn rooms_do_what_the_model_does() {
    let steps = env::var("PAM_PPS_STEPS").ok().and_then(|value| value.parse().ok()).unwrap_or(600);
    let (mut done, mut events) = (0, 0);
    for seed in seeds() {
        let (carried_out, told) = play(seed, steps);
        (done, events) = (done + carried_out, events + told);
    }
    // Otherwise only refusals would have been compared.
    assert!(done > steps && events > steps, "only {done} operations were carried out, and {events} events sent");
}
