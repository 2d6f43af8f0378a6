//! Where a request's time went, and what it cost: two different things once steps are shared.
//!
//! Time: every moment from submission to completion counts once, a moment in a step as that step's. Cost: a step's cost is
//! split among its members, so that the costs of all requests sum to what all steps cost.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::{Phase, StepCost};

/// Where the time of one sequence went, and what it computed.
///
/// From submission to completion = `queue + turn_wait + prefill.elapsed + decode.elapsed + stall + room_wait`, exactly.
/// A sequence alone in its steps costs what elapses in them, but for the executor's own small part; in company it costs
/// less than that: its shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTiming {
    /// From submission to its first step.
    pub queue: Duration,
    /// Ready to step while others stepped without it.
    pub turn_wait: Duration,
    /// Steps that computed prompt tokens.
    pub prefill: Cost,
    /// Steps that computed new tokens.
    pub decode: Cost,
    /// Set aside because its reader was slow.
    pub stall: Duration,
    /// Set aside until there was room for its KV cache, or to begin again after that was taken.
    pub room_wait: Duration,
    /// How often its memory was taken for another sequence.
    pub preempted: u32,
    /// Drafts that its steps computed and that were not what followed: paid for in `decode`, and no tokens there.
    pub rejected_drafts: u64,
    /// The part of `prefill` and `decode` that computed again what was lost so: whole steps, but only the lost tokens.
    pub recompute: Cost,
}

impl RequestTiming {
    /// The wall time that its steps of both phases cost: its shares.
    #[must_use]
    pub fn computed(&self) -> Duration {
        self.prefill.wall + self.decode.wall
    }
}

/// What the steps of one phase cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time spent in the steps, whoever else was in them.
    pub elapsed: Duration,
    /// Σ of its shares of the steps' wall time.
    pub wall: Duration,
    /// Σ of its shares of their processor time.
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
    /// Booked on the phase that the step turns out to be.
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
    started: Instant,
    phase: Phase,
    /// Tokens that were computed, and lost.
    lost_tokens: u64,
    /// Whether the step at hand, once charged, computed some of them.
    step: Computes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Computes {
    Anew,
    Again,
}

impl Stopwatch {
    pub(super) fn start(now: Instant) -> Self {
        Self {
            timing: RequestTiming::default(),
            doing: Doing::Queued,
            since: now,
            started: now,
            phase: Phase::Prefill,
            lost_tokens: 0,
            step: Computes::Anew,
        }
    }

    /// When it was submitted.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// From `now` on it does `next`.
    pub(super) fn turn_to(&mut self, next: Doing, now: Instant) {
        let spent = now.saturating_duration_since(self.since);
        match self.doing {
            Doing::Queued => self.timing.queue += spent,
            Doing::AwaitingTurn => self.timing.turn_wait += spent,
            Doing::Stepping => {
                self.booked(self.phase).elapsed += spent;
                if self.step == Computes::Again {
                    self.timing.recompute.elapsed += spent;
                }
            }
            Doing::Stalled => self.timing.stall += spent,
            Doing::AwaitingRoom => self.timing.room_wait += spent,
        }
        (self.doing, self.since) = (next, now);
    }

    /// Books what the step that it is in did for it.
    pub(super) fn charge(&mut self, phase: Phase, share: StepCost, tokens: u32) {
        self.phase = phase;
        let booked = self.booked(phase);
        booked.wall += share.wall;
        booked.cpu += share.cpu;
        booked.tokens += u64::from(tokens);
        booked.steps += 1;
        let again = self.lost_tokens.min(u64::from(tokens));
        self.lost_tokens -= again;
        self.step = if again > 0 { Computes::Again } else { Computes::Anew };
        if again > 0 {
            let recompute = &mut self.timing.recompute;
            recompute.wall += share.wall;
            recompute.cpu += share.cpu;
            recompute.tokens += again;
            recompute.steps += 1;
        }
    }

    /// The step that it is in computed so many drafts in vain.
    pub(super) fn reject(&mut self, drafts: u32) {
        self.timing.rejected_drafts += u64::from(drafts);
    }

    /// Its memory was taken, and with it what so many tokens had computed.
    pub(super) fn preempt(&mut self, lost_tokens: u32) {
        self.timing.preempted += 1;
        self.lost_tokens += u64::from(lost_tokens);
    }

    /// Whether its memory was ever taken.
    pub(super) fn was_preempted(&self) -> bool {
        self.timing.preempted > 0
    }

    /// Books a step of so many members that broke: on the phase before it, its time in equal parts and nothing else, for
    /// nothing else is known.
    pub(super) fn charge_broken(&mut self, members: usize, now: Instant) -> StepCost {
        let members = u32::try_from(members).unwrap_or(u32::MAX).max(1);
        let wall = now.saturating_duration_since(self.since) / members;
        let share = StepCost { wall, cpu: Duration::ZERO };
        self.charge(self.phase, share, 0);
        share
    }

    fn booked(&mut self, phase: Phase) -> &mut Cost {
        match phase {
            Phase::Prefill => &mut self.timing.prefill,
            Phase::Decode => &mut self.timing.decode,
        }
    }

    /// Closes the books.
    pub(super) fn finish(mut self, now: Instant) -> RequestTiming {
        self.turn_to(self.doing, now);
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
        watch.charge(Phase::Prefill, StepCost { wall: Duration::from_millis(2), cpu: Duration::from_millis(8) }, 16);
        watch.turn_to(Doing::AwaitingTurn, at(7));
        watch.turn_to(Doing::Stepping, at(12));
        watch.charge(Phase::Decode, StepCost { wall: Duration::from_millis(1), cpu: Duration::from_millis(2) }, 1);
        watch.reject(3);
        watch.turn_to(Doing::Stalled, at(13));
        watch.turn_to(Doing::AwaitingRoom, at(33));
        let timing = watch.finish(at(63));
        let in_steps = timing.prefill.elapsed + timing.decode.elapsed;
        let sum = timing.queue + timing.turn_wait + in_steps + timing.stall + timing.room_wait;
        assert_eq!(sum, Duration::from_millis(63));
        assert_eq!(timing.queue, Duration::from_millis(3));
        assert_eq!(timing.turn_wait, Duration::from_millis(5));
        assert_eq!(timing.stall, Duration::from_millis(20));
        assert_eq!(timing.room_wait, Duration::from_millis(30));
        assert_eq!((timing.prefill.tokens, timing.decode.tokens, timing.rejected_drafts), (16, 1, 3));
        assert_eq!(timing.prefill.elapsed, Duration::from_millis(4), "it was there for the whole step");
        assert_eq!(timing.prefill.wall, Duration::from_millis(2), "and pays its share");
        assert_eq!(timing.prefill.cpu, Duration::from_millis(8));
    }

    #[test]
    fn what_is_computed_again_is_told() {
        let start = Instant::now();
        let mut watch = Stopwatch::start(start);
        let share = StepCost { wall: Duration::from_millis(1), cpu: Duration::from_millis(2) };
        let mut now = start;
        let mut step = |watch: &mut Stopwatch, tokens| {
            watch.turn_to(Doing::Stepping, now);
            now += Duration::from_millis(3);
            watch.charge(Phase::Prefill, share, tokens);
            watch.turn_to(Doing::AwaitingTurn, now);
        };
        step(&mut watch, 16);
        watch.preempt(16);
        [10, 10, 10].into_iter().for_each(|tokens| step(&mut watch, tokens));
        let timing = watch.finish(now);
        assert_eq!((timing.preempted, timing.prefill.steps, timing.prefill.tokens), (1, 4, 46));
        let elapsed = Duration::from_millis(6);
        let expected = Cost { elapsed, wall: 2 * share.wall, cpu: 2 * share.cpu, tokens: 16, steps: 2 };
        assert_eq!(timing.recompute, expected);
    }

    #[test]
    fn a_broken_step_is_charged_in_equal_parts_to_the_phase_before_it() {
        let start = Instant::now();
        let mut watch = Stopwatch::start(start);
        watch.turn_to(Doing::Stepping, start);
        watch.charge(Phase::Decode, StepCost::default(), 1);
        watch.turn_to(Doing::Stepping, start);
        watch.charge_broken(5, start + Duration::from_millis(5));
        let timing = watch.finish(start + Duration::from_millis(5));
        assert_eq!((timing.decode.elapsed, timing.decode.wall), (Duration::from_millis(5), Duration::from_millis(1)));
        assert_eq!(timing.decode.steps, 2);
    }
}
