//! Steps of real models: `models` adapted to the scheduler's `Engine`.
//!
//! A sequence that goes on with texts owns the pages of its key-value cache and their memory; what it does not share goes
//! when it is dropped. One that encodes texts holds no memory between its steps but what comes out.
//!
//! Drafts are computed in the room that there is, and for which none is asked of others: where the budget has none, there
//! are fewer. What they left in the cache goes when they turn out wrong.
//!
//! Invariants: no block is taken that was not reserved; no block that others find holds a draft that was not accepted; after a
//! step during which the file changed, nothing that it computed is shown, or found by others.

mod arithmetic;
mod cache;
mod costs;
mod memory;
mod progress;
mod sequence;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::candle::CandleError;
use models::encoding::{Encoding, NonFiniteVector};
use models::executor::{Drawer, Run};
use models::generation::{DrawError, Input, Output, Wanted};
use models::grammar::GrammarFault;
use models::sampling::NonFiniteLogits;
use scheduler::{Demand, Engine, Member, Phase, Reservation, SequenceState, StepCost, StepOutcome, StepWork};

pub(crate) use self::arithmetic::Arithmetic;
pub(crate) use self::costs::ModelCosts;
use self::costs::StepShares;
pub(crate) use self::memory::{Holder, PageRoom};
pub(crate) use self::progress::Progress;
pub(crate) use self::sequence::{Beginnings, Extent, Generating, Released, Sequence};
use crate::loading::LoadedModel;
use crate::metering::DeviceWork;
use crate::prefixes::Prefixes;

/// Runs steps on one device.
pub(crate) struct DeviceEngine {
    arithmetic: Arithmetic,
    prefixes: Arc<Prefixes>,
    /// Where it notes what its steps took.
    work: Arc<DeviceWork>,
    /// Of the step at work: all members' tokens, one after another.
    tokens: Vec<u32>,
    parts: Vec<Part>,
    shares: StepShares,
}

/// Why a sequence cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepFault {
    /// The model's file was cut or written to while it was being read.
    #[error("the model's file changed while it was in use")]
    ModelFileChanged,
    /// The file of a published context was cut or written to while it was being read.
    #[error("the file of context {id} changed while it was in use")]
    ContextFileChanged {
        /// Which.
        id: Arc<str>,
    },
    /// The model computes nothing that can be drawn from.
    #[error(transparent)]
    NonFiniteLogits(NonFiniteLogits),
    /// The answer cannot keep to its grammar any further.
    #[error(transparent)]
    Grammar(GrammarFault),
    /// The model computes vectors that are none.
    #[error(transparent)]
    NonFiniteVector(#[from] NonFiniteVector),
    /// The device could not compute the step: it is out of memory, or gone.
    #[error(transparent)]
    Device(Arc<CandleError>),
}

impl From<DrawError> for StepFault {
    fn from(error: DrawError) -> Self {
        match error {
            DrawError::NonFinite(error) => Self::NonFiniteLogits(error),
            DrawError::Grammar(fault) => Self::Grammar(fault),
        }
    }
}

/// What one member has in a step.
enum Part {
    /// These of the step's tokens, the last of them drafts if there are any.
    Run { position: usize, tokens: Range<usize>, wanted: Wanted, phase: Phase },
    /// Nothing to compute: earlier logits serve again.
    Reuse,
    /// Nothing left at all.
    Done,
    /// Nothing, before it has as much memory.
    NeedsRoom { bytes: u64, phase: Phase },
}

type Outcome = StepOutcome<Output, StepFault>;

impl DeviceEngine {
    pub(crate) fn new(arithmetic: Arithmetic, prefixes: Arc<Prefixes>, work: Arc<DeviceWork>) -> Self {
        Self { arithmetic, prefixes, work, tokens: Vec::new(), parts: Vec::new(), shares: StepShares::default() }
    }

    /// Decides what a member computes, and gets the room for it.
    fn part(&mut self, sequence: &mut Generating, tokens_max: u32) -> Part {
        if let Input::Run { position: 0, .. } = sequence.generation.input(1)
            && let Err(bytes) = sequence.begin()
        {
            return Part::NeedsRoom { bytes, phase: Phase::Prefill };
        }
        let wanted_tokens = sequence.generation.tokens_wanted();
        let tokens_max = usize::try_from(tokens_max).unwrap_or(usize::MAX);
        let begin = self.tokens.len();
        let (position, mut wanted) = match sequence.generation.input(tokens_max) {
            Input::Run { position, tokens, wanted } => {
                self.tokens.extend_from_slice(tokens);
                (position, wanted)
            }
            Input::Reuse => return Part::Reuse,
            Input::Done => return Part::Done,
        };
        let is_prompt = wanted_tokens > 1 || position < sequence.generation.prompt_tokens();
        let phase = if is_prompt { Phase::Prefill } else { Phase::Decode };
        // For all that precedes the next token at once, so that none begins what it cannot end.
        if let Err(bytes) = sequence.make_room(position + wanted_tokens) {
            self.tokens.truncate(begin);
            return Part::NeedsRoom { bytes, phase };
        }
        let drafts = sequence.drafts_in_room(tokens_max - (self.tokens.len() - begin));
        if !drafts.is_empty() {
            self.tokens.extend_from_slice(drafts);
            wanted = Wanted::LastAnd(drafts.len());
        }
        self.shares.push(phase, position, self.tokens.len() - begin);
        Part::Run { position, tokens: begin..self.tokens.len(), wanted, phase }
    }

    fn generate(&mut self, model: &LoadedModel, batch: &mut [Member<'_, Sequence>], outcomes: &mut Vec<Outcome>) {
        self.tokens.clear();
        self.parts.clear();
        self.shares.clear();
        let mut members: Vec<&mut Generating> = Vec::with_capacity(batch.len());
        for member in batch {
            let Sequence::Generating(sequence) = &mut *member.sequence else {
                unreachable!("texts are encoded in steps of their own")
            };
            let part = self.part(sequence, member.tokens_max);
            self.parts.push(part);
            members.push(sequence);
        }
        let computed = self.compute(model, &mut members);
        if computed.is_err() {
            // What it took says nothing of what such steps cost.
            self.shares.clear();
        }
        let is_changed = model.is_poisoned() || model.verify_unchanged().is_err();
        let step = Stepped { computed, is_changed };
        let mut runs = 0..;
        let drawing = |(part, sequence)| {
            let run = if matches!(part, &Part::Run { .. }) { runs.next() } else { None };
            Drawer { run, drawer: Drawing { part, sequence, outcome: None } }
        };
        let mut drawers: Vec<_> = self.parts.iter().zip(members).map(drawing).collect();
        self.arithmetic.each_logits(&mut drawers, &|drawing, logits| drawing.draw(logits, &step));
        let drawn = drawers.into_iter().map(|Drawer { drawer, .. }| drawer.outcome.expect("each of them drew"));
        outcomes.extend(drawn);
    }

    /// Runs the tokens of all members that have some through the model.
    fn compute(&mut self, model: &LoadedModel, members: &mut [&mut Generating]) -> Result<(), Arc<CandleError>> {
        let (mut runs, mut generations) = (Vec::with_capacity(members.len()), Vec::with_capacity(members.len()));
        for (part, sequence) in self.parts.iter().zip(members) {
            let Part::Run { position, tokens, wanted, .. } = part else { continue };
            let Generating { cache, generation, .. } = &mut **sequence;
            cache.return_to(*position);
            let run = Run { tokens: &self.tokens[tokens.clone()], position: *position, wanted: *wanted };
            runs.push((cache, run));
            generations.push(generation);
        }
        if runs.is_empty() {
            return Ok(());
        }
        let mut score = |run: usize, token: usize, logits: &[f32]| generations[run].score(token, logits);
        self.arithmetic.step(model, runs, &mut score).map_err(Arc::new)
    }

    /// Gives each member its part of what the step cost.
    fn share(
        &mut self,
        cost: StepCost,
        model: &LoadedModel,
        batch: &mut [Member<'_, Sequence>],
        outcomes: &mut [Outcome],
    ) {
        if self.shares.is_empty() {
            // Texts that were encoded; or looks at what there is to do, which cost next to nothing.
            return split_equally(cost, outcomes);
        }
        let method = self.shares.split(cost, model.costs());
        let mut member = 0;
        for ((part, outcome), Member { sequence, .. }) in self.parts.iter().zip(outcomes).zip(batch) {
            if let (Part::Run { .. }, Sequence::Generating(sequence)) = (part, &mut **sequence) {
                outcome.share = self.shares.part(member, method, &mut sequence.tally);
                sequence.note_progress(outcome.phase, outcome.share);
                member += 1;
            }
        }
    }

    /// One batch of texts.
    fn encode(&mut self, model: &LoadedModel, encoding: &mut Encoding) -> Outcome {
        let before = encoding.computed_tokens();
        let rows = match self.arithmetic.encode(model, &encoding.batch()) {
            Ok(rows) => rows,
            Err(fault) => {
                return outcome(Phase::Prefill, 0, SequenceState::Failed(StepFault::Device(Arc::new(fault))));
            }
        };
        let is_changed = model.is_poisoned() || model.verify_unchanged().is_err();
        let absorbed = encoding.absorb(&rows);
        let tokens = u32::try_from(encoding.computed_tokens() - before).unwrap_or(u32::MAX);
        let state = match absorbed {
            _ if is_changed => SequenceState::Failed(StepFault::ModelFileChanged),
            Err(fault) => SequenceState::Failed(fault.into()),
            Ok(()) if encoding.is_done() => SequenceState::Finished,
            Ok(()) => SequenceState::Continue,
        };
        outcome(Phase::Prefill, tokens, state)
    }
}

/// A member that draws from its logits, beside others.
struct Drawing<'a> {
    part: &'a Part,
    sequence: &'a mut Generating,
    outcome: Option<Outcome>,
}

/// What is the same for all members of a step.
struct Stepped {
    computed: Result<(), Arc<CandleError>>,
    is_changed: bool,
}

impl Drawing<'_> {
    fn draw(&mut self, logits: &mut [f32], Stepped { computed, is_changed }: &Stepped) {
        self.outcome = Some(match self.part {
            Part::Done => outcome(Phase::Decode, 0, SequenceState::Finished),
            Part::NeedsRoom { bytes, phase } => outcome(*phase, 0, SequenceState::NeedsRoom { bytes: *bytes }),
            Part::Reuse => absorb(self.sequence, logits, (Phase::Decode, 0), *is_changed),
            Part::Run { tokens, phase, .. } => match computed {
                Ok(()) => absorb(self.sequence, logits, (*phase, tokens.len()), *is_changed),
                Err(fault) => outcome(*phase, 0, SequenceState::Failed(StepFault::Device(Arc::clone(fault)))),
            },
        });
    }
}

/// What became of one member that computed `computed` tokens.
fn absorb(
    sequence: &mut Generating,
    logits: &mut [f32],
    (phase, computed): (Phase, usize),
    is_changed: bool,
) -> Outcome {
    let tokens = u32::try_from(computed).unwrap_or(u32::MAX);
    if is_changed {
        return outcome(phase, tokens, SequenceState::Failed(StepFault::ModelFileChanged));
    }
    if let Some(id) = sequence.changed_context() {
        return outcome(phase, tokens, SequenceState::Failed(StepFault::ContextFileChanged { id }));
    }
    sequence.place_full_blocks();
    let mut outputs = Vec::new();
    let before = sequence.generation.counts();
    let absorbed = sequence.generation.absorb(computed, logits, &mut outputs);
    let after = sequence.generation.counts();
    let rejected = (after.drafted - before.drafted) - (after.accepted - before.accepted);
    let rejected = u32::try_from(rejected).unwrap_or(u32::MAX);
    let tokens = tokens.saturating_sub(rejected);
    if let Err(fault) = absorbed {
        return StepOutcome { rejected, ..outcome(phase, tokens, SequenceState::Failed(fault.into())) };
    }
    if rejected > 0 {
        sequence.forget_drafts();
    }
    let state = match sequence.generation.input(1) {
        Input::Done => SequenceState::Finished,
        _ => SequenceState::Continue,
    };
    StepOutcome { output: outputs.pop(), rejected, ..outcome(phase, tokens, state) }
}

/// Gives each member an equal part of the step's cost.
fn split_equally(cost: StepCost, outcomes: &mut [Outcome]) {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let walls = meter::units::split_equally(nanos(cost.wall), outcomes.len());
    let cpus = meter::units::split_equally(nanos(cost.cpu), outcomes.len());
    for ((outcome, wall), cpu) in outcomes.iter_mut().zip(walls).zip(cpus) {
        outcome.share = StepCost { wall: Duration::from_nanos(wall), cpu: Duration::from_nanos(cpu) };
    }
}

fn outcome(phase: Phase, tokens: u32, state: SequenceState<StepFault>) -> Outcome {
    StepOutcome { output: None, phase, tokens, rejected: 0, share: StepCost::default(), state }
}

impl Engine for DeviceEngine {
    type Model = LoadedModel;
    type Sequence = Sequence;
    type Output = Output;
    type Fault = StepFault;

    fn demand(&self, sequence: &Sequence) -> Demand {
        sequence.demand()
    }

    fn predict(&self, model: &LoadedModel, work: StepWork) -> Option<Duration> {
        model.costs().predict(work)
    }

    fn step(
        &mut self,
        model: &LoadedModel,
        batch: &mut [Member<'_, Sequence>],
        outcomes: &mut Vec<Outcome>,
    ) -> StepCost {
        let (began, cpu) = (Instant::now(), self.arithmetic.cpu_time());
        match batch {
            [Member { sequence: Sequence::Encoding(encoding), .. }] => {
                self.shares.clear();
                outcomes.push(self.encode(model, encoding));
            }
            _ => self.generate(model, batch, outcomes),
        }
        let cost = StepCost { wall: began.elapsed(), cpu: self.arithmetic.cpu_time().saturating_sub(cpu) };
        self.work.stepped(cost.wall, cost.cpu);
        self.share(cost, model, batch, outcomes);
        cost
    }

    fn grant(&mut self, sequence: &mut Sequence, room: Reservation) {
        match sequence {
            Sequence::Generating(generating) => generating.grant(room),
            // It never asks for room.
            Sequence::Encoding(_) => drop(room),
        }
    }

    fn preempt(&mut self, sequence: &mut Sequence) -> u64 {
        match sequence {
            Sequence::Generating(generating) => {
                let preempted = generating.preempt();
                preempted.freed_bytes + self.prefixes.reclaim(preempted.cached_bytes)
            }
            Sequence::Encoding(_) => 0,
        }
    }

    fn reclaim(&mut self, bytes: u64) -> u64 {
        self.prefixes.reclaim(bytes)
    }
}
