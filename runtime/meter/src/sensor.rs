//! What a machine tells of its energy, behind one trait.
//!
//! [`find`] looks for sensors below a folder that stands for `/`: the kernel's power zones, its performance events,
//! monitors, batteries. It opens what is there and says of the rest why not. A sensor reports what it reads and nothing
//! more: whether it is to be believed is for [`crate::ladder`] to say.
//!
//! Invariants: nothing is read but small files, and no more than `limits` allows; what a file holds is a number in
//! range or an error; "you may not" ([`SensorError::Denied`]) is never told as "there is none"
//! ([`SensorError::Absent`]). Deliberately absent: clocks, threads, differences of readings, and monitors that do not say
//! what they measure: a graphics card's power is not the machine's.

mod battery;
mod error;
mod files;
mod host;
mod monitors;
#[cfg(feature = "nvml")]
mod nvml;
mod perf;
mod powercap;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::error::SensorError;
pub use self::host::busy_cpu;
use crate::units::{Microwatts, Nanojoules};

/// Something that tells how much energy a device took, or how much power it takes.
pub trait Sensor: Send {
    /// What it measures, and how well.
    fn description(&self) -> &SensorDescription;

    /// Reads it once. The readings of one sensor have one form and one number of domains.
    ///
    /// # Errors
    /// When it is denied, gone, or tells nonsense.
    fn read(&mut self) -> Result<Reading, SensorError>;
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Energy counters since some beginning, one per domain; the device's energy is their sum.
    Counters(Vec<Counter>),
    /// Power at this moment, or on average over a short time.
    Power(Microwatts),
}

/// An energy counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Where it stands.
    pub energy: Nanojoules,
    /// Where it begins again at zero; `None` if it does not within a machine's life.
    pub range: Option<Nanojoules>,
}

/// What a sensor measures, and how well.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorDescription {
    /// Its place on the ladder.
    pub rung: Rung,
    /// Which device.
    pub device: Device,
    /// By what way it is read: `powercap`, `perf`.
    pub interface: &'static str,
    /// The names of its domains, in the order of its counters.
    pub domains: Vec<String>,
    /// Half-width of the plausible range as a share of the figure.
    pub relative_uncertainty: f64,
    /// The most that the device is made to draw for long, where the sensor tells: its thermal design power.
    pub rated_power: Option<Microwatts>,
}

impl SensorDescription {
    /// A sensor of `rung` with the uncertainty that its kind has by default.
    pub(crate) fn new(rung: Rung, interface: &'static str, domains: Vec<String>) -> Self {
        Self {
            rung,
            device: Device::Host,
            interface,
            domains,
            relative_uncertainty: rung.relative_uncertainty(),
            rated_power: None,
        }
    }

    /// Its name, for receipts and reports: `RAPL packages (powercap: package-0, package-1)`.
    #[must_use]
    pub fn source(&self) -> String {
        format!("{} ({}: {})", self.rung.name(), self.interface, self.domains.join(", "))
    }
}

/// A device with an energy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The machine.
    Host,
    /// A graphics card, by its number.
    Gpu(u32),
}

/// The kinds of sensors, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// A meter at the wall or in the power supply.
    WallMeter,
    /// RAPL's platform domain.
    RaplPlatform,
    /// RAPL's packages and the memory beside them.
    RaplPackagesAndMemory,
    /// RAPL's packages alone.
    RaplPackages,
    /// The energy counter of a graphics card.
    NvmlCounter,
    /// The power of a graphics card, sampled.
    NvmlPower,
    /// A battery that is being drained.
    Battery,
}

impl Rung {
    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WallMeter => "wall meter",
            Self::RaplPlatform => "RAPL platform",
            Self::RaplPackagesAndMemory => "RAPL packages and memory",
            Self::RaplPackages => "RAPL packages",
            Self::NvmlCounter => "NVML energy counter",
            Self::NvmlPower => "NVML power",
            Self::Battery => "battery",
        }
    }

    /// What it covers.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::WallMeter => "host at the wall",
            Self::RaplPlatform => "host: the platform behind the processor's supply",
            Self::RaplPackagesAndMemory => "processors and memory, without the rest of the host",
            Self::RaplPackages => "processors, without memory and the rest of the host",
            Self::NvmlCounter | Self::NvmlPower => "graphics card",
            Self::Battery => "host behind its battery",
        }
    }

    /// Whether the energy of graphics cards may be in it, so that theirs must not be added: the platform domain's reach is
    /// the board maker's choice.
    #[must_use]
    pub const fn may_cover_gpus(self) -> bool {
        matches!(self, Self::WallMeter | Self::RaplPlatform | Self::Battery)
    }

    const fn relative_uncertainty(self) -> f64 {
        match self {
            Self::WallMeter => 0.05,
            Self::RaplPlatform | Self::RaplPackagesAndMemory | Self::RaplPackages | Self::NvmlCounter => 0.1,
            Self::NvmlPower => 0.3,
            Self::Battery => 0.2,
        }
    }
}

/// What was looked for and found, or not.
#[derive(Default)]
pub struct Found {
    /// Sensors that may be read, or that say why not when they are.
    pub sensors: Vec<Box<dyn Sensor>>,
    /// What was looked for in vain: what it would have been, and why not.
    pub missing: Vec<(&'static str, SensorError)>,
}

impl Found {
    fn take(&mut self, looked_for: &'static str, result: Result<Vec<Box<dyn Sensor>>, SensorError>) {
        match result {
            Ok(sensors) => self.sensors.extend(sensors),
            Err(error) => self.missing.push((looked_for, error)),
        }
    }
}

/// Looks for the machine's sensors below `root`, which is `/` but in tests; `vendor` is the processor's as cpuid spells it.
///
/// AMD's RAPL is a model of the chip in part, and counts half as exactly as Intel's.
#[must_use]
pub fn find(root: &Path, vendor: &str) -> Found {
    let mut found = Found::default();
    found.take("wall meter", monitors::find(root));
    found.take("RAPL by powercap", powercap::find(root, rapl_uncertainty(vendor)));
    found.take("RAPL by perf events", perf::find(root, rapl_uncertainty(vendor), &perf::open));
    found.take("battery", battery::find(root));
    #[cfg(feature = "nvml")]
    found.take("graphics cards", nvml::find());
    found
}

fn rapl_uncertainty(vendor: &str) -> f64 {
    if vendor == "AuthenticAMD" { 0.2 } else { Rung::RaplPackages.relative_uncertainty() }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
