//! NVIDIA's cards by NVML, which is loaded when it is there: an energy counter (Volta and later), and power samples.
//!
//! The counter runs since the driver was loaded, in 10⁻³ J; power is in 10⁻³ W, an average over a second on Ampere and
//! later, and a momentary value before. Both are of the whole card.
//!
//! Source: NVIDIA's NVML API Reference, `nvmlDeviceGetTotalEnergyConsumption` and `nvmlDeviceGetPowerUsage`.

use std::sync::Arc;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{Counter, Device, Reading, Rung, Sensor, SensorDescription, SensorError};
use crate::limits::SENSOR_DOMAINS_MAX;
use crate::units::{Microwatts, Nanojoules};

const NANOJOULES_PER_MILLIJOULE: u128 = 1_000_000;

struct Card {
    description: SensorDescription,
    nvml: Arc<Nvml>,
    index: u32,
}

/// Both sensors of each card.
pub(super) fn find() -> Result<Vec<Box<dyn Sensor>>, SensorError> {
    let nvml = Arc::new(Nvml::init().map_err(|error| failure("NVML", error))?);
    let count = nvml.device_count().map_err(|error| failure("NVML", error))?;
    let mut sensors: Vec<Box<dyn Sensor>> = Vec::new();
    for index in (0..count).take(SENSOR_DOMAINS_MAX) {
        let device = nvml.device_by_index(index).map_err(|error| failure("NVML", error))?;
        let name = device.name().unwrap_or_else(|_| "card".to_owned());
        let rated_power = device.enforced_power_limit().ok().map(|power| Microwatts::new(u64::from(power) * 1000));
        for rung in [Rung::NvmlCounter, Rung::NvmlPower] {
            let description = SensorDescription {
                device: Device::Gpu(index),
                rated_power,
                ..SensorDescription::new(rung, "NVML", vec![format!("{index}: {name}")])
            };
            sensors.push(Box::new(Card { description, nvml: Arc::clone(&nvml), index }));
        }
    }
    Ok(sensors)
}

fn failure(place: &str, source: NvmlError) -> SensorError {
    match source {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded => {
            SensorError::Absent { place: "NVML, NVIDIA's library".to_owned() }
        }
        source => SensorError::Nvml { place: place.to_owned(), source },
    }
}

impl Sensor for Card {
    fn description(&self) -> &SensorDescription {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let place = || format!("card {}", self.index);
        let device = self.nvml.device_by_index(self.index).map_err(|error| failure(&place(), error))?;
        let reading = if self.description.rung == Rung::NvmlCounter {
            device.total_energy_consumption().map(|millijoules| {
                let energy = Nanojoules::saturating_from(u128::from(millijoules) * NANOJOULES_PER_MILLIJOULE);
                Reading::Counters(vec![Counter { energy, range: None }])
            })
        } else {
            device.power_usage().map(|milliwatts| Reading::Power(Microwatts::new(u64::from(milliwatts) * 1000)))
        };
        reading.map_err(|error| failure(&place(), error))
    }
}
