//! Where every KiB · ms goes: open requests, ended requests, accounts not yet taken, accounts taken.
//!
//! Invariant: the four together equal what was measured. Nothing here decides who pays.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Account, AccountInterval, Held, HeldAs, RequestCharge};
use crate::units::{KibMillis, Moment};

/// Memory held over a span of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) kib_ms: u64,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

#[derive(Debug, Default)]
pub(crate) struct Charges {
    measured: u128,
    open: BTreeMap<Arc<str>, RequestCharge>,
    /// What ended requests were charged in all.
    ended: u128,
    pending: BTreeMap<(Arc<str>, Account), Span>,
    /// Intervals that were closed early because their sum would have overflowed.
    full: Vec<(Arc<str>, Account, Span)>,
    /// What taken intervals carried in all.
    taken: u128,
    /// What went to accounts in all, and of that to [`Account::Keepalive`].
    carried: u128,
    kept: u128,
    /// What went to accounts since it was last taken, by model, whose it is and as what it was held.
    held: BTreeMap<(Arc<str>, Option<String>, HeldAs), u64>,
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

    pub(crate) fn charge_account(&mut self, model: &Arc<str>, account: Account, held_as: HeldAs, span: Span) {
        if span.kib_ms == 0 {
            return;
        }
        self.carried += u128::from(span.kib_ms);
        let tenant = match &account {
            Account::Keepalive(tenant) => {
                self.kept += u128::from(span.kib_ms);
                Some(tenant.clone())
            }
            Account::Load | Account::Idle | Account::Unmeasured => None,
        };
        let held = self.held.entry((Arc::clone(model), tenant, held_as)).or_default();
        *held = held.saturating_add(span.kib_ms);
        let key = (Arc::clone(model), account);
        let Some(pending) = self.pending.get_mut(&key) else {
            self.pending.insert(key, span);
            return;
        };
        if let Some(sum) = pending.kib_ms.checked_add(span.kib_ms) {
            *pending = Span { kib_ms: sum, from: pending.from.min(span.from), to: pending.to.max(span.to) };
        } else {
            let closed = std::mem::replace(pending, span);
            self.full.push((key.0, key.1, closed));
        }
    }

    /// A charge too large for its counter.
    fn charge_unmeasured(&mut self, model: &Arc<str>, span: Span) {
        self.charge_account(model, Account::Unmeasured, HeldAs::Unmeasured, span);
    }

    pub(crate) fn so_far(&self, request: &str) -> RequestCharge {
        self.open.get(request).copied().unwrap_or_default()
    }

    pub(crate) fn settle(&mut self, request: &str) -> RequestCharge {
        let charge = self.open.remove(request).unwrap_or_default();
        self.ended += sum(charge);
        charge
    }

    /// Moves what a request was charged to accounts: it gets no receipt. `load` carries its part of a load, and of what it
    /// held otherwise nobody in particular does.
    pub(crate) fn abandon(&mut self, request: &str, (model, load): (&Arc<str>, Account), held_as: HeldAs, at: Moment) {
        let charge = self.open.remove(request).unwrap_or_default();
        let span = |kib_ms: KibMillis| Span { kib_ms: kib_ms.get(), from: at, to: at };
        self.charge_account(model, Account::Idle, held_as, span(charge.active));
        self.charge_account(model, load, HeldAs::Load, span(charge.load));
    }

    /// What went to accounts since the last call, by what it was held as.
    pub(crate) fn take_held(&mut self) -> Vec<Held> {
        let held = std::mem::take(&mut self.held).into_iter();
        let told = |((model, tenant, held_as), kib_ms): ((Arc<str>, _, _), _)| {
            let (model, kib_ms) = (model.as_ref().to_owned(), KibMillis::new(kib_ms));
            Held { model, tenant, held_as, kib_ms }
        };
        held.map(told).collect()
    }

    pub(crate) fn take_intervals(&mut self, numbers: &mut IntervalNumbers) -> Vec<AccountInterval> {
        let pending =
            std::mem::take(&mut self.pending).into_iter().map(|((model, account), span)| (model, account, span));
        let all = std::mem::take(&mut self.full).into_iter().chain(pending);
        let mut taken = self.taken;
        let intervals = all
            .map(|(model, account, span)| {
                taken += u128::from(span.kib_ms);
                AccountInterval {
                    sequence: numbers.take(),
                    model: model.as_ref().to_owned(),
                    account,
                    kib_ms: KibMillis::new(span.kib_ms),
                    from: span.from,
                    to: span.to,
                }
            })
            .collect();
        self.taken = taken;
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
        let full = self.full.iter().map(|(_, _, span)| span);
        let pending: u128 = self.pending.values().chain(full).map(|span| u128::from(span.kib_ms)).sum();
        self.measured.abs_diff(open + self.ended + pending + self.taken)
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
