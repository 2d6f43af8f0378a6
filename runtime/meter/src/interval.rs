//! Who carries the energy of an interval.
//!
//! An interval's energy has two parts. The *base* is what the machine draws however idle it is; it is split by the memory
//! that each holds of the machine's, and what nobody holds is `idle`. What is above the base is *dynamic*, and split by
//! processor time: to each claim, to the rest of this process (`runtime`) and to the rest of the host (`host_other`).
//! Where the host's processor time is not known, the dynamic part is `unmeasured`.
//!
//! The base power is the 5th percentile of what intervals below 5 % of use drew ([`Baseline`]); of a modelled interval,
//! the model's. Until there are enough such intervals it is the least that was seen, or the model's if that is less.
//!
//! Invariants: the parts sum to the interval's energy exactly; none is negative. An interval that took less than its base
//! carries the shortfall into the next ones, within bounds: the base is then paid from what those have above theirs. Every
//! figure that was bent to fit another is told ([`Adjustment`]). Deliberately absent: sensors ([`crate::ladder`]), and parts
//! of an interval whose energy is unknown.

mod baseline;
mod book;
mod rates;

use serde::{Deserialize, Serialize};

pub use self::baseline::Baseline;
pub use self::book::{EnergyAccounts, EnergyBook, EnergyInterval};
pub use self::rates::EnergyRates;
use crate::energy::{Basis, Quality};
use crate::ladder::IntervalEnergy;
use crate::limits::SHORTFALL_SPAN_MAX;
use crate::units::{KibMillis, Microwatts, Nanojoules, Nanos, kib_of_bytes, split_largest_remainder};

/// What someone used in an interval: a request, a model that is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim {
    /// Processor time.
    pub cpu: Nanos,
    /// Memory held.
    pub memory: KibMillis,
}

/// What was used in an interval.
#[derive(Debug, Clone, Copy)]
pub struct IntervalUse<'a> {
    /// Of whom the energy is to be told.
    pub claims: &'a [Claim],
    /// Processor time of this process, the claims' included.
    pub own_cpu: Nanos,
    /// Processor time of the whole host; `None` if it is not known.
    pub host_cpu: Option<Nanos>,
}

/// What a claim carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimEnergy {
    /// By its processor time.
    pub dynamic: Nanojoules,
    /// By the memory that it held.
    pub residency: Nanojoules,
}

/// Who carries an interval's energy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntervalAccounts {
    /// The claims, in their order.
    pub claims: Vec<ClaimEnergy>,
    /// This process, beyond the claims.
    pub runtime: Nanojoules,
    /// Everything else that ran on the host.
    pub host_other: Nanojoules,
    /// The base of memory that no claim held, and what was above it though nobody worked.
    pub idle: Nanojoules,
    /// What nothing tells whose it is.
    pub unmeasured: Nanojoules,
    /// What was bent.
    pub adjustments: Vec<Adjustment>,
}

impl IntervalAccounts {
    /// The sum of all parts: the interval's energy.
    #[must_use]
    pub fn total(&self) -> Nanojoules {
        let claims = self.claims.iter().flat_map(|claim| [claim.dynamic, claim.residency]);
        claims.chain([self.runtime, self.host_other, self.idle, self.unmeasured]).sum()
    }
}

/// A figure that did not fit another and was bent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjustment {
    /// The base is not known yet: the least power seen stands for it, or the model's.
    ProvisionalBase,
    /// The interval took less than its base and what earlier ones left of theirs: all of it is base.
    BelowBase,
    /// The claims' processor time is more than the process': theirs counts. Clocks tick apart.
    ClaimsBeyondProcess,
    /// The process' processor time is more than the host's: its counts. The kernel tells the host's in 10 ms.
    ProcessBeyondHost,
    /// The claims hold more memory than there is: they share the whole base.
    MemoryBeyondHost,
}

/// Splits the intervals of one host.
#[derive(Debug)]
pub struct IntervalSplitter {
    basis: Basis,
    cores: u32,
    host_memory_kib: u64,
    baseline: Baseline,
    rates: Option<EnergyRates>,
    /// What intervals lacked of their base.
    shortfall: Nanojoules,
    source: String,
}

impl IntervalSplitter {
    /// For a host of `cores` threads and `host_memory_bytes`; zeroes count as one core, one KiB.
    #[must_use]
    pub fn new(cores: u32, host_memory_bytes: u64) -> Self {
        Self {
            basis: Basis::Processor,
            cores: cores.max(1),
            host_memory_kib: kib_of_bytes(host_memory_bytes).max(1),
            baseline: Baseline::new(),
            rates: None,
            shortfall: Nanojoules::ZERO,
            source: String::new(),
        }
    }

    /// For a card of `memory_bytes`, whose processor time is the time for which it computes.
    #[must_use]
    pub fn of_card(memory_bytes: u64) -> Self {
        Self { basis: Basis::Busy, ..Self::new(1, memory_bytes) }
    }

    /// What a second of processor time and a share of memory took lately; `None` before 2 seconds of work were seen.
    #[must_use]
    pub fn rates(&self) -> Option<&EnergyRates> {
        self.rates.as_ref().filter(|rates| rates.are_known())
    }

    /// Splits an interval; `None` if its energy is unknown.
    pub fn split(&mut self, interval: &IntervalEnergy, used: &IntervalUse<'_>) -> Option<IntervalAccounts> {
        if self.source != interval.label.source {
            self.source.clone_from(&interval.label.source);
            self.baseline = Baseline::new();
            self.rates = None;
            self.shortfall = Nanojoules::ZERO;
        }
        let energy = interval.energy?;
        let mut accounts =
            IntervalAccounts { claims: vec![ClaimEnergy::default(); used.claims.len()], ..IntervalAccounts::default() };
        let base = self.base_power(interval, energy, &mut accounts.adjustments);
        let owed = base.over(interval.span).saturating_add(self.shortfall);
        let base_part = owed.min(energy);
        self.shortfall = owed.saturating_sub(base_part).min(base.over(SHORTFALL_SPAN_MAX));
        if base_part < owed {
            accounts.adjustments.push(Adjustment::BelowBase);
        }
        let dynamic = energy.saturating_sub(base_part);
        self.share_base(base_part, interval, used.claims, &mut accounts);
        let worked = share_dynamic(dynamic, used, &mut accounts);
        let is_guessed = accounts.adjustments.contains(&Adjustment::ProvisionalBase);
        if is_guessed && interval.modelled_base.is_none() {
            // The least that was seen may be of work: what is above that tells nothing of what work takes.
            return Some(accounts);
        }
        let rates =
            self.rates.get_or_insert_with(|| EnergyRates::new(self.basis, self.host_memory_kib, &interval.label));
        // What is above a base that is guessed is no better than the guess.
        let quality = if is_guessed { Quality::Modelled } else { interval.label.quality };
        rates.observe(dynamic, worked, (base, quality));
        Some(accounts)
    }

    fn base_power(
        &mut self,
        interval: &IntervalEnergy,
        energy: Nanojoules,
        adjustments: &mut Vec<Adjustment>,
    ) -> Microwatts {
        if let (Quality::Modelled, Some(base)) = (interval.label.quality, interval.modelled_base) {
            return base;
        }
        if let Some(power) = Microwatts::mean(energy, interval.span) {
            let available = interval.span.as_nanos().saturating_mul(u128::from(self.cores));
            let used = (u128::from(interval.busy.get()) * 1000).checked_div(available).unwrap_or(0);
            self.baseline.observe(power, used);
        }
        self.baseline.power().unwrap_or_else(|| {
            adjustments.push(Adjustment::ProvisionalBase);
            [self.baseline.least(), interval.modelled_base].into_iter().flatten().min().unwrap_or_default()
        })
    }

    /// By the memory held, of what the host has.
    fn share_base(
        &self,
        base: Nanojoules,
        interval: &IntervalEnergy,
        claims: &[Claim],
        accounts: &mut IntervalAccounts,
    ) {
        let whole = u128::from(self.host_memory_kib).saturating_mul(interval.span.as_millis());
        let held: u128 = claims.iter().map(|claim| u128::from(claim.memory.get())).sum();
        if held > whole {
            accounts.adjustments.push(Adjustment::MemoryBeyondHost);
        }
        let mut weights: Vec<u64> = claims.iter().map(|claim| claim.memory.get()).collect();
        // In an interval of no whole millisecond nothing can have been held.
        weights.push(u64::try_from(whole.saturating_sub(held)).unwrap_or(u64::MAX).max(u64::from(held == 0)));
        let mut parts = split_largest_remainder(base.get(), &weights).into_iter().map(Nanojoules::new);
        for (claim, part) in accounts.claims.iter_mut().zip(&mut parts) {
            claim.residency = part;
        }
        accounts.idle = parts.sum();
    }
}

/// By processor time. Returns the processor time of the whole host.
fn share_dynamic(dynamic: Nanojoules, used: &IntervalUse<'_>, accounts: &mut IntervalAccounts) -> Nanos {
    let Some(host_cpu) = used.host_cpu else {
        accounts.unmeasured = dynamic;
        return Nanos::ZERO;
    };
    let claimed: Nanos = used.claims.iter().map(|claim| claim.cpu).sum();
    if claimed > used.own_cpu {
        accounts.adjustments.push(Adjustment::ClaimsBeyondProcess);
    }
    let own = used.own_cpu.max(claimed);
    if own > host_cpu {
        accounts.adjustments.push(Adjustment::ProcessBeyondHost);
    }
    let host = host_cpu.max(own);
    if host == Nanos::ZERO {
        accounts.idle = accounts.idle.saturating_add(dynamic);
        return host;
    }
    let mut weights: Vec<u64> = used.claims.iter().map(|claim| claim.cpu.get()).collect();
    weights.extend([own.saturating_sub(claimed).get(), host.saturating_sub(own).get()]);
    let mut parts = split_largest_remainder(dynamic.get(), &weights).into_iter().map(Nanojoules::new);
    for (claim, part) in accounts.claims.iter_mut().zip(&mut parts) {
        claim.dynamic = part;
    }
    accounts.runtime = parts.next().unwrap_or_default();
    accounts.host_other = parts.next().unwrap_or_default();
    host
}

#[cfg(test)]
mod tests;
