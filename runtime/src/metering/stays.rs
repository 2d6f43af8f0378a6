//! Requests between their wait for a model and its end: what each is charged of weights and of loads.
//!
//! Invariant: a stay that was opened ends exactly once, into its charge ([`Stay::ends`]) or into the accounts (its drop).
//! Deliberately absent: keys and values (`pages`), and how what is charged is split ([`meter::Residency`]).

use std::sync::Arc;

use meter::receipt::MeasuredMemory;
use meter::residency::{Request, RequestCharge, Residency};
use meter::{KibMillis, Nanos, Quality};

use super::Metering;

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
    /// Of its model's weights, at the charge's end; `None` where the kernel does not tell.
    resident_bytes: Option<u64>,
}

impl StayCharge {
    /// What a receipt says of memory, beside these keys and values, where the pool counts `weights_bytes` of the model.
    pub(crate) fn memory(&self, kv: KibMillis, weights_bytes: u64) -> MeasuredMemory {
        let (weights_bytes, quality) = match self.resident_bytes {
            Some(resident_bytes) => (resident_bytes.min(weights_bytes), Quality::Measured),
            None => (weights_bytes, Quality::Derived),
        };
        MeasuredMemory { weights: self.weights, kv, weights_bytes, quality }
    }
}

/// What the book knows of one.
pub(super) struct StayState {
    pub(super) tenant: Arc<str>,
    pub(super) device: usize,
    pub(super) model: Arc<str>,
    pub(super) is_waiting: bool,
    pub(super) load_cpu: Nanos,
}

impl Metering {
    /// A request waits for a model on the device of this number.
    pub(crate) fn arrives(self: &Arc<Self>, id: &str, tenant: &str, (device, model): (usize, &str)) -> Stay {
        let id: Arc<str> = id.into();
        let (tenant, model) = (tenant.into(), model.into());
        let state = StayState { tenant, device, model, is_waiting: true, load_cpu: Nanos::default() };
        self.book().stays.insert(Arc::clone(&id), state);
        Stay { metering: Arc::clone(self), id, is_open: true }
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

    /// What it would be charged if it ended now.
    pub(crate) fn charge_so_far(&self) -> StayCharge {
        let now = self.metering.clock.now();
        let mut book = self.metering.book();
        let Some(StayState { device, model, load_cpu, .. }) = book.stays.get(&self.id) else {
            return StayCharge::default();
        };
        let (device, model, load_cpu) = (*device, Arc::clone(model), *load_cpu);
        let weights = book.residency[device].charge_so_far(&self.id, now);
        StayCharge { weights, load_cpu, resident_bytes: resident_bytes(&book.residency[device], &model) }
    }

    /// The request lets go of the model.
    pub(crate) fn ends(mut self) -> StayCharge {
        self.is_open = false;
        let now = self.metering.clock.now();
        let mut book = self.metering.book();
        let Some(state) = book.stays.remove(&self.id) else { return StayCharge::default() };
        let resident_bytes = resident_bytes(&book.residency[state.device], &state.model);
        let weights = book.residency[state.device].request_ends(&self.id, now);
        StayCharge { weights, load_cpu: state.load_cpu, resident_bytes }
    }

    /// It was there for the load alone, which its tenant asked for and carries.
    pub(crate) fn asked_for_load(mut self) {
        self.ends_without_receipt(Asker::Itself);
    }

    /// What it held goes to the accounts.
    fn ends_without_receipt(&mut self, asker: Asker) {
        self.is_open = false;
        let now = self.metering.clock.now();
        let state = {
            let book = &mut *self.metering.book();
            let Some(state) = book.stays.remove(&self.id) else { return };
            let asked_by = asker.of(&state);
            book.residency[state.device].request_abandoned(&self.id, (&state.model, asked_by), now);
            book.residency[state.device].load_computed(&state.model, asked_by, state.load_cpu, now);
            state
        };
        self.metering.metrics.carried_load(asker.of(&state), &state.model, state.load_cpu);
    }
}

/// A request that ends without a receipt: what it held goes to the accounts.
impl Drop for Stay {
    fn drop(&mut self) {
        if self.is_open {
            self.ends_without_receipt(Asker::Nobody);
        }
    }
}

/// Who carries a load's part that is on no receipt.
#[derive(Clone, Copy)]
enum Asker {
    /// Who waited for it: it was asked for.
    Itself,
    /// Nobody: it was wanted for something else, which came to nothing.
    Nobody,
}

impl Asker {
    fn of(self, state: &StayState) -> Option<&str> {
        match self {
            Self::Itself => Some(&state.tenant),
            Self::Nobody => None,
        }
    }
}

/// By the kernel, of the copy that is in use.
fn resident_bytes(residency: &Residency, model: &str) -> Option<u64> {
    let (kib, quality) = residency.size_of(model)?;
    (quality == Quality::Measured).then(|| kib.saturating_mul(1024))
}
