//! What goes to the ledger beside beginnings and ends: checkpoints of requests that go on for long, what devices took in
//! energy, and word that old rows may go.
//!
//! Nobody waits for any of it. A checkpoint that the ledger does not take is missed; the next one says all that it did. An
//! interval of energy that it does not take is offered again.

use std::time::Duration;

use ledger::{Checkpoint, LedgerError};
use meter::receipt::Measured;
use meter::residency::Holdings;
use meter::{EnergyAccounts, IntervalEnergy, Moment};
use tokio::sync::oneshot;

use crate::limits::INTERVALS_WAITING_MAX;

use super::{Metering, bridge};

impl Metering {
    /// Writes down what a request has used of the device until now, as its checkpoint of that number.
    pub(crate) fn checkpoint(&self, (device, number): (usize, u64), measured: Measured) {
        let id = measured.id.clone();
        let receipt = self.receipt(device, measured);
        let checkpoint = Checkpoint { number, at: self.clock.now(), receipt: Box::new(receipt) };
        let done = move |result: Result<(), LedgerError>| {
            if let Err(error) = result {
                tracing::warn!(id, number, error = &error as &dyn std::error::Error, "a checkpoint is missed");
            }
        };
        self.ledger.checkpoint(checkpoint, Box::new(done));
    }

    /// A device, or the host, took energy until now, which `accounts` carry.
    pub(super) fn took(&self, device: &str, taken: &IntervalEnergy, accounts: Option<EnergyAccounts>) {
        self.metrics.device_interval(device, taken, accounts.as_ref());
        let now = self.clock.now();
        self.book().energy.put(device, taken, accounts, now);
    }

    /// Who has held memory of these devices until now, and of pages that are shared where the first is among them: only its
    /// pages are.
    pub(super) fn held(&self, devices: &[usize]) -> Holdings {
        let now = self.clock.now();
        let book = &mut *self.book();
        let mut held = Holdings::default();
        for &device in devices {
            book.residency[device].advance(now);
            held = held + book.residency[device].holdings();
        }
        if devices.contains(&0) {
            book.pages.advance(now);
            held = held + book.pages.holdings();
        }
        held
    }

    /// Offers the ledger what devices took since the last time, and what it has not taken before.
    pub(crate) async fn store_energy(&self) -> Result<(), LedgerError> {
        let intervals = {
            let mut book = self.book();
            let new = book.energy.take_intervals();
            book.energy_waiting.extend(new);
            std::mem::take(&mut book.energy_waiting)
        };
        // All are offered before any is waited for: whoever gives up waiting loses none.
        let offered: Vec<_> = intervals
            .into_iter()
            .map(|interval| {
                let (done, answer) = bridge();
                self.ledger.energy(interval.clone(), done);
                (interval, answer)
            })
            .collect();
        let mut failure = Ok(());
        for (interval, answer) in offered {
            if let Err(error) = received(answer).await {
                failure = Err(error);
                self.metrics.ledger_failed();
                let mut book = self.book();
                if book.energy_waiting.len() < INTERVALS_WAITING_MAX {
                    book.energy_waiting.push(interval);
                }
            }
        }
        failure
    }

    /// What time it is by the wall clock of the server's beginning, in milliseconds since 1970.
    pub(crate) fn now_unix_ms(&self) -> i64 {
        let since_ms = i64::try_from(self.clock.0.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.began_unix_ms.saturating_add(since_ms)
    }

    /// Lets the ledger remove what is older than `retention`. What time it is follows from when the ledger was opened and
    /// how long ago that was: a wall clock that jumps meanwhile removes nothing.
    pub(crate) async fn remove_older_than(&self, retention: Duration) -> Result<(), LedgerError> {
        let before = removed_before(self.began_unix_ms, self.clock.now(), retention);
        let (done, answer) = bridge();
        self.ledger.remove_before(before, done);
        received(answer).await
    }
}

async fn received(answer: oneshot::Receiver<Result<(), LedgerError>>) -> Result<(), LedgerError> {
    answer.await.unwrap_or(Err(LedgerError::Closed))
}

/// In milliseconds since 1970.
fn removed_before(began_unix_ms: i64, now: Moment, retention: Duration) -> i64 {
    let up_ms = i64::try_from(now.get()).unwrap_or(i64::MAX);
    let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    began_unix_ms.saturating_add(up_ms).saturating_sub(retention_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_is_what_was_written_before_the_retention_by_the_time_that_has_passed() {
        let day = Duration::from_secs(86_400);
        assert_eq!(removed_before(200_000_000, Moment::new(1_000), day), 200_000_000 + 1_000 - 86_400_000);
        assert_eq!(removed_before(5, Moment::MAX, Duration::MAX), 0);
        assert_eq!(removed_before(i64::MIN, Moment::ZERO, day), i64::MIN);
    }
}
