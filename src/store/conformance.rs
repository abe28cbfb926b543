//! What every store has to do: each part is run against each store.

mod items;
mod journal;
mod lists;
mod nodes;
mod subscriptions;
mod transactions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::memory::Memory;
use super::sqlite::{Options, Sqlite};
use crate::error::Result;
use crate::pubsub::store::{NodeKey, Store, Transaction};
use crate::pubsub::{Item, Node, NodeConfig};
use crate::time::Timestamp;

macro_rules! suite {
    ($($part:ident { $($test:ident,)+ })+) => {
        mod memory {
            $($(
                #[test]
                fn $test() {
                    super::$part::$test(&mut super::Memory::new());
                }
            )+)+
        }

        mod sqlite {
            $($(
                #[test]
                #[cfg_attr(miri, ignore = "SQLite is foreign code")]
                fn $test() {
                    let folder = super::Folder::new();
                    let store = super::Sqlite::open(&folder.database(), &super::Options::default());
                    super::$part::$test(&mut store.expect("a new database"));
                }
            )+)+
        }
    };
}

suite! {
    transactions {
        what_is_not_committed_is_gone,
        a_refused_row_leaves_the_transaction_usable,
    }
    nodes {
        services,
        a_service_goes_with_all_it_has,
        options_come_back_as_they_were,
        nodes_are_found,
        nodes_in_the_order_of_their_names,
        a_node_goes_with_all_it_has,
        keys_are_not_used_again,
        counters_and_sweeping,
        redirects,
        affiliations,
        what_is_not_there_cannot_be_changed,
    }
    items {
        items_are_found,
        items_are_unique,
        the_newest_item,
        the_oldest_go_first,
        expired_items,
        items_of_a_publisher,
        nodes_do_not_touch_each_other,
        every_page_of_every_shape,
        pages_beyond_the_ends,
        pages_after_a_wrong_time,
        pages_of_many_items,
        many_changes_in_one_transaction,
    }
    subscriptions {
        subscribers,
        options_of_a_subscription,
        names_in_a_room,
        several_of_one_jid,
        subscribers_page_by_page,
        pending,
        all_of_a_jid,
        subscriptions_are_counted,
        leases,
        bound_to_presence,
        subscription_keys_are_not_used_again,
    }
    journal {
        journals_hold_what_came,
        journals_in_pages,
        journals_are_bounded,
        journals_expire,
    }
    lists {
        public_subscribers,
        public_subscriptions,
        pages_of_public_lists,
        pages_of_long_public_lists,
        pam_entries,
        services_of_lists,
        auto_subscriptions,
        intents,
        an_account_goes,
        capabilities,
        the_oldest_capabilities_are_forgotten,
        values,
    }
}

/// A folder of its own, removed in the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pam_pps-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn database(&self) -> PathBuf {
        self.0.join("pam_pps.sqlite")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) const SERVICE: &str = "juliet@capulet.example";

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(seconds)
}

/// Runs one transaction that is meant to succeed.
pub(super) fn commit<T>(store: &mut dyn Store, work: impl FnOnce(&mut dyn Transaction) -> Result<T>) -> T {
    let mut transaction = store.begin().expect("begin");
    let result = work(&mut *transaction).expect("the work of the transaction");
    transaction.commit().expect("commit");
    result
}

/// Makes a node, and its service if there is none.
pub(super) fn make_node(transaction: &mut dyn Transaction, service: &str, name: &str) -> Result<Node> {
    let service = match transaction.service(service)? {
        Some(service) => service,
        None => transaction.insert_service(service)?,
    };
    transaction.insert_node(service.key, name, SERVICE, at(1), &Arc::new(NodeConfig::account()))
}

pub(super) fn new_node(store: &mut dyn Store, name: &str) -> NodeKey {
    commit(store, |transaction| make_node(transaction, SERVICE, name)).key
}

/// Numbers that look random and are the same in every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % sides
    }
}

/// An item published `seq` seconds after the beginning of time.
pub(super) fn item(seq: i64, id: &str) -> Item {
    Item {
        seq,
        id: id.into(),
        publisher: "juliet@capulet.example/balcony".into(),
        published: at(seq),
        payload: format!("<x xmlns='urn:example'>ü{seq}</x>").into(),
    }
}
