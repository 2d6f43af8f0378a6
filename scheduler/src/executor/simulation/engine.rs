//! The simulated device: affine costs, pages of a budget, prefixes that are kept and shared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::budget::{Budget, Reservation};
use crate::engine::*;
use crate::testing::Random;

/// Positions, and bytes, of a page.
pub(super) const PAGE: u32 = 16;

/// What steps of a model cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimModel {
    pub(super) step_micros: u64,
    pub(super) token_micros: u64,
    pub(super) position_nanos: u64,
    pub(super) knows: Knows,
}

/// Whether the engine can tell beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knows {
    ItsCosts,
    Nothing,
}

impl SimModel {
    pub(super) fn cost(&self, work: StepWork) -> Duration {
        let tokens = u64::from(work.prefill_tokens + work.decode_tokens);
        let micros = self.step_micros + tokens * self.token_micros;
        Duration::from_micros(micros) + Duration::from_nanos(self.position_nanos * work.kv_positions)
    }
}

/// What a sequence is to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Script {
    pub(super) number: u64,
    pub(super) prompt: u32,
    pub(super) answer: u32,
    pub(super) batching: Batching,
    pub(super) panics_at: Option<u32>,
    pub(super) fails_at: Option<u32>,
    /// What it can compute behind each token of its answer.
    pub(super) drafts: Drafts,
    /// How many of a thousand are right in truth.
    pub(super) right_permille: u16,
    /// Prompts of one key begin alike, for as many whole pages as both have.
    pub(super) prefix: Option<u64>,
}

pub(super) struct SimSequence {
    pub(super) script: Script,
    pub(super) cancelled: Arc<AtomicBool>,
    computed: u32,
    pub(super) generated: u32,
    /// Outputs so far: a step has one, of however many tokens.
    shown: u32,
    pub(super) rejected: u64,
    shared: Option<Arc<Pages>>,
    own: Option<Reservation>,
    /// How often its memory was taken.
    pub(super) taken: u32,
}

/// Pages that several may read; they come back when nobody does.
#[derive(Debug)]
pub(super) struct Pages {
    positions: u32,
    room: Reservation,
}

#[derive(Debug, thiserror::Error)]
#[error("the script says so")]
pub(super) struct SimFault;

pub(super) struct SimEngine {
    budget: Arc<Budget>,
    kept: BTreeMap<u64, Arc<Pages>>,
    /// What each sequence was charged, and all steps cost.
    pub(super) shares: HashMap<u64, StepCost>,
    pub(super) whole: StepCost,
    pub(super) steps: u64,
    pub(super) largest_batch: usize,
    pub(super) reclaimed: u64,
    /// Drafts that were right, and that were not.
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) violations: Vec<String>,
}

impl SimSequence {
    pub(super) fn new(script: Script, cancelled: Arc<AtomicBool>) -> Self {
        Self { script, cancelled, computed: 0, generated: 0, shown: 0, rejected: 0, shared: None, own: None, taken: 0 }
    }

    fn left(&self) -> u32 {
        self.script.prompt + self.generated - self.computed
    }

    /// Whether a draft of the token after those generated so far is right.
    fn is_right(&self) -> bool {
        let seed = self.script.number << 32 | u64::from(self.generated);
        Random::new(seed).below(1_000) < u64::from(self.script.right_permille)
    }

    /// Drafts that it has room for without more.
    fn drafts_in_room(&self) -> u32 {
        let positions = u64::from(self.shared_positions()) + self.own_bytes();
        u32::try_from(positions).unwrap_or(u32::MAX).saturating_sub(self.script.prompt + self.generated)
    }

    fn shared_positions(&self) -> u32 {
        self.shared.as_ref().map_or(0, |pages| pages.positions)
    }

    fn own_bytes(&self) -> u64 {
        self.own.as_ref().map_or(0, Reservation::bytes)
    }

    /// Bytes that it misses for `positions`.
    fn missing(&self, positions: u32) -> u64 {
        let own = positions.saturating_sub(self.shared_positions()).div_ceil(PAGE) * PAGE;
        u64::from(own).saturating_sub(self.own_bytes())
    }

    fn keep(&mut self, room: Reservation) {
        match &mut self.own {
            Some(own) => own.merge(room),
            None => self.own = Some(room),
        }
    }
}

impl SimEngine {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            kept: BTreeMap::new(),
            shares: HashMap::new(),
            whole: StepCost::default(),
            steps: 0,
            largest_batch: 0,
            reclaimed: 0,
            accepted: 0,
            rejected: 0,
            violations: Vec::new(),
        }
    }

    fn violation(&mut self, sequence: &SimSequence, what: &str) {
        self.violations.push(format!("{}: {what}", sequence.script.number));
    }

    /// Finds the pages of a prefix that was kept.
    fn share(&self, sequence: &mut SimSequence) {
        if sequence.computed > 0 || sequence.shared.is_some() {
            return;
        }
        if let Some(pages) = sequence.script.prefix.and_then(|prefix| self.kept.get(&prefix))
            && pages.positions < sequence.script.prompt
        {
            sequence.computed = pages.positions;
            sequence.shared = Some(Arc::clone(pages));
        }
    }

    /// Keeps the first pages of a prompt for others.
    fn keep_prefix(&mut self, sequence: &SimSequence) {
        let Some(prefix) = sequence.script.prefix else { return };
        let positions = (sequence.script.prompt / 2) / PAGE * PAGE;
        if positions > 0
            && !self.kept.contains_key(&prefix)
            && let Some(room) = self.budget.try_reserve(u64::from(positions))
        {
            self.kept.insert(prefix, Arc::new(Pages { positions, room }));
        }
    }

    fn advance(&mut self, member: &mut Member<'_, SimSequence>) -> (StepWork, StepOutcome<u32, SimFault>) {
        let sequence = &mut *member.sequence;
        self.share(sequence);
        let demand = self.demand(sequence);
        let mut outcome = StepOutcome {
            output: None,
            phase: demand.phase,
            tokens: 0,
            rejected: 0,
            share: StepCost::default(),
            state: SequenceState::Continue,
        };
        if sequence.cancelled.load(Ordering::SeqCst) {
            self.violation(sequence, "steps after it was cancelled");
        }
        if sequence.computed > sequence.shared_positions() && sequence.missing(sequence.computed) > 0 {
            self.violation(sequence, "its pages were freed while it needs them");
        }
        if member.tokens_max == 0 {
            self.violation(sequence, "it may compute nothing");
        }
        // The room of all that it has to compute, at once.
        let missing = sequence.missing(sequence.script.prompt + sequence.generated);
        if missing > 0 {
            match self.budget.try_reserve(missing) {
                Some(room) => sequence.keep(room),
                None => {
                    outcome.state = SequenceState::NeedsRoom { bytes: missing };
                    return (StepWork::default(), outcome);
                }
            }
        }
        outcome.tokens = demand.tokens.min(member.tokens_max);
        let drafts = self.drafts(sequence, demand, member.tokens_max);
        let work = demand.work(outcome.tokens + drafts);
        sequence.computed += outcome.tokens;
        if sequence.left() == 0 {
            self.draw(sequence, drafts, &mut outcome);
        }
        (work, outcome)
    }

    /// How many drafts it computes of those that it may: those that there is room for.
    fn drafts(&mut self, sequence: &mut SimSequence, demand: Demand, tokens_max: u32) -> u32 {
        if demand.phase == Phase::Prefill || demand.batching == Batching::Alone {
            return 0;
        }
        let drafts = tokens_max.saturating_sub(1);
        if drafts > demand.drafts.tokens {
            self.violation(sequence, "it may compute more drafts than it has");
        }
        let missing = sequence.missing(sequence.script.prompt + sequence.generated + drafts);
        if missing > 0
            && let Some(room) = self.budget.try_reserve(missing)
        {
            sequence.keep(room);
        }
        drafts.min(sequence.drafts_in_room())
    }

    /// Tokens until the first draft that is not right, or the end.
    fn draw(&mut self, sequence: &mut SimSequence, drafts: u32, outcome: &mut StepOutcome<u32, SimFault>) {
        let mut accepted = 0;
        loop {
            let is_right = accepted < drafts && sequence.is_right();
            sequence.generated += 1;
            if sequence.script.panics_at == Some(sequence.generated) {
                // Without the hook's message: it is meant.
                std::panic::resume_unwind(Box::new("the script panics"));
            }
            if sequence.script.fails_at == Some(sequence.generated) {
                outcome.state = SequenceState::Failed(SimFault);
            } else if sequence.generated >= sequence.script.answer {
                self.keep_prefix(sequence);
                outcome.state = SequenceState::Finished;
            }
            if !is_right || !matches!(outcome.state, SequenceState::Continue) {
                break;
            }
            accepted += 1;
            sequence.computed += 1;
        }
        sequence.shown += 1;
        outcome.output = Some(sequence.shown);
        outcome.tokens += accepted;
        outcome.rejected = drafts - accepted;
        sequence.rejected += u64::from(outcome.rejected);
        self.accepted += u64::from(accepted);
        self.rejected += u64::from(outcome.rejected);
    }

    /// Splits a step's cost by tokens; what is left over goes to the first.
    fn split(&mut self, cost: StepCost, numbers: &[u64], outcomes: &mut [StepOutcome<u32, SimFault>]) {
        let computed = |outcome: &StepOutcome<u32, SimFault>| outcome.tokens + outcome.rejected;
        let tokens: u32 = outcomes.iter().map(computed).sum();
        let mut rest = cost;
        for outcome in &mut *outcomes {
            let part = |whole: Duration| if tokens == 0 { Duration::ZERO } else { whole * computed(outcome) / tokens };
            outcome.share = StepCost { wall: part(cost.wall), cpu: part(cost.cpu) };
            rest.wall -= outcome.share.wall;
            rest.cpu -= outcome.share.cpu;
        }
        outcomes[0].share.wall += rest.wall;
        outcomes[0].share.cpu += rest.cpu;
        for (number, outcome) in numbers.iter().zip(outcomes) {
            let sum = self.shares.entry(*number).or_default();
            sum.wall += outcome.share.wall;
            sum.cpu += outcome.share.cpu;
        }
    }
}

impl Engine for SimEngine {
    type Model = SimModel;
    type Sequence = SimSequence;
    type Output = u32;
    type Fault = SimFault;

    fn demand(&self, sequence: &SimSequence) -> Demand {
        let tokens = sequence.left().max(1);
        let phase = if tokens == 1 && sequence.generated > 0 { Phase::Decode } else { Phase::Prefill };
        let Script { batching, drafts, answer, .. } = sequence.script;
        // One token is drawn in any case.
        let left = answer.saturating_sub(sequence.generated + 1);
        let drafts = match (phase, batching) {
            (Phase::Decode, Batching::Together) => Drafts { tokens: drafts.tokens.min(left), ..drafts },
            _ => Drafts::default(),
        };
        Demand {
            phase,
            tokens,
            kv_positions: sequence.script.prompt + sequence.generated,
            room_bytes: sequence.own_bytes(),
            batching,
            drafts,
        }
    }

    fn predict(&self, model: &SimModel, work: StepWork) -> Option<Duration> {
        (model.knows == Knows::ItsCosts).then(|| model.cost(work))
    }

    fn step(
        &mut self,
        model: &SimModel,
        batch: &mut [Member<'_, SimSequence>],
        outcomes: &mut Vec<StepOutcome<u32, SimFault>>,
    ) -> StepCost {
        self.largest_batch = self.largest_batch.max(batch.len());
        self.steps += 1;
        if batch.len() > 1 && batch.iter().any(|member| member.sequence.script.batching == Batching::Alone) {
            self.violations.push("one that steps alone has company".to_owned());
        }
        let numbers: Vec<_> = batch.iter().map(|member| member.sequence.script.number).collect();
        let mut work = StepWork::default();
        for member in batch {
            let (part, outcome) = self.advance(member);
            work += part;
            outcomes.push(outcome);
        }
        let wall = model.cost(work);
        let cost = StepCost { wall, cpu: 2 * wall };
        self.split(cost, &numbers, outcomes);
        self.whole.wall += cost.wall;
        self.whole.cpu += cost.cpu;
        cost
    }

    fn grant(&mut self, sequence: &mut SimSequence, room: Reservation) {
        sequence.keep(room);
    }

    fn preempt(&mut self, sequence: &mut SimSequence) -> u64 {
        let freed = sequence.own.take().map_or(0, |room| room.bytes());
        if freed > 0 {
            sequence.computed = 0;
            sequence.shared = None;
            sequence.taken += 1;
        }
        freed
    }

    fn reclaim(&mut self, bytes: u64) -> u64 {
        let mut freed = 0;
        self.kept.retain(|_, pages| {
            let goes = freed < bytes && Arc::strong_count(pages) == 1;
            freed += if goes { pages.room.bytes() } else { 0 };
            !goes
        });
        self.reclaimed += freed;
        freed
    }
}
