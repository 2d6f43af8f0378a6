//! What can be written.

use std::sync::mpsc;

use meter::{AccountInterval, Moment, Receipt};

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
    Settle(Settlement),
    Interval(AccountInterval),
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
