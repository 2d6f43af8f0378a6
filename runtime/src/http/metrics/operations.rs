//! Figures of what an operator does with the server.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::app::ReloadOutcome;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// The counters.
pub(super) struct OperationMetrics {
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
        let last_reload = Gauge::default();
        // The server began with a valid file.
        last_reload.set(1);
        Self { reloads, last_reload }
    }
}

impl OperationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let text = "How often the configuration file was read again, by what came of it";
        registry.register("config_reloads", text, self.reloads.clone());
        let text = "Whether the file could be used when it was last read: 1 or 0";
        registry.register("config_last_reload_successful", text, self.last_reload.clone());
    }

    /// The file was read again.
    pub(super) fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads.get_or_create(&ResultLabels { result: outcome.name() }).inc();
        self.last_reload.set((outcome != ReloadOutcome::Invalid).into());
    }
}
