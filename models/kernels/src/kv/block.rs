//! One block of a cache: memory of our own, or bytes that someone else keeps and that are read where they lie.
//!
//! Bytes of others (a mapped file's) are the same halves in the same order as in memory of our own, so every kernel reads
//! them through the one slice that [`KvBlock::halves`] is.
//!
//! Invariants: a block that is shared, or whose bytes are someone else's, is never written. Deliberately absent: whether
//! such bytes are still what they were; whoever keeps them knows, and is asked after each step.

use std::fmt;
use std::sync::Arc;

use super::KvShape;
use crate::aligned::AlignedBuffer;

/// Where another's bytes begin, so that no vector of a row lies across two lines more than in memory of our own.
const BORDER_BYTES: usize = 64;

/// Who keeps the bytes of a block that is read where it lies.
pub trait KvBytes: Send + Sync {
    /// The block's bytes, the same each time: as many as [`KvShape::block_bytes`], from a border of 64 on.
    fn bytes(&self) -> &[u8];
}

/// Why bytes are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvBlockError {
    /// There are more or fewer than a block of this shape has.
    Length {
        /// How many there are.
        bytes: usize,
        /// How many there should be.
        expected_bytes: usize,
    },
    /// They do not begin on a border of 64 bytes.
    Unaligned,
}

impl fmt::Display for KvBlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes, expected_bytes } => write!(f, "{bytes} bytes for a block of {expected_bytes}"),
            Self::Unaligned => write!(f, "a block that does not begin on a border of {BORDER_BYTES} bytes"),
        }
    }
}

impl std::error::Error for KvBlockError {}

/// One block of a cache, shared by whoever holds a clone; immutable once it is shared.
#[derive(Clone)]
pub struct KvBlock(Arc<Block>);

struct Block {
    shape: KvShape,
    memory: Memory,
}

enum Memory {
    Own(AlignedBuffer<u16>),
    Kept(Arc<dyn KvBytes>),
}

impl KvBlock {
    pub(super) fn zeroed(shape: KvShape) -> Self {
        let memory = Memory::Own(AlignedBuffer::zeroed(shape.block_bytes() / size_of::<u16>()));
        Self(Arc::new(Block { shape, memory }))
    }

    /// A full block of `shape` in bytes that `keeper` keeps, as [`KvBlock::halves`] of such a block once gave them. It is
    /// read there for as long as anyone holds the block, and never written.
    ///
    /// # Errors
    /// [`KvBlockError`] when there are more or fewer bytes, or they begin in the middle of a cache line.
    pub fn kept(shape: KvShape, keeper: Arc<dyn KvBytes>) -> Result<Self, KvBlockError> {
        let (bytes, expected_bytes) = (keeper.bytes(), shape.block_bytes());
        if bytes.len() != expected_bytes {
            return Err(KvBlockError::Length { bytes: bytes.len(), expected_bytes });
        }
        if !bytes.as_ptr().addr().is_multiple_of(BORDER_BYTES) {
            return Err(KvBlockError::Unaligned);
        }
        Ok(Self(Arc::new(Block { shape, memory: Memory::Kept(keeper) })))
    }

    /// The sizes it was made with.
    pub(super) fn shape(&self) -> KvShape {
        self.0.shape
    }

    /// All of it, as it lies in memory: what [`KvBlock::kept`] takes back.
    #[must_use]
    pub fn halves(&self) -> &[u16] {
        match &self.0.memory {
            Memory::Own(halves) => halves.as_slice(),
            Memory::Kept(keeper) => {
                // SAFETY: of 16 bits every pattern is a half.
                let (before, halves, after) = unsafe { keeper.bytes().align_to::<u16>() };
                assert!(before.is_empty() && after.is_empty(), "the bytes of a block are the same each time");
                halves
            }
        }
    }

    /// All heads of a layer, to be written.
    pub(super) fn heads_mut(&mut self, layer: usize) -> &mut [u16] {
        let Block { shape, memory } = Arc::get_mut(&mut self.0).expect("a shared block is never written");
        let (start, len) = (shape.head_start(layer, 0), shape.kv_heads * shape.head_len());
        match memory {
            Memory::Own(halves) => &mut halves.as_mut_slice()[start..start + len],
            Memory::Kept(_) => panic!("a block in another's bytes is never written"),
        }
    }

    /// Memory that it takes, however many hold it; of another's bytes, those.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.0.memory {
            Memory::Own(halves) => halves.capacity_bytes(),
            Memory::Kept(_) => self.0.shape.block_bytes(),
        }
    }

    /// How many hold it, this one included.
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl fmt::Debug for KvBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvBlock").field("shape", &self.0.shape).field("holders", &self.holders()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{KvCache, KvPrecision};

    const SHAPE: KvShape =
        KvShape { layers: 2, kv_heads: 1, head_dim: 8, block_positions: 4, precision: KvPrecision::F16 };

    /// Bytes that begin so many behind a border.
    struct Kept {
        lines: AlignedBuffer<u16>,
        skipped: usize,
        len: usize,
    }

    impl Kept {
        fn of(halves: &[u16], skipped: usize) -> Arc<dyn KvBytes> {
            let mut lines = AlignedBuffer::zeroed(halves.len() + BORDER_BYTES);
            lines.as_mut_slice()[skipped / 2..][..halves.len()].copy_from_slice(halves);
            Arc::new(Self { lines, skipped, len: 2 * halves.len() })
        }
    }

    impl KvBytes for Kept {
        fn bytes(&self) -> &[u8] {
            // SAFETY: the bytes of numbers are numbers.
            let (_, bytes, _) = unsafe { self.lines.as_slice().align_to::<u8>() };
            &bytes[self.skipped..self.skipped + self.len]
        }
    }

    fn numbers() -> Vec<u16> {
        let halves = SHAPE.block_bytes() / 2;
        (0..halves).map(|index| u16::try_from(index * 7 % 0x7c00).expect("below infinity")).collect()
    }

    #[test]
    fn bytes_of_others_are_read_as_they_are() {
        let numbers = numbers();
        let block = KvBlock::kept(SHAPE, Kept::of(&numbers, 0)).expect("a block");
        assert_eq!((block.halves(), block.bytes()), (&numbers[..], SHAPE.block_bytes()));
        let mut cache = KvCache::new(SHAPE);
        cache.adopt(block);
        let head = numbers.len() / 2;
        assert_eq!(cache.keys(0, 1, 0), &numbers[head..head + cache.keys(0, 1, 0).len()]);
        assert_eq!(cache.values(0, 1, 0), &numbers[head + cache.keys(0, 1, 0).len()..]);
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let numbers = numbers();
        let expected_bytes = SHAPE.block_bytes();
        for len in [0, numbers.len() - 1] {
            let short = KvBlock::kept(SHAPE, Kept::of(&numbers[..len], 0)).expect_err("too short");
            assert_eq!(short, KvBlockError::Length { bytes: 2 * len, expected_bytes });
        }
        for skipped in [2, 32] {
            let error = KvBlock::kept(SHAPE, Kept::of(&numbers, skipped)).expect_err("no border");
            assert_eq!(error, KvBlockError::Unaligned);
        }
    }

    #[test]
    #[should_panic(expected = "never written")]
    fn bytes_of_others_are_never_written() {
        let mut block = KvBlock::kept(SHAPE, Kept::of(&numbers(), 0)).expect("a block");
        block.heads_mut(0);
    }
}
