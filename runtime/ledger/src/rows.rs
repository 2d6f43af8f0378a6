//! What can be read.

use meter::receipt::{
    ReceiptCarbon, ReceiptCost, ReceiptCpu, ReceiptEnergy, ReceiptMemory, ReceiptMethod, ReceiptTimes, ReceiptTokens,
};
use meter::{Account, EnergyAccounts, KibMillis, Micrograms, Moment, Nanojoules, Nanos, Outcome, PicoUnits, Receipt};
use serde::{Deserialize, Serialize, Serializer};

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageState {
    /// Work may be going on for it.
    Reserved,
    /// It is over.
    Settled,
}

/// What is known of a request. In JSON the receipt's sections stand beside `id`, `state` and `outcome`.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageRecord {
    /// The response's id.
    pub id: String,
    /// Who is charged.
    pub tenant: String,
    /// The model.
    pub model: String,
    /// Where it stands.
    pub state: UsageState,
    /// How it ended; none while it is reserved.
    pub outcome: Option<Outcome>,
    /// When it was reserved: milliseconds since 1970 by the wall clock, for display.
    pub reserved_unix_ms: i64,
    /// What it used; none while it is reserved, and none if its process died.
    pub receipt: Option<Receipt>,
}

impl Serialize for UsageRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, tenant, model, state, outcome, reserved_unix_ms, receipt } = self;
        let sections = receipt.as_ref().map(|receipt| {
            // Id, tenant, model and outcome stand in the record.
            let Receipt { cold, tokens, times, cpu, memory, energy, carbon, cost, method, .. } = receipt;
            Sections { cold: *cold, tokens, times, cpu, memory, energy, carbon, cost, method }
        });
        Shown { id, state: *state, outcome: *outcome, tenant, model, reserved_unix_ms: *reserved_unix_ms, sections }
            .serialize(serializer)
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    state: UsageState,
    outcome: Option<Outcome>,
    tenant: &'a str,
    model: &'a str,
    reserved_unix_ms: i64,
    #[serde(flatten)]
    sections: Option<Sections<'a>>,
}

#[derive(Serialize)]
struct Sections<'a> {
    cold: bool,
    tokens: &'a ReceiptTokens,
    times: &'a ReceiptTimes,
    cpu: &'a ReceiptCpu,
    memory: &'a ReceiptMemory,
    energy: &'a ReceiptEnergy,
    carbon: &'a ReceiptCarbon,
    cost: &'a ReceiptCost,
    method: &'a ReceiptMethod,
}

/// Sums of the settled requests of one tenant on one model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantTotal {
    /// The tenant.
    pub tenant: String,
    /// The model.
    pub model: String,
    /// All settled requests.
    pub requests: u64,
    /// Those of them that completed.
    pub completed: u64,
    /// Those of them that the model was loaded for.
    pub cold: u64,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Those of them found in the cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Time waited for loads.
    pub load_wait_ns: Nanos,
    /// Wall-clock time.
    pub wall_ns: Nanos,
    /// Processor time, loading included.
    pub cpu_ns: Nanos,
    /// Processor time of loading.
    pub load_cpu_ns: Nanos,
    /// Weights while active.
    pub weights_kib_ms: KibMillis,
    /// Weights while loading.
    pub load_kib_ms: KibMillis,
    /// Key-value blocks.
    pub kv_kib_ms: KibMillis,
    /// Energy.
    pub energy_nj: Nanojoules,
    /// Carbon.
    pub micrograms_co2e: Micrograms,
    /// Money of the requests that had a price.
    pub pico_units: PicoUnits,
    /// Requests without one.
    pub unpriced: u64,
}

impl TenantTotal {
    /// Adds another's figures; whose they are stays.
    pub fn add(&mut self, other: &Self) {
        let Self { tenant: _, model: _, requests, completed, cold, prompt_tokens, cached_tokens, .. } = other;
        self.requests += requests;
        self.completed += completed;
        self.cold += cold;
        self.prompt_tokens += prompt_tokens;
        self.cached_tokens += cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.load_wait_ns = self.load_wait_ns.saturating_add(other.load_wait_ns);
        self.wall_ns = self.wall_ns.saturating_add(other.wall_ns);
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.load_cpu_ns = self.load_cpu_ns.saturating_add(other.load_cpu_ns);
        self.weights_kib_ms = self.weights_kib_ms.saturating_add(other.weights_kib_ms);
        self.load_kib_ms = self.load_kib_ms.saturating_add(other.load_kib_ms);
        self.kv_kib_ms = self.kv_kib_ms.saturating_add(other.kv_kib_ms);
        self.energy_nj = self.energy_nj.saturating_add(other.energy_nj);
        self.micrograms_co2e = self.micrograms_co2e.saturating_add(other.micrograms_co2e);
        self.pico_units = self.pico_units.saturating_add(other.pico_units);
        self.unpriced += other.unpriced;
    }
}

/// What an account carried of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountTotal {
    /// The model.
    pub model: String,
    /// Who carries it.
    #[serde(flatten)]
    pub account: Account,
    /// How much.
    pub kib_ms: KibMillis,
}

/// What happened within an hour or a day, by the wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBucket {
    /// Its beginning: seconds since 1970.
    pub begins_unix_s: i64,
    /// Settled requests by tenant and model, in that order.
    pub requests: Vec<TenantTotal>,
    /// What no request carried, by model.
    pub accounts: Vec<AccountTotal>,
}

/// A settled request with its place in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettledRequest {
    /// Its settlement's number: later ones have greater ones.
    #[serde(skip)]
    pub number: i64,
    /// The process that served it. Moments compare within one.
    pub run: i64,
    /// When it was reserved, by that process's clock, in milliseconds.
    #[serde(rename = "reserved_ms")]
    pub reserved_at: Moment,
    /// When it was settled, by the same clock.
    #[serde(rename = "settled_ms")]
    pub settled_at: Moment,
    /// When it was settled: milliseconds since 1970 by the wall clock, which say in which hour it counts.
    pub settled_unix_ms: i64,
    /// What is known of it.
    #[serde(flatten)]
    pub usage: UsageRecord,
}

/// What a device took in energy by one source, and who carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnergyTotal {
    /// The device.
    pub device: String,
    /// The sensor or model that told it.
    pub source: String,
    /// How well that is known: a name of [`meter::Quality`].
    pub quality: String,
    /// What was taken.
    pub energy_nj: Nanojoules,
    /// Who carries it; their sum is that.
    #[serde(flatten)]
    pub accounts: EnergyAccounts,
    /// Time of which it is not known what was taken.
    pub unknown_ms: u64,
}
