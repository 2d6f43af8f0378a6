//! Which sensor of a device is believed, and what the device took by it.
//!
//! A ladder holds the sensors of one device, best first. The best one that is believed is the device's source for an
//! interval; there is never a sum of two. Until one is believed, and whenever none is, the interval is modelled, and where
//! there is no model its energy is unknown: never zero.
//!
//! A sensor is believed when work is seen in it (`gate`): in at most two seconds, of which the processors worked 0.2 or
//! more, each of its domains moved, and the power was between 0.3 W per core and three times the thermal design power.
//! One that stands still later is dropped, and says so. Whoever owns the ladder polls it about once a second, with the
//! time and the processor time that it has anyway: nothing is burnt for the sake of the gate.
//!
//! A counter that wraps is followed across its end; where more than half of a turn may have passed between two readings,
//! the interval's energy is unknown and counted as [`LadderReport::unmeasured_intervals`].
//!
//! Invariants: no energy is negative; each rung that is not in use has its reason. Deliberately absent: clocks, threads
//! and who is charged ([`crate::interval`]).

mod candidate;
mod gate;
mod readings;
mod refusal;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::candidate::{Candidate, Outcome};
pub use self::refusal::{Refusal, RungState};
use crate::energy::{EnergyLabel, Quality};
use crate::power::PowerModel;
use crate::sensor::{Device, Rung, Sensor, SensorError};
use crate::units::{Microwatts, Nanojoules, Nanos};

/// A moment at which the ladder is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Time since some beginning.
    pub at: Duration,
    /// Time that the device worked since some beginning: of a host all processors' time for whomever.
    pub busy: Nanos,
}

/// The powers that a device at work can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerBounds {
    /// Less is not believed.
    pub min: Microwatts,
    /// More is not believed.
    pub max: Microwatts,
}

impl PowerBounds {
    /// Times the thermal design power, which short bursts and what stands around the processor may exceed.
    const DESIGN_POWERS_MAX: u64 = 3;
    const MICROWATTS_PER_CORE_MIN: u64 = 300_000;

    /// Of a host: 0.3 W per core to three times `design_power`, the thermal design power of all its processors.
    #[must_use]
    pub fn of_host(cores: u32, design_power: Microwatts) -> Self {
        let min = Microwatts::new(u64::from(cores.max(1)) * Self::MICROWATTS_PER_CORE_MIN);
        Self { min, max: min }.rated(design_power)
    }

    /// Of a graphics card: 1 W to three times its limit.
    #[must_use]
    pub fn of_gpu(power_limit: Microwatts) -> Self {
        let min = Microwatts::new(1_000_000);
        Self { min, max: min }.rated(power_limit)
    }

    fn rated(self, design_power: Microwatts) -> Self {
        Self { max: Microwatts::new(design_power.get().saturating_mul(Self::DESIGN_POWERS_MAX)).max(self.min), ..self }
    }
}

/// What a device took in an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalEnergy {
    /// How long the interval was.
    pub span: Duration,
    /// How long the device worked in it.
    pub busy: Nanos,
    /// The energy; `None` if it is unknown.
    pub energy: Option<Nanojoules>,
    /// Where the figure is from.
    pub label: EnergyLabel,
    /// What the device's model takes it to draw at rest.
    pub modelled_base: Option<Microwatts>,
}

/// The sensors of one device and what is known of each.
pub struct Ladder {
    device: Device,
    rungs: Vec<Candidate>,
    missing: Vec<RungReport>,
    model: Option<Box<dyn PowerModel>>,
    last: Option<Tick>,
    chosen: Option<usize>,
    unmeasured_intervals: u64,
}

impl Ladder {
    /// A ladder without sensors.
    #[must_use]
    pub fn new(device: Device, model: Option<Box<dyn PowerModel>>) -> Self {
        Self {
            device,
            rungs: Vec::new(),
            missing: Vec::new(),
            model,
            last: None,
            chosen: None,
            unmeasured_intervals: 0,
        }
    }

    /// Tells in its reports of what was looked for in vain.
    #[must_use]
    pub fn with_missing(mut self, missing: Vec<(&'static str, SensorError)>) -> Self {
        self.missing = missing.into_iter().map(|(name, error)| RungReport::missing(name, &error)).collect();
        self
    }

    /// Puts a sensor of this device in its place; among equals the first one stays first.
    pub fn add(&mut self, sensor: Box<dyn Sensor>, bounds: PowerBounds) {
        let rung = sensor.description().rung;
        let bounds = sensor.description().rated_power.map_or(bounds, |power| bounds.rated(power));
        let place = self.rungs.partition_point(|candidate| candidate.rung() <= rung);
        self.rungs.insert(place, Candidate::new(sensor, bounds));
        self.chosen = None;
    }

    /// The kind of the sensor in use; `None` while the energy is modelled.
    #[must_use]
    pub fn rung(&self) -> Option<Rung> {
        self.chosen.map(|place| self.rungs[place].rung())
    }

    /// Reads what has to be read and tells what the device took since the last time; `None` the first time, and when no
    /// time has passed.
    pub fn poll(&mut self, tick: Tick) -> Option<IntervalEnergy> {
        let last = self.last.filter(|last| last.at < tick.at);
        let mut found = None;
        for (place, candidate) in self.rungs.iter_mut().enumerate() {
            if found.is_some() {
                candidate.rest();
            } else if let Outcome::Believed(energy) = candidate.poll(tick) {
                found = Some((place, energy));
            }
        }
        self.chosen = found.map(|(place, _)| place);
        let last = self.last.replace(tick).and(last)?;
        let (span, busy) = (tick.at - last.at, tick.busy.saturating_sub(last.busy));
        let energy = match found {
            Some((_, energy)) => energy,
            None => self.model.as_ref().map(|model| model.energy(span, busy)),
        };
        self.unmeasured_intervals += u64::from(energy.is_none());
        let modelled_base = self.model.as_ref().map(|model| model.base());
        Some(IntervalEnergy { span, busy, energy, label: self.label(), modelled_base })
    }

    /// Where figures are from at the moment.
    #[must_use]
    pub fn label(&self) -> EnergyLabel {
        let modelled = || self.model.as_ref().map(|model| model.label());
        let measured = self.chosen.map(|place| self.rungs[place].label());
        measured.or_else(modelled).unwrap_or_else(|| EnergyLabel {
            source: "none: no sensor is believed and no model knows the device".to_owned(),
            quality: Quality::Assumed,
            scope: "nothing".to_owned(),
            relative_uncertainty: 1.0,
        })
    }

    /// What is in use and why the rest is not, for people.
    #[must_use]
    pub fn report(&self) -> LadderReport {
        let rung = |(place, candidate): (usize, &Candidate)| {
            let is_below = self.chosen.is_some_and(|chosen| chosen < place);
            candidate.report(if is_below { RungState::Spare } else { candidate.state() })
        };
        let rungs = self.rungs.iter().enumerate().map(rung).chain(self.missing.iter().cloned()).collect();
        LadderReport {
            device: self.device,
            in_use: self.label(),
            may_cover_gpus: self.rung().is_some_and(Rung::may_cover_gpus),
            rungs,
            unmeasured_intervals: self.unmeasured_intervals,
        }
    }
}

/// What a ladder uses, and why not the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LadderReport {
    /// Of which device.
    pub device: Device,
    /// Where figures are from.
    pub in_use: EnergyLabel,
    /// Whether the energy of graphics cards may be in it, so that theirs must not be added.
    pub may_cover_gpus: bool,
    /// Everything that was looked for, best first; what is missing last.
    pub rungs: Vec<RungReport>,
    /// Intervals whose energy is unknown.
    pub unmeasured_intervals: u64,
}

/// What is known of one sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RungReport {
    /// Its name.
    pub source: String,
    /// Whether it is in use.
    pub state: RungState,
    /// Why it is not, in a word for labels; empty if nothing is against it.
    pub code: String,
    /// Why it is not, in a sentence; empty if nothing is against it.
    pub reason: String,
}

#[cfg(test)]
mod tests;
