//! One request's state between steps: what it goes on with, its pages, and their memory.

use std::cell::Cell;
use std::sync::Arc;

use kernels::KvBlock;
use meter::step_costs::SplitTally;
use meter::{KibMillis, SplitMethod};
use models::encoding::Encoding;
use models::generation::{Generation, Input, TokenCounts};
use models::limits::KV_BLOCK_POSITIONS;
use scheduler::{Batching, Budget, Demand, Drafts, Insertion, Phase, PrefixPlace, Reach, Reservation, Scope, StepCost};

use super::cache::Cache;
use super::memory::{Holder, KvMemory, Preempted};
use super::progress::Progress;
use crate::contexts::AtHand;
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
    pub(super) cache: Cache,
    memory: KvMemory,
    pub(super) tally: SplitTally,
    progress: Arc<Progress>,
    beginnings: Beginnings,
    /// Where its next full block is put; `None` once it cannot be.
    place: Option<PrefixPlace>,
    /// Blocks that were put there, or found.
    placed: usize,
    /// How far its text was found when that was looked at last; none once it has begun.
    reach: Cell<Option<Reach>>,
}

/// What a sequence shares with others that begin alike.
pub(crate) struct Beginnings {
    /// Of its model's load.
    pub(crate) prefixes: Arc<InstancePrefixes>,
    /// With whom.
    pub(crate) scope: Scope,
    /// How much of it.
    pub(crate) extent: Extent,
    /// Published contexts that its prompts begin with, mapped.
    pub(crate) contexts: Vec<Arc<AtHand>>,
}

/// How much of a sequence others may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Its prompt: the cache returns to the prompt's end for each further answer.
    Prompt,
    /// Its prompt and its answer.
    Whole,
    /// None: it is about to be everyone's by other means.
    Nothing,
}

impl Sequence {
    /// Tokens so far.
    pub(crate) fn counts(&self) -> TokenCounts {
        match self {
            Self::Generating(generating) => generating.generation.counts(),
            Self::Encoding(encoding) => TokenCounts { prompt: encoding.computed_tokens(), ..TokenCounts::default() },
        }
    }

    /// Its full blocks of keys and values.
    pub(crate) fn kv_blocks(&self) -> Vec<KvBlock> {
        match self {
            Self::Generating(generating) => {
                let cache = &generating.cache;
                (0..cache.len() / KV_BLOCK_POSITIONS).map(|index| cache.block(index)).collect()
            }
            Self::Encoding(_) => Vec::new(),
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
                let (phase, batching, drafts) = (Phase::Prefill, Batching::Alone, Drafts::default());
                Demand { phase, tokens: 1, kv_positions: 0, room_bytes: 0, batching, drafts }
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
            cache: Cache::new(model),
            memory: KvMemory::new(holder, budget),
            tally: SplitTally::default(),
            progress: Arc::default(),
            beginnings,
            place: None,
            placed: 0,
            reach: Cell::default(),
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
            drafts: self.generation.draft().map_or_else(Drafts::default, |draft| Drafts {
                tokens: u32::try_from(draft.tokens.len()).unwrap_or(u32::MAX),
                right_permille: draft.right_permille,
            }),
        }
    }

    /// At most `most` of the drafts behind its next token, for which there are blocks already: those that there is room for.
    pub(super) fn drafts_in_room(&mut self, most: usize) -> &[u32] {
        let offered = self.generation.draft().map_or(0, |draft| draft.tokens.len());
        let (begin, most) = (self.generation.held() + 1, most.min(offered));
        if most == 0 {
            return &[];
        }
        // Without more room it computes fewer.
        let _ = self.make_room(begin + most);
        let most = most.min(self.cache.capacity() - begin);
        self.generation.draft().map_or(&[], |draft| &draft.tokens[..most])
    }

    /// Drops from the cache what drafts left there that were not accepted.
    pub(super) fn forget_drafts(&mut self) {
        self.cache.return_to(self.generation.held().min(self.cache.len()));
    }

    /// Tokens that need not be computed. Asked before each step while it waits: only what has come since is looked at.
    fn covered(&self) -> usize {
        let Beginnings { prefixes, scope, .. } = &self.beginnings;
        let tokens = self.findable();
        let reach = prefixes.reach(self.reach.get(), scope, tokens);
        self.reach.set(Some(reach));
        let blocks = self.published(tokens).map_or(0, |(_, blocks)| blocks);
        reach.blocks.max(blocks) * KV_BLOCK_POSITIONS
    }

    /// The published context at hand that covers most of `tokens`, and how many blocks of it that is.
    fn published(&self, tokens: &[u32]) -> Option<(&Arc<AtHand>, usize)> {
        let covering = self.beginnings.contexts.iter().map(|context| (context, context.covers(tokens)));
        covering.max_by_key(|(_, blocks)| *blocks)
    }

    /// Whose pages it may take over: of a request for several answers nothing behind the prompt, where each of them is
    /// written.
    fn findable(&self) -> &[u32] {
        if self.cache.is_shareable() { findable(&self.generation, self.beginnings.extent) } else { &[] }
    }

    /// A text begins, or begins again: what others computed of it is taken over, what was published of it too. Or tells
    /// how many bytes are missing for that.
    pub(super) fn begin(&mut self) -> Result<(), u64> {
        self.let_go();
        let Beginnings { prefixes, scope, .. } = &self.beginnings;
        let tokens = self.findable();
        if tokens.is_empty() {
            return Ok(());
        }
        let found = prefixes.reach(None, scope, tokens).blocks;
        let published = self.published(tokens).filter(|(_, blocks)| *blocks > found);
        let published = published.map(|(context, blocks)| (Arc::clone(context), blocks));
        // What is published goes on behind what everyone finds.
        let scope = if published.is_some() { &Scope::Everyone } else { scope };
        let beginning = prefixes.beginning(scope, tokens);
        self.place = Some(beginning.place);
        self.placed = beginning.pages.len();
        for KvPage { block, room } in beginning.pages {
            self.cache.adopt(block);
            self.memory.adopt(room);
        }
        if let Some((context, blocks)) = published
            && let Err(bytes) = self.adopt_published(&context, blocks)
        {
            self.let_go();
            return Err(bytes);
        }
        if !self.cache.is_empty() {
            self.generation.reuse(self.cache.len());
        }
        Ok(())
    }

    /// Takes over the first `blocks` of a published context, and lets everyone find them; or tells how many bytes are
    /// missing for all that precedes the next token.
    fn adopt_published(&mut self, context: &Arc<AtHand>, blocks: usize) -> Result<(), u64> {
        let page_bytes = self.cache.block_bytes() as u64;
        let missing = self.generation.tokens_wanted().div_ceil(KV_BLOCK_POSITIONS) - self.placed;
        self.memory.secure(missing as u64 * page_bytes)?;
        for index in self.placed..blocks {
            let block = context.block(index);
            let room = self.memory.adopt_mapped(context, page_bytes);
            self.cache.adopt(block.clone());
            self.placed += 1;
            let Some(place) = self.place else { continue };
            let tokens = &self.generation.reusable()[index * KV_BLOCK_POSITIONS..][..KV_BLOCK_POSITIONS];
            let page = KvPage { block, room };
            self.place = match self.beginnings.prefixes.insert(place, &Scope::Everyone, tokens, &page) {
                Insertion::Taken(behind) | Insertion::Known(behind) => Some(behind),
                Insertion::Refused => None,
            };
        }
        Ok(())
    }

    /// A published context that it reads and that is not what was mapped any more.
    pub(super) fn changed_context(&self) -> Option<Arc<str>> {
        self.memory.changed_context().map(|context| context.id().into())
    }

    /// Takes blocks for `positions`, or tells how many bytes are missing.
    pub(super) fn make_room(&mut self, positions: usize) -> Result<(), u64> {
        self.reach.set(None);
        let missing = positions.saturating_sub(self.cache.capacity()).div_ceil(KV_BLOCK_POSITIONS);
        if missing == 0 {
            return Ok(());
        }
        self.memory.grow(missing, self.cache.block_bytes() as u64)?;
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

    /// Lets others find the blocks that are full by now, of tokens that are the text's: drafts are none yet.
    pub(super) fn place_full_blocks(&mut self) {
        let Beginnings { prefixes, scope, extent, .. } = &self.beginnings;
        let tokens = self.generation.reusable();
        let end = match extent {
            Extent::Prompt => self.generation.prompt_tokens().min(self.cache.len()),
            Extent::Whole => self.cache.len(),
            Extent::Nothing => 0,
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
        self.reach.set(None);
    }
}

/// What of a generation's tokens it may take over others' pages of.
fn findable(generation: &Generation, extent: Extent) -> &[u32] {
    let tokens = generation.reusable();
    match extent {
        Extent::Whole | Extent::Nothing => tokens,
        // One more than the prompt: the page of the last token is never looked for.
        Extent::Prompt => &tokens[..tokens.len().min(generation.prompt_tokens() + 1)],
    }
}

#[cfg(test)]
mod tests;
