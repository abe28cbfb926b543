//! Public lists (XEP-0465) and the features of capabilities.

use rusqlite::ToSql;

use super::transaction::{Open, sql_limit};
use super::{rows, statements};
use crate::error::Result;
use crate::pubsub::store::{Page, Place, PublicEntry};
use crate::time::Timestamp;

/// The statements of one kind of public list.
pub(super) struct List {
    count: &'static str,
    count_before: &'static str,
    forwards: &'static str,
    backwards: &'static str,
}

/// The subscribers of a node.
pub(super) const SUBSCRIBERS: List = List {
    count: statements::COUNT_PUBLIC_SUBSCRIBERS,
    count_before: statements::COUNT_PUBLIC_SUBSCRIBERS_BEFORE,
    forwards: statements::SELECT_PUBLIC_SUBSCRIBERS,
    backwards: statements::SELECT_PUBLIC_SUBSCRIBERS_BACKWARDS,
};

/// The subscriptions of an account.
pub(super) const SUBSCRIPTIONS: List = List {
    count: statements::COUNT_PUBLIC_SUBSCRIPTIONS,
    count_before: statements::COUNT_PUBLIC_SUBSCRIPTIONS_BEFORE,
    forwards: statements::SELECT_PUBLIC_SUBSCRIPTIONS,
    backwards: statements::SELECT_PUBLIC_SUBSCRIPTIONS_BACKWARDS,
};

pub(super) fn page(
    open: &mut Open<'_>,
    list: &List,
    owner: impl ToSql + Copy,
    place: Place<i64>,
    limit: u64,
) -> Result<Page<PublicEntry>> {
    let count = open.one(list.count, [owner], rows::number)?;
    let limit = sql_limit(limit);
    let (after, offset) = match place {
        Place::After(position) => (position, 0),
        Place::Index(index) => (0, sql_limit(index)),
        _ => (0, 0),
    };
    let rows = match place {
        Place::Last | Place::Before(_) => {
            let before = if let Place::Before(position) = place { position } else { i64::MAX };
            let mut rows = open.all(list.backwards, (owner, before, limit), rows::public_entry)?;
            rows.reverse();
            rows
        }
        Place::First | Place::After(_) | Place::Index(_) => {
            open.all(list.forwards, (owner, after, limit, offset), rows::public_entry)?
        }
    };
    let index = match (rows.first(), place) {
        (None, _) | (_, Place::First) => 0,
        (_, Place::Last) => count - rows.len() as i64,
        (_, Place::Index(_)) => offset,
        (Some(entry), _) => open.one(list.count_before, (owner, entry.position), rows::number)?,
    };
    Ok(Page { rows, count: count as u64, index: index as u64 })
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
