//! The prefix cache: pages of keys and values that later sequences with the same beginning need not compute again.
//!
//! A tree for each loaded model: a node is a block of tokens after all the blocks above it, and holds the page that was
//! computed for it. A sequence's beginning is looked up block by block; what was computed in full is inserted behind the
//! place that the sequence has come to. Blocks are compared by their tokens, and not by a hash alone.
//!
//! Whose a node is, is part of its key ([`Scope`]): a tenant finds what it computed itself and what is shared with
//! everyone, and learns by no answer's time what others asked.
//!
//! Invariants: pages together never take more than `bytes_max`; a page that anyone else holds is not dropped for room
//! (that would free nothing); a node leaves after all below it, the least recently used first; nothing of a forgotten
//! model is found again.
//!
//! Deliberately absent: what a page is, and the budget that its bytes come from ([`Page`] carries both).

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// The keys and values of one block of tokens. Clones are the same page.
pub trait Page: Clone {
    /// Memory that it takes.
    fn bytes(&self) -> u64;
    /// Clones that there are, this one included.
    fn holders(&self) -> usize;
}

/// Who finds a page again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Whoever begins with its tokens.
    Everyone,
    /// This tenant alone.
    Tenant(Arc<str>),
}

/// One load of one model: pages of another load are of other weights, perhaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelInstance(pub u64);

/// How far a sequence's beginning is in the cache: where its next block is looked for, or inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixPlace(Parent);

/// The beginning of a sequence, as far as it is in the cache.
#[derive(Debug)]
pub struct Beginning<P> {
    /// The pages of its blocks, first to last.
    pub pages: Vec<P>,
    /// What comes behind them.
    pub place: PrefixPlace,
}

/// How far a beginning was found: what a later look goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Blocks that were there.
    pub blocks: usize,
    place: PrefixPlace,
}

impl Reach {
    /// Before the first block of a sequence of `model`.
    #[must_use]
    pub const fn start(model: ModelInstance) -> Self {
        Self { blocks: 0, place: PrefixPlace::start(model) }
    }
}

/// What became of a page that was to be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// It is there now; this is the place behind it.
    Taken(PrefixPlace),
    /// Another one of the same tokens is, and stays; this is the place behind that.
    Known(PrefixPlace),
    /// The place before it is no longer there, or there is no room.
    Refused,
}

/// What a cache holds, and how it served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixStatus {
    /// Memory of its pages.
    pub bytes: u64,
    /// Those of it that no sequence holds: what [`PrefixCache::reclaim`] can give back.
    pub unused_bytes: u64,
    /// How many pages there are.
    pub pages: u64,
    /// Blocks that were found when they were looked up.
    pub hits: u64,
    /// Sequences that were looked up.
    pub lookups: u64,
    /// Pages dropped for room.
    pub dropped: u64,
}

/// Pages by what they are the keys and values of.
#[derive(Debug)]
pub struct PrefixCache<P> {
    bytes_max: u64,
    nodes: HashMap<NodeId, Node<P>>,
    /// Nodes by the hash of what they are found by.
    index: HashMap<u64, NodeId>,
    hasher: RandomState,
    /// Nodes with none below, the least recently used first.
    leaves: BTreeSet<(Tick, NodeId)>,
    next_id: u64,
    now: Tick,
    status: PrefixStatus,
}

type Tick = u64;

/// Never used twice, so that a place whose node is gone is not taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct NodeId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Parent {
    Root(ModelInstance),
    Node(NodeId, ModelInstance),
}

#[derive(Debug)]
struct Node<P> {
    parent: Parent,
    scope: Scope,
    tokens: Box<[u32]>,
    hash: u64,
    page: P,
    children: usize,
    used: Tick,
}

impl Parent {
    fn model(self) -> ModelInstance {
        match self {
            Self::Root(model) | Self::Node(_, model) => model,
        }
    }
}

impl PrefixPlace {
    /// Before the first block of a sequence of `model`.
    #[must_use]
    pub const fn start(model: ModelInstance) -> Self {
        Self(Parent::Root(model))
    }
}

impl<P: Page> PrefixCache<P> {
    /// An empty cache of at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            nodes: HashMap::new(),
            index: HashMap::new(),
            hasher: RandomState::new(),
            leaves: BTreeSet::new(),
            next_id: 0,
            now: 0,
            status: PrefixStatus::default(),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn status(&self) -> PrefixStatus {
        let unused = self.nodes.values().filter(|node| node.page.holders() == 1);
        PrefixStatus { unused_bytes: unused.map(|node| node.page.bytes()).sum(), ..self.status }
    }

    /// How far `blocks` are there, without counting as a use. `known` says how far they were found before: no block of
    /// those is looked at again, unless pages of them have gone since.
    pub fn reach<'a>(&self, known: Reach, scope: &Scope, blocks: impl Iterator<Item = &'a [u32]> + Clone) -> Reach {
        let known = match known.place.0 {
            // A node leaves after all below it, so those above this one are there, too.
            Parent::Node(id, model) if !self.nodes.contains_key(&id) => Reach::start(model),
            _ => known,
        };
        let Reach { blocks: before, place: PrefixPlace(parent) } = known;
        let found = self.longest(parent, scope, blocks.skip(before));
        found.into_iter().fold(known, |reach, id| Reach {
            blocks: reach.blocks + 1,
            place: PrefixPlace(Parent::Node(id, parent.model())),
        })
    }

    /// The pages of `blocks`, from the first on as far as they are there. They count as used.
    pub fn beginning<'a>(
        &mut self,
        model: ModelInstance,
        scope: &Scope,
        blocks: impl Iterator<Item = &'a [u32]> + Clone,
    ) -> Beginning<P> {
        let found = self.longest(Parent::Root(model), scope, blocks);
        self.status.lookups += 1;
        self.status.hits += found.len() as u64;
        let place = found.last().map_or(Parent::Root(model), |&id| Parent::Node(id, model));
        found.iter().for_each(|&id| self.touch(id));
        let pages = found.iter().map(|id| self.nodes[id].page.clone()).collect();
        Beginning { pages, place: PrefixPlace(place) }
    }

    /// Puts `page` behind `place`, for those of `scope`. A page that is there already counts as used.
    pub fn insert(&mut self, place: PrefixPlace, scope: &Scope, tokens: &[u32], page: &P) -> Insertion {
        let (parent, model) = (place.0, place.0.model());
        if let Some(id) = self.child(parent, scope, tokens) {
            self.touch(id);
            return Insertion::Known(PrefixPlace(Parent::Node(id, model)));
        }
        if let Parent::Node(above, _) = parent
            && !self.nodes.contains_key(&above)
        {
            return Insertion::Refused;
        }
        let hash = self.hash(parent, scope, tokens);
        let bytes = page.bytes();
        // Another key of the same hash: a block that is not kept, once in 2^64.
        if bytes > self.bytes_max || self.index.contains_key(&hash) {
            return Insertion::Refused;
        }
        // The node above may be the one that would have to go.
        if let Parent::Node(above, _) = parent {
            self.add_child(above);
        }
        let excess = (self.status.bytes + bytes).saturating_sub(self.bytes_max);
        if excess > 0 && self.reclaim(excess) < excess {
            if let Parent::Node(above, _) = parent {
                self.remove_child(above);
            }
            return Insertion::Refused;
        }
        let id = NodeId(self.next_id);
        self.next_id += 1;
        self.now += 1;
        let (used, scope, tokens) = (self.now, scope.clone(), tokens.into());
        self.nodes.insert(id, Node { parent, scope, tokens, hash, page: page.clone(), children: 0, used });
        self.index.insert(hash, id);
        self.leaves.insert((used, id));
        self.status.bytes += bytes;
        self.status.pages += 1;
        Insertion::Taken(PrefixPlace(Parent::Node(id, model)))
    }

    /// Drops pages that nobody else holds, the least recently used first, until `bytes` came free or none is left.
    /// Returns what came free.
    pub fn reclaim(&mut self, bytes: u64) -> u64 {
        let mut freed = 0;
        // Those in use were used last: they are met when hardly anything else is left.
        let mut after = None;
        while freed < bytes {
            let next = match after {
                None => self.leaves.first(),
                Some(place) => self.leaves.range((std::ops::Bound::Excluded(place), std::ops::Bound::Unbounded)).next(),
            };
            let Some(&(used, id)) = next else { break };
            if self.nodes[&id].page.holders() > 1 {
                after = Some((used, id));
                continue;
            }
            let mut parent = self.nodes[&id].parent;
            freed += self.remove(id);
            self.status.dropped += 1;
            // Those above may now be leaves that were used before the ones that were passed over.
            while freed < bytes
                && let Parent::Node(above, _) = parent
                && self.nodes[&above].children == 0
                && self.nodes[&above].page.holders() == 1
                && after.is_some_and(|passed| (self.nodes[&above].used, above) < passed)
            {
                parent = self.nodes[&above].parent;
                freed += self.remove(above);
                self.status.dropped += 1;
            }
        }
        freed
    }

    /// Drops the pages that `is_unwanted`, and those behind them, whoever holds them. Returns the bytes of what nobody else
    /// holds.
    pub fn forget_pages(&mut self, is_unwanted: impl Fn(&P) -> bool) -> u64 {
        let unwanted = |(_, node): &(&NodeId, &Node<P>)| is_unwanted(&node.page);
        let mut gone: HashSet<NodeId> = self.nodes.iter().filter(unwanted).map(|(&id, _)| id).collect();
        if gone.is_empty() {
            return 0;
        }
        // A node is younger than those above it, so that what is above was looked at before.
        let mut by_age: Vec<NodeId> = self.nodes.keys().copied().collect();
        by_age.sort_unstable();
        for id in &by_age {
            if let Parent::Node(above, _) = self.nodes[id].parent
                && gone.contains(&above)
            {
                gone.insert(*id);
            }
        }
        let mut freed = 0;
        for id in by_age.into_iter().rev().filter(|id| gone.contains(id)) {
            let is_free = self.nodes[&id].page.holders() == 1;
            let bytes = self.remove(id);
            freed += if is_free { bytes } else { 0 };
        }
        freed
    }

    /// Drops everything of `model`. Returns the bytes of what nobody else holds.
    pub fn forget(&mut self, model: ModelInstance) -> u64 {
        let of_model = |(_, node): &(&NodeId, &Node<P>)| node.parent.model() == model;
        let ids: Vec<NodeId> = self.nodes.iter().filter(of_model).map(|(&id, _)| id).collect();
        let mut freed = 0;
        for id in ids {
            let node = self.nodes.remove(&id).expect("its id was taken from there");
            self.index.remove(&node.hash);
            self.leaves.remove(&(node.used, id));
            self.status.bytes -= node.page.bytes();
            self.status.pages -= 1;
            freed += if node.page.holders() == 1 { node.page.bytes() } else { 0 };
        }
        freed
    }

    /// The longer of what `scope` finds, its own first, and of what is everyone's alone: what a tenant computed before the
    /// same was shared ends where it ended.
    fn longest<'a>(
        &self,
        parent: Parent,
        scope: &Scope,
        blocks: impl Iterator<Item = &'a [u32]> + Clone,
    ) -> Vec<NodeId> {
        let own: Vec<NodeId> = self.found(parent, scope, blocks.clone()).collect();
        if *scope == Scope::Everyone {
            return own;
        }
        let everyones: Vec<NodeId> = self.found(parent, &Scope::Everyone, blocks).collect();
        if everyones.len() > own.len() { everyones } else { own }
    }

    fn found<'a>(
        &self,
        mut parent: Parent,
        scope: &Scope,
        mut blocks: impl Iterator<Item = &'a [u32]>,
    ) -> impl Iterator<Item = NodeId> {
        std::iter::from_fn(move || {
            let tokens = blocks.next()?;
            let id = self.child(parent, scope, tokens).or_else(|| self.child(parent, &Scope::Everyone, tokens))?;
            parent = Parent::Node(id, parent.model());
            Some(id)
        })
    }

    fn child(&self, parent: Parent, scope: &Scope, tokens: &[u32]) -> Option<NodeId> {
        let id = *self.index.get(&self.hash(parent, scope, tokens))?;
        let node = &self.nodes[&id];
        (node.parent == parent && node.scope == *scope && *node.tokens == *tokens).then_some(id)
    }

    fn hash(&self, parent: Parent, scope: &Scope, tokens: &[u32]) -> u64 {
        self.hasher.hash_one((parent, scope, tokens))
    }

    /// A node was used. Those above it were before it, if at all: they have a node below and are no leaves.
    fn touch(&mut self, id: NodeId) {
        self.now += 1;
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node that was found is there");
        if node.children == 0 {
            self.leaves.remove(&(node.used, id));
            self.leaves.insert((now, id));
        }
        node.used = now;
    }

    fn add_child(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a parent was looked for");
        if node.children == 0 {
            self.leaves.remove(&(node.used, id));
        }
        node.children += 1;
    }

    fn remove_child(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a parent outlives what is below it");
        node.children -= 1;
        if node.children == 0 {
            self.leaves.insert((node.used, id));
        }
    }

    /// Removes a leaf. Returns its bytes.
    fn remove(&mut self, id: NodeId) -> u64 {
        let node = self.nodes.remove(&id).expect("a leaf is a node");
        self.index.remove(&node.hash);
        self.leaves.remove(&(node.used, id));
        if let Parent::Node(above, _) = node.parent {
            self.remove_child(above);
        }
        let bytes = node.page.bytes();
        self.status.bytes -= bytes;
        self.status.pages -= 1;
        bytes
    }
}
