//! Figures for Prometheus: counters that live here, and gauges read at the time of the scrape.
//!
//! Labels are bounded: tenants beyond a cap share `_other`, and a request's id is never one.

mod accounts;
mod energy;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meter::receipt::{Receipt, StepSharing};
use meter::{EnergyAccounts, Held, IntervalEnergy, Nanos};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use scheduler::{EvictionCause, PoolEvent, PoolEventKind, PoolSnapshot};
use std::sync::atomic::AtomicU64;

use self::accounts::AccountMetrics;
use self::energy::EnergyMetrics;
use crate::app::App;
use crate::generate::CacheUse;
use crate::host::process_cpu_time;
use crate::limits::METRIC_TENANTS_MAX;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    tenant: String,
    model: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    tenant: String,
    model: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    tenant: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabels {
    model: String,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeviceLabels {
    device: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeviceModelLabels {
    device: String,
    model: String,
}

type Seconds = Counter<f64, AtomicU64>;

/// The server's counters.
pub(crate) struct Metrics {
    registry: Registry,
    tenants: Mutex<HashSet<String>>,
    tokens: Family<TokenLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    preemptions: Family<ModelLabels, Counter>,
    accounts: AccountMetrics,
    energy: EnergyMetrics,
    loads: Family<CauseLabels, Counter>,
    evictions: Family<CauseLabels, Counter>,
    load_seconds: Family<ModelLabels, Histogram>,
    resident: Family<ModelLabels, Gauge>,
    used: Gauge,
    limit: Gauge,
    waiting: Gauge,
    queued: Gauge,
    routing_error: Family<DeviceLabels, Histogram>,
    device_used: Family<DeviceLabels, Gauge>,
    device_limit: Family<DeviceLabels, Gauge>,
    device_queued: Family<DeviceLabels, Gauge>,
    device_backlog: Family<DeviceLabels, Gauge<f64, AtomicU64>>,
    device_resident: Family<DeviceModelLabels, Gauge>,
    device_cpu: Family<DeviceLabels, Seconds>,
    process_cpu: Seconds,
    loading: Gauge,
    prefix_bytes: Gauge,
    prefix_lookups: Gauge,
    prefix_hits: Gauge,
    prefix_dropped: Gauge,
    contexts: Gauge,
    contexts_bytes: Gauge,
    contexts_mapped: Gauge,
    context_maps: Gauge,
    response_hits: Counter,
    response_misses: Counter,
    responses: Gauge,
    response_bytes: Gauge,
    descriptors: Gauge,
    descriptors_bytes: Gauge,
    imbalance: Counter,
    fit_error: Family<ModelLabels, Gauge<f64, AtomicU64>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let error_ratio = || Histogram::new(exponential_buckets(0.03125, 2.0, 10));
        let load_seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::with_prefix("dayfly"),
            tenants: Mutex::default(),
            tokens: Family::default(),
            requests: Family::default(),
            refusals: Family::default(),
            preemptions: Family::default(),
            accounts: AccountMetrics::default(),
            energy: EnergyMetrics::default(),
            loads: Family::default(),
            evictions: Family::default(),
            load_seconds: Family::new_with_constructor(load_seconds),
            resident: Family::default(),
            used: Gauge::default(),
            limit: Gauge::default(),
            waiting: Gauge::default(),
            queued: Gauge::default(),
            routing_error: Family::new_with_constructor(error_ratio),
            device_used: Family::default(),
            device_limit: Family::default(),
            device_queued: Family::default(),
            device_backlog: Family::default(),
            device_resident: Family::default(),
            device_cpu: Family::default(),
            process_cpu: Seconds::default(),
            loading: Gauge::default(),
            prefix_bytes: Gauge::default(),
            prefix_lookups: Gauge::default(),
            prefix_hits: Gauge::default(),
            prefix_dropped: Gauge::default(),
            contexts: Gauge::default(),
            contexts_bytes: Gauge::default(),
            contexts_mapped: Gauge::default(),
            context_maps: Gauge::default(),
            response_hits: Counter::default(),
            response_misses: Counter::default(),
            responses: Gauge::default(),
            response_bytes: Gauge::default(),
            descriptors: Gauge::default(),
            descriptors_bytes: Gauge::default(),
            imbalance: Counter::default(),
            fit_error: Family::default(),
        };
        metrics.register_requests();
        metrics.register_pool();
        metrics.register_devices();
        metrics.register_contexts();
        metrics.register_caches();
        metrics
    }

    fn register_requests(&mut self) {
        let registry = &mut self.registry;
        registry.register("tokens", "Tokens of settled requests", self.tokens.clone());
        registry.register("requests", "Settled requests", self.requests.clone());
        let text = "Requests that were not let in or not let begin, by why";
        registry.register("refused_requests", text, self.refusals.clone());
        let text = "How often the memory of requests that have ended was taken for others";
        registry.register("preemptions", text, self.preemptions.clone());
        self.accounts.register(registry);
        self.energy.register(registry);
        let text = "KiB · ms of memory and nanojoules that were measured and that no account carries: must stay 0";
        registry.register("ledger_imbalance", text, self.imbalance.clone());
        let text = "How far the latest fit of a model's step costs is off, where its steps are shared by one";
        registry.register("attribution_fit_error_ratio", text, self.fit_error.clone());
        let text = "Requests that wait for their model's load";
        registry.register("loading_requests", text, self.loading.clone());
        registry.register("queued_requests", "Requests that wait for their first step", self.queued.clone());
    }

    fn register_pool(&mut self) {
        let registry = &mut self.registry;
        registry.register("model_loads", "Loads by who wanted them, or failed", self.loads.clone());
        registry.register("model_evictions", "Evictions by their cause", self.evictions.clone());
        let text = "Time inside the loader";
        registry.register_with_unit("model_load_duration", text, Unit::Seconds, self.load_seconds.clone());
        let text = "Weights in the pool";
        registry.register_with_unit("model_resident", text, Unit::Bytes, self.resident.clone());
        registry.register_with_unit("pool_used", "Reserved bytes", Unit::Bytes, self.used.clone());
        registry.register_with_unit("pool_limit", "The budget", Unit::Bytes, self.limit.clone());
        registry.register("pool_waiting_requests", "Requests that wait for a model or for room", self.waiting.clone());
    }

    fn register_caches(&mut self) {
        let registry = &mut self.registry;
        let text = "Requests that were answered with a stored answer";
        registry.register("response_cache_hits", text, self.response_hits.clone());
        let text = "Requests whose answer was looked for among the stored ones and not there";
        registry.register("response_cache_misses", text, self.response_misses.clone());
        registry.register("response_cache_answers", "Answers that are stored", self.responses.clone());
        let text = "Memory of the stored answers, estimated";
        registry.register_with_unit("response_cache", text, Unit::Bytes, self.response_bytes.clone());
        let text = "Memory of cached keys and values, in use or not";
        registry.register_with_unit("prefix_cache", text, Unit::Bytes, self.prefix_bytes.clone());
        let text = "Sequences whose beginning was looked for, since the start";
        registry.register("prefix_cache_lookups", text, self.prefix_lookups.clone());
        registry.register("prefix_cache_hits", "Pages that were found for them", self.prefix_hits.clone());
        registry.register("prefix_cache_dropped", "Pages dropped for room", self.prefix_dropped.clone());
        registry.register("descriptors", "Headers, tokenizers and templates kept", self.descriptors.clone());
        let text = "Memory of the kept descriptors, estimated";
        registry.register_with_unit("descriptors", text, Unit::Bytes, self.descriptors_bytes.clone());
    }

    fn register_devices(&mut self) {
        let registry = &mut self.registry;
        let text = "How far predicted times of routed requests were off, as a share of what they took";
        let unit = Unit::Other("ratio".to_owned());
        registry.register_with_unit("routing_prediction_error", text, unit, self.routing_error.clone());
        registry.register_with_unit("device_used", "Reserved bytes", Unit::Bytes, self.device_used.clone());
        registry.register_with_unit("device_limit", "The budget", Unit::Bytes, self.device_limit.clone());
        let text = "Requests that wait for their first step on the device";
        registry.register("device_queued_requests", text, self.device_queued.clone());
        let text = "Predicted time of what is queued and computed there";
        registry.register_with_unit("device_backlog", text, Unit::Seconds, self.device_backlog.clone());
        let text = "Weights on the device";
        registry.register_with_unit("device_model_resident", text, Unit::Bytes, self.device_resident.clone());
        let text = "Processor time of steps and loads; what the process took beyond it is the runtime's";
        registry.register_with_unit("device_cpu", text, Unit::Seconds, self.device_cpu.clone());
        let text = "Processor time of this process";
        registry.register_with_unit("process_cpu", text, Unit::Seconds, self.process_cpu.clone());
    }

    /// A request that was routed to `device` is over: by how much its predicted time was off.
    pub(crate) fn routed(&self, device: &str, error_ratio: f64) {
        self.routing_error.get_or_create(&DeviceLabels { device: device.to_owned() }).observe(error_ratio);
    }

    fn register_contexts(&mut self) {
        let registry = &mut self.registry;
        registry.register("contexts", "Published contexts", self.contexts.clone());
        let text = "Files of published contexts";
        registry.register_with_unit("contexts", text, Unit::Bytes, self.contexts_bytes.clone());
        registry.register("contexts_mapped", "Published contexts that are mapped", self.contexts_mapped.clone());
        registry.register("context_maps", "How often one was mapped, since the start", self.context_maps.clone());
    }

    /// The label of a tenant: its name, as long as there are few.
    fn tenant(&self, name: &str) -> String {
        let mut tenants = self.tenants.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tenants.contains(name) || tenants.len() < METRIC_TENANTS_MAX {
            tenants.insert(name.to_owned());
            return name.to_owned();
        }
        "_other".to_owned()
    }

    /// A request was settled.
    pub(crate) fn settled(&self, receipt: &Receipt) {
        let (tenant, model) = (self.tenant(&receipt.tenant), receipt.model.clone());
        let tokens = [
            ("prompt", receipt.tokens.prompt),
            ("cached", receipt.tokens.cached),
            ("completion", receipt.tokens.completion),
            ("accepted_draft", receipt.tokens.accepted_draft),
            ("rejected_draft", receipt.tokens.drafted.saturating_sub(receipt.tokens.accepted_draft)),
        ];
        for (r#type, count) in tokens {
            let labels = TokenLabels { tenant: tenant.clone(), model: model.clone(), r#type };
            self.tokens.get_or_create(&labels).inc_by(count);
        }
        self.accounts.settled(&tenant, receipt);
        self.energy.settled(&tenant, receipt);
        if let Some(StepSharing::Affine { fit_error_ratio }) = receipt.method.steps {
            self.fit_error.get_or_create(&ModelLabels { model: model.clone() }).set(fit_error_ratio);
        }
        let labels = RequestLabels { tenant, model, outcome: receipt.outcome.name() };
        self.requests.get_or_create(&labels).inc();
    }

    /// A request was refused; nobody's, where nobody is known.
    pub(crate) fn refused(&self, tenant: Option<&str>, reason: &'static str) {
        let tenant = tenant.map_or_else(|| "_unknown".to_owned(), |tenant| self.tenant(tenant));
        self.refusals.get_or_create(&RefusalLabels { tenant, reason }).inc();
    }

    /// A request of `model` has ended, whose memory was taken `times` times.
    pub(crate) fn preempted(&self, model: &str, times: u32) {
        if times > 0 {
            self.preemptions.get_or_create(&ModelLabels { model: model.to_owned() }).inc_by(times.into());
        }
    }

    /// A request's answer was looked for among the stored ones.
    pub(crate) fn looked_for_response(&self, came_to: CacheUse) {
        match came_to {
            CacheUse::Hit => self.response_hits.inc(),
            CacheUse::Miss => self.response_misses.inc(),
        };
    }

    /// Accounts carried this memory.
    pub(crate) fn held(&self, held: &[Held]) {
        for one in held {
            self.accounts.held(one.tenant.as_deref().map(|tenant| self.tenant(tenant)), one);
        }
    }

    /// A load, or a part of one, is on no receipt: who asked for it carries its processor time, or nobody does.
    pub(crate) fn carried_load(&self, asked_by: Option<&str>, model: &str, time: Nanos) {
        let tenant = asked_by.map(|tenant| self.tenant(tenant));
        self.accounts.carried("load", (tenant, model), time);
    }

    /// Steps of a request that the ledger did not take, and that nobody saw anything of.
    pub(crate) fn computed_in_vain(&self, model: &str, time: Nanos) {
        self.accounts.carried("unreserved", (None, model), time);
    }

    /// A device took energy, which `accounts` carry, or it is not known how much.
    pub(crate) fn device_interval(&self, device: &str, taken: &IntervalEnergy, accounts: Option<&EnergyAccounts>) {
        self.energy.took(device, taken, accounts);
    }

    /// The pool changed.
    pub(crate) fn observe(&self, event: &PoolEvent) {
        let model = || event.model.to_string();
        match &event.kind {
            PoolEventKind::Loaded { wall, cause, .. } => {
                self.loads.get_or_create(&CauseLabels { model: model(), cause: cause.name() }).inc();
                self.load_seconds.get_or_create(&ModelLabels { model: model() }).observe(wall.as_secs_f64());
            }
            PoolEventKind::LoadFailed { .. } => {
                self.loads.get_or_create(&CauseLabels { model: model(), cause: "failed" }).inc();
            }
            PoolEventKind::Evicted { cause, .. } => {
                let labels = CauseLabels { model: model(), cause: cause_label(cause) };
                self.evictions.get_or_create(&labels).inc();
            }
            _ => {}
        }
    }

    /// All figures in OpenMetrics' text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub(crate) fn text(&self, app: &Arc<App>, snapshots: &[PoolSnapshot]) -> Result<String, fmt::Error> {
        self.look_at_pools(app, snapshots);
        self.queued.set(gauge(app.devices.queued() as u64));
        self.loading.set(gauge(app.devices.loading() as u64));
        let prefixes = app.prefixes.status();
        self.prefix_bytes.set(gauge(prefixes.bytes));
        self.prefix_lookups.set(gauge(prefixes.lookups));
        self.prefix_hits.set(gauge(prefixes.hits));
        self.prefix_dropped.set(gauge(prefixes.dropped));
        let contexts = app.contexts.status();
        self.contexts.set(gauge(contexts.contexts));
        self.contexts_bytes.set(gauge(contexts.bytes));
        self.contexts_mapped.set(gauge(contexts.mapped));
        self.context_maps.set(gauge(contexts.maps));
        let responses = app.responses.status();
        self.responses.set(gauge(responses.answers));
        self.response_bytes.set(gauge(responses.bytes));
        let (descriptors, kib) = app.models.kept_descriptors();
        self.descriptors.set(gauge(descriptors));
        self.descriptors_bytes.set(gauge(kib.saturating_mul(1024)));
        self.look_at_processors(app);
        let imbalance = u64::try_from(app.metering.imbalance()).unwrap_or(u64::MAX);
        self.imbalance.inc_by(imbalance.saturating_sub(self.imbalance.get()));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Metrics {
    /// What was computed, and what all of this process took.
    fn look_at_processors(&self, app: &App) {
        let reach = |counter: &Seconds, time: Nanos| {
            counter.inc_by((Duration::from(time).as_secs_f64() - counter.get()).max(0.0));
        };
        let mut devices = Nanos::ZERO;
        for device in app.devices.iter() {
            let labels = DeviceLabels { device: device.name.to_string() };
            let computed = app.metering.computed(device.number);
            devices = devices.saturating_add(computed);
            reach(&self.device_cpu.get_or_create(&labels), computed);
        }
        // Read last, so that it is never behind what it contains.
        let process = process_cpu_time();
        reach(&self.process_cpu, process);
        self.accounts.look_at(process, devices);
    }

    /// What the pools hold: of each device, and of all of them.
    fn look_at_pools(&self, app: &App, snapshots: &[PoolSnapshot]) {
        self.resident.clear();
        self.device_resident.clear();
        for (device, snapshot) in app.devices.iter().zip(snapshots) {
            let labels = DeviceLabels { device: device.name.to_string() };
            self.device_used.get_or_create(&labels).set(gauge(snapshot.used_bytes));
            self.device_limit.get_or_create(&labels).set(gauge(snapshot.limit_bytes));
            self.device_queued.get_or_create(&labels).set(gauge(device.executor.queued() as u64));
            self.device_backlog.get_or_create(&labels).set(device.backlog.total().as_secs_f64());
            for model in snapshot.models.iter().filter(|model| matches!(model.state.name(), "resident" | "idle")) {
                let (device, model_name) = (labels.device.clone(), model.name.to_string());
                let of_device = DeviceModelLabels { device, model: model_name.clone() };
                self.device_resident.get_or_create(&of_device).set(gauge(model.weights_bytes));
                self.resident.get_or_create(&ModelLabels { model: model_name }).inc_by(gauge(model.weights_bytes));
            }
        }
        let sum = |bytes: fn(&PoolSnapshot) -> u64| gauge(snapshots.iter().map(bytes).fold(0, u64::saturating_add));
        self.used.set(sum(|snapshot| snapshot.used_bytes));
        self.limit.set(sum(|snapshot| snapshot.limit_bytes));
        self.waiting.set(sum(|snapshot| (snapshot.waiters + snapshot.room_waiters) as u64));
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn cause_label(cause: &EvictionCause) -> &'static str {
    match cause {
        EvictionCause::IdleTimeout => "idle_timeout",
        EvictionCause::ModelPressure { .. } => "model_pressure",
        EvictionCause::KvPressure { .. } => "kv_pressure",
        EvictionCause::BudgetCut => "budget_cut",
        EvictionCause::Requested => "requested",
        EvictionCause::KeepAliveZero => "keep_alive_zero",
        EvictionCause::Quarantined => "quarantined",
        EvictionCause::Shutdown => "shutdown",
    }
}

#[cfg(test)]
mod tests {
    use meter::receipt::{AnsweredFrom, Measured, MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens, Outcome};
    use meter::{CarbonFactors, CpuDescription, EnergyModel, KibMillis, Quality, RateCard, RequestCharge};

    use super::*;

    fn receipt(model: &str, sharing: StepSharing) -> Receipt {
        let measured = Measured {
            id: "cmpl-1".to_owned(),
            tenant: "acme".to_owned(),
            model: model.to_owned(),
            cold: false,
            outcome: Outcome::Completed,
            answered_from: AnsweredFrom::Model,
            tokens: MeasuredTokens::default(),
            times: MeasuredTimes::default(),
            cpu: MeasuredCpu::default(),
            memory: MeasuredMemory {
                weights: RequestCharge::default(),
                kv: KibMillis::ZERO,
                weights_bytes: 0,
                quality: Quality::Derived,
            },
            busy: meter::Nanos::default(),
            kv_precision: None,
            routing: None,
            sharing,
        };
        let energy = EnergyModel::new(&CpuDescription::default(), 1, 1 << 30);
        Receipt::assemble(measured, &energy, &CarbonFactors::default(), &RateCard::default())
    }

    #[test]
    fn how_good_the_latest_fit_is_stands_with_its_model() {
        let metrics = Metrics::new();
        for ratio in [0.5, 0.125] {
            metrics.settled(&receipt("m", StepSharing::Affine { fit_error_ratio: ratio }));
        }
        metrics.settled(&receipt("m", StepSharing::WholeStep));
        metrics.settled(&receipt("other", StepSharing::WholeStep));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with("dayfly_attribution_fit")).collect();
        assert_eq!(told, ["dayfly_attribution_fit_error_ratio{model=\"m\"} 0.125"]);
    }
}
