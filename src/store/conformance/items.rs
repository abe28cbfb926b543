//! Items and their pages.

use super::{Dice, at, commit, item, new_node};
use crate::pubsub::store::{MAX_SEQ, NodeKey, Page, Place, Removed, Store};
use crate::pubsub::{Counters, Item};
use crate::time::Timestamp;

fn fill(store: &mut dyn Store, node: NodeKey, items: &[Item]) {
    commit(store, |t| items.iter().try_for_each(|item| t.insert_item(node, item)));
}

fn seqs(store: &mut dyn Store, node: NodeKey) -> Vec<i64> {
    let page = commit(store, |t| {
        let all = t.items(node, &Counters::default(), None, Place::First, 1_000)?;
        Ok(all)
    });
    page.rows.iter().map(|item| item.seq).collect()
}

fn bytes(items: &[Item]) -> i64 {
    items.iter().map(|item| item.payload.len() as i64).sum()
}

pub(super) fn items_are_found(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let full = item(1, "a 'quoted' id; --");
    let empty = Item { payload: "".into(), publisher: "capulet.example".into(), ..item(0xffff_ffff, "ä") };
    fill(store, node, &[full.clone(), empty.clone()]);
    commit(store, |t| {
        assert_eq!(t.item(node, full.id.as_str(), None)?, Some(full.clone()));
        assert_eq!(t.item(node, "ä", None)?, Some(empty.clone()));
        assert_eq!(t.item(node, "Ä", None)?, None);
        assert_eq!(t.item(NodeKey(99_999), "ä", None)?, None);
        assert_eq!(t.item(node, full.id.as_str(), Some(at(0)))?, Some(full.clone()));
        assert_eq!(t.item(node, full.id.as_str(), Some(at(1)))?, None);
        assert_eq!(t.delete_item(node, "nothing")?, Removed::default());
        assert_eq!(t.delete_item(node, full.id.as_str())?, Removed { items: 1, bytes: full.payload.len() as i64 });
        assert_eq!(t.delete_item(node, full.id.as_str())?, Removed::default());
        assert_eq!(t.delete_item(node, "ä")?, Removed { items: 1, bytes: 0 });
        Ok(())
    });
}

pub(super) fn items_are_unique(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let other = new_node(store, "tune");
    commit(store, |t| {
        t.insert_item(node, &item(1, "1"))?;
        t.insert_item(other, &item(1, "1"))?;
        assert!(t.insert_item(node, &item(2, "1")).is_err());
        assert_eq!(t.add_item(node, &item(2, "1")), Ok(false));
        assert_eq!(t.add_item(other, &item(2, "2")), Ok(true));
        t.insert_item(other, &item(3, "3"))?;
        assert!(t.insert_item(other, &item(3, "2")).is_err());
        assert!(t.insert_item(other, &item(2, "4")).is_err(), "the order of publication is that of time");
        assert!(t.insert_item(NodeKey(99_999), &item(1, "1")).is_err());
        assert!(t.insert_item(other, &item(MAX_SEQ + 1, "4")).is_err(), "the numbers end");
        // Republishing takes the item away first.
        t.delete_item(node, "1")?;
        t.insert_item(node, &item(2, "1"))?;
        assert_eq!(t.item(node, "1", None)?.map(|item| item.seq), Some(2));
        assert_eq!(t.item(other, "1", None)?.map(|item| item.seq), Some(1));
        Ok(())
    });
}

pub(super) fn the_newest_item(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    commit(store, |t| {
        assert_eq!(t.last_item(node, None)?, None);
        t.insert_item(node, &item(5, "5"))?;
        t.insert_item(node, &Item { published: at(2), ..item(6, "6") })?;
        let mut last = |live_after: Option<Timestamp>| t.last_item(node, live_after).map(|item| item.map(|i| i.seq));
        assert_eq!(last(None)?, Some(6));
        assert_eq!(last(Some(at(1)))?, Some(6));
        assert_eq!(last(Some(at(2)))?, Some(5));
        assert_eq!(last(Some(at(5)))?, None);
        Ok(())
    });
}

pub(super) fn the_oldest_go_first(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let items: Vec<Item> = [2, 3, 5, 8, 13].map(|seq| item(seq, &format!("{}", 100 - seq))).into();
    fill(store, node, &items);
    commit(store, |t| {
        let mut ids = vec!["kept".into()];
        assert_eq!(t.delete_oldest_items(node, 0, &mut ids)?, Removed::default());
        assert_eq!(t.delete_oldest_items(node, 2, &mut ids)?, Removed { items: 2, bytes: bytes(&items[..2]) });
        assert_eq!(ids, ["kept".into(), items[0].id.clone(), items[1].id.clone()]);
        Ok(())
    });
    assert_eq!(seqs(store, node), [5, 8, 13]);
    commit(store, |t| {
        let mut ids = Vec::new();
        assert_eq!(t.delete_oldest_items(node, 99, &mut ids)?, Removed { items: 3, bytes: bytes(&items[2..]) });
        assert_eq!(ids.len(), 3);
        assert_eq!(t.delete_oldest_items(node, 99, &mut ids)?, Removed::default());
        Ok(())
    });
}

pub(super) fn expired_items(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let times = [3, 1, 9, 2, 8];
    let items: Vec<Item> = times
        .iter()
        .zip(1..)
        .map(|(time, seq)| Item { published: at(*time), ..item(seq, &time.to_string()) })
        .collect();
    fill(store, node, &items);
    commit(store, |t| {
        let mut ids = Vec::new();
        assert_eq!(t.delete_expired_items(node, at(0), 10, &mut ids)?, Removed::default());
        assert_eq!(t.delete_expired_items(node, at(3), 2, &mut ids)?.items, 2);
        assert_eq!(ids, ["3".into(), "1".into()]);
        let removed = t.delete_expired_items(node, at(8), 10, &mut ids)?;
        assert_eq!(removed, Removed { items: 2, bytes: bytes(&[items[3].clone(), items[4].clone()]) });
        assert_eq!(ids[2..], ["2".into(), "8".into()]);
        Ok(())
    });
    assert_eq!(seqs(store, node), [3]);
    commit(store, |t| {
        // The clock catches up with what it said before.
        t.insert_item(node, &Item { published: at(7), ..item(6, "7") })?;
        t.insert_item(node, &Item { published: at(9), ..item(7, "9b") })?;
        t.insert_item(node, &item(10, "10"))?;
        let mut ids = Vec::new();
        assert_eq!(t.delete_expired_items(node, at(8), 1, &mut ids)?.items, 1);
        assert_eq!(t.delete_expired_items(node, at(8), 1, &mut ids)?.items, 0);
        assert_eq!(t.delete_expired_items(node, at(9), 10, &mut ids)?.items, 2);
        assert_eq!(ids, ["7".into(), "9".into(), "9b".into()]);
        Ok(())
    });
    assert_eq!(seqs(store, node), [10]);
}

pub(super) fn items_of_a_publisher(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let of = |seq: i64, publisher: &str| Item { publisher: publisher.into(), ..item(seq, &seq.to_string()) };
    fill(store, node, &[of(1, "a@b/c"), of(2, "a@b"), of(3, "a@b/C"), of(4, "a@b/c")]);
    commit(store, |t| {
        let mut ids = Vec::new();
        assert_eq!(t.delete_items_of(node, "x@b/c", &mut ids)?, Removed::default());
        assert_eq!(t.delete_items_of(node, "a@b/c", &mut ids)?.items, 2);
        assert_eq!(ids, ["1".into(), "4".into()]);
        Ok(())
    });
    assert_eq!(seqs(store, node), [2, 3]);
}

pub(super) fn nodes_do_not_touch_each_other(store: &mut dyn Store) {
    let nodes = ["a", "b", "c"].map(|name| new_node(store, name));
    for node in nodes {
        fill(store, node, &[item(0, "0"), item(1, "1"), item(0xffff_ffff, "last")]);
    }
    let [before, node, after] = nodes;
    let counters = Counters { items: 3, ..Counters::default() };
    commit(store, |t| {
        let mut ids = Vec::new();
        assert_eq!(t.items(node, &counters, None, Place::First, 10)?.count, 3);
        assert_eq!(t.items(node, &counters, None, Place::After(1), 10)?.rows.len(), 1);
        assert_eq!(t.delete_oldest_items(node, 1, &mut ids)?.items, 1);
        assert_eq!(t.delete_expired_items(node, at(1), 10, &mut ids)?.items, 1);
        assert_eq!(t.delete_items_of(node, &item(1, "1").publisher, &mut ids)?.items, 1);
        t.insert_item(node, &item(5, "5"))?;
        assert_eq!(t.delete_all_items(node)?, Removed { items: 1, bytes: bytes(&[item(5, "5")]) });
        assert_eq!(t.delete_all_items(node)?, Removed::default());
        assert_eq!(t.last_item(node, None)?, None);
        Ok(())
    });
    assert_eq!(seqs(store, before), [0, 1, 0xffff_ffff]);
    assert_eq!(seqs(store, after), [0, 1, 0xffff_ffff]);
}

/// What a page is, said in the plainest way.
fn expected(live: &[Item], place: Place<i64>, limit: u64) -> Page<Item> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let numbered: Vec<(usize, &Item)> = live.iter().enumerate().collect();
    let last = |rows: Vec<(usize, Item)>| rows[rows.len().saturating_sub(limit)..].to_vec();
    let chosen = |wanted: &dyn Fn(usize, i64) -> bool| -> Vec<(usize, Item)> {
        numbered
            .iter()
            .filter(|(index, item)| wanted(*index, item.seq))
            .map(|(i, item)| (*i, (*item).clone()))
            .collect()
    };
    let rows = match place {
        Place::First => chosen(&|_, _| true),
        Place::Last => last(chosen(&|_, _| true)),
        Place::After(cursor) => chosen(&|_, seq| seq > cursor),
        Place::Before(cursor) => last(chosen(&|_, seq| seq < cursor)),
        Place::Index(from) => chosen(&|index, _| index as u64 >= from),
    };
    let rows = &rows[..rows.len().min(limit)];
    Page {
        index: rows.first().map_or(0, |(index, _)| *index as u64),
        count: live.len() as u64,
        rows: rows.iter().map(|(_, item)| item.clone()).collect(),
    }
}

pub(super) fn every_page_of_every_shape(store: &mut dyn Store) {
    let regular: Vec<Item> = (3..11).map(|seq| item(seq, &seq.to_string())).collect();
    let without =
        |gaps: &[i64]| -> Vec<Item> { regular.iter().filter(|item| !gaps.contains(&item.seq)).cloned().collect() };
    let mut turned_back = regular.clone();
    turned_back[4].published = at(2);
    turned_back[6].published = at(3);
    let shapes = [
        ("none", Vec::new()),
        ("one", without(&[3, 4, 6, 7, 8, 9, 10])),
        ("whole", regular.clone()),
        ("gap", without(&[6])),
        ("gaps", without(&[4, 7, 8])),
        ("clock turned back", turned_back),
    ];
    for (name, items) in shapes {
        let node = new_node(store, name);
        fill(store, node, &items);
        let counters = Counters { next_seq: 11, items: items.len() as i64, subscribers: 0, sweep_at: None };
        for live_after in [None, Some(0), Some(2), Some(3), Some(5), Some(9), Some(10)] {
            let live_after = live_after.map(at);
            let live: Vec<Item> =
                items.iter().filter(|item| live_after.is_none_or(|time| item.published > time)).cloned().collect();
            let cursors = (1..13).flat_map(|cursor| [Place::After(cursor), Place::Before(cursor)]);
            let places = (0..10).map(Place::Index).chain(cursors).chain([Place::First, Place::Last]);
            for place in places {
                for limit in [0, 1, 2, 3, 8, 100, u64::MAX] {
                    let page = commit(store, |t| t.items(node, &counters, live_after, place, limit));
                    assert_eq!(
                        page,
                        expected(&live, place, limit),
                        "{name}, live after {live_after:?}, {place:?}, limit {limit}"
                    );
                }
            }
        }
    }
}

pub(super) fn pages_beyond_the_ends(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let items: Vec<Item> = [1, 2, 3, 0xffff_ffff].map(|seq| item(seq, &seq.to_string())).into();
    fill(store, node, &items);
    let counters = Counters { next_seq: 1 << 32, items: 4, subscribers: 0, sweep_at: None };
    for cursor in [i64::MIN, -1, 0, 0xffff_fffe, 0xffff_ffff, 0x1_0000_0000, i64::MAX] {
        for place in [Place::After(cursor), Place::Before(cursor)] {
            let page = commit(store, |t| t.items(node, &counters, None, place, 2));
            assert_eq!(page, expected(&items, place, 2), "{place:?}");
        }
    }
    let page = commit(store, |t| t.items(node, &counters, None, Place::Index(u64::MAX), 2));
    assert_eq!(page, Page { rows: Vec::new(), count: 4, index: 0 });
}

/// What was published after an item that claimed a later time is found to have expired when that item is gone.
pub(super) fn pages_after_a_wrong_time(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let timed = |seq: i64, time: i64| Item { published: at(time), ..item(seq, &seq.to_string()) };
    fill(store, node, &[timed(1, 1), timed(2, 10), timed(3, 5), timed(4, 6), timed(5, 11), timed(7, 12), timed(8, 13)]);
    commit(store, |t| t.delete_item(node, "2"));
    let counters = Counters { next_seq: 9, items: 6, ..Counters::default() };
    let live = [timed(5, 11), timed(7, 12), timed(8, 13)];
    for place in [Place::After(5), Place::Before(8), Place::Index(1), Place::Last, Place::First] {
        let page = commit(store, |t| t.items(node, &counters, Some(at(6)), place, 1));
        assert_eq!(page, expected(&live, place, 1), "{place:?}");
    }
}

/// Random publications and removals, and pages of what is left.
pub(super) fn pages_of_many_items(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    let mut dice = Dice::new();
    let mut items: Vec<Item> = Vec::new();
    let mut seq = 0;
    for round in 0..40 {
        commit(store, |t| {
            for _ in 0..dice.roll(120) {
                // Now and then a number is left out, and the clock goes back.
                seq += 1 + i64::from(round > 30 && dice.roll(50) == 0);
                let published = at(seq - if round > 20 && dice.roll(20) == 0 { 30 } else { 0 });
                let new = Item { published, ..item(seq, &seq.to_string()) };
                t.insert_item(node, &new)?;
                items.push(new);
            }
            for _ in 0..dice.roll(30).min(items.len() as i64) {
                let gone = items.remove(dice.roll(items.len() as i64) as usize);
                assert_eq!(t.delete_item(node, gone.id.as_str())?.items, 1);
            }
            if dice.roll(5) == 0 {
                let count = dice.roll(100).min(items.len() as i64);
                t.delete_oldest_items(node, count, &mut Vec::new())?;
                items.drain(..count as usize);
            }
            if dice.roll(8) == 0 {
                let until = at(seq - 1_200);
                t.delete_expired_items(node, until, i64::MAX, &mut Vec::new())?;
                items.retain(|item| item.published > until);
            }
            Ok(())
        });
        let counters = Counters { next_seq: seq + 1, items: items.len() as i64, subscribers: 0, sweep_at: None };
        for live_after in [None, Some(at(seq - 800)), Some(at(seq - 100))] {
            let live: Vec<Item> =
                items.iter().filter(|item| live_after.is_none_or(|time| item.published > time)).cloned().collect();
            let mut places = vec![Place::First, Place::Last];
            for _ in 0..6 {
                let cursor = seq - dice.roll(1_500);
                let index = dice.roll(live.len() as i64 + 2) as u64;
                places.extend([Place::After(cursor), Place::Before(cursor), Place::Index(index)]);
            }
            for place in places {
                let page = commit(store, |t| t.items(node, &counters, live_after, place, 3));
                assert_eq!(page, expected(&live, place, 3), "round {round}, {live_after:?}, {place:?}");
            }
        }
    }
}

/// What a transaction has done is seen by it at once, whatever is done in which order.
pub(super) fn many_changes_in_one_transaction(store: &mut dyn Store) {
    let mut nodes = ["blog", "tune"].map(|name| (new_node(store, name), Vec::<Item>::new()));
    let mut dice = Dice::new();
    let mut seq = 0;
    for _ in 0..60 {
        commit(store, |t| {
            for _ in 0..100 {
                // Mostly the same node, as in a group of publications.
                let (node, items) = &mut nodes[usize::from(dice.roll(8) == 0)];
                let id = dice.roll(40).to_string();
                let found = items.iter().position(|item| item.id.as_str() == id);
                match dice.roll(200) {
                    0..90 => {
                        seq += 1;
                        let published = at(if dice.roll(10) == 0 { seq - 5 } else { seq });
                        let new = Item { published, ..item(seq, &id) };
                        assert_eq!(t.add_item(*node, &new), Ok(found.is_none()));
                        items.extend(found.is_none().then_some(new));
                    }
                    90..150 => {
                        let gone: Vec<Item> = items.drain(..items.len().min(1 + dice.roll(2) as usize)).collect();
                        let mut ids = Vec::new();
                        let removed = t.delete_oldest_items(*node, gone.len() as i64, &mut ids)?;
                        assert_eq!(removed, Removed { items: gone.len() as i64, bytes: bytes(&gone) });
                        assert!(ids.iter().eq(gone.iter().map(|item| &item.id)));
                    }
                    150..162 => {
                        let gone = found.map(|place| items.remove(place));
                        assert_eq!(t.delete_item(*node, &id)?.items, gone.iter().len() as i64);
                    }
                    162..174 => assert_eq!(t.item(*node, &id, None)?, found.map(|place| items[place].clone())),
                    174..186 => assert_eq!(t.last_item(*node, None)?, items.last().cloned()),
                    186..194 => {
                        let until = at(seq - 30);
                        t.delete_expired_items(*node, until, i64::MAX, &mut Vec::new())?;
                        items.retain(|item| item.published > until);
                    }
                    194..197 => {
                        let counters = Counters { items: items.len() as i64, ..Counters::default() };
                        let page = t.items(*node, &counters, None, Place::First, 5)?;
                        assert_eq!(page, expected(items, Place::First, 5));
                    }
                    197 => {
                        let mut ids = Vec::new();
                        t.delete_items_of(*node, &item(1, "1").publisher, &mut ids)?;
                        assert!(ids.iter().eq(items.drain(..).map(|item| item.id).collect::<Vec<_>>().iter()));
                    }
                    _ => {
                        let removed = t.delete_all_items(*node)?;
                        assert_eq!(removed, Removed { items: items.len() as i64, bytes: bytes(items) });
                        items.clear();
                    }
                }
            }
            Ok(())
        });
        for (node, items) in &nodes {
            assert_eq!(seqs(store, *node), items.iter().map(|item| item.seq).collect::<Vec<_>>());
        }
    }
}
