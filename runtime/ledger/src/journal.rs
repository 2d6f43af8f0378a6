//! Rows are appended here and nowhere else: each with its link, and counted in the roll-ups.
//!
//! Invariants: within a transaction; a row that is refused for itself has changed nothing; any other failure leaves the
//! transaction to be rolled back, and this with it.

use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::LedgerError;
use crate::chain::{Digest, Head, Kind, Row};
use crate::error::StoreFailure;
use crate::rollup::{Contribution, Rollups};

/// What a transaction appends.
pub(crate) struct Journal<'t> {
    connection: &'t Connection,
    head: Head,
    rollups: Rollups<'t>,
}

impl<'t> Journal<'t> {
    /// Goes on after `head`, which is the last link that is stored.
    pub(crate) fn new(connection: &'t Connection, head: Head) -> Self {
        Self { connection, head, rollups: Rollups::new(connection) }
    }

    /// The connection whose transaction this is in.
    pub(crate) const fn connection(&self) -> &'t Connection {
        self.connection
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// Appends a row: [`Kind::columns`], then what [`Kind::bound`] names of the row that it belongs to. Returns its
    /// sequence number.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] if a sum does not fit any more; else the store's failure.
    pub(crate) fn append(&mut self, kind: Kind, fields: &[ValueRef<'_>]) -> Result<i64, LedgerError> {
        self.count(kind, fields)?;
        let stored = fields[..kind.columns().len()].iter().map(|field| ToSqlOutput::Borrowed(*field));
        let sequence = self.connection.prepare_cached(insert(kind))?.insert(params_from_iter(stored))?;
        self.link(&Row { kind, sequence, fields })?;
        Ok(sequence)
    }

    /// Links and counts a row that an older schema has stored already.
    pub(crate) fn adopt(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        self.count(row.kind, row.fields)?;
        self.link(row)
    }

    /// Writes the roll-ups; the head is what the transaction's commit makes durable.
    pub(crate) fn finish(mut self) -> Result<Head, LedgerError> {
        self.rollups.store()?;
        Ok(self.head)
    }

    fn count(&mut self, kind: Kind, fields: &[ValueRef<'_>]) -> Result<(), LedgerError> {
        let malformed = |_| LedgerError::corrupt(StoreFailure::Unexpected("a stored row has fields of another type"));
        self.rollups.add(Contribution::of(kind, self.head.link + 1, fields).map_err(malformed)?)
    }

    fn link(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        let head = self.head.after(row);
        self.connection
            .prepare_cached("INSERT INTO chain (link, kind, sequence, digest) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![head.link, row.kind.number(), row.sequence, head.digest])?;
        self.head = head;
        Ok(())
    }
}

/// What stores a row of that kind: made once, and not with every row.
fn insert(kind: Kind) -> &'static str {
    static INSERTS: LazyLock<[String; Kind::ALL.len()]> = LazyLock::new(|| {
        Kind::ALL.map(|kind| {
            let columns = kind.columns();
            let places = vec!["?"; columns.len()].join(", ");
            format!("INSERT INTO {} ({}) VALUES ({places})", kind.table(), columns.join(", "))
        })
    });
    let index = Kind::ALL.iter().position(|one| *one == kind).expect("all kinds are there");
    &INSERTS[index]
}

/// The last link that is stored.
pub(crate) fn stored_head(connection: &Connection) -> Result<Head, LedgerError> {
    let found: Option<(i64, Digest)> = connection
        .query_row("SELECT link, digest FROM chain ORDER BY link DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(found.map_or(Head::START, |(link, digest)| Head { link, digest }))
}
