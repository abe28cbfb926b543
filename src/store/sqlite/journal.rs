//! Events kept for accounts (extension to XEP-0376).

use rusqlite::Row;

use super::transaction::{Open, sql_limit};
use super::{rows, statements};
use crate::error::Result;
use crate::pubsub::store::{JournalEntry, JournalFilter, JournalLimits, NewJournalEntry, Page, Place};
use crate::time::Timestamp;

/// Entries removed at a time.
const CHUNK: usize = 100;

/// An entry that is to go: its key, the account, the bytes of its content.
fn victim(row: &Row<'_>) -> rusqlite::Result<(i64, String, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn totals(row: &Row<'_>) -> rusqlite::Result<(i64, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

pub(super) fn insert(
    open: &mut Open<'_>,
    account: &str,
    new: &NewJournalEntry<'_>,
    limits: JournalLimits,
) -> Result<()> {
    let bytes = sql_limit(new.content.len());
    let (arrived, expire_at) = (new.arrived.micros(), new.expire_at.micros());
    let values = (account, new.service, new.node_name, arrived, expire_at, new.seen, new.content);
    open.execute(statements::INSERT_JOURNAL, values)?;
    open.execute(statements::ADD_JOURNAL_TOTALS, (account, 1, bytes))?;
    loop {
        let found = open.optional(statements::SELECT_JOURNAL_TOTALS, [account], totals)?;
        let (mut entries, mut bytes) = found.unwrap_or_default();
        let exceeds = |entries, bytes| entries > sql_limit(limits.entries) || bytes > sql_limit(limits.bytes);
        if !exceeds(entries, bytes) {
            return Ok(());
        }
        let mut victims = open.all(statements::SELECT_OLDEST_JOURNAL, (account, sql_limit(CHUNK)), victim)?;
        let mut gone = 0;
        for (_, _, size) in &victims {
            if !exceeds(entries, bytes) {
                break;
            }
            (entries, bytes, gone) = (entries - 1, bytes - size, gone + 1);
        }
        victims.truncate(gone);
        if victims.is_empty() {
            return Ok(());
        }
        remove(open, &victims)?;
    }
}

fn remove(open: &mut Open<'_>, victims: &[(i64, String, i64)]) -> Result<()> {
    for (entry, account, bytes) in victims {
        open.execute(statements::DELETE_JOURNAL_ENTRY, [entry])?;
        open.execute(statements::ADD_JOURNAL_TOTALS, (account, -1, -bytes))?;
    }
    Ok(())
}

pub(super) fn delete_expired(open: &mut Open<'_>, now: Timestamp, limit: usize) -> Result<()> {
    let victims = open.all(statements::SELECT_EXPIRED_JOURNAL, (now.micros(), sql_limit(limit)), victim)?;
    remove(open, &victims)
}

pub(super) fn delete_account(open: &mut Open<'_>, account: &str) -> Result<()> {
    open.execute(statements::DELETE_JOURNAL, [account])?;
    open.execute(statements::DELETE_JOURNAL_TOTALS, [account]).map(drop)
}

pub(super) fn last(open: &mut Open<'_>, account: &str, service: &str, node_name: &str) -> Result<Option<JournalEntry>> {
    open.optional(statements::SELECT_LAST_JOURNAL, (account, service, node_name), rows::journal_entry)
}

pub(super) fn page(
    open: &mut Open<'_>,
    account: &str,
    filter: &JournalFilter<'_>,
    place: Place<i64>,
    limit: u64,
) -> Result<Page<JournalEntry>> {
    let (start, end) = (filter.start.micros(), filter.end.micros());
    let common = (account, filter.service, filter.node_name, start, end, filter.now.micros());
    let (account, service, node_name, start, end, now) = common;
    let count = open.one(statements::COUNT_JOURNAL, common, rows::number)?;
    let limit = sql_limit(limit);
    let (after, offset) = match place {
        Place::After(entry) => (entry, 0),
        Place::Index(index) => (0, sql_limit(index)),
        _ => (0, 0),
    };
    let rows = match place {
        Place::Last | Place::Before(_) => {
            let before = if let Place::Before(entry) = place { entry } else { i64::MAX };
            let values = (account, service, node_name, start, end, now, before, limit);
            let mut rows = open.all(statements::SELECT_JOURNAL_BACKWARDS, values, rows::journal_entry)?;
            rows.reverse();
            rows
        }
        Place::First | Place::After(_) | Place::Index(_) => {
            let values = (account, service, node_name, start, end, now, after, limit, offset);
            open.all(statements::SELECT_JOURNAL, values, rows::journal_entry)?
        }
    };
    let index = match (rows.first(), place) {
        (None, _) | (_, Place::First) => 0,
        (_, Place::Last) => count - sql_limit(rows.len()),
        (_, Place::Index(_)) => offset,
        (Some(first), _) => {
            let values = (account, service, node_name, start, end, now, first.key);
            open.one(statements::COUNT_JOURNAL_BEFORE, values, rows::number)?
        }
    };
    Ok(Page { rows, count: count as u64, index: index as u64 })
}
