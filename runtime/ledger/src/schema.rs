//! The tables, and what a file must be to be a ledger.
//!
//! A reservation belongs to a run (one process's life with the file); its settlement belongs to it. Moments are
//! milliseconds of the run's own monotonic clock and compare within a run only.

use rusqlite::Connection;

use crate::LedgerError;
use crate::error::StoreFailure;

/// `DAYF`, so that another program's database is recognized as such.
const APPLICATION_ID: i64 = 0x4441_5946;
/// The schema that this program writes.
pub(crate) const SCHEMA: i64 = 1;

const CREATE: &str = "
CREATE TABLE runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT,
    opened_unix_ms INTEGER NOT NULL,
    first_reservation INTEGER NOT NULL
) STRICT;
CREATE TABLE reservations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (run),
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE settlements (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    reservation INTEGER NOT NULL UNIQUE REFERENCES reservations (sequence),
    outcome TEXT NOT NULL CHECK (outcome IN ('completed', 'cancelled', 'failed', 'crashed')),
    at_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    cold INTEGER NOT NULL DEFAULT 0 CHECK (cold IN (0, 1)),
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    load_wait_ns INTEGER NOT NULL DEFAULT 0,
    wall_ns INTEGER NOT NULL DEFAULT 0,
    cpu_ns INTEGER NOT NULL DEFAULT 0,
    load_cpu_ns INTEGER NOT NULL DEFAULT 0,
    weights_kib_ms INTEGER NOT NULL DEFAULT 0,
    load_kib_ms INTEGER NOT NULL DEFAULT 0,
    kv_kib_ms INTEGER NOT NULL DEFAULT 0,
    weights_bytes INTEGER NOT NULL DEFAULT 0,
    energy_nj INTEGER NOT NULL DEFAULT 0,
    micrograms_co2e INTEGER NOT NULL DEFAULT 0,
    pico_units INTEGER,
    receipt TEXT
) STRICT;
CREATE TABLE intervals (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (run),
    source_sequence INTEGER NOT NULL,
    model TEXT NOT NULL,
    account TEXT NOT NULL CHECK (account IN ('keepalive', 'load', 'idle', 'unmeasured')),
    tenant TEXT,
    kib_ms INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    UNIQUE (run, source_sequence)
) STRICT;
";

const APPEND_ONLY: [&str; 4] = ["runs", "reservations", "settlements", "intervals"];

/// Makes sure that `connection` is to a ledger of a known schema, creating the tables in an empty file.
pub(crate) fn prepare(connection: &mut Connection) -> Result<(), LedgerError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let application = integer(&transaction, "PRAGMA application_id")?;
    let schema = integer(&transaction, "PRAGMA user_version")?;
    let tables = integer(&transaction, "SELECT count(*) FROM sqlite_schema")?;
    if tables == 0 && schema == 0 && application == 0 {
        transaction.execute_batch(CREATE)?;
        for table in APPEND_ONLY {
            for change in ["UPDATE", "DELETE"] {
                transaction.execute_batch(&format!(
                    "CREATE TRIGGER {table}_refuse_{change} BEFORE {change} ON {table} \
                     BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;"
                ))?;
            }
        }
        transaction
            .execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA};"))?;
    } else {
        check(application, schema)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Makes sure that `connection` is to a ledger of a known schema, changing nothing.
pub(crate) fn verify(connection: &Connection) -> Result<(), LedgerError> {
    check(integer(connection, "PRAGMA application_id")?, integer(connection, "PRAGMA user_version")?)
}

fn check(application: i64, schema: i64) -> Result<(), LedgerError> {
    if application != APPLICATION_ID {
        return Err(LedgerError::corrupt(StoreFailure::Unexpected("the file is another program's database")));
    }
    match schema {
        SCHEMA => Ok(()),
        newer if newer > SCHEMA => Err(LedgerError::SchemaTooNew { found: newer, supported: SCHEMA }),
        _ => Err(LedgerError::corrupt(StoreFailure::Unexpected("the schema's number was never in use"))),
    }
}

fn integer(connection: &Connection, sql: &str) -> Result<i64, rusqlite::Error> {
    connection.query_row(sql, [], |row| row.get(0))
}
