//! Events kept for accounts (extension to XEP-0376).

use super::Open;
use crate::pubsub::store::{JournalEntry, JournalFilter, JournalLimits, NewJournalEntry};
use crate::time::Timestamp;

#[derive(Debug, Clone)]
pub(super) struct Kept {
    entry: JournalEntry,
    pub(super) expire_at: Timestamp,
}

impl Open<'_> {
    pub(super) fn insert_into_journal(&mut self, account: &str, new: &NewJournalEntry<'_>, limits: JournalLimits) {
        let key = self.next_key();
        let entry = JournalEntry {
            key,
            service: new.service.into(),
            node_name: new.node_name.into(),
            arrived: new.arrived,
            seen: new.seen,
            content: new.content.into(),
        };
        self.tables().journal.put((account.into(), key), Kept { entry, expire_at: new.expire_at });
        let of_account = self.tables().journal.iter().filter(|((owner, _), _)| **owner == *account);
        let sizes: Vec<_> = of_account.map(|(key, kept)| (key.clone(), kept.entry.content.len())).collect();
        let (mut entries, mut bytes) = (sizes.len(), sizes.iter().map(|(_, size)| size).sum::<usize>());
        for (key, size) in sizes {
            if entries <= limits.entries && bytes <= limits.bytes {
                break;
            }
            self.tables().journal.take(&key);
            (entries, bytes) = (entries - 1, bytes - size);
        }
    }

    pub(super) fn last_in_journal(&mut self, account: &str, service: &str, node_name: &str) -> Option<JournalEntry> {
        let of_account = self.tables().journal.iter().filter(|((owner, _), _)| **owner == *account);
        let mut of_node = of_account
            .map(|(_, kept)| &kept.entry)
            .filter(|entry| *entry.service == *service && entry.node_name.as_str() == node_name);
        of_node.next_back().cloned()
    }

    pub(super) fn see_in_journal(&mut self, entry: i64) {
        let found = self.tables().journal.iter().find(|((_, key), _)| *key == entry);
        if let Some((key, mut kept)) = found.map(|(key, kept)| (key.clone(), kept.clone())) {
            kept.entry.seen = true;
            self.tables().journal.put(key, kept);
        }
    }

    /// What the filter lets through, with its cursor.
    pub(super) fn journal_part(&mut self, account: &str, filter: &JournalFilter<'_>) -> Vec<(i64, JournalEntry)> {
        let wanted = |kept: &Kept| {
            let entry = &kept.entry;
            filter.service.is_none_or(|service| *entry.service == *service)
                && filter.node_name.is_none_or(|node| entry.node_name.as_str() == node)
                && (filter.start..=filter.end).contains(&entry.arrived)
                && kept.expire_at > filter.now
        };
        let of_account = self.tables().journal.iter().filter(|((owner, _), kept)| **owner == *account && wanted(kept));
        of_account.map(|((_, key), kept)| (*key, kept.entry.clone())).collect()
    }

    pub(super) fn expire_journal(&mut self, now: Timestamp, limit: usize) {
        let expired = self.tables().journal.iter().filter(|(_, kept)| kept.expire_at <= now);
        let mut keys: Vec<_> = expired.map(|(key, kept)| (kept.expire_at, key.1, key.clone())).collect();
        keys.sort();
        for (_, _, key) in keys.into_iter().take(limit) {
            self.tables().journal.take(&key);
        }
    }
}
