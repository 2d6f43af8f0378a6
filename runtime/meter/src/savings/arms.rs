//! Ways of serving, what each holds and costs, and how two of them compare.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::verdict::{self, Judged};
use crate::energy::Quality;
use crate::units::{KibMillis, Nanojoules, Nanos, PicoUnits};

/// One way of serving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Arm {
    /// Weights held over time.
    pub kib_ms: KibMillis,
    /// The same in GB-hours.
    pub gb_hours: f64,
    /// How that was come by.
    pub quality: Quality,
    /// Processor time of loads.
    pub load_cpu_ns: Nanos,
    /// Their dynamic energy.
    pub load_energy_nj: Nanojoules,
    /// Both at the rate card's prices; none if one is missing.
    pub pico_units: Option<PicoUnits>,
    /// The same in units of the currency.
    pub cost: Option<f64>,
    /// Attributional energy of both.
    pub energy_nj: Nanojoules,
    /// The same in joules.
    pub joules: f64,
    /// How that was come by.
    pub energy_quality: Quality,
}

/// Where the ephemeral arm's memory went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holding {
    /// Weights while a request was active.
    pub active_kib_ms: KibMillis,
    /// Weights kept after the last request.
    pub keepalive_kib_ms: KibMillis,
    /// Weights that somebody pinned, while no request was active.
    pub pinned_kib_ms: KibMillis,
    /// Weights while they were loaded.
    pub load_kib_ms: KibMillis,
    /// Weights held for nobody in particular.
    pub idle_kib_ms: KibMillis,
    /// What the process held beside them.
    pub process_kib_ms: KibMillis,
    /// Keys and values that were kept for later: charged to this arm alone.
    pub pages_kib_ms: KibMillis,
}

impl Holding {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> KibMillis {
        let Self { active_kib_ms, keepalive_kib_ms, pinned_kib_ms, load_kib_ms, idle_kib_ms, .. } = *self;
        let weights = [active_kib_ms, keepalive_kib_ms, pinned_kib_ms, load_kib_ms, idle_kib_ms];
        weights.into_iter().chain([self.process_kib_ms, self.pages_kib_ms]).sum()
    }
}

/// A baseline minus the ephemeral arm: negative where ephemeral serving took more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Memory over time.
    pub kib_ms: i64,
    /// The same in GB-hours.
    pub gb_hours: f64,
    /// The same as a share of the baseline; none if that holds nothing.
    pub memory_share: Option<f64>,
    /// Nominal money in 10⁻¹² of the currency; none if a price is missing.
    pub pico_units: Option<i64>,
    /// The same in units of the currency.
    pub cost: Option<f64>,
    /// Attributional energy in joules, modelled.
    pub attributional_joules: f64,
    /// What this host's meter would have changed, in joules, modelled.
    pub marginal_joules: f64,
}

/// A baseline, and how ephemeral serving compares with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// The baseline.
    pub baseline: Arm,
    /// What was saved; negative for a loss.
    pub saved: Difference,
    /// What that amounts to.
    pub judged: Judged,
}

/// All arms of one tenant, or of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Savings {
    /// What was measured.
    pub ephemeral: Arm,
    /// Where its memory went.
    pub held: Holding,
    /// Against one copy of each model for all, the headline. Whoever asks for the other comparison does not get it.
    #[schema(required = false)]
    pub shared_persistent: Comparison,
    /// Against a copy of each model per tenant. Whoever asks for the other comparison does not get it.
    #[schema(required = false)]
    pub dedicated: Comparison,
}

impl Arm {
    pub(super) fn empty(quality: Quality) -> Self {
        Self {
            kib_ms: KibMillis::ZERO,
            gb_hours: 0.0,
            quality,
            load_cpu_ns: Nanos::ZERO,
            load_energy_nj: Nanojoules::ZERO,
            pico_units: Some(PicoUnits::ZERO),
            cost: None,
            energy_nj: Nanojoules::ZERO,
            joules: 0.0,
            energy_quality: Quality::Modelled,
        }
    }

    /// The same with the figures for people filled in.
    pub(super) fn shown(self) -> Self {
        Self {
            gb_hours: self.kib_ms.gb_hours(),
            cost: self.pico_units.map(PicoUnits::units),
            joules: self.energy_nj.joules(),
            ..self
        }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            kib_ms: self.kib_ms.saturating_add(other.kib_ms),
            load_cpu_ns: self.load_cpu_ns.saturating_add(other.load_cpu_ns),
            load_energy_nj: self.load_energy_nj.saturating_add(other.load_energy_nj),
            pico_units: self.pico_units.zip(other.pico_units).map(|(one, two)| one.saturating_add(two)),
            energy_nj: self.energy_nj.saturating_add(other.energy_nj),
            ..self
        }
        .shown()
    }
}

impl Holding {
    pub(super) fn plus(self, other: &Self) -> Self {
        Self {
            active_kib_ms: self.active_kib_ms.saturating_add(other.active_kib_ms),
            keepalive_kib_ms: self.keepalive_kib_ms.saturating_add(other.keepalive_kib_ms),
            pinned_kib_ms: self.pinned_kib_ms.saturating_add(other.pinned_kib_ms),
            load_kib_ms: self.load_kib_ms.saturating_add(other.load_kib_ms),
            idle_kib_ms: self.idle_kib_ms.saturating_add(other.idle_kib_ms),
            process_kib_ms: self.process_kib_ms.saturating_add(other.process_kib_ms),
            pages_kib_ms: self.pages_kib_ms.saturating_add(other.pages_kib_ms),
        }
    }
}

impl Savings {
    pub(super) fn compare(ephemeral: Arm, held: Holding, shared: Arm, dedicated: Arm) -> Self {
        Self {
            shared_persistent: Comparison::between(shared, &ephemeral, &held),
            dedicated: Comparison::between(dedicated, &ephemeral, &held),
            ephemeral,
            held,
        }
    }

    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut held = Holding::default();
        let mut ephemeral = Arm::empty(Quality::Measured).shown();
        let (mut shared, mut dedicated) = (Arm::empty(Quality::Derived).shown(), Arm::empty(Quality::Derived).shown());
        for one in all {
            held = held.plus(&one.held);
            ephemeral = ephemeral.plus(&one.ephemeral);
            shared = shared.plus(&one.shared_persistent.baseline);
            dedicated = dedicated.plus(&one.dedicated.baseline);
        }
        Self::compare(ephemeral, held, shared, dedicated)
    }
}

impl Comparison {
    fn between(baseline: Arm, ephemeral: &Arm, held: &Holding) -> Self {
        let kib_ms = signed(baseline.kib_ms.get(), ephemeral.kib_ms.get());
        let pico_units = baseline
            .pico_units
            .zip(ephemeral.pico_units)
            .map(|(persistent, taken)| signed(persistent.get(), taken.get()));
        let saved = Difference {
            kib_ms,
            gb_hours: baseline.gb_hours - ephemeral.gb_hours,
            memory_share: (baseline.kib_ms > KibMillis::ZERO).then(|| kib_ms as f64 / baseline.kib_ms.get() as f64),
            pico_units,
            cost: pico_units.map(|picos| picos as f64 / 1e12),
            attributional_joules: baseline.joules - ephemeral.joules,
            marginal_joules: baseline.load_energy_nj.joules() - ephemeral.load_energy_nj.joules(),
        };
        let judged = verdict::judge(&baseline, ephemeral, held);
        Self { baseline, saved, judged }
    }
}

/// `baseline` − `taken`, clamped to 63 bits and a sign.
pub(super) fn signed(baseline: u64, taken: u64) -> i64 {
    let magnitude = i64::try_from(baseline.abs_diff(taken)).unwrap_or(i64::MAX);
    if taken > baseline { -magnitude } else { magnitude }
}
