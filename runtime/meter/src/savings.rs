//! What ephemeral serving saved: the same requests, against servers that never unload.
//!
//! Three arms over the same trace: *shared persistent* keeps one copy of each model that was used for the whole
//! window (the headline), split equally over the tenants that used it; *dedicated* keeps a copy for each tenant from
//! that tenant's first request to its last; *ephemeral* is what the ledger holds, with keep-alive, pins, idle, kept keys
//! and values, loads and their processor time charged against us. The first two are computed from measured sizes and spans,
//! the third is measured. A copy is as large as the model was at most on any receipt of the window, for all of its time: one
//! that is never unloaded keeps every page that ever came in, and until then it held less, which is not known and counts as if
//! it did. What a process holds beside models is in every arm: one for all in two of them, one for each tenant, for as long as
//! the longest of its copies, in the dedicated one.
//!
//! Invariants: differences are signed, and never clipped or averaged away; the tenants' figures sum to the total of each arm
//! exactly. Deliberately absent: key-value blocks while requests hold them, and the compute of prefill and decode, which are
//! the same in every arm, and so what answers from the response cache did not compute; what the persistent arms would keep of
//! keys and values for later, and their own loads, which are counted as nothing in their favour.

mod arms;
mod capacity;
mod inputs;
mod money;
mod page_cache;
mod tenant;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::arms::{Arm, Comparison, Difference, Holding, Savings};
pub use self::capacity::{Capacity, Catalogue, CopySpan, HeldHour, HeldHours, Machine, MachineChoice};
pub use self::inputs::{LoadWaits, ModelUse, SavingsInputs, TenantUse};
pub use self::money::{Money, Nominal, Realised};
pub use self::page_cache::PageCache;
pub use self::tenant::{TenantReport, report_of_tenant};
pub use self::verdict::{Judged, LossCause, Measure, Verdict};
use crate::energy::{EnergyModel, Quality};
use crate::rate::{BilledUse, RateCard};
use crate::units::{KibMillis, Nanos, kib_of_bytes, split_equally};

const NOTES: [&str; 6] = [
    "ephemeral memory is measured; the other arms are derived: copies of the largest size that a receipt of the window tells \
     (pages come in as they are used, and a copy that is never unloaded keeps them) times their spans, the time before \
     all of that had come in included; a file that was replaced by a smaller one counts as the larger all the time",
    "energy is modelled; attributional energy follows memory, marginal energy is what this host's meter would change: \
     memory that stays powered saves nothing, and every load costs processor time",
    "money in three tiers: nominal, by the rate card, for memory as it is held and processor time as it is used (derived); \
     capacity, by the smallest machine of the operator's catalogue that fits each arm (derived); realised, by what the \
     operator declares to pay less (assumed)",
    "key-value blocks of requests, prefill and decode are the same in every arm and left out; those that are kept for later are \
     charged to the ephemeral arm, and to no other: a copy for each tenant ends with its last request",
    "an answer from the response cache is a request like any other in every arm: it held no memory here, and what it did \
     not compute is saved in no arm, since the same cache could stand before each",
    "loads of the persistent arms are counted as nothing",
];

/// The arms of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TenantSavings {
    /// The tenant; none for models that were resident and that nobody used.
    pub tenant: Option<String>,
    /// Its arms.
    #[serde(flatten)]
    pub savings: Savings,
}

/// What the cold starts cost the users.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// What was saved in money, in three tiers.
    pub money: Money,
    /// Sentences for people.
    pub notes: Vec<String>,
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
    let money = Money::nominal(&total, rates);
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
        money,
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

impl Share {
    fn add(&mut self, part: &Self) {
        self.held = self.held.plus(&part.held);
        self.load_cpu = self.load_cpu.saturating_add(part.load_cpu);
        self.shared = self.shared.saturating_add(part.shared);
    }
}

impl ModelUse {
    /// Equal parts of one copy for the whole window, and of what was held of the model for nobody in particular.
    fn parts(&self, window_ms: u64, count: usize) -> Vec<Share> {
        let copy = held_for(self.weights_bytes, window_ms);
        let mut parts = vec![Share::default(); count];
        let mut give = |whole: u64, place: fn(&mut Share) -> &mut KibMillis| {
            for (share, part) in parts.iter_mut().zip(split_equally(whole, count)) {
                *place(share) = KibMillis::new(part);
            }
        };
        give(copy.get(), |share| &mut share.shared);
        give(self.load.get(), |share| &mut share.held.load_kib_ms);
        give(self.pinned.get(), |share| &mut share.held.pinned_kib_ms);
        give(self.idle.get(), |share| &mut share.held.idle_kib_ms);
        give(self.pages.get(), |share| &mut share.held.pages_kib_ms);
        for (share, part) in parts.iter_mut().zip(split_equally(self.load_cpu.get(), count)) {
            share.load_cpu = Nanos::new(part);
        }
        parts
    }
}

/// Splits every arm over the tenants, exactly; `None` stands for nobody.
fn shares(inputs: &SavingsInputs) -> BTreeMap<Option<&str>, Share> {
    let mut shares: BTreeMap<Option<&str>, Share> = BTreeMap::new();
    for one in &inputs.tenants {
        let share = shares.entry(Some(one.tenant.as_str())).or_default();
        let held = &mut share.held;
        held.active_kib_ms = held.active_kib_ms.saturating_add(one.active);
        held.keepalive_kib_ms = held.keepalive_kib_ms.saturating_add(one.keepalive);
        held.pinned_kib_ms = held.pinned_kib_ms.saturating_add(one.pinned);
        held.pages_kib_ms = held.pages_kib_ms.saturating_add(one.pages);
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
        for (payer, part) in payers.iter().zip(model.parts(inputs.window_ms, payers.len())) {
            shares.entry(*payer).or_default().add(&part);
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

#[cfg(test)]
mod tests;
