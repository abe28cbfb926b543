//! Transactions and savepoints.

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
        t.savepoint().expect("savepoint");
        t.set_value("c", "3").expect("set");
    }
    let mut t = store.begin().expect("begin");
    assert_eq!(t.value("a"), Ok(Some("1".into())));
    assert_eq!(t.value("b"), Ok(None));
    assert_eq!(t.value("c"), Ok(None));
    assert_eq!(t.service(SERVICE), Ok(None));
}

pub(super) fn savepoints_nest(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    commit(store, |t| {
        t.insert_item(node, &item(1, "1"))?;
        t.savepoint()?;
        t.insert_item(node, &item(2, "2"))?;
        t.savepoint()?;
        t.insert_item(node, &item(3, "3"))?;
        t.delete_item(node, "1")?;
        t.rollback()?;
        assert!(t.item(node, "1", None)?.is_some());
        assert!(t.item(node, "3", None)?.is_none());
        t.savepoint()?;
        t.insert_item(node, &item(4, "4"))?;
        t.release()?;
        t.rollback()?;
        assert!(t.item(node, "2", None)?.is_none());
        assert!(t.item(node, "4", None)?.is_none());
        t.savepoint()?;
        t.insert_item(node, &item(5, "5"))?;
        t.release()
    });
    let mut t = store.begin().expect("begin");
    let found = ["1", "2", "3", "4", "5"].map(|id| t.item(node, id, None).expect("item").is_some());
    assert_eq!(found, [true, false, false, false, true]);
}

pub(super) fn savepoints_that_do_not_exist(store: &mut dyn Store) {
    commit(store, |t| {
        t.set_value("a", "1")?;
        assert_eq!(t.rollback().map_err(|error| error.kind()), Err(ErrorKind::Store));
        t.savepoint()?;
        t.release()?;
        assert_eq!(t.release().map_err(|error| error.kind()), Err(ErrorKind::Store));
        assert_eq!(t.rollback().map_err(|error| error.kind()), Err(ErrorKind::Store));
        Ok(())
    });
    assert_eq!(commit(store, |t| t.value("a")), Some("1".into()));
}

pub(super) fn a_refused_row_leaves_the_transaction_usable(store: &mut dyn Store) {
    let node = new_node(store, "blog");
    commit(store, |t| {
        t.insert_item(node, &item(1, "1"))?;
        t.savepoint()?;
        t.insert_item(node, &item(2, "2"))?;
        assert_eq!(t.insert_item(node, &item(3, "1")).map_err(|error| error.kind()), Err(ErrorKind::Store));
        t.rollback()?;
        t.insert_item(node, &item(4, "4"))
    });
    let mut t = store.begin().expect("begin");
    let found = ["1", "2", "4"].map(|id| t.item(node, id, None).expect("item").map(|item| item.seq));
    assert_eq!(found, [Some(1), None, Some(4)]);
}
