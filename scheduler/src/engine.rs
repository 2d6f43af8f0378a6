//! The seam between turns and arithmetic: what the executor asks of a model family.
//!
//! Deliberately absent: how sequences are made. The caller builds one (prompt tokens, sampler, KV cache) and submits
//! it; the engine only ever advances it.

use std::error::Error;
use std::time::Duration;

use crate::budget::Reservation;

/// Advances sequences of a model. Lives on one executor's thread, which no other work shares.
pub trait Engine: Send + 'static {
    /// Weights that every sequence of a model shares.
    type Model: Send + Sync + 'static;
    /// One request's state: tokens, KV cache, sampler, detokenizer.
    type Sequence: Send + 'static;
    /// What a step shows the client.
    type Output: Send + 'static;
    /// Why a sequence cannot go on.
    type Fault: Error + Send + Sync + 'static;

    /// One step of one model: every sequence of `batch` advances by one prefill chunk or one token.
    ///
    /// Pushes exactly one outcome per sequence, in the order of `batch`, onto `outcomes`, which arrives empty.
    /// Returns what the whole step cost. A panic ends the sequences of this batch and nothing else.
    fn step(
        &mut self,
        model: &Self::Model,
        batch: &mut [&mut Self::Sequence],
        outcomes: &mut Vec<StepOutcome<Self::Output, Self::Fault>>,
    ) -> StepCost;

    /// The memory that [`SequenceState::NeedsRoom`] asked for; the sequence keeps it until it is dropped.
    fn grant(&mut self, sequence: &mut Self::Sequence, room: Reservation);
}

/// What a step cost, measured around its whole batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCost {
    /// Time from the step's begin to its end.
    pub wall: Duration,
    /// Processor time of every thread that computed it.
    pub cpu: Duration,
}

/// What a step did for one sequence.
#[derive(Debug)]
pub struct StepOutcome<O, F> {
    /// What the client is shown, if anything.
    pub output: Option<O>,
    /// What the step's cost is charged to.
    pub phase: Phase,
    /// Tokens that the step computed for this sequence.
    pub tokens: u32,
    /// Whether, and how, the sequence goes on.
    pub state: SequenceState<F>,
}

/// The part of a sequence's life that a step belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Prompt tokens were computed.
    #[default]
    Prefill,
    /// A new token was computed.
    Decode,
}

/// How a sequence goes on after a step.
#[derive(Debug)]
pub enum SequenceState<F> {
    /// It wants another step.
    Continue,
    /// It is complete; it will not be stepped again.
    Finished,
    /// It wants another step as soon as this many more bytes of the budget are reserved for it.
    NeedsRoom {
        /// Bytes to reserve and hand to [`Engine::grant`].
        bytes: u64,
    },
    /// It cannot go on.
    Failed(F),
}
