//! Public lists, what accounts manage elsewhere, capabilities, values.

use super::{Dice, SERVICE, at, commit, new_node};
use crate::error::Result;
use crate::pubsub::SubscriptionState;
use crate::pubsub::store::{AutoSubscription, Intent, NodeKey, Page, PamEntry, Place, PublicEntry, Store, Transaction};

const ROMEO: &str = "romeo@montague.example";

pub(super) fn public_subscribers(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let other = new_node(store, "tune");
    commit(store, |t| {
        assert!(t.insert_public_subscriber(node, "b@example", at(5))?);
        assert!(!t.insert_public_subscriber(node, "b@example", at(6))?);
        assert!(t.insert_public_subscriber(node, "a@example", at(7))?);
        assert!(t.insert_public_subscriber(other, "b@example", at(8))?);
        let page = t.public_subscribers(node, Place::First, 10)?;
        assert_eq!(page.count, 2);
        let b = PublicEntry {
            position: page.rows[0].position,
            since: at(5),
            jid: "b@example".into(),
            node_name: "".into(),
        };
        assert_eq!(page.rows[0], b);
        assert_eq!(&*page.rows[1].jid, "a@example");
        assert_eq!(t.public_subscriber(node, "b@example")?, Some(b.clone()));
        assert_eq!(t.public_subscriber(node, "c@example")?, None);
        assert_eq!(t.public_subscribers_since(node, at(5))?, Some(page.rows[0].position));
        assert_eq!(t.public_subscribers_since(node, at(6))?, Some(page.rows[1].position));
        assert_eq!(t.public_subscribers_since(node, at(8))?, None);
        assert!(t.delete_public_subscriber(node, "b@example")?);
        assert!(!t.delete_public_subscriber(node, "b@example")?);
        assert_eq!(t.public_subscribers(other, Place::First, 10)?.count, 1);
        assert!(t.insert_public_subscriber(node, "b@example", at(9))?);
        let again = t.public_subscriber(node, "b@example")?.expect("listed");
        assert!(again.position > page.rows[1].position, "to the end of the list");
        Ok(())
    });
}

pub(super) fn public_subscriptions(store: &mut dyn Store) {
    commit(store, |t| {
        assert!(t.insert_public_subscription(ROMEO, SERVICE, "blog", at(5))?);
        assert!(!t.insert_public_subscription(ROMEO, SERVICE, "blog", at(6))?);
        assert!(t.insert_public_subscription(ROMEO, SERVICE, "atlas", at(7))?);
        assert!(t.insert_public_subscription(ROMEO, "pubsub.example", "blog", at(8))?);
        assert!(t.insert_public_subscription("benvolio@montague.example", SERVICE, "blog", at(9))?);
        let page = t.public_subscriptions(ROMEO, Place::First, 10)?;
        let shown: Vec<_> =
            page.rows.iter().map(|entry| (&*entry.jid, entry.node_name.as_str(), entry.since)).collect();
        let all = [(SERVICE, "blog", at(5)), (SERVICE, "atlas", at(7)), ("pubsub.example", "blog", at(8))];
        assert_eq!((shown.as_slice(), page.count, page.index), (&all[..], 3, 0));
        assert_eq!(t.public_subscription(ROMEO, SERVICE, "atlas")?.as_ref(), Some(&page.rows[1]));
        assert_eq!(t.public_subscription(ROMEO, SERVICE, "Atlas")?, None);
        for (time, first) in [(1, Some(0)), (7, Some(1)), (8, Some(2)), (9, None)] {
            let position = first.map(|place: usize| page.rows[place].position);
            assert_eq!(t.public_subscriptions_since(ROMEO, at(time))?, position, "{time}");
        }
        assert_eq!(t.accounts_listing(SERVICE, "blog")?, [ROMEO.into(), "benvolio@montague.example".into()]);
        assert_eq!(t.accounts_listing(SERVICE, "nothing")?, []);
        assert!(t.delete_public_subscription(ROMEO, SERVICE, "atlas")?);
        assert!(!t.delete_public_subscription(ROMEO, SERVICE, "atlas")?);
        assert_eq!(t.delete_public_subscriptions(ROMEO)?, 2);
        assert_eq!(t.delete_public_subscriptions(ROMEO)?, 0);
        assert_eq!(t.public_subscriptions_since("benvolio@montague.example", at(10))?, None);
        assert_eq!(t.public_subscriptions(ROMEO, Place::First, 10)?.count, 0);
        assert_eq!(t.public_subscriptions("benvolio@montague.example", Place::First, 10)?.count, 1);
        Ok(())
    });
}

pub(super) fn pages_of_public_lists(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let other = new_node(store, "tune");
    commit(store, |t| {
        for number in 0..9 {
            let bare = format!("{}@example", 9 - number);
            t.insert_public_subscriber(node, &bare, at(number))?;
            t.insert_public_subscriber(other, &bare, at(number))?;
            t.insert_public_subscription(ROMEO, &bare, "blog", at(number))?;
            t.insert_public_subscription("nobody@example", &bare, "blog", at(number))?;
        }
        // Two are taken off again, so that the positions have gaps.
        for bare in ["7@example", "3@example"] {
            t.delete_public_subscriber(node, bare)?;
            t.delete_public_subscription(ROMEO, bare, "blog")?;
        }
        Ok(())
    });
    for subscribers in [true, false] {
        let mut page = |place, limit| {
            commit(store, |t| match subscribers {
                true => t.public_subscribers(node, place, limit),
                false => t.public_subscriptions(ROMEO, place, limit),
            })
        };
        let all = page(Place::First, 100);
        let names: Vec<&str> = all.rows.iter().map(|entry| &entry.jid[..1]).collect();
        assert_eq!(names, ["9", "8", "6", "5", "4", "2", "1"]);
        let (from, to) = (all.rows[0].position, all.rows[6].position);
        let mut places = vec![(Place::First, 0..7), (Place::Last, 0..7)];
        places.extend((0..9).map(|index| (Place::Index(index), (index as usize).min(7)..7)));
        for cursor in [i64::MIN, i64::MAX].into_iter().chain(from - 1..=to + 1) {
            let after = all.rows.iter().filter(|entry| entry.position <= cursor).count();
            let before = all.rows.iter().filter(|entry| entry.position < cursor).count();
            places.extend([(Place::After(cursor), after..7), (Place::Before(cursor), 0..before)]);
        }
        for (place, range) in places {
            for limit in [0, 1, 3, 7, u64::MAX] {
                let size = range.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
                let range = match place {
                    Place::Last | Place::Before(_) => range.end - size..range.end,
                    _ => range.start..range.start + size,
                };
                let found = page(place, limit);
                assert_eq!(found.rows, all.rows[range.clone()], "{place:?}, limit {limit}");
                assert_eq!(found.count, 7);
                assert_eq!(found.index, if range.is_empty() { 0 } else { range.start as u64 }, "{place:?} {limit}");
            }
        }
    }
    assert_eq!(commit(store, |t| t.public_subscribers(NodeKey(99_999), Place::Last, 1)).count, 0);
}

pub(super) fn pages_of_long_public_lists(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    pages_of_a_long_list(
        store,
        |t, member| t.insert_public_subscriber(node, member, at(1)),
        |t, member| t.delete_public_subscriber(node, member),
        |t, place, limit| t.public_subscribers(node, place, limit),
    );
    pages_of_a_long_list(
        store,
        |t, member| t.insert_public_subscription(ROMEO, SERVICE, member, at(1)),
        |t, member| t.delete_public_subscription(ROMEO, SERVICE, member),
        |t, place, limit| t.public_subscriptions(ROMEO, place, limit),
    );
}

/// Members come and go, and pages all over the list are those that the whole list has.
fn pages_of_a_long_list(
    store: &mut dyn Store,
    insert: impl Fn(&mut dyn Transaction, &str) -> Result<bool>,
    delete: impl Fn(&mut dyn Transaction, &str) -> Result<bool>,
    page: impl Fn(&mut dyn Transaction, Place<i64>, u64) -> Result<Page<PublicEntry>>,
) {
    let mut dice = Dice::new();
    let mut made = 0;
    for _ in 0..12 {
        commit(store, |t| {
            for _ in 0..200 {
                made += 1;
                insert(t, &made.to_string())?;
            }
            for _ in 0..100 {
                delete(t, &(1 + dice.roll(made)).to_string())?;
            }
            Ok(())
        });
        let all = commit(store, |t| page(t, Place::First, u64::MAX)).rows;
        for _ in 0..30 {
            let index = dice.roll(all.len() as i64 - 3) as usize;
            let (cursor, later) = (all[index].position, all[index + 2].position);
            let by_index = Place::Index(index as u64);
            for (place, from) in [(Place::After(cursor), index + 1), (Place::Before(later), index), (by_index, index)] {
                let page = commit(store, |t| page(t, place, 2));
                assert_eq!((page.index, page.count), (from as u64, all.len() as u64), "{place:?}");
                assert_eq!(page.rows, all[from..from + 2]);
            }
        }
    }
}

fn entry(service: &str, node_name: &str, subid: &str) -> PamEntry {
    PamEntry {
        service: service.into(),
        node_name: node_name.into(),
        subid: subid.into(),
        state: SubscriptionState::Pending,
        wants_public: true,
        unsubscribing: false,
    }
}

pub(super) fn pam_entries(store: &mut dyn Store) {
    let entries = [
        entry("a.example", "a", ""),
        entry("a.example", "a", "1"),
        entry("a.example", "b", ""),
        entry("b.example", "a", ""),
    ];
    commit(store, |t| {
        assert_eq!(t.pam_version(ROMEO)?, 0);
        t.set_pam_version(ROMEO, 1)?;
        t.set_pam_version(ROMEO, 1 << 40)?;
        assert_eq!(t.pam_version(ROMEO)?, 1 << 40);
        for number in [2, 0, 3, 1] {
            t.put_pam_entry(ROMEO, &entries[number])?;
        }
        t.put_pam_entry(SERVICE, &entries[0])?;
        assert_eq!(t.pam_entries(ROMEO)?, entries);
        assert_eq!(t.pam_entries_for(ROMEO, "a.example", "a")?, entries[..2]);
        assert_eq!(t.pam_entries_for(ROMEO, "a.example", "c")?, []);
        let changed = PamEntry {
            state: SubscriptionState::Subscribed,
            wants_public: false,
            unsubscribing: true,
            ..entries[1].clone()
        };
        t.put_pam_entry(ROMEO, &changed)?;
        assert_eq!(t.pam_entries(ROMEO)?[1], changed);
        assert_eq!(t.pam_entries(ROMEO)?.len(), 4);
        assert!(t.delete_pam_entry(ROMEO, "a.example", "a", "1")?);
        assert!(!t.delete_pam_entry(ROMEO, "a.example", "a", "1")?);
        assert_eq!(t.pam_entries_for(ROMEO, "a.example", "a")?, entries[..1]);
        Ok(())
    });
}

fn intent(id: &str, account: &str, deadline: i64) -> Intent {
    Intent {
        id: id.into(),
        account: account.into(),
        service: "a.example".into(),
        node_name: "blog".into(),
        subid: "".into(),
        operation: 255,
        requester: "romeo@montague.example/x".into(),
        request_id: "sub1".into(),
        request_to: "".into(),
        stanza: "<iq/>".into(),
        attempts: 1,
        deadline: at(deadline),
    }
}

pub(super) fn intents(store: &mut dyn Store) {
    commit(store, |t| {
        assert_eq!(t.next_deadline()?, None);
        let all = [intent("a", ROMEO, 30), intent("b", ROMEO, 10), intent("c", SERVICE, 20), intent("d", ROMEO, 10)];
        for number in [3, 1, 0, 2] {
            t.put_intent(&all[number])?;
        }
        assert_eq!(t.intent("a")?, Some(all[0].clone()));
        assert_eq!(t.intent("e")?, None);
        assert_eq!(t.intents_of(ROMEO)?, [all[0].clone(), all[1].clone(), all[3].clone()]);
        assert_eq!(t.next_deadline()?, Some(at(10)));
        assert_eq!(t.overdue_intents(at(9), 10)?, []);
        assert_eq!(t.overdue_intents(at(20), 10)?, [all[1].clone(), all[3].clone(), all[2].clone()]);
        assert_eq!(t.overdue_intents(at(20), 1)?, [all[1].clone()]);
        let again = Intent { attempts: 2, deadline: at(40), operation: 0, subid: "5".into(), ..all[1].clone() };
        t.put_intent(&again)?;
        assert_eq!(t.intent("b")?, Some(again));
        t.delete_intent("d")?;
        t.delete_intent("d")?;
        assert_eq!(t.next_deadline()?, Some(at(20)));
        Ok(())
    });
}

pub(super) fn an_account_goes(store: &mut dyn Store) {
    commit(store, |t| {
        for account in [ROMEO, SERVICE] {
            t.put_pam_entry(account, &entry("a.example", "a", ""))?;
            t.set_pam_version(account, 3)?;
            t.put_intent(&intent(account, account, 10))?;
        }
        t.delete_pam_account(ROMEO)?;
        assert_eq!((t.pam_entries(ROMEO)?, t.pam_version(ROMEO)?, t.intents_of(ROMEO)?), (vec![], 0, vec![]));
        assert_eq!(t.pam_entries(SERVICE)?.len(), 1);
        assert_eq!((t.pam_version(SERVICE)?, t.intents_of(SERVICE)?.len()), (3, 1));
        t.delete_pam_account("nobody@example")
    });
}

pub(super) fn capabilities(store: &mut dyn Store) {
    let features = ["urn:xmpp:mood+notify", "b", "a"].map(String::from);
    commit(store, |t| {
        assert_eq!(t.capabilities("sha-1:x")?, None);
        t.put_capabilities("sha-1:x", &features, at(1), 10)?;
        t.put_capabilities("sha-256:x", &[], at(2), 10)?;
        assert_eq!(t.capabilities("sha-1:x")?, Some(features.to_vec()));
        assert_eq!(t.capabilities("sha-256:x")?, Some(Vec::new()));
        t.put_capabilities("sha-1:x", &features[..1], at(3), 10)?;
        assert_eq!(t.capabilities("sha-1:x")?, Some(features[..1].to_vec()));
        Ok(())
    });
}

pub(super) fn the_oldest_capabilities_are_forgotten(store: &mut dyn Store) {
    let feature = ["f".to_owned()];
    commit(store, |t| {
        for (hash, learnt) in [("a", 5), ("b", 1), ("c", 3), ("d", 3)] {
            t.put_capabilities(hash, &feature, at(learnt), 4)?;
        }
        t.put_capabilities("b", &feature, at(6), 4)?;
        t.put_capabilities("e", &feature, at(7), 3)?;
        let mut known = |hash: &str| t.capabilities(hash).expect("capabilities").is_some();
        assert_eq!(["a", "b", "c", "d", "e"].map(&mut known), [true, true, false, false, true]);
        t.put_capabilities("f", &feature, at(8), 0)?;
        let mut known = |hash: &str| t.capabilities(hash).expect("capabilities").is_some();
        assert_eq!(["a", "b", "e", "f"].map(&mut known), [false; 4]);
        Ok(())
    });
}

pub(super) fn values(store: &mut dyn Store) {
    commit(store, |t| {
        assert_eq!(t.value("a")?, None);
        t.set_value("a", "1")?;
        t.set_value("a", "")?;
        t.set_value("A", "2")?;
        assert_eq!(t.value("a")?, Some(String::new()));
        assert_eq!(t.value("A")?, Some("2".into()));
        Ok(())
    });
}

pub(super) fn services_of_lists(store: &mut dyn Store) {
    let entry = |service: &str, node: &str| PamEntry {
        service: service.into(),
        node_name: node.into(),
        subid: "".into(),
        state: SubscriptionState::Subscribed,
        wants_public: false,
        unsubscribing: false,
    };
    let pair = |account: &str, service: &str| (account.to_owned(), service.to_owned());
    let all = [pair("a@x", "s1"), pair("a@x", "s2"), pair("b@x", "s1")];
    commit(store, |t| {
        t.put_pam_entry("b@x", &entry("s1", "one"))?;
        t.put_pam_entry("a@x", &entry("s2", "one"))?;
        t.put_pam_entry("a@x", &entry("s1", "one"))?;
        t.put_pam_entry("a@x", &entry("s1", "two"))
    });
    commit(store, |t| {
        assert_eq!(t.pam_services(("", ""), 10)?, all);
        assert_eq!(t.pam_services(("", ""), 2)?, all[..2]);
        assert_eq!(t.pam_services(("a@x", "s1"), 10)?, all[1..]);
        assert_eq!(t.pam_services(("b@x", "s1"), 10)?, []);
        Ok(())
    });
}

pub(super) fn auto_subscriptions(store: &mut dyn Store) {
    let auto = |service: &str, node: &str, end| AutoSubscription {
        account: ROMEO.into(),
        service: service.into(),
        node_name: node.into(),
        subid: "s".into(),
        state: SubscriptionState::Subscribed,
        expire_at: at(end),
    };
    let (nick, tune, other) = (auto(SERVICE, "nick", 9), auto(SERVICE, "tune", 7), auto("b.example", "nick", 8));
    commit(store, |t| {
        assert_eq!(t.next_auto_end()?, None);
        [&tune, &other, &nick].into_iter().try_for_each(|auto| t.put_auto_subscription(auto))
    });
    commit(store, |t| {
        assert_eq!(t.auto_subscriptions(ROMEO)?, [other.clone(), nick.clone(), tune.clone()]);
        assert_eq!(t.auto_subscriptions("benvolio@montague.example")?, []);
        assert_eq!(t.auto_subscription(ROMEO, SERVICE, "tune")?.as_ref(), Some(&tune));
        assert_eq!(t.auto_subscription(ROMEO, SERVICE, "mood")?, None);
        assert_eq!(t.next_auto_end()?, Some(at(7)));
        assert_eq!(t.expired_auto_subscriptions(at(8), 10)?, [tune.clone(), other.clone()]);
        assert_eq!(t.expired_auto_subscriptions(at(9), 1)?, std::slice::from_ref(&tune));
        let changed = AutoSubscription { state: SubscriptionState::None, subid: "".into(), expire_at: at(20), ..tune };
        t.put_auto_subscription(&changed)?;
        assert_eq!(t.auto_subscription(ROMEO, SERVICE, "tune")?, Some(changed));
        assert!(t.delete_auto_subscription(ROMEO, SERVICE, "nick")?);
        assert!(!t.delete_auto_subscription(ROMEO, SERVICE, "nick")?);
        assert_eq!(t.expired_auto_subscriptions(at(19), 10)?, [other]);
        Ok(())
    });
}
