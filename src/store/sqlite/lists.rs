//! Public lists (XEP-0465) and the features of capabilities.

use rusqlite::ToSql;

use super::transaction::{Open, sql_limit};
use super::{ranks, rows, statements};
use crate::error::Result;
use crate::pubsub::store::{NodeKey, Page, Place, PublicEntry};
use crate::time::Timestamp;

/// The statements that read one kind of public list.
struct List {
    forwards: &'static str,
    backwards: &'static str,
}

const SUBSCRIBERS: List = List {
    forwards: statements::SELECT_PUBLIC_SUBSCRIBERS,
    backwards: statements::SELECT_PUBLIC_SUBSCRIBERS_BACKWARDS,
};

const SUBSCRIPTIONS: List = List {
    forwards: statements::SELECT_PUBLIC_SUBSCRIPTIONS,
    backwards: statements::SELECT_PUBLIC_SUBSCRIPTIONS_BACKWARDS,
};

/// Adds a subscriber to the list of a node; false if it was there.
pub(super) fn insert_subscriber(open: &mut Open<'_>, node: NodeKey, bare: &str, since: Timestamp) -> Result<bool> {
    if subscriber(open, node, bare)?.is_some() {
        return Ok(false);
    }
    let (last_position, entries) = totals(open, node)?;
    let position = last_position + 1;
    open.execute(statements::UPSERT_PUBLIC_LIST, (node.0, position, entries + 1))?;
    open.execute(statements::INSERT_PUBLIC_SUBSCRIBER, (node.0, position, bare, since.micros()))?;
    Ok(true)
}

/// Takes a subscriber off; false if it was not there.
pub(super) fn delete_subscriber(open: &mut Open<'_>, node: NodeKey, bare: &str) -> Result<bool> {
    let Some(entry) = subscriber(open, node, bare)? else {
        return Ok(false);
    };
    let first = first_position(open, node)?;
    let (last_position, entries) = totals(open, node)?;
    open.execute(statements::DELETE_PUBLIC_SUBSCRIBER, (node.0, entry.position))?;
    ranks::PUBLIC.took(open, node.0, first, entry.position)?;
    open.execute(statements::UPSERT_PUBLIC_LIST, (node.0, last_position, entries - 1))?;
    Ok(true)
}

pub(super) fn subscriber(open: &mut Open<'_>, node: NodeKey, bare: &str) -> Result<Option<PublicEntry>> {
    open.optional(statements::SELECT_PUBLIC_SUBSCRIBER, (node.0, bare), rows::public_entry)
}

fn totals(open: &mut Open<'_>, node: NodeKey) -> Result<(i64, i64)> {
    Ok(open.optional(statements::SELECT_PUBLIC_LIST, [node.0], rows::two_numbers)?.unwrap_or_default())
}

fn first_position(open: &mut Open<'_>, node: NodeKey) -> Result<i64> {
    let first = open.optional(SUBSCRIBERS.forwards, (node.0, 0, 1, 0), rows::number)?;
    Ok(first.unwrap_or_default())
}

/// Part of the subscribers of a node.
pub(super) fn subscribers(
    open: &mut Open<'_>,
    node: NodeKey,
    place: Place<i64>,
    limit: u64,
) -> Result<Page<PublicEntry>> {
    let (_, count) = totals(open, node)?;
    let (after, skip) = match place {
        Place::Index(index) if sql_limit(index) >= count => return Ok(nothing(count)),
        Place::Index(index) => {
            let first = first_position(open, node)?;
            let (from, skip) = ranks::PUBLIC.at(open, node.0, first, sql_limit(index))?;
            (from - 1, skip)
        }
        Place::After(position) => (position, 0),
        Place::First | Place::Last | Place::Before(_) => (0, 0),
    };
    let rows = SUBSCRIBERS.rows(open, node.0, place, (after, skip), limit)?;
    let index = match (rows.first(), place) {
        (Some(entry), Place::After(_) | Place::Before(_)) => {
            let first = first_position(open, node)?;
            ranks::PUBLIC.before(open, node.0, first, entry.position)?
        }
        _ => simple_index(&rows, place, count),
    };
    Ok(Page { rows, count: count as u64, index: index as u64 })
}

/// Part of the subscriptions of an account: no more than it may have, so they are counted.
pub(super) fn subscriptions(
    open: &mut Open<'_>,
    account: &str,
    place: Place<i64>,
    limit: u64,
) -> Result<Page<PublicEntry>> {
    let count = open.one(statements::COUNT_PUBLIC_SUBSCRIPTIONS, [account], rows::number)?;
    let start = match place {
        Place::Index(index) if sql_limit(index) >= count => return Ok(nothing(count)),
        Place::Index(index) => (0, sql_limit(index)),
        Place::After(position) => (position, 0),
        Place::First | Place::Last | Place::Before(_) => (0, 0),
    };
    let rows = SUBSCRIPTIONS.rows(open, account, place, start, limit)?;
    let index = match (rows.first(), place) {
        (Some(entry), Place::After(_) | Place::Before(_)) => {
            let values = (account, entry.position);
            open.one(statements::COUNT_PUBLIC_SUBSCRIPTIONS_BEFORE, values, rows::number)?
        }
        _ => simple_index(&rows, place, count),
    };
    Ok(Page { rows, count: count as u64, index: index as u64 })
}

fn nothing(count: i64) -> Page<PublicEntry> {
    Page { rows: Vec::new(), count: count as u64, index: 0 }
}

fn simple_index(rows: &[PublicEntry], place: Place<i64>, count: i64) -> i64 {
    match place {
        _ if rows.is_empty() => 0,
        Place::Last => count - rows.len() as i64,
        Place::Index(index) => sql_limit(index),
        Place::First | Place::After(_) | Place::Before(_) => 0,
    }
}

impl List {
    /// The rows from after a position, but for some that are skipped; places that count from behind need neither.
    fn rows(
        &self,
        open: &mut Open<'_>,
        owner: impl ToSql,
        place: Place<i64>,
        (after, skip): (i64, i64),
        limit: u64,
    ) -> Result<Vec<PublicEntry>> {
        let limit = sql_limit(limit);
        let before = match place {
            Place::First | Place::After(_) | Place::Index(_) => {
                return open.all(self.forwards, (owner, after, limit, skip), rows::public_entry);
            }
            Place::Before(position) => position,
            Place::Last => i64::MAX,
        };
        let mut rows = open.all(self.backwards, (owner, before, limit), rows::public_entry)?;
        rows.reverse();
        Ok(rows)
    }
}

pub(super) fn capabilities(open: &mut Open<'_>, hash: &str) -> Result<Option<Vec<String>>> {
    match open.optional(statements::SELECT_CAPABILITY, [hash], rows::number)? {
        None => Ok(None),
        Some(key) => open.all(statements::SELECT_FEATURES, [key], rows::string).map(Some),
    }
}

pub(super) fn put_capabilities(
    open: &mut Open<'_>,
    hash: &str,
    features: &[String],
    learnt: Timestamp,
    keep: usize,
) -> Result<()> {
    open.execute(statements::DELETE_CAPABILITY, [hash])?;
    open.execute(statements::INSERT_CAPABILITY, (hash, learnt.micros()))?;
    let key = open.last_key();
    for (feature, position) in features.iter().zip(0i64..) {
        open.execute(statements::INSERT_FEATURE, (key, position, feature))?;
    }
    open.execute(statements::DELETE_OLD_CAPABILITIES, [sql_limit(keep)]).map(drop)
}
