//! Subscriptions.

use super::{SERVICE, at, commit, make_node, new_node};
use crate::error::Result;
use crate::jid::Jid;
use crate::pubsub::store::{
    NewSubscription, NodeKey, PlacedSubscription, ServiceKey, Store, Subscriber, SubscriptionKey, Transaction,
};
use crate::pubsub::subscription::{Expiry, SubscriptionType};
use crate::pubsub::{Affiliation, Subscription, SubscriptionOptions, SubscriptionState};

const ROMEO: &str = "romeo@montague.example";

fn expiring(expire: Expiry) -> SubscriptionOptions {
    SubscriptionOptions { expire, ..SubscriptionOptions::default() }
}

fn subscribe(
    t: &mut dyn Transaction,
    node: NodeKey,
    jid: &str,
    subid: &str,
    state: SubscriptionState,
    options: &SubscriptionOptions,
) -> Result<SubscriptionKey> {
    let (jid, subid) = (jid.parse::<Jid>()?, subid.into());
    let created = at(9);
    t.insert_subscription(&NewSubscription {
        node,
        jid: &jid,
        subid: &subid,
        state,
        wants_public: true,
        options,
        created,
    })
}

fn plain(t: &mut dyn Transaction, node: NodeKey, jid: &str, subid: &str) -> Result<SubscriptionKey> {
    subscribe(t, node, jid, subid, SubscriptionState::Subscribed, &SubscriptionOptions::default())
}

fn keys(found: &[Subscription]) -> Vec<SubscriptionKey> {
    found.iter().map(|subscription| subscription.key).collect()
}

fn placed_keys(found: &[PlacedSubscription]) -> Vec<SubscriptionKey> {
    found.iter().map(|placed| placed.subscription.key).collect()
}

pub(super) fn options_of_a_subscription(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let all = SubscriptionOptions {
        deliver: false,
        digest: true,
        digest_frequency: 86_400_000,
        expire: Expiry::At(at(77)),
        include_body: true,
        show_values: 31,
        subscription_type: SubscriptionType::All,
        subscription_depth: 0,
        roomnick: Some("JC".into()),
    };
    let variants = [SubscriptionOptions::default(), all, expiring(Expiry::Presence), expiring(Expiry::At(at(-5)))];
    commit(store, |t| {
        for (number, options) in variants.iter().enumerate() {
            let subid = number.to_string();
            let key = subscribe(t, node, ROMEO, &subid, SubscriptionState::Unconfigured, options)?;
            let mut whole = Subscription {
                key,
                node,
                jid: ROMEO.parse()?,
                subid: subid.into(),
                state: SubscriptionState::Unconfigured,
                wants_public: true,
                shown: false,
                options: options.clone(),
                created: at(9),
            };
            assert_eq!(t.subscriptions_to(node, ROMEO)?.last(), Some(&whole));
            for (state, changed) in SubscriptionState::ALL.iter().zip(&variants) {
                let shown = !whole.shown;
                whole = Subscription { state: *state, wants_public: false, shown, options: changed.clone(), ..whole };
                t.update_subscription(&whole)?;
                assert_eq!(t.subscriptions_to(node, ROMEO)?.last(), Some(&whole));
            }
        }
        Ok(())
    });
}

pub(super) fn names_in_a_room(store: &mut dyn Store) {
    let node = new_node(store, "characters");
    let other = new_node(store, "gardens");
    let named = |nick: &str| SubscriptionOptions { roomnick: Some(nick.into()), ..SubscriptionOptions::default() };
    let join = |t: &mut dyn Transaction, node, jid: &str, nick: &str| {
        subscribe(t, node, jid, "1", SubscriptionState::Subscribed, &named(nick))
    };
    commit(store, |t| {
        let key = join(t, node, ROMEO, "R")?;
        join(t, other, "juliet@capulet.example", "R")?;
        plain(t, node, "nurse@capulet.example", "1")?;
        plain(t, node, "paris@capulet.example", "1")?;
        assert_eq!(t.subscription_by_roomnick(node, "R")?.map(|found| found.key), Some(key));
        assert_eq!(t.subscription_by_roomnick(node, "r")?, None);
        let found = t.subscription_by_roomnick(node, "R")?.expect("found");
        t.update_subscription(&Subscription { options: named("Romeo"), ..found.clone() })?;
        assert_eq!(t.subscription_by_roomnick(node, "R")?, None);
        let juliet = join(t, node, "juliet@capulet.example", "R")?;
        t.delete_subscription(juliet)?;
        t.update_subscription(&found)?;
        Ok(())
    });
    let taken = |work: &dyn Fn(&mut dyn Transaction) -> Result<()>| {
        let mut transaction = store.begin().expect("a transaction");
        assert!(work(&mut *transaction).is_err());
    };
    let mut taken = taken;
    taken(&|t| join(t, node, "juliet@capulet.example", "R").map(drop));
    taken(&|t| {
        let other = t.subscriptions_to(node, "nurse@capulet.example")?;
        t.update_subscription(&Subscription { options: named("R"), ..other[0].clone() })
    });
}

pub(super) fn several_of_one_jid(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let other = new_node(store, "tune");
    commit(store, |t| {
        let full = plain(t, node, "romeo@montague.example/b", "1")?;
        let bare = plain(t, node, ROMEO, "1")?;
        let second = plain(t, node, ROMEO, "0")?;
        plain(t, node, "romeo@montague.example.org", "1")?;
        plain(t, other, ROMEO, "1")?;
        assert!(plain(t, node, ROMEO, "1").is_err());
        assert!(plain(t, NodeKey(99_999), ROMEO, "1").is_err());
        let found = t.subscriptions_to(node, ROMEO)?;
        assert_eq!(keys(&found), [full, bare, second]);
        assert_eq!(found[0].jid.as_str(), "romeo@montague.example/b");
        assert!(found[0].jid.as_full().is_some() && found[1].jid.as_full().is_none());
        assert_eq!(t.subscriptions_to(node, "romeo@montague.example/b")?, []);
        t.delete_subscription(bare)?;
        t.delete_subscription(bare)?;
        assert_eq!(keys(&t.subscriptions_to(node, ROMEO)?), [full, second]);
        plain(t, node, ROMEO, "1")?;
        Ok(())
    });
}

pub(super) fn subscribers_page_by_page(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let other = new_node(store, "tune");
    let made: Vec<SubscriptionKey> = commit(store, |t| {
        let mut made = Vec::new();
        for number in (0..7).rev() {
            made.push(plain(t, node, &format!("user{number}@example"), "1")?);
            plain(t, other, &format!("user{number}@example"), "1")?;
        }
        Ok(made)
    });
    commit(store, |t| {
        assert_eq!(keys(&t.subscriptions(node, None, 100)?), made);
        assert_eq!(keys(&t.subscriptions(node, None, 3)?), made[..3]);
        assert_eq!(keys(&t.subscriptions(node, Some(made[2]), 3)?), made[3..6]);
        assert_eq!(keys(&t.subscriptions(node, Some(made[5]), 3)?), made[6..]);
        assert_eq!(t.subscriptions(node, Some(made[6]), usize::MAX)?, []);
        assert_eq!(t.subscriptions(node, None, 0)?, []);
        Ok(())
    });
}

pub(super) fn pending(store: &mut dyn Store) {
    let options = SubscriptionOptions::default();
    commit(store, |t| {
        let node = make_node(t, SERVICE, "z")?;
        let other = make_node(t, SERVICE, "a")?;
        let elsewhere = make_node(t, "pubsub.capulet.example", "b")?;
        assert_eq!(t.nodes_with_pending(node.service)?, []);
        let mut waiting = Vec::new();
        for (subid, state) in ["0", "1", "2", "3"].iter().zip(SubscriptionState::ALL) {
            let key = subscribe(t, node.key, ROMEO, subid, *state, &options)?;
            waiting.extend((*state == SubscriptionState::Pending).then_some(key));
        }
        waiting.push(subscribe(t, node.key, "a@example", "1", SubscriptionState::Pending, &options)?);
        subscribe(t, other.key, "a@example", "1", SubscriptionState::Pending, &options)?;
        subscribe(t, elsewhere.key, "a@example", "1", SubscriptionState::Pending, &options)?;
        let found = t.pending_subscriptions(node.key)?;
        assert_eq!(keys(&found), waiting);
        assert_eq!(t.nodes_with_pending(node.service)?, ["a".into(), "z".into()]);
        for subscription in found {
            t.update_subscription(&Subscription { state: SubscriptionState::Subscribed, ..subscription })?;
        }
        assert_eq!(t.pending_subscriptions(node.key)?, []);
        assert_eq!(t.nodes_with_pending(node.service)?, ["a".into()]);
        Ok(())
    });
}

pub(super) fn all_of_a_jid(store: &mut dyn Store) {
    commit(store, |t| {
        let mut expected = Vec::new();
        for (service, name) in [("b.example", "m"), ("a.example", "z"), ("b.example", "a"), ("a.example", "a")] {
            let node = make_node(t, service, name)?.key;
            let full = plain(t, node, "romeo@montague.example/x", "1")?;
            let bare = plain(t, node, ROMEO, "1")?;
            plain(t, node, "romeo@montague", "1")?;
            expected.extend([(service, name, full), (service, name, bare)]);
        }
        expected.sort_unstable();
        let found = t.subscriptions_of(ROMEO, None)?;
        let shown: Vec<_> =
            found.iter().map(|placed| (&*placed.service, placed.node_name.as_str(), placed.subscription.key)).collect();
        assert_eq!(shown, expected);
        let service = t.service("b.example")?.expect("service").key;
        assert_eq!(t.subscriptions_of(ROMEO, Some(service))?, found[4..]);
        assert_eq!(t.subscriptions_of("romeo@montague.example/x", None)?, []);
        assert_eq!(t.subscriptions_of("nobody@example", Some(service))?, []);
        Ok(())
    });
}

pub(super) fn subscriptions_are_counted(store: &mut dyn Store) {
    let full = "romeo@montague.example/x";
    let count = |store: &mut dyn Store, service| commit(store, |t| t.count_subscriptions_of(ROMEO, service));
    let (here, there, node, gone) = commit(store, |t| {
        let (here, elsewhere) = (make_node(t, "a.example", "a")?, make_node(t, "b.example", "a")?);
        let gone = plain(t, here.key, full, "1")?;
        plain(t, here.key, ROMEO, "1")?;
        let other = make_node(t, "a.example", "b")?.key;
        plain(t, other, ROMEO, "1")?;
        plain(t, here.key, "romeo@montague", "1")?;
        plain(t, elsewhere.key, ROMEO, "1")?;
        Ok((here.service, elsewhere.service, here.key, gone))
    });
    assert_eq!([count(store, here), count(store, there), count(store, ServiceKey(99_999))], [3, 1, 0]);
    commit(store, |t| t.delete_subscription(gone));
    assert_eq!([count(store, here), count(store, there)], [2, 1]);
    commit(store, |t| t.delete_subscription(gone));
    assert_eq!(count(store, here), 2, "it was gone before");
    commit(store, |t| t.delete_node(node));
    assert_eq!([count(store, here), count(store, there)], [1, 1]);
    commit(store, |t| t.delete_service(here));
    assert_eq!([count(store, here), count(store, there)], [0, 1]);
}

pub(super) fn leases(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let other = new_node(store, "tune");
    let state = SubscriptionState::Subscribed;
    commit(store, |t| {
        assert_eq!(t.next_lease_end()?, None);
        plain(t, node, ROMEO, "never")?;
        subscribe(t, node, ROMEO, "presence", state, &expiring(Expiry::Presence))?;
        let late = subscribe(t, node, ROMEO, "late", state, &expiring(Expiry::At(at(30))))?;
        let early = subscribe(t, other, ROMEO, "early", state, &expiring(Expiry::At(at(10))))?;
        assert_eq!(t.next_lease_end()?, Some(at(10)));
        assert_eq!(t.expired_subscriptions(at(9), 10)?, []);
        let found = t.expired_subscriptions(at(10), 10)?;
        assert_eq!(placed_keys(&found), [early]);
        assert_eq!((&*found[0].service, found[0].node_name.as_str()), (SERVICE, "tune"));
        assert_eq!(placed_keys(&t.expired_subscriptions(at(30), 10)?), [early, late]);
        assert_eq!(placed_keys(&t.expired_subscriptions(at(30), 1)?), [early]);
        t.delete_subscription(early)?;
        assert_eq!(t.next_lease_end()?, Some(at(30)));
        let renewed = t.subscriptions_to(node, ROMEO)?.into_iter().find(|found| found.key == late).expect("lease");
        t.update_subscription(&Subscription { options: expiring(Expiry::Never), ..renewed })?;
        assert_eq!(t.next_lease_end()?, None);
        Ok(())
    });
}

pub(super) fn bound_to_presence(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let other = new_node(store, "tune");
    let (state, bound) = (SubscriptionState::Subscribed, expiring(Expiry::Presence));
    commit(store, |t| {
        let one = subscribe(t, other, "romeo@montague.example/x", "1", state, &bound)?;
        let two = subscribe(t, node, "romeo@montague.example/x", "1", state, &bound)?;
        plain(t, node, "romeo@montague.example/x", "2")?;
        let bare = subscribe(t, node, ROMEO, "1", state, &bound)?;
        let found = t.presence_bound_subscriptions("romeo@montague.example/x")?;
        assert_eq!(placed_keys(&found), [one, two]);
        assert_eq!(found[0].node_name.as_str(), "tune");
        assert_eq!(placed_keys(&t.presence_bound_subscriptions(ROMEO)?), [bare]);
        assert_eq!(t.presence_bound_subscriptions("romeo@montague.example/y")?, []);
        Ok(())
    });
}

pub(super) fn subscription_keys_are_not_used_again(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let mut newest = SubscriptionKey(0);
    for round in 0..3 {
        let key = commit(store, |t| plain(t, node, ROMEO, "1"));
        assert!(key > newest, "round {round}");
        newest = key;
        commit(store, |t| t.delete_subscription(key));
    }
}

/// Who wants events, with what decides about it.
pub(super) fn subscribers(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let lease = SubscriptionOptions { expire: Expiry::At(at(70)), ..SubscriptionOptions::default() };
    let choosy = SubscriptionOptions { show_values: 5, include_body: true, ..SubscriptionOptions::default() };
    let deaf = SubscriptionOptions { deliver: false, ..SubscriptionOptions::default() };
    commit(store, |t| {
        let plain = SubscriptionOptions::default();
        let first = subscribe(t, node, "d@example/r", "1", SubscriptionState::Subscribed, &plain)?;
        subscribe(t, node, "c@example", "2", SubscriptionState::Pending, &plain)?;
        let second = subscribe(t, node, "b@example", "3", SubscriptionState::Subscribed, &lease)?;
        subscribe(t, node, "e@example", "4", SubscriptionState::Subscribed, &deaf)?;
        let third = subscribe(t, node, "a@example", "5", SubscriptionState::Subscribed, &choosy)?;
        t.set_affiliation(node, "d@example", Affiliation::Member)?;
        t.set_affiliation(node, "a@example", Affiliation::Outcast)?;
        let (expire_at, include_body, show_values) = (None, false, 0);
        let row = |key, jid: &str, affiliation| Subscriber {
            key,
            jid: jid.into(),
            affiliation,
            expire_at,
            include_body,
            show_values,
        };
        let expected = [
            row(first, "d@example/r", Affiliation::Member),
            Subscriber { expire_at: Some(at(70)), ..row(second, "b@example", Affiliation::None) },
            Subscriber { include_body: true, show_values: 5, ..row(third, "a@example", Affiliation::Outcast) },
        ];
        assert_eq!(t.subscribers(node, None, 10)?, expected);
        assert_eq!(t.subscribers(node, None, 1)?, expected[..1]);
        assert_eq!(t.subscribers(node, Some(first), 1)?, expected[1..2]);
        assert_eq!(t.subscribers(node, Some(third), 10)?, []);
        Ok(())
    });
}
