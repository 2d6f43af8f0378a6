//! What requests and the pool do, on its way to receipts and the ledger.
//!
//! One book keeps who holds which memory; it hears the pool's events in order (`pool`), the requests' begins and ends
//! (`stays`), who holds which pages (`pages`), and what the kernel says is resident (`residents`). A request is reserved in
//! the ledger before its first step and settled before its last byte; what no request carries (keep-alive, idle, loads that
//! nobody took) goes to the accounts in intervals.
//!
//! Invariants: each request that was announced ends exactly once, with a receipt or into the accounts ([`Stay`]'s drop); an
//! interval that the ledger did not take is offered again. Deliberately absent: prompts and answers.

pub(crate) mod energy;
mod pages;
mod pool;
mod prices;
mod recent;
mod residents;
mod stays;
mod upkeep;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use ledger::{Completion, Ledger, LedgerError, Reservation, Settlement};
use meter::kv::SharedBlocks;
use meter::receipt::{Measured, Receipt};
use meter::residency::{AccountInterval, Pin, Residency};
use meter::{EnergyBook, EnergyInterval, Moment, Nanos};
use tokio::sync::oneshot;

use self::energy::EnergyNow;
pub(crate) use self::prices::{DevicePrices, Prices};
pub(crate) use self::recent::{Brief, RecentReceipts};
use self::residents::Residents;
pub(crate) use self::residents::{Watch, follow as follow_residency};
use self::stays::StayState;
pub(crate) use self::stays::{Stay, StayCharge};
pub(crate) use self::work::DeviceWork;
use crate::http::metrics::Metrics;
use crate::limits::{INTERVALS_WAITING_MAX, SETTLEMENTS_WAITING_MAX};
use crate::tenancy::Spending;

/// Milliseconds since the server began, by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn now(self) -> Moment {
        self.at(Instant::now())
    }

    fn at(self, instant: Instant) -> Moment {
        Moment::after_start(instant.saturating_duration_since(self.0))
    }
}

/// The meter of one server.
pub(crate) struct Metering {
    clock: Clock,
    /// What time it was at the clock's beginning, by the wall clock.
    began_unix_ms: i64,
    book: Mutex<Book>,
    ledger: Ledger,
    /// Which an operator may change.
    prices: RwLock<Arc<Prices>>,
    energy: EnergyNow,
    metrics: Metrics,
    spending: Arc<Spending>,
    residents: Residents,
    recent: RecentReceipts,
}

struct Book {
    /// By the devices' numbers: copies on two devices are apart.
    residency: Vec<Residency>,
    /// Pages of keys and values that more than one request can find.
    pages: SharedBlocks,
    next_page: u64,
    /// Who waits for or uses a model, by request.
    stays: HashMap<Arc<str>, StayState>,
    /// Processor time of a load that has ended but was not heard of by the pool's event yet, by device and model.
    computed: HashMap<(usize, String), Duration>,
    /// What the kernel said of its files before it and at its end, in bytes.
    resident_at_load: HashMap<(usize, String), [u64; 2]>,
    /// Who waits for a model that is to stay, by model, in the order in which they asked.
    pin_wishes: HashMap<String, Vec<Pin>>,
    /// Up to when the ledger has taken what the accounts carried.
    accounted_until: Moment,
    /// Intervals and settlements that the ledger has not taken yet.
    waiting: Vec<AccountInterval>,
    unsettled: Vec<Settlement>,
    /// What devices took in energy.
    energy: EnergyBook,
    energy_waiting: Vec<EnergyInterval>,
}

impl Metering {
    /// Of what `ledger` has and is to have; `recent` are the last receipts in it.
    pub(crate) fn new(ledger: Ledger, prices: Prices, spending: Arc<Spending>, recent: RecentReceipts) -> Self {
        let book = Book {
            // How long each model is kept is told when nobody holds it any more.
            residency: prices.devices.iter().map(|_| Residency::new(Duration::ZERO)).collect(),
            pages: SharedBlocks::new(),
            next_page: 0,
            stays: HashMap::new(),
            computed: HashMap::new(),
            resident_at_load: HashMap::new(),
            pin_wishes: HashMap::new(),
            accounted_until: Moment::ZERO,
            waiting: Vec::new(),
            unsettled: Vec::new(),
            energy: EnergyBook::new(),
            energy_waiting: Vec::new(),
        };
        let energy = EnergyNow::new(prices.devices.iter().map(|device| device.energy.clone()));
        let metrics = Metrics::new();
        let began_unix_ms = ledger.opened_unix_ms();
        let clock = Clock(Instant::now());
        let residents = Residents::default();
        let (book, prices) = (Mutex::new(book), RwLock::new(Arc::new(prices)));
        Self { clock, began_unix_ms, book, ledger, prices, energy, metrics, spending, residents, recent }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Must stay 0: memory and energy that was measured and that no account carries, or the other way round.
    pub(crate) fn imbalance(&self) -> u128 {
        let book = self.book();
        let weights = book.residency.iter().map(Residency::imbalance);
        weights.fold(book.pages.imbalance(), u128::saturating_add).saturating_add(book.energy.imbalance())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Processor time of the steps and loads of the device of this number.
    pub(crate) fn computed(&self, device: usize) -> Nanos {
        self.energy.of(device).work.cpu()
    }

    /// Writes down that work is about to be done, for a request that the client calls `name` if it does, of a tenant that
    /// came by the key of this id if that has one. The answer comes when that is durable.
    pub(crate) fn reserve(
        &self,
        (id, name): (&str, Option<&str>),
        (tenant, key_id): (&str, Option<&str>),
        model: &str,
    ) -> oneshot::Receiver<Result<(), LedgerError>> {
        let reservation = Reservation {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            model: model.to_owned(),
            at: self.clock.now(),
            idempotency_key: name.map(str::to_owned),
            key_id: key_id.map(str::to_owned),
        };
        let (done, answer) = bridge();
        self.ledger.reserve(reservation, done);
        answer
    }

    /// Makes the receipt of what the device of this number did and writes it down; returns when it is durable.
    pub(crate) async fn settle(&self, device: usize, measured: Measured) -> Result<Receipt, LedgerError> {
        let receipt = self.receipt(device, measured);
        let settlement = Settlement { at: self.clock.now(), receipt: Box::new(receipt.clone()) };
        self.offer(settlement).await.map(|()| receipt)
    }

    /// Offers a settlement; one that is not taken is offered again with the accounts.
    async fn offer(&self, settlement: Settlement) -> Result<(), LedgerError> {
        let (done, answer) = bridge();
        self.ledger.settle(settlement.clone(), done);
        let taken = answer.await.unwrap_or(Err(LedgerError::Closed));
        if taken.is_ok() {
            self.metrics.settled(&settlement.receipt);
            self.spending.charge(&settlement.receipt);
            self.recent.settled(&settlement.receipt, self.now_unix_ms());
        }
        if taken.is_err() {
            self.metrics.ledger_failed();
        }
        if taken.as_ref().is_err_and(LedgerError::is_retryable) {
            let mut book = self.book();
            if book.unsettled.len() < SETTLEMENTS_WAITING_MAX {
                book.unsettled.push(settlement);
            }
        }
        taken
    }

    /// Rows that wait to be offered to the ledger again.
    pub(crate) fn rows_waiting(&self) -> usize {
        let book = self.book();
        book.waiting.len() + book.unsettled.len() + book.energy_waiting.len()
    }

    /// Up to when the accounts are in the ledger: what is told of memory can be told until then.
    pub(crate) fn accounted_until(&self) -> Moment {
        self.book().accounted_until
    }

    /// Offers the ledger what the accounts carried since the last time. What it does not take is kept for the next.
    pub(crate) async fn store_accounts(&self) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let taken = self.book().take_intervals(now);
        let new = self.priced(taken);
        self.metrics.held(&new);
        let waiting = std::mem::take(&mut self.book().waiting);
        let answers: Vec<_> = waiting
            .into_iter()
            .chain(new)
            .map(|interval| {
                let (done, answer) = bridge();
                self.ledger.interval(interval.clone(), done);
                (interval, answer)
            })
            .collect();
        let mut failure = Ok(());
        let unsettled = std::mem::take(&mut self.book().unsettled);
        for settlement in unsettled {
            if let Err(error) = self.offer(settlement).await {
                failure = Err(error);
            }
        }
        for (interval, answer) in answers {
            let Err(error) = answer.await.unwrap_or(Err(LedgerError::Closed)) else {
                self.spending.keeps(&interval);
                continue;
            };
            failure = Err(error);
            self.metrics.ledger_failed();
            let mut book = self.book();
            if book.waiting.len() < INTERVALS_WAITING_MAX {
                book.waiting.push(interval);
            }
        }
        if failure.is_ok() {
            self.book().accounted_until = now;
        }
        failure
    }
}

impl Book {
    /// What the accounts carried since the last time, each with the number of its device.
    fn take_intervals(&mut self, now: Moment) -> Vec<(usize, AccountInterval)> {
        // One of them gives the numbers of all: the ledger tells intervals apart by them.
        let (first, others) = self.residency.split_first_mut().expect("there is at least one device");
        let mut taken: Vec<_> = first.take_intervals(now).into_iter().map(|one| (0, one)).collect();
        for (device, other) in (1..).zip(others) {
            taken.extend(other.take_numbered_intervals(now, first.numbers()).into_iter().map(|one| (device, one)));
        }
        // Only the first has pages that more than one request can find.
        taken.extend(self.pages.take_intervals(now, first.numbers()).into_iter().map(|one| (0, one)));
        taken
    }
}

fn bridge() -> (Completion, oneshot::Receiver<Result<(), LedgerError>>) {
    let (sender, receiver) = oneshot::channel();
    let done: Completion = Box::new(move |result| {
        // Nobody waits any more: the client left, and the row stands.
        let _ = sender.send(result);
    });
    (done, receiver)
}

#[cfg(test)]
pub(crate) mod tests;
