//! One batch on its way through the engine. Its sequences are lent out of their entries, by value, and come back with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::inbox::SequenceId;
use crate::engine::{Engine, Member, StepCost, StepOutcome};
use crate::panic;
use crate::pool::Lease;

/// A step to run.
pub(super) struct Step<E: Engine> {
    pub(super) lease: Lease<E::Model>,
    pub(super) began: Instant,
    pub(super) members: Vec<Lent<E>>,
}

/// Which step it is, and whose.
pub(super) struct Batch {
    pub(super) model: Arc<str>,
    pub(super) began: Instant,
    pub(super) ids: Vec<SequenceId>,
}

/// A sequence out on a step.
pub(super) struct Lent<E: Engine> {
    pub(super) id: SequenceId,
    pub(super) sequence: E::Sequence,
    pub(super) tokens_max: u32,
}

/// A step that has run.
pub(super) struct Ran<E: Engine> {
    pub(super) model: Arc<str>,
    pub(super) began: Instant,
    pub(super) members: Vec<Lent<E>>,
    /// What it did, an outcome for each member; or why it broke.
    pub(super) did: Result<Did<E>, String>,
}

/// What a step did.
pub(super) struct Did<E: Engine> {
    pub(super) cost: StepCost,
    pub(super) outcomes: Vec<StepOutcome<E::Output, E::Fault>>,
}

impl<E: Engine> Step<E> {
    pub(super) fn batch(&self) -> Batch {
        let ids = self.members.iter().map(|lent| lent.id).collect();
        Batch { model: Arc::clone(self.lease.name()), began: self.began, ids }
    }

    /// Runs it, whatever happens in it. The hold on its model ends with it: those of its sequences go on.
    pub(super) fn run(self, engine: &mut E) -> Ran<E> {
        let Self { lease, began, mut members } = self;
        let mut outcomes = Vec::with_capacity(members.len());
        let mut batch: Vec<_> = members
            .iter_mut()
            .map(|lent| Member { sequence: &mut lent.sequence, tokens_max: lent.tokens_max })
            .collect();
        let stepped = catch_unwind(AssertUnwindSafe(|| engine.step(lease.model(), &mut batch, &mut outcomes)));
        let did = match stepped {
            Ok(cost) if outcomes.len() == members.len() => Ok(Did { cost, outcomes }),
            Ok(_) => Err(format!("{} outcomes for a batch of {}", outcomes.len(), members.len())),
            Err(payload) => Err(panic::message(&*payload)),
        };
        Ran { model: Arc::clone(lease.name()), began, members, did }
    }
}
