//! What an arm took, in figures: from what was seen of its processes, its answers and its ledger.
//!
//! The boundary is the same in every arm: the window, from the beginning to the end of the longest arm. A dedicated
//! server counts from its tenant's first request to the end of its last. Invariants: failures and late requests are
//! counted, never left out; cold and warm answers are apart. Deliberately absent: comparisons (see
//! [`compare`](super::compare)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meter::energy::{EnergyModel, Quality};
use meter::rate::{BilledUse, RateCard};
use meter::{Account, KibMillis, Nanojoules, Nanos, PicoUnits};
use serde::Serialize;

use super::arms::{Arm, ProcessRun, Run};
use super::drive::{Answered, Driven};
use super::samples::{integral, together};

/// What an arm took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) arm: Arm,
    pub(super) processes: usize,
    pub(super) requests: Requests,
    pub(super) first_token_ms: FirstToken,
    pub(super) tokens: Tokens,
    pub(super) memory: Memory,
    pub(super) cpu: Cpu,
    pub(super) energy: Energy,
    pub(super) cost: Cost,
    pub(super) ledger: Ledger,
    pub(super) utilisation: Utilisation,
    /// Seconds after the beginning, and bytes of all processes then.
    pub(super) pss_over_time: Vec<(f64, u64)>,
    /// Milliseconds to the first token of every answer, and whether it was cold.
    pub(super) first_tokens: Vec<(f64, bool)>,
}

/// What requests became.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Requests {
    pub(super) completed: usize,
    pub(super) failed: usize,
    /// Found too many others under way.
    pub(super) unsent: usize,
    pub(super) cold: usize,
    /// How long after their time they were sent.
    pub(super) late_ms: Option<Percentiles>,
    /// How often each reason was given.
    pub(super) failures: BTreeMap<String, usize>,
}

/// Milliseconds to the first token.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FirstToken {
    pub(super) warm: Option<Percentiles>,
    pub(super) cold: Option<Percentiles>,
}

/// Of several values, by the nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct Percentiles {
    pub(in crate::cli) count: usize,
    pub(in crate::cli) p50: f64,
    pub(in crate::cli) p95: f64,
    pub(in crate::cli) p99: f64,
}

/// Tokens, by the receipts.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    /// Tokens of answers over the window.
    pub(super) completion_per_second: f64,
}

/// Proportional set size over time: measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) kib_ms: KibMillis,
    pub(super) gb_hours: f64,
    /// Seconds for which servers count, of all together.
    pub(super) server_seconds: f64,
    pub(super) peak_bytes: u64,
    /// The same over the whole window also where a server counts for a part of it.
    pub(super) whole_window_gb_hours: f64,
    pub(super) quality: Quality,
}

/// Processor time: measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cpu {
    /// Within the window.
    pub(super) seconds: f64,
    /// Before it: starting servers, and loading what they hold for good. In no comparison.
    pub(super) before_seconds: f64,
    pub(super) quality: Quality,
}

/// Energy of that processor time and memory, by the machine's model.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Energy {
    pub(super) joules: f64,
    /// Of processor time.
    pub(super) dynamic_joules: f64,
    /// Of memory: its share of what the machine draws anyway.
    pub(super) residency_joules: f64,
    pub(super) source: String,
    pub(super) quality: Quality,
    pub(super) relative_uncertainty: f64,
}

/// Money for that processor time and memory, at the rate card's prices.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cost {
    /// None if a price is missing.
    pub(super) amount: Option<f64>,
    pub(super) pico_units: Option<PicoUnits>,
    pub(super) currency: String,
    pub(super) rate_card: String,
}

/// What the ledgers say, from their servers' starts to their ends.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ledger {
    pub(super) requests: u64,
    /// Weights and keys and values.
    pub(super) gb_hours: f64,
    /// Weights while requests were active.
    pub(super) active_gb_hours: f64,
    /// Keys and values.
    pub(super) key_value_gb_hours: f64,
    /// Kept after the last request.
    pub(super) keepalive_gb_hours: f64,
    /// Being loaded.
    pub(super) load_gb_hours: f64,
    /// For nobody in particular.
    pub(super) idle_gb_hours: f64,
    /// Processor time of the requests, loads included.
    pub(super) cpu_seconds: f64,
    /// The requests' energy, as their receipts have it.
    pub(super) joules: f64,
    /// How the receipts came by it.
    pub(super) energy_source: BTreeSet<String>,
}

/// How much of what was held was used.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Utilisation {
    /// Processor time over what all processors have in the window.
    pub(super) processors_busy_share: f64,
    /// Weights' memory over time while requests were active, over all of it, by the ledger; none if none was held.
    pub(super) weights_in_use_share: Option<f64>,
}

/// What figures are computed with; the same for all arms.
pub(super) struct Measure<'a> {
    pub(super) window: Duration,
    pub(super) energy: &'a EnergyModel,
    pub(super) rates: &'a RateCard,
    pub(super) processors: usize,
}

impl Percentiles {
    /// None of no values.
    pub(in crate::cli) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        (!values.is_empty()).then(|| Self { count: values.len(), p50: at(50), p95: at(95), p99: at(99) })
    }
}

impl Driven {
    /// From the first request of `tenant`, or of anybody, to the end of the last.
    pub(in crate::cli::bench) fn span(&self, is_of: impl Fn(usize) -> bool) -> (Duration, Duration) {
        let own = || self.asked.iter().filter(|asked| is_of(asked.index));
        let first = own().map(|asked| asked.sent).min().unwrap_or_default();
        (first, own().map(|asked| asked.ended).max().unwrap_or_default())
    }

    /// Those that were answered, with their numbers.
    pub(in crate::cli::bench) fn answered(&self) -> impl Iterator<Item = (usize, &Answered)> {
        self.asked.iter().filter_map(|asked| Some((asked.index, asked.result.as_ref().ok()?)))
    }
}

impl Measure<'_> {
    /// What `run` took. `span_of` says from when to when a tenant's own server counts.
    pub(super) fn figures(&self, run: &Run, span_of: impl Fn(usize) -> (Duration, Duration)) -> Figures {
        let whole = (Duration::ZERO, self.window);
        let pss = |process: &ProcessRun, span| integral(&process.samples, span, |sample| sample.pss_kib);
        let spans: Vec<_> = run.processes.iter().map(|process| process.tenant.map_or(whole, &span_of)).collect();
        let counted = run.processes.iter().zip(&spans).map(|(process, span)| pss(process, *span)).sum();
        let whole_window: KibMillis = run.processes.iter().map(|process| pss(process, whole)).sum();
        let series: Vec<_> = run.processes.iter().map(|process| process.samples.clone()).collect();
        let over_time = together(&series);
        let cpu: Duration = run.processes.iter().map(cpu_within).sum();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let first_tokens: Vec<(f64, bool)> =
            run.driven.answered().map(|(_, answered)| (millis(answered.first), answered.receipt.cold)).collect();
        let of = |cold| first_tokens.iter().filter(move |one| one.1 == cold).map(|one| one.0);
        let ledger = ledger(run);
        Figures {
            arm: run.arm,
            processes: run.processes.len(),
            requests: requests(&run.driven),
            first_token_ms: FirstToken { warm: Percentiles::of(of(false)), cold: Percentiles::of(of(true)) },
            tokens: self.tokens(&run.driven),
            memory: Memory {
                kib_ms: counted,
                gb_hours: counted.gb_hours(),
                server_seconds: spans.iter().map(|(from, to)| to.saturating_sub(*from).as_secs_f64()).sum(),
                peak_bytes: over_time.iter().map(|(_, kib)| kib * 1024).max().unwrap_or(0),
                whole_window_gb_hours: whole_window.gb_hours(),
                quality: Quality::Measured,
            },
            cpu: Cpu {
                seconds: cpu.as_secs_f64(),
                before_seconds: run.processes.iter().map(|process| process.cpu_before.as_secs_f64()).sum(),
                quality: Quality::Measured,
            },
            energy: self.energy(cpu.into(), counted),
            cost: self.cost(cpu.into(), counted),
            utilisation: Utilisation {
                processors_busy_share: cpu.as_secs_f64() / (self.window.as_secs_f64() * count(self.processors)),
                weights_in_use_share: share(ledger.active_gb_hours, ledger.gb_hours - ledger.key_value_gb_hours),
            },
            ledger,
            pss_over_time: over_time.into_iter().map(|(at, kib)| (at.as_secs_f64(), kib * 1024)).collect(),
            first_tokens,
        }
    }

    fn tokens(&self, driven: &Driven) -> Tokens {
        let sum = |of: fn(&Answered) -> u64| driven.answered().map(|(_, answered)| of(answered)).sum();
        let completion = sum(|answered| answered.receipt.tokens.completion);
        Tokens {
            prompt: sum(|answered| answered.receipt.tokens.prompt),
            completion,
            completion_per_second: count(usize::try_from(completion).unwrap_or(usize::MAX)) / self.window.as_secs_f64(),
        }
    }

    fn energy(&self, cpu: Nanos, memory: KibMillis) -> Energy {
        let (dynamic, residency) = (self.energy.dynamic(cpu), self.energy.idle_share(memory));
        Energy {
            joules: dynamic.saturating_add(residency).joules(),
            dynamic_joules: dynamic.joules(),
            residency_joules: residency.joules(),
            source: self.energy.source(),
            quality: Quality::Modelled,
            relative_uncertainty: EnergyModel::RELATIVE_UNCERTAINTY,
        }
    }

    fn cost(&self, cpu: Nanos, memory: KibMillis) -> Cost {
        let energy = self.energy.dynamic(cpu).saturating_add(self.energy.idle_share(memory));
        let billed = BilledUse { active_cpu: cpu, memory, energy, ..BilledUse::default() };
        let pico_units = self.rates.cost_of(&billed).total;
        Cost {
            amount: pico_units.map(PicoUnits::units),
            pico_units,
            currency: self.rates.currency.clone(),
            rate_card: self.rates.name.clone(),
        }
    }
}

fn cpu_within(process: &ProcessRun) -> Duration {
    let last = process.samples.last().map_or(process.cpu_before, |sample| sample.cpu);
    last.saturating_sub(process.cpu_before)
}

fn requests(driven: &Driven) -> Requests {
    let mut failures = BTreeMap::new();
    for why in driven.asked.iter().filter_map(|asked| asked.result.as_ref().err()) {
        *failures.entry(why.clone()).or_default() += 1;
    }
    Requests {
        completed: driven.answered().count(),
        failed: failures.values().sum(),
        unsent: driven.unsent,
        cold: driven.answered().filter(|(_, answered)| answered.receipt.cold).count(),
        late_ms: Percentiles::of(driven.asked.iter().map(|asked| asked.late.as_secs_f64() * 1e3)),
        failures,
    }
}

fn ledger(run: &Run) -> Ledger {
    let totals = || run.processes.iter().flat_map(|process| &process.ledger.totals);
    let accounts = |is: fn(&Account) -> bool| {
        let all = run.processes.iter().flat_map(|process| &process.ledger.accounts);
        all.filter(|total| is(&total.account)).map(|total| total.kib_ms).sum::<KibMillis>().gb_hours()
    };
    let held = |of: fn(&ledger::TenantTotal) -> KibMillis| totals().map(of).sum::<KibMillis>().gb_hours();
    let active_gb_hours = held(|total| total.weights_kib_ms);
    let key_value_gb_hours = held(|total| total.kv_kib_ms);
    let keepalive_gb_hours = accounts(|account| matches!(account, Account::Keepalive(_)));
    let load_gb_hours = held(|total| total.load_kib_ms) + accounts(|account| matches!(account, Account::Load));
    let idle_gb_hours = accounts(|account| matches!(account, Account::Idle | Account::Unmeasured));
    Ledger {
        requests: totals().map(|total| total.requests).sum(),
        gb_hours: active_gb_hours + key_value_gb_hours + keepalive_gb_hours + load_gb_hours + idle_gb_hours,
        active_gb_hours,
        key_value_gb_hours,
        keepalive_gb_hours,
        load_gb_hours,
        idle_gb_hours,
        cpu_seconds: totals().map(|total| total.cpu_ns).sum::<Nanos>().seconds(),
        joules: totals().map(|total| total.energy_nj).sum::<Nanojoules>().joules(),
        energy_source: run.driven.answered().map(|(_, answered)| energy_source(answered)).collect(),
    }
}

fn energy_source(answered: &Answered) -> String {
    let energy = &answered.receipt.energy;
    format!("{}: {}, ±{:.0} %", energy.quality.name(), energy.source, energy.relative_uncertainty * 100.0)
}

/// `part` of `whole`, if there is any.
pub(super) fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_the_nearest_rank() {
        assert_eq!(Percentiles::of([]), None);
        assert_eq!(Percentiles::of([7.0]).unwrap(), Percentiles { count: 1, p50: 7.0, p95: 7.0, p99: 7.0 });
        let hundred = Percentiles::of((1..=100).rev().map(f64::from)).unwrap();
        assert_eq!(hundred, Percentiles { count: 100, p50: 50.0, p95: 95.0, p99: 99.0 });
        assert_eq!(Percentiles::of([3.0, 1.0, 2.0]).unwrap().p50, 2.0);
    }

    #[test]
    fn shares_are_of_something() {
        assert_eq!((share(1.0, 4.0), share(1.0, 0.0)), (Some(0.25), None));
    }
}
