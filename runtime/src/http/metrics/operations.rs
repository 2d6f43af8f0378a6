//! Figures for whoever operates the server: what its requests failed with, whether the ledger takes its rows, which models
//! and sensors are set aside, what is saved, and how its configuration was read.

use std::sync::atomic::AtomicU64;

use meter::LadderReport;
use meter::ladder::RungState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use scheduler::PoolSnapshot;

use super::labels::DeviceModelLabels;
use crate::app::{App, ReloadOutcome};
use crate::live::SavedAgainst;

/// What the figures begin with that are about all tenants together, and for whoever administers alone.
pub(in crate::http) const FOR_ADMINISTRATORS: &str = "dayfly_saved_";

/// Errors that alerts are about: they are told as 0 from the start, so that the first one is seen.
const WATCHED_ERRORS: [&str; 7] = [
    "engine_panicked",
    "engine_timeout",
    "internal_error",
    "ledger_unavailable",
    "model_file_changed",
    "non_finite_logits",
    "server_is_overloaded",
];

type Amount = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    error: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SensorLabels {
    device: String,
    source: String,
    state: &'static str,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BaselineLabels {
    baseline: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SavedCostLabels {
    baseline: &'static str,
    currency: String,
}

/// The counters.
pub(super) struct OperationMetrics {
    errors: Family<ErrorLabels, Counter>,
    ledger_failures: Counter,
    ledger_waiting: Gauge,
    quarantined: Family<DeviceModelLabels, Gauge>,
    sensors: Family<SensorLabels, Gauge>,
    saved_gb_hours: Family<BaselineLabels, Amount>,
    saved_joules: Family<BaselineLabels, Amount>,
    saved_cost: Family<SavedCostLabels, Amount>,
    reloads: Family<ResultLabels, Counter>,
    last_reload: Gauge,
}

impl Default for OperationMetrics {
    fn default() -> Self {
        let reloads = Family::<ResultLabels, Counter>::default();
        // Those that have not happened are 0, so that their first is seen as a change.
        for outcome in ReloadOutcome::ALL {
            drop(reloads.get_or_create(&ResultLabels { result: outcome.name() }));
        }
        let errors = Family::<ErrorLabels, Counter>::default();
        for error in WATCHED_ERRORS {
            drop(errors.get_or_create(&ErrorLabels { error }));
        }
        let last_reload = Gauge::default();
        // The server began with a valid file.
        last_reload.set(1);
        Self {
            errors,
            ledger_failures: Counter::default(),
            ledger_waiting: Gauge::default(),
            quarantined: Family::default(),
            sensors: Family::default(),
            saved_gb_hours: Family::default(),
            saved_joules: Family::default(),
            saved_cost: Family::default(),
            reloads,
            last_reload,
        }
    }
}

impl OperationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let text = "Requests by the name of the error that they came to";
        registry.register("request_errors", text, self.errors.clone());
        let text = "Rows that the ledger did not take when they were offered";
        registry.register("ledger_failures", text, self.ledger_failures.clone());
        let text = "Rows that wait to be offered to the ledger again";
        registry.register("ledger_waiting_rows", text, self.ledger_waiting.clone());
        let text = "Models that are not tried for a while, because their file or their computing failed: 1";
        registry.register("model_quarantined", text, self.quarantined.clone());
        let text = "Sensors of energy, by whether they are believed, and why not: 1";
        registry.register("energy_sensor", text, self.sensors.clone());
        let text = "Memory over time saved since the server began, negative where it was lost";
        registry.register("saved_gb_hours", text, self.saved_gb_hours.clone());
        let text = "Energy saved since then, by what each arm would be attributed";
        registry.register_with_unit("saved_energy", text, Unit::Joules, self.saved_joules.clone());
        let text = "Money saved since then, by the rate card; not there where a price is missing";
        registry.register("saved_cost", text, self.saved_cost.clone());
        let text = "How often the configuration file was read again, by what came of it";
        registry.register("config_reloads", text, self.reloads.clone());
        let text = "Whether the file could be used when it was last read: 1 or 0";
        registry.register("config_last_reload_successful", text, self.last_reload.clone());
    }

    /// A request came to an error.
    pub(super) fn failed(&self, error: &'static str) {
        self.errors.get_or_create(&ErrorLabels { error }).inc();
    }

    /// The ledger did not take a row.
    pub(super) fn ledger_failed(&self) {
        self.ledger_failures.inc();
    }

    /// The file was read again.
    pub(super) fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads.get_or_create(&ResultLabels { result: outcome.name() }).inc();
        self.last_reload.set((outcome != ReloadOutcome::Invalid).into());
    }

    /// How things are now.
    pub(super) fn look(&self, app: &App, snapshots: &[PoolSnapshot]) {
        self.ledger_waiting.set(i64::try_from(app.metering.rows_waiting()).unwrap_or(i64::MAX));
        self.quarantined.clear();
        for (device, snapshot) in app.devices.iter().zip(snapshots) {
            for model in snapshot.models.iter().filter(|model| model.quarantined_for.is_some()) {
                let labels = DeviceModelLabels { device: device.name.to_string(), model: model.name.to_string() };
                self.quarantined.get_or_create(&labels).set(1);
            }
        }
        self.sensors.clear();
        for (device, report) in app.metering.energy().reports() {
            self.look_at_sensors(&device, &report);
        }
        let Some(saved) = app.live.saved() else { return };
        let currency = app.metering.prices_of(0).rates.currency;
        self.saved_cost.clear();
        for (baseline, against) in [("shared", saved.shared), ("dedicated", saved.dedicated)] {
            self.look_at_saved(baseline, against, &currency);
        }
    }

    fn look_at_sensors(&self, device: &str, report: &LadderReport) {
        for rung in &report.rungs {
            let labels = SensorLabels {
                device: device.to_owned(),
                source: rung.source.clone(),
                state: state_word(rung.state),
                reason: rung.code.clone(),
            };
            self.sensors.get_or_create(&labels).set(1);
        }
    }

    fn look_at_saved(&self, baseline: &'static str, saved: SavedAgainst, currency: &str) {
        let labels = BaselineLabels { baseline };
        self.saved_gb_hours.get_or_create(&labels).set(saved.gb_hours);
        self.saved_joules.get_or_create(&labels).set(saved.attributional_joules);
        if let Some(cost) = saved.cost {
            let labels = SavedCostLabels { baseline, currency: currency.to_owned() };
            self.saved_cost.get_or_create(&labels).set(cost);
        }
    }
}

fn state_word(state: RungState) -> &'static str {
    match state {
        RungState::InUse => "in_use",
        RungState::Spare => "spare",
        RungState::Watched => "watched",
        RungState::Refused => "refused",
        RungState::Missing => "missing",
    }
}
