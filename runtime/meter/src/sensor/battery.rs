//! The machine's batteries, `/sys/class/power_supply/*`, while they are drained and nothing feeds them.
//!
//! A supply of `type` `Battery` whose `scope` is `Device` is a mouse's or a keyboard's. Power is `power_now`, or
//! `current_now` × `voltage_now`; some drivers show what flows out as negative. What a charger brings is not seen by a
//! battery, so that all must be drained or idle, and no mains be on.
//!
//! Source: Linux' `Documentation/ABI/testing/sysfs-class-power`.

use std::path::{Path, PathBuf};

use super::files;
use super::{Reading, Rung, Sensor, SensorDescription, SensorError};
use crate::limits::SENSOR_DOMAINS_MAX;
use crate::units::Microwatts;

struct Batteries {
    description: SensorDescription,
    batteries: Vec<PathBuf>,
    mains: Vec<PathBuf>,
}

/// The batteries below `root`, as one sensor.
pub(super) fn find(root: &Path) -> Result<Vec<Box<dyn Sensor>>, SensorError> {
    let folder = root.join("sys/class/power_supply");
    let (mut batteries, mut mains, mut domains) = (Vec::new(), Vec::new(), Vec::new());
    for name in files::names(&folder)?.into_iter().take(SENSOR_DOMAINS_MAX) {
        let supply = folder.join(&name);
        let scope = files::text(&supply.join("scope")).unwrap_or_default();
        match files::text(&supply.join("type")).unwrap_or_default().as_str() {
            "Battery" if scope != "Device" => {
                domains.push(name);
                batteries.push(supply);
            }
            "Mains" | "USB" if scope != "Device" => mains.push(supply),
            _ => {}
        }
    }
    if batteries.is_empty() {
        return Err(SensorError::Absent { place: format!("a battery of the machine in {}", folder.display()) });
    }
    let description = SensorDescription::new(Rung::Battery, "power_supply", domains);
    Ok(vec![Box::new(Batteries { description, batteries, mains })])
}

impl Sensor for Batteries {
    fn description(&self) -> &SensorDescription {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        // Not `1` alone: 2 is mains with a programmable voltage.
        if let Some(mains) =
            self.mains.iter().find(|supply| files::number(&supply.join("online")).is_ok_and(|on| on > 0))
        {
            return Err(not_discharging(mains, "the machine is fed"));
        }
        let mut is_drained = false;
        let mut sum = Microwatts::ZERO;
        for battery in &self.batteries {
            match files::text(&battery.join("status"))?.as_str() {
                "Discharging" => {
                    is_drained = true;
                    sum = sum.saturating_add(power(battery)?);
                }
                // One of two rests while the other is drained.
                "Full" | "Not charging" | "Unknown" => {}
                status => return Err(not_discharging(battery, status)),
            }
        }
        match self.batteries.first() {
            Some(battery) if !is_drained => Err(not_discharging(battery, "it rests")),
            _ => Ok(Reading::Power(sum)),
        }
    }
}

fn not_discharging(place: &Path, status: &str) -> SensorError {
    SensorError::NotDischarging { place: place.display().to_string(), status: status.chars().take(40).collect() }
}

fn power(battery: &Path) -> Result<Microwatts, SensorError> {
    match magnitude(&battery.join("power_now")) {
        Err(SensorError::Absent { .. }) => {
            let current = magnitude(&battery.join("current_now"))?;
            let voltage = magnitude(&battery.join("voltage_now"))?;
            // µA × µV = 10⁻¹² W
            Ok(Microwatts::saturating_from(u128::from(current) * u128::from(voltage) / 1_000_000))
        }
        power => power.map(Microwatts::new),
    }
}

fn magnitude(path: &Path) -> Result<u64, SensorError> {
    let text = files::text(path)?;
    let number: Result<i64, _> = text.parse();
    number.map(i64::unsigned_abs).map_err(|_| files::malformed(path, &text, "a whole number"))
}
