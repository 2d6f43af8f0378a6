//! The tables, and what a file must be to be a ledger.
//!
//! A reservation belongs to a run (one process's life with the file); its checkpoints and its settlement belong to it.
//! Moments are milliseconds of the run's own monotonic clock and compare within a run only.
//!
//! Invariants: a new file is made by the same steps that bring an old one up, so that both have the same tables to the
//! letter; all steps are one transaction, with the file's number of the schema in it.

mod migration;
mod tables;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::LedgerError;
use crate::error::StoreFailure;

/// `DAYF`, so that another program's database is recognized as such.
const APPLICATION_ID: i64 = 0x4441_5946;
/// The schema that this program writes.
pub(crate) const SCHEMA: i64 = 5;

/// Makes sure that `connection` is to a ledger of the schema that this program writes, creating the tables in an empty
/// file and bringing those of an older schema up. `unix_ms` is now.
pub(crate) fn prepare(connection: &mut Connection, unix_ms: i64) -> Result<(), LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application = integer(&transaction, "PRAGMA application_id")?;
    let schema = integer(&transaction, "PRAGMA user_version")?;
    let count = integer(&transaction, "SELECT count(*) FROM sqlite_schema")?;
    if count == 0 && schema == 0 && application == 0 {
        create(&transaction)?;
    } else {
        match check(application, schema) {
            Err(LedgerError::SchemaOld { found, .. }) => migration::raise(&transaction, found, unix_ms)?,
            checked => checked?,
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Makes sure that `connection` is to a ledger of the schema that this program writes, changing nothing.
pub(crate) fn verify(connection: &Connection) -> Result<(), LedgerError> {
    check(integer(connection, "PRAGMA application_id")?, integer(connection, "PRAGMA user_version")?)
}

/// Tables, indices and triggers of a ledger, by name: the text that they are made by.
pub(crate) fn declarations(connection: &Connection) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let mut query = connection.prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// What [`declarations`] finds in a ledger that nobody has meddled with.
pub(crate) fn expected_declarations() -> Result<Vec<(String, String)>, LedgerError> {
    let mut connection = Connection::open_in_memory()?;
    let transaction = connection.transaction()?;
    create(&transaction)?;
    Ok(declarations(&transaction)?)
}

/// The tables of roll-ups alone, for sums that are computed anew.
pub(crate) fn create_rollups(connection: &Connection) -> Result<(), rusqlite::Error> {
    tables::create_rollups(connection)
}

fn create(transaction: &Transaction<'_>) -> Result<(), LedgerError> {
    tables::create_1(transaction)?;
    tables::raise_to_2(transaction)?;
    tables::raise_to_3(transaction)?;
    tables::raise_to_4(transaction)?;
    tables::raise_to_5(transaction)?;
    transaction.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA};"))?;
    Ok(())
}

fn check(application: i64, schema: i64) -> Result<(), LedgerError> {
    if application != APPLICATION_ID {
        return Err(LedgerError::corrupt(StoreFailure::Unexpected("the file is another program's database")));
    }
    match schema {
        SCHEMA => Ok(()),
        newer if newer > SCHEMA => Err(LedgerError::SchemaTooNew { found: newer, supported: SCHEMA }),
        older @ 1..SCHEMA => Err(LedgerError::SchemaOld { found: older, supported: SCHEMA }),
        _ => Err(LedgerError::corrupt(StoreFailure::Unexpected("the schema's number was never in use"))),
    }
}

fn integer(connection: &Connection, sql: &str) -> Result<i64, rusqlite::Error> {
    connection.query_row(sql, [], |row| row.get(0))
}
