//! Tables in memory, with which one can go back to what they were.

use std::collections::BTreeMap;
use std::ops::Deref;

/// A table that can go back.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    /// What the changes since the transaction began have replaced.
    undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), undo: Vec::new() }
    }
}

impl<K, V> Deref for Table<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn put(&mut self, key: K, row: V) -> Option<V> {
        let old = self.rows.insert(key.clone(), row);
        self.undo.push((key, old.clone()));
        old
    }

    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        let old = self.rows.remove(key)?;
        self.undo.push((key.clone(), Some(old.clone())));
        Some(old)
    }

    pub(super) fn take_if(&mut self, mut gone: impl FnMut(&K, &V) -> bool) -> Vec<V> {
        let keys: Vec<K> = self.rows.iter().filter(|(key, row)| gone(key, row)).map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| self.take(key)).collect()
    }

    pub(super) fn end(&mut self, keep: bool) {
        if !keep {
            for (key, old) in self.undo.drain(..).rev() {
                match old {
                    Some(row) => self.rows.insert(key, row),
                    None => self.rows.remove(&key),
                };
            }
        }
        self.undo.clear();
    }
}

macro_rules! tables {
    ($($table:ident: $key:ty => $row:ty,)+) => {
        #[derive(Debug, Default)]
        struct Tables {
            $($table: $crate::store::memory::tables::Table<$key, $row>,)+
        }

        impl Tables {
            fn end(&mut self, keep: bool) {
                $(self.$table.end(keep);)+
            }
        }
    };
}
pub(super) use tables;
