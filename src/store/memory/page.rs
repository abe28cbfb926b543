//! Parts of ordered sets.

use crate::pubsub::store::{Page, Place};

/// Rows of an ordered set with their cursors, reduced to the part that is wanted.
pub(super) fn page<T>(mut all: Vec<(i64, T)>, place: Place<i64>, limit: u64) -> Page<T> {
    let count = all.len();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (from, to) = match place {
        Place::First => (0, limit.min(count)),
        Place::Last => (count.saturating_sub(limit), count),
        Place::After(cursor) => {
            let from = all.partition_point(|(at, _)| *at <= cursor);
            (from, from.saturating_add(limit).min(count))
        }
        Place::Before(cursor) => {
            let to = all.partition_point(|(at, _)| *at < cursor);
            (to.saturating_sub(limit), to)
        }
        Place::Index(index) => {
            let from = usize::try_from(index).unwrap_or(usize::MAX).min(count);
            (from, from.saturating_add(limit).min(count))
        }
    };
    let rows: Vec<T> = all.drain(from..to).map(|(_, row)| row).collect();
    let index = if rows.is_empty() { 0 } else { from as u64 };
    Page { rows, count: count as u64, index }
}
