//! Whose are the resident bytes: every model's weights over time, split among requests and accounts.
//!
//! Pure: the caller says what happened and when. While at least one request is active, the resident bytes are split
//! equally over the active tenants and each tenant's part equally over its requests. After the last request they are
//! the last active tenants' [`Account::Keepalive`] until the keep-alive ends; beyond that, and before the first
//! request, [`Account::Idle`]. A pinned model is its pinner's [`Account::Keepalive`] whenever no request is
//! active. A load is split over the requests that waited for it; one that none waited for is the [`Account::Keepalive`] of
//! whoever asked for it, or [`Account::Load`].
//!
//! What is resident of a model is known at the end of its load and whenever it is sampled, and goes in a straight line from
//! the latest event to a sample. An event in between (a request begins or ends) is charged with the size that was known
//! then, because a receipt cannot wait for the next sample. While it loads a model grows in a straight line, too.
//!
//! A model may be loaded again while earlier copies are on their way out. Copies of one artifact, told apart by
//! [`ArtifactId`], are mappings of the same pages and count once, so that such a load is charged only from the moment
//! on at which the earlier copy went; a copy of another artifact (the file was replaced) counts beside them from its
//! load's beginning until it is freed. What counts only because it is on its way out is [`Account::Idle`]'s.
//!
//! Invariants: the charges of requests and accounts sum to the integral of resident KiB over time exactly
//! ([`Residency::imbalance`]); no sequence of events panics: repeated events are absorbed, a time before a model's
//! latest one counts as that one, an eviction under an active request only stops the charging. Nothing grows without
//! bound if intervals are taken, requests and waiters end, and model names come from a catalog.
//!
//! Deliberately absent: key-value blocks ([`crate::kv`]), clocks and sampling.

mod accounts;
pub(crate) mod charges;
mod copies;
mod line;
mod resident;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::accounts::{Account, AccountCost, AccountInterval, HeldAs};
use self::charges::{Charges, Span};
pub use self::charges::{Holdings, IntervalNumbers};
use self::resident::Resident;
use crate::energy::Quality;
use crate::units::{KibMillis, Moment, Nanos, kib_of_bytes, split_equally};

/// A request and who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The request's id, unique among those that are waiting or active.
    pub id: &'a str,
    /// Its tenant.
    pub tenant: &'a str,
}

/// What makes two artifacts the same, opaque: equal for copies that share their pages. The default is that of one artifact
/// like any other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArtifactId(pub [u64; 4]);

/// A finished load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load<'a> {
    /// What was loaded.
    pub artifact: ArtifactId,
    /// Resident bytes of the weights at its end.
    pub bytes: u64,
    /// The same at its beginning: what was in memory already, or `bytes` where nobody knows.
    pub bytes_before: u64,
    /// [`Quality::Measured`] if the kernel said so, [`Quality::Derived`] if the pool's accounting stands in.
    pub quality: Quality,
    /// How long it took.
    pub wall: Duration,
    /// Who waits for it at its end, empty for a load that nobody waits for. Each of them ends by
    /// [`Residency::request_ends`], whether it began or not.
    pub waiters: &'a [Request<'a>],
    /// The tenant who carries it where nobody waits for it; without one [`Account::Load`] does.
    pub asked_by: Option<&'a str>,
}

/// Whose wish it is that a model stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pin {
    /// Nobody's.
    #[default]
    NotPinned,
    /// The operator's: [`Account::Idle`] carries it.
    Operator,
    /// This tenant's, who carries it.
    Tenant(Arc<str>),
}

/// What a request is charged of its model's weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCharge {
    /// While it was active.
    pub active: KibMillis,
    /// While the model was loaded for it.
    pub load: KibMillis,
}

impl RequestCharge {
    /// Both together.
    #[must_use]
    pub const fn total(self) -> KibMillis {
        self.active.saturating_add(self.load)
    }
}

/// The accounts of all models.
#[derive(Debug, Default)]
pub struct Residency {
    models: BTreeMap<Arc<str>, Resident>,
    /// Which model a request is active on.
    active: BTreeMap<Arc<str>, Arc<str>>,
    charges: Charges,
    numbers: IntervalNumbers,
    keep_alive: Duration,
}

impl Residency {
    /// No models yet. `keep_alive` is how long after the last request its tenants carry a model, where
    /// [`Residency::kept_until`] says nothing else.
    #[must_use]
    pub fn new(keep_alive: Duration) -> Self {
        Self { keep_alive, ..Self::default() }
    }

    /// A copy of `model` was loaded, ending at `at`, and is the one in use from then on; earlier ones are on their way out.
    pub fn model_loaded(&mut self, model: &str, at: Moment, load: Load<'_>) {
        let keep_alive = self.keep_alive;
        let (resident, charges) = self.resident(model);
        resident.advance(at, charges);
        if resident.is_in_use() {
            resident.set_keep_alive(keep_alive);
        }
        let span = resident.load(&load, at);
        charges.measure(span.kib_ms);
        if load.waiters.is_empty() {
            return charges.charge_account(resident.name(), (load.asked_by, HeldAs::Load), span);
        }
        for (waiter, part) in load.waiters.iter().zip(split_equally(span.kib_ms, load.waiters.len())) {
            charges.charge_load(resident.name(), waiter.id, Span { kib_ms: part, ..span });
        }
    }

    /// A load of `model`, or a part of one, took `cpu` of the processors and is on no receipt: `asked_by` carries that, or
    /// [`Account::Load`].
    pub fn load_computed(&mut self, model: &str, asked_by: Option<&str>, cpu: Nanos, at: Moment) {
        self.charges.charge_cpu(&model.into(), (asked_by, HeldAs::Load), cpu, at);
    }

    /// The kernel says that `bytes` of the copies of `model` from `artifact` are resident at `at`; all of them have the same
    /// pages. Nothing if there is no such copy.
    pub fn resident_bytes_sampled(&mut self, model: &str, (artifact, bytes): (ArtifactId, u64), at: Moment) {
        if let Some(resident) = self.models.get_mut(model) {
            resident.sampled(artifact, kib_of_bytes(bytes), at, &mut self.charges);
        }
    }

    /// What counts of the copy of `model` that is in use, in KiB, and how that is known.
    #[must_use]
    pub fn size_of(&self, model: &str) -> Option<(u64, Quality)> {
        self.models.get(model).and_then(Resident::size)
    }

    /// `request` is active on `model` from `at` on. One that is active already, on whichever model, is left as it is.
    pub fn request_begins(&mut self, model: &str, request: Request<'_>, at: Moment) {
        if self.active.contains_key(request.id) {
            return;
        }
        let (resident, charges) = self.resident(model);
        resident.advance(at, charges);
        let id: Arc<str> = request.id.into();
        resident.begin(request.tenant, Arc::clone(&id));
        let name = Arc::clone(resident.name());
        self.active.insert(id, name);
    }

    /// `request` is over: what it is charged. One that waited and never began is charged its share of the load; one
    /// that is unknown, or ended before, nothing.
    pub fn request_ends(&mut self, request: &str, at: Moment) -> RequestCharge {
        if let Some((id, model)) = self.active.remove_entry(request) {
            let (resident, charges) = self.resident(&model);
            resident.advance(at, charges);
            resident.end(&id);
        }
        self.charges.settle(request)
    }

    /// What `request` would be charged if it were over at `at`; it goes on.
    pub fn charge_so_far(&mut self, request: &str, at: Moment) -> RequestCharge {
        if let Some(model) = self.active.get(request).map(Arc::clone) {
            let (resident, charges) = self.resident(&model);
            resident.advance(at, charges);
        }
        self.charges.so_far(request)
    }

    /// From `at` on the last tenants carry `model` until `until`, until that copy is gone or this is said anew.
    pub fn kept_until(&mut self, model: &str, until: Moment, at: Moment) {
        let (resident, charges) = self.resident(model);
        resident.advance(at, charges);
        resident.set_kept_until(until);
    }

    /// From `at` on `model` is kept for `pin`, over any number of loads, or for nobody. Who used it last carries it no more.
    pub fn pinned(&mut self, model: &str, pin: Pin, at: Moment) {
        let (resident, charges) = self.resident(model);
        resident.advance(at, charges);
        resident.set_pin(pin);
    }

    /// A request of `model` is over that gets no receipt: refused or left before its first step, or one that asked for
    /// nothing but the load, which `asked_by` carries then. What it was charged otherwise goes to the accounts `idle` and
    /// `load`.
    pub fn request_abandoned(&mut self, request: &str, (model, asked_by): (&str, Option<&str>), at: Moment) {
        if let Some((id, model)) = self.active.remove_entry(request) {
            let (resident, charges) = self.resident(&model);
            resident.advance(at, charges);
            resident.end(&id);
        }
        self.charges.abandon(request, (&model.into(), asked_by), HeldAs::Idle, at);
    }

    /// A copy of `model` from `artifact` is gone since `at`: one that was on its way out, if there is any.
    pub fn copy_freed(&mut self, model: &str, artifact: ArtifactId, at: Moment) {
        let keep_alive = self.keep_alive;
        let (resident, charges) = self.resident(model);
        resident.advance(at, charges);
        if resident.free(artifact, at) {
            resident.set_keep_alive(keep_alive);
        }
    }

    /// Nothing happened until `at`: charges all models up to it.
    pub fn advance(&mut self, at: Moment) {
        for resident in self.models.values_mut() {
            resident.advance(at, &mut self.charges);
        }
    }

    /// What the accounts carried since the last call, up to `at`. The caller stores every interval.
    pub fn take_intervals(&mut self, at: Moment) -> Vec<AccountInterval> {
        self.advance(at);
        self.charges.take_intervals(&mut self.numbers)
    }

    /// The same with numbers that another gives: where several of these feed one store, all take theirs from one of them.
    pub fn take_numbered_intervals(&mut self, at: Moment, numbers: &mut IntervalNumbers) -> Vec<AccountInterval> {
        self.advance(at);
        self.charges.take_intervals(numbers)
    }

    /// The numbers of intervals: whatever else gives out intervals in this process takes theirs from here.
    pub fn numbers(&mut self) -> &mut IntervalNumbers {
        &mut self.numbers
    }

    /// The integral of resident KiB over time until the latest event, in KiB · ms.
    #[must_use]
    pub const fn measured(&self) -> u128 {
        self.charges.measured()
    }

    /// Who held how much until the latest event.
    #[must_use]
    pub const fn holdings(&self) -> Holdings {
        self.charges.holdings()
    }

    /// How far all charges are from [`Residency::measured`], in KiB · ms, and what intervals tell of processor time from what
    /// there was, in nanoseconds: zero, or there is a bug.
    #[must_use]
    pub fn imbalance(&self) -> u128 {
        self.charges.imbalance()
    }

    fn resident(&mut self, model: &str) -> (&mut Resident, &mut Charges) {
        if !self.models.contains_key(model) {
            let name: Arc<str> = model.into();
            self.models.insert(Arc::clone(&name), Resident::new(name, self.keep_alive));
        }
        let resident = self.models.get_mut(model).expect("inserted above");
        (resident, &mut self.charges)
    }
}

#[cfg(test)]
mod tests;
