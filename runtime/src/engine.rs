//! Steps of real models: `models` adapted to the scheduler's `Engine`.
//!
//! A sequence that goes on with texts owns its key-value blocks and the room that was reserved for them; both go when it
//! is dropped. One that encodes texts holds no memory between its steps but what comes out.
//!
//! Deliberately absent: one pass over the weights for several sequences (a batch is computed one by one), predictions,
//! chunks smaller than the generation's own, and preemption.
//!
//! Invariants: no block is taken that was not reserved; after a step during which the file changed, nothing that it
//! computed is shown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::KvCache;
use meter::{KibMillis, KvIntegral};
use models::encoding::{Encoding, NonFiniteVector};
use models::executor::Run;
use models::generation::{Generation, Input, Output, TokenCounts, Wanted};
use models::sampling::NonFiniteLogits;
use models::{Executor, Model};
use scheduler::{
    Batching, Budget, Demand, Engine, Member, Phase, Reservation, SequenceState, StepCost, StepOutcome, StepWork,
};

use crate::metering::Clock;

/// Runs steps on the kernels' threads.
pub(crate) struct KernelEngine {
    executor: Executor,
    tokens: Vec<u32>,
    outputs: Vec<Output>,
}

/// One request's state.
pub(crate) enum Sequence {
    /// It goes on with texts.
    Generating(Box<Generating>),
    /// It makes a vector, or a score, of each text.
    Encoding(Box<Encoding>),
}

/// What a sequence leaves behind.
#[derive(Default)]
pub(crate) struct Released {
    /// What its cache held over time.
    pub(crate) kv: KibMillis,
    /// Vectors or scores, in the order of the texts; none of a sequence that generates.
    pub(crate) rows: Vec<Vec<f32>>,
}

/// A request that goes on with texts.
pub(crate) struct Generating {
    generation: Generation,
    cache: KvCache,
    budget: Arc<Budget>,
    room: Option<Reservation>,
    held: KvIntegral,
    clock: Clock,
}

/// Why a sequence cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepFault {
    /// The model's file was cut or written to while it was being read.
    #[error("the model's file changed while it was in use")]
    ModelFileChanged,
    /// The model computes nothing that can be drawn from.
    #[error(transparent)]
    NonFiniteLogits(#[from] NonFiniteLogits),
    /// The model computes vectors that are none.
    #[error(transparent)]
    NonFiniteVector(#[from] NonFiniteVector),
}

impl Sequence {
    /// Tokens so far.
    pub(crate) fn counts(&self) -> TokenCounts {
        match self {
            Self::Generating(generating) => generating.generation.counts(),
            Self::Encoding(encoding) => TokenCounts { prompt: encoding.computed_tokens(), completion: 0 },
        }
    }

    /// Gives back what it holds.
    pub(crate) fn release(self) -> Released {
        match self {
            Self::Generating(generating) => {
                let now = generating.clock.now();
                Released { kv: generating.held.finish(now), rows: Vec::new() }
            }
            Self::Encoding(encoding) => Released { kv: KibMillis::default(), rows: encoding.into_rows() },
        }
    }
}

impl Generating {
    pub(crate) fn new(generation: Generation, model: &Model, budget: Arc<Budget>, clock: Clock) -> Self {
        Self {
            generation,
            cache: KvCache::new(model.kv_shape()),
            budget,
            room: None,
            held: KvIntegral::new(clock.now()),
            clock,
        }
    }

    /// Takes blocks for `positions`, or tells how many bytes are missing.
    fn make_room(&mut self, positions: usize) -> Result<(), u64> {
        let shape = self.cache.shape();
        let missing = positions.saturating_sub(self.cache.capacity()).div_ceil(shape.block_positions);
        if missing == 0 {
            return Ok(());
        }
        let (block_bytes, taken) = (shape.block_bytes() as u64, self.cache.blocks() as u64);
        let (wanted, bytes) = ((taken + missing as u64) * block_bytes, missing as u64 * block_bytes);
        let reserved = self.room.as_ref().map_or(0, Reservation::bytes);
        if reserved < wanted {
            let more = self.budget.try_reserve(wanted - reserved).ok_or(wanted - reserved)?;
            self.keep(more);
        }
        (0..missing).for_each(|_| self.cache.push_block());
        self.held.grow(bytes, self.clock.now());
        Ok(())
    }

    fn demand(&self) -> Demand {
        let prompt_tokens = self.generation.prompt_tokens();
        let (phase, tokens, positions) = match self.generation.input() {
            Input::Run { position, .. } if position < prompt_tokens => {
                (Phase::Prefill, prompt_tokens - position, prompt_tokens)
            }
            Input::Run { position, .. } => (Phase::Decode, 1, position + 1),
            Input::Reuse | Input::Done => (Phase::Decode, 1, 0),
        };
        Demand {
            phase,
            tokens: u32::try_from(tokens).unwrap_or(u32::MAX),
            kv_positions: u32::try_from(positions).unwrap_or(u32::MAX),
            room_bytes: self.room.as_ref().map_or(0, Reservation::bytes),
            batching: Batching::Together,
        }
    }

    fn keep(&mut self, more: Reservation) {
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
    }
}

impl KernelEngine {
    pub(crate) fn new(executor: Executor) -> Self {
        Self { executor, tokens: Vec::new(), outputs: Vec::new() }
    }

    /// One sequence's part of a step; its share is what it costs.
    fn advance(&mut self, model: &Model, sequence: &mut Sequence) -> StepOutcome<Output, StepFault> {
        let (began, cpu) = (Instant::now(), self.executor.cpu_time());
        let outcome = match sequence {
            Sequence::Generating(generating) => self.generate(model, generating),
            Sequence::Encoding(encoding) => self.encode(model, encoding),
        };
        let share = StepCost { wall: began.elapsed(), cpu: self.executor.cpu_time().saturating_sub(cpu) };
        StepOutcome { share, ..outcome }
    }

    fn generate(&mut self, model: &Model, sequence: &mut Generating) -> StepOutcome<Output, StepFault> {
        let run = match sequence.generation.input() {
            Input::Run { position, tokens, wanted } => {
                self.tokens.clear();
                self.tokens.extend_from_slice(tokens);
                Some((position, wanted))
            }
            Input::Reuse => None,
            Input::Done => return outcome(Phase::Decode, 0, SequenceState::Finished),
        };
        let computed = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        let (phase, tokens) = match run {
            Some((position, _)) if position < sequence.generation.prompt_tokens() => (Phase::Prefill, computed),
            Some(_) => (Phase::Decode, computed),
            None => (Phase::Decode, 0),
        };
        if let Some((position, wanted)) = run {
            if let Err(bytes) = sequence.make_room(position + self.tokens.len()) {
                return outcome(phase, 0, SequenceState::NeedsRoom { bytes });
            }
            self.compute(model, sequence, position, wanted);
        }
        if model.is_poisoned() || model.verify_unchanged().is_err() {
            return outcome(phase, tokens, SequenceState::Failed(StepFault::ModelFileChanged));
        }
        self.outputs.clear();
        if let Err(fault) = sequence.generation.absorb(self.executor.logits(), &mut self.outputs) {
            return outcome(phase, tokens, SequenceState::Failed(fault.into()));
        }
        let state = match sequence.generation.input() {
            Input::Done => SequenceState::Finished,
            _ => SequenceState::Continue,
        };
        StepOutcome { output: self.outputs.pop(), ..outcome(phase, tokens, state) }
    }

    /// One batch of texts.
    fn encode(&mut self, model: &Model, encoding: &mut Encoding) -> StepOutcome<Output, StepFault> {
        let before = encoding.computed_tokens();
        let rows = self.executor.encode(model, &encoding.batch());
        let is_changed = model.is_poisoned() || model.verify_unchanged().is_err();
        let absorbed = encoding.absorb(rows);
        let tokens = u32::try_from(encoding.computed_tokens() - before).unwrap_or(u32::MAX);
        let state = match absorbed {
            _ if is_changed => SequenceState::Failed(StepFault::ModelFileChanged),
            Err(fault) => SequenceState::Failed(fault.into()),
            Ok(()) if encoding.is_done() => SequenceState::Finished,
            Ok(()) => SequenceState::Continue,
        };
        outcome(Phase::Prefill, tokens, state)
    }

    fn compute(&mut self, model: &Model, sequence: &mut Generating, position: usize, wanted: Wanted) {
        sequence.cache.set_len(position);
        let run = Run { tokens: &self.tokens, position, wanted };
        let generation = &mut sequence.generation;
        self.executor.run(model, &mut sequence.cache, run, &mut |index, logits| generation.score(index, logits));
    }
}

fn outcome(phase: Phase, tokens: u32, state: SequenceState<StepFault>) -> StepOutcome<Output, StepFault> {
    StepOutcome { output: None, phase, tokens, share: StepCost::default(), state }
}

impl Engine for KernelEngine {
    type Model = Model;
    type Sequence = Sequence;
    type Output = Output;
    type Fault = StepFault;

    fn demand(&self, sequence: &Sequence) -> Demand {
        match sequence {
            Sequence::Generating(generating) => generating.demand(),
            Sequence::Encoding(_) => {
                Demand { phase: Phase::Prefill, tokens: 1, kv_positions: 0, room_bytes: 0, batching: Batching::Alone }
            }
        }
    }

    fn predict(&self, _model: &Model, _work: StepWork) -> Option<Duration> {
        None
    }

    fn step(
        &mut self,
        model: &Model,
        batch: &mut [Member<'_, Sequence>],
        outcomes: &mut Vec<StepOutcome<Output, StepFault>>,
    ) -> StepCost {
        let mut whole = StepCost::default();
        for member in batch {
            let outcome = self.advance(model, member.sequence);
            whole.wall += outcome.share.wall;
            whole.cpu += outcome.share.cpu;
            outcomes.push(outcome);
        }
        whole
    }

    fn grant(&mut self, sequence: &mut Sequence, room: Reservation) {
        match sequence {
            Sequence::Generating(generating) => generating.keep(room),
            // It never asks for room.
            Sequence::Encoding(_) => drop(room),
        }
    }

    fn preempt(&mut self, _sequence: &mut Sequence) -> u64 {
        0
    }

    fn reclaim(&mut self, _bytes: u64) -> u64 {
        0
    }
}
