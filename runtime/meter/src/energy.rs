//! Energy of a request, modelled from its processor time and its share of the machine's memory.
//!
//! With `idle` and `max` the published wall power per virtual core ([`WallPower`]):
//!
//! - dynamic energy = processor seconds × (`max` − `idle`);
//! - idle share = `idle` × virtual cores × (byte-time held ÷ host memory): whoever holds a tenth of the memory for a
//!   second carries a tenth of the machine's idle energy of that second.
//!
//! A device of its own, an accelerator, has `idle` and `max` as its operator says: dynamic energy is then the time for
//! which it computes × (`max` − `idle`), its idle share goes by its own memory, and all of it is assumed.
//!
//! Wall power already includes the memory's, so memory is a key for sharing here and never an addend. Memory that
//! nobody holds leaves its share of the idle energy with nobody.
//!
//! Invariants: integers throughout, rounded down once per component; an estimate always carries its source, quality,
//! scope and uncertainty. Deliberately absent: sensors ([`crate::ladder`]).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::processor::{CpuDescription, WallPower};
use crate::units::{KibMillis, Microwatts, Nanojoules, Nanos, kib_of_bytes};

/// How a figure was come by, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Read from a clock, a counter or the kernel.
    Measured,
    /// Computed exactly from measured figures.
    Derived,
    /// The output of a model with measured inputs.
    Modelled,
    /// Taken for granted.
    Assumed,
}

impl Quality {
    /// The name as it stands in JSON and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Derived => "derived",
            Self::Modelled => "modelled",
            Self::Assumed => "assumed",
        }
    }
}

/// Where a figure of energy is from, and how far to trust it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnergyLabel {
    /// The sensor or model.
    pub source: String,
    /// How the figure was come by.
    pub quality: Quality,
    /// What it covers.
    pub scope: String,
    /// Half-width of the plausible range as a share of the figure; 0.5 is ± 50 %.
    pub relative_uncertainty: f64,
}

/// What energy is estimated from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnergyUse {
    /// Processor time of prefill and decode.
    pub active_cpu: Nanos,
    /// Time for which the device computed prefill and decode.
    pub active_busy: Nanos,
    /// Processor time of loading.
    pub load_cpu: Nanos,
    /// Memory held while loading.
    pub load_memory: KibMillis,
    /// Weights and key-value blocks held while active.
    pub active_memory: KibMillis,
    /// Weights kept after the last request.
    pub keepalive_memory: KibMillis,
    /// Weights held for nobody in particular.
    pub idle_memory: KibMillis,
}

/// Energy by component, and how far to trust it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnergyEstimate {
    /// Dynamic energy of prefill and decode.
    pub active: Nanojoules,
    /// Dynamic energy of loading and the idle share of memory held meanwhile.
    pub load: Nanojoules,
    /// Idle share of the memory held while active.
    pub residency: Nanojoules,
    /// Idle share of weights kept after the last request.
    pub keepalive: Nanojoules,
    /// Idle share of weights held for nobody in particular.
    pub idle: Nanojoules,
    /// Where the figure is from.
    pub source: String,
    /// How it was come by.
    pub quality: Quality,
    /// What it covers.
    pub scope: String,
    /// Half-width of the plausible range as a share of the figure; 0.5 is ± 50 %.
    pub relative_uncertainty: f64,
}

impl EnergyEstimate {
    /// The sum of all components.
    #[must_use]
    pub fn total(&self) -> Nanojoules {
        [self.active, self.load, self.residency, self.keepalive, self.idle].into_iter().sum()
    }
}

/// Tells the energy of a request from what it used.
pub trait EnergySource {
    /// The energy of `energy_use`, with where it is from.
    fn estimate(&self, energy_use: &EnergyUse) -> EnergyEstimate;
}

/// The power model of one machine, or of one device in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnergyModel {
    wall: WallPower,
    virtual_cores: u32,
    host_memory_kib: u64,
    basis: Basis,
}

/// The time that dynamic energy goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// Processor time: watts are those of a virtual core.
    Processor,
    /// Time for which the device computes: watts are those of all of it.
    Busy,
}

/// What a device draws, as its operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePower {
    /// While it does nothing, in mW.
    pub idle_milliwatts: u32,
    /// While it computes, in mW.
    pub max_milliwatts: u32,
}

impl EnergyModel {
    /// Published power models are rarely closer than this to a single machine.
    pub const RELATIVE_UNCERTAINTY: f64 = 0.5;

    /// The model for a machine of `virtual_cores` and `host_memory_bytes`; zeroes count as one core, one KiB.
    #[must_use]
    pub fn new(cpu: &CpuDescription, virtual_cores: u32, host_memory_bytes: u64) -> Self {
        Self {
            wall: cpu.wall_power(),
            virtual_cores: virtual_cores.max(1),
            host_memory_kib: kib_of_bytes(host_memory_bytes).max(1),
            basis: Basis::Processor,
        }
    }

    /// The model for a device of `memory_bytes` that draws `power`.
    #[must_use]
    pub fn of_device(power: DevicePower, memory_bytes: u64) -> Self {
        let DevicePower { idle_milliwatts, max_milliwatts } = power;
        Self {
            wall: WallPower { generation: "configuration", idle_milliwatts, max_milliwatts },
            virtual_cores: 1,
            host_memory_kib: kib_of_bytes(memory_bytes).max(1),
            basis: Basis::Busy,
        }
    }

    /// Watts that computing on `threads` threads draws, beside what is drawn anyway.
    #[must_use]
    pub fn busy_watts(&self, threads: usize) -> f64 {
        let milliwatts = f64::from(self.wall.max_milliwatts.saturating_sub(self.wall.idle_milliwatts));
        match self.basis {
            Basis::Processor => milliwatts / 1e3 * u32::try_from(threads).map_or(f64::MAX, f64::from),
            Basis::Busy => milliwatts / 1e3,
        }
    }

    /// The whole machine's power at rest.
    #[must_use]
    pub fn idle_power(&self) -> Microwatts {
        Microwatts::saturating_from(u128::from(self.wall.idle_milliwatts) * u128::from(self.virtual_cores) * 1000)
    }

    /// The whole machine's power fully loaded.
    #[must_use]
    pub fn max_power(&self) -> Microwatts {
        Microwatts::saturating_from(u128::from(self.wall.max_milliwatts) * u128::from(self.virtual_cores) * 1000)
    }

    /// Where its figures are from, and how far to trust them.
    #[must_use]
    pub fn label(&self) -> EnergyLabel {
        EnergyLabel {
            source: self.source(),
            quality: match self.basis {
                Basis::Processor => Quality::Modelled,
                Basis::Busy => Quality::Assumed,
            },
            scope: match self.basis {
                Basis::Processor => "host at the wall: processor, memory and the rest of the machine".to_owned(),
                Basis::Busy => "the device alone, without the host that feeds it".to_owned(),
            },
            relative_uncertainty: Self::RELATIVE_UNCERTAINTY,
        }
    }

    /// Processor time × (`max` − `idle`).
    #[must_use]
    pub fn dynamic(&self, cpu: Nanos) -> Nanojoules {
        let milliwatts = self.wall.max_milliwatts.saturating_sub(self.wall.idle_milliwatts);
        // mW × ns = 10⁻¹² J
        Nanojoules::saturating_from(u128::from(milliwatts) * u128::from(cpu.get()) / 1000)
    }

    /// `idle` × virtual cores × (byte-time ÷ host memory).
    #[must_use]
    pub fn idle_share(&self, memory: KibMillis) -> Nanojoules {
        let milliwatts = u128::from(self.wall.idle_milliwatts) * u128::from(self.virtual_cores);
        // mW × ms = 10⁻⁶ J = 1000 nJ; both factors are under 2⁶⁴, so the product with 1000 may exceed 2¹²⁸: saturate.
        let scaled = milliwatts.saturating_mul(u128::from(memory.get())).saturating_mul(1000);
        Nanojoules::saturating_from(scaled / u128::from(self.host_memory_kib))
    }

    /// The energy of `energy_use`, labelled as modelled, or assumed where the watts are the operator's.
    #[must_use]
    pub fn estimate(&self, energy_use: &EnergyUse) -> EnergyEstimate {
        let EnergyLabel { source, quality, scope, relative_uncertainty } = self.label();
        EnergyEstimate {
            active: self.dynamic(match self.basis {
                Basis::Processor => energy_use.active_cpu,
                Basis::Busy => energy_use.active_busy,
            }),
            load: self.dynamic(energy_use.load_cpu).saturating_add(self.idle_share(energy_use.load_memory)),
            residency: self.idle_share(energy_use.active_memory),
            keepalive: self.idle_share(energy_use.keepalive_memory),
            idle: self.idle_share(energy_use.idle_memory),
            source,
            quality,
            scope,
            relative_uncertainty,
        }
    }

    /// The model's name and figures, for receipts and reports.
    #[must_use]
    pub fn source(&self) -> String {
        if self.basis == Basis::Busy {
            let watts = |milliwatts: u32| f64::from(milliwatts) / 1e3;
            let (idle, max) = (watts(self.wall.idle_milliwatts), watts(self.wall.max_milliwatts));
            return format!("watts by configuration ({idle} W idle, {max} W while it computes)");
        }
        format!(
            "W-per-vCPU model (Cloud Carbon Footprint, {}: {} to {} W)",
            self.wall.generation,
            f64::from(self.wall.idle_milliwatts) / 1e3,
            f64::from(self.wall.max_milliwatts) / 1e3
        )
    }
}

impl EnergySource for EnergyModel {
    fn estimate(&self, energy_use: &EnergyUse) -> EnergyEstimate {
        Self::estimate(self, energy_use)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn epyc(virtual_cores: u32, host_memory_bytes: u64) -> EnergyModel {
        let cpu = CpuDescription { vendor: "AuthenticAMD".into(), family: 23, model: 1, ..CpuDescription::default() };
        EnergyModel::new(&cpu, virtual_cores, host_memory_bytes)
    }

    #[test]
    fn one_cpu_second_costs_the_dynamic_power() {
        let model = epyc(2, 8 << 30);
        assert_eq!(model.dynamic(Nanos::new(1_000_000_000)), Nanojoules::new(1_757_000_000));
    }

    #[test]
    fn all_memory_for_a_second_costs_the_idle_power_of_all_cores() {
        let model = epyc(2, 8 << 30);
        let all = KibMillis::held(8 << 30, Duration::from_secs(1));
        assert_eq!(model.idle_share(all), Nanojoules::new(2 * 847 * 1_000_000));
        let half = KibMillis::held(4 << 30, Duration::from_secs(1));
        assert_eq!(model.idle_share(half), Nanojoules::new(847 * 1_000_000));
    }

    #[test]
    fn components_stay_apart_and_sum_to_the_total() {
        let model = epyc(2, 1 << 30);
        let memory = KibMillis::held(1 << 30, Duration::from_millis(500));
        let estimate = model.estimate(&EnergyUse {
            active_cpu: Nanos::new(2_000_000),
            active_busy: Nanos::new(1_000_000),
            load_cpu: Nanos::new(1_000_000),
            load_memory: memory,
            active_memory: memory,
            keepalive_memory: KibMillis::ZERO,
            idle_memory: memory,
        });
        assert_eq!(estimate.active, Nanojoules::new(3_514_000));
        assert_eq!(estimate.load, Nanojoules::new(1_757_000 + 847_000_000));
        assert_eq!(estimate.residency, Nanojoules::new(847_000_000));
        assert_eq!(estimate.keepalive, Nanojoules::ZERO);
        assert_eq!(estimate.idle, Nanojoules::new(847_000_000));
        assert_eq!(estimate.total(), Nanojoules::new(3_514_000 + 1_757_000 + 3 * 847_000_000));
        assert_eq!(estimate.quality, Quality::Modelled);
        assert!(estimate.source.contains("EPYC 1st generation: 0.847 to 2.604 W"), "{}", estimate.source);
    }

    #[test]
    fn a_device_is_charged_for_the_time_that_it_computes() {
        let power = DevicePower { idle_milliwatts: 50_000, max_milliwatts: 350_000 };
        let model = EnergyModel::of_device(power, 1 << 30);
        let memory = KibMillis::held(1 << 29, Duration::from_secs(1));
        let estimate = model.estimate(&EnergyUse {
            active_cpu: Nanos::new(5_000_000_000),
            active_busy: Nanos::new(1_000_000_000),
            active_memory: memory,
            ..EnergyUse::default()
        });
        assert_eq!(estimate.active, Nanojoules::new(300_000_000_000));
        assert_eq!(estimate.residency, Nanojoules::new(25_000_000_000), "half of its memory for a second");
        assert_eq!((estimate.quality, model.busy_watts(8)), (Quality::Assumed, 300.0));
        assert!(estimate.source.contains("50 W idle, 350 W"), "{}", estimate.source);
        let host = epyc(2, 8 << 30);
        assert!((host.busy_watts(2) - 2.0 * 1.757).abs() < 1e-9);
    }

    #[test]
    fn extremes_saturate_without_panic() {
        let model = epyc(u32::MAX, 0);
        assert_eq!(model.idle_share(KibMillis::MAX), Nanojoules::MAX);
        assert_eq!(model.dynamic(Nanos::MAX), Nanojoules::MAX);
    }
}
