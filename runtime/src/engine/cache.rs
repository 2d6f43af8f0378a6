//! Keys and values of one sequence, as its device keeps them.

use kernels::{KvBlock, KvCache};
use models::candle;

use crate::loading::LoadedModel;

/// Where one sequence's keys and values are.
pub(super) enum Cache {
    /// In blocks, which others may share.
    Paged(KvCache),
    /// In tensors of its own.
    Whole(candle::Cache),
}

impl Cache {
    /// An empty one for sequences of `model`, where its weights are.
    pub(super) fn new(model: &LoadedModel) -> Self {
        match model.weights() {
            None => Self::Paged(KvCache::new(model.kv_shape())),
            Some(weights) => Self::Whole(candle::Cache::new(model, weights.device())),
        }
    }

    /// Whether others can take its blocks over.
    pub(super) fn is_shareable(&self) -> bool {
        matches!(self, Self::Paged(_))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Paged(cache) => cache.len(),
            Self::Whole(cache) => cache.len(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Paged(cache) => cache.capacity(),
            Self::Whole(cache) => cache.capacity(),
        }
    }

    pub(super) fn block_bytes(&self) -> usize {
        match self {
            Self::Paged(cache) => cache.shape().block_bytes(),
            Self::Whole(cache) => cache.block_bytes(),
        }
    }

    /// What lies behind `positions` is written anew.
    pub(super) fn return_to(&mut self, positions: usize) {
        // The other is told with each step where that begins.
        if let Self::Paged(cache) = self {
            cache.set_len(positions);
        }
    }

    pub(super) fn push_block(&mut self) {
        match self {
            Self::Paged(cache) => cache.push_block(),
            Self::Whole(cache) => cache.push_block(),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Paged(cache) => cache.clear(),
            Self::Whole(cache) => cache.clear(),
        }
    }

    /// Takes over a block that others computed.
    ///
    /// # Panics
    /// When it shares none.
    pub(super) fn adopt(&mut self, block: KvBlock) {
        match self {
            Self::Paged(cache) => cache.adopt(block),
            Self::Whole(_) => unreachable!("a cache that shares nothing finds nothing"),
        }
    }

    /// One of its blocks, for others.
    ///
    /// # Panics
    /// When it shares none.
    pub(super) fn block(&self, index: usize) -> KvBlock {
        match self {
            Self::Paged(cache) => cache.block(index),
            Self::Whole(_) => unreachable!("a cache that shares nothing has no place to put it"),
        }
    }
}
