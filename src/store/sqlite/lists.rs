//! Public lists (XEP-0465) and the features of capabilities.

use std::sync::Arc;

use super::ranks::{self, Ordered};
use super::transaction::{Open, sql_limit};
use super::{rows, statements};
use crate::error::Result;
use crate::pubsub::store::{NodeKey, Page, Place, PublicEntry};
use crate::time::Timestamp;

/// One kind of public list: how it is read, and how its members are counted.
struct List {
    forwards: &'static str,
    backwards: &'static str,
    ordered: Ordered,
}

/// Of a node.
const SUBSCRIBERS: List = List {
    forwards: statements::SELECT_PUBLIC_SUBSCRIBERS,
    backwards: statements::SELECT_PUBLIC_SUBSCRIBERS_BACKWARDS,
    ordered: ranks::PUBLIC,
};

/// Of an account.
const SUBSCRIPTIONS: List = List {
    forwards: statements::SELECT_PUBLIC_SUBSCRIPTIONS,
    backwards: statements::SELECT_PUBLIC_SUBSCRIPTIONS_BACKWARDS,
    ordered: ranks::ACCOUNT,
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
    let first = SUBSCRIBERS.first_position(open, node.0)?;
    let (last_position, entries) = totals(open, node)?;
    open.execute(statements::DELETE_PUBLIC_SUBSCRIBER, (node.0, entry.position))?;
    SUBSCRIBERS.ordered.took(open, node.0, first, entry.position)?;
    open.execute(statements::UPSERT_PUBLIC_LIST, (node.0, last_position, entries - 1))?;
    Ok(true)
}

pub(super) fn subscriber(open: &mut Open<'_>, node: NodeKey, bare: &str) -> Result<Option<PublicEntry>> {
    open.optional(statements::SELECT_PUBLIC_SUBSCRIBER, (node.0, bare), rows::public_entry)
}

fn totals(open: &mut Open<'_>, node: NodeKey) -> Result<(i64, i64)> {
    Ok(open.optional(statements::SELECT_PUBLIC_LIST, [node.0], rows::two_numbers)?.unwrap_or_default())
}

/// Part of the subscribers of a node.
pub(super) fn subscribers(
    open: &mut Open<'_>,
    node: NodeKey,
    place: Place<i64>,
    limit: u64,
) -> Result<Page<PublicEntry>> {
    let (_, count) = totals(open, node)?;
    SUBSCRIBERS.page(open, node.0, count, place, limit)
}

/// What is counted about the list of an account.
struct Totals {
    list: i64,
    last_position: i64,
    entries: i64,
}

fn account_totals(open: &mut Open<'_>, account: &str) -> Result<Option<Totals>> {
    open.optional(statements::SELECT_ACCOUNT_LIST, [account], |row| {
        Ok(Totals { list: row.get(0)?, last_position: row.get(1)?, entries: row.get(2)? })
    })
}

/// Adds a subscription to the list of an account; false if it was there.
pub(super) fn insert_subscription(
    open: &mut Open<'_>,
    account: &str,
    service: &str,
    node_name: &str,
    since: Timestamp,
) -> Result<bool> {
    if subscription(open, account, service, node_name)?.is_some() {
        return Ok(false);
    }
    let totals = match account_totals(open, account)? {
        Some(totals) => totals,
        None => {
            open.execute(statements::INSERT_ACCOUNT_LIST, [account])?;
            Totals { list: open.last_key(), last_position: 0, entries: 0 }
        }
    };
    let position = totals.last_position + 1;
    open.execute(statements::UPDATE_ACCOUNT_LIST, (totals.list, position, totals.entries + 1))?;
    let values = (totals.list, position, service, node_name, since.micros());
    open.execute(statements::INSERT_PUBLIC_SUBSCRIPTION, values)?;
    Ok(true)
}

/// Takes a subscription off; false if it was not there.
pub(super) fn delete_subscription(open: &mut Open<'_>, account: &str, service: &str, node_name: &str) -> Result<bool> {
    let Some(totals) = account_totals(open, account)? else { return Ok(false) };
    let Some(entry) = subscription(open, account, service, node_name)? else { return Ok(false) };
    let first = SUBSCRIPTIONS.first_position(open, totals.list)?;
    open.execute(statements::DELETE_PUBLIC_SUBSCRIPTION, (totals.list, entry.position))?;
    SUBSCRIPTIONS.ordered.took(open, totals.list, first, entry.position)?;
    open.execute(statements::UPDATE_ACCOUNT_LIST, (totals.list, totals.last_position, totals.entries - 1))?;
    Ok(true)
}

/// Ends the list of an account; how many subscriptions were on it.
pub(super) fn delete_subscriptions(open: &mut Open<'_>, account: &str) -> Result<i64> {
    let Some(totals) = account_totals(open, account)? else { return Ok(0) };
    open.execute(statements::DELETE_ACCOUNT_LIST, [totals.list])?;
    Ok(totals.entries)
}

pub(super) fn subscription(
    open: &mut Open<'_>,
    account: &str,
    service: &str,
    node_name: &str,
) -> Result<Option<PublicEntry>> {
    let Some(totals) = account_totals(open, account)? else { return Ok(None) };
    let values = (totals.list, service, node_name);
    open.optional(statements::SELECT_PUBLIC_SUBSCRIPTION, values, rows::public_entry)
}

/// Part of the subscriptions of an account.
pub(super) fn subscriptions(
    open: &mut Open<'_>,
    account: &str,
    place: Place<i64>,
    limit: u64,
) -> Result<Page<PublicEntry>> {
    match account_totals(open, account)? {
        Some(totals) => SUBSCRIPTIONS.page(open, totals.list, totals.entries, place, limit),
        None => Ok(nothing(0)),
    }
}

pub(super) fn subscriptions_since(open: &mut Open<'_>, account: &str, time: Timestamp) -> Result<Option<i64>> {
    let Some(totals) = account_totals(open, account)? else { return Ok(None) };
    open.optional(statements::SELECT_PUBLIC_SUBSCRIPTIONS_SINCE, (totals.list, time.micros()), rows::number)
}

pub(super) fn accounts_listing(open: &mut Open<'_>, service: &str, node_name: &str) -> Result<Vec<Arc<str>>> {
    open.all(statements::SELECT_ACCOUNTS_LISTING, (service, node_name), rows::text)
}

fn nothing(count: i64) -> Page<PublicEntry> {
    Page { rows: Vec::new(), count: count as u64, index: 0 }
}

impl List {
    /// Part of the list that belongs to `owner` and has so many members.
    fn page(
        &self,
        open: &mut Open<'_>,
        owner: i64,
        count: i64,
        place: Place<i64>,
        limit: u64,
    ) -> Result<Page<PublicEntry>> {
        let start = match place {
            Place::Index(index) if sql_limit(index) >= count => return Ok(nothing(count)),
            Place::Index(index) => {
                let first = self.first_position(open, owner)?;
                let (from, skip) = self.ordered.at(open, owner, first, sql_limit(index))?;
                (from - 1, skip)
            }
            Place::After(position) => (position, 0),
            Place::First | Place::Last | Place::Before(_) => (0, 0),
        };
        let rows = self.rows(open, owner, place, start, limit)?;
        let index = match (rows.first(), place) {
            (None, _) | (Some(_), Place::First) => 0,
            (Some(_), Place::Last) => count - rows.len() as i64,
            (Some(_), Place::Index(index)) => sql_limit(index),
            (Some(entry), Place::After(_) | Place::Before(_)) => {
                let first = self.first_position(open, owner)?;
                self.ordered.before(open, owner, first, entry.position)?
            }
        };
        Ok(Page { rows, count: count as u64, index: index as u64 })
    }

    fn first_position(&self, open: &mut Open<'_>, owner: i64) -> Result<i64> {
        let first = open.optional(self.forwards, (owner, 0, 1, 0), rows::number)?;
        Ok(first.unwrap_or_default())
    }

    /// The rows from after a position, but for some that are skipped; places that count from behind need neither.
    fn rows(
        &self,
        open: &mut Open<'_>,
        owner: i64,
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
