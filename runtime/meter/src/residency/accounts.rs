//! Accounts: who carries what no request does, as what, and what that comes to.
//!
//! Invariants: whose memory is and as what it is held say which account carries it ([`HeldAs::account`]), so that nothing is
//! told twice; an interval's figures are those of its span alone, so that sums of intervals are sums of figures.
//!
//! Deliberately absent: who is to carry what, which [`Residency`](super::Residency) and
//! [`SharedBlocks`](crate::SharedBlocks) decide.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::carbon::CarbonFactors;
use crate::energy::{EnergySource, EnergyUse};
use crate::rate::{BilledUse, RateCard, Resource};
use crate::units::{KibMillis, Micrograms, Moment, Nanojoules, Nanos, PicoUnits};

/// Who carries memory that no active request does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "account", content = "tenant", rename_all = "snake_case")]
pub enum Account {
    /// Kept loaded for this tenant's next request, or because this tenant pinned it.
    Keepalive(String),
    /// Loading while no request waits.
    Load,
    /// Loaded for nobody in particular.
    Idle,
    /// What no rule covers; zero in a healthy run.
    Unmeasured,
}

impl Account {
    /// The tenant whose it is.
    #[must_use]
    pub fn into_tenant(self) -> Option<String> {
        match self {
            Self::Keepalive(tenant) => Some(tenant),
            Self::Load | Self::Idle | Self::Unmeasured => None,
        }
    }

    /// The name as it stands in JSON and in the ledger.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Keepalive(_) => "keepalive",
            Self::Load => "load",
            Self::Idle => "idle",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// As what an account carries memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldAs {
    /// Weights that are kept for who used them last.
    Keepalive,
    /// Weights that someone pinned.
    Pinned,
    /// Weights while they were loaded.
    Load,
    /// Pages of keys and values that are kept to be found again, and what requests without a receipt held of them.
    Prefix,
    /// Pages of a published context.
    Context,
    /// Weights that are kept for nobody, or on their way out.
    Idle,
    /// What no rule covers.
    #[default]
    Unmeasured,
}

impl HeldAs {
    const ALL: [Self; 7] =
        [Self::Keepalive, Self::Pinned, Self::Load, Self::Prefix, Self::Context, Self::Idle, Self::Unmeasured];

    /// The name as it stands in labels, JSON and the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keepalive => "keepalive",
            Self::Pinned => "pinned",
            Self::Load => "load",
            Self::Prefix => "prefix",
            Self::Context => "context",
            Self::Idle => "idle",
            Self::Unmeasured => "unmeasured",
        }
    }

    /// What has that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Who carries what is held as this: the tenant whose it is, if it is somebody's.
    #[must_use]
    pub fn account(self, tenant: Option<String>) -> Account {
        match (tenant, self) {
            (Some(tenant), _) => Account::Keepalive(tenant),
            (None, Self::Load) => Account::Load,
            (None, Self::Unmeasured) => Account::Unmeasured,
            (None, Self::Keepalive | Self::Pinned | Self::Prefix | Self::Context | Self::Idle) => Account::Idle,
        }
    }
}

/// What an account carries of a model over a span as one thing, for the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountInterval {
    /// Unique within this process; a repeat of it is the same interval.
    pub sequence: u64,
    /// The model.
    pub model: String,
    /// Whose it is; none for nobody's.
    pub tenant: Option<String>,
    /// As what.
    pub held_as: HeldAs,
    /// How much memory.
    pub kib_ms: KibMillis,
    /// Processor time that is on no receipt: of loads.
    pub cpu: Nanos,
    /// What both come to; nothing before it is [priced](Self::priced).
    pub cost: AccountCost,
    /// The first moment charged.
    pub from: Moment,
    /// The last moment charged.
    pub to: Moment,
}

/// What an interval comes to, at the prices of its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountCost {
    /// Energy: the idle share of its memory, and what its processor time took.
    pub energy: Nanojoules,
    /// What that emits.
    pub carbon: Micrograms,
    /// Money; none where a price is missing.
    pub pico_units: Option<PicoUnits>,
}

impl AccountInterval {
    /// Who carries it.
    #[must_use]
    pub fn account(&self) -> Account {
        self.held_as.account(self.tenant.clone())
    }

    /// The same with what it comes to, by what prices receipts.
    #[must_use]
    pub fn priced(self, source: &dyn EnergySource, factors: &CarbonFactors, rates: &RateCard) -> Self {
        let of_cpu = EnergyUse { load_cpu: self.cpu, ..EnergyUse::default() };
        let energy_use = match self.account() {
            Account::Load => EnergyUse { load_memory: self.kib_ms, ..of_cpu },
            Account::Keepalive(_) => EnergyUse { keepalive_memory: self.kib_ms, ..of_cpu },
            Account::Idle | Account::Unmeasured => EnergyUse { idle_memory: self.kib_ms, ..of_cpu },
        };
        let energy = source.estimate(&energy_use).total();
        let billed = BilledUse { load_cpu: self.cpu, memory: self.kib_ms, energy, ..BilledUse::default() };
        let bill = rates.cost_of(&billed);
        // What there is nothing of needs no price.
        let is_lacking = |resource: &Resource| match resource {
            Resource::Cpu => self.cpu > Nanos::ZERO,
            Resource::Memory => self.kib_ms > KibMillis::ZERO,
            _ => true,
        };
        let is_priced = !bill.missing.iter().any(is_lacking);
        let pico_units = is_priced.then(|| bill.parts.iter().map(|part| part.pico_units).sum());
        let cost = AccountCost { energy, carbon: factors.emissions(energy), pico_units };
        Self { cost, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::energy::EnergyModel;
    use crate::processor::CpuDescription;

    #[test]
    fn names_are_found_again() {
        for held_as in HeldAs::ALL {
            assert_eq!(HeldAs::from_name(held_as.name()), Some(held_as));
            assert_eq!(held_as.account(Some("a".into())), Account::Keepalive("a".into()));
        }
        assert_eq!(HeldAs::from_name("of old"), None);
        assert_eq!([HeldAs::Pinned, HeldAs::Load].map(|one| one.account(None)), [Account::Idle, Account::Load]);
    }

    #[test]
    fn an_interval_is_priced_as_a_receipt_is() {
        let model = EnergyModel::new(&CpuDescription::default(), 2, 1 << 30);
        let half = KibMillis::held(1 << 29, Duration::from_secs(3600));
        let hour = Nanos::from(Duration::from_secs(3600));
        for (tenant, held_as) in [(None, HeldAs::Load), (Some("a"), HeldAs::Pinned), (None, HeldAs::Context)] {
            let tenant = tenant.map(str::to_owned);
            let interval = AccountInterval { tenant, held_as, kib_ms: half, cpu: hour, ..AccountInterval::default() };
            let rates = RateCard { kilowatt_hour: PicoUnits::from_units(0.5), ..RateCard::default() };
            let AccountCost { energy, carbon, pico_units } =
                interval.clone().priced(&model, &CarbonFactors::default(), &rates).cost;
            // 2 · 0.74 W · ½ for an hour, and 2.76 W of work for another.
            assert_eq!(energy, Nanojoules::new((740 + 2760) * 3600 * 1_000_000), "{held_as:?}");
            assert_eq!(carbon, CarbonFactors::default().emissions(energy));
            let memory = 4_237_000_000_u64 * (1 << 29) / 1_000_000_000;
            assert_eq!(pico_units, Some(PicoUnits::new(31_611_000_000 + memory + 500_000_000 * 35 / 10)));
            let of_memory = RateCard { cpu_hour: None, ..rates.clone() };
            let kept = AccountInterval { cpu: Nanos::ZERO, ..interval.clone() };
            let kept = kept.priced(&model, &CarbonFactors::default(), &of_memory).cost;
            assert!(kept.pico_units.is_some(), "what there is nothing of needs no price");
            let free = RateCard { memory_gb_hour: None, ..rates };
            let unpriced = interval.priced(&model, &CarbonFactors::default(), &free).cost;
            assert_eq!((unpriced.energy, unpriced.pico_units), (energy, None), "a missing price is not nothing");
        }
    }
}
