//! What must hold after every step, at every end, and when all is over.

use std::time::Duration;

use tokio::time::Instant;

use super::tally::{End, Tally};
use super::world::{Client, Reading, World};
use crate::engine::Engine as _;
use crate::executor::simulation::engine::SimEngine;
use crate::executor::{Completion, Outcome, RequestTiming};

impl World {
    pub(super) fn ended(&mut self, client: &Client, completion: Completion<SimEngine>) {
        let number = client.arrival.script.number;
        let Completion { outcome, timing, sequence, .. } = completion;
        let tally = &mut self.tally;
        if let Some(taken) = sequence.as_ref().map(|sequence| sequence.taken)
            && taken != timing.preempted
        {
            tally.violations.push(format!("{number}: preempted {taken} times, which counts as {}", timing.preempted));
        }
        if let Some(rejected) = sequence.as_ref().map(|sequence| sequence.rejected)
            && rejected != timing.rejected_drafts
            // What a step did that panicked is nowhere booked.
            && !matches!(outcome, Outcome::EnginePanicked { .. })
        {
            let counted = timing.rejected_drafts;
            tally.violations.push(format!("{number}: {rejected} drafts rejected, which count as {counted}"));
        }
        match outcome {
            Outcome::Completed => {
                tally.completed += 1;
                let sequence = sequence.expect("no step keeps it");
                if sequence.generated != client.arrival.script.answer {
                    tally.violations.push(format!("{number}: complete with {} tokens", sequence.generated));
                }
            }
            Outcome::Cancelled => tally.cancelled += 1,
            Outcome::Failed(_) => tally.failed += 1,
            Outcome::DeadlinePassed => tally.late += 1,
            Outcome::StallLimit => tally.stalled_out += 1,
            Outcome::NoRoom(_) => tally.no_room += 1,
            Outcome::EnginePanicked { .. } => tally.panicked += 1,
            Outcome::EngineTimeout => tally.violations.push(format!("{number}: nothing hangs here")),
            Outcome::ShuttingDown => tally.shut_down += 1,
        }
        tally.preemptions += usize::try_from(timing.preempted).unwrap();
        tally.recomputed_tokens += timing.recompute.tokens;
        tally.stalls += usize::from(!timing.stall.is_zero());
        tally.room_waits += usize::from(!timing.room_wait.is_zero());
        tally.longest_turn_wait = tally.longest_turn_wait.max(timing.turn_wait);
        let shares = self.engine.shares.get(&number).copied().unwrap_or_default();
        let charged = (timing.computed(), timing.prefill.cpu + timing.decode.cpu);
        // A step that panicked has no shares.
        if charged != (shares.wall, shares.cpu) {
            tally.violations.push(format!("{number}: charged {charged:?} for {shares:?}"));
        }
        let RequestTiming { queue, turn_wait, stall, room_wait, .. } = timing;
        let latency = client.arrived.elapsed();
        let sum = queue + turn_wait + timing.prefill.elapsed + timing.decode.elapsed + stall + room_wait;
        let reads_at_once = matches!(client.arrival.reading, Reading::AtOnce | Reading::Never);
        if sum > latency || (reads_at_once && sum != latency) {
            tally.violations.push(format!("{number}: its times sum to {sum:?}, it lived {latency:?}"));
        }
        tally.ends.insert(number, End { latency, timing, outputs: client.outputs });
    }

    pub(super) fn check_budget(&mut self) {
        if self.budget.used_bytes() > self.budget.limit_bytes() {
            self.tally.violations.push("the budget is exceeded".to_owned());
        }
    }

    /// Nothing happens any more: nobody may be left, and the executor may end.
    pub(super) fn quiet(&mut self) {
        for number in self.clients.keys() {
            self.tally.violations.push(format!("{number} waits for ever"));
        }
        self.clients.clear();
        let ended_late = Instant::now().saturating_duration_since(self.quiet_since);
        if ended_late > 3 * self.serial + self.waits_max {
            self.tally.violations.push(format!("all ended {ended_late:?} after the last event"));
        }
        self.executor.stop();
    }

    pub(super) fn close(mut self) -> Tally {
        if self.executor.queued() > 0 {
            self.tally.violations.push("places are left".to_owned());
        }
        let engine = &mut self.engine;
        self.tally.violations.append(&mut engine.violations);
        let shares = engine
            .shares
            .values()
            .fold((Duration::ZERO, Duration::ZERO), |sum, share| (sum.0 + share.wall, sum.1 + share.cpu));
        if shares != (engine.whole.wall, engine.whole.cpu) {
            self.tally.violations.push("the shares are not what all steps cost".to_owned());
        }
        self.tally.reclaims = usize::from(engine.reclaimed > 0);
        self.tally.steps = engine.steps;
        self.tally.batched = engine.largest_batch;
        (self.tally.accepted, self.tally.rejected) = (engine.accepted, engine.rejected);
        self.clients.clear();
        self.asked.lock().unwrap().clear();
        engine.reclaim(u64::MAX);
        if self.budget.used_bytes() > 0 {
            self.tally.violations.push(format!("{} bytes are left", self.budget.used_bytes()));
        }
        self.tally.lasted = self.start.elapsed();
        self.tally
    }
}
