//! The store in one SQLite file.
//!
//! - **One writer, and readers.** What may write runs on one connection; each [`Reader`] has one of its own, and sees the
//!   last commit. Another engine is kept out by a lock on the file beside the
//!   database whose name ends in `-owner`, held as long as the store lives and given back by the system when the
//!   process dies. SQLite's exclusive mode would do that as well, but nobody could look at or back up the
//!   database of a running server then.
//! - **WAL**, so that such readers never wait for the writer nor it for them.
//! - **Tables** are made by `migrations/NNN_what.sql`. `user_version` is the number of those that were applied, each in
//!   one transaction. A file of a newer version and a file of another program are refused.
//! - **Failures.** SQLite may roll the whole transaction back by itself; nothing runs in it afterwards.

mod items;
mod journal;
mod lists;
mod nodes;
mod pam;
mod ranks;
mod reader;
mod rows;
mod statements;
mod subscriptions;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::store::{Maintenance, ReadStore, Store, Transaction};
use reader::Reader;
use transaction::Open;

/// What a commit outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// The death of the process.
    #[default]
    Os,
    /// The loss of power as well: every commit waits for the disk.
    Disk,
}

/// The settings of the store.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a commit outlives.
    pub durability: Durability,
    /// Bytes of pages kept in memory at most.
    pub cache_bytes: usize,
    /// How long to wait for another process that is writing to the file.
    pub busy_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Os, cache_bytes: 16 << 20, busy_timeout: Duration::from_secs(2) }
    }
}

/// A store in a file.
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
    options: Options,
    _owner: Connection,
}

/// The schema, oldest part first. What was released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_pubsub.sql"),
    include_str!("migrations/002_journal.sql"),
    include_str!("migrations/003_auto_subscriptions.sql"),
    include_str!("migrations/004_roomnick.sql"),
];

/// `PRAGMA application_id` of our files: "PPPS".
const APPLICATION_ID: i64 = 0x5050_5053;

/// Pages in the write-ahead log before they are moved into the database. Pages that change often are moved once
/// instead of each time; 16 MiB of log are the price.
const CHECKPOINT_PAGES: i64 = 4_000;

/// The page cache of a reader is this part of the writer's.
const READER_PART: usize = 4;

/// Paths are paths and never URIs; the connection is used by one thread at a time.
const FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_CREATE).union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

impl Sqlite {
    /// Opens the file, or makes it.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        // One file under two names has one owner.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let at = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
        let owner = own(&path).map_err(at)?;
        let connection = connect(&path, options).map_err(at)?;
        Ok(Self { connection, path, options: options.clone(), _owner: owner })
    }
}

fn connect(path: &Path, options: &Options) -> Result<Connection> {
    let mut connection = Connection::open_with_flags(path, FLAGS).map_err(failed)?;
    connection.busy_timeout(options.busy_timeout).map_err(failed)?;
    check_identity(&connection)?;
    configure(&connection, options)?;
    migrate(&mut connection, MIGRATIONS)?;
    Ok(connection)
}

/// Takes the lock that keeps other engines out.
fn own(path: &Path) -> Result<Connection> {
    let mut file = path.as_os_str().to_owned();
    file.push("-owner");
    let owner = Connection::open_with_flags(&file, FLAGS).map_err(failed)?;
    // The lock of an empty database: nothing is ever written to the file.
    match owner.busy_timeout(Duration::ZERO).and_then(|()| owner.execute_batch("BEGIN EXCLUSIVE")) {
        Ok(()) => Ok(owner),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            Err(Error::new(ErrorKind::Store, "the database is in use by another engine"))
        }
        Err(error) => Err(failed(error)),
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Refuses the database of another program before anything is changed in it.
fn check_identity(connection: &Connection) -> Result<()> {
    let tables = "SELECT count(*) FROM sqlite_schema";
    let foreign = pragma(connection, "application_id")
        .and_then(|id| Ok(id != APPLICATION_ID && connection.query_row(tables, (), |row| row.get::<_, i64>(0))? > 0));
    match foreign {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::new(ErrorKind::Store, "the database belongs to another program")),
        Err(error) => Err(failed(error)),
    }
}

fn configure(connection: &Connection, options: &Options) -> Result<()> {
    let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
    if mode.map_err(failed)? != "wal" {
        return Err(Error::new(ErrorKind::Store, "a write-ahead log is not possible on this file system"));
    }
    let synchronous = match options.durability {
        Durability::Os => "NORMAL",
        Durability::Disk => "FULL",
    };
    let configure = || {
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        configure_any(connection, options.cache_bytes)
    };
    configure().map_err(failed)
}

/// A reader has a part of the pages that the writer has.
fn configure_reader(connection: &Connection, options: &Options) -> Result<()> {
    let configure = || {
        connection.busy_timeout(options.busy_timeout)?;
        connection.pragma_update(None, "query_only", true)?;
        configure_any(connection, options.cache_bytes / READER_PART)
    };
    configure().map_err(failed)
}

fn configure_any(connection: &Connection, cache_bytes: usize) -> rusqlite::Result<()> {
    let kibibytes = i64::try_from(cache_bytes >> 10).unwrap_or(i64::MAX).max(64);
    // Without this, SQLite plans some statements anew for every value bound to them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    connection.set_prepared_statement_cache_capacity(statements::ALL.len());
    Ok(())
}

fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<()> {
    let version = usize::try_from(pragma(connection, "user_version").map_err(failed)?).unwrap_or(usize::MAX);
    if version > migrations.len() {
        let known = migrations.len();
        return Err(Error::new(
            ErrorKind::Store,
            format!("the database was written by a newer version (schema {version}; this one knows {known})"),
        ));
    }
    for (migration, number) in migrations.iter().zip(1i64..).skip(version) {
        apply(connection, migration, number).map_err(failed)?;
    }
    Ok(())
}

fn apply(connection: &mut Connection, migration: &str, number: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", number)?;
    transaction.commit()
}

/// The error for callers. SQLite's own texts may quote values, so none of them gets out.
fn failed(error: rusqlite::Error) -> Error {
    let (rusqlite::Error::SqliteFailure(failure, _) | rusqlite::Error::SqlInputError { error: failure, .. }) = error
    else {
        return Error::new(ErrorKind::Store, "the store failed: a row makes no sense to this version");
    };
    let code = failure.extended_code;
    let what = match failure.code {
        ErrorCode::DiskFull => "the disk is full",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another process has locked the database",
        ErrorCode::DatabaseCorrupt => "the database is damaged",
        ErrorCode::NotADatabase => "the file is not a database",
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => "the database may not be written to",
        ErrorCode::CannotOpen => "the file cannot be opened",
        ErrorCode::SystemIoFailure => "the disk could not be read or written",
        ErrorCode::OutOfMemory => "there is not enough memory",
        ErrorCode::ConstraintViolation => "the schema does not allow this",
        ErrorCode::TooBig => "a value is too large",
        _ => "SQLite reports an error",
    };
    Error::new(ErrorKind::Store, format!("the store failed: {what} (SQLite code {code})"))
}

impl Store for Sqlite {
    fn begin(&mut self) -> Result<Box<dyn Transaction + '_>> {
        Ok(Box::new(Open::begin(&self.connection, statements::BEGIN)?))
    }

    fn reader(&self) -> Result<Option<Box<dyn ReadStore>>> {
        Ok(Some(Box::new(Reader::open(&self.path, &self.options)?)))
    }

    fn statistics(&mut self) -> Result<Vec<(&'static str, i64)>> {
        let size = |suffix: &str| {
            let mut file = self.path.as_os_str().to_owned();
            file.push(suffix);
            std::fs::metadata(file).map_or(0, |data| i64::try_from(data.len()).unwrap_or(i64::MAX))
        };
        let pragma = |name| pragma(&self.connection, name).map_err(failed);
        Ok(vec![
            ("pages", pragma("page_count")?),
            ("free_pages", pragma("freelist_count")?),
            ("page_bytes", pragma("page_size")?),
            ("file_bytes", size("")),
            ("wal_bytes", size("-wal")),
            ("cache_limit_bytes", i64::try_from(self.options.cache_bytes).unwrap_or(i64::MAX)),
        ])
    }

    fn maintain(&mut self, what: Maintenance) -> Result<Vec<String>> {
        let ok = || vec!["ok".to_owned()];
        match what {
            Maintenance::Vacuum => {
                self.connection.execute_batch("VACUUM").map_err(failed)?;
                // Readers that are busy keep the log from being emptied; it is the next time.
                let mut statement = self.connection.prepare("PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed)?;
                statement.query_row([], |_| Ok(())).map_err(failed)?;
                Ok(ok())
            }
            Maintenance::IntegrityCheck => {
                let mut found = self.lines("PRAGMA integrity_check")?;
                found.retain(|line| line != "ok");
                found.extend(
                    self.lines("PRAGMA foreign_key_check")?.into_iter().map(|table| format!("foreign key: {table}")),
                );
                Ok(if found.is_empty() { ok() } else { found })
            }
        }
    }
}

impl Sqlite {
    /// The first column of what a statement gives.
    fn lines(&self, statement: &str) -> Result<Vec<String>> {
        let mut statement = self.connection.prepare(statement).map_err(failed)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }
}
