//! Items.
//!
//! The rows of one node are one range of the table ([`range`]): publishing appends to it, the oldest are at its
//! beginning, a page is a part of it, and what has expired is at its beginning too as long as the clock goes forwards.
//! Those that were published at an earlier time than an item before them have the column `latest` and an index of
//! their own, so that every other item is spared one ([`Expired`]).

use std::collections::VecDeque;

use super::transaction::{Open, sql_limit};
use super::{ranks, rows, statements};
use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::store::{MAX_SEQ, NodeKey, Page, Place, Removed};
use crate::pubsub::{Counters, Item, ItemId};
use crate::time::Timestamp;

/// First and last `seq_key` that the node can have.
fn range(node: NodeKey) -> (i64, i64) {
    (node.0 << 32, node.0 << 32 | MAX_SEQ)
}

/// For statements that hide what was published at or before it.
fn time(live_after: Option<Timestamp>) -> i64 {
    live_after.map_or(i64::MIN, Timestamp::micros)
}

/// What a transaction that writes items remembers, so that a group of publications costs less than each alone.
#[derive(Default)]
pub(super) struct Recent {
    /// The newest item of the node written to last.
    newest: Option<Newest>,
    evicted: Option<Evicted>,
}

#[derive(Clone, Copy)]
struct Newest {
    node: NodeKey,
    seq_key: i64,
    /// The latest time of publication up to it.
    latest: i64,
}

/// The oldest items of a node, removed one after the other. They are read some at a time, and deleted at once by
/// [`settle`]: before anything else looks at items, and before the commit.
struct Evicted {
    node: NodeKey,
    /// Everything up to this `seq_key` is to be deleted; none yet if it is that before the node's first.
    until: i64,
    /// What comes next.
    ahead: VecDeque<rows::Victim>,
    /// How many to read next.
    stride: i64,
}

/// Victims read at once at most.
const MAX_STRIDE: i64 = 64;

/// Carries out what was put off.
pub(super) fn settle(open: &mut Open<'_>) -> Result<()> {
    if let Some(Evicted { node, until, .. }) = open.recent.evicted.take() {
        let (first, _) = range(node);
        if until >= first {
            open.execute(statements::DELETE_ITEMS, (first, until))?;
        }
    }
    Ok(())
}

/// Before items are removed from anywhere.
fn settle_and_forget(open: &mut Open<'_>) -> Result<()> {
    open.recent.newest = None;
    settle(open)
}

/// Writes an item; false if one of that id is there.
pub(super) fn add(open: &mut Open<'_>, node: NodeKey, item: &Item) -> Result<bool> {
    let refused = |why| Err(Error::new(ErrorKind::Store, why));
    if !(0..=MAX_SEQ).contains(&item.seq) {
        return refused("the node has used up its numbers for items");
    }
    let (first, last) = range(node);
    let newest = match open.recent.newest.filter(|newest| newest.node == node) {
        Some(newest) => Some(newest),
        None => {
            settle(open)?;
            let found = open.optional(statements::SELECT_NEWEST, (first, last), rows::two_numbers)?;
            found.map(|(seq_key, latest)| Newest { node, seq_key, latest })
        }
    };
    let (seq_key, id, published) = (first | item.seq, item.id.as_str(), item.published.micros());
    if newest.is_some_and(|newest| newest.seq_key >= seq_key) {
        return refused("the item would not be the newest");
    }
    let latest = newest.map_or(published, |newest| newest.latest.max(published));
    let untimely = (latest > published).then_some(latest);
    let values = (seq_key, node.0, id, &item.publisher, published, &item.payload, untimely);
    let mut written = open.execute(statements::INSERT_ITEM, values)?;
    if written == 0 && open.recent.evicted.is_some() {
        // It may be one of those that are as good as deleted.
        settle(open)?;
        written = open.execute(statements::INSERT_ITEM, values)?;
    }
    if written > 0 {
        open.recent.newest = Some(Newest { node, seq_key, latest });
    }
    Ok(written > 0)
}

pub(super) fn item(
    open: &mut Open<'_>,
    node: NodeKey,
    id: &str,
    live_after: Option<Timestamp>,
) -> Result<Option<Item>> {
    settle(open)?;
    open.optional(statements::SELECT_ITEM, (node.0, id, time(live_after)), rows::item)
}

pub(super) fn last(open: &mut Open<'_>, node: NodeKey, live_after: Option<Timestamp>) -> Result<Option<Item>> {
    settle(open)?;
    let (first, last) = range(node);
    open.optional(statements::SELECT_ITEMS_BACKWARDS, (first, last, time(live_after), 1), rows::item)
}

pub(super) fn delete(open: &mut Open<'_>, node: NodeKey, id: &str) -> Result<Removed> {
    settle_and_forget(open)?;
    let found = open.optional(statements::SELECT_VICTIM, (node.0, id), rows::victim)?;
    delete_victims(open, node, found.as_slice())
}

pub(super) fn delete_oldest(
    open: &mut Open<'_>,
    node: NodeKey,
    count: i64,
    removed: &mut Vec<ItemId>,
) -> Result<Removed> {
    let (first, last) = range(node);
    let mut evicted = match open.recent.evicted.take() {
        Some(evicted) if evicted.node == node => evicted,
        other => {
            open.recent.evicted = other;
            settle(open)?;
            Evicted { node, until: first - 1, ahead: VecDeque::new(), stride: 1 }
        }
    };
    let mut sum = Removed::default();
    while sum.items < count {
        if evicted.ahead.is_empty() {
            let limit = evicted.stride.max(count - sum.items);
            let values = (evicted.until + 1, last, limit);
            match open.all(statements::SELECT_OLDEST_VICTIMS, values, rows::victim) {
                Ok(found) => evicted.ahead.extend(found),
                Err(error) => {
                    open.recent.evicted = Some(evicted);
                    return Err(error);
                }
            }
            // Whoever removes a second one removes more.
            evicted.stride = (evicted.stride * 8).min(MAX_STRIDE);
        }
        let Some(victim) = evicted.ahead.pop_front() else { break };
        evicted.until = victim.seq_key;
        sum.items += 1;
        sum.bytes += victim.bytes;
        removed.push(victim.id);
    }
    if open.recent.newest.is_some_and(|newest| newest.node == node && newest.seq_key <= evicted.until) {
        open.recent.newest = None;
    }
    open.recent.evicted = Some(evicted);
    Ok(sum)
}

pub(super) fn delete_expired(
    open: &mut Open<'_>,
    node: NodeKey,
    until: Timestamp,
    limit: i64,
    removed: &mut Vec<ItemId>,
) -> Result<Removed> {
    settle_and_forget(open)?;
    let (first, last) = range(node);
    let limit = limit.max(0);
    let timely = timely(open, node, until)?;
    let mut found = open.all(statements::SELECT_OLDEST_VICTIMS, (first, timely - 1, limit), rows::victim)?;
    if let Some(newest) = found.last() {
        open.execute(statements::DELETE_ITEMS, (first, newest.seq_key))?;
    }
    let values = (node.0, until.micros(), timely, last, limit - found.len() as i64);
    let untimely = open.all(statements::SELECT_UNTIMELY_VICTIMS, values, rows::victim)?;
    delete_victims(open, node, &untimely)?;
    found.extend(untimely);
    Ok(sum(found, removed))
}

pub(super) fn delete_of(
    open: &mut Open<'_>,
    node: NodeKey,
    publisher: &str,
    removed: &mut Vec<ItemId>,
) -> Result<Removed> {
    settle_and_forget(open)?;
    let (first, last) = range(node);
    let found = open.all(statements::SELECT_VICTIMS_OF, (first, last, publisher), rows::victim)?;
    delete_victims(open, node, &found)?;
    Ok(sum(found, removed))
}

pub(super) fn delete_all(open: &mut Open<'_>, node: NodeKey) -> Result<Removed> {
    settle_and_forget(open)?;
    let range = range(node);
    let removed =
        open.one(statements::SUM_ITEMS, range, |row| Ok(Removed { items: row.get(0)?, bytes: row.get(1)? }))?;
    open.execute(statements::DELETE_ITEMS, range)?;
    Ok(removed)
}

/// Deletes items from anywhere in the node.
fn delete_victims(open: &mut Open<'_>, node: NodeKey, victims: &[rows::Victim]) -> Result<Removed> {
    let mut removed = Removed::default();
    if victims.is_empty() {
        return Ok(removed);
    }
    let (first, last) = range(node);
    let oldest = open.one(statements::SELECT_FIRST_SEQ, (first, last, i64::MIN), rows::number)?;
    for victim in victims {
        open.execute(statements::DELETE_ITEM, [victim.seq_key])?;
        ranks::ITEMS.took(open, node.0, oldest, victim.seq_key)?;
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
        let below = open.one(statements::COUNT_ITEMS, (node.0, first, timely - 1), rows::number)?;
        let all = Self { until, timely, below, untimely: 1 };
        Ok(Self { untimely: all.untimely_before(open, node, last)?, ..all })
    }

    /// How many of those above `timely` are before an item.
    fn untimely_before(self, open: &mut Open<'_>, node: NodeKey, seq_key: i64) -> Result<i64> {
        if self.untimely == 0 {
            return Ok(0);
        }
        let values = (node.0, self.until.micros(), self.timely, seq_key);
        open.one(statements::COUNT_UNTIMELY, values, rows::number)
    }
}

/// The live items of a node that has some.
struct Live {
    node: NodeKey,
    expired: Expired,
    first: i64,
    last: i64,
    count: i64,
    /// Whether the place of an item is known without counting all before it.
    ranked: bool,
}

impl Live {
    fn is_whole(&self) -> bool {
        self.last - self.first + 1 == self.count
    }

    /// The first item that counts for ranks: those of the expired ones that are counted apart may be before `first`.
    fn origin(&self) -> i64 {
        if self.expired.untimely == 0 { self.first } else { self.expired.timely }
    }

    fn rank(&self, open: &mut Open<'_>, seq_key: i64) -> Result<i64> {
        let all = ranks::ITEMS.before(open, self.node.0, self.origin(), seq_key)?;
        Ok(all - self.expired.untimely_before(open, self.node, seq_key)?)
    }

    /// The place of an item.
    fn place(&self, open: &mut Open<'_>, seq_key: i64) -> Result<i64> {
        if self.is_whole() {
            return Ok(seq_key - self.first);
        }
        if self.ranked {
            return self.rank(open, seq_key);
        }
        let all = open.one(statements::COUNT_ITEMS, (self.node.0, self.origin(), seq_key - 1), rows::number)?;
        Ok(all - self.expired.untimely_before(open, self.node, seq_key)?)
    }

    /// The item of a place, as its `seq_key` or one before, and how many live items to skip from there on.
    fn at(&self, open: &mut Open<'_>, place: i64) -> Result<(i64, i64)> {
        if self.is_whole() {
            return Ok((self.first.saturating_add(place), 0));
        }
        if self.ranked && self.expired.untimely == 0 {
            return ranks::ITEMS.at(open, self.node.0, self.first, place);
        }
        Ok((self.first, place))
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
    settle(open)?;
    let (first, last) = range(node);
    let after = time(live_after);
    let expired = Expired::find(open, node, live_after)?;
    let count = counters.items - expired.below - expired.untimely;
    let oldest = open.optional(statements::SELECT_FIRST_SEQ, (expired.timely, last, after), rows::number)?;
    let Some(oldest) = oldest.filter(|_| limit > 0) else {
        return Ok(Page { rows: Vec::new(), count: count.max(0) as u64, index: 0 });
    };
    let newest = open.one(statements::SELECT_LAST_SEQ, (first, last, after), rows::number)?;
    let mut live = Live { node, expired, first: oldest, last: newest, count, ranked: false };
    // Numbers that were left out when publishing are gaps that nobody counted.
    live.ranked =
        !matches!(place, Place::First | Place::Last) && !live.is_whole() && live.rank(open, newest)? + 1 == count;
    let limit = sql_limit(limit);
    let forwards = |open: &mut Open<'_>, from: i64, skip: i64| {
        open.all(statements::SELECT_ITEMS, (from, last, after, limit, skip), rows::item)
    };
    let backwards = |open: &mut Open<'_>, to: i64| {
        let mut rows = open.all(statements::SELECT_ITEMS_BACKWARDS, (first, to, after, limit), rows::item)?;
        rows.reverse();
        Ok::<_, Error>(rows)
    };
    let rows = match place {
        Place::First => forwards(open, oldest, 0)?,
        Place::Last => backwards(open, newest)?,
        Place::After(seq) if seq < MAX_SEQ => forwards(open, first + (seq + 1).max(0), 0)?,
        Place::Before(seq) if seq > 0 => backwards(open, first + (seq - 1).min(MAX_SEQ))?,
        Place::After(_) | Place::Before(_) => Vec::new(),
        Place::Index(index) if sql_limit(index) >= count => Vec::new(),
        Place::Index(index) => {
            let (from, skip) = live.at(open, sql_limit(index))?;
            forwards(open, from, skip)?
        }
    };
    let index = match (rows.first(), place) {
        (None, _) | (_, Place::First) => 0,
        (_, Place::Last) => count - rows.len() as i64,
        (_, Place::Index(index)) => sql_limit(index),
        (Some(item), _) => live.place(open, first + item.seq)?,
    };
    Ok(Page { rows, count: count.max(0) as u64, index: index.max(0) as u64 })
}
