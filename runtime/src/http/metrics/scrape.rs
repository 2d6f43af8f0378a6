//! Figures as they are at the time of a scrape: gauges that are read then, and all of it as text.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use meter::Nanos;
use prometheus_client::encoding::text::encode;
use scheduler::PoolSnapshot;

use super::labels::{DeviceLabels, DeviceModelLabels, ModelLabels};
use super::{Metrics, Seconds};
use crate::app::App;
use crate::host::process_cpu_time;

impl Metrics {
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
        self.operations.look(app, snapshots);
        self.look_at_processors(app);
        let imbalance = u64::try_from(app.metering.imbalance()).unwrap_or(u64::MAX);
        self.imbalance.inc_by(imbalance.saturating_sub(self.imbalance.get()));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

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
