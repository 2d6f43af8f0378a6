//! What requests' energy is told from: sensors, followed while the server runs (`follow`), or models.
//!
//! The host's sensors are about everything that the host's processors do, whichever device asked for it: about `cpu`, and
//! about candle on the processor. While one of them is believed, what requests of those devices take is told by it. While
//! none is, a device whose watts are configured keeps to them, and the others are told by the host's model. A CUDA device is
//! told by its card's own sensors, in builds that can see them and once work showed there; until then by its configured
//! watts, or the published figures of such a card, or else, like every other device with a chip of its own and no watts, by
//! the host's model.
//!
//! Invariant: there is always a figure; without sensors, or before they showed work, it is a model's. Deliberately absent:
//! choosing devices by what was measured: that goes by the models, which do not change under the routing's feet.

mod follow;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meter::LadderReport;
use meter::energy::{EnergyEstimate, EnergyModel, EnergySource, EnergyUse, Quality};
use meter::interval::EnergyRates;

use self::follow::Meter;
pub(crate) use self::follow::follow;
use super::work::DeviceWork;

/// What tells the energy of requests at the moment.
pub(crate) struct EnergyNow {
    devices: Vec<DeviceEnergy>,
    /// What is followed, each with its sensors.
    reports: Mutex<Vec<(Arc<str>, LadderReport)>>,
}

/// What tells the energy of a device's requests at the moment.
pub(crate) struct DeviceEnergy {
    model: EnergyModel,
    rates: Mutex<Option<EnergyRates>>,
    pub(super) work: Arc<DeviceWork>,
}

impl EnergyNow {
    /// By models alone, in the order of the devices.
    pub(super) fn new(models: impl Iterator<Item = EnergyModel>) -> Self {
        let device = |model| DeviceEnergy { model, rates: Mutex::default(), work: Arc::default() };
        Self { devices: models.map(device).collect(), reports: Mutex::default() }
    }

    /// Of the device of this number.
    pub(super) fn of(&self, device: usize) -> &DeviceEnergy {
        &self.devices[device]
    }

    fn devices(&self) -> impl Iterator<Item = &DeviceEnergy> {
        self.devices.iter()
    }

    /// Nothing is followed any more.
    fn forget(&self) {
        self.devices.iter().for_each(|device| device.set(None));
        self.locked().clear();
    }

    /// What is known now of the sensors of what is called `name`; told in the log where the source is another one.
    fn reported(&self, name: &Arc<str>, report: LadderReport) {
        let mut reports = self.locked();
        let before = reports.iter_mut().find(|(known, _)| known == name);
        if before.as_ref().is_none_or(|(_, before)| before.in_use.source != report.in_use.source) {
            log(name, &report);
        }
        match before {
            Some((_, before)) => *before = report,
            None => reports.push((Arc::clone(name), report)),
        }
    }

    /// What is known of the sensors of everything that is followed.
    pub(crate) fn reports(&self) -> Vec<(Arc<str>, LadderReport)> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<(Arc<str>, LadderReport)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeviceEnergy {
    fn rates(&self) -> MutexGuard<'_, Option<EnergyRates>> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, rates: Option<EnergyRates>) {
        *self.rates() = rates;
    }

    /// What its host or its card says from now on.
    fn follow(&self, meter: &Meter) {
        let has_watts_of_its_own = self.model.label().quality == Quality::Assumed;
        let rates = if has_watts_of_its_own { meter.measured_rates() } else { meter.rates() };
        self.set(rates.cloned());
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

fn log(name: &str, report: &LadderReport) {
    tracing::info!(
        of = name,
        source = report.in_use.source,
        quality = report.in_use.quality.name(),
        "where energy is from"
    );
    for rung in report.rungs.iter().filter(|rung| !rung.reason.is_empty()) {
        tracing::debug!(
            of = name,
            source = rung.source,
            code = rung.code,
            reason = rung.reason,
            "energy is not from here"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meter::{CpuDescription, DevicePower, Host, HostEnergy};

    use super::follow::tests::Machine;
    use super::*;

    /// A host of files whose processors' counter was believed, or which has none.
    fn host_after_work(has_counter: bool) -> Meter {
        let machine = Machine::new();
        let host = Host { cores: 2, memory_bytes: 1 << 30, ..Host::default() };
        machine.counts_when(has_counter, 0);
        let mut energy = HostEnergy::find(machine.root(), &host);
        for second in 0..6 {
            machine.counts_when(has_counter, 5_000_000 * second).worked(Duration::from_secs(second));
            energy.poll(Duration::from_secs(second), Duration::from_secs(second).into(), &[]);
        }
        Meter::Host(Box::new(energy))
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
        now.forget();
        assert_eq!(sources()[0], "W-per-vCP");
    }
}
