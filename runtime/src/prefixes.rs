//! The pages of keys and values that outlive their sequences, for those that begin alike.
//!
//! One cache for all models, behind a lock that is held for a look-up: the engine finds and adds pages, the pool takes
//! memory back, and a model that is let go takes its pages along.
//!
//! Invariants: every page owns the bytes of the budget that it takes, and they come back with its last holder; no page is
//! found by a sequence of another load of a model. Deliberately absent: which page goes first ([`PrefixCache`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernels::KvBlock;
use models::limits::KV_BLOCK_POSITIONS;
use scheduler::{Beginning, Insertion, ModelInstance, Page, PrefixCache, PrefixPlace, PrefixStatus, Reach, Scope};

use crate::engine::PageRoom;

/// A full block of keys and values, and its memory.
#[derive(Clone)]
pub(crate) struct KvPage {
    pub(crate) block: KvBlock,
    pub(crate) room: Arc<PageRoom>,
}

impl Page for KvPage {
    fn bytes(&self) -> u64 {
        self.room.bytes()
    }

    fn holders(&self) -> usize {
        Arc::strong_count(&self.room)
    }
}

/// The prefix cache of one server.
pub(crate) struct Prefixes {
    cache: Mutex<PrefixCache<KvPage>>,
    next_instance: AtomicU64,
}

/// A load's part of the cache; dropping it drops the pages.
pub(crate) struct InstancePrefixes {
    prefixes: Arc<Prefixes>,
    instance: ModelInstance,
}

impl Prefixes {
    /// An empty cache of at most `bytes_max`.
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { cache: Mutex::new(PrefixCache::new(bytes_max)), next_instance: AtomicU64::new(0) })
    }

    /// The part of a model that has just been loaded.
    pub(crate) fn instance(self: &Arc<Self>) -> InstancePrefixes {
        let instance = ModelInstance(self.next_instance.fetch_add(1, Ordering::Relaxed));
        InstancePrefixes { prefixes: Arc::clone(self), instance }
    }

    /// Gives back at least `bytes` of pages that no sequence uses, if there are as many. Returns what came free.
    pub(crate) fn reclaim(&self, bytes: u64) -> u64 {
        self.cache().reclaim(bytes)
    }

    /// Drops the pages of a published context, and those behind them.
    pub(crate) fn forget_context(&self, id: &str) {
        self.cache().forget_pages(|page| page.room.context().is_some_and(|context| context.id() == id));
    }

    /// What it holds.
    pub(crate) fn status(&self) -> PrefixStatus {
        self.cache().status()
    }

    fn cache(&self) -> MutexGuard<'_, PrefixCache<KvPage>> {
        // A panic under the lock is a bug of the cache; it may have lost pages, never mixed them up.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InstancePrefixes {
    /// The pages of the longest beginning of `tokens` that is there, without the last token.
    pub(crate) fn beginning(&self, scope: &Scope, tokens: &[u32]) -> Beginning<KvPage> {
        self.prefixes.cache().beginning(self.instance, scope, blocks_before_last(tokens))
    }

    /// How far that beginning is there, where it was there as far as `known` before: as cheap as what has come since.
    pub(crate) fn reach(&self, known: Option<Reach>, scope: &Scope, tokens: &[u32]) -> Reach {
        let known = known.unwrap_or(Reach::start(self.instance));
        self.prefixes.cache().reach(known, scope, blocks_before_last(tokens))
    }

    /// Puts the page of `block`, a full block of tokens, behind `place`; none of a context that was withdrawn.
    pub(crate) fn insert(&self, place: PrefixPlace, scope: &Scope, block: &[u32], page: &KvPage) -> Insertion {
        let mut cache = self.prefixes.cache();
        if page.room.context().is_some_and(|context| context.is_withdrawn()) {
            return Insertion::Refused;
        }
        cache.insert(place, scope, block, page)
    }
}

impl Drop for InstancePrefixes {
    fn drop(&mut self) {
        self.prefixes.cache().forget(self.instance);
    }
}

/// The full blocks before the last token, which is always computed: its logits are wanted.
fn blocks_before_last(tokens: &[u32]) -> impl Iterator<Item = &[u32]> + Clone {
    let (_, before) = tokens.split_last().unwrap_or((&0, &[]));
    before.chunks_exact(KV_BLOCK_POSITIONS)
}
