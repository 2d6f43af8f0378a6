//! A process's life with the file: what the last one left open is settled, and a new one begins.

use meter::{Outcome, Receipt};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::LedgerError;
use crate::chain::{Head, Kind};
use crate::entries::{self, Bound, Ended};
use crate::journal::{self, Journal};

/// A run that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) run: i64,
    pub(crate) head: Head,
    /// Requests that the last one had left open.
    pub(crate) crashed: u64,
}

/// Settles what the last run left open, each at its last checkpoint, and begins a new one.
///
/// Both happen in one transaction, so whatever is older than the last run is settled already.
pub(crate) fn begin(connection: &mut Connection, unix_ms: i64) -> Result<Begun, LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut journal = Journal::new(&transaction, journal::stored_head(&transaction)?);
    let orphans = orphans(&transaction)?;
    for orphan in &orphans {
        settle_orphan(&mut journal, orphan, unix_ms)?;
    }
    let next: i64 =
        transaction.query_row("SELECT coalesce(max(sequence), 0) + 1 FROM reservations", [], |row| row.get(0))?;
    let run = journal.append(Kind::Run, &[ValueRef::Integer(unix_ms), ValueRef::Integer(next)])?;
    let head = journal.finish()?;
    transaction.commit()?;
    Ok(Begun { run, head, crashed: orphans.len() as u64 })
}

/// A request whose process died.
struct Orphan {
    reservation: i64,
    run: i64,
    id: String,
    tenant: String,
    model: String,
    at_ms: i64,
    key_id: Option<String>,
}

fn orphans(transaction: &Transaction<'_>) -> Result<Vec<Orphan>, LedgerError> {
    let first: i64 = transaction.query_row(
        "SELECT coalesce((SELECT first_reservation FROM runs ORDER BY run DESC LIMIT 1), 1)",
        [],
        |row| row.get(0),
    )?;
    let mut query = transaction.prepare(
        "SELECT reservations.sequence, run, id, tenant, model, reservations.at_ms, key_id FROM reservations \
         LEFT JOIN settlements ON settlements.reservation = reservations.sequence \
         WHERE reservations.sequence >= ?1 AND settlements.sequence IS NULL ORDER BY reservations.sequence",
    )?;
    let rows = query.query_map([first], |row| {
        Ok(Orphan {
            reservation: row.get(0)?,
            run: row.get(1)?,
            id: row.get(2)?,
            tenant: row.get(3)?,
            model: row.get(4)?,
            at_ms: row.get(5)?,
            key_id: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn settle_orphan(journal: &mut Journal<'_>, orphan: &Orphan, unix_ms: i64) -> Result<(), LedgerError> {
    let Orphan { reservation, run, id, tenant, model, at_ms, key_id } = orphan;
    let bound = Bound { run: *run, id, tenant, model, at_ms: *at_ms, key_id: key_id.as_deref() };
    let last: Option<(i64, String)> = journal
        .connection()
        .prepare_cached("SELECT at_ms, receipt FROM checkpoints WHERE reservation = ?1 ORDER BY number DESC LIMIT 1")?
        .query_row(params![reservation], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((at_ms, json)) = last else {
        return entries::append_crashed(journal, Ended { reservation: *reservation, at_ms: *at_ms, unix_ms }, bound);
    };
    let mut receipt: Receipt = serde_json::from_str(&json).map_err(LedgerError::corrupt)?;
    receipt.outcome = Outcome::Crashed;
    receipt.method.notes.push("crashed: charged for what was computed until its last checkpoint".to_owned());
    let json = entries::json(&receipt);
    entries::append_settlement(journal, Ended { reservation: *reservation, at_ms, unix_ms }, (&receipt, &json), bound)
}
