//! Items.
//!
//! The rows of one node are one range of the table ([`range`]): publishing appends to it, the oldest are at its
//! beginning, a page is a part of it, and what has expired is at its beginning too as long as the clock goes forwards.
//! Those that were published at an earlier time than an item before them have the column `latest` and an index of
//! their own, so that every other item is spared one ([`Expired`]).

use super::transaction::{Open, sql_limit};
use super::{rows, statements};
use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::store::{NodeKey, Page, Place, Removed};
use crate::pubsub::{Counters, Item, ItemId};
use crate::time::Timestamp;

/// The largest `seq`: the lower half of `seq_key`.
pub(super) const MAX_SEQ: i64 = 0xffff_ffff;

/// First and last `seq_key` that the node can have.
fn range(node: NodeKey) -> (i64, i64) {
    (node.0 << 32, node.0 << 32 | MAX_SEQ)
}

/// For statements that hide what was published at or before it.
fn time(live_after: Option<Timestamp>) -> i64 {
    live_after.map_or(i64::MIN, Timestamp::micros)
}

pub(super) fn insert(open: &mut Open<'_>, node: NodeKey, item: &Item) -> Result<()> {
    if !(0..=MAX_SEQ).contains(&item.seq) {
        return Err(Error::new(ErrorKind::Store, "the node has used up its numbers for items"));
    }
    let (first, last) = range(node);
    let (seq_key, id, published) = (first | item.seq, item.id.as_str(), item.published.micros());
    let values = (seq_key, node.0, id, &item.publisher, published, &item.payload, first, last);
    open.execute(statements::INSERT_ITEM, values).map(drop)
}

pub(super) fn item(
    open: &mut Open<'_>,
    node: NodeKey,
    id: &str,
    live_after: Option<Timestamp>,
) -> Result<Option<Item>> {
    open.optional(statements::SELECT_ITEM, (node.0, id, time(live_after)), rows::item)
}

pub(super) fn last(open: &mut Open<'_>, node: NodeKey, live_after: Option<Timestamp>) -> Result<Option<Item>> {
    let (first, last) = range(node);
    open.optional(statements::SELECT_ITEMS_BACKWARDS, (first, last, time(live_after), 1), rows::item)
}

pub(super) fn delete(open: &mut Open<'_>, node: NodeKey, id: &str) -> Result<Removed> {
    let found = open.optional(statements::SELECT_VICTIM, (node.0, id), rows::victim)?;
    delete_victims(open, found.as_slice())
}

pub(super) fn delete_oldest(
    open: &mut Open<'_>,
    node: NodeKey,
    count: i64,
    removed: &mut Vec<ItemId>,
) -> Result<Removed> {
    let (first, last) = range(node);
    let found = open.all(statements::SELECT_OLDEST_VICTIMS, (first, last, count.max(0)), rows::victim)?;
    match found.as_slice() {
        [] => {}
        [one] => drop(open.execute(statements::DELETE_ITEM, [one.seq_key])?),
        [.., newest] => drop(open.execute(statements::DELETE_ITEMS, (first, newest.seq_key))?),
    }
    Ok(sum(found, removed))
}

pub(super) fn delete_expired(
    open: &mut Open<'_>,
    node: NodeKey,
    until: Timestamp,
    limit: i64,
    removed: &mut Vec<ItemId>,
) -> Result<Removed> {
    let (first, last) = range(node);
    let limit = limit.max(0);
    let timely = timely(open, node, until)?;
    let mut found = open.all(statements::SELECT_OLDEST_VICTIMS, (first, timely - 1, limit), rows::victim)?;
    if let Some(newest) = found.last() {
        open.execute(statements::DELETE_ITEMS, (first, newest.seq_key))?;
    }
    let values = (node.0, until.micros(), timely, last, limit - found.len() as i64);
    let untimely = open.all(statements::SELECT_UNTIMELY_VICTIMS, values, rows::victim)?;
    delete_victims(open, &untimely)?;
    found.extend(untimely);
    Ok(sum(found, removed))
}

pub(super) fn delete_of(
    open: &mut Open<'_>,
    node: NodeKey,
    publisher: &str,
    removed: &mut Vec<ItemId>,
) -> Result<Removed> {
    let (first, last) = range(node);
    let found = open.all(statements::SELECT_VICTIMS_OF, (first, last, publisher), rows::victim)?;
    delete_victims(open, &found)?;
    Ok(sum(found, removed))
}

pub(super) fn delete_all(open: &mut Open<'_>, node: NodeKey) -> Result<Removed> {
    let range = range(node);
    let removed =
        open.one(statements::SUM_ITEMS, range, |row| Ok(Removed { items: row.get(0)?, bytes: row.get(1)? }))?;
    open.execute(statements::DELETE_ITEMS, range)?;
    Ok(removed)
}

fn delete_victims(open: &mut Open<'_>, victims: &[rows::Victim]) -> Result<Removed> {
    let mut removed = Removed::default();
    for victim in victims {
        open.execute(statements::DELETE_ITEM, [victim.seq_key])?;
        removed.items += 1;
        removed.bytes += victim.bytes;
    }
    Ok(removed)
}

fn sum(victims: Vec<rows::Victim>, ids: &mut Vec<ItemId>) -> Removed {
    let mut removed = Removed::default();
    for victim in victims {
        removed.items += 1;
        removed.bytes += victim.bytes;
        ids.push(victim.id);
    }
    removed
}

/// The first `seq_key` before which everything was published at or before `until`.
fn timely(open: &mut Open<'_>, node: NodeKey, until: Timestamp) -> Result<i64> {
    let (first, last) = range(node);
    let found = open.optional(statements::SELECT_TIMELY_SEQ, (first, last, until.micros()), rows::number)?;
    Ok(found.unwrap_or(last.saturating_add(1)))
}

/// How many items of a node have expired: the cost is theirs, not that of the live ones.
#[derive(Clone, Copy, Default)]
struct Expired {
    until: Timestamp,
    /// Everything below this `seq_key` has expired, so many.
    timely: i64,
    below: i64,
    /// Above it are so many more.
    untimely: i64,
}

impl Expired {
    fn find(open: &mut Open<'_>, node: NodeKey, live_after: Option<Timestamp>) -> Result<Self> {
        let (first, last) = range(node);
        let Some(until) = live_after else {
            return Ok(Self { timely: first, ..Self::default() });
        };
        let timely = timely(open, node, until)?;
        let below = open.one(statements::COUNT_ITEMS, (first, timely - 1), rows::number)?;
        let untimely = Self::untimely(open, node, until, timely, last)?;
        Ok(Self { until, timely, below, untimely })
    }

    fn untimely(open: &mut Open<'_>, node: NodeKey, until: Timestamp, from: i64, to: i64) -> Result<i64> {
        open.one(statements::COUNT_UNTIMELY, (node.0, until.micros(), from, to), rows::number)
    }

    /// How many of them are before a live item.
    fn before(self, open: &mut Open<'_>, node: NodeKey, seq_key: i64) -> Result<i64> {
        if self.untimely == 0 {
            return Ok(self.below);
        }
        Ok(self.below + Self::untimely(open, node, self.until, self.timely, seq_key - 1)?)
    }
}

pub(super) fn page(
    open: &mut Open<'_>,
    node: NodeKey,
    counters: &Counters,
    live_after: Option<Timestamp>,
    place: Place<i64>,
    limit: u64,
) -> Result<Page<Item>> {
    let (first, last) = range(node);
    let after = time(live_after);
    let expired = Expired::find(open, node, live_after)?;
    let count = counters.items - expired.below - expired.untimely;
    let ends = match open.optional(statements::SELECT_FIRST_SEQ, (expired.timely, last, after), rows::number)? {
        Some(oldest) if limit > 0 => {
            let newest = open.one(statements::SELECT_LAST_SEQ, (first, last, after), rows::number)?;
            (oldest, newest)
        }
        _ => return Ok(Page { rows: Vec::new(), count: count.max(0) as u64, index: 0 }),
    };
    // Without gaps the place of an item in the set is a difference.
    let whole = ends.1 - ends.0 + 1 == count;
    let limit = sql_limit(limit);
    let forwards =
        |open: &mut Open<'_>, from: i64| open.all(statements::SELECT_ITEMS, (from, last, after, limit), rows::item);
    let backwards = |open: &mut Open<'_>, to: i64| {
        let mut rows = open.all(statements::SELECT_ITEMS_BACKWARDS, (first, to, after, limit), rows::item)?;
        rows.reverse();
        Ok::<_, Error>(rows)
    };
    let rows = match place {
        Place::First => forwards(open, ends.0)?,
        Place::Last => backwards(open, ends.1)?,
        Place::After(seq) if seq < MAX_SEQ => forwards(open, first + (seq + 1).max(0))?,
        Place::Before(seq) if seq > 0 => backwards(open, first + (seq - 1).min(MAX_SEQ))?,
        Place::After(_) | Place::Before(_) => Vec::new(),
        Place::Index(index) if whole => match sql_limit(index) {
            index if index < count => forwards(open, ends.0 + index)?,
            _ => Vec::new(),
        },
        Place::Index(index) => {
            open.all(statements::SELECT_ITEMS_AT, (ends.0, last, after, limit, sql_limit(index)), rows::item)?
        }
    };
    let index = match (rows.first(), place) {
        (None, _) | (_, Place::First) => 0,
        (_, Place::Last) => count - rows.len() as i64,
        (_, Place::Index(index)) => sql_limit(index),
        (Some(item), _) if whole => first + item.seq - ends.0,
        (Some(item), _) => {
            let seq_key = first + item.seq;
            let before = open.one(statements::COUNT_ITEMS_BEFORE, (node.0, seq_key), rows::number)?;
            before - expired.before(open, node, seq_key)?
        }
    };
    Ok(Page { rows, count: count.max(0) as u64, index: index.max(0) as u64 })
}
