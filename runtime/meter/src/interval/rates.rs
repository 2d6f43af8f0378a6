//! What processor time and memory cost lately, in energy.
//!
//! A request is settled when it ends and not when an interval does. Its receipt takes what a second of work took,
//! averaged over minutes, and what the machine draws at rest. Work is processor time of a host, and of a card the time for
//! which it computes. Of modelled intervals these are the model's own figures.

use std::time::Duration;

use crate::energy::{Basis, EnergyEstimate, EnergyLabel, EnergySource, EnergyUse, Quality};
use crate::limits::{RATE_BURN_MIN, RATE_WINDOW};
use crate::units::{KibMillis, Microwatts, Nanojoules, Nanos};

/// The energy of processor time and of memory.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyRates {
    basis: Basis,
    host_memory_kib: u64,
    dynamic: Nanojoules,
    worked: Nanos,
    base: Microwatts,
    label: EnergyLabel,
}

impl EnergyRates {
    /// Nothing is known yet of what `label` tells.
    pub(super) fn new(basis: Basis, host_memory_kib: u64, label: &EnergyLabel) -> Self {
        Self {
            basis,
            host_memory_kib,
            dynamic: Nanojoules::ZERO,
            worked: Nanos::ZERO,
            base: Microwatts::ZERO,
            label: label.clone(),
        }
    }

    /// Takes an interval: its dynamic energy, the processor time that caused it, and the base power with how well that
    /// is known.
    pub(super) fn observe(&mut self, dynamic: Nanojoules, worked: Nanos, base: (Microwatts, Quality)) {
        if worked == Nanos::ZERO {
            return;
        }
        self.dynamic = self.dynamic.saturating_add(dynamic);
        self.worked = self.worked.saturating_add(worked);
        self.base = base.0;
        self.label.quality = base.1.max(Quality::Derived);
        if Duration::from(self.worked) > RATE_WINDOW {
            self.dynamic = Nanojoules::new(self.dynamic.get() / 2);
            self.worked = Nanos::new(self.worked.get() / 2);
        }
    }

    pub(super) fn are_known(&self) -> bool {
        Duration::from(self.worked) >= RATE_BURN_MIN
    }

    fn dynamic_of(&self, cpu: Nanos) -> Nanojoules {
        let scaled = u128::from(self.dynamic.get()) * u128::from(cpu.get());
        Nanojoules::saturating_from(scaled.checked_div(self.worked.get().into()).unwrap_or(0))
    }

    /// Base power × the share of the host's memory × time.
    fn share_of_base(&self, memory: KibMillis) -> Nanojoules {
        // µW × ms = nJ
        let scaled = u128::from(self.base.get()) * u128::from(memory.get());
        Nanojoules::saturating_from(scaled / u128::from(self.host_memory_kib))
    }
}

impl EnergySource for EnergyRates {
    fn estimate(&self, energy_use: &EnergyUse) -> EnergyEstimate {
        let EnergyLabel { source, quality, scope, relative_uncertainty } = self.label.clone();
        let (active, load) = match self.basis {
            Basis::Processor => (energy_use.active_cpu, energy_use.load_cpu),
            // Loading is the host's work.
            Basis::Busy => (energy_use.active_busy, Nanos::ZERO),
        };
        EnergyEstimate {
            active: self.dynamic_of(active),
            load: self.dynamic_of(load).saturating_add(self.share_of_base(energy_use.load_memory)),
            residency: self.share_of_base(energy_use.active_memory),
            keepalive: self.share_of_base(energy_use.keepalive_memory),
            idle: self.share_of_base(energy_use.idle_memory),
            source,
            quality,
            scope,
            relative_uncertainty,
        }
    }
}
