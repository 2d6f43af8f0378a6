//! What steps of a model cost, and each member's part.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meter::step_costs::SplitTally;
use meter::{SplitMethod, StepCosts, StepWork};
use scheduler::StepCost;

/// What steps of one model cost on this device. Outlives the model in memory; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct ModelCosts(Arc<Mutex<StepCosts>>);

/// The work and the cost of the members of one step.
#[derive(Default)]
pub(super) struct StepShares {
    work: Vec<StepWork>,
    walls: Vec<u128>,
    cpus: Vec<u128>,
}

impl ModelCosts {
    /// How long a step with this work would take, where that is known.
    pub(crate) fn predict(&self, work: scheduler::StepWork) -> Option<Duration> {
        let scheduler::StepWork { prefill_tokens, decode_tokens, kv_positions } = work;
        self.costs().predict(&[StepWork { prefill_tokens, decode_tokens, kv_positions }])
    }

    fn costs(&self) -> MutexGuard<'_, StepCosts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StepShares {
    /// Forgets the step before.
    pub(super) fn clear(&mut self) {
        self.work.clear();
    }

    /// A member computes `tokens` from `position` on.
    pub(super) fn push(&mut self, phase: scheduler::Phase, position: usize, tokens: usize) {
        let count = u32::try_from(tokens).unwrap_or(u32::MAX);
        let (prefill_tokens, decode_tokens) = match phase {
            scheduler::Phase::Prefill => (count, 0),
            scheduler::Phase::Decode => (0, count),
        };
        let kv_positions = (tokens * position + tokens * (tokens + 1) / 2) as u64;
        self.work.push(StepWork { prefill_tokens, decode_tokens, kv_positions });
    }

    /// Splits what the step cost among those who computed, by what was known before it.
    pub(super) fn split(&mut self, cost: StepCost, costs: &ModelCosts) -> SplitMethod {
        let mut costs = costs.costs();
        let method = costs.split(cost.wall.as_nanos(), &self.work, &mut self.walls);
        costs.split(cost.cpu.as_nanos(), &self.work, &mut self.cpus);
        costs.learn(cost.wall, &self.work);
        method
    }

    /// The part of the member that computed as number `member`, which `tally` takes note of.
    pub(super) fn part(&self, member: usize, method: SplitMethod, tally: &mut SplitTally) -> StepCost {
        let duration = |nanos: u128| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        tally.add(self.walls[member], method);
        StepCost { wall: duration(self.walls[member]), cpu: duration(self.cpus[member]) }
    }

    /// Whether anyone computed.
    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }
}
