//! The arms against one another: what was saved, what cold starts cost, and whether what the ledger predicts of servers
//! that never unload is what they really hold.
//!
//! Invariants: differences are signed, and a loss is called one; a prediction is made from the ephemeral arm alone.

use std::collections::BTreeMap;
use std::time::Duration;

use meter::energy::EnergyModel;
use meter::rate::RateCard;
use meter::savings::{self, Measure as By, SavingsReport, Verdict};
use meter::{KibMillis, SavingsInputs};
use serde::Serialize;

use super::arms::{Arm, Overhead, Run};
use super::drive::{Answered, Driven};
use super::figures::{Figures, Percentiles, share};
use super::workload::Workload;

/// How far a prediction may be from what is really run.
const PREDICTED_WITHIN: f64 = 0.1;

/// A persistent arm minus the ephemeral one: negative where ephemeral serving took more.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Saved {
    pub(super) against: Arm,
    pub(super) memory_gb_hours: f64,
    /// The same as a share of the persistent arm's.
    pub(super) memory_share: Option<f64>,
    pub(super) cpu_seconds: f64,
    pub(super) joules: f64,
    /// None if a price is missing.
    pub(super) cost: Option<f64>,
    pub(super) cost_share: Option<f64>,
    /// What the verdict is by.
    pub(super) by: By,
    pub(super) verdict: Verdict,
}

/// What cold starts cost those who waited.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ColdStarts {
    pub(super) count: usize,
    /// Of each cold request, its milliseconds to the first token minus those of the same request to the shared
    /// persistent server.
    pub(super) added_first_token_ms: Option<Percentiles>,
    /// The same in seconds, summed: W.
    pub(super) user_seconds_lost: f64,
    /// As that, of all requests, warm ones too.
    pub(super) user_seconds_lost_by_all: f64,
    /// Time that requests waited for loads, by the ledger.
    pub(super) load_wait_seconds: f64,
    /// The price of a waited second at which the measured saving against the shared persistent server is gone; none if
    /// nobody waited or a price is missing. Negative where there was no saving.
    pub(super) break_even_per_second: Option<f64>,
}

/// What the ephemeral arm's ledger says of a persistent arm, against that arm as it was really run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Prediction {
    pub(super) arm: Arm,
    /// Of weights: derived by the savings report.
    pub(super) weights_gb_hours: f64,
    /// Of what processes hold besides: measured before.
    pub(super) overhead_gb_hours: f64,
    /// Of keys and values: as in the ephemeral arm.
    pub(super) key_value_gb_hours: f64,
    /// All of them.
    pub(super) predicted_gb_hours: f64,
    /// The proportional set size of its processes, over time.
    pub(super) measured_gb_hours: f64,
    /// Seconds for which servers were predicted to count, and did: where tenants took longer to be answered than in the
    /// ephemeral arm, their own servers held their models for longer.
    pub(super) server_seconds: (f64, f64),
    /// Predicted over measured.
    pub(super) ratio: Option<f64>,
    pub(super) within_10_percent: bool,
}

impl Saved {
    /// What ephemeral serving saved against `baseline`.
    pub(super) fn against(baseline: &Figures, ephemeral: &Figures) -> Self {
        let cost = baseline.cost.amount.zip(ephemeral.cost.amount).map(|(one, other)| one - other);
        let priced = baseline.cost.pico_units.zip(ephemeral.cost.pico_units);
        let (by, persistent, taken) = match priced {
            Some((one, other)) => (By::Cost, one.get(), other.get()),
            None => (By::Memory, baseline.memory.kib_ms.get(), ephemeral.memory.kib_ms.get()),
        };
        let memory_gb_hours = baseline.memory.gb_hours - ephemeral.memory.gb_hours;
        Self {
            against: baseline.arm,
            memory_gb_hours,
            memory_share: share(memory_gb_hours, baseline.memory.gb_hours),
            cpu_seconds: baseline.cpu.seconds - ephemeral.cpu.seconds,
            joules: baseline.energy.joules - ephemeral.energy.joules,
            cost,
            cost_share: cost.zip(baseline.cost.amount).and_then(|(cost, all)| share(cost, all)),
            by,
            verdict: Verdict::of(persistent, taken),
        }
    }
}

impl ColdStarts {
    /// What the cold requests of `ephemeral` waited longer than the same ones of `persistent`; `saved` is against that.
    pub(super) fn of(ephemeral: &Run, persistent: &Driven, saved: &Saved) -> Self {
        let seconds = |time: Duration| time.as_secs_f64();
        let warm: BTreeMap<usize, f64> =
            persistent.answered().map(|(index, answered)| (index, seconds(answered.first))).collect();
        let added = |is_counted: fn(bool) -> bool| -> Vec<f64> {
            let own = ephemeral.driven.answered().filter(|(_, answered)| is_counted(answered.receipt.cold));
            own.filter_map(|(index, answered)| Some(seconds(answered.first) - warm.get(&index)?)).collect()
        };
        let cold = added(|cold| cold);
        let user_seconds_lost: f64 = cold.iter().sum();
        let totals = ephemeral.processes.iter().flat_map(|process| &process.ledger.totals);
        Self {
            count: ephemeral.driven.answered().filter(|(_, answered)| answered.receipt.cold).count(),
            user_seconds_lost,
            user_seconds_lost_by_all: added(|_| true).iter().sum(),
            load_wait_seconds: totals.map(|total| total.load_wait_ns).sum::<meter::Nanos>().seconds(),
            break_even_per_second: saved.cost.and_then(|saved| share(saved, user_seconds_lost)),
            added_first_token_ms: Percentiles::of(cold.into_iter().map(|seconds| seconds * 1e3)),
        }
    }
}

/// Foretells the persistent arms from the ephemeral one.
pub(super) struct Forecast<'a> {
    pub(super) ephemeral: &'a Run,
    pub(super) workload: &'a Workload,
    pub(super) overhead: &'a Overhead,
    pub(super) window: Duration,
    /// Tenants' names.
    pub(super) tenants: Vec<&'a str>,
    pub(super) energy: &'a EnergyModel,
    pub(super) rates: &'a RateCard,
}

impl Forecast<'_> {
    /// What the ledger of the ephemeral arm says was saved, over the window.
    pub(super) fn savings(&self) -> SavingsReport {
        savings::report(&self.inputs(), self.energy, self.rates)
    }

    fn inputs(&self) -> SavingsInputs {
        let inputs = self.ephemeral.processes.first().map(|process| process.ledger.inputs.clone());
        SavingsInputs { window_ms: millis(self.window), ..inputs.unwrap_or_default() }
    }

    /// A prediction of the arm that `really` is what it took.
    pub(super) fn prediction(&self, really: &Figures) -> Prediction {
        let (weights, overhead) = if really.arm == Arm::Dedicated { self.dedicated() } else { self.shared() };
        let totals = self.ephemeral.processes.iter().flat_map(|process| &process.ledger.totals);
        let key_value = totals.map(|total| total.kv_kib_ms).sum::<KibMillis>();
        let predicted = weights.saturating_add(overhead).saturating_add(key_value).gb_hours();
        let measured = really.memory.gb_hours;
        let ratio = share(predicted, measured);
        Prediction {
            arm: really.arm,
            weights_gb_hours: weights.gb_hours(),
            overhead_gb_hours: overhead.gb_hours(),
            key_value_gb_hours: key_value.gb_hours(),
            predicted_gb_hours: predicted,
            measured_gb_hours: measured,
            server_seconds: (self.server_seconds(really.arm), really.memory.server_seconds),
            ratio,
            within_10_percent: ratio.is_some_and(|ratio| (ratio - 1.0).abs() <= PREDICTED_WITHIN),
        }
    }

    fn server_seconds(&self, arm: Arm) -> f64 {
        if arm != Arm::Dedicated {
            return self.window.as_secs_f64();
        }
        let spans = (0..self.tenants.len()).map(|tenant| span_of(&self.ephemeral.driven, self.workload, tenant));
        spans.map(|(first, last)| last.saturating_sub(first).as_secs_f64()).sum()
    }

    fn shared(&self) -> (KibMillis, KibMillis) {
        let all: Vec<usize> = (0..self.overhead.models_kib.len()).collect();
        let weights = self.savings().total.shared_persistent.baseline.kib_ms;
        (weights, self.overhead.held_for(&all, millis(self.window)))
    }

    /// A server is there for all that its tenant uses, from the tenant's first request to the end of its last.
    fn dedicated(&self) -> (KibMillis, KibMillis) {
        let mut inputs = self.inputs();
        let mut overhead = KibMillis::ZERO;
        for (tenant, name) in self.tenants.iter().enumerate() {
            let (first, last) = span_of(&self.ephemeral.driven, self.workload, tenant);
            let span_ms = millis(last.saturating_sub(first));
            inputs.tenants.iter_mut().filter(|one| one.tenant == *name).for_each(|one| one.span_ms = span_ms);
            let models = self.workload.models_of(tenant);
            if !models.is_empty() {
                overhead = overhead.saturating_add(self.overhead.held_for(&models, span_ms));
            }
        }
        (savings::report(&inputs, self.energy, self.rates).total.dedicated.baseline.kib_ms, overhead)
    }
}

impl Overhead {
    /// What a process that has used `models` holds besides weights, for so long.
    fn held_for(&self, models: &[usize], millis: u64) -> KibMillis {
        let kib = self.fresh_kib + models.iter().map(|&model| self.models_kib[model]).sum::<u64>();
        KibMillis::saturating_from(u128::from(kib) * u128::from(millis))
    }
}

/// From `tenant`'s first request to the end of its last.
pub(super) fn span_of(driven: &Driven, workload: &Workload, tenant: usize) -> (Duration, Duration) {
    driven.span(|index| workload.arrivals[index].tenant == tenant)
}

/// Requests that got the same tokens, and the same text, from every arm.
pub(super) fn alike(arms: &[Run]) -> (usize, usize) {
    let Some((first, others)) = arms.split_first() else { return (0, 0) };
    let others: Vec<BTreeMap<usize, &Answered>> = others.iter().map(|arm| arm.driven.answered().collect()).collect();
    let counted = |answered: &Answered| (answered.receipt.tokens.prompt, answered.receipt.tokens.completion);
    let (mut tokens, mut texts) = (0, 0);
    for (index, answered) in first.driven.answered() {
        let same =
            |is: &dyn Fn(&Answered) -> bool| others.iter().all(|arm| arm.get(&index).is_some_and(|other| is(other)));
        tokens += usize::from(same(&|other| counted(other) == counted(answered)));
        texts += usize::from(same(&|other| other.digest == answered.digest));
    }
    (tokens, texts)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
