//! What pools do, heard in its order: loads and who waited for them, pins, keep-alives, and copies that go.
//!
//! Invariant: every event of a pool comes here once, and the accounts follow it before the next. Deliberately absent: who else
//! hears of it (`pool_events`).

use std::sync::Arc;
use std::time::Duration;

use meter::residency::{ArtifactId, Load, Pin, Request};
use meter::units::split_equally;
use meter::{Moment, Nanos, Quality};
use scheduler::{Identity, PoolEvent, PoolEventKind};

use super::stays::StayState;
use super::{Book, Metering};

/// As good as for ever, for a model that stays until memory is needed.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A wish that a model stays, on its way through the pool.
pub(crate) struct PinWish {
    metering: Arc<Metering>,
    model: String,
    pin: Pin,
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
                let carried = self.book().loaded((device, &event.model), (*identity, *bytes), *wall, at);
                if let Some((asked_by, cpu)) = carried {
                    self.metrics.carried_load(asked_by.as_deref(), &event.model, cpu);
                }
            }
            PoolEventKind::Pinned => {
                let book = &mut *self.book();
                let pin = book.first_wish(&event.model).cloned().unwrap_or(Pin::Operator);
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
    /// Whose wish that `model` stays is the first.
    fn first_wish(&self, model: &str) -> Option<&Pin> {
        self.pin_wishes.get(model).and_then(|wishes| wishes.first())
    }

    /// A load of `copy` (its artifact and bytes) ended: those who waited for it share its memory and its processor time.
    /// Where nobody did, who wanted it to stay carries both, or nobody does: whose the processor time is then comes back.
    fn loaded(
        &mut self,
        (device, model): (usize, &Arc<str>),
        copy: (Identity, u64),
        wall: Duration,
        at: Moment,
    ) -> Option<(Option<Arc<str>>, Nanos)> {
        let key = (device, model.to_string());
        let cpu = Nanos::from(self.computed.remove(&key).unwrap_or_default());
        let resident_bytes = self.resident_at_load.remove(&key);
        let asked_by = match self.first_wish(model) {
            Some(Pin::Tenant(tenant)) => Some(Arc::clone(tenant)),
            Some(Pin::Operator | Pin::NotPinned) | None => None,
        };
        let waits = |stay: &StayState| stay.is_waiting && stay.device == device && stay.model == *model;
        let mut waiters: Vec<_> = self.stays.iter_mut().filter(|(_, stay)| waits(stay)).collect();
        waiters.sort_by(|a, b| a.0.cmp(b.0));
        let parts = split_equally(cpu.get(), waiters.len());
        for ((_, stay), part) in waiters.iter_mut().zip(parts) {
            stay.load_cpu = Nanos::new(part);
        }
        let requests: Vec<Request<'_>> =
            waiters.iter().map(|(id, stay)| Request { id, tenant: &stay.tenant }).collect();
        let (Identity(artifact), pool_bytes) = copy;
        let ([bytes_before, bytes], quality) = match resident_bytes {
            Some(bytes) => (bytes, Quality::Measured),
            None => ([pool_bytes; 2], Quality::Derived),
        };
        let (artifact, asked) = (ArtifactId(artifact), asked_by.as_deref());
        let load = Load { artifact, bytes, bytes_before, quality, wall, waiters: &requests, asked_by: asked };
        self.residency[device].model_loaded(model, at, load);
        if !requests.is_empty() {
            return None;
        }
        self.residency[device].load_computed(model, asked, cpu, at);
        Some((asked_by, cpu))
    }
}
