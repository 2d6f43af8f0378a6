//! What can be written.

use std::sync::mpsc;

use meter::{AccountInterval, EnergyInterval, Moment, Receipt};

use crate::LedgerError;

/// Called once, when the operation is durable or has failed. It runs on the writer's thread, so it must not block;
/// if the queue is full it runs on the caller's.
pub type Completion = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

/// A request that work is about to be done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The response's id.
    pub id: String,
    /// Who will be charged.
    pub tenant: String,
    /// The model's name in the catalog.
    pub model: String,
    /// When it arrived.
    pub at: Moment,
    /// What the client calls the request, if it does: of a tenant's requests with the same key only the first is taken,
    /// whatever became of it. None beyond what is kept of old rows.
    pub idempotency_key: Option<String>,
    /// The id of the key that it came by, if that has one; never the key.
    pub key_id: Option<String>,
}

/// A request that goes on: if its process dies, it is settled with the figures of its last checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Counts the request's checkpoints from zero; a repeat of one is the same checkpoint.
    pub number: u64,
    /// When it was made.
    pub at: Moment,
    /// What was used until then.
    pub receipt: Box<Receipt>,
}

/// A request that is over. Id, outcome and all figures are the receipt's.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// When it ended.
    pub at: Moment,
    /// What it used.
    pub receipt: Box<Receipt>,
}

#[derive(Debug)]
pub(crate) enum Operation {
    Reserve(Reservation),
    Checkpoint(Checkpoint),
    Settle(Settlement),
    Interval(AccountInterval),
    Energy(EnergyInterval),
    Remove { before_unix_ms: i64 },
}

/// Submits an operation and blocks until it is durable or has failed.
///
/// ```no_run
/// # fn settle(ledger: &ledger::Ledger, settlement: ledger::Settlement) -> Result<(), ledger::LedgerError> {
/// ledger::wait(|done| ledger.settle(settlement, done))
/// # }
/// ```
///
/// # Errors
/// Whatever the completion is called with.
pub fn wait(submit: impl FnOnce(Completion)) -> Result<(), LedgerError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    submit(Box::new(move |result| {
        // The receiver lives until this is received.
        let _ = sender.send(result);
    }));
    receiver.recv().unwrap_or(Err(LedgerError::Closed))
}
