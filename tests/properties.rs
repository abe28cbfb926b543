//! Random operations by several people on an account and a component, with restarts in between, against a plain model:
//! items and their order, subscriptions and their approval, affiliations, public lists, and every recipient of every event.
//!
//! The seeds are fixed. `PAM_PPS_SEEDS=100..200` plays others, `PAM_PPS_STEPS` more of each. Not in the model:
//! expiry, quotas, several subscriptions of one account that disagree about being public.

mod model;

use std::env;
use std::fs;
use std::path::Path;

use model::host::Host;
use model::operation::{self, ACTORS, Operation, Random, Request};
use model::{ACCOUNT, COMPONENT, Model, NODES, Node, Told, bare};

fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn seeds() -> std::ops::Range<u64> {
    let given = env::var("PAM_PPS_SEEDS").ok();
    let parse = |text: &str| {
        let (first, last) = text.split_once("..")?;
        Some(first.parse().ok()?..last.parse().ok()?)
    };
    given.as_deref().map_or(1..13, |text| parse(text).expect("PAM_PPS_SEEDS is like 100..200"))
}

/// What the model says of a node, compared with what the engine says.
fn compare_node(model: &Model, host: &mut Host, service: &'static str, name: &str) {
    let Some(node) = model.node(service, name) else {
        for actor in ACTORS {
            assert!(!host.reads(actor, service, name), "{} reads {service} {name}, which is not there", actor.0);
        }
        return;
    };
    let items: Vec<_> = node.items.iter().map(|(id, payload, _)| (id.clone(), payload.clone())).collect();
    for forwards in [true, false] {
        let (found, count) = host.items(service, name, forwards);
        assert_eq!(found, items, "items of {service} {name}, forwards: {forwards}; left: the engine");
        assert_eq!(count, items.len(), "the count of {service} {name}");
    }
    let pairs = |jids: &mut dyn Iterator<Item = &str>, value: &str| {
        jids.map(|jid| (jid.to_owned(), if value.is_empty() { jid } else { value }.to_owned())).collect()
    };
    let approved = node.subscriptions.iter().filter(|subscription| !subscription.pending);
    let subscribed = pairs(&mut approved.map(|subscription| &*subscription.jid), "subscribed");
    assert_eq!(host.subscriptions(service, name), subscribed, "subscriptions of {service} {name}; left: the engine");
    for actor in ACTORS {
        let own = node.subscriptions.iter().filter(|subscription| bare(&subscription.jid) == actor.bare());
        let own = own.map(|subscription| {
            let state = if subscription.pending { "pending" } else { "subscribed" };
            (subscription.jid.clone(), state.to_owned())
        });
        let own: std::collections::BTreeSet<_> = own.collect();
        assert_eq!(host.own_subscriptions(actor, service, name), own, "of {} at {service} {name}", actor.0);
    }
    let mut affiliations: std::collections::BTreeSet<(String, String)> =
        node.affiliations.iter().map(|(jid, affiliation)| (jid.clone(), (*affiliation).to_owned())).collect();
    if service == ACCOUNT {
        affiliations.insert((ACCOUNT.to_owned(), "owner".to_owned()));
    }
    assert_eq!(host.affiliations(service, name), affiliations, "affiliations of {service} {name}; left: the engine");
    let public = pairs(&mut node.public.iter().map(String::as_str), "");
    assert_eq!(host.public_subscribers(service, name), public, "public at {service} {name}; left: the engine");
    for actor in ACTORS {
        let may = model.may_read(service, node, actor.bare());
        assert_eq!(host.reads(actor, service, name), may, "{} reads {service} {name}; left: the engine", actor.0);
    }
}

/// What people see of the services, and what the accounts show.
fn compare_services(model: &Model, host: &mut Host) {
    for service in [ACCOUNT, COMPONENT] {
        for actor in ACTORS {
            let visible = NODES.iter().filter(|name| {
                model.node(service, name).is_some_and(|node| model.may_see(service, node, actor.bare()))
            });
            let visible = visible.map(|name| (*name).to_owned()).collect();
            assert_eq!(host.sees(actor, service), visible, "{} looks at {service}; left: the engine", actor.0);
        }
    }
    for actor in ACTORS.iter().filter(|actor| actor.bare().ends_with("@a.example")) {
        let listed = model.listed.iter().filter(|(account, ..)| account == actor.bare());
        let listed = listed.map(|(_, service, node)| ((*service).to_owned(), node.clone())).collect();
        assert_eq!(host.public_subscriptions(actor.bare()), listed, "{} shows; left: the engine", actor.bare());
    }
}

/// Nobody gets an event of a node that they may not read, whatever the model expects: before or after the operation. Of the
/// node's end hears whoever was subscribed or wanted to be, too: an owner may subscribe those who may not read.
fn nobody_peeks(told: &[Told], operation: &Operation, before: &Insiders, model: &Model) {
    let Operation::Request { service, node, .. } = operation else { return };
    let place =
        NODES.iter().position(|name| name == node).unwrap_or(0) + usize::from(*service == COMPONENT) * NODES.len();
    for (to, what, name, _) in
        told.iter().filter(|(_, what, ..)| matches!(*what, "item" | "retract" | "purge" | "delete"))
    {
        let after = model.node(service, name).is_some_and(|node| model.may_read(service, node, bare(to)));
        let of = if *what == "delete" { &before.1 } else { &before.0 };
        let allowed = after || of[place].iter().any(|reader| reader == bare(to));
        assert!(allowed && name == node, "{to} is told of a {what} at {service} {name} and may not read it");
    }
}

/// For each node, who may read it; and those together with who is subscribed to it.
type Insiders = (Vec<Vec<String>>, Vec<Vec<String>>);

fn insiders(model: &Model) -> Insiders {
    (people(model, |_, _| false), people(model, Node::has_asked))
}

fn people(model: &Model, besides: impl Fn(&Node, &str) -> bool) -> Vec<Vec<String>> {
    let places = [ACCOUNT, COMPONENT].into_iter().flat_map(|service| NODES.map(|name| (service, name)));
    let readers = places.map(|(service, name)| {
        let node = model.node(service, name);
        let people = ACTORS.iter().filter(|actor| {
            node.is_some_and(|node| model.may_read(service, node, actor.bare()) || besides(node, actor.bare()))
        });
        people.map(|actor| actor.bare().to_owned()).collect()
    });
    readers.collect()
}

fn play(seed: u64, steps: usize) -> usize {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("properties-{seed}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("it is ours");
    }
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    let database = folder.join("engine.sqlite");
    let mut model = Model::default();
    for (contact, group) in
        [("romeo@a.example", "friends"), ("nurse@a.example", "others"), ("mercutio@b.example", "friends")]
    {
        model.roster.insert(contact.to_owned(), (true, group));
    }
    let mut host = Host::new(&database, &model.roster);
    let mut random = Random::new(seed);
    let mut carried_out = 0;
    for step in 0..steps {
        let mut operation = operation::random(&mut random, step);
        if let Operation::Request { service, node, request: Request::Publish { otherwise, .. }, .. } = &mut operation
            && model.node(service, node).is_some()
        {
            *otherwise = None;
        }
        // Printed only if the test fails.
        println!("seed {seed}, step {step}: {operation:?}");
        let before = insiders(&model);
        let (expected_ok, expected) = model.apply(&operation);
        let (after, ok, told) = host.perform(&operation, &database);
        host = after;
        assert_eq!(ok, expected_ok, "whether it is carried out; left: the engine");
        nobody_peeks(&told, &operation, &before, &model);
        assert_eq!(told, expected, "who is told what; left: the engine");
        carried_out += usize::from(ok);
        match operation {
            Operation::Request { service, node, .. } => compare_node(&model, &mut host, service, node),
            Operation::Roster { .. } => NODES.iter().for_each(|node| compare_node(&model, &mut host, ACCOUNT, node)),
            Operation::Restart => {
                for service in [ACCOUNT, COMPONENT] {
                    NODES.iter().for_each(|node| compare_node(&model, &mut host, service, node));
                }
            }
        }
        compare_services(&model, &mut host);
    }
    drop(host);
    fs::remove_dir_all(&folder).expect("it is ours");
    carried_out
}

#[test]
fn the_engine_does_what_the_model_does() {
    let steps = number("PAM_PPS_STEPS", 250);
    let seeds = seeds();
    let all = steps * (seeds.end - seeds.start) as usize;
    let carried_out: usize = seeds.map(|seed| play(seed, steps)).sum();
    // Otherwise only refusals would have been compared.
    assert!(carried_out * 3 > all, "only {carried_out} of {all} operations were carried out");
}
