//! Where every KiB · ms goes: open requests, ended requests, accounts not yet taken, accounts taken. And what accounts carry
//! of processor time.
//!
//! Invariant: the four together equal what was measured, and the last two what was computed. Nothing here decides who pays.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AccountCost, AccountInterval, HeldAs, RequestCharge};
use crate::units::{KibMillis, Moment, Nanos};

/// Memory held over a span of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) kib_ms: u64,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

/// Whose it is, or nobody's, and as what it is held.
pub(crate) type Carried<'a> = (Option<&'a str>, HeldAs);

/// The same of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    model: Arc<str>,
    tenant: Option<Arc<str>>,
    held_as: HeldAs,
}

/// What an account carries in a place and no interval has told of.
#[derive(Debug, Clone, Copy)]
struct Pending {
    span: Span,
    cpu: Nanos,
}

#[derive(Debug, Default)]
pub(crate) struct Charges {
    measured: u128,
    open: BTreeMap<Arc<str>, RequestCharge>,
    /// What ended requests were charged in all.
    ended: u128,
    pending: BTreeMap<Place, Pending>,
    /// Intervals that were closed early because their sum would have overflowed.
    full: Vec<(Place, Pending)>,
    /// What taken intervals carried in all.
    taken: u128,
    /// What went to accounts in all, and of that to tenants'.
    carried: u128,
    kept: u128,
    /// Processor time that went to accounts in all, and of that what taken intervals carried.
    computed: u128,
    computed_taken: u128,
}

/// How much memory was held over time until now, in KiB · ms, and by whom: for what is split by memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// By all.
    pub measured: u128,
    /// By accounts. What a request held that gets no receipt is moved to them at its end.
    pub carried: u128,
    /// By those of the accounts that keep for tenants.
    pub kept: u128,
}

impl std::ops::Add for Holdings {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            measured: self.measured.saturating_add(other.measured),
            carried: self.carried.saturating_add(other.carried),
            kept: self.kept.saturating_add(other.kept),
        }
    }
}

impl Holdings {
    /// What requests and kept memory held since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> (KibMillis, KibMillis) {
        let measured = self.measured.saturating_sub(before.measured);
        let carried = self.carried.saturating_sub(before.carried).min(measured);
        let kept = self.kept.saturating_sub(before.kept).min(carried);
        let kib_ms = |amount: u128| KibMillis::new(u64::try_from(amount).unwrap_or(u64::MAX));
        (kib_ms(measured - carried), kib_ms(kept))
    }
}

/// Numbers for intervals, each given once.
#[derive(Debug, Default)]
pub struct IntervalNumbers {
    next: u64,
}

impl IntervalNumbers {
    fn take(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

impl Charges {
    /// Memory was held: it is the caller's duty to charge exactly this.
    pub(crate) fn measure(&mut self, kib_ms: u64) {
        self.measured += u128::from(kib_ms);
    }

    pub(crate) fn charge_active(&mut self, model: &Arc<str>, request: &Arc<str>, span: Span) {
        let charge = self.open.entry(Arc::clone(request)).or_default();
        let surplus = add_up_to_max(&mut charge.active, span.kib_ms);
        self.charge_unmeasured(model, Span { kib_ms: surplus, ..span });
    }

    pub(crate) fn charge_load(&mut self, model: &Arc<str>, request: &str, span: Span) {
        let charge = self.open.entry(request.into()).or_default();
        let surplus = add_up_to_max(&mut charge.load, span.kib_ms);
        self.charge_unmeasured(model, Span { kib_ms: surplus, ..span });
    }

    pub(crate) fn charge_account(&mut self, model: &Arc<str>, carried: Carried<'_>, span: Span) {
        if span.kib_ms == 0 {
            return;
        }
        self.carried += u128::from(span.kib_ms);
        if carried.0.is_some() {
            self.kept += u128::from(span.kib_ms);
        }
        self.carry(Place::of(model, carried), Pending { span, cpu: Nanos::ZERO });
    }

    /// Processor time that is on no receipt.
    pub(crate) fn charge_cpu(&mut self, model: &Arc<str>, carried: Carried<'_>, cpu: Nanos, at: Moment) {
        if cpu == Nanos::ZERO {
            return;
        }
        self.computed += u128::from(cpu.get());
        let span = Span { kib_ms: 0, from: at, to: at };
        self.carry(Place::of(model, carried), Pending { span, cpu });
    }

    fn carry(&mut self, place: Place, more: Pending) {
        let Some(pending) = self.pending.get_mut(&place) else {
            self.pending.insert(place, more);
            return;
        };
        let kib_ms = pending.span.kib_ms.checked_add(more.span.kib_ms);
        let cpu = pending.cpu.get().checked_add(more.cpu.get());
        if let (Some(kib_ms), Some(cpu)) = (kib_ms, cpu) {
            let (from, to) = (pending.span.from.min(more.span.from), pending.span.to.max(more.span.to));
            *pending = Pending { span: Span { kib_ms, from, to }, cpu: Nanos::new(cpu) };
        } else {
            let closed = std::mem::replace(pending, more);
            self.full.push((place, closed));
        }
    }

    /// A charge too large for its counter.
    fn charge_unmeasured(&mut self, model: &Arc<str>, span: Span) {
        self.charge_account(model, (None, HeldAs::Unmeasured), span);
    }

    pub(crate) fn so_far(&self, request: &str) -> RequestCharge {
        self.open.get(request).copied().unwrap_or_default()
    }

    pub(crate) fn settle(&mut self, request: &str) -> RequestCharge {
        let charge = self.open.remove(request).unwrap_or_default();
        self.ended += sum(charge);
        charge
    }

    /// Moves what a request was charged to accounts: it gets no receipt. `asked_by` carries its part of a load, and of what
    /// it held otherwise nobody in particular does.
    pub(crate) fn abandon(
        &mut self,
        request: &str,
        (model, asked_by): (&Arc<str>, Option<&str>),
        held_as: HeldAs,
        at: Moment,
    ) {
        let charge = self.open.remove(request).unwrap_or_default();
        let span = |kib_ms: KibMillis| Span { kib_ms: kib_ms.get(), from: at, to: at };
        self.charge_account(model, (None, held_as), span(charge.active));
        self.charge_account(model, (asked_by, HeldAs::Load), span(charge.load));
    }

    pub(crate) fn take_intervals(&mut self, numbers: &mut IntervalNumbers) -> Vec<AccountInterval> {
        let all = std::mem::take(&mut self.full).into_iter().chain(std::mem::take(&mut self.pending));
        let (mut taken, mut computed_taken) = (self.taken, self.computed_taken);
        let intervals = all
            .map(|(Place { model, tenant, held_as }, Pending { span, cpu })| {
                taken += u128::from(span.kib_ms);
                computed_taken += u128::from(cpu.get());
                AccountInterval {
                    sequence: numbers.take(),
                    model: model.as_ref().to_owned(),
                    tenant: tenant.as_deref().map(str::to_owned),
                    held_as,
                    kib_ms: KibMillis::new(span.kib_ms),
                    cpu,
                    cost: AccountCost::default(),
                    from: span.from,
                    to: span.to,
                }
            })
            .collect();
        (self.taken, self.computed_taken) = (taken, computed_taken);
        intervals
    }

    pub(crate) const fn measured(&self) -> u128 {
        self.measured
    }

    pub(crate) const fn holdings(&self) -> Holdings {
        Holdings { measured: self.measured, carried: self.carried, kept: self.kept }
    }

    pub(crate) fn imbalance(&self) -> u128 {
        let open: u128 = self.open.values().copied().map(sum).sum();
        let pending = || self.pending.values().chain(self.full.iter().map(|(_, pending)| pending));
        let held: u128 = pending().map(|pending| u128::from(pending.span.kib_ms)).sum();
        let computed: u128 = pending().map(|pending| u128::from(pending.cpu.get())).sum();
        self.measured.abs_diff(open + self.ended + held + self.taken)
            + self.computed.abs_diff(computed + self.computed_taken)
    }
}

impl Place {
    fn of(model: &Arc<str>, (tenant, held_as): Carried<'_>) -> Self {
        Self { model: Arc::clone(model), tenant: tenant.map(Arc::from), held_as }
    }
}

fn sum(charge: RequestCharge) -> u128 {
    u128::from(charge.active.get()) + u128::from(charge.load.get())
}

/// Adds what fits and returns what does not.
fn add_up_to_max(counter: &mut KibMillis, amount: u64) -> u64 {
    let room = u64::MAX - counter.get();
    let added = amount.min(room);
    *counter = KibMillis::new(counter.get() + added);
    amount - added
}
