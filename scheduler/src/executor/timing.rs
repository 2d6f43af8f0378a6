//! Where a request's time went: every moment from submission to completion counts once.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::{Phase, StepCost};

/// Where the time of one sequence went, and what it computed.
///
/// Wall time from submission to completion ≈ `queue + turn_wait + prefill.wall + decode.wall + stall + room_wait`; the
/// small rest is the executor's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTiming {
    /// From submission to its first step.
    pub queue: Duration,
    /// Ready to step while other sequences stepped.
    pub turn_wait: Duration,
    /// Steps that computed prompt tokens.
    pub prefill: Cost,
    /// Steps that computed new tokens.
    pub decode: Cost,
    /// Set aside because its reader was slow.
    pub stall: Duration,
    /// Set aside until there was room for its KV cache.
    pub room_wait: Duration,
}

impl RequestTiming {
    /// What its steps of both phases cost in wall time.
    #[must_use]
    pub fn computed(&self) -> Duration {
        self.prefill.wall + self.decode.wall
    }
}

/// What the steps of one phase cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Σ of the steps' wall time.
    pub wall: Duration,
    /// Σ of their processor time.
    pub cpu: Duration,
    /// Tokens computed.
    pub tokens: u64,
    /// Steps taken.
    pub steps: u64,
}

/// What a sequence is doing, as far as time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Queued,
    AwaitingTurn,
    /// Its time is told by the engine.
    Stepping,
    Stalled,
    AwaitingRoom,
}

/// Books each moment on what the sequence was doing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    timing: RequestTiming,
    doing: Doing,
    since: Instant,
    phase: Phase,
}

impl Stopwatch {
    pub(super) fn start(now: Instant) -> Self {
        Self { timing: RequestTiming::default(), doing: Doing::Queued, since: now, phase: Phase::Prefill }
    }

    /// From `now` on it does `next`.
    pub(super) fn turn_to(&mut self, next: Doing, now: Instant) {
        let spent = now.saturating_duration_since(self.since);
        match self.doing {
            Doing::Queued => self.timing.queue += spent,
            Doing::AwaitingTurn => self.timing.turn_wait += spent,
            Doing::Stepping => {}
            Doing::Stalled => self.timing.stall += spent,
            Doing::AwaitingRoom => self.timing.room_wait += spent,
        }
        (self.doing, self.since) = (next, now);
    }

    /// Books a step.
    pub(super) fn charge(&mut self, phase: Phase, cost: StepCost, tokens: u32) {
        self.phase = phase;
        let booked = match phase {
            Phase::Prefill => &mut self.timing.prefill,
            Phase::Decode => &mut self.timing.decode,
        };
        booked.wall += cost.wall;
        booked.cpu += cost.cpu;
        booked.tokens += u64::from(tokens);
        booked.steps += 1;
    }

    /// Books a step that ended in a panic: on the phase before it, by wall time alone, for nothing else is known.
    pub(super) fn charge_broken(&mut self, now: Instant) {
        let wall = now.saturating_duration_since(self.since);
        self.charge(self.phase, StepCost { wall, cpu: Duration::ZERO }, 0);
    }

    /// Closes the books.
    pub(super) fn finish(mut self, now: Instant) -> RequestTiming {
        self.turn_to(Doing::Stepping, now);
        self.timing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_booked_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut watch = Stopwatch::start(start);
        watch.turn_to(Doing::Stepping, at(3));
        watch.charge(Phase::Prefill, StepCost { wall: Duration::from_millis(4), cpu: Duration::from_millis(8) }, 16);
        watch.turn_to(Doing::AwaitingTurn, at(7));
        watch.turn_to(Doing::Stepping, at(12));
        watch.charge(Phase::Decode, StepCost { wall: Duration::from_millis(1), cpu: Duration::from_millis(2) }, 1);
        watch.turn_to(Doing::Stalled, at(13));
        watch.turn_to(Doing::AwaitingRoom, at(33));
        let timing = watch.finish(at(63));
        let sum = timing.queue + timing.turn_wait + timing.computed() + timing.stall + timing.room_wait;
        assert_eq!(sum, Duration::from_millis(63));
        assert_eq!(timing.queue, Duration::from_millis(3));
        assert_eq!(timing.turn_wait, Duration::from_millis(5));
        assert_eq!(timing.stall, Duration::from_millis(20));
        assert_eq!(timing.room_wait, Duration::from_millis(30));
        assert_eq!((timing.prefill.tokens, timing.decode.tokens), (16, 1));
        assert_eq!(timing.prefill.cpu, Duration::from_millis(8));
    }

    #[test]
    fn a_broken_step_is_charged_by_wall_to_the_phase_before_it() {
        let start = Instant::now();
        let mut watch = Stopwatch::start(start);
        watch.turn_to(Doing::Stepping, start);
        watch.charge(Phase::Decode, StepCost::default(), 1);
        watch.turn_to(Doing::Stepping, start);
        watch.charge_broken(start + Duration::from_millis(5));
        let timing = watch.finish(start + Duration::from_millis(5));
        assert_eq!(timing.decode.wall, Duration::from_millis(5));
        assert_eq!(timing.decode.steps, 2);
    }
}
