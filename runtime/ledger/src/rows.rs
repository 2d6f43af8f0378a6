//! What can be read.

use std::collections::BTreeMap;

use meter::receipt::{
    ReceiptCarbon, ReceiptCost, ReceiptCpu, ReceiptEnergy, ReceiptMemory, ReceiptMethod, ReceiptTimes, ReceiptTokens,
};
use meter::{
    Account, EnergyAccounts, HeldAs, KibMillis, Micrograms, Moment, Nanojoules, Nanos, Outcome, PicoUnits, Receipt,
};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
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
    /// The id of the key that it came by, if that has one.
    pub key_id: Option<String>,
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
        let Self { id, tenant, key_id, model, state, outcome, reserved_unix_ms, receipt } = self;
        let sections = receipt.as_ref().map(|receipt| {
            // Id, tenant, key, model and outcome stand in the record.
            let Receipt { cold, tokens, times, cpu, memory, energy, carbon, cost, method, .. } = receipt;
            Sections { cold: *cold, tokens, times, cpu, memory, energy, carbon, cost, method }
        });
        let (state, outcome, reserved_unix_ms) = (*state, *outcome, *reserved_unix_ms);
        Shown { id, state, outcome, tenant, key_id: key_id.as_deref(), model, reserved_unix_ms, sections }
            .serialize(serializer)
    }
}

impl PartialSchema for UsageRecord {
    fn schema() -> RefOr<Schema> {
        Shown::schema()
    }
}

impl ToSchema for UsageRecord {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Shown::schemas(schemas);
    }
}

/// What is known of a request.
#[derive(Serialize, ToSchema)]
struct Shown<'a> {
    /// The response's id.
    id: &'a str,
    /// Where it stands.
    state: UsageState,
    /// How it ended; null while it goes on.
    outcome: Option<Outcome>,
    /// Who is charged.
    tenant: &'a str,
    /// The id of the key that it came by; absent where that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    /// The model's name in the catalog.
    model: &'a str,
    /// When it was reserved, by the wall clock, in milliseconds since 1970.
    reserved_unix_ms: i64,
    #[serde(flatten)]
    #[schema(value_type = Sections)]
    sections: Option<Sections<'a>>,
}

/// The sections of a settled request's receipt; of one that goes on there are none.
#[derive(Serialize, ToSchema)]
#[schema(as = ReceiptSections)]
struct Sections<'a> {
    /// Whether the model had to be loaded for it.
    #[schema(required = false)]
    cold: bool,
    #[schema(required = false)]
    tokens: &'a ReceiptTokens,
    #[schema(required = false)]
    times: &'a ReceiptTimes,
    #[schema(required = false)]
    cpu: &'a ReceiptCpu,
    #[schema(required = false)]
    memory: &'a ReceiptMemory,
    #[schema(required = false)]
    energy: &'a ReceiptEnergy,
    #[schema(required = false)]
    carbon: &'a ReceiptCarbon,
    #[schema(required = false)]
    cost: &'a ReceiptCost,
    #[schema(required = false)]
    method: &'a ReceiptMethod,
}

/// Sums of the settled requests of one tenant on one model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

    /// What is left without `part`, which is a part of it.
    pub fn take(&mut self, part: &Self) {
        let Self { tenant: _, model: _, requests, completed, cold, prompt_tokens, cached_tokens, .. } = part;
        self.requests = self.requests.saturating_sub(*requests);
        self.completed = self.completed.saturating_sub(*completed);
        self.cold = self.cold.saturating_sub(*cold);
        self.prompt_tokens = self.prompt_tokens.saturating_sub(*prompt_tokens);
        self.cached_tokens = self.cached_tokens.saturating_sub(*cached_tokens);
        self.completion_tokens = self.completion_tokens.saturating_sub(part.completion_tokens);
        self.load_wait_ns = self.load_wait_ns.saturating_sub(part.load_wait_ns);
        self.wall_ns = self.wall_ns.saturating_sub(part.wall_ns);
        self.cpu_ns = self.cpu_ns.saturating_sub(part.cpu_ns);
        self.load_cpu_ns = self.load_cpu_ns.saturating_sub(part.load_cpu_ns);
        self.weights_kib_ms = self.weights_kib_ms.saturating_sub(part.weights_kib_ms);
        self.load_kib_ms = self.load_kib_ms.saturating_sub(part.load_kib_ms);
        self.kv_kib_ms = self.kv_kib_ms.saturating_sub(part.kv_kib_ms);
        self.energy_nj = self.energy_nj.saturating_sub(part.energy_nj);
        self.micrograms_co2e = self.micrograms_co2e.saturating_sub(part.micrograms_co2e);
        self.pico_units = self.pico_units.saturating_sub(part.pico_units);
        self.unpriced = self.unpriced.saturating_sub(part.unpriced);
    }
}

/// Sums of the settled requests that came by one key, of one tenant on one model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyTotal {
    /// The key's id.
    pub key_id: String,
    /// Whose it is, which model, and the sums.
    #[serde(flatten)]
    pub total: TenantTotal,
}

/// What an account carried of a model as one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountTotal {
    /// The model.
    pub model: String,
    /// Who carries it.
    #[serde(flatten)]
    pub account: Account,
    /// As what; not known of what was written before schema 5, of which only the memory is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_as: Option<HeldAs>,
    /// How much memory.
    pub kib_ms: KibMillis,
    /// Processor time that is on no receipt: of loads.
    #[serde(default)]
    pub cpu_ns: Nanos,
    /// Energy of both.
    #[serde(default)]
    pub energy_nj: Nanojoules,
    /// Carbon of that.
    #[serde(default)]
    pub micrograms_co2e: Micrograms,
    /// Money of what had a price when it was written down.
    #[serde(default)]
    pub pico_units: PicoUnits,
    /// Intervals without one.
    #[serde(default)]
    pub unpriced: u64,
}

impl AccountTotal {
    /// Of which nothing is known yet.
    #[must_use]
    pub const fn of(model: String, account: Account) -> Self {
        Self {
            model,
            account,
            held_as: None,
            kib_ms: KibMillis::ZERO,
            cpu_ns: Nanos::ZERO,
            energy_nj: Nanojoules::ZERO,
            micrograms_co2e: Micrograms::ZERO,
            pico_units: PicoUnits::ZERO,
            unpriced: 0,
        }
    }

    /// Adds another's figures; whose they are, and as what, stays.
    pub fn add(&mut self, other: &Self) {
        let Self { model: _, account: _, held_as: _, kib_ms, cpu_ns, .. } = other;
        self.kib_ms = self.kib_ms.saturating_add(*kib_ms);
        self.cpu_ns = self.cpu_ns.saturating_add(*cpu_ns);
        self.energy_nj = self.energy_nj.saturating_add(other.energy_nj);
        self.micrograms_co2e = self.micrograms_co2e.saturating_add(other.micrograms_co2e);
        self.pico_units = self.pico_units.saturating_add(other.pico_units);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
    }

    /// As what it is told: of what is not known, as what most of the account is.
    #[must_use]
    pub fn told_as(&self) -> HeldAs {
        self.held_as.unwrap_or(match self.account {
            Account::Keepalive(_) => HeldAs::Keepalive,
            Account::Load => HeldAs::Load,
            Account::Idle => HeldAs::Idle,
            Account::Unmeasured => HeldAs::Unmeasured,
        })
    }
}

/// What happened within an hour or a day, by the wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageBucket {
    /// Its beginning: seconds since 1970.
    pub begins_unix_s: i64,
    /// Settled requests by tenant and model, in that order.
    pub requests: Vec<TenantTotal>,
    /// What no request carried, by model, account and as what.
    pub accounts: Vec<AccountTotal>,
    /// Those of `requests` that came by a key with an id, by key, tenant and model in that order. What came otherwise, or
    /// before schema 4, is the rest of `requests`.
    #[serde(default)]
    pub keys: Vec<KeyTotal>,
}

impl UsageBucket {
    /// All of `requests` by key, tenant and model: those of no key first.
    #[must_use]
    pub fn by_key(&self) -> Vec<(Option<&str>, TenantTotal)> {
        let mut rest: BTreeMap<(&str, &str), TenantTotal> =
            self.requests.iter().map(|total| ((&*total.tenant, &*total.model), total.clone())).collect();
        for KeyTotal { total, .. } in &self.keys {
            if let Some(rest) = rest.get_mut(&(&*total.tenant, &*total.model)) {
                rest.take(total);
            }
        }
        let of_none = rest.into_values().filter(|rest| rest.requests > 0).map(|rest| (None, rest));
        of_none.chain(self.keys.iter().map(|key| (Some(&*key.key_id), key.total.clone()))).collect()
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
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
