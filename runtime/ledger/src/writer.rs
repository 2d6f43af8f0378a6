//! The one thread that writes: everything queued goes into one transaction, one commit, many completions.
//!
//! Invariants: a completion gets `Ok` only after the commit returned; if the commit fails, every operation in it
//! fails; the next batch starts afresh. An operation that is refused for itself takes no other one down. Retention works
//! between commits, a bounded piece at a time.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};

use rusqlite::{Connection, TransactionBehavior};

use crate::LedgerError;
use crate::chain::Head;
use crate::entries::{self, Present};
use crate::journal::Journal;
use crate::limits::BATCH_MAX;
use crate::mark::HeadMark;
use crate::operation::{Completion, Operation};
use crate::retention::{self, Progress, Removal};
use crate::run::Begun;

pub(crate) struct Submission {
    pub(crate) operation: Operation,
    pub(crate) done: Completion,
}

/// The thread's own.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) begun: Begun,
    pub(crate) wall_clock: fn() -> i64,
    /// None for a ledger in memory.
    pub(crate) mark: Option<HeadMark>,
    /// How far rows are to be removed, and who waits for that.
    pub(crate) removals: Vec<(Removal, Completion)>,
}

impl Writer {
    /// Writes until every sender is gone and the queue is empty. What is still to be removed then is left.
    pub(crate) fn run(mut self, queue: &Receiver<Submission>) {
        while let Ok(first) = self.next(queue) {
            let mut batch: Vec<Submission> = first.into_iter().collect();
            batch.extend(queue.try_iter().take(BATCH_MAX - batch.len()));
            let batch = self.take_removals(batch);
            if !batch.is_empty() {
                self.write(batch);
            }
            self.remove_some();
        }
        for (_, done) in self.removals {
            complete(done, Err(LedgerError::Closed));
        }
        // The file is whole without its WAL after an orderly end; if this fails, the next opening reads the WAL.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Waits for a submission, unless there is something to remove meanwhile.
    fn next(&self, queue: &Receiver<Submission>) -> Result<Option<Submission>, RecvTimeoutError> {
        if self.removals.is_empty() {
            return queue.recv().map(Some).map_err(|_| RecvTimeoutError::Disconnected);
        }
        match queue.try_recv() {
            Ok(submission) => Ok(Some(submission)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        }
    }

    fn take_removals(&mut self, batch: Vec<Submission>) -> Vec<Submission> {
        let mut others = Vec::with_capacity(batch.len());
        for submission in batch {
            match submission.operation {
                // What is appended from here on, anchors among it, is not meant.
                Operation::Remove { before_unix_ms } => {
                    let removal = Removal { before_unix_ms, last_link: self.begun.head.link };
                    self.removals.push((removal, submission.done));
                }
                _ => others.push(submission),
            }
        }
        others
    }

    fn write(&mut self, batch: Vec<Submission>) {
        let results = self.commit(&batch);
        for (index, submission) in batch.into_iter().enumerate() {
            let result = match &results {
                Ok(results) => results[index].clone(),
                Err(failure) => Err(failure.clone()),
            };
            complete(submission.done, result);
        }
    }

    fn commit(&mut self, batch: &[Submission]) -> Result<Vec<Result<(), LedgerError>>, LedgerError> {
        // Dropped without a commit, the transaction is rolled back.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut journal = Journal::new(&transaction, self.begun.head);
        let present = Present { run: self.begun.run, unix_ms: (self.wall_clock)() };
        let mut results = Vec::with_capacity(batch.len());
        for submission in batch {
            let result = match &submission.operation {
                Operation::Reserve(reservation) => entries::reserve(&mut journal, present, reservation),
                Operation::Checkpoint(checkpoint) => entries::checkpoint(&mut journal, present, checkpoint),
                Operation::Settle(settlement) => entries::settle(&mut journal, present, settlement),
                Operation::Interval(interval) => entries::record_interval(&mut journal, present, interval),
                Operation::Energy(interval) => entries::record_energy(&mut journal, present, interval),
                Operation::Remove { .. } => Ok(()),
            };
            match result {
                Ok(()) => results.push(Ok(())),
                Err(refusal) if refusal.concerns_one_operation() => results.push(Err(refusal)),
                Err(failure) => return Err(failure),
            }
        }
        let head = journal.finish()?;
        transaction.commit()?;
        self.advance(head);
        Ok(results)
    }

    /// The chain is durable up to `head`.
    fn advance(&mut self, head: Head) {
        self.begun.head = head;
        if let Some(mark) = &self.mark {
            mark.note(&head);
        }
    }

    /// Removes a piece of what is older than whoever waits longest has said.
    fn remove_some(&mut self) {
        let Some((removal, _)) = self.removals.first() else { return };
        let unix_ms = (self.wall_clock)();
        let result = match retention::remove(&mut self.connection, self.begun.head, *removal, unix_ms) {
            Ok(Progress::More(head)) => {
                self.advance(head);
                return;
            }
            Ok(Progress::Done) => Ok(()),
            Err(failure) => Err(failure),
        };
        let (_, done) = self.removals.remove(0);
        complete(done, result);
    }
}

/// A completion that panics must not take the ledger with it.
pub(crate) fn complete(done: Completion, result: Result<(), LedgerError>) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| done(result)));
}
