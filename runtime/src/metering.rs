//! What requests and the pool do, on its way to receipts and the ledger.
//!
//! One book keeps who holds which memory; it hears the pool's events in order and the requests' begins and ends. A
//! request is reserved in the ledger before its first step and settled before its last byte; what no request carries
//! (keep-alive, idle, loads that nobody took) goes to the accounts in intervals.
//!
//! Invariants: each request that was announced ends exactly once, with a receipt or into the accounts ([`Stay`]'s drop); an interval that
//! the ledger did not take is offered again. Deliberately absent: prompts and answers.

pub(crate) mod energy;
mod prices;
mod upkeep;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ledger::{Completion, Ledger, LedgerError, Reservation, Settlement};
use meter::kv::{BlockId, PublishedBlock, SharedBlocks};
use meter::receipt::{Measured, Receipt};
use meter::residency::{AccountInterval, ArtifactId, Load, Pin, Request, RequestCharge, Residency};
use meter::units::split_equally;
use meter::{Account, EnergyBook, EnergyInterval, KibMillis, Moment, Nanos};
use scheduler::{Identity, PoolEvent, PoolEventKind};
use tokio::sync::oneshot;

use self::energy::EnergyNow;
pub(crate) use self::prices::{DevicePrices, Prices};
pub(crate) use self::work::DeviceWork;
use crate::http::metrics::Metrics;
use crate::limits::{INTERVALS_WAITING_MAX, SETTLEMENTS_WAITING_MAX};
use crate::tenancy::Spending;

/// As good as for ever, for a model that stays until memory is needed.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

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
    prices: Prices,
    energy: EnergyNow,
    metrics: Metrics,
    spending: Arc<Spending>,
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

struct StayState {
    tenant: Arc<str>,
    device: usize,
    model: Arc<str>,
    is_waiting: bool,
    load_cpu: Nanos,
}

/// A request's presence in the book, from its wait for a model to its end.
pub(crate) struct Stay {
    metering: Arc<Metering>,
    id: Arc<str>,
    is_open: bool,
}

/// What a request's stay cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StayCharge {
    pub(crate) weights: RequestCharge,
    pub(crate) load_cpu: Nanos,
}

impl Metering {
    pub(crate) fn new(ledger: Ledger, prices: Prices, spending: Arc<Spending>) -> Self {
        let book = Book {
            // How long each model is kept is told when nobody holds it any more.
            residency: prices.devices.iter().map(|_| Residency::new(Duration::ZERO)).collect(),
            pages: SharedBlocks::new(),
            next_page: 0,
            stays: HashMap::new(),
            computed: HashMap::new(),
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
        Self { clock, began_unix_ms, book: Mutex::new(book), ledger, prices, energy, metrics, spending }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How what the device of this number does is priced.
    pub(crate) fn prices_of(&self, device: usize) -> &DevicePrices {
        &self.prices.devices[device]
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

    /// A request waits for a model on the device of this number.
    pub(crate) fn arrives(self: &Arc<Self>, id: &str, tenant: &str, (device, model): (usize, &str)) -> Stay {
        let id: Arc<str> = id.into();
        let (tenant, model) = (tenant.into(), model.into());
        let state = StayState { tenant, device, model, is_waiting: true, load_cpu: Nanos::default() };
        self.book().stays.insert(Arc::clone(&id), state);
        Stay { metering: Arc::clone(self), id, is_open: true }
    }

    /// Processor time of the steps and loads of the device of this number.
    pub(crate) fn computed(&self, device: usize) -> Nanos {
        self.energy.of(device).work.cpu()
    }

    /// A load on the device of this number took this processor time; the pool's event about it follows.
    pub(crate) fn load_computed(&self, (device, model): (usize, &str), cpu: Duration) {
        self.energy.of(device).work.computed(cpu);
        self.book().computed.insert((device, model.to_owned()), cpu);
    }

    /// `pin` asks the pool to keep `model`: whoever asked first is the one for whom the pool's event about it is. The wish
    /// ends when the guard drops, which is after the pool's answer.
    pub(crate) fn pins(self: &Arc<Self>, model: &str, pin: Pin) -> PinWish {
        self.book().pin_wishes.entry(model.to_owned()).or_default().push(pin.clone());
        PinWish { metering: Arc::clone(self), model: model.to_owned(), pin }
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

    /// A page of `model` can be found from now on; `kept_for` carries it while nobody holds it.
    pub(crate) fn page_shared(&self, model: &str, bytes: u64, kept_for: Account) -> BlockId {
        let now = self.clock.now();
        let mut book = self.book();
        let id = BlockId(book.next_page);
        book.next_page += 1;
        book.pages.published(PublishedBlock { id, model, bytes, kept_for }, now);
        id
    }

    /// `request` holds a page that can be found.
    pub(crate) fn page_held(&self, page: BlockId, request: &str) {
        let now = self.clock.now();
        self.book().pages.held(page, request, now);
    }

    /// `request` holds it no more.
    pub(crate) fn page_released(&self, page: BlockId, request: &str) {
        let now = self.clock.now();
        self.book().pages.released(page, request, now);
    }

    /// A page's memory is given back.
    pub(crate) fn page_freed(&self, page: BlockId) {
        let now = self.clock.now();
        self.book().pages.freed(page, now);
    }

    /// `request` holds no page any more: what it is charged of those that can be found.
    pub(crate) fn pages_settled(&self, request: &str) -> KibMillis {
        let now = self.clock.now();
        self.book().pages.request_ends(request, now)
    }

    /// `request` of `model` ends without a receipt.
    pub(crate) fn pages_abandoned(&self, request: &str, model: &str, own: KibMillis) {
        let now = self.clock.now();
        self.book().pages.request_abandoned(request, model, own, now);
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
        }
        if taken.as_ref().is_err_and(LedgerError::is_retryable) {
            let mut book = self.book();
            if book.unsettled.len() < SETTLEMENTS_WAITING_MAX {
                book.unsettled.push(settlement);
            }
        }
        taken
    }

    /// Up to when the accounts are in the ledger: what is told of memory can be told until then.
    pub(crate) fn accounted_until(&self) -> Moment {
        self.book().accounted_until
    }

    /// Offers the ledger what the accounts carried since the last time. What it does not take is kept for the next.
    pub(crate) async fn store_accounts(&self) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let intervals = {
            let mut book = self.book();
            let Book { residency, pages, waiting, .. } = &mut *book;
            // One of them gives the numbers of all: the ledger tells intervals apart by them.
            let (first, others) = residency.split_first_mut().expect("there is at least one device");
            waiting.extend(first.take_intervals(now));
            for other in others {
                waiting.extend(other.take_numbered_intervals(now, first.numbers()));
            }
            waiting.extend(pages.take_intervals(now, first.numbers()));
            std::mem::take(&mut book.waiting)
        };
        let answers: Vec<_> = intervals
            .into_iter()
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
            if let Err(error) = answer.await.unwrap_or(Err(LedgerError::Closed)) {
                failure = Err(error);
                let mut book = self.book();
                if book.waiting.len() < INTERVALS_WAITING_MAX {
                    book.waiting.push(interval);
                }
            }
        }
        if failure.is_ok() {
            self.book().accounted_until = now;
        }
        failure
    }
}

impl Stay {
    /// The wait is over: the request holds the model from now on.
    pub(crate) fn begins(&self) {
        let now = self.metering.clock.now();
        let book = &mut *self.metering.book();
        if let Some(state) = book.stays.get_mut(&self.id) {
            state.is_waiting = false;
            let request = Request { id: &self.id, tenant: &state.tenant };
            book.residency[state.device].request_begins(&state.model, request, now);
        }
    }

    /// The request lets go of the model.
    pub(crate) fn ends(mut self) -> StayCharge {
        self.is_open = false;
        let now = self.metering.clock.now();
        let mut book = self.metering.book();
        let Some(state) = book.stays.remove(&self.id) else { return StayCharge::default() };
        let weights = book.residency[state.device].request_ends(&self.id, now);
        StayCharge { weights, load_cpu: state.load_cpu }
    }
}

/// A request that ends without a receipt: what it held goes to the accounts.
impl Drop for Stay {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let now = self.metering.clock.now();
        let book = &mut *self.metering.book();
        if let Some(state) = book.stays.remove(&self.id) {
            book.residency[state.device].request_abandoned(&self.id, &state.model, now);
        }
    }
}

/// A wish that a model stays, on its way through the pool.
pub(crate) struct PinWish {
    metering: Arc<Metering>,
    model: String,
    pin: Pin,
}

impl Drop for PinWish {
    fn drop(&mut self) {
        let mut book = self.metering.book();
        let Some(wishes) = book.pin_wishes.get_mut(&self.model) else { return };
        if let Some(place) = wishes.iter().position(|pin| *pin == self.pin) {
            wishes.remove(place);
        }
        if wishes.is_empty() {
            book.pin_wishes.remove(&self.model);
        }
    }
}

impl Book {
    /// A load of `copy` (its artifact and bytes) ended: those who waited for it share its memory and its processor time.
    fn loaded(&mut self, (device, model): (usize, &Arc<str>), copy: (Identity, u64), wall: Duration, at: Moment) {
        let cpu = Nanos::from(self.computed.remove(&(device, model.to_string())).unwrap_or_default());
        let waits = |stay: &StayState| stay.is_waiting && stay.device == device && stay.model == *model;
        let mut waiters: Vec<_> = self.stays.iter_mut().filter(|(_, stay)| waits(stay)).collect();
        waiters.sort_by(|a, b| a.0.cmp(b.0));
        let parts = split_equally(cpu.get(), waiters.len());
        for ((_, stay), part) in waiters.iter_mut().zip(parts) {
            stay.load_cpu = Nanos::new(part);
        }
        let requests: Vec<Request<'_>> =
            waiters.iter().map(|(id, stay)| Request { id, tenant: &stay.tenant }).collect();
        let (Identity(artifact), bytes) = copy;
        let load = Load { artifact: ArtifactId(artifact), bytes, wall, waiters: &requests };
        self.residency[device].model_loaded(model, at, load);
    }
}

impl Metering {
    /// Something happened in the pool of the device of this number.
    pub(crate) fn observe(&self, device: usize, event: &PoolEvent) {
        let at = self.clock.at(event.at.into_std());
        self.metrics.observe(event);
        match &event.kind {
            PoolEventKind::Loaded { identity, bytes, wall, waiters, source, cause } => {
                tracing::info!(
                    model = &*event.model,
                    device,
                    bytes,
                    ?wall,
                    waiters,
                    source = source.label.name(),
                    cause = cause.name(),
                    "loaded"
                );
                self.book().loaded((device, &event.model), (*identity, *bytes), *wall, at);
            }
            PoolEventKind::Pinned => {
                let book = &mut *self.book();
                let wishes = book.pin_wishes.get(&*event.model);
                let pin = wishes.and_then(|wishes| wishes.first()).cloned().unwrap_or(Pin::Operator);
                book.residency[device].pinned(&event.model, pin, at);
            }
            PoolEventKind::Unpinned => self.book().residency[device].pinned(&event.model, Pin::NotPinned, at),
            // The pool knows what request, model and configuration say, and what was chosen automatically.
            PoolEventKind::Idle { expires_in, .. } => {
                let until = self.clock.at(event.at.into_std() + expires_in.unwrap_or(FOREVER).min(FOREVER));
                self.book().residency[device].kept_until(&event.model, until, at);
            }
            // From here on it is kept for nobody: what is left is the time that letting go takes.
            PoolEventKind::Evicted { .. } => self.book().residency[device].kept_until(&event.model, at, at),
            PoolEventKind::Freed { identity: Identity(artifact), .. } => {
                self.book().residency[device].copy_freed(&event.model, ArtifactId(*artifact), at);
            }
            _ => {}
        }
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
