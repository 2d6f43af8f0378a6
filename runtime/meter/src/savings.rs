//! What ephemeral serving saved: the same requests, against servers that never unload.
//!
//! Three arms over the same trace: *shared persistent* keeps one copy of each model that was used for the whole
//! window (the headline), split equally over the tenants that used it; *dedicated* keeps a copy for each tenant from
//! that tenant's first request to its last; *ephemeral* is what the ledger holds, with keep-alive, idle, loads and
//! their processor time charged against us. The first two are computed from measured sizes and spans, the third is
//! measured. What a process holds beside models is in every arm: one for all in two of them, one for each tenant, for as
//! long as the longest of its copies, in the dedicated one.
//!
//! Invariants: differences are signed, and never clipped or averaged away; the tenants' figures sum to the total of
//! each arm exactly. Deliberately absent: key-value blocks and the compute of prefill and decode, which are the same
//! in every arm, and so what answers from the response cache did not compute; the persistent arms' own loads, which are
//! counted as nothing in their favour.

mod inputs;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::inputs::{LoadWaits, ModelUse, SavingsInputs, TenantUse};
pub use self::verdict::{Judged, LossCause, Measure, Verdict};
use crate::energy::{EnergyModel, Quality};
use crate::rate::{BilledUse, RateCard};
use crate::units::{KibMillis, Nanojoules, Nanos, PicoUnits, kib_of_bytes, split_equally};

const NOTES: [&str; 6] = [
    "ephemeral memory is measured; the other arms are derived from measured sizes and spans",
    "energy is modelled; attributional energy follows memory, marginal energy is what this host's meter would change: \
     memory that stays powered saves nothing, and every load costs processor time",
    "money is nominal, by the rate card; what is realised depends on what the operator does with the freed memory",
    "key-value blocks, prefill and decode are the same in every arm and left out",
    "an answer from the response cache is a request like any other in every arm: it held no memory here, and what it did \
     not compute is saved in no arm, since the same cache could stand before each",
    "loads of the persistent arms are counted as nothing",
];

/// One way of serving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Weights while a request was active.
    pub active_kib_ms: KibMillis,
    /// Weights kept after the last request.
    pub keepalive_kib_ms: KibMillis,
    /// Weights while they were loaded.
    pub load_kib_ms: KibMillis,
    /// Weights held for nobody in particular.
    pub idle_kib_ms: KibMillis,
    /// What the process held beside them.
    pub process_kib_ms: KibMillis,
}

impl Holding {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> KibMillis {
        let Self { active_kib_ms, keepalive_kib_ms, load_kib_ms, idle_kib_ms, process_kib_ms } = *self;
        [active_kib_ms, keepalive_kib_ms, load_kib_ms, idle_kib_ms, process_kib_ms].into_iter().sum()
    }
}

/// A baseline minus the ephemeral arm: negative where ephemeral serving took more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline.
    pub baseline: Arm,
    /// What was saved; negative for a loss.
    pub saved: Difference,
    /// What that amounts to.
    pub judged: Judged,
}

/// All arms of one tenant, or of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Savings {
    /// What was measured.
    pub ephemeral: Arm,
    /// Where its memory went.
    pub held: Holding,
    /// Against one copy of each model for all, the headline.
    pub shared_persistent: Comparison,
    /// Against a copy of each model per tenant.
    pub dedicated: Comparison,
}

/// The arms of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TenantSavings {
    /// The tenant; none for models that were resident and that nobody used.
    pub tenant: Option<String>,
    /// Its arms.
    #[serde(flatten)]
    pub savings: Savings,
}

/// What the cold starts cost the users.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ColdStarts {
    /// Requests that a model was loaded for.
    pub requests: u64,
    /// Time that requests waited for loads.
    pub waited_ns: Nanos,
    /// The same of single requests.
    pub waits: LoadWaits,
    /// The price of a waited second at which the saving against the shared persistent arm vanishes; none if nobody
    /// waited or a price is missing.
    pub break_even_per_second: Option<f64>,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavingsReport {
    /// How long the window is.
    pub window_ms: u64,
    /// What a serving process holds beside models, in bytes, counted in every arm; 0 where nobody has measured it.
    pub process_bytes: u64,
    /// What of unloaded models is in memory all the same; none where nobody looked.
    pub page_cache: Option<PageCache>,
    /// The currency of all money.
    pub currency: String,
    /// The rate card that priced it.
    pub rate_card: String,
    /// The energy model.
    pub energy_source: String,
    /// ± this share of every energy figure.
    pub energy_relative_uncertainty: f64,
    /// All tenants together.
    pub total: Savings,
    /// Each of them.
    pub tenants: Vec<TenantSavings>,
    /// What it cost the users.
    pub cold_starts: ColdStarts,
    /// Sentences for people.
    pub notes: Vec<String>,
}

/// Pages of models' files that are not loaded: reclaimable at any time, charged to nobody, in no arm, and told beside every
/// saving. A fast cold start depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PageCache {
    /// What there is of them now.
    pub bytes: u64,
    /// What that would be over the time for which the models were not loaded, had it been as much all along.
    pub kib_ms: KibMillis,
    /// How that was come by: `bytes` is measured, and taken for granted of the past.
    pub quality: Quality,
    /// The share of the shared persistent arm's memory that is saved if it counts.
    pub shared_memory_share: Option<f64>,
    /// The same of the dedicated arm's.
    pub dedicated_memory_share: Option<f64>,
}

impl SavingsReport {
    /// Adds that so many bytes of models that are not loaded now are in the page cache.
    #[must_use]
    pub fn with_page_cache(self, bytes: u64) -> Self {
        let Savings { ephemeral, held, shared_persistent, dedicated } = &self.total;
        let weights = |kib_ms: KibMillis| kib_ms.saturating_sub(held.process_kib_ms);
        let unloaded = weights(shared_persistent.baseline.kib_ms).saturating_sub(weights(ephemeral.kib_ms));
        let kib_ms = held_for(bytes, self.window_ms).min(unloaded);
        let share = |comparison: &Comparison| {
            let taken = ephemeral.kib_ms.saturating_add(kib_ms).get();
            let baseline = comparison.baseline.kib_ms.get();
            (baseline > 0).then(|| signed(baseline, taken) as f64 / baseline as f64)
        };
        let page_cache = PageCache {
            bytes,
            kib_ms,
            quality: Quality::Assumed,
            shared_memory_share: share(shared_persistent),
            dedicated_memory_share: share(dedicated),
        };
        Self { page_cache: Some(page_cache), ..self }
    }

    /// The same report for one tenant's eyes: its own figures alone, which are the total then.
    #[must_use]
    pub fn of_tenant(self, tenant: &str) -> Self {
        let tenants: Vec<TenantSavings> =
            self.tenants.into_iter().filter(|one| one.tenant.as_deref() == Some(tenant)).collect();
        let total = Savings::sum(tenants.iter().map(|one| &one.savings));
        Self { total, tenants, ..self }
    }
}

/// Compares what the ledger holds with servers that never unload.
#[must_use]
pub fn report(inputs: &SavingsInputs, energy: &EnergyModel, rates: &RateCard) -> SavingsReport {
    let pricing = Pricing { energy, rates };
    let shares = shares(inputs);
    let tenants: Vec<TenantSavings> = shares
        .into_iter()
        .map(|(tenant, share)| TenantSavings { tenant: tenant.map(str::to_owned), savings: pricing.savings(share) })
        .collect();
    let total = Savings::sum(tenants.iter().map(|tenant| &tenant.savings));
    let waited_ns: Nanos = inputs.tenants.iter().map(|one| one.load_wait).sum();
    let saved = total.shared_persistent.saved.cost.filter(|_| waited_ns > Nanos::ZERO);
    SavingsReport {
        window_ms: inputs.window_ms,
        process_bytes: inputs.process_bytes,
        page_cache: None,
        currency: rates.currency.clone(),
        rate_card: rates.name.clone(),
        energy_source: energy.source(),
        energy_relative_uncertainty: EnergyModel::RELATIVE_UNCERTAINTY,
        cold_starts: ColdStarts {
            requests: inputs.tenants.iter().map(|one| one.cold_requests).sum(),
            waited_ns,
            waits: inputs.waits,
            break_even_per_second: saved.map(|saved| saved / waited_ns.seconds()),
        },
        total,
        tenants,
        notes: NOTES.map(str::to_owned).to_vec(),
    }
}

/// What each arm holds for one tenant.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    held: Holding,
    load_cpu: Nanos,
    shared: KibMillis,
    dedicated: KibMillis,
}

/// Splits every arm over the tenants, exactly; `None` stands for nobody.
fn shares(inputs: &SavingsInputs) -> BTreeMap<Option<&str>, Share> {
    let mut shares: BTreeMap<Option<&str>, Share> = BTreeMap::new();
    for one in &inputs.tenants {
        let share = shares.entry(Some(one.tenant.as_str())).or_default();
        let held = &mut share.held;
        held.active_kib_ms = held.active_kib_ms.saturating_add(one.active);
        held.keepalive_kib_ms = held.keepalive_kib_ms.saturating_add(one.keepalive);
        held.load_kib_ms = held.load_kib_ms.saturating_add(one.load);
        share.load_cpu = share.load_cpu.saturating_add(one.load_cpu);
    }
    let models: BTreeMap<&str, &ModelUse> = inputs.models.iter().map(|one| (one.model.as_str(), one)).collect();
    for (name, model) in &models {
        let users: BTreeSet<&str> =
            inputs.tenants.iter().filter(|one| one.model == *name).map(|one| one.tenant.as_str()).collect();
        let mut payers: Vec<Option<&str>> = users.into_iter().map(Some).collect();
        if payers.is_empty() {
            payers.push(None);
        }
        let copy = held_for(model.weights_bytes, inputs.window_ms);
        let split = |total: KibMillis| split_equally(total.get(), payers.len()).into_iter().map(KibMillis::new);
        let parts = split(copy).zip(split(model.load)).zip(split(model.idle));
        for (payer, ((shared, load), idle)) in payers.iter().zip(parts) {
            let share = shares.entry(*payer).or_default();
            share.shared = share.shared.saturating_add(shared);
            share.held.load_kib_ms = share.held.load_kib_ms.saturating_add(load);
            share.held.idle_kib_ms = share.held.idle_kib_ms.saturating_add(idle);
        }
    }
    let mut spans: BTreeMap<&str, u64> = BTreeMap::new();
    for one in &inputs.tenants {
        let weights_bytes = models.get(one.model.as_str()).map_or(0, |model| model.weights_bytes);
        let share = shares.entry(Some(one.tenant.as_str())).or_default();
        share.dedicated = share.dedicated.saturating_add(held_for(weights_bytes, one.span_ms));
        let span = spans.entry(one.tenant.as_str()).or_default();
        *span = one.span_ms.max(*span);
    }
    for (tenant, span_ms) in spans {
        let share = shares.entry(Some(tenant)).or_default();
        share.dedicated = share.dedicated.saturating_add(held_for(inputs.process_bytes, span_ms));
    }
    share_process(inputs, &mut shares);
    shares
}

/// The one process of the shared arms is carried by all who are there, equally.
fn share_process(inputs: &SavingsInputs, shares: &mut BTreeMap<Option<&str>, Share>) {
    let process = held_for(inputs.process_bytes, inputs.window_ms);
    if process == KibMillis::ZERO {
        return;
    }
    if shares.is_empty() {
        shares.insert(None, Share::default());
    }
    let parts = split_equally(process.get(), shares.len());
    for (share, part) in shares.values_mut().zip(parts) {
        let part = KibMillis::new(part);
        share.shared = share.shared.saturating_add(part);
        share.held.process_kib_ms = part;
    }
}

fn held_for(bytes: u64, millis: u64) -> KibMillis {
    KibMillis::saturating_from(u128::from(kib_of_bytes(bytes)) * u128::from(millis))
}

struct Pricing<'a> {
    energy: &'a EnergyModel,
    rates: &'a RateCard,
}

impl Pricing<'_> {
    fn savings(&self, share: Share) -> Savings {
        let shared = self.arm(share.shared, Nanos::ZERO, Quality::Derived);
        let dedicated = self.arm(share.dedicated, Nanos::ZERO, Quality::Derived);
        Savings::compare(self.arm(share.held.total(), share.load_cpu, Quality::Measured), share.held, shared, dedicated)
    }

    fn arm(&self, kib_ms: KibMillis, load_cpu_ns: Nanos, quality: Quality) -> Arm {
        let load_energy_nj = self.energy.dynamic(load_cpu_ns);
        let energy_nj = self.energy.idle_share(kib_ms).saturating_add(load_energy_nj);
        let billed = BilledUse { load_cpu: load_cpu_ns, memory: kib_ms, energy: energy_nj, ..BilledUse::default() };
        let pico_units = self.rates.cost_of(&billed).total;
        Arm { kib_ms, load_cpu_ns, load_energy_nj, pico_units, energy_nj, ..Arm::empty(quality) }.shown()
    }
}

impl Arm {
    fn empty(quality: Quality) -> Self {
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
    fn shown(self) -> Self {
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
    fn plus(self, other: &Self) -> Self {
        Self {
            active_kib_ms: self.active_kib_ms.saturating_add(other.active_kib_ms),
            keepalive_kib_ms: self.keepalive_kib_ms.saturating_add(other.keepalive_kib_ms),
            load_kib_ms: self.load_kib_ms.saturating_add(other.load_kib_ms),
            idle_kib_ms: self.idle_kib_ms.saturating_add(other.idle_kib_ms),
            process_kib_ms: self.process_kib_ms.saturating_add(other.process_kib_ms),
        }
    }
}

impl Savings {
    fn compare(ephemeral: Arm, held: Holding, shared: Arm, dedicated: Arm) -> Self {
        Self {
            shared_persistent: Comparison::between(shared, &ephemeral, &held),
            dedicated: Comparison::between(dedicated, &ephemeral, &held),
            ephemeral,
            held,
        }
    }

    fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
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
fn signed(baseline: u64, taken: u64) -> i64 {
    let magnitude = i64::try_from(baseline.abs_diff(taken)).unwrap_or(i64::MAX);
    if taken > baseline { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests;
