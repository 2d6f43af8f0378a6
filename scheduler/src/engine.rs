//! The seam between turns and arithmetic: what the executor asks of a model family.
//!
//! Deliberately absent: how sequences are made. The caller builds one (prompt tokens, sampler, KV cache) and submits
//! it; the engine only ever advances it.

use std::error::Error;
use std::iter::Sum;
use std::ops::AddAssign;
use std::time::Duration;

use crate::budget::Reservation;

/// Advances sequences of a model. Lives on one executor's thread, which no other work shares.
pub trait Engine: Send + 'static {
    /// Weights that every sequence of a model shares.
    type Model: Send + Sync + 'static;
    /// One request's state: tokens, KV cache, sampler, detokenizer. Small to move: it is lent to each of its steps.
    type Sequence: Send + 'static;
    /// What a step shows the client.
    type Output: Send + 'static;
    /// Why a sequence cannot go on.
    type Fault: Error + Send + Sync + 'static;

    /// What `sequence` would do with its next step. Cheap: it is asked of every sequence of a model before each step.
    fn demand(&self, sequence: &Self::Sequence) -> Demand;

    /// How long a step of `model` with this work would take, where that is known. More work never takes less time.
    fn predict(&self, model: &Self::Model, work: StepWork) -> Option<Duration>;

    /// One step of one model. Each sequence advances by one token, or by at most `tokens_max` tokens of what it has to
    /// compute before its next. One that decodes may compute as many drafts behind its token as `tokens_max` exceeds 1, of
    /// those that it offered; it advances by those that turn out right.
    ///
    /// Pushes exactly one outcome per member, in the order of `batch`, onto `outcomes`, which arrives empty. Returns what
    /// the whole step cost. A panic ends the sequences of this batch and nothing else.
    fn step(
        &mut self,
        model: &Self::Model,
        batch: &mut [Member<'_, Self::Sequence>],
        outcomes: &mut Vec<StepOutcome<Self::Output, Self::Fault>>,
    ) -> StepCost;

    /// The memory that [`SequenceState::NeedsRoom`] asked for; the sequence keeps it until it is dropped or preempted.
    fn grant(&mut self, sequence: &mut Self::Sequence, room: Reservation);

    /// Takes back all memory that the sequence's history holds; it will compute that again. Returns the bytes that came
    /// free: none where the engine cannot do this, and then nothing changed.
    fn preempt(&mut self, sequence: &mut Self::Sequence) -> u64;

    /// A chance to give back memory that no sequence needs (cached prefixes), at least `bytes` if there is as much.
    /// Returns what came free.
    fn reclaim(&mut self, bytes: u64) -> u64;
}

/// A sequence in a step.
#[derive(Debug)]
pub struct Member<'a, S> {
    /// The sequence.
    pub sequence: &'a mut S,
    /// Tokens that the step may compute for it; at least 1.
    pub tokens_max: u32,
}

/// What a sequence would do with its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// What the step would be charged to.
    pub phase: Phase,
    /// Tokens left before its next token: the rest of its prompt (or of what it computes again), or 1; at least 1.
    pub tokens: u32,
    /// Positions that its next token reads, those of `tokens` included.
    pub kv_positions: u32,
    /// Memory that it holds, as [`Engine::preempt`] would free it.
    pub room_bytes: u64,
    /// Whether it can share a step.
    pub batching: Batching,
    /// What it could compute behind its next token, where it decodes and can share a step.
    pub drafts: Drafts,
}

/// Guesses at what follows a sequence's next token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drafts {
    /// Tokens; none where nothing is guessed.
    pub tokens: u32,
    /// How many of a thousand are right, each where those before it are, by what was seen of this sequence.
    pub right_permille: u16,
}

impl Demand {
    /// The work of computing `tokens` of it: of a prompt its next ones, each of which reads all before it and itself; of one
    /// that decodes its next one and drafts behind it, whose rows cost what those of other sequences do.
    #[must_use]
    pub fn work(&self, tokens: u32) -> StepWork {
        let before = u64::from(self.kv_positions.saturating_sub(self.tokens));
        let count = u64::from(tokens);
        let kv_positions = count * before + count * (count + 1) / 2;
        match self.phase {
            Phase::Prefill => StepWork { prefill_tokens: tokens, decode_tokens: 0, kv_positions },
            Phase::Decode => StepWork { prefill_tokens: 0, decode_tokens: tokens, kv_positions },
        }
    }
}

impl AddAssign for StepWork {
    fn add_assign(&mut self, other: Self) {
        self.prefill_tokens = self.prefill_tokens.saturating_add(other.prefill_tokens);
        self.decode_tokens = self.decode_tokens.saturating_add(other.decode_tokens);
        self.kv_positions = self.kv_positions.saturating_add(other.kv_positions);
    }
}

impl Sum for StepWork {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

/// Whether a sequence can share a step with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batching {
    /// With every other one of its model that says so.
    #[default]
    Together,
    /// It is a step's only member.
    Alone,
}

/// The size of a step, or of a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepWork {
    /// Prompt tokens to compute.
    pub prefill_tokens: u32,
    /// Sequences that get their next token, and drafts.
    pub decode_tokens: u32,
    /// Σ over all these tokens of the positions that each reads.
    pub kv_positions: u64,
}

/// What a step cost, measured around its whole batch, or one sequence's share of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCost {
    /// Time from the step's begin to its end.
    pub wall: Duration,
    /// Processor time of every thread that computed it.
    pub cpu: Duration,
}

/// What a step did for one member.
#[derive(Debug)]
pub struct StepOutcome<O, F> {
    /// What the client is shown, if anything.
    pub output: Option<O>,
    /// What the step's cost is charged to.
    pub phase: Phase,
    /// Tokens that the step computed for this sequence, but for rejected drafts.
    pub tokens: u32,
    /// Drafts that it computed and that were not what followed.
    pub rejected: u32,
    /// This sequence's part of the step's cost; the parts of a step sum to the whole, exactly.
    pub share: StepCost,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_chunks_sums_to_that_of_the_prompt() {
        let mut demand = Demand {
            phase: Phase::Prefill,
            tokens: 100,
            kv_positions: 130,
            room_bytes: 0,
            batching: Batching::Together,
            drafts: Drafts::default(),
        };
        let whole = demand.work(100);
        assert_eq!(whole.kv_positions, (31..=130).sum::<u64>());
        let mut parts = Vec::new();
        for chunk in [64, 1, 35] {
            parts.push(demand.work(chunk));
            demand.tokens -= chunk;
        }
        assert_eq!(parts.into_iter().sum::<StepWork>(), whole);
    }

    #[test]
    fn a_decode_reads_all_positions_once_for_its_token_and_for_each_draft() {
        let demand = Demand {
            phase: Phase::Decode,
            tokens: 1,
            kv_positions: 77,
            room_bytes: 0,
            batching: Batching::Together,
            drafts: Drafts { tokens: 2, right_permille: 500 },
        };
        assert_eq!(demand.work(1), StepWork { prefill_tokens: 0, decode_tokens: 1, kv_positions: 77 });
        assert_eq!(demand.work(3), StepWork { prefill_tokens: 0, decode_tokens: 3, kv_positions: 77 + 78 + 79 });
    }
}
