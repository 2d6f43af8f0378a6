//! From one reading to the next: how much energy lies between them.

use std::time::Duration;

use crate::limits::GAUGE_GAP_MAX;
use crate::sensor::{Counter, Reading};
use crate::units::{Microwatts, Nanojoules};

/// What lies between two readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// There is nothing to compare with.
    First,
    /// Energy, and whether each domain moved.
    Energy { energy: Nanojoules, moved: Vec<bool> },
    /// Too much time passed: a counter may have turned once more, or a power stood for something else.
    Gap,
}

/// The last reading of a sensor.
#[derive(Debug, Default)]
pub(super) struct Readings {
    last: Option<(Duration, Reading)>,
}

impl Readings {
    /// Takes the next reading; `power_max` is the most that the sensor can have measured.
    pub(super) fn next(&mut self, at: Duration, reading: Reading, power_max: Microwatts) -> Step {
        let step = match &self.last {
            Some((then, last)) if *then < at => between(last, &reading, at - *then, power_max),
            _ => Step::First,
        };
        self.last = Some((at, reading));
        step
    }

    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

fn between(last: &Reading, next: &Reading, span: Duration, power_max: Microwatts) -> Step {
    match (last, next) {
        (Reading::Counters(last), Reading::Counters(next)) if last.len() == next.len() => {
            let steps = last.iter().zip(next).map(|(last, next)| counted(*last, *next, span, power_max));
            match steps.collect::<Option<Vec<Nanojoules>>>() {
                Some(steps) => Step::Energy {
                    moved: steps.iter().map(|&step| step > Nanojoules::ZERO).collect(),
                    energy: steps.into_iter().sum(),
                },
                None => Step::Gap,
            }
        }
        (Reading::Power(_), Reading::Power(_)) if span > GAUGE_GAP_MAX => Step::Gap,
        (Reading::Power(last), Reading::Power(next)) => {
            let mean = Microwatts::saturating_from(u128::midpoint(last.get().into(), next.get().into()));
            Step::Energy { energy: mean.over(span), moved: vec![last != next] }
        }
        // Domains came or went.
        _ => Step::First,
    }
}

/// How far a counter went: across its end if it stands lower than before. `None` if it may have gone more than half a
/// turn, or is one that never ends and went back.
fn counted(last: Counter, next: Counter, span: Duration, power_max: Microwatts) -> Option<Nanojoules> {
    let Some(range) = next.range else { return next.energy.checked_sub(last.energy) };
    let half = Nanojoules::new(range.get() / 2);
    if power_max.over(span) > half {
        return None;
    }
    let forward = next.energy.checked_sub(last.energy);
    let step = match forward {
        Some(step) => step,
        None => next.energy.saturating_add(range.saturating_sub(last.energy)),
    };
    // More than can have been: it was set back, and did not turn.
    (step <= half).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATT: u64 = 1_000_000_000;

    fn counter(energy: u64, range: Option<u64>) -> Counter {
        Counter { energy: Nanojoules::new(energy), range: range.map(Nanojoules::new) }
    }

    fn went(last: u64, next: u64, range: Option<u64>, seconds: u64) -> Option<u64> {
        let (last, next) = (counter(last, range), counter(next, range));
        counted(last, next, Duration::from_secs(seconds), Microwatts::new(100_000_000)).map(Nanojoules::get)
    }

    #[test]
    fn counters_are_followed_across_their_end() {
        let range = Some(1000 * WATT);
        assert_eq!(went(10 * WATT, 30 * WATT, range, 1), Some(20 * WATT));
        assert_eq!(went(990 * WATT, 10 * WATT, range, 1), Some(20 * WATT), "once around");
        assert_eq!(went(10 * WATT, 10 * WATT, range, 1), Some(0));
        assert_eq!(went(10 * WATT, 30 * WATT, range, 6), None, "six seconds of 100 W are over half a turn");
        assert_eq!(went(500 * WATT, 490 * WATT, range, 1), None, "set back");
        assert_eq!(went(5, 4, None, 1), None, "set back, without an end to cross");
        assert_eq!(went(4, 5, None, 1_000_000), Some(1));
        assert_eq!(went(2000 * WATT, 5, range, 1), Some(5), "beyond its own range");
        assert_eq!(went(0, 1, Some(0), 1), None);
    }

    #[test]
    fn powers_are_averaged_and_stand_for_ten_seconds_at_most() {
        let mut readings = Readings::default();
        let mut next = |seconds, watts: u64| {
            let reading = Reading::Power(Microwatts::new(watts * 1_000_000));
            readings.next(Duration::from_secs(seconds), reading, Microwatts::MAX)
        };
        assert_eq!(next(0, 10), Step::First);
        assert_eq!(next(2, 20), Step::Energy { energy: Nanojoules::new(30 * WATT), moved: vec![true] });
        assert_eq!(next(12, 20), Step::Energy { energy: Nanojoules::new(200 * WATT), moved: vec![false] });
        assert_eq!(next(23, 20), Step::Gap);
        assert_eq!(next(23, 20), Step::First, "no time has passed");
    }

    #[test]
    fn domains_that_come_and_go_begin_anew() {
        let mut readings = Readings::default();
        let one = Reading::Counters(vec![counter(1, None)]);
        let two = Reading::Counters(vec![counter(1, None), counter(1, None)]);
        for (seconds, reading) in [(0, &one), (1, &two), (2, &Reading::Power(Microwatts::ZERO)), (3, &one)] {
            assert_eq!(readings.next(Duration::from_secs(seconds), reading.clone(), Microwatts::MAX), Step::First);
        }
    }
}
