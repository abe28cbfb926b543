//! Events kept for accounts (extension to XEP-0376).

use super::{at, commit};
use crate::error::Result;
use crate::pubsub::store::{JournalFilter, JournalLimits, NewJournalEntry, Place, Store, Transaction};
use crate::time::Timestamp;

const ROMEO: &str = "romeo@montague.example";
const BENVOLIO: &str = "benvolio@montague.example";
const PLENTY: JournalLimits = JournalLimits { entries: 1_000, bytes: 1_000_000 };
const ALL: JournalFilter<'static> = JournalFilter {
    service: None,
    node_name: None,
    start: Timestamp::from_micros(i64::MIN),
    end: Timestamp::from_micros(i64::MAX),
    now: Timestamp::from_micros(0),
};

/// An entry that came so many seconds after the beginning of time and lasts for a hundred.
fn entry(seconds: i64, content: &str) -> NewJournalEntry<'_> {
    let (arrived, expire_at) = (at(seconds), at(seconds + 100));
    NewJournalEntry { service: "a.example", node_name: "blog", arrived, expire_at, seen: false, content }
}

fn contents(t: &mut dyn Transaction, account: &str, filter: &JournalFilter<'_>) -> Result<Vec<String>> {
    Ok(t.journal(account, filter, Place::First, 1_000)?.rows.iter().map(|entry| entry.content.to_string()).collect())
}

pub(super) fn journals_hold_what_came(store: &mut dyn Store) {
    commit(store, |t| {
        t.insert_journal_entry(ROMEO, &entry(1, "one"), PLENTY)?;
        t.insert_journal_entry(BENVOLIO, &entry(2, "other"), PLENTY)?;
        t.insert_journal_entry(ROMEO, &NewJournalEntry { node_name: "tune", seen: true, ..entry(3, "two") }, PLENTY)?;
        t.insert_journal_entry(ROMEO, &NewJournalEntry { service: "b.example", ..entry(4, "three") }, PLENTY)
    });
    commit(store, |t| {
        let all = t.journal(ROMEO, &ALL, Place::First, 10)?;
        assert_eq!((all.count, all.index), (3, 0));
        let shown: Vec<_> =
            all.rows.iter().map(|e| (&*e.service, e.node_name.as_str(), e.arrived, e.seen, &*e.content)).collect();
        assert_eq!(
            shown,
            [
                ("a.example", "blog", at(1), false, "one"),
                ("a.example", "tune", at(3), true, "two"),
                ("b.example", "blog", at(4), false, "three"),
            ]
        );
        let filters = [
            (JournalFilter { service: Some("a.example"), ..ALL }, vec!["one", "two"]),
            (JournalFilter { node_name: Some("blog"), ..ALL }, vec!["one", "three"]),
            (JournalFilter { service: Some("b.example"), node_name: Some("blog"), ..ALL }, vec!["three"]),
            (JournalFilter { start: at(3), ..ALL }, vec!["two", "three"]),
            (JournalFilter { end: at(3), ..ALL }, vec!["one", "two"]),
            (JournalFilter { now: at(101), ..ALL }, vec!["two", "three"]),
        ];
        for (filter, wanted) in filters {
            assert_eq!(contents(t, ROMEO, &filter)?, wanted, "{filter:?}");
        }
        assert_eq!(t.last_journal_entry(ROMEO, "a.example", "blog")?.as_ref(), Some(&all.rows[0]));
        assert_eq!(t.last_journal_entry(ROMEO, "a.example", "nothing")?, None);
        t.see_journal_entry(all.rows[0].key)?;
        assert!(t.last_journal_entry(ROMEO, "a.example", "blog")?.is_some_and(|entry| entry.seen));
        assert!(!t.journal(ROMEO, &ALL, Place::First, 10)?.rows[2].seen);
        Ok(())
    });
    commit(store, |t| {
        t.delete_journal(ROMEO)?;
        assert!(contents(t, ROMEO, &ALL)?.is_empty());
        assert_eq!(contents(t, BENVOLIO, &ALL)?, ["other"]);
        // What was counted went as well.
        t.insert_journal_entry(ROMEO, &entry(5, "new"), JournalLimits { entries: 1, bytes: 3 })?;
        assert_eq!(contents(t, ROMEO, &ALL)?, ["new"]);
        Ok(())
    });
}

pub(super) fn journals_in_pages(store: &mut dyn Store) {
    commit(store, |t| {
        for (seconds, content) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")] {
            t.insert_journal_entry(ROMEO, &entry(seconds, content), PLENTY)?;
        }
        let filter = JournalFilter { start: at(2), ..ALL };
        let keys: Vec<i64> = t.journal(ROMEO, &filter, Place::First, 9)?.rows.iter().map(|entry| entry.key).collect();
        let places = [
            (Place::First, "bc", 0),
            (Place::Last, "de", 2),
            (Place::After(keys[0]), "cd", 1),
            (Place::Before(keys[2]), "bc", 0),
            (Place::Before(keys[3]), "cd", 1),
            (Place::Index(1), "cd", 1),
            (Place::Index(7), "", 0),
            (Place::After(keys[3]), "", 0),
        ];
        for (place, wanted, index) in places {
            let page = t.journal(ROMEO, &filter, place, 2)?;
            let shown: String = page.rows.iter().map(|entry| &*entry.content).collect();
            let index = if shown.is_empty() { page.index } else { index };
            assert_eq!((shown.as_str(), page.index, page.count), (wanted, index, 4), "{place:?}");
        }
        Ok(())
    });
}

pub(super) fn journals_are_bounded(store: &mut dyn Store) {
    commit(store, |t| {
        for content in ["1", "2", "3"] {
            t.insert_journal_entry(ROMEO, &entry(1, content), JournalLimits { entries: 2, bytes: 1_000 })?;
        }
        t.insert_journal_entry(BENVOLIO, &entry(1, "his"), PLENTY)?;
        assert_eq!(contents(t, ROMEO, &ALL)?, ["2", "3"]);
        t.insert_journal_entry(ROMEO, &entry(2, "long"), JournalLimits { entries: 9, bytes: 5 })?;
        assert_eq!(contents(t, ROMEO, &ALL)?, ["3", "long"]);
        // Many small ones for one that is as large as all may be.
        for _ in 0..250 {
            t.insert_journal_entry(ROMEO, &entry(2, "x"), PLENTY)?;
        }
        t.insert_journal_entry(ROMEO, &entry(3, "large"), JournalLimits { entries: 1_000, bytes: 5 })?;
        assert_eq!(contents(t, ROMEO, &ALL)?, ["large"]);
        assert_eq!(contents(t, BENVOLIO, &ALL)?, ["his"]);
        Ok(())
    });
}

pub(super) fn journals_expire(store: &mut dyn Store) {
    commit(store, |t| {
        assert_eq!(t.next_journal_end()?, None);
        t.insert_journal_entry(ROMEO, &entry(7, "late"), PLENTY)?;
        t.insert_journal_entry(ROMEO, &entry(5, "early"), PLENTY)?;
        t.insert_journal_entry(BENVOLIO, &entry(6, "his"), PLENTY)?;
        assert_eq!(t.next_journal_end()?, Some(at(105)));
        t.delete_expired_journal(at(104), 10)?;
        assert_eq!(contents(t, ROMEO, &ALL)?, ["late", "early"]);
        t.delete_expired_journal(at(107), 2)?;
        assert_eq!((contents(t, ROMEO, &ALL)?, contents(t, BENVOLIO, &ALL)?), (vec!["late".to_owned()], vec![]));
        assert_eq!(t.next_journal_end()?, Some(at(107)));
        t.delete_expired_journal(at(107), 2)?;
        assert_eq!(t.next_journal_end()?, None);
        t.insert_journal_entry(ROMEO, &entry(8, "x"), JournalLimits { entries: 1, bytes: 1 })?;
        assert_eq!(contents(t, ROMEO, &ALL)?, ["x"]);
        Ok(())
    });
}
