//! Whether work shows in a sensor.
//!
//! Two windows are laid over what it tells, one after another. In the first, of at most two seconds, there must be 0.2
//! seconds of work, movement of every domain and a power in bounds: then it is passed. The second ends when every domain
//! has moved. If it lasts too long (two seconds for counters) while there were 0.2 seconds of work for every two of it, a
//! domain is stuck. A power may rightly stay the same: there the second window lasts minutes, and for the first it is
//! enough that the power ever moved.
//!
//! A sensor that was refused must pass five windows in a row.

use std::time::Duration;

use super::{PowerBounds, Tick};
use crate::limits::{GATE_BURN_MIN, GATE_SPAN_MIN, GATE_WINDOW, GATE_WINDOWS_AFTER_REFUSAL, GAUGE_STILL_MAX};
use crate::units::{Microwatts, Nanojoules};

/// How a sensor tells: what standing still means depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A counter moves whenever there is work.
    Counters,
    /// A power may stay as it is.
    Power,
}

/// What a sensor told of the time between two ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) then: Tick,
    pub(super) now: Tick,
    pub(super) form: Form,
    pub(super) energy: Nanojoules,
    /// Whether each of its domains moved.
    pub(super) moved: &'a [bool],
}

impl Seen<'_> {
    /// Whether a domain stood still where work must have moved it.
    pub(super) fn is_doubtful(&self) -> bool {
        let worked: Duration = self.now.busy.saturating_sub(self.then.busy).into();
        let must_move = worked >= GATE_BURN_MIN && self.span() >= GATE_SPAN_MIN;
        self.form == Form::Counters && must_move && self.moved.contains(&false)
    }

    fn span(&self) -> Duration {
        self.now.at.saturating_sub(self.then.at)
    }

    /// The mean power, unless the time was too short to tell one.
    fn power(&self) -> Option<Microwatts> {
        Microwatts::mean(self.energy, self.span()).filter(|_| self.span() >= GATE_SPAN_MIN)
    }
}

/// What the gate says of a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not believed yet.
    Undecided,
    /// It is believed.
    Believed,
    /// The domain of that number stood still.
    Stuck(usize),
    /// It moved by less than can be.
    TooLow(Microwatts),
    /// It moved by more than can be.
    TooHigh(Microwatts),
}

/// The gate of one sensor.
#[derive(Debug)]
pub(super) struct Gate {
    power: Option<Window>,
    stillness: Option<Window>,
    has_ever_moved: bool,
    windows_left: u32,
}

/// What was seen since a moment.
#[derive(Debug)]
struct Window {
    since: Tick,
    energy: Nanojoules,
    moved: Vec<bool>,
}

impl Window {
    fn new(seen: &Seen<'_>) -> Self {
        Self { since: seen.then, energy: Nanojoules::ZERO, moved: vec![false; seen.moved.len()] }
    }

    fn extend(&mut self, seen: &Seen<'_>) {
        self.energy = self.energy.saturating_add(seen.energy);
        self.moved.iter_mut().zip(seen.moved).for_each(|(ever, &moved)| *ever |= moved);
    }

    fn span(&self, now: Tick) -> Duration {
        now.at.saturating_sub(self.since.at)
    }

    fn worked(&self, now: Tick) -> Duration {
        now.busy.saturating_sub(self.since.busy).into()
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { power: None, stillness: None, has_ever_moved: false, windows_left: 1 }
    }

    /// Forgets what was seen, for a gap in it.
    pub(super) fn interrupt(&mut self) {
        (self.power, self.stillness) = (None, None);
    }

    /// The sensor is not read for a while: it has to pass again.
    pub(super) fn close(&mut self) {
        self.interrupt();
        self.windows_left = self.windows_left.max(1);
    }

    /// From here on it takes more than one window.
    pub(super) fn refuse(&mut self) {
        self.interrupt();
        self.has_ever_moved = false;
        self.windows_left = GATE_WINDOWS_AFTER_REFUSAL;
    }

    /// Whether the sensor is believed.
    pub(super) fn is_open(&self) -> bool {
        self.windows_left == 0
    }

    /// Judges the sensor by what it told last.
    pub(super) fn observe(&mut self, seen: &Seen<'_>, bounds: PowerBounds) -> Verdict {
        if let Some(power) = seen.power().filter(|&power| power > bounds.max) {
            return Verdict::TooHigh(power);
        }
        if let Some(domain) = self.stuck_domain(seen) {
            return Verdict::Stuck(domain);
        }
        self.has_ever_moved |= seen.moved.contains(&true);
        match self.passed_with(seen) {
            Some(power) if power > bounds.max => Verdict::TooHigh(power),
            // A sensor that is believed may tell little when there is little work.
            Some(power) if power < bounds.min && !self.is_open() => Verdict::TooLow(power),
            passed => {
                self.windows_left = self.windows_left.saturating_sub(u32::from(passed.is_some()));
                if self.is_open() { Verdict::Believed } else { Verdict::Undecided }
            }
        }
    }

    /// The power in a window that work shows in.
    fn passed_with(&mut self, seen: &Seen<'_>) -> Option<Microwatts> {
        let window = self.power.get_or_insert_with(|| Window::new(seen));
        window.extend(seen);
        let (span, worked) = (window.span(seen.now), window.worked(seen.now));
        let moves = match seen.form {
            Form::Counters => !window.moved.contains(&false),
            Form::Power => self.has_ever_moved,
        };
        let power = Microwatts::mean(window.energy, span);
        let passes = moves && worked >= GATE_BURN_MIN && (GATE_SPAN_MIN..=GATE_WINDOW).contains(&span);
        if passes || span >= GATE_WINDOW {
            self.power = None;
        }
        power.filter(|_| passes)
    }

    /// The domain that stood still through as much work as 0.2 seconds in every two.
    fn stuck_domain(&mut self, seen: &Seen<'_>) -> Option<usize> {
        let patience = match seen.form {
            Form::Counters => GATE_WINDOW,
            Form::Power => GAUGE_STILL_MAX,
        };
        let window = self.stillness.get_or_insert_with(|| Window::new(seen));
        window.extend(seen);
        let (span, worked) = (window.span(seen.now), window.worked(seen.now));
        let still = window.moved.iter().position(|&moved| !moved);
        if still.is_none() || span >= patience {
            self.stillness = None;
        }
        let windows = span.as_nanos().div_ceil(GATE_WINDOW.as_nanos());
        let is_work = worked.as_nanos() >= GATE_BURN_MIN.as_nanos().saturating_mul(windows);
        still.filter(|_| span >= patience && is_work)
    }
}
