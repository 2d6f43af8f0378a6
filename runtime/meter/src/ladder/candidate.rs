//! One sensor of a ladder, and whether it is believed.

use std::time::Duration;

use super::gate::{Form, Gate, Seen, Verdict};
use super::readings::{Readings, Step};
use super::{PowerBounds, Refusal, RungReport, RungState, Tick};
use crate::energy::{EnergyLabel, Quality};
use crate::limits::SENSOR_RETRY_AFTER;
use crate::sensor::{Reading, Rung, Sensor};
use crate::units::Nanojoules;

/// What a sensor says of the time since the last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is not believed.
    Unbelieved,
    /// It is; the energy is `None` where this interval's cannot be told.
    Believed(Option<Nanojoules>),
}

/// A sensor and what was made of it so far.
pub(super) struct Candidate {
    sensor: Box<dyn Sensor>,
    bounds: PowerBounds,
    readings: Readings,
    gate: Gate,
    last: Option<Tick>,
    refusal: Option<Refusal>,
    /// It could not be read: until then it is not tried again.
    retry_at: Option<Duration>,
}

impl Candidate {
    pub(super) fn new(sensor: Box<dyn Sensor>, bounds: PowerBounds) -> Self {
        Self {
            sensor,
            bounds,
            readings: Readings::default(),
            gate: Gate::new(),
            last: None,
            refusal: None,
            retry_at: None,
        }
    }

    pub(super) fn rung(&self) -> Rung {
        self.sensor.description().rung
    }

    /// A better sensor is in use.
    pub(super) fn rest(&mut self) {
        self.readings.forget();
        self.gate.close();
        self.last = None;
    }

    pub(super) fn poll(&mut self, tick: Tick) -> Outcome {
        if self.retry_at.is_some_and(|at| tick.at < at) {
            return Outcome::Unbelieved;
        }
        let reading = match self.sensor.read() {
            Ok(reading) => reading,
            Err(error) => {
                self.retry_at = Some(tick.at.saturating_add(SENSOR_RETRY_AFTER));
                self.readings.forget();
                return self.refused(Refusal::unread(&error));
            }
        };
        self.retry_at = None;
        let form = match reading {
            Reading::Counters(_) => Form::Counters,
            Reading::Power(_) => Form::Power,
        };
        let then = self.last.replace(tick);
        match (self.readings.next(tick.at, reading, self.bounds.max), then) {
            (Step::Energy { energy, moved }, Some(then)) => {
                self.judged(&Seen { then, now: tick, form, energy, moved: &moved })
            }
            _ => {
                self.gate.interrupt();
                if self.gate.is_open() { Outcome::Believed(None) } else { Outcome::Unbelieved }
            }
        }
    }

    fn judged(&mut self, seen: &Seen<'_>) -> Outcome {
        let PowerBounds { min, max } = self.bounds;
        match self.gate.observe(seen, self.bounds) {
            Verdict::Undecided => Outcome::Unbelieved,
            Verdict::Believed => {
                self.refusal = None;
                // It may be stuck from here on: not zero.
                Outcome::Believed(Some(seen.energy).filter(|_| !seen.is_doubtful()))
            }
            Verdict::Stuck(domain) => {
                let domain = self.sensor.description().domains.get(domain).cloned().unwrap_or_default();
                self.refused(Refusal::Stuck { domain })
            }
            Verdict::TooLow(power) => self.refused(Refusal::TooLow { power, min }),
            Verdict::TooHigh(power) => self.refused(Refusal::TooHigh { power, max }),
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Outcome {
        self.gate.refuse();
        self.refusal = Some(refusal);
        Outcome::Unbelieved
    }

    pub(super) fn label(&self) -> EnergyLabel {
        let description = self.sensor.description();
        EnergyLabel {
            source: description.source(),
            quality: Quality::Measured,
            scope: description.rung.scope().to_owned(),
            relative_uncertainty: description.relative_uncertainty,
        }
    }

    pub(super) fn state(&self) -> RungState {
        match self.refusal {
            Some(_) => RungState::Refused,
            None if self.gate.is_open() => RungState::InUse,
            None => RungState::Watched,
        }
    }

    pub(super) fn report(&self, state: RungState) -> RungReport {
        let code = self.refusal.as_ref().map_or("", Refusal::code).to_owned();
        let reason = match (&self.refusal, state) {
            (Some(refusal), _) => refusal.to_string(),
            (None, RungState::Watched) => "no work has shown in it yet".to_owned(),
            (None, _) => String::new(),
        };
        RungReport { source: self.sensor.description().source(), state, code, reason }
    }
}
