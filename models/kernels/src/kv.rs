//! The keys and values of one sequence, in blocks of positions, as IEEE halves or as bytes with scales.
//!
//! A block may be shared by the caches of several sequences that begin alike, and by whoever keeps it for sequences to
//! come: [`KvCache::block`] and [`KvCache::adopt`]. Its memory is given back when the last holder lets go.
//!
//! Invariant: a shared block is never written.
//!
//! A step of several sequences has one buffer for the keys of all, and one for the values: [`SequenceRows`] tells whose
//! cache each row belongs to.
//!
//! One piece of memory per block, for all layers: an allocation, or bytes that someone else keeps (`block.rs`). Within it, for
//! each layer and KV head: the keys transposed \[head_dim\]\[positions\], so that scores of neighbouring positions come out
//! side by side, then the values \[positions\]\[head_dim\]; both with rows padded to whole vectors.
//!
//! Halves, because reading the history is most of what a deep decoding step waits for beside the weights; they are
//! what llama.cpp keeps too. Numbers from 65,520 on become infinite. What bytes look like is in `packed.rs`.

mod block;
mod packed;
mod write;

pub use block::{KvBlock, KvBlockError, KvBytes};
pub(crate) use packed::{widen_keys, widen_values};

use crate::limits::LANES_MAX;

/// What a key's or a value's numbers are kept as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvPrecision {
    /// IEEE halves.
    #[default]
    F16,
    /// Bytes, with a half as the scale of each 32 of a head: 53 % of the memory.
    Q8_0,
}

/// Sizes that all blocks of a cache have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Layers that attend.
    pub layers: usize,
    /// KV heads in each layer.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions in one block.
    pub block_positions: usize,
    /// What numbers are kept as.
    pub precision: KvPrecision,
}

impl KvShape {
    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        self.layers * self.kv_heads * self.head_len() * size_of::<u16>()
    }

    /// Distance between a key's neighbouring dimensions, in elements.
    pub(crate) const fn key_stride(&self) -> usize {
        self.block_positions.next_multiple_of(LANES_MAX)
    }

    /// Distance between neighbouring values, in elements.
    pub(crate) const fn value_stride(&self) -> usize {
        self.head_dim.next_multiple_of(LANES_MAX)
    }

    /// Length of a head's keys in one block, in halves.
    const fn keys_len(&self) -> usize {
        let numbers = self.head_dim * self.key_stride();
        match self.precision {
            KvPrecision::F16 => numbers,
            KvPrecision::Q8_0 => numbers / 2 + self.scales() * self.key_stride(),
        }
    }

    /// The same of its keys and values.
    const fn head_len(&self) -> usize {
        let numbers = self.block_positions * self.value_stride();
        let values = match self.precision {
            KvPrecision::F16 => numbers,
            KvPrecision::Q8_0 => numbers / 2 + self.block_positions * self.scales(),
        };
        self.keys_len() + values
    }

    /// Where a head's keys begin in a block, in halves; its values follow.
    fn head_start(&self, layer: usize, kv_head: usize) -> usize {
        debug_assert!(layer < self.layers && kv_head < self.kv_heads);
        (layer * self.kv_heads + kv_head) * self.head_len()
    }
}

/// Some rows of a call that belong to one sequence, behind those of the sequences before it in the call.
pub trait SequenceRows: Sync {
    /// Its keys and values.
    fn cache(&self) -> &KvCache;

    /// The same, to be written.
    fn cache_mut(&mut self) -> &mut KvCache;

    /// Position of its first row; the others follow.
    fn first_position(&self) -> usize;

    /// How many rows.
    fn tokens(&self) -> usize;
}

/// Rows of one sequence.
pub struct CacheRows<'a> {
    /// Its keys and values.
    pub cache: &'a mut KvCache,
    /// Position of the first row.
    pub first_position: usize,
    /// How many rows.
    pub tokens: usize,
}

impl SequenceRows for CacheRows<'_> {
    fn cache(&self) -> &KvCache {
        self.cache
    }

    fn cache_mut(&mut self) -> &mut KvCache {
        self.cache
    }

    fn first_position(&self) -> usize {
        self.first_position
    }

    fn tokens(&self) -> usize {
        self.tokens
    }
}

/// The keys and values of one sequence; grows by whole blocks.
pub struct KvCache {
    shape: KvShape,
    blocks: Vec<KvBlock>,
    len: usize,
}

impl KvCache {
    /// No blocks yet.
    ///
    /// # Panics
    /// When a block would have no positions.
    #[must_use]
    pub const fn new(shape: KvShape) -> Self {
        assert!(shape.block_positions > 0, "a block of positions");
        Self { shape, blocks: Vec::new(), len: 0 }
    }

    /// The sizes it was made with.
    #[must_use]
    pub const fn shape(&self) -> KvShape {
        self.shape
    }

    /// Adds a block of zeros.
    pub fn push_block(&mut self) {
        self.blocks.push(KvBlock::zeroed(self.shape));
    }

    /// A share of a block whose positions are all written. While anyone else holds it, none of them can be written again.
    ///
    /// # Panics
    /// When there is no such block, or it is not full.
    #[must_use]
    pub fn block(&self, index: usize) -> KvBlock {
        assert!((index + 1) * self.shape.block_positions <= self.len, "block {index} is full");
        self.blocks[index].clone()
    }

    /// Appends a block that another cache wrote for the same tokens at the same positions; they count as written.
    ///
    /// # Panics
    /// When the block has another shape, or a position before it is not written.
    pub fn adopt(&mut self, block: KvBlock) {
        assert_eq!(block.shape(), self.shape, "a block of this cache's shape");
        assert_eq!(self.len, self.capacity(), "what precedes a shared block is written");
        self.blocks.push(block);
        self.len = self.capacity();
    }

    /// Blocks held.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Positions there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.blocks.len() * self.shape.block_positions
    }

    /// Positions that its owner counts as written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counts `positions` as written, once all layers have been.
    ///
    /// # Panics
    /// When there is no room for as many.
    pub fn set_len(&mut self, positions: usize) {
        assert!(positions <= self.capacity(), "{positions} positions in room for {}", self.capacity());
        self.len = positions;
    }

    /// Forgets all but the first `positions`, and lets go of the blocks that hold none of them.
    pub fn truncate(&mut self, positions: usize) {
        self.len = self.len.min(positions);
        self.blocks.truncate(positions.div_ceil(self.shape.block_positions));
    }

    /// Forgets all positions and lets go of all blocks.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Memory that the blocks take, shared ones included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(KvBlock::bytes).sum()
    }

    /// A head's keys in one block: \[head_dim\]\[key_stride\] where they are halves.
    pub(crate) fn keys(&self, block: usize, layer: usize, kv_head: usize) -> &[u16] {
        &self.blocks[block].halves()[self.shape.head_start(layer, kv_head)..][..self.shape.keys_len()]
    }

    /// A head's values in one block: \[positions\]\[value_stride\] where they are halves.
    pub(crate) fn values(&self, block: usize, layer: usize, kv_head: usize) -> &[u16] {
        let start = self.shape.head_start(layer, kv_head);
        &self.blocks[block].halves()[start + self.shape.keys_len()..start + self.shape.head_len()]
    }

    /// The blocks from number `first` on, to be written.
    fn blocks_from(&mut self, first: usize) -> &mut [KvBlock] {
        let first = first.min(self.blocks.len());
        &mut self.blocks[first..]
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::entry::Kernels;
    use crate::isa::Isa;

    fn write(cache: &mut KvCache, layer: usize, first_position: usize, (k, v): (&[f32], &[f32])) {
        let tokens = k.len() / (cache.shape.kv_heads * cache.shape.head_dim);
        Kernels::new(NonZeroUsize::MIN, Isa::Scalar).kv_write(
            layer,
            &mut [CacheRows { cache, first_position, tokens }],
            k,
            v,
        );
    }

    #[test]
    fn truncation_gives_blocks_back() {
        let mut cache = small(4);
        cache.set_len(14);
        cache.truncate(5);
        assert_eq!((cache.len(), cache.blocks(), cache.is_empty()), (5, 2, false));
        cache.truncate(0);
        assert_eq!((cache.len(), cache.blocks(), cache.is_empty()), (0, 0, true));
    }

    fn small(blocks: usize) -> KvCache {
        let mut cache = KvCache::new(KvShape {
            layers: 1,
            kv_heads: 1,
            head_dim: 8,
            block_positions: 4,
            precision: KvPrecision::F16,
        });
        (0..blocks).for_each(|_| cache.push_block());
        cache
    }

    #[test]
    fn a_block_is_shared_and_outlives_the_cache_that_wrote_it() {
        let mut first = small(2);
        write(&mut first, 0, 0, (&[1.0; 7 * 8], &[2.0; 7 * 8]));
        first.set_len(7);
        let block = first.block(0);
        assert_eq!((block.holders(), block.bytes()), (2, first.bytes() / 2));
        let mut second = small(0);
        second.adopt(block.clone());
        second.push_block();
        assert_eq!((second.len(), second.capacity(), block.holders()), (4, 8, 3));
        write(&mut second, 0, 4, (&[3.0; 8], &[4.0; 8]));
        assert_eq!((second.keys(0, 0, 0), second.values(0, 0, 0)), (first.keys(0, 0, 0), first.values(0, 0, 0)));
        drop(first);
        second.clear();
        assert_eq!((second.len(), second.blocks(), block.holders()), (0, 0, 1));
    }

    #[test]
    #[should_panic(expected = "a shared block is never written")]
    fn a_shared_block_cannot_be_written() {
        let mut cache = small(1);
        cache.set_len(4);
        let _shared = cache.block(0);
        write(&mut cache, 0, 3, (&[0.0; 8], &[0.0; 8]));
    }

    #[test]
    fn only_full_blocks_are_shared_and_only_full_ones_precede_them() {
        let mut cache = small(1);
        cache.set_len(3);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.block(0))).is_err());
        cache.set_len(4);
        let block = cache.block(0);
        cache.push_block();
        let adopt = std::panic::AssertUnwindSafe(move || cache.adopt(block));
        assert!(std::panic::catch_unwind(adopt).is_err());
    }

    #[test]
    #[should_panic(expected = "beyond room")]
    fn a_position_without_room_is_a_mistake() {
        let mut cache = KvCache::new(KvShape {
            layers: 1,
            kv_heads: 1,
            head_dim: 8,
            block_positions: 4,
            precision: KvPrecision::F16,
        });
        cache.push_block();
        write(&mut cache, 0, 4, (&[0.0; 8], &[0.0; 8]));
    }
}
