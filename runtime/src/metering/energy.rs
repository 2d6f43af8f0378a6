//! What requests' energy is told from: the host's sensors, followed while the server runs, or models.
//!
//! The host's sensors are about everything that the host's processors do, whichever device asked for it: about `cpu`, and
//! about candle on the processor. While one of them is believed, what requests of those devices take is told by it. While
//! none is, a device whose watts are configured keeps to them, and the others are told by the host's model. What a device
//! with a chip of its own takes is not in the processors' figures: it keeps to its own watts.
//!
//! Invariant: there is always a figure; without sensors, or before they showed work, it is a model's. Deliberately absent:
//! choosing devices by what was measured: that goes by the models, which do not change under the routing's feet.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use meter::energy::{EnergyEstimate, EnergyModel, EnergySource, EnergyUse, Quality};
use meter::host_energy::{Host, HostEnergy};
use meter::interval::EnergyRates;
use meter::{LadderReport, Nanos};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::limits::ENERGY_READ_EVERY;

/// What tells the energy of requests at the moment.
pub(crate) struct EnergyNow {
    devices: Vec<DeviceEnergy>,
}

/// What tells the energy of a device's requests at the moment.
pub(crate) struct DeviceEnergy {
    model: EnergyModel,
    rates: Mutex<Option<EnergyRates>>,
}

impl EnergyNow {
    /// By models alone, in the order of the devices.
    pub(super) fn new(models: impl Iterator<Item = EnergyModel>) -> Self {
        Self { devices: models.map(|model| DeviceEnergy { model, rates: Mutex::default() }).collect() }
    }

    /// Of the device of this number.
    pub(super) fn of(&self, device: usize) -> &DeviceEnergy {
        &self.devices[device]
    }
}

impl DeviceEnergy {
    fn rates(&self) -> MutexGuard<'_, Option<EnergyRates>> {
        self.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What the host's sensors, or its model, say from now on.
    fn follow(&self, host: &HostEnergy) {
        let has_watts_of_its_own = self.model.label().quality == Quality::Assumed;
        let rates = if has_watts_of_its_own { host.measured_rates() } else { host.rates() };
        *self.rates() = rates.cloned();
    }

    /// Nothing is followed any more.
    fn forget(&self) {
        *self.rates() = None;
    }
}

impl EnergySource for DeviceEnergy {
    fn estimate(&self, energy_use: &EnergyUse) -> EnergyEstimate {
        match &*self.rates() {
            Some(rates) => rates.estimate(energy_use),
            None => self.model.estimate(energy_use),
        }
    }
}

/// Follows the host's energy until the server ends. Sensors are files, some of them of slow controllers: they are read on
/// a thread that may wait.
pub(crate) async fn follow(app: Arc<App>, host: Host) {
    let began = Instant::now();
    let found = tokio::task::spawn_blocking(move || HostEnergy::find(Path::new("/"), &host));
    let Ok(mut energy) = found.await else { return };
    let on_host = || app.devices.iter().filter(|device| device.way.is_of_host());
    let mut ticks = tokio::time::interval(ENERGY_READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        ticks.tick().await;
        let polled = tokio::task::spawn_blocking(move || {
            let interval = energy.poll(began.elapsed(), process_cpu_time(), &[]);
            (energy, interval)
        });
        let Ok((next, interval)) = polled.await else {
            // What was told last is not true for ever.
            on_host().for_each(|device| app.metering.energy.of(device.number).forget());
            return;
        };
        energy = next;
        on_host().for_each(|device| app.metering.energy.of(device.number).follow(&energy));
        if let Some(interval) = interval {
            app.metering.metrics.device_interval("host", &interval.taken);
            if told.as_ref() != Some(&interval.taken.label.source) {
                log(&energy.report());
                told = Some(interval.taken.label.source);
            }
        }
    }
}

fn log(report: &LadderReport) {
    tracing::info!(source = report.in_use.source, quality = report.in_use.quality.name(), "where energy is from");
    for rung in report.rungs.iter().filter(|rung| !rung.reason.is_empty()) {
        tracing::debug!(source = rung.source, code = rung.code, reason = rung.reason, "energy is not from here");
    }
}

/// Processor time of this process since it started.
fn process_cpu_time() -> Nanos {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)).into()
}

#[cfg(test)]
mod tests {
    use meter::{CpuDescription, DevicePower};

    use super::*;

    /// A host of files whose processors' counter was believed, or which has none.
    fn host_after_work(has_counter: bool) -> HostEnergy {
        let root = tempfile::tempdir().unwrap();
        let zone = root.path().join("sys/class/powercap/intel-rapl:0");
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        let host = Host { cores: 2, memory_bytes: 1 << 30, ..Host::default() };
        let mut energy = None;
        for second in 0..6_u64 {
            if has_counter {
                std::fs::write(zone.join("name"), "package-0\n").unwrap();
                std::fs::write(zone.join("max_energy_range_uj"), "262143328850\n").unwrap();
                std::fs::write(zone.join("energy_uj"), format!("{}\n", 5_000_000 * second)).unwrap();
            }
            let stat = format!("cpu  {} 0 0 0 0 0 0 0 0 0\n", 100 * second);
            std::fs::write(root.path().join("proc/stat"), stat).unwrap();
            let energy = energy.get_or_insert_with(|| HostEnergy::find(root.path(), &host));
            energy.poll(Duration::from_secs(second), Duration::from_secs(second).into(), &[]);
        }
        energy.unwrap()
    }

    fn source(device: &DeviceEnergy) -> String {
        device.estimate(&EnergyUse::default()).source
    }

    #[test]
    fn what_is_measured_comes_before_every_model_and_watts_of_the_operator_before_the_hosts() {
        let watts = DevicePower { idle_milliwatts: 1_000, max_milliwatts: 2_000 };
        let models = [EnergyModel::new(&CpuDescription::default(), 2, 1 << 30), EnergyModel::of_device(watts, 1 << 30)];
        let now = EnergyNow::new(models.into_iter());
        let sources = || [source(now.of(0)), source(now.of(1))].map(|source| source[..9].to_owned());
        assert_eq!(sources(), ["W-per-vCP", "watts by "]);
        for (has_counter, expected) in [(true, ["RAPL pack"; 2]), (false, ["W-per-vCP", "watts by "])] {
            let host = host_after_work(has_counter);
            now.devices.iter().for_each(|device| device.follow(&host));
            assert_eq!(sources(), expected);
        }
        now.of(0).follow(&host_after_work(true));
        now.of(0).forget();
        assert_eq!(sources()[0], "W-per-vCP");
    }

    #[test]
    fn the_process_works() {
        assert!(process_cpu_time() > Nanos::ZERO);
    }
}
