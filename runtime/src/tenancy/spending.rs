//! What tenants and keys have spent in the hour, day and month that it is, and whether more may begin.
//!
//! Sums begin with those of the ledger and go on with every receipt that it has taken, so that a restart changes nothing. A
//! budget of a key bounds what is spent by that key, a budget of a tenant what is spent by whichever of its keys; what a key
//! spends counts in both.
//!
//! A request is admitted while what was spent, and what is reserved for those that run, is less than each budget; then its own
//! estimate is reserved until it is over. So a budget is passed by one request's estimate at most, and by what those that
//! run use beyond their estimates: nothing in tokens where answers are bounded by the request and not cut, and something in money,
//! memory or energy, which are estimated by what tokens have taken on this server so far (nothing before its first). Who is
//! admitted is answered to the end.
//!
//! Invariants: by [`WindowClock`], no window opens twice; a receipt counts in the window in which it is settled. After a
//! restart with a clock that was set, what was spent in the window by either clock counts. Budgets of memory, money, energy
//! and carbon count what is kept for a tenant (after its answers, by its pins, of its contexts) and loaded because it asked as
//! well, when the ledger has taken it and as it was priced then. Deliberately absent: money, energy and carbon of what was kept
//! before schema 5 of the ledger, which did not write them down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::{AccountTotal, LedgerError, Reader, SeriesQuery, TenantTotal};
use meter::{AccountCost, AccountInterval, Receipt};

use super::access::{Access, Holder};
use super::budget::{BudgetUnit, Window};
use super::keyring::BoundedBy;
use super::window::{Reading, Span, WindowClock};

/// What something used, in the ledger's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    tokens: u64,
    pico_units: u64,
    kib_ms: u64,
    nanojoules: u64,
    micrograms: u64,
}

impl Use {
    fn of_receipt(receipt: &Receipt) -> Self {
        Self {
            tokens: receipt.tokens.total,
            pico_units: receipt.cost.pico_units.unwrap_or_default().get(),
            kib_ms: receipt.memory.total().get(),
            nanojoules: receipt.energy.total_nj.get(),
            micrograms: receipt.carbon.micrograms_co2e.get(),
        }
    }

    fn of_total(total: &TenantTotal) -> Self {
        let memory = [total.weights_kib_ms, total.load_kib_ms, total.kv_kib_ms];
        Self {
            tokens: total.prompt_tokens.saturating_add(total.completion_tokens),
            pico_units: total.pico_units.get(),
            kib_ms: memory.into_iter().sum::<meter::KibMillis>().get(),
            nanojoules: total.energy_nj.get(),
            micrograms: total.micrograms_co2e.get(),
        }
    }

    /// What is kept, or was loaded, beside receipts. What has no price costs nothing that is known.
    fn of_interval(interval: &AccountInterval) -> Self {
        let AccountCost { energy, carbon, pico_units } = interval.cost;
        Self {
            tokens: 0,
            pico_units: pico_units.unwrap_or_default().get(),
            kib_ms: interval.kib_ms.get(),
            nanojoules: energy.get(),
            micrograms: carbon.get(),
        }
    }

    fn of_account(total: &AccountTotal) -> Self {
        Self {
            tokens: 0,
            pico_units: total.pico_units.get(),
            kib_ms: total.kib_ms.get(),
            nanojoules: total.energy_nj.get(),
            micrograms: total.micrograms_co2e.get(),
        }
    }

    /// What as many tokens would have used of what `self` used.
    fn of_tokens(self, tokens: u64) -> Self {
        let part = |all: u64| {
            let part = (u128::from(all) * u128::from(tokens)).checked_div(self.tokens.into());
            u64::try_from(part.unwrap_or(0)).unwrap_or(u64::MAX)
        };
        Self {
            tokens,
            pico_units: part(self.pico_units),
            kib_ms: part(self.kib_ms),
            nanojoules: part(self.nanojoules),
            micrograms: part(self.micrograms),
        }
    }

    fn combined(self, other: Self, combine: fn(u64, u64) -> u64) -> Self {
        Self {
            tokens: combine(self.tokens, other.tokens),
            pico_units: combine(self.pico_units, other.pico_units),
            kib_ms: combine(self.kib_ms, other.kib_ms),
            nanojoules: combine(self.nanojoules, other.nanojoules),
            micrograms: combine(self.micrograms, other.micrograms),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.combined(other, u64::saturating_add)
    }

    fn minus(self, other: Self) -> Self {
        self.combined(other, u64::saturating_sub)
    }

    const fn in_unit(&self, unit: &BudgetUnit) -> u64 {
        match unit {
            BudgetUnit::Tokens => self.tokens,
            BudgetUnit::Money(_) => self.pico_units,
            BudgetUnit::Memory => self.kib_ms,
            BudgetUnit::Energy => self.nanojoules,
            BudgetUnit::Carbon => self.micrograms,
        }
    }
}

/// A budget is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// As the operator wrote it.
    pub(crate) budget: String,
    /// Until it begins anew.
    pub(crate) anew_in: Duration,
}

/// What is spent of a budget now, in the budget's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) used: u64,
    /// Kept for requests that run.
    pub(crate) reserved: u64,
    /// Until it begins anew.
    pub(crate) anew_in: Duration,
}

/// What is kept for a request that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved(Use);

/// What one of them has spent, in the windows of [`Window::ALL`].
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    windows: [Option<(Span, Use)>; Window::ALL.len()],
    reserved: Use,
}

impl Spent {
    /// In the window of this sort that it is `now_unix_ms`.
    fn in_window(&mut self, window: Window, now_unix_ms: i64) -> (Span, &mut Use) {
        let kept = &mut self.windows[window as usize];
        let is_over = kept.is_none_or(|(span, _)| now_unix_ms >= span.to);
        if is_over {
            *kept = None;
        }
        let (span, used) = kept.get_or_insert_with(|| (window.around(now_unix_ms), Use::default()));
        (*span, used)
    }
}

impl Window {
    /// The ledger's sums of a window of this sort, which is whole hours or days.
    fn sums_within(self, Span { from, to }: Span) -> SeriesQuery {
        let width = match self {
            Self::Hour => ledger::Span::Hour,
            Self::Day | Self::Month => ledger::Span::Day,
        };
        SeriesQuery { width, from_unix_s: from.div_euclid(1000), to_unix_s: to.div_euclid(1000) }
    }
}

struct Book {
    clock: WindowClock,
    spent: HashMap<Holder, Spent>,
    /// What everyone used in this month and since then, for estimates.
    all: Use,
}

/// What all tenants, and all keys, have spent.
pub(crate) struct Spending {
    read_clocks: fn() -> Reading,
    book: Mutex<Book>,
}

impl Spending {
    /// By the sums of a ledger, until now. Blocks on the disk.
    ///
    /// # Errors
    /// What [`Reader::series`] fails with.
    pub(crate) fn of_ledger(reader: &Reader) -> Result<Self, LedgerError> {
        Self::of_ledger_by(reader, Reading::now)
    }

    fn of_ledger_by(reader: &Reader, read_clocks: fn() -> Reading) -> Result<Self, LedgerError> {
        let reading = read_clocks();
        let clock = WindowClock::beginning(reader.latest_unix_ms()?.unwrap_or(i64::MIN), reading);
        let now_unix_ms = { clock }.now_unix_ms(reading);
        let mut book = Book { clock, spent: HashMap::new(), all: Use::default() };
        for window in Window::ALL {
            let (span, by_wall) = (window.around(now_unix_ms), window.around(reading.wall_unix_ms));
            for counted in [span].into_iter().chain((by_wall != span).then_some(by_wall)) {
                for bucket in reader.series(window.sums_within(counted))? {
                    let of_tenants = bucket.requests.iter().map(|one| (Holder::Tenant((*one.tenant).into()), one));
                    let of_keys = bucket.keys.iter().map(|one| (Holder::Key((*one.key_id).into()), &one.total));
                    for (holder, total) in of_tenants.chain(of_keys) {
                        let used = Use::of_total(total);
                        if window == Window::Month && matches!(holder, Holder::Tenant(_)) {
                            book.all = book.all.plus(used);
                        }
                        let (_, sum) = book.spent.entry(holder).or_default().in_window(window, now_unix_ms);
                        *sum = sum.plus(used);
                    }
                    for total in bucket.accounts {
                        let kept = Use::of_account(&total);
                        let Some(tenant) = total.account.into_tenant() else { continue };
                        let spent = book.spent.entry(Holder::Tenant(tenant.into())).or_default();
                        let (_, sum) = spent.in_window(window, now_unix_ms);
                        *sum = sum.plus(kept);
                    }
                }
            }
        }
        Ok(Self { read_clocks, book: Mutex::new(book) })
    }

    /// Lets a request of about so many tokens begin, and keeps what it may use.
    ///
    /// # Errors
    /// [`Exceeded`] where a budget of its key, or of its tenant, is used up.
    pub(crate) fn reserve(&self, access: &Access, tokens: u64) -> Result<Reserved, Exceeded> {
        let reading = (self.read_clocks)();
        let mut book = self.book();
        let now_unix_ms = book.clock.now_unix_ms(reading);
        let estimate = book.all.of_tokens(tokens);
        for (holder, allowance) in access.holders() {
            let spent = book.spent.entry(holder).or_default();
            for budget in allowance.budgets.iter() {
                let (span, used) = spent.in_window(budget.window, now_unix_ms);
                let used = *used;
                if used.plus(spent.reserved).in_unit(&budget.unit) >= budget.amount {
                    let left_ms = u64::try_from(span.to.saturating_sub(now_unix_ms)).unwrap_or(0);
                    return Err(Exceeded { budget: budget.to_string(), anew_in: Duration::from_millis(left_ms) });
                }
            }
        }
        for (holder, _) in access.holders() {
            let spent = book.spent.entry(holder).or_default();
            spent.reserved = spent.reserved.plus(estimate);
        }
        Ok(Reserved(estimate))
    }

    /// What is spent of a budget by whoever it bounds.
    pub(crate) fn standing(&self, BoundedBy { tenant, key, budget }: &BoundedBy) -> Standing {
        let holder = match key {
            Some(key) => Holder::Key(Arc::clone(key)),
            None => Holder::Tenant(Arc::clone(tenant)),
        };
        let reading = (self.read_clocks)();
        let mut book = self.book();
        let now_unix_ms = book.clock.now_unix_ms(reading);
        let mut spent = book.spent.get(&holder).copied().unwrap_or_default();
        let reserved = spent.reserved.in_unit(&budget.unit);
        let (span, used) = spent.in_window(budget.window, now_unix_ms);
        let left_ms = u64::try_from(span.to.saturating_sub(now_unix_ms)).unwrap_or(0);
        Standing { used: used.in_unit(&budget.unit), reserved, anew_in: Duration::from_millis(left_ms) }
    }

    /// A request is over: what was kept for it is free.
    pub(crate) fn release(&self, access: &Access, Reserved(estimate): Reserved) {
        let mut book = self.book();
        for (holder, _) in access.holders() {
            if let Some(spent) = book.spent.get_mut(&holder) {
                spent.reserved = spent.reserved.minus(estimate);
            }
        }
    }

    /// A receipt is in the ledger.
    pub(crate) fn charge(&self, receipt: &Receipt) {
        let of_key = receipt.key_id.as_deref().map(|id| Holder::Key(id.into()));
        let holders = [Holder::Tenant((*receipt.tenant).into())].into_iter().chain(of_key);
        self.add(holders, Use::of_receipt(receipt));
    }

    /// What an account carried is in the ledger. Estimates of requests do not go by it.
    pub(crate) fn keeps(&self, interval: &AccountInterval) {
        if let Some(tenant) = &interval.tenant {
            let reading = (self.read_clocks)();
            self.book().add(reading, Holder::Tenant(tenant.as_str().into()), Use::of_interval(interval));
        }
    }

    fn add(&self, holders: impl Iterator<Item = Holder>, used: Use) {
        let reading = (self.read_clocks)();
        let mut book = self.book();
        book.all = book.all.plus(used);
        for holder in holders {
            book.add(reading, holder, used);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// To what `holder` has spent in the windows that it is.
    fn add(&mut self, reading: Reading, holder: Holder, used: Use) {
        let now_unix_ms = self.clock.now_unix_ms(reading);
        let spent = self.spent.entry(holder).or_default();
        for window in Window::ALL {
            let (_, sum) = spent.in_window(window, now_unix_ms);
            *sum = sum.plus(used);
        }
    }
}

#[cfg(test)]
mod tests;
