//! Tables in memory, with which one can go back to what they were.

use std::collections::BTreeMap;
use std::ops::Deref;

/// A table that can go back.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    /// What the changes since the transaction began have replaced.
    undo: Vec<(K, Option<V>)>,
    /// Lengths of `undo` to return to.
    marks: Vec<usize>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), undo: Vec::new(), marks: Vec::new() }
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

    pub(super) fn mark(&mut self) {
        self.marks.push(self.undo.len());
    }

    pub(super) fn release(&mut self) {
        self.marks.pop();
    }

    pub(super) fn rollback(&mut self) {
        let length = self.marks.pop().unwrap_or(0);
        self.go_back(length);
    }

    fn go_back(&mut self, length: usize) {
        for (key, old) in self.undo.drain(length..).rev() {
            match old {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }

    pub(super) fn end(&mut self, keep: bool) {
        if !keep {
            self.go_back(0);
        }
        self.undo.clear();
        self.marks.clear();
    }
}

macro_rules! tables {
    ($($table:ident: $key:ty => $row:ty,)+) => {
        #[derive(Debug, Default)]
        struct Tables {
            $($table: $crate::store::memory::tables::Table<$key, $row>,)+
        }

        impl Tables {
            fn mark(&mut self) {
                $(self.$table.mark();)+
            }

            fn release(&mut self) {
                $(self.$table.release();)+
            }

            fn rollback(&mut self) {
                $(self.$table.rollback();)+
            }

            fn end(&mut self, keep: bool) {
                $(self.$table.end(keep);)+
            }
        }
    };
}
pub(super) use tables;
