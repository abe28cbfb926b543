//! Reading beside the writer: in a write-ahead log neither waits for the other.

use std::path::Path;

use rusqlite::Connection;

use super::transaction::Open;
use super::{FLAGS, Options, configure_reader, failed, rows, statements};
use crate::error::{Error, Result};
use crate::pubsub::store::{ReadStore, Transaction};

/// A connection that only reads.
pub(super) struct Reader {
    connection: Connection,
    /// What the last transaction saw.
    version: Option<i64>,
}

impl Reader {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self> {
        let at = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
        let connection = Connection::open_with_flags(path, FLAGS).map_err(failed).map_err(at)?;
        configure_reader(&connection, options).map_err(at)?;
        Ok(Self { connection, version: None })
    }
}

impl ReadStore for Reader {
    fn begin(&mut self) -> Result<(Box<dyn Transaction + '_>, bool)> {
        let mut open = Open::begin(&self.connection, statements::BEGIN_READING)?;
        // The first thing read decides which commit the transaction sees.
        let version = open.one(statements::DATA_VERSION, (), rows::number)?;
        let same = self.version.replace(version) == Some(version);
        Ok((Box::new(open), same))
    }
}
