//! What devices took over time, and who carries it, until the store has it.
//!
//! Invariants: what is taken out is what was put in, to the nanojoule ([`EnergyBook::imbalance`]); the accounts of one
//! [`EnergyInterval`] sum to its energy. Bounded by the sources that devices have between two takings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::IntervalAccounts;
use crate::energy::Quality;
use crate::ladder::IntervalEnergy;
use crate::units::{Moment, Nanojoules};

/// Who carries energy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnergyAccounts {
    /// Requests: what they computed, what was loaded for them, and the base of the memory that they held.
    #[serde(rename = "requests_nj")]
    pub requests: Nanojoules,
    /// The base of memory that was kept for tenants.
    #[serde(rename = "keepalive_nj")]
    pub keepalive: Nanojoules,
    /// The rest of this process.
    #[serde(rename = "runtime_nj")]
    pub runtime: Nanojoules,
    /// Everything else that ran on the host.
    #[serde(rename = "host_other_nj")]
    pub host_other: Nanojoules,
    /// The base of all other memory, and what was above it though nobody worked.
    #[serde(rename = "idle_nj")]
    pub idle: Nanojoules,
    /// What nothing tells whose it is.
    #[serde(rename = "unmeasured_nj")]
    pub unmeasured: Nanojoules,
}

impl EnergyAccounts {
    /// In the order of their declaration.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, Nanojoules); 6] {
        [
            ("requests", self.requests),
            ("keepalive", self.keepalive),
            ("runtime", self.runtime),
            ("host_other", self.host_other),
            ("idle", self.idle),
            ("unmeasured", self.unmeasured),
        ]
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> Nanojoules {
        self.parts().into_iter().map(|(_, part)| part).sum()
    }

    /// Those of a split whose first claim is the requests' and whose second is what is kept.
    #[must_use]
    pub fn of_claims(accounts: &IntervalAccounts) -> Self {
        let claim = |index: usize| accounts.claims.get(index).copied().unwrap_or_default();
        let (requests, kept) = (claim(0), claim(1));
        Self {
            requests: requests.dynamic.saturating_add(requests.residency),
            keepalive: kept.dynamic.saturating_add(kept.residency),
            runtime: accounts.runtime,
            host_other: accounts.host_other,
            idle: accounts.idle,
            unmeasured: accounts.unmeasured,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            keepalive: self.keepalive.saturating_add(other.keepalive),
            runtime: self.runtime.saturating_add(other.runtime),
            host_other: self.host_other.saturating_add(other.host_other),
            idle: self.idle.saturating_add(other.idle),
            unmeasured: self.unmeasured.saturating_add(other.unmeasured),
        }
    }
}

/// What a device took over a span by one source, and who carries it, for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnergyInterval {
    /// Unique within this process; a repeat of it is the same interval.
    pub sequence: u64,
    /// Which device: `host`, or a card's name.
    pub device: String,
    /// The sensor or model that tells it.
    pub source: String,
    /// How well that is known.
    pub quality: Quality,
    /// Who carries it; the sum is what was taken.
    pub accounts: EnergyAccounts,
    /// Time of the span of which it is not known what was taken.
    pub unknown_ms: u64,
    /// The first moment of it.
    pub from: Moment,
    /// The last one.
    pub to: Moment,
}

/// What is not in the store yet.
#[derive(Debug, Default)]
pub struct EnergyBook {
    open: BTreeMap<(String, String), EnergyInterval>,
    next: u64,
    measured: u128,
    taken: u128,
}

impl EnergyBook {
    /// Nothing was taken yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts in what `device` took until `at` and who carries it, `None` where it is not known how much it was.
    pub fn put(&mut self, device: &str, taken: &IntervalEnergy, accounts: Option<EnergyAccounts>, at: Moment) {
        let span_ms = u64::try_from(taken.span.as_millis()).unwrap_or(u64::MAX);
        let from = Moment::new(at.get().saturating_sub(span_ms));
        let key = (device.to_owned(), taken.label.source.clone());
        let next = &mut self.next;
        let open = self.open.entry(key).or_insert_with(|| {
            let sequence = *next;
            *next += 1;
            EnergyInterval {
                sequence,
                device: device.to_owned(),
                source: taken.label.source.clone(),
                quality: taken.label.quality,
                accounts: EnergyAccounts::default(),
                unknown_ms: 0,
                from,
                to: at,
            }
        });
        (open.from, open.to) = (open.from.min(from), open.to.max(at));
        match (taken.energy, accounts) {
            (Some(energy), Some(accounts)) => {
                self.measured += u128::from(energy.get());
                open.accounts = open.accounts.plus(accounts);
            }
            _ => open.unknown_ms = open.unknown_ms.saturating_add(span_ms),
        }
    }

    /// Takes out everything that was put in since the last time. The caller stores every interval.
    pub fn take_intervals(&mut self) -> Vec<EnergyInterval> {
        let intervals: Vec<EnergyInterval> = std::mem::take(&mut self.open).into_values().collect();
        self.taken += intervals.iter().map(|interval| u128::from(interval.accounts.total().get())).sum::<u128>();
        intervals
    }

    /// How far what accounts carry is from what devices took, in nanojoules: zero, or there is a bug.
    #[must_use]
    pub fn imbalance(&self) -> u128 {
        let open: u128 = self.open.values().map(|interval| u128::from(interval.accounts.total().get())).sum();
        self.measured.abs_diff(open + self.taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::energy::EnergyLabel;
    use crate::interval::ClaimEnergy;
    use crate::units::Nanos;

    fn taken(source: &str, nanojoules: Option<u64>) -> IntervalEnergy {
        let label = EnergyLabel {
            source: source.to_owned(),
            quality: Quality::Measured,
            scope: "processors".to_owned(),
            relative_uncertainty: 0.1,
        };
        let (span, energy) = (Duration::from_secs(1), nanojoules.map(Nanojoules::new));
        IntervalEnergy { span, busy: Nanos::ZERO, energy, label, modelled_base: None }
    }

    fn claims(parts: [u64; 2], idle: u64) -> EnergyAccounts {
        let claim = |part| ClaimEnergy { dynamic: Nanojoules::new(part), residency: Nanojoules::new(1) };
        let claims = parts.map(claim).to_vec();
        EnergyAccounts::of_claims(&IntervalAccounts {
            claims,
            idle: Nanojoules::new(idle),
            ..IntervalAccounts::default()
        })
    }

    #[test]
    fn intervals_of_one_source_become_one_and_nothing_is_lost() {
        let mut book = EnergyBook::new();
        let second = |count: u64| Moment::new(1000 * count);
        book.put("host", &taken("RAPL", Some(17)), Some(claims([10, 0], 5)), second(1));
        book.put("host", &taken("RAPL", Some(29)), Some(claims([20, 2], 5)), second(2));
        book.put("host", &taken("RAPL", None), None, second(3));
        book.put("gpu", &taken("NVML", Some(7)), Some(claims([5, 0], 0)), second(3));
        assert_eq!(book.imbalance(), 0);
        let [gpu, host] = <[EnergyInterval; 2]>::try_from(book.take_intervals()).unwrap();
        assert_eq!((gpu.device.as_str(), gpu.accounts.total()), ("gpu", Nanojoules::new(7)));
        assert_eq!((host.accounts.requests, host.accounts.keepalive), (Nanojoules::new(32), Nanojoules::new(4)));
        assert_eq!((host.accounts.total(), host.unknown_ms), (Nanojoules::new(46), 1000));
        assert_eq!((host.from, host.to), (second(0), second(3)));
        assert_ne!(gpu.sequence, host.sequence);
        book.put("host", &taken("RAPL", Some(3)), Some(claims([0, 0], 1)), second(4));
        assert_eq!(book.imbalance(), 0);
        let later = book.take_intervals();
        assert_eq!((later.len(), later[0].sequence), (1, 2));
        assert_eq!(book.take_intervals(), []);
    }

    #[test]
    fn accounts_that_do_not_sum_to_what_was_taken_are_noticed() {
        let mut book = EnergyBook::new();
        book.put("host", &taken("RAPL", Some(20)), Some(claims([10, 0], 5)), Moment::new(1000));
        assert_eq!(book.imbalance(), 3);
        book.take_intervals();
        assert_eq!(book.imbalance(), 3);
    }
}
