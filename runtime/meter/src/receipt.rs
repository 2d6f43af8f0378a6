//! The receipt: what one request used, in an object that explains itself.
//!
//! It is the object `dayfly` of a response and the ledger's row. Integers are the truth; the few floating-point
//! members are the same figures in the units that people read. Every section names its quality.
//!
//! Invariants: the parts of every section sum to its whole; nothing of a prompt or an answer is in here.

mod measured;
mod routing;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::measured::{
    AnsweredFrom, Measured, MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens, Outcome, StepSharing,
};
pub use self::routing::{RoutedCandidate, Routing};
use crate::carbon::CarbonFactors;
use crate::energy::{EnergySource, EnergyUse, Quality};
use crate::rate::{BilledUse, CostPart, RateCard, Resource};
use crate::units::{KibMillis, Micrograms, Nanojoules, Nanos, PicoUnits};

/// A request's receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The response's id.
    pub id: String,
    /// Who is charged.
    pub tenant: String,
    /// The id of the key that it came by, which is no secret; absent where that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The model's name in the catalog.
    pub model: String,
    /// Whether the model had to be loaded for it.
    pub cold: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens.
    pub tokens: ReceiptTokens,
    /// Wall-clock spans.
    pub times: ReceiptTimes,
    /// Processor time.
    pub cpu: ReceiptCpu,
    /// Memory over time.
    pub memory: ReceiptMemory,
    /// Energy.
    pub energy: ReceiptEnergy,
    /// Carbon.
    pub carbon: ReceiptCarbon,
    /// Money.
    pub cost: ReceiptCost,
    /// How the figures were attributed.
    pub method: ReceiptMethod,
}

/// Token counts of a receipt: `cached` is a part of `prompt`, `accepted_draft` of `completion`, `total` = `prompt` +
/// `completion`. What was drafted and not accepted is no token of the answer: it cost processor time, and that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptTokens {
    /// All prompt tokens.
    pub prompt: u64,
    /// Those of them found in the cache.
    pub cached: u64,
    /// Tokens generated.
    pub completion: u64,
    /// Prompt and completion together.
    pub total: u64,
    /// Tokens computed ahead because they might be what follows; absent where there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drafted: u64,
    /// Those of them that were generated then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub accepted_draft: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Wall-clock spans of a receipt; `wall_ns` is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptTimes {
    /// Waiting for a turn.
    pub queue_ns: Nanos,
    /// Waiting for the model to be loaded.
    pub load_wait_ns: Nanos,
    /// Computing the prompt.
    pub prefill_ns: Nanos,
    /// Generating.
    pub decode_ns: Nanos,
    /// Waiting for the client.
    pub stall_ns: Nanos,
    /// The rest: parsing, templating, tokenizing, bookkeeping.
    pub other_ns: Nanos,
    /// From arrival to end.
    pub wall_ns: Nanos,
    /// How the spans were come by.
    pub quality: Quality,
}

/// Processor time of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptCpu {
    /// Computing the prompt.
    pub prefill_ns: Nanos,
    /// Generating.
    pub decode_ns: Nanos,
    /// The share of loading.
    pub load_ns: Nanos,
    /// All of them.
    pub total_ns: Nanos,
    /// How they were come by.
    pub quality: Quality,
}

/// Memory over time of a receipt. What is kept after the answer is charged to the tenant, not to the request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptMemory {
    /// Share of the weights while the request was active.
    pub weights_kib_ms: KibMillis,
    /// Share of the weights while they were loaded for it.
    pub load_kib_ms: KibMillis,
    /// Key-value blocks.
    pub kv_kib_ms: KibMillis,
    /// All of them, in byte-seconds.
    pub byte_seconds: f64,
    /// Resident bytes of the model's weights at the end.
    pub weights_bytes: u64,
    /// How they were come by.
    pub quality: Quality,
}

impl ReceiptMemory {
    /// All byte-time of the request.
    #[must_use]
    pub fn total(&self) -> KibMillis {
        [self.weights_kib_ms, self.load_kib_ms, self.kv_kib_ms].into_iter().sum()
    }
}

/// Energy of a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptEnergy {
    /// The sum of the components, in joules.
    pub joules: f64,
    /// The sum of the components.
    pub total_nj: Nanojoules,
    /// Dynamic energy of prefill and decode.
    pub active_nj: Nanojoules,
    /// Loading.
    pub load_nj: Nanojoules,
    /// Idle share of the memory held.
    pub residency_nj: Nanojoules,
    /// Where the figure is from.
    pub source: String,
    /// How it was come by.
    pub quality: Quality,
    /// What it covers.
    pub scope: String,
    /// ± this share of the figure.
    pub relative_uncertainty: f64,
}

/// Carbon of a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptCarbon {
    /// Grams of CO₂ equivalent.
    pub grams_co2e: f64,
    /// The same in 10⁻⁶ grams.
    pub micrograms_co2e: Micrograms,
    /// Grams per kWh that were counted with.
    pub intensity_grams_per_kwh: u32,
    /// Where the intensity is from.
    pub intensity_source: String,
    /// Whether the intensity was chosen or assumed.
    pub intensity_quality: Quality,
    /// Power usage effectiveness that was counted with.
    pub pue: f64,
    /// How the figure was come by.
    pub quality: Quality,
}

/// Money of a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptCost {
    /// The amount in units of the currency; null if a price is missing.
    pub amount: Option<f64>,
    /// The same in 10⁻¹² of the currency.
    pub pico_units: Option<PicoUnits>,
    /// The currency.
    pub currency: String,
    /// The rate card's name.
    pub rate_card: String,
    /// The amount by resource.
    pub parts: Vec<CostPart>,
    /// Resources without a price.
    pub missing: Vec<Resource>,
}

/// How a receipt's figures were attributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptMethod {
    /// Where the answer is from; rows from before there was a response cache do not say it.
    #[serde(default)]
    pub answered_from: AnsweredFrom,
    /// How step costs were shared: by what method most of this request's cost was, and how good the fit was where it was
    /// one. None where the answer is from the response cache: there were no steps.
    pub steps: Option<StepSharing>,
    /// How its device was chosen; absent where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// Sentences for people.
    pub notes: Vec<String>,
}

impl Receipt {
    /// Computes energy, carbon and cost of what was measured and puts it all together.
    #[must_use]
    pub fn assemble(measured: Measured, energy: &dyn EnergySource, carbon: &CarbonFactors, rates: &RateCard) -> Self {
        let memory = memory_section(&measured.memory);
        let cpu = cpu_section(&measured.cpu);
        let tokens = token_section(&measured.tokens);
        let active_cpu = cpu.prefill_ns.saturating_add(cpu.decode_ns);
        let estimate = energy.estimate(&EnergyUse {
            active_cpu,
            active_busy: measured.busy,
            load_cpu: cpu.load_ns,
            load_memory: memory.load_kib_ms,
            active_memory: memory.weights_kib_ms.saturating_add(memory.kv_kib_ms),
            ..EnergyUse::default()
        });
        let total = estimate.total();
        let billed = BilledUse {
            active_cpu,
            load_cpu: cpu.load_ns,
            busy: measured.busy,
            memory: memory.total(),
            energy: total,
            ..billed_tokens(&tokens, measured.answered_from)
        };
        let cost = cost_section(rates, &billed);
        let method = method_section(&measured, &cost);
        Self {
            id: measured.id,
            tenant: measured.tenant,
            key_id: measured.key_id,
            model: measured.model,
            cold: measured.cold,
            outcome: measured.outcome,
            tokens,
            times: time_section(&measured.times),
            cpu,
            memory,
            energy: ReceiptEnergy {
                joules: total.joules(),
                total_nj: total,
                active_nj: estimate.active,
                load_nj: estimate.load,
                residency_nj: estimate.residency,
                source: estimate.source,
                quality: estimate.quality,
                scope: estimate.scope,
                relative_uncertainty: estimate.relative_uncertainty,
            },
            carbon: carbon_section(carbon, total, estimate.quality),
            cost,
            method,
        }
    }
}

fn token_section(tokens: &MeasuredTokens) -> ReceiptTokens {
    ReceiptTokens {
        prompt: tokens.prompt,
        cached: tokens.cached.min(tokens.prompt),
        completion: tokens.completion,
        total: tokens.prompt.saturating_add(tokens.completion),
        drafted: tokens.drafted,
        accepted_draft: tokens.accepted.min(tokens.drafted).min(tokens.completion),
    }
}

/// The tokens by what their prices are for: one that was found, of a prompt or of a whole answer, was not computed.
fn billed_tokens(tokens: &ReceiptTokens, answered_from: AnsweredFrom) -> BilledUse {
    let (prompt_tokens, cached_tokens, completion_tokens) = match answered_from {
        AnsweredFrom::Model => (tokens.prompt - tokens.cached, tokens.cached, tokens.completion),
        AnsweredFrom::ResponseCache => (0, tokens.total, 0),
    };
    BilledUse { prompt_tokens, cached_tokens, completion_tokens, ..BilledUse::default() }
}

/// What the parts leave of the wall time is `other_ns`; parts that overlap make the wall time their sum, so that the
/// section adds up either way.
fn time_section(times: &MeasuredTimes) -> ReceiptTimes {
    let parts: Nanos = [times.queue, times.load_wait, times.prefill, times.decode, times.stall].into_iter().sum();
    ReceiptTimes {
        queue_ns: times.queue,
        load_wait_ns: times.load_wait,
        prefill_ns: times.prefill,
        decode_ns: times.decode,
        stall_ns: times.stall,
        other_ns: times.wall.saturating_sub(parts),
        wall_ns: times.wall.max(parts),
        quality: Quality::Measured,
    }
}

fn cpu_section(cpu: &MeasuredCpu) -> ReceiptCpu {
    ReceiptCpu {
        prefill_ns: cpu.prefill,
        decode_ns: cpu.decode,
        load_ns: cpu.load,
        total_ns: [cpu.prefill, cpu.decode, cpu.load].into_iter().sum(),
        quality: Quality::Measured,
    }
}

fn memory_section(memory: &MeasuredMemory) -> ReceiptMemory {
    let mut section = ReceiptMemory {
        weights_kib_ms: memory.weights.active,
        load_kib_ms: memory.weights.load,
        kv_kib_ms: memory.kv,
        byte_seconds: 0.0,
        weights_bytes: memory.weights_bytes,
        quality: memory.quality,
    };
    section.byte_seconds = section.total().byte_seconds();
    section
}

fn carbon_section(factors: &CarbonFactors, energy: Nanojoules, energy_quality: Quality) -> ReceiptCarbon {
    let emissions = factors.emissions(energy);
    ReceiptCarbon {
        grams_co2e: emissions.grams(),
        micrograms_co2e: emissions,
        intensity_grams_per_kwh: factors.grams_per_kwh,
        intensity_source: factors.source.clone(),
        intensity_quality: factors.quality,
        pue: f64::from(factors.pue_thousandths) / 1e3,
        // No better than what it is computed from, and a model at best.
        quality: energy_quality.max(Quality::Modelled),
    }
}

fn cost_section(rates: &RateCard, billed: &BilledUse) -> ReceiptCost {
    let cost = rates.cost_of(billed);
    ReceiptCost {
        amount: cost.total.map(PicoUnits::units),
        pico_units: cost.total,
        currency: rates.currency.clone(),
        rate_card: rates.name.clone(),
        parts: cost.parts,
        missing: cost.missing,
    }
}

fn method_section(measured: &Measured, cost: &ReceiptCost) -> ReceiptMethod {
    let steps = match measured.answered_from {
        AnsweredFrom::Model => Some(measured.sharing),
        AnsweredFrom::ResponseCache => None,
    };
    let mut notes = match steps {
        Some(sharing) => vec![
            measured::explanation(sharing),
            format!(
                "weights: {}, split equally over active tenants, then over each tenant's requests",
                measured::resident_bytes(measured.memory.quality)
            ),
        ],
        None => vec![
            "response cache: the answer of an earlier request for exactly this; no model was held or computed with"
                .to_owned(),
            "tokens: all of them were found, and are priced as cached ones".to_owned(),
        ],
    };
    if let Some(precision) = measured.kv_precision {
        notes.push(format!("keys and values: kept as {precision}"));
    }
    if measured.tokens.drafted > 0 {
        notes.push(format!(
            "drafts: {} of {} tokens computed ahead were what followed; the others are processor time and no tokens",
            measured.tokens.accepted, measured.tokens.drafted
        ));
    }
    if measured.outcome == Outcome::Cancelled {
        notes.push("cancelled: charged for what was computed".to_owned());
    }
    if !cost.missing.is_empty() {
        notes.push("cost unknown: the rate card lacks a price for a resource that was used".to_owned());
    }
    let (answered_from, routing) = (measured.answered_from, measured.routing.clone());
    ReceiptMethod { answered_from, steps, routing, notes }
}

#[cfg(test)]
mod tests;
