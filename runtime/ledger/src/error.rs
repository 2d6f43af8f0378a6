//! What can go wrong, and what the caller can do.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why the ledger did not do what it was asked. Whatever the reason, nothing was recorded for this operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// Another process writes this ledger. End it, or use another file.
    #[error("another process uses the ledger {path}")]
    Locked {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A newer version of the program wrote this ledger. Use that version; this one does not touch the file.
    #[error("the ledger has schema {found}, this program knows schemas up to {supported}")]
    SchemaTooNew {
        /// The file's schema.
        found: i64,
        /// The newest known one.
        supported: i64,
    },
    /// An older version of the program wrote this ledger. Opening it for writing brings it up; to be read it must be.
    #[error("the ledger has schema {found}; a server that opens it brings it up to schema {supported}")]
    SchemaOld {
        /// The file's schema.
        found: i64,
        /// The one that this program reads.
        supported: i64,
    },
    /// The file is no ledger, or it is damaged. Restore or move it away; retrying does not help.
    #[error("the ledger is damaged or is not a ledger")]
    Corrupt {
        /// What the store found.
        #[source]
        source: Arc<StoreFailure>,
    },
    /// The store cannot write or read now: full, read-only, an input or output error. The same operation may be
    /// tried again once that is mended; until then no output may leave unmetered.
    #[error("the ledger is unavailable")]
    Unavailable {
        /// What the store found.
        #[source]
        source: Arc<StoreFailure>,
    },
    /// Too many operations wait for the writer. Try again.
    #[error("the ledger is overloaded: {queue_max} operations are waiting")]
    Overloaded {
        /// How many may wait.
        queue_max: usize,
    },
    /// This id was recorded before with different content; the earlier row stands. A bug in the caller.
    #[error("{id} was recorded before with different content")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// A settlement without its reservation. A bug in the caller.
    #[error("{id} was never reserved")]
    NotReserved {
        /// The id.
        id: String,
    },
    /// The tenant has made a request with this idempotency key before: nothing is to be done, or charged, for it again.
    /// What became of that one is its record.
    #[error("the idempotency key was used before, by {id}")]
    KeyUsed {
        /// The earlier request's id.
        id: String,
    },
    /// More checkpoints of a request than one may have. The last one stands. A bug in the caller.
    #[error("{id} has {max} checkpoints, and may not have more")]
    TooManyCheckpoints {
        /// The request's id.
        id: String,
        /// How many it may have.
        max: u64,
    },
    /// A figure, or its sum with others, that does not fit the store's 63 bits. A bug in the caller.
    #[error("{column} does not fit: {value}")]
    OutOfRange {
        /// The column.
        column: &'static str,
        /// The figure.
        value: u64,
    },
    /// The store of keys cannot be read or written now, is damaged, or is another program's. No key of it is known until
    /// that is mended.
    #[error("the store of keys {path} cannot be used")]
    KeyStore {
        /// Its file.
        path: PathBuf,
        /// What the store found.
        #[source]
        source: Arc<StoreFailure>,
    },
    /// The store has as many keys as it may have, none of them revoked. Revoke one.
    #[error("there are {max} keys already, and none is revoked")]
    KeysFull {
        /// How many there may be.
        max: usize,
    },
    /// The ledger was closed. Open it again.
    #[error("the ledger is closed")]
    Closed,
}

/// What the store reported.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailure {
    /// The database.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A stored receipt that cannot be read back.
    #[error(transparent)]
    Receipt(#[from] serde_json::Error),
    /// A row that is not the one that was linked.
    #[error(transparent)]
    Chain(#[from] ChainBreak),
    /// The ledger lacks what was acknowledged, by a note beside it.
    #[error("{reason} (link {link}, by {}; without that file what is left would be gone on with)", noted_in.display())]
    Acknowledged {
        /// The last link that was acknowledged.
        link: i64,
        /// What is wrong.
        reason: &'static str,
        /// The note.
        noted_in: PathBuf,
    },
    /// A row or a file that this program would not have written.
    #[error("{0}")]
    Unexpected(&'static str),
}

/// The first link of the chain that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("link {link} of the chain, of row {sequence} in {}: {reason}", table.unwrap_or("no table"))]
pub struct ChainBreak {
    /// The link's number.
    pub link: i64,
    /// The table of its row, if it is a known one.
    pub table: Option<&'static str>,
    /// The row's sequence number.
    pub sequence: i64,
    /// What is wrong.
    pub reason: &'static str,
}

impl LedgerError {
    /// Whether the same operation may succeed later without anyone's mending the caller or the file.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Overloaded { .. })
    }

    /// Whether the operation itself is at fault, and others may be committed without it.
    pub(crate) const fn concerns_one_operation(&self) -> bool {
        matches!(
            self,
            Self::Duplicate { .. }
                | Self::NotReserved { .. }
                | Self::KeyUsed { .. }
                | Self::TooManyCheckpoints { .. }
                | Self::OutOfRange { .. }
        )
    }

    pub(crate) fn corrupt(failure: impl Into<StoreFailure>) -> Self {
        Self::Corrupt { source: Arc::new(failure.into()) }
    }

    pub(crate) fn unavailable(failure: impl Into<StoreFailure>) -> Self {
        Self::Unavailable { source: Arc::new(failure.into()) }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::corrupt(error),
            // No code, and a value of another type than every row of a ledger has.
            None if is_of_another_type(&error) => Self::corrupt(error),
            _ => Self::unavailable(error),
        }
    }
}

fn is_of_another_type(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(error, E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..))
}

impl From<std::io::Error> for LedgerError {
    fn from(error: std::io::Error) -> Self {
        Self::unavailable(error)
    }
}
