//! A model's life, step by step: inspection, load, leases, idleness, eviction.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::LeaseError;
use super::event::{Dismissal, EvictionCause, EvictionRecord, LoadCause, PoolEventKind};
use super::lease::{Lease, Resident, Start};
use super::loader::{FaultKind, Identity, Inspection, LoadFault, Loaded, ModelLoader};
use super::message::{Arrival, Coldness, Effect, LoadResult, Signal};
use super::owner::Owner;
use super::progress::{LoadProgress, Progress};
use super::quarantine::{Failed, Quarantine};
use super::slot::{Idle, Pin, State, Unload, Waiter};
use super::workers::Work;
use crate::budget::Reservation;
use crate::limits::EVICTIONS_REMEMBERED_MAX;
use crate::panic;

impl<L: ModelLoader> Owner<L> {
    /// Begins what makes an absent model one in memory. Someone waits for it.
    pub(super) fn start_inspection(&mut self, model: &Arc<str>) {
        let slot = self.slot(model);
        slot.state = State::Inspecting;
        slot.cause = slot.waiters.first().map_or(LoadCause::Demand, |waiter| waiter.cause);
        let cause = slot.cause;
        self.tell(model, PoolEventKind::Requested { cause });
        let (loader, arrivals, model) = (Arc::clone(&self.loader), self.outgoing.arrivals.clone(), Arc::clone(model));
        let job = move || {
            let result = caught(|| loader.inspect(&model));
            let _ = arrivals.send(Arrival::Inspected { model, result });
        };
        self.outgoing.workers.run(Work::Inspect, Box::new(job));
    }

    pub(super) fn on_inspected(&mut self, model: &Arc<str>, result: Result<Inspection, L::Error>) {
        let now = Instant::now();
        // Anything else means that the pool shut down meanwhile, or that everyone left.
        let Some(slot) = self.slots.get_mut(model) else { return };
        if !matches!(slot.state, State::Inspecting) {
            return;
        }
        let inspection = match result {
            Ok(inspection) => inspection,
            Err(error) => return self.refuse_for_fault(model, error, None),
        };
        let remembered = slot.quarantine.take_if(|quarantine| !quarantine.is_of(inspection.identity));
        drop(remembered);
        let in_quarantine = slot.quarantine.as_ref().and_then(|quarantine| quarantine.refusal(now));
        let admitted = match in_quarantine {
            Some(refusal) => Err((refusal, Dismissal::Quarantined)),
            None => self.admit(inspection).map_err(|refusal| (refusal, Dismissal::TooLarge)),
        };
        let inspection = match admitted {
            Ok(inspection) => inspection,
            Err((refusal, reason)) => {
                self.refuse_waiters(model, &refusal);
                return self.dismiss(model, reason);
            }
        };
        let bytes = inspection.resident_bytes;
        let nobody_waited = self.slot(model).waiters.is_empty();
        self.refuse_pins(model, bytes);
        let slot = self.slot(model);
        if slot.waiters.is_empty() {
            self.dismiss(model, if nobody_waited { Dismissal::Abandoned } else { Dismissal::TooLarge });
        } else {
            slot.state = State::AwaitingRoom { inspection, since: now };
            self.room.models.push_back(Arc::clone(model));
            self.update_retry_after();
            self.tell(model, PoolEventKind::AwaitingRoom { bytes });
        }
    }

    /// Back to absent before a load began.
    pub(super) fn dismiss(&mut self, model: &Arc<str>, reason: Dismissal) {
        self.tell(model, PoolEventKind::Dismissed { reason });
        self.set_absent(model);
    }

    pub(super) fn start_load(&mut self, model: &Arc<str>, inspection: Inspection, reservation: Reservation) {
        let slot = self.slot(model);
        slot.state = State::Loading(inspection, LoadProgress::begin(inspection.resident_bytes));
        let since = slot.waiters.first().map_or_else(Instant::now, |waiter| waiter.since);
        let cause = slot.cause;
        self.loads_running += 1;
        self.loading_bytes += inspection.resident_bytes;
        self.update_retry_after();
        let bytes = inspection.resident_bytes;
        self.tell(model, PoolEventKind::LoadStarted { bytes, waited: since.elapsed(), cause });
        let (loader, arrivals, model) = (Arc::clone(&self.loader), self.outgoing.arrivals.clone(), Arc::clone(model));
        let start = Instant::now();
        let job = move || {
            let (reports, reported) = (arrivals.clone(), Arc::clone(&model));
            let progress = Progress::new(inspection.resident_bytes, move |progress| {
                let _ = reports.send(Arrival::Progress { model: Arc::clone(&reported), progress });
            });
            let result = caught(|| loader.load(&model, &inspection, &progress)).map(|loaded| {
                let resident = Resident {
                    model: loaded.model,
                    identity: inspection.identity,
                    bytes: reservation.bytes(),
                    is_paged: inspection.is_paged(),
                    _reservation: Some(reservation),
                };
                Loaded { model: resident, source: loaded.source }
            });
            let _ = arrivals.send(Arrival::Loaded { model, result, wall: start.elapsed() });
        };
        self.outgoing.workers.run(Work::Load, Box::new(job));
    }

    pub(super) fn on_progress(&mut self, model: &Arc<str>, progress: LoadProgress) {
        let State::Loading(_, known) = &mut self.slot(model).state else {
            unreachable!("a load reports before it ends")
        };
        *known = progress;
        self.tell(model, PoolEventKind::Progress(progress));
    }

    pub(super) fn on_loaded(&mut self, model: &Arc<str>, result: LoadResult<L>, wall: Duration) {
        self.loads_running -= 1;
        let State::Loading(inspection, _) = self.slot(model).state else {
            unreachable!("a load ends in the state in which it ran")
        };
        self.loading_bytes -= inspection.resident_bytes;
        self.load_wall_mean = if self.load_wall_mean.is_zero() { wall } else { (self.load_wall_mean * 3 + wall) / 4 };
        self.update_retry_after();
        let Loaded { model: resident, source } = match result {
            Ok(loaded) => loaded,
            Err(error) => return self.refuse_for_fault(model, error, Some(inspection.identity)),
        };
        let (identity, bytes) = (resident.identity, resident.bytes);
        let slot = self.slot(model);
        slot.quarantine.take_if(|quarantine| quarantine.ends_with_a_load());
        slot.history.loaded(wall, source);
        slot.state = State::Resident { model: Arc::new(resident), since: Instant::now(), leases: 0, idle: None };
        self.resident.insert(Arc::clone(model));
        let slot = self.slot(model);
        let cause = slot.cause;
        let waiters = std::mem::take(&mut slot.waiters);
        self.lease_waiters -= waiters.len();
        self.tell(model, PoolEventKind::Loaded { identity, bytes, wall, waiters: waiters.len(), source, cause });
        for waiter in waiters {
            self.grant(model, waiter, Coldness::WaitedForLoad);
        }
        if matches!(self.slot(model).state, State::Resident { leases: 0, .. }) {
            self.on_unheld(model);
        }
    }

    /// Counts the lease, then hands it out. One that nobody takes any more comes back as any other.
    pub(super) fn grant(&mut self, name: &Arc<str>, waiter: Waiter<L>, coldness: Coldness) {
        let is_pin = waiter.cause == LoadCause::Pin;
        let bytes = self.slot(name).resident_bytes();
        if is_pin && let Some(refusal) = self.pin_refusal(name, bytes) {
            // Another was pinned meanwhile.
            let _ = waiter.reply.send(Err(refusal));
            return;
        }
        let State::Resident { model, leases, idle, .. } = &mut self.slot(name).state else {
            unreachable!("only models in memory are handed out")
        };
        *leases += 1;
        let (leases, idle, model) = (*leases, idle.take(), Arc::clone(model));
        if let Some(expires) = idle.and_then(|idle| idle.expires) {
            self.expiries.remove(&(expires, Arc::clone(name)));
        }
        let start = match coldness {
            Coldness::Warm => Start::Warm,
            Coldness::WaitedForLoad => Start::AfterLoad(waiter.since.elapsed()),
        };
        self.tell(name, PoolEventKind::Leased { leases });
        let lease = Lease::new(model, Arc::clone(name), start, self.outgoing.signals.clone());
        if waiter.reply.send(Ok(lease)).is_ok() && is_pin {
            self.pin(name);
        }
    }

    pub(super) fn on_released(&mut self, name: &Arc<str>) -> Effect {
        let State::Resident { leases, .. } = &mut self.slot(name).state else {
            unreachable!("a model that is held stays in memory")
        };
        *leases -= 1;
        let leases = *leases;
        self.tell(name, PoolEventKind::Released { leases });
        if leases > 0 {
            return Effect::None;
        }
        self.on_unheld(name);
        Effect::OnLine
    }

    /// Nobody holds it: it goes now, or stays for as long as its keep-alive says.
    fn on_unheld(&mut self, name: &Arc<str>) {
        let now = Instant::now();
        let (closing, prices) = (self.closing, self.options.prices);
        let slot = self.slot(name);
        slot.history.let_go(now);
        let (keep_alive, unload, pin) = (slot.keep_alive, slot.unload, slot.pin);
        let Idle { since, expires, break_even } = slot.idle(now, now, prices);
        let State::Resident { idle, .. } = &mut slot.state else { unreachable!("only a model in memory is let go") };
        *idle = Some(Idle { since, expires, break_even });
        if let Some(expires) = expires {
            self.expiries.insert((expires, Arc::clone(name)));
        }
        if closing {
            self.evict(name, EvictionCause::Shutdown);
        } else if unload == Unload::WhenFree {
            self.evict(name, EvictionCause::Requested);
        } else if unload == Unload::Faulty {
            self.evict(name, EvictionCause::Quarantined);
        } else if pin == Pin::NotPinned && keep_alive.is_after_use() {
            self.evict(name, EvictionCause::KeepAliveZero);
        } else {
            let expires_in = expires.map(|expires| expires.duration_since(now));
            self.tell(name, PoolEventKind::Idle { expires_in, break_even });
        }
    }

    /// Takes an idle model out and has it dropped on a blocking thread; its bytes come back from there.
    pub(super) fn evict(&mut self, name: &Arc<str>, cause: EvictionCause) {
        let slot = self.slot(name);
        let State::Resident { model, idle: Some(idle), .. } = std::mem::replace(&mut slot.state, State::Absent) else {
            unreachable!("only idle models are evicted")
        };
        let (identity, bytes) = (model.identity, model.bytes);
        let pinned_bytes = if slot.pin == Pin::Pinned { bytes } else { 0 };
        slot.leaving.copies += 1;
        slot.leaving.bytes += bytes;
        self.leaving_bytes += bytes;
        self.resident.remove(name);
        self.pinned_bytes -= pinned_bytes;
        if let Some(expires) = idle.expires {
            self.expiries.remove(&(expires, Arc::clone(name)));
        }
        self.set_absent(name);
        let idle_for = idle.since.elapsed();
        tracing::info!(model = &**name, bytes, %cause, ?idle_for, "evicted");
        self.remember(EvictionRecord {
            at: Instant::now(),
            model: Arc::clone(name),
            bytes,
            cause: cause.clone(),
            idle_for,
        });
        self.tell(name, PoolEventKind::Evicted { bytes, cause, idle_for });
        let (signals, evicted, name) = (self.outgoing.signals.clone(), Arc::clone(name), Arc::clone(name));
        let job = move || {
            if catch_unwind(AssertUnwindSafe(|| drop(model))).is_err() {
                tracing::error!(model = &*name, "dropping the model panicked");
            }
            let _ = signals.send(Signal::Disposed { model: name, identity, bytes });
        };
        self.outgoing.workers.run(Work::Dispose, Box::new(job));
        self.load_again(&evicted);
    }

    /// Those who waited while the model gave way wait for its next copy.
    fn load_again(&mut self, model: &Arc<str>) {
        let slot = self.slot(model);
        if slot.waiters.is_empty() {
            return;
        }
        if let Some(keep_alive) = slot.waiters.iter().rev().find_map(|waiter| waiter.keep_alive) {
            slot.keep_alive = keep_alive;
        }
        self.start_inspection(model);
    }

    pub(super) fn on_disposed(&mut self, name: &Arc<str>, identity: Identity, bytes: u64) {
        self.leaving_bytes -= bytes;
        let slot = self.slot(name);
        slot.leaving.copies -= 1;
        slot.leaving.bytes -= bytes;
        self.tell(name, PoolEventKind::Freed { identity, bytes });
        self.forget_if_blank(name);
    }

    pub(super) fn refuse_waiters(&mut self, model: &Arc<str>, refusal: &LeaseError<L::Error>) {
        let waiters = std::mem::take(&mut self.slot(model).waiters);
        self.lease_waiters -= waiters.len();
        for waiter in waiters {
            let _ = waiter.reply.send(Err(refusal.clone()));
        }
    }

    /// An inspection failed, or the load of `loaded`. Only the latter says which artifact to remember.
    fn refuse_for_fault(&mut self, model: &Arc<str>, error: L::Error, loaded: Option<Identity>) {
        let now = Instant::now();
        let options = self.options;
        let (fault, source) = (error.kind(), Arc::new(error));
        tracing::warn!(model = &**model, error = %source, ?fault, "no model");
        let slot = self.slot(model);
        let (message, waiters) = (source.to_string(), slot.waiters.len());
        let refusal = match (fault, loaded) {
            (FaultKind::NotFound, _) => {
                slot.quarantine = None;
                LeaseError::NotFound(source)
            }
            (FaultKind::Transient, _) => LeaseError::LoadFailed(source),
            (FaultKind::Invalid, None) => {
                LeaseError::Quarantined { source, retry_after: options.quarantine_min.min(options.quarantine_max) }
            }
            (FaultKind::Invalid, Some(identity)) => {
                let failed = (identity, Arc::clone(&source), Failed::AtLoad);
                let bounds = (options.quarantine_min, options.quarantine_max);
                let quarantine = Quarantine::after(slot.quarantine.take(), failed, bounds, now);
                let retry_after = quarantine.rest(now).unwrap_or_default();
                slot.quarantine = Some(quarantine);
                LeaseError::Quarantined { source, retry_after }
            }
        };
        self.tell(model, PoolEventKind::LoadFailed { fault, message, waiters });
        self.refuse_waiters(model, &refusal);
        self.set_absent(model);
    }

    fn remember(&mut self, eviction: EvictionRecord) {
        if self.evictions.len() == EVICTIONS_REMEMBERED_MAX {
            self.evictions.pop_front();
        }
        self.evictions.push_back(eviction);
    }
}

/// Runs a part of the loader; a panic becomes its error.
fn caught<T, E: LoadFault>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(E::panicked(panic::message(&*payload))))
}
