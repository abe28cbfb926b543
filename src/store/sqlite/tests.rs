//! What is particular to SQLite: plans, migrations, failures of the disk, sudden deaths.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, StatementStatus};

use super::{Durability, MIGRATIONS, Options, Sqlite, apply, migrate, statements};
use crate::error::{Error, ErrorKind, Result};
use crate::jid::Jid;
use crate::pubsub::store::{
    Maintenance, NewSubscription, NodeKey, Place, ServiceKey, Store, SubscriptionKey, Transaction,
};
use crate::pubsub::{Counters, Item, SubId, SubscriptionOptions, SubscriptionState};
use crate::store::conformance::{Folder, SERVICE, at, commit, item, make_node, new_node};

fn options() -> Options {
    Options { busy_timeout: Duration::ZERO, ..Options::default() }
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, &options()).expect("the database opens")
}

fn refusal(path: &Path) -> String {
    let error = Sqlite::open(path, &options()).err().expect("the database is refused");
    assert_eq!(error.kind(), ErrorKind::Store);
    let text = error.to_string();
    assert!(text.starts_with(&path.display().to_string()), "{text}");
    text
}

fn store_error<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error: Error = result.expect_err("this fails");
    assert_eq!(error.kind(), ErrorKind::Store);
    error.to_string()
}

fn check(store: &Sqlite) {
    let text = |sql: &str| store.connection.query_row(sql, (), |row| row.get::<_, String>(0));
    assert_eq!(text("PRAGMA integrity_check"), Ok("ok".into()));
    let orphans = store.connection.prepare("PRAGMA foreign_key_check").and_then(|mut check| check.exists(()));
    assert_eq!(orphans, Ok(false));
}

// ---- plans ----

/// Whole indexes in their order: stopped by a limit after the first, or all that is to be forgotten.
const ORDERED_WALKS: &[&str] = &["SELECT_NEXT_SWEEP", "SELECT_NEXT_LEASE_END", "DELETE_OLD_CAPABILITIES"];

/// Lists of what one JID or one service has, and items that a clock turned back has put out of order.
const SORTED: &[&str] = &[
    "SELECT_AFFILIATIONS_OF",
    "SELECT_NODES_WITH_PENDING",
    "SELECT_SUBSCRIPTIONS_OF",
    "SELECT_SUBSCRIPTIONS_OF_AT",
    "SELECT_UNTIMELY_VICTIMS",
];

fn plan(store: &Sqlite, sql: &str) -> Vec<String> {
    // The only text that is put together: for the test's own eyes.
    let mut explain = store.connection.prepare(&["EXPLAIN QUERY PLAN ", sql].concat()).expect(sql);
    let count = explain.parameter_count();
    for parameter in 1..=count {
        explain.raw_bind_parameter(parameter, 1).expect("bind");
    }
    let mut rows = explain.raw_query();
    let mut details = Vec::new();
    while let Some(row) = rows.next().expect("plan") {
        details.push(row.get::<_, String>("detail").expect("detail"));
    }
    details
}

#[test]
fn every_statement_has_its_index() {
    let folder = Folder::new();
    let store = open(&folder.database());
    for (name, sql) in statements::ALL {
        for step in plan(&store, sql) {
            let walk = step.starts_with("SCAN") && step != "SCAN CONSTANT ROW";
            assert!(!walk || step.contains(" USING ") && ORDERED_WALKS.contains(name), "{name}: {step}");
            assert!(!step.contains("AUTOMATIC"), "{name}: {step}");
            assert!(!step.contains("TEMP B-TREE") || SORTED.contains(name), "{name}: {step}");
        }
    }
    let names: BTreeSet<&str> = statements::ALL.iter().map(|(name, _)| *name).collect();
    assert!(ORDERED_WALKS.iter().chain(SORTED).all(|name| names.contains(name)), "a statement has a new name");
}

/// What a cascade or a check of a foreign key looks for is not in any plan.
#[test]
fn every_foreign_key_has_its_index() {
    let folder = Folder::new();
    let store = open(&folder.database());
    let sql = "SELECT t.name, f.\"from\", EXISTS (SELECT 1 FROM pragma_index_list(t.name) AS l, pragma_index_info(l.name) AS i \
               WHERE i.seqno = 0 AND i.name = f.\"from\" AND l.partial = 0), \
               EXISTS (SELECT 1 FROM pragma_table_info(t.name) AS c WHERE c.name = f.\"from\" AND c.pk = 1) \
               FROM sqlite_schema AS t, pragma_foreign_key_list(t.name) AS f WHERE t.type = 'table'";
    let mut keys = store.connection.prepare(sql).expect("keys");
    let found: Vec<(String, String, bool, bool)> = keys
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .and_then(|rows| rows.collect())
        .expect("keys");
    assert!(found.len() >= 8, "{found:?}");
    for (table, column, indexed, primary) in found {
        assert!(indexed || primary, "{table}.{column}");
    }
}

#[test]
fn every_table_is_strict_and_says_what_it_is_for() {
    let folder = Folder::new();
    let store = open(&folder.database());
    let sql = "SELECT l.name, l.strict, s.sql FROM pragma_table_list AS l JOIN sqlite_schema AS s USING (name) \
               WHERE l.name NOT LIKE 'sqlite_%'";
    let mut tables = store.connection.prepare(sql).expect("tables");
    let found: Vec<(String, bool, String)> = tables
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(|rows| rows.collect())
        .expect("tables");
    assert!(found.len() >= 15);
    for (name, strict, sql) in found {
        assert!(strict && sql.contains("-- "), "{name}");
    }
}

/// Steps of SQLite's machine since the last call: the work that was done, whatever the time it took.
fn steps(store: &Sqlite) -> i64 {
    let taken = statements::ALL.iter().map(|(_, sql)| {
        let statement = store.connection.prepare_cached(sql).expect(sql);
        i64::from(statement.reset_status(StatementStatus::VmStep))
    });
    taken.sum()
}

/// Removed items leave gaps; what is counted about them stands for the counting of all items.
#[test]
fn gaps_cost_little() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    let size = 20_000;
    let node = new_node(&mut store, "blog");
    let gaps = [2, 700, 701, 9_000, 19_999];
    commit(&mut store, |t| {
        (1..=size).try_for_each(|seq| t.insert_item(node, &item(seq, &seq.to_string())))?;
        (1..=size).try_for_each(|seq| t.insert_public_subscriber(node, &seq.to_string(), at(seq)).map(drop))?;
        for gap in gaps {
            t.delete_item(node, &gap.to_string())?;
            t.delete_public_subscriber(node, &gap.to_string())?;
        }
        Ok(())
    });
    let counters = Counters { next_seq: size + 1, items: size - gaps.len() as i64, ..Counters::default() };
    for place in [Place::First, Place::Last, Place::After(12_345), Place::Before(12_345), Place::Index(12_345)] {
        steps(&store);
        let items = commit(&mut store, |t| t.items(node, &counters, None, place, 10));
        let work = steps(&store);
        assert!(work < 10_000, "{place:?}: {work}");
        let listed = commit(&mut store, |t| t.public_subscribers(node, place, 10));
        let work = steps(&store);
        assert!(work < 10_000, "{place:?}: {work}");
        assert_eq!((items.index, items.count), (listed.index, listed.count));
        let numbers: Vec<i64> = (1..=size).filter(|seq| !gaps.contains(seq)).collect();
        let from = usize::try_from(items.index).expect("index");
        assert_eq!(items.rows.iter().map(|item| item.seq).collect::<Vec<_>>(), numbers[from..from + 10]);
        assert_eq!(
            listed.rows.iter().map(|entry| entry.since.micros() / 1_000_000).collect::<Vec<_>>(),
            numbers[from..from + 10]
        );
    }
}

fn subscribe(t: &mut dyn Transaction, node: NodeKey, jid: &str, number: i64) -> Result<SubscriptionKey> {
    t.insert_subscription(&NewSubscription {
        node,
        jid: &Jid::parse(jid).expect("a JID"),
        subid: &SubId::from(number.to_string().as_str()),
        state: SubscriptionState::Subscribed,
        wants_public: false,
        options: &SubscriptionOptions::default(),
        created: at(number),
    })
}

#[test]
fn the_work_does_not_grow_with_the_data() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    let mut costs = Vec::new();
    for size in [100, 10_000] {
        let node = new_node(&mut store, &size.to_string());
        commit(&mut store, |t| (1..=size).try_for_each(|seq| t.insert_item(node, &item(seq, &seq.to_string()))));
        let counters = Counters { next_seq: size + 1, items: size, ..Counters::default() };
        steps(&store);
        let mut cost = Vec::new();
        let mut measure = |work: &dyn Fn(&mut dyn Transaction) -> Result<()>| {
            commit(&mut store, work);
            cost.push(steps(&store));
        };
        measure(&|t| t.insert_item(node, &item(size + 1, "new")));
        measure(&|t| t.delete_oldest_items(node, 1, &mut Vec::new()).map(drop));
        measure(&|t| t.update_node_counters(node, &counters));
        measure(&|t| t.last_item(node, Some(at(0))).map(drop));
        measure(&|t| t.delete_item(node, "50").and_then(|_| t.insert_item(node, &item(size + 2, "50"))));
        measure(&|t| t.delete_expired_items(node, at(2), 100, &mut Vec::new()).map(drop));
        commit(&mut store, |t| t.delete_all_items(node));
        commit(&mut store, |t| (1..=size).try_for_each(|seq| t.insert_item(node, &item(seq, &seq.to_string()))));
        steps(&store);
        let mut measure = |place: Place<i64>| {
            let page = commit(&mut store, |t| t.items(node, &counters, Some(at(3)), place, 10));
            assert_eq!((page.rows.len(), page.count), (10, size as u64 - 3));
            cost.push(steps(&store));
        };
        measure(Place::First);
        measure(Place::Last);
        measure(Place::After(size / 2));
        measure(Place::Before(size / 2));
        measure(Place::Index(size as u64 / 2));
        let mut measure = |work: &dyn Fn(&mut dyn Transaction) -> Result<()>| {
            commit(&mut store, work);
            cost.push(steps(&store));
        };
        measure(&|t| t.service(SERVICE).map(drop));
        measure(&|t| t.node_by_key(node).map(drop));
        measure(&|t| t.nodes(ServiceKey(1), None, 1).map(drop));
        commit(&mut store, |t| {
            (1..=size).try_for_each(|seq| t.insert_public_subscriber(node, &seq.to_string(), at(seq)).map(drop))
        });
        steps(&store);
        let mut measure = |work: &dyn Fn(&mut dyn Transaction) -> Result<()>| {
            commit(&mut store, work);
            cost.push(steps(&store));
        };
        measure(&|t| t.public_subscribers(node, Place::First, 10).map(drop));
        measure(&|t| t.public_subscribers(node, Place::Last, 10).map(drop));
        measure(&|t| t.insert_public_subscriber(node, "new", at(1)).map(drop));
        measure(&|t| t.delete_public_subscriber(node, "50").map(drop));
        let account = size.to_string();
        commit(&mut store, |t| {
            let mut all = 1..=size;
            all.try_for_each(|n| t.insert_public_subscription(&account, SERVICE, &n.to_string(), at(n)).map(drop))
        });
        steps(&store);
        let mut measure = |work: &dyn Fn(&mut dyn Transaction) -> Result<()>| {
            commit(&mut store, work);
            cost.push(steps(&store));
        };
        measure(&|t| t.public_subscriptions(&account, Place::First, 10).map(drop));
        measure(&|t| t.public_subscriptions(&account, Place::Last, 10).map(drop));
        measure(&|t| t.insert_public_subscription(&account, SERVICE, "new", at(1)).map(drop));
        measure(&|t| t.delete_public_subscription(&account, SERVICE, "50").map(drop));
        commit(&mut store, |t| {
            (1..=size).try_for_each(|number| subscribe(t, node, "romeo@montague.example", number).map(drop))
        });
        steps(&store);
        let mut measure = |work: &dyn Fn(&mut dyn Transaction) -> Result<()>| {
            commit(&mut store, work);
            cost.push(steps(&store));
        };
        measure(&|t| subscribe(t, node, "romeo@montague.example", 0).and_then(|key| t.delete_subscription(key)));
        measure(&|t| t.count_subscriptions_of("romeo@montague.example", ServiceKey(1)).map(drop));
        costs.push(cost);
    }
    let planned_anew = statements::ALL
        .iter()
        .map(|(_, sql)| store.connection.prepare_cached(sql).expect(sql).get_status(StatementStatus::RePrepare));
    assert_eq!(planned_anew.sum::<i32>(), 0, "statements are planned once, whatever is bound to them");
    for (small, large) in costs[0].iter().zip(&costs[1]) {
        assert!(*small > 0 && large * 10 <= small * 13, "{costs:?}");
    }
}

// ---- the schema ----

fn schema(connection: &Connection) -> Vec<(String, String)> {
    let sql = "SELECT name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name";
    let mut objects = connection.prepare(sql).expect("schema");
    let rows = objects.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).and_then(|rows| rows.collect());
    rows.expect("schema")
}

#[test]
fn an_empty_database_equals_a_migrated_one() {
    let folder = Folder::new();
    let new = open(&folder.database());
    for known in 0..=MIGRATIONS.len() {
        let mut old = Connection::open_in_memory().expect("memory");
        migrate(&mut old, &MIGRATIONS[..known]).expect("an older version");
        migrate(&mut old, MIGRATIONS).expect("this version");
        assert_eq!(schema(&old), schema(&new.connection));
        let version: i64 = old.pragma_query_value(None, "user_version", |row| row.get(0)).expect("version");
        assert_eq!(version, MIGRATIONS.len() as i64);
    }
}

#[test]
fn a_migration_is_made_whole_or_not_at_all() {
    let folder = Folder::new();
    let path = folder.database();
    let mut store = open(&path);
    commit(&mut store, |t| t.set_value("a", "1"));
    let before = schema(&store.connection);
    let broken = "CREATE TABLE half (a INTEGER) STRICT; CREATE TABLE half (a INTEGER) STRICT;";
    assert!(apply(&mut store.connection, broken, 99).is_err());
    assert_eq!(schema(&store.connection), before);
    drop(store);
    let mut store = open(&path);
    assert_eq!(commit(&mut store, |t| t.value("a")), Some("1".into()));
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.database();
    drop(open(&path));
    let ours = MIGRATIONS.len() as i64;
    let version = |number: i64| {
        let other = Connection::open(&path).expect("file");
        other.pragma_update(None, "user_version", number).expect("version");
    };
    version(ours + 1);
    assert!(refusal(&path).contains("newer version"), "{}", refusal(&path));
    version(ours);
    drop(open(&path));

    let path = folder.path().join("prosody.sqlite");
    let other = Connection::open(&path).expect("file");
    other.execute_batch("CREATE TABLE prosody (host TEXT)").expect("table");
    assert!(refusal(&path).contains("another program"));
    assert_eq!(schema(&other).len(), 1);
    assert_eq!(other.pragma_query_value(None, "journal_mode", |row| row.get(0)), Ok("delete".to_owned()));

    let path = folder.path().join("prosody.cfg.lua");
    std::fs::write(&path, "VirtualHost \"capulet.example\"\n".repeat(100)).expect("file");
    assert!(refusal(&path).contains("not a database"));

    assert!(refusal(&folder.path().join("no/such/folder.sqlite")).contains("cannot be opened"));
}

#[test]
fn settings_are_what_they_say() {
    for (durability, synchronous) in [(Durability::Os, 1), (Durability::Disk, 2)] {
        let folder = Folder::new();
        let store = Sqlite::open(&folder.database(), &Options { durability, cache_bytes: 1 << 20, ..options() });
        let store = store.expect("the database opens");
        let pragma = |name: &str| store.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        assert_eq!(pragma("synchronous"), Ok(synchronous));
        assert_eq!(pragma("foreign_keys"), Ok(1));
        assert_eq!(pragma("cache_size"), Ok(-1024));
        let mode = store.connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        assert_eq!(mode, Ok("wal".into()));
    }
}

#[test]
fn statistics_name_what_they_count() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    new_node(&mut store, "blog");
    let figures = store.statistics().expect("statistics");
    let of = |wanted: &str| figures.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    for name in ["pages", "page_bytes", "wal_bytes", "cache_limit_bytes"] {
        assert!(of(name).is_some_and(|value| value > 0), "{name}: {figures:?}");
    }
    assert_eq!(of("free_pages"), Some(0));
    assert!(of("file_bytes").is_some());
}

#[test]
fn maintenance() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    let node = new_node(&mut store, "blog");
    assert_eq!(store.maintain(Maintenance::IntegrityCheck).expect("it looks"), ["ok"]);
    let pages = |store: &mut Sqlite| store.statistics().expect("statistics")[0];
    for seq in 1..500 {
        let mut transaction = store.begin().expect("begins");
        let payload = "x".repeat(1_000).into();
        transaction.insert_item(node, &Item { payload, ..item(seq, &format!("i{seq}")) }).expect("inserted");
        transaction.commit().expect("committed");
    }
    let full = pages(&mut store);
    let mut transaction = store.begin().expect("begins");
    transaction.delete_all_items(node).expect("deleted");
    transaction.commit().expect("committed");
    assert_eq!(store.maintain(Maintenance::Vacuum).expect("it tidies up"), ["ok"]);
    assert!(pages(&mut store).1 * 2 < full.1, "{full:?}, {:?}", pages(&mut store));
    assert_eq!(store.maintain(Maintenance::IntegrityCheck).expect("it looks"), ["ok"]);
    store.connection.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM nodes;").expect("damage");
    let found = store.maintain(Maintenance::IntegrityCheck).expect("it looks");
    assert!(found.iter().any(|line| line.contains("foreign key: counters")), "{found:?}");
}

// ---- failures ----

#[test]
fn one_engine_at_a_time() {
    let folder = Folder::new();
    let path = folder.database();
    let store = open(&path);
    assert!(refusal(&path).contains("in use by another engine"));
    #[cfg(unix)]
    {
        let link = folder.path().join("link.sqlite");
        std::os::unix::fs::symlink(&path, &link).expect("link");
        assert!(Sqlite::open(&link, &options()).is_err_and(|error| error.to_string().contains("in use")));
    }
    // An administrator may look at it all the same.
    let other = Connection::open(&path).expect("file");
    assert_eq!(other.query_row("SELECT count(*) FROM nodes", (), |row| row.get::<_, i64>(0)), Ok(0));
    drop(other);
    drop(store);
    drop(open(&path));
}

#[test]
fn a_locked_file() {
    let folder = Folder::new();
    let path = folder.database();
    let mut store = open(&path);
    let node = new_node(&mut store, "blog");
    let other = Connection::open(&path).expect("file");
    other.execute_batch("BEGIN IMMEDIATE").expect("lock");
    assert!(store_error(store.begin().map(drop)).contains("locked"));
    assert!(store.statistics().is_ok());
    other.execute_batch("ROLLBACK").expect("unlock");
    commit(&mut store, |t| t.insert_item(node, &item(1, "1")));
    // A reader with an old view hinders nobody.
    other.execute_batch("BEGIN; SELECT count(*) FROM items").expect("read");
    commit(&mut store, |t| t.insert_item(node, &item(2, "2")));
    check(&store);
}

fn limit_pages(store: &Sqlite, more: Option<i64>) {
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("pages");
    let limit = more.map_or(1 << 30, |more| pages + more);
    store.connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(())).expect("limit");
}

fn large(seq: i64) -> Item {
    Item { payload: "x".repeat(100_000).into(), ..item(seq, &seq.to_string()) }
}

#[test]
fn a_full_disk() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    let node = new_node(&mut store, "blog");
    commit(&mut store, |t| t.insert_item(node, &item(1, "1")));
    limit_pages(&store, Some(40));
    let mut t = store.begin().expect("begin");
    t.delete_item(node, "1").expect("delete");
    t.insert_item(node, &large(2)).expect("there is room for one");
    assert!(store_error(t.insert_item(node, &large(3))).contains("the disk is full"));
    // Whether SQLite has given up the whole transaction or not, nothing is half done.
    drop(t);
    limit_pages(&store, None);
    commit(&mut store, |t| {
        assert_eq!(t.last_item(node, None)?.map(|item| item.seq), Some(1));
        t.insert_item(node, &large(2))?;
        t.insert_item(node, &large(3))
    });
    commit(&mut store, |t| {
        assert_eq!(t.items(node, &Counters { items: 3, ..Counters::default() }, None, Place::First, 9)?.rows.len(), 3);
        t.delete_item(node, "2")?;
        t.delete_item(node, "3")
    });
    check(&store);
}

/// A full disk makes SQLite take the whole transaction back: what comes next must not be a transaction of its own.
#[test]
fn nothing_runs_after_the_transaction_is_lost() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    let node = new_node(&mut store, "blog");
    limit_pages(&store, Some(1));
    let mut t = store.begin().expect("begin");
    t.set_value("a", "1").expect("there is room");
    assert!(store_error(t.insert_item(node, &large(1))).contains("the disk is full"));
    assert!(store_error(t.set_value("b", "1")).contains("rolled back"));
    assert!(store_error(t.value("a")).contains("rolled back"));
    assert!(store_error(t.commit()).contains("rolled back"));
    limit_pages(&store, None);
    commit(&mut store, |t| {
        assert_eq!((t.value("a")?, t.value("b")?), (None, None));
        t.set_value("a", "2")
    });
    assert_eq!(commit(&mut store, |t| t.value("a")), Some("2".into()));
}

#[test]
fn errors_do_not_tell_what_is_stored() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    let node = new_node(&mut store, "secret-node");
    commit(&mut store, |t| {
        t.insert_item(node, &item(1, "secret-item"))?;
        let texts = [
            store_error(t.insert_item(node, &item(2, "secret-item"))),
            store_error(make_node(t, SERVICE, "secret-node")),
            store_error(t.insert_item(node, &item(1 << 32, "secret-item"))),
        ];
        for text in texts {
            assert!(!text.contains("secret") && !text.contains("juliet"), "{text}");
        }
        Ok(())
    });
}

#[test]
fn a_damaged_file() {
    let folder = Folder::new();
    let path = folder.database();
    let mut store = open(&path);
    let node = new_node(&mut store, "blog");
    commit(&mut store, |t| (1..3_000).try_for_each(|seq| t.insert_item(node, &item(seq, &seq.to_string()))));
    drop(store);
    // The schema is in front, the items are behind.
    let size = std::fs::metadata(&path).expect("file").len();
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("file");
    file.seek(SeekFrom::Start(size / 2)).expect("seek");
    file.write_all(&vec![0xa5; usize::try_from(size / 2).expect("size")]).expect("damage");
    drop(file);
    let mut store = open(&path);
    let mut t = store.begin().expect("begin");
    let counters = Counters { items: 2_999, ..Counters::default() };
    let text = store_error(t.items(node, &counters, None, Place::First, 5_000).map(drop));
    assert!(text.contains("damaged"), "{text}");
}

// ---- sudden deaths ----

#[test]
fn a_copy_of_a_running_store_has_what_was_committed() {
    let folder = Folder::new();
    let mut store = open(&folder.database());
    let node = new_node(&mut store, "blog");
    commit(&mut store, |t| t.insert_item(node, &item(1, "1")));
    let mut t = store.begin().expect("begin");
    t.insert_item(node, &item(2, "2")).expect("insert");
    let copy = folder.path().join("copy.sqlite");
    let with = |path: &Path, suffix: &str| -> PathBuf { format!("{}{suffix}", path.display()).into() };
    for suffix in ["", "-wal"] {
        std::fs::copy(with(&folder.database(), suffix), with(&copy, suffix)).expect("copy");
    }
    drop(t);
    let mut store = open(&copy);
    assert_eq!(commit(&mut store, |t| t.last_item(node, None)).map(|item| item.seq), Some(1));
    check(&store);
}

const VICTIM: &str = "PAM_PPS_TEST_DATABASE";

/// The process that the next test kills: publishes for ever, and says after each commit which item it was.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    let mut store = open(Path::new(&path));
    let node = new_node(&mut store, "blog");
    for seq in 1.. {
        commit(&mut store, |t| {
            t.insert_item(node, &item(seq, &seq.to_string()))?;
            let kept = if seq > 50 { t.delete_oldest_items(node, 1, &mut Vec::new()).map(|_| 50)? } else { seq };
            t.update_node_counters(node, &Counters { next_seq: seq + 1, items: kept, ..Counters::default() })
        });
        println!("\npublished {seq}");
    }
}

#[test]
fn what_was_committed_outlives_the_process() {
    for lines in [1, 20, 333] {
        let folder = Folder::new();
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "--nocapture", "--test-threads=1", "store::sqlite::tests::victim"])
            .env(VICTIM, folder.database())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process to kill");
        let output = BufReader::new(victim.stdout.take().expect("output"));
        let published = output
            .lines()
            .map_while(std::io::Result::ok)
            .filter_map(|line| line.strip_prefix("published ").and_then(|seq| seq.parse::<i64>().ok()));
        let acknowledged = published.take(lines).last().expect("a commit");
        victim.kill().expect("kill");
        victim.wait().expect("wait");

        let mut store = open(&folder.database());
        check(&store);
        let (node, newest) = commit(&mut store, |t| {
            let service = t.service(SERVICE)?.expect("service");
            let node = t.node(service.key, "blog")?.expect("node");
            let newest = t.last_item(node.key, None)?.expect("item").seq;
            Ok((node, newest))
        });
        assert!(newest >= acknowledged, "{newest} of {acknowledged}");
        assert_eq!(node.counters.next_seq, newest + 1);
        let page = commit(&mut store, |t| t.items(node.key, &node.counters, None, Place::First, 100));
        assert_eq!(page.rows.len() as i64, node.counters.items);
        assert_eq!(page.rows.first().map(|item| item.seq), Some((newest - 49).max(1)));
    }
}
