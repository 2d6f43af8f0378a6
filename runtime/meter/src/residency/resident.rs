//! One model: its size, its clock, who is active on it and who was last.
//!
//! Invariants: the clock never runs backwards and stands still while the model is not loaded, so that a load may
//! begin anywhere after the eviction before it; what [`Resident::advance`] measures it charges in full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::charges::{Charges, Span};
use super::{Account, Pin};
use crate::limits::RESIDENT_KIB_MAX;
use crate::units::{Moment, split_equally};

#[derive(Debug)]
pub(super) struct Resident {
    name: Arc<str>,
    kib: u64,
    loaded: bool,
    clock: Moment,
    tenants: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Whose requests ended last, all at [`Resident::last_end`].
    last_tenants: BTreeSet<Arc<str>>,
    last_end: Moment,
    kept: Kept,
    pin: Pin,
}

/// How long its last tenants carry a model.
#[derive(Debug, Clone, Copy)]
enum Kept {
    /// For so many milliseconds from their end.
    For(u64),
    /// Until then.
    Until(Moment),
}

impl Resident {
    pub(super) fn new(name: Arc<str>, keep_alive: Duration) -> Self {
        let mut resident = Self {
            name,
            kib: 0,
            loaded: false,
            clock: Moment::ZERO,
            tenants: BTreeMap::new(),
            last_tenants: BTreeSet::new(),
            last_end: Moment::ZERO,
            kept: Kept::For(0),
            pin: Pin::NotPinned,
        };
        resident.set_keep_alive(keep_alive);
        resident
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The model is resident; the span that its load took, at most back to its last eviction.
    pub(super) fn load(&mut self, kib: u64, at: Moment, wall: Duration) -> Span {
        let to = at.max(self.clock);
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let from = Moment::new(to.get().saturating_sub(wall)).max(self.clock);
        self.become_resident(kib, to);
        Span { kib_ms: self.kib.saturating_mul(to.millis_since(from)), from, to }
    }

    pub(super) fn resize(&mut self, kib: u64, at: Moment) {
        if self.loaded {
            self.kib = kib.min(RESIDENT_KIB_MAX);
        } else {
            self.become_resident(kib, at.max(self.clock));
        }
    }

    fn become_resident(&mut self, kib: u64, at: Moment) {
        self.kib = kib.min(RESIDENT_KIB_MAX);
        self.loaded = true;
        self.clock = at;
        self.last_tenants.clear();
    }

    pub(super) fn evict(&mut self) {
        self.kib = 0;
        self.loaded = false;
        self.last_tenants.clear();
    }

    pub(super) fn begin(&mut self, tenant: &str, request: Arc<str>) {
        if let Some(requests) = self.tenants.get_mut(tenant) {
            requests.insert(request);
        } else {
            self.tenants.insert(tenant.into(), BTreeSet::from([request]));
        }
    }

    pub(super) fn end(&mut self, request: &str) {
        let Some(tenant) =
            self.tenants.iter().find(|(_, requests)| requests.contains(request)).map(|(tenant, _)| Arc::clone(tenant))
        else {
            return;
        };
        if let Some(requests) = self.tenants.get_mut(&tenant) {
            requests.remove(request);
            if requests.is_empty() {
                self.tenants.remove(&tenant);
            }
        }
        if self.last_end != self.clock {
            self.last_tenants.clear();
            self.last_end = self.clock;
        }
        self.last_tenants.insert(tenant);
    }

    pub(super) fn set_keep_alive(&mut self, keep_alive: Duration) {
        self.kept = Kept::For(u64::try_from(keep_alive.as_millis()).unwrap_or(u64::MAX));
    }

    pub(super) fn set_kept_until(&mut self, until: Moment) {
        self.kept = Kept::Until(until);
    }

    /// A pin, and its end, leave nobody of before to carry the model.
    pub(super) fn set_pin(&mut self, pin: Pin) {
        self.pin = pin;
        self.last_tenants.clear();
    }

    /// Charges the time up to `at`; none if the model is not loaded or `at` is in the past.
    pub(super) fn advance(&mut self, at: Moment, charges: &mut Charges) {
        if !self.loaded {
            return;
        }
        if !self.tenants.is_empty() {
            let span = self.span_until(at, charges);
            return self.charge_active(span, charges);
        }
        let pinned = match &self.pin {
            Pin::NotPinned => None,
            Pin::Operator => Some(Account::Idle),
            Pin::Tenant(tenant) => Some(Account::Keepalive(tenant.as_ref().to_owned())),
        };
        if let Some(account) = pinned {
            let span = self.span_until(at, charges);
            return charges.charge_account(&self.name, account, span);
        }
        if !self.last_tenants.is_empty() {
            let kept_until = match self.kept {
                Kept::For(millis) => Moment::new(self.last_end.get().saturating_add(millis)),
                Kept::Until(until) => until,
            };
            let span = self.span_until(at.min(kept_until), charges);
            let parts = split_equally(span.kib_ms, self.last_tenants.len());
            for (tenant, kib_ms) in self.last_tenants.iter().zip(parts) {
                let account = Account::Keepalive(tenant.as_ref().to_owned());
                charges.charge_account(&self.name, account, Span { kib_ms, ..span });
            }
        }
        let span = self.span_until(at, charges);
        charges.charge_account(&self.name, Account::Idle, span);
    }

    /// Moves the clock to `at` and measures what was held until then.
    fn span_until(&mut self, at: Moment, charges: &mut Charges) -> Span {
        let from = self.clock;
        self.clock = at.max(from);
        let span = Span { kib_ms: self.kib.saturating_mul(self.clock.millis_since(from)), from, to: self.clock };
        charges.measure(span.kib_ms);
        span
    }

    fn charge_active(&self, span: Span, charges: &mut Charges) {
        if span.kib_ms == 0 {
            return;
        }
        let tenant_parts = split_equally(span.kib_ms, self.tenants.len());
        for (requests, part) in self.tenants.values().zip(tenant_parts) {
            for (request, kib_ms) in requests.iter().zip(split_equally(part, requests.len())) {
                charges.charge_active(&self.name, request, Span { kib_ms, ..span });
            }
        }
    }
}
