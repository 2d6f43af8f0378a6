//! The one thread that writes: everything queued goes into one transaction, one commit, many completions.
//!
//! Invariants: a completion gets `Ok` only after the commit returned; if the commit fails, every operation in it
//! fails; the next batch starts afresh. An operation that is refused for itself takes no other one down.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::Receiver;

use meter::{Account, AccountInterval};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::LedgerError;
use crate::limits::BATCH_MAX;
use crate::operation::{Completion, Operation, Reservation, Settlement};
use crate::store::unix_millis;

pub(crate) struct Submission {
    pub(crate) operation: Operation,
    pub(crate) done: Completion,
}

/// Writes until every sender is gone and the queue is empty.
pub(crate) fn run(mut connection: Connection, run: i64, queue: &Receiver<Submission>) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH_MAX - 1));
        let results = commit(&mut connection, run, &batch);
        for (index, submission) in batch.into_iter().enumerate() {
            let result = match &results {
                Ok(results) => results[index].clone(),
                Err(failure) => Err(failure.clone()),
            };
            complete(submission.done, result);
        }
    }
    // The file is whole without its WAL after an orderly end; if this fails, the next opening reads the WAL.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// A completion that panics must not take the ledger with it.
pub(crate) fn complete(done: Completion, result: Result<(), LedgerError>) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| done(result)));
}

fn commit(
    connection: &mut Connection,
    run: i64,
    batch: &[Submission],
) -> Result<Vec<Result<(), LedgerError>>, LedgerError> {
    // Dropped without a commit, the transaction is rolled back.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(batch.len());
    for submission in batch {
        let result = match &submission.operation {
            Operation::Reserve(reservation) => reserve(&transaction, run, reservation),
            Operation::Settle(settlement) => settle(&transaction, settlement),
            Operation::Interval(interval) => record_interval(&transaction, run, interval),
        };
        match result {
            Ok(()) => results.push(Ok(())),
            Err(refusal) if refusal.concerns_one_operation() => results.push(Err(refusal)),
            Err(failure) => return Err(failure),
        }
    }
    transaction.commit()?;
    Ok(results)
}

fn reserve(transaction: &Transaction<'_>, run: i64, reservation: &Reservation) -> Result<(), LedgerError> {
    let Reservation { id, tenant, model, at } = reservation;
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO reservations (run, id, tenant, model, at_ms, unix_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![run, id, tenant, model, stored("at_ms", at.get())?, unix_millis()])?;
    if inserted == 1 {
        return Ok(());
    }
    let same: bool = transaction
        .prepare_cached("SELECT tenant = ?2 AND model = ?3 FROM reservations WHERE id = ?1")?
        .query_row(params![id, tenant, model], |row| row.get(0))?;
    absorbed(same, id)
}

fn settle(transaction: &Transaction<'_>, settlement: &Settlement) -> Result<(), LedgerError> {
    let receipt = &*settlement.receipt;
    let found = transaction
        .prepare_cached("SELECT sequence, tenant = ?2 AND model = ?3 FROM reservations WHERE id = ?1")?
        .query_row(params![receipt.id, receipt.tenant, receipt.model], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (reservation, same): (i64, bool) = found.ok_or_else(|| LedgerError::NotReserved { id: receipt.id.clone() })?;
    absorbed(same, &receipt.id)?;
    let json = serde_json::to_string(receipt).expect("a receipt has only string keys");
    if insert_settlement(transaction, reservation, settlement, &json)? == 1 {
        return Ok(());
    }
    let same: bool = transaction
        .prepare_cached("SELECT receipt IS ?2 FROM settlements WHERE reservation = ?1")?
        .query_row(params![reservation, json], |row| row.get(0))?;
    absorbed(same, &receipt.id)
}

fn insert_settlement(
    transaction: &Transaction<'_>,
    reservation: i64,
    settlement: &Settlement,
    json: &str,
) -> Result<usize, LedgerError> {
    let receipt = &*settlement.receipt;
    let pico_units = receipt.cost.pico_units.map(|pico| stored("pico_units", pico.get())).transpose()?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO settlements (reservation, outcome, at_ms, unix_ms, cold, prompt_tokens, cached_tokens, \
         completion_tokens, load_wait_ns, wall_ns, cpu_ns, load_cpu_ns, weights_kib_ms, load_kib_ms, kv_kib_ms, \
         weights_bytes, energy_nj, micrograms_co2e, pico_units, receipt) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) \
         ON CONFLICT (reservation) DO NOTHING",
    )?;
    Ok(insert.execute(params![
        reservation,
        receipt.outcome.name(),
        stored("at_ms", settlement.at.get())?,
        unix_millis(),
        receipt.cold,
        stored("prompt_tokens", receipt.tokens.prompt)?,
        stored("cached_tokens", receipt.tokens.cached)?,
        stored("completion_tokens", receipt.tokens.completion)?,
        stored("load_wait_ns", receipt.times.load_wait_ns.get())?,
        stored("wall_ns", receipt.times.wall_ns.get())?,
        stored("cpu_ns", receipt.cpu.total_ns.get())?,
        stored("load_cpu_ns", receipt.cpu.load_ns.get())?,
        stored("weights_kib_ms", receipt.memory.weights_kib_ms.get())?,
        stored("load_kib_ms", receipt.memory.load_kib_ms.get())?,
        stored("kv_kib_ms", receipt.memory.kv_kib_ms.get())?,
        stored("weights_bytes", receipt.memory.weights_bytes)?,
        stored("energy_nj", receipt.energy.total_nj.get())?,
        stored("micrograms_co2e", receipt.carbon.micrograms_co2e.get())?,
        pico_units,
        json,
    ])?)
}

fn record_interval(transaction: &Transaction<'_>, run: i64, interval: &AccountInterval) -> Result<(), LedgerError> {
    let (account, tenant) = match &interval.account {
        Account::Keepalive(tenant) => ("keepalive", Some(tenant)),
        Account::Load => ("load", None),
        Account::Idle => ("idle", None),
        Account::Unmeasured => ("unmeasured", None),
    };
    let sequence = stored("source_sequence", interval.sequence)?;
    let kib_ms = stored("kib_ms", interval.kib_ms.get())?;
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO intervals (run, source_sequence, model, account, tenant, kib_ms, from_ms, to_ms, unix_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (run, source_sequence) DO NOTHING",
        )?
        .execute(params![
            run,
            sequence,
            interval.model,
            account,
            tenant,
            kib_ms,
            stored("from_ms", interval.from.get())?,
            stored("to_ms", interval.to.get())?,
            unix_millis(),
        ])?;
    if inserted == 1 {
        return Ok(());
    }
    let same: bool = transaction
        .prepare_cached(
            "SELECT model = ?3 AND account = ?4 AND tenant IS ?5 AND kib_ms = ?6 FROM intervals \
             WHERE run = ?1 AND source_sequence = ?2",
        )?
        .query_row(params![run, sequence, interval.model, account, tenant, kib_ms], |row| row.get(0))?;
    absorbed(same, &format!("interval {sequence}"))
}

fn absorbed(same: bool, id: &str) -> Result<(), LedgerError> {
    if same { Ok(()) } else { Err(LedgerError::Duplicate { id: id.to_owned() }) }
}

fn stored(column: &'static str, value: u64) -> Result<i64, LedgerError> {
    i64::try_from(value).map_err(|_| LedgerError::OutOfRange { column, value })
}
