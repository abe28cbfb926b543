//! Transactions.

use super::{SERVICE, commit, item, make_node, new_node};
use crate::error::ErrorKind;
use crate::pubsub::store::Store;

pub(super) fn what_is_not_committed_is_gone(store: &mut dyn Store) {
    commit(store, |t| t.set_value("a", "1"));
    {
        let mut t = store.begin().expect("begin");
        t.set_value("a", "2").expect("set");
        t.set_value("b", "2").expect("set");
        make_node(&mut *t, SERVICE, "blog").expect("node");
    }
    let mut t = store.begin().expect("begin");
    assert_eq!(t.value("a"), Ok(Some("1".into())));
    assert_eq!(t.value("b"), Ok(None));
    assert_eq!(t.service(SERVICE), Ok(None));
}

pub(super) fn a_refused_row_leaves_the_transaction_usable(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    commit(store, |t| {
        t.insert_item(node, &item(1, "1"))?;
        t.insert_item(node, &item(2, "2"))?;
        assert_eq!(t.insert_item(node, &item(3, "1")).map_err(|error| error.kind()), Err(ErrorKind::Store));
        t.insert_item(node, &item(4, "4"))
    });
    let mut t = store.begin().expect("begin");
    let found = ["1", "2", "4"].map(|id| t.item(node, id, None).expect("item").map(|item| item.seq));
    assert_eq!(found, [Some(1), Some(2), Some(4)]);
}
