//! Figures for Prometheus: counters that live here, and gauges read at the time of the scrape (`scrape`). What each is called
//! is in `register`.
//!
//! Labels are bounded: tenants beyond a cap share `_other`, and a request's id is never one.

mod accounts;
mod answers;
mod energy;
mod labels;
mod operations;
mod register;
mod scrape;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use meter::receipt::{Receipt, StepSharing};
use meter::{AccountInterval, EnergyAccounts, IntervalEnergy, KibMillis, Nanos};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use scheduler::{EvictionCause, PoolEvent, PoolEventKind};

use self::accounts::AccountMetrics;
use self::answers::AnswerMetrics;
use self::energy::EnergyMetrics;
use self::labels::{
    CauseLabels, DeviceLabels, DeviceModelLabels, ModelLabels, RefusalLabels, RequestLabels, TokenLabels,
};
pub(super) use self::operations::FOR_ADMINISTRATORS;
use self::operations::OperationMetrics;
use crate::app::ReloadOutcome;
use crate::generate::CacheUse;
use crate::limits::METRIC_TENANTS_MAX;

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
    answers: AnswerMetrics,
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
    operations: OperationMetrics,
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
            answers: AnswerMetrics::default(),
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
            operations: OperationMetrics::default(),
            fit_error: Family::default(),
        };
        metrics.register_requests();
        metrics.register_pool();
        metrics.register_devices();
        metrics.register_contexts();
        metrics.register_caches();
        metrics.answers.register(&mut metrics.registry);
        metrics.operations.register(&mut metrics.registry);
        metrics
    }

    /// A request that was routed to `device` is over: by how much its predicted time was off.
    pub(crate) fn routed(&self, device: &str, error_ratio: f64) {
        self.routing_error.get_or_create(&DeviceLabels { device: device.to_owned() }).observe(error_ratio);
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
        self.answers.settled(&tenant, receipt);
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

    /// A request of `model` has its first token.
    pub(crate) fn first_token(&self, model: &str, is_cold: bool, after: Duration) {
        self.answers.first_token(model, is_cold, after);
    }

    /// A request came to this error.
    pub(crate) fn failed(&self, error: &'static str) {
        self.operations.failed(error);
    }

    /// The ledger did not take a row.
    pub(crate) fn ledger_failed(&self) {
        self.operations.ledger_failed();
    }

    /// The configuration file was read again.
    pub(crate) fn reloaded(&self, outcome: ReloadOutcome) {
        self.operations.reloaded(outcome);
    }

    /// Accounts carried this memory.
    pub(crate) fn held(&self, held: &[AccountInterval]) {
        for one in held.iter().filter(|one| one.kib_ms > KibMillis::ZERO) {
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
    use meter::{Measured, RateCard};
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::metering::tests::{measured, receipt};

    fn sharing(model: &str, sharing: StepSharing) -> Receipt {
        let model = model.to_owned();
        receipt(Measured { model, sharing, ..measured("cmpl-1", "acme") }, &RateCard::default())
    }

    #[test]
    fn how_good_the_latest_fit_is_stands_with_its_model() {
        let metrics = Metrics::new();
        for ratio in [0.5, 0.125] {
            metrics.settled(&sharing("m", StepSharing::Affine { fit_error_ratio: ratio }));
        }
        metrics.settled(&sharing("m", StepSharing::WholeStep));
        metrics.settled(&sharing("other", StepSharing::WholeStep));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with("dayfly_attribution_fit")).collect();
        assert_eq!(told, ["dayfly_attribution_fit_error_ratio{model=\"m\"} 0.125"]);
    }
}
