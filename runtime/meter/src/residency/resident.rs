//! One model: its copies, its clock, who is active on it and who was last.
//!
//! Invariants: the clock never runs backwards and stands still while no copy is in memory; what [`Resident::advance`]
//! measures it charges in full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::charges::{Charges, Span};
use super::copies::Copies;
use super::line::Line;
use super::{ArtifactId, HeldAs, Load, Pin};
use crate::energy::Quality;
use crate::units::{Moment, kib_of_bytes, split_equally};

#[derive(Debug)]
pub(super) struct Resident {
    name: Arc<str>,
    copies: Copies,
    clock: Moment,
    tenants: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Whose requests ended last, all at [`Resident::last_end`].
    last_tenants: BTreeSet<Arc<str>>,
    last_end: Moment,
    kept: Kept,
    pin: Pin,
    /// How the size of the copy in use is known.
    quality: Quality,
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
            copies: Copies::default(),
            clock: Moment::ZERO,
            tenants: BTreeMap::new(),
            last_tenants: BTreeSet::new(),
            last_end: Moment::ZERO,
            kept: Kept::For(0),
            pin: Pin::NotPinned,
            quality: Quality::Derived,
        };
        resident.set_keep_alive(keep_alive);
        resident
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) const fn is_in_use(&self) -> bool {
        self.copies.is_in_use()
    }

    /// What counts of the copy in use, in KiB, and how that is known; `None` while there is none.
    pub(super) fn size(&self) -> Option<(u64, Quality)> {
        self.copies.is_in_use().then(|| (self.copies.in_use_kib(), self.quality))
    }

    /// A copy is in memory, and in use from now on: the span that its load took, with what it added.
    pub(super) fn load(&mut self, load: &Load<'_>, at: Moment) -> Span {
        self.quality = load.quality;
        let to = at.max(self.clock);
        let wall = u64::try_from(load.wall.as_millis()).unwrap_or(u64::MAX);
        let from = Moment::new(to.get().saturating_sub(wall));
        let kib = [load.bytes_before, load.bytes].map(kib_of_bytes);
        let kib_ms = self.copies.load(load.artifact, kib, from, to);
        self.clock = to;
        self.last_tenants.clear();
        Span { kib_ms, from, to }
    }

    /// The kernel says that `kib` of `artifact` are resident at `at`. Since the latest event the size went there in a straight
    /// line; time that was charged before stays charged.
    pub(super) fn sampled(&mut self, artifact: ArtifactId, kib: u64, at: Moment, charges: &mut Charges) {
        let before = [self.copies.in_use_kib(), self.copies.leaving_kib()];
        if !self.copies.resize(artifact, kib) {
            return;
        }
        if self.copies.uses(artifact) {
            self.quality = Quality::Measured;
        }
        let after = [self.copies.in_use_kib(), self.copies.leaving_kib()];
        let line = |which: usize| Line::between((self.clock, before[which]), (at, after[which]));
        self.advance_along([line(0), line(1)], at, charges);
    }

    /// A copy of `artifact` is gone. Tells whether none is in use from now on.
    pub(super) fn free(&mut self, artifact: ArtifactId, at: Moment) -> bool {
        let was_in_use = self.copies.is_in_use();
        self.copies.free(artifact, at.max(self.clock));
        let is_unused = was_in_use && !self.copies.is_in_use();
        if is_unused {
            self.last_tenants.clear();
        }
        is_unused
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

    /// Charges the time up to `at`; none if no copy is in memory or `at` is in the past.
    pub(super) fn advance(&mut self, at: Moment, charges: &mut Charges) {
        let sizes = [self.copies.in_use_kib(), self.copies.leaving_kib()];
        self.advance_along(sizes.map(Line::flat), at, charges);
    }

    /// The same, with what is in use and what is leaving as large as these say.
    fn advance_along(&mut self, [in_use, leaving]: [Line; 2], at: Moment, charges: &mut Charges) {
        if self.copies.is_empty() {
            return;
        }
        let left = self.measured_until(at, leaving, charges);
        charges.charge_account(&self.name, (None, HeldAs::Idle), left);
        if !self.copies.is_in_use() {
            self.clock = left.to;
            return;
        }
        if !self.tenants.is_empty() {
            let span = self.span_until(at, in_use, charges);
            return self.charge_active(span, charges);
        }
        let pinned = match &self.pin {
            Pin::NotPinned => None,
            Pin::Operator => Some(None),
            Pin::Tenant(tenant) => Some(Some(Arc::clone(tenant))),
        };
        if let Some(tenant) = pinned {
            let span = self.span_until(at, in_use, charges);
            return charges.charge_account(&self.name, (tenant.as_deref(), HeldAs::Pinned), span);
        }
        if !self.last_tenants.is_empty() {
            let kept_until = match self.kept {
                Kept::For(millis) => Moment::new(self.last_end.get().saturating_add(millis)),
                Kept::Until(until) => until,
            };
            let span = self.span_until(at.min(kept_until), in_use, charges);
            let parts = split_equally(span.kib_ms, self.last_tenants.len());
            for (tenant, kib_ms) in self.last_tenants.iter().zip(parts) {
                let carried = (Some(&**tenant), HeldAs::Keepalive);
                charges.charge_account(&self.name, carried, Span { kib_ms, ..span });
            }
        }
        let span = self.span_until(at, in_use, charges);
        charges.charge_account(&self.name, (None, HeldAs::Idle), span);
    }

    /// Moves the clock to `at` and measures what was in use until then.
    fn span_until(&mut self, at: Moment, in_use: Line, charges: &mut Charges) -> Span {
        let span = self.measured_until(at, in_use, charges);
        self.clock = span.to;
        span
    }

    /// Measures `size` from the clock to `at`.
    fn measured_until(&self, at: Moment, size: Line, charges: &mut Charges) -> Span {
        let (from, to) = (self.clock, at.max(self.clock));
        let span = Span { kib_ms: size.area(from, to), from, to };
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
