//! Published contexts: which there are, whose tokens a prompt begins with, and their pages where they are mapped.
//!
//! A context's keys and values are computed once, as a request of its publisher ([`publish()`]), and kept in a file
//! ([`models::contexts`]). Whoever's prompt begins with its tokens, in any tenant, gets its file mapped before the prompt
//! is queued ([`Contexts::at_hand`]); the sequence then takes its pages over and lets everyone find them in the prefix
//! cache, until the cache drops them or the model goes; and the next one maps them again.
//!
//! Invariants: a context serves only the very model, instructions and shape that computed it, and is *stale* otherwise; names
//! are unique for a model; no more than `disk_max` and [`CONTEXTS_MAX`](crate::limits::CONTEXTS_MAX) are kept, planned ones
//! included; nothing here blocks but what says so. A context that was deleted, replaced or found damaged is found by no
//! sequence that begins later, mapped or not; those that run keep what they hold.
//!
//! Deliberately absent: the bytes on disk, and when a page is dropped.

mod publication;
mod publish;
mod shelf;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kernels::{Isa, KvBlock, KvShape};
use loader::FileIdentity;
use models::contexts::{ContextError, ContextKey, ContextRecord, ContextSource, ContextStore, MappedContext};
use models::limits::KV_BLOCK_POSITIONS;

pub(crate) use self::publication::{Publication, Written};
pub(crate) use self::publish::{PublishRequest, Published, param_of, publish};
use self::shelf::Shelf;
use crate::config::ContextChoices;
use crate::http::error::ApiError;
use crate::limits::CONTEXT_MAPPINGS_MAX;
use crate::prefixes::Prefixes;

/// All contexts of one server.
pub(crate) struct Contexts {
    store: ContextStore,
    choices: ContextChoices,
    isa: Isa,
    prefixes: Arc<Prefixes>,
    shelf: Mutex<Shelf>,
    /// Files that are mapped now.
    mapped: Arc<AtomicUsize>,
    /// How often one was mapped.
    maps: AtomicU64,
    /// Counts uses, for knowing the latest.
    uses: AtomicU64,
}

/// One context.
pub(crate) struct Context {
    pub(crate) record: ContextRecord,
    last_map: Mutex<LastMap>,
    used: AtomicU64,
    /// Deleted, replaced or damaged: who begins from now on does not use it, at hand or not.
    is_withdrawn: AtomicBool,
}

#[derive(Default)]
struct LastMap {
    at_hand: Weak<AtHand>,
    /// The version of the file whose bits were all looked at.
    verified: Option<FileIdentity>,
}

/// A context that is mapped.
pub(crate) struct AtHand {
    context: Arc<Context>,
    blocks: MappedContext,
    mapped: Arc<AtomicUsize>,
}

/// How many there are, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContextsStatus {
    pub(crate) contexts: u64,
    pub(crate) bytes: u64,
    pub(crate) mapped: u64,
    pub(crate) maps: u64,
}

/// Whether a context is of use to the model that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextState {
    /// It is.
    Ready,
    /// The model's file, or the instructions that compute, are others: it has to be computed anew.
    Stale,
}

impl ContextState {
    /// As an answer says it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stale => "stale",
        }
    }
}

impl Context {
    fn new(record: ContextRecord) -> Arc<Self> {
        let (last_map, used, is_withdrawn) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { record, last_map, used, is_withdrawn })
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.record.about.id
    }

    /// Its state against a model's files as they are now; `None` where they are gone.
    pub(crate) fn state(&self, identity_words: Option<[u64; 4]>, isa: Isa) -> ContextState {
        let is_of = |words| self.record.about.key.is_of(words, isa);
        if identity_words.is_some_and(is_of) { ContextState::Ready } else { ContextState::Stale }
    }

    /// Full blocks that `tokens` begin with, which some are behind.
    fn covers(&self, tokens: &[u32]) -> usize {
        let before_last = &tokens[..tokens.len().saturating_sub(1)];
        let pairs = before_last.iter().zip(&*self.record.tokens);
        let alike = pairs.take_while(|(one, other)| one == other).count();
        (alike / KV_BLOCK_POSITIONS).min(self.record.blocks)
    }

    fn last_map(&self) -> MutexGuard<'_, LastMap> {
        self.last_map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AtHand {
    /// The context's id.
    pub(crate) fn id(&self) -> &str {
        self.context.id()
    }

    /// Who carries its pages while nobody holds them.
    pub(crate) fn publisher(&self) -> &str {
        &self.context.record.about.publisher
    }

    /// Full blocks that `tokens` begin with, which some are behind; none once it is withdrawn.
    pub(crate) fn covers(&self, tokens: &[u32]) -> usize {
        if self.is_withdrawn() { 0 } else { self.context.covers(tokens) }
    }

    /// Whether nobody may find its pages any more.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.context.is_withdrawn.load(Ordering::Relaxed)
    }

    /// One of its blocks.
    pub(crate) fn block(&self, index: usize) -> KvBlock {
        self.blocks.block(index)
    }

    /// Whether its file still is what was mapped.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.blocks.verify_unchanged().is_ok()
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        self.mapped.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Contexts {
    /// The contexts of the configured folder, which is read: it has at most some thousand files.
    pub(crate) fn open(choices: &ContextChoices, isa: Isa, prefixes: Arc<Prefixes>) -> Arc<Self> {
        let store = ContextStore::at(choices.dir.clone());
        let mut records = store.list();
        records.sort_by(|a, b| a.about.id.cmp(&b.about.id));
        let mut shelf = Shelf::default();
        for record in records {
            // Of two with one name, a process that died left the older one, whose id is less.
            if let Some(older) = shelf.put(Context::new(record)) {
                let _ = store.remove(older.id());
            }
        }
        Arc::new(Self {
            store,
            choices: choices.clone(),
            isa,
            prefixes,
            shelf: Mutex::new(shelf),
            mapped: Arc::default(),
            maps: AtomicU64::new(0),
            uses: AtomicU64::new(0),
        })
    }

    /// The instructions that contexts are computed by here.
    pub(crate) const fn isa(&self) -> Isa {
        self.isa
    }

    /// How many there are, and what they take.
    pub(crate) fn status(&self) -> ContextsStatus {
        let shelf = self.shelf();
        ContextsStatus {
            contexts: shelf.len() as u64,
            bytes: shelf.bytes(),
            mapped: self.mapped.load(Ordering::Relaxed) as u64,
            maps: self.maps.load(Ordering::Relaxed),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.shelf().is_empty()
    }

    /// All of them, in the order in which they were published.
    pub(crate) fn list(&self) -> Vec<Arc<Context>> {
        self.shelf().list()
    }

    /// The one with this id, or all with this name: one for each of several models.
    pub(crate) fn called(&self, name: &str) -> Vec<Arc<Context>> {
        self.shelf().called(name)
    }

    /// The one that a request of `model` means.
    ///
    /// # Errors
    /// `context_not_found`; `invalid_value` where it is another model's.
    pub(crate) fn of_model(&self, name: &str, model: &str) -> Result<Arc<Context>, ApiError> {
        let called = self.called(name);
        if called.is_empty() {
            return Err(ApiError::context_not_found(name));
        }
        let own = called.into_iter().find(|context| context.record.about.model == model);
        own.ok_or_else(|| ApiError::invalid_value("context", "is of another model"))
    }

    /// What a context was made of. Blocks on the file system.
    ///
    /// # Errors
    /// `context_not_found` where its file is gone or damaged: it is then forgotten.
    pub(crate) fn source(&self, context: &Context) -> Result<ContextSource, ApiError> {
        self.store.source(&context.record).map_err(|error| {
            self.lose(context.id());
            ApiError::context_not_found(&context.record.about.name).because(error)
        })
    }

    /// The context of `key` that covers most of `tokens`, mapped, where that is more than the `known_blocks` that are
    /// found without it, or where it is mapped already. Blocks on the file system, and the first time for as long as
    /// reading the file takes.
    pub(crate) fn at_hand(
        &self,
        key: &ContextKey,
        shape: KvShape,
        tokens: &[u32],
        known_blocks: usize,
    ) -> Option<Arc<AtHand>> {
        loop {
            let context = self.shelf().longest(key, tokens)?;
            context.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            let mut last_map = context.last_map();
            if let Some(at_hand) = last_map.at_hand.upgrade() {
                return Some(at_hand);
            }
            if context.covers(tokens) <= known_blocks || !self.has_room_for_map() {
                return None;
            }
            match self.store.map(&context.record, shape, last_map.verified) {
                Ok(blocks) => {
                    last_map.verified = Some(blocks.identity());
                    self.mapped.fetch_add(1, Ordering::Relaxed);
                    self.maps.fetch_add(1, Ordering::Relaxed);
                    let (context, mapped) = (Arc::clone(&context), Arc::clone(&self.mapped));
                    let at_hand = Arc::new(AtHand { context, blocks, mapped });
                    last_map.at_hand = Arc::downgrade(&at_hand);
                    return Some(at_hand);
                }
                Err(ContextError::Damaged) => {
                    drop(last_map);
                    self.lose(context.id());
                }
                Err(error) => {
                    tracing::warn!(id = context.id(), error = &error as &dyn std::error::Error, "it is not used");
                    return None;
                }
            }
        }
    }

    /// Forgets a context whose file is not what was written.
    pub(crate) fn lose(&self, id: &str) {
        tracing::warn!(id, "a context's file is damaged, changed or gone: it has to be published again");
        if let Err(error) = self.remove(id) {
            tracing::warn!(id, "its file cannot be removed: {error}");
        }
    }

    /// Forgets a context: no sequence that begins from now on finds it. Blocks on the file system.
    ///
    /// # Errors
    /// What the system says when its file cannot be removed; it is then there again after a restart.
    pub(crate) fn remove(&self, id: &str) -> std::io::Result<()> {
        if let Some(context) = self.shelf().take(id) {
            self.withdraw(&context);
        }
        self.store.remove(id)
    }

    /// What is in the prefix cache of a context that was taken off the shelf goes, and nothing of it comes there again: who
    /// puts a page there looks under the same lock.
    fn withdraw(&self, context: &Context) {
        context.is_withdrawn.store(true, Ordering::Relaxed);
        self.prefixes.forget_context(context.id());
    }

    /// Whether one more file may be mapped: the longest unused are let go for it, if only the prefix cache holds them.
    fn has_room_for_map(&self) -> bool {
        let is_full = || self.mapped.load(Ordering::Relaxed) >= CONTEXT_MAPPINGS_MAX;
        if !is_full() {
            return true;
        }
        let is_mapped = |context: &Arc<Context>| {
            // The one that is to be mapped is locked.
            context.last_map.try_lock().is_ok_and(|last_map| last_map.at_hand.strong_count() > 0)
        };
        let mut contexts: Vec<Arc<Context>> = self.list().into_iter().filter(is_mapped).collect();
        contexts.sort_by_key(|context| context.used.load(Ordering::Relaxed));
        for context in contexts {
            self.prefixes.forget_context(context.id());
            if !is_full() {
                return true;
            }
        }
        false
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
