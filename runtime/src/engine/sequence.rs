//! One request's state between steps: what it goes on with, its pages, and their memory.

use std::sync::Arc;

use kernels::KvCache;
use meter::step_costs::SplitTally;
use meter::{KibMillis, SplitMethod};
use models::encoding::Encoding;
use models::generation::{Generation, Input, TokenCounts};
use models::limits::KV_BLOCK_POSITIONS;
use scheduler::{Batching, Budget, Demand, Insertion, Phase, PrefixPlace, Reservation, Scope, StepCost};

use super::memory::{Holder, KvMemory, Preempted};
use super::progress::Progress;
use crate::loading::LoadedModel;
use crate::metering::Metering;
use crate::prefixes::{InstancePrefixes, KvPage};

/// One request's state.
pub(crate) enum Sequence {
    /// It goes on with texts.
    Generating(Box<Generating>),
    /// It makes a vector, or a score, of each text.
    Encoding(Box<Encoding>),
}

/// What a sequence leaves behind.
pub(crate) struct Released {
    /// What its cache held over time.
    pub(crate) kv: KibMillis,
    /// How its part of the steps' cost was found.
    pub(crate) sharing: SplitMethod,
    /// Vectors or scores, in the order of the texts; none of a sequence that generates.
    pub(crate) rows: Vec<Vec<f32>>,
}

impl Released {
    /// Of a sequence that did not come back from its step: what it holds of its own is not given back, and not known.
    pub(crate) fn lost(metering: &Metering, request: &str) -> Self {
        Self { kv: metering.pages_settled(request), sharing: SplitMethod::WholeStep, rows: Vec::new() }
    }
}

/// A request that goes on with texts.
pub(crate) struct Generating {
    pub(super) generation: Generation,
    pub(super) cache: KvCache,
    memory: KvMemory,
    pub(super) tally: SplitTally,
    progress: Arc<Progress>,
    beginnings: Beginnings,
    /// Where its next full block is put; `None` once it cannot be.
    place: Option<PrefixPlace>,
    /// Blocks that were put there, or found.
    placed: usize,
}

/// What a sequence shares with others that begin alike.
pub(crate) struct Beginnings {
    /// Of its model's load.
    pub(crate) prefixes: Arc<InstancePrefixes>,
    /// With whom.
    pub(crate) scope: Scope,
    /// How much of it.
    pub(crate) extent: Extent,
}

/// How much of a sequence others may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Its prompt: the cache returns to the prompt's end for each further answer.
    Prompt,
    /// Its prompt and its answer.
    Whole,
}

impl Sequence {
    /// Tokens so far.
    pub(crate) fn counts(&self) -> TokenCounts {
        match self {
            Self::Generating(generating) => generating.generation.counts(),
            Self::Encoding(encoding) => TokenCounts { prompt: encoding.computed_tokens(), ..TokenCounts::default() },
        }
    }

    /// What it has computed, as it goes on; nothing of one that encodes.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Generating(generating) => Some(Arc::clone(&generating.progress)),
            Self::Encoding(_) => None,
        }
    }

    /// Gives back what it holds.
    pub(crate) fn release(self) -> Released {
        match self {
            Self::Generating(generating) => {
                let Generating { cache, memory, tally, .. } = *generating;
                // The memory first, then its bytes of the budget.
                drop(cache);
                Released { kv: memory.settle(), sharing: tally.method(), rows: Vec::new() }
            }
            Self::Encoding(encoding) => {
                Released { kv: KibMillis::default(), sharing: SplitMethod::WholeStep, rows: encoding.into_rows() }
            }
        }
    }

    /// What it would do with its next step.
    pub(super) fn demand(&self) -> Demand {
        match self {
            Self::Generating(generating) => generating.demand(),
            Self::Encoding(_) => {
                Demand { phase: Phase::Prefill, tokens: 1, kv_positions: 0, room_bytes: 0, batching: Batching::Alone }
            }
        }
    }
}

impl Generating {
    pub(crate) fn new(
        generation: Generation,
        model: &LoadedModel,
        budget: Arc<Budget>,
        beginnings: Beginnings,
        holder: Holder,
    ) -> Self {
        Self {
            generation,
            cache: KvCache::new(model.kv_shape()),
            memory: KvMemory::new(holder, budget),
            tally: SplitTally::default(),
            progress: Arc::default(),
            beginnings,
            place: None,
            placed: 0,
        }
    }

    fn demand(&self) -> Demand {
        let wanted = self.generation.tokens_wanted();
        let (phase, tokens, positions) = match self.generation.input(1) {
            Input::Run { position, .. } => {
                let end = position + wanted;
                let is_prompt = wanted > 1 || position < self.generation.prompt_tokens();
                let found = if position == 0 { self.covered() } else { 0 };
                (if is_prompt { Phase::Prefill } else { Phase::Decode }, wanted - found, end)
            }
            Input::Reuse | Input::Done => (Phase::Decode, 1, 0),
        };
        Demand {
            phase,
            tokens: u32::try_from(tokens).unwrap_or(u32::MAX),
            kv_positions: u32::try_from(positions).unwrap_or(u32::MAX),
            room_bytes: self.memory.bytes(),
            batching: Batching::Together,
        }
    }

    /// Tokens that need not be computed.
    fn covered(&self) -> usize {
        self.beginnings.prefixes.covered(&self.beginnings.scope, self.findable())
    }

    /// Whose pages it may take over: of a request for several answers nothing behind the prompt, where each of them is
    /// written.
    fn findable(&self) -> &[u32] {
        let tokens = self.generation.reusable();
        match self.beginnings.extent {
            Extent::Whole => tokens,
            // One more than the prompt: the page of the last token is never looked for.
            Extent::Prompt => &tokens[..tokens.len().min(self.generation.prompt_tokens() + 1)],
        }
    }

    /// A text begins, or begins again: what others computed of it is taken over.
    pub(super) fn begin(&mut self) {
        self.let_go();
        let Beginnings { prefixes, scope, .. } = &self.beginnings;
        let tokens = self.findable();
        if tokens.is_empty() {
            return;
        }
        let beginning = prefixes.beginning(scope, tokens);
        self.place = Some(beginning.place);
        self.placed = beginning.pages.len();
        for KvPage { block, room } in beginning.pages {
            self.cache.adopt(block);
            self.memory.adopt(room);
        }
        if self.placed > 0 {
            self.generation.reuse(self.cache.len());
        }
    }

    /// Takes blocks for `positions`, or tells how many bytes are missing.
    pub(super) fn make_room(&mut self, positions: usize) -> Result<(), u64> {
        let missing = positions.saturating_sub(self.cache.capacity()).div_ceil(KV_BLOCK_POSITIONS);
        if missing == 0 {
            return Ok(());
        }
        self.memory.grow(missing, self.cache.shape().block_bytes() as u64)?;
        (0..missing).for_each(|_| self.cache.push_block());
        Ok(())
    }

    pub(super) fn grant(&mut self, more: Reservation) {
        self.memory.grant(more);
    }

    /// Its part of a step is known.
    pub(super) fn note_progress(&self, phase: Phase, share: StepCost) {
        let held = (self.memory.own_so_far(), self.tally.method());
        self.progress.note(self.generation.counts(), (phase, share), held);
    }

    /// Lets others find the blocks that are full by now.
    pub(super) fn place_full_blocks(&mut self) {
        let Beginnings { prefixes, scope, extent } = &self.beginnings;
        let tokens = self.generation.reusable();
        let end = match extent {
            Extent::Prompt => self.generation.prompt_tokens().min(self.cache.len()),
            Extent::Whole => self.cache.len(),
        };
        while let Some(place) = self.place
            && (self.placed + 1) * KV_BLOCK_POSITIONS <= end.min(tokens.len())
        {
            let block = &tokens[self.placed * KV_BLOCK_POSITIONS..][..KV_BLOCK_POSITIONS];
            let page = KvPage { block: self.cache.block(self.placed), room: Arc::clone(self.memory.room(self.placed)) };
            self.place = match prefixes.insert(place, scope, block, &page) {
                Insertion::Taken(behind) => {
                    self.memory.share(self.placed, scope);
                    Some(behind)
                }
                Insertion::Known(behind) => Some(behind),
                Insertion::Refused => None,
            };
            self.placed += 1;
        }
    }

    /// Gives back all that its text holds, which is then computed again. Returns what came free, and what nobody but the
    /// prefix cache holds now.
    pub(super) fn preempt(&mut self) -> Preempted {
        let preempted = self.memory.own_bytes();
        self.let_go();
        self.memory.give_back();
        self.generation.preempted();
        preempted
    }

    fn let_go(&mut self) {
        self.cache.clear();
        self.memory.clear();
        (self.place, self.placed) = (None, 0);
    }
}
