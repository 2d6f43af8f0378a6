//! Asking for a group of sixteen rows before it is read.

use std::arch::x86_64::*;

use super::lanes::{ROWS, SixteenRows};

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// How far ahead in its own row a block is asked for.
const ROW_AHEAD_BYTES: usize = 256;

/// What is asked for while groups of rows are computed: the bytes that follow them, in order, as memory has them at its
/// fastest; and, where blocks are long and one column waits for nothing else, those a little further in the rows
/// themselves, which came so while the group before was computed and may have left the nearest cache since.
///
/// Invariant: lines are asked for a few at a time, and evenly. Where many are asked for at once they take all places for
/// lines under way, and what is read meanwhile waits for one, even where it is near.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    following: *const u8,
    within: *const u8,
    stride: usize,
    rows: usize,
    twice: bool,
}

impl Ahead {
    /// What is to come when the first blocks of some groups, which follow each other, are to be multiplied with `columns`:
    /// blocks of `runs` runs of 32.
    #[inline(always)]
    pub(super) fn of_groups<const N: usize>(groups: &[SixteenRows; N], columns: usize, runs: usize) -> Self {
        let (first, last) = (groups[0], groups[N - 1]);
        Self {
            following: last.end(),
            within: first.first(),
            stride: first.bytes() / ROWS,
            rows: N * ROWS,
            twice: columns == 1 && runs > 1,
        }
    }

    /// Begins with the block that `rows` are at.
    #[inline(always)]
    pub(super) fn begin_block(&mut self, rows: SixteenRows) {
        self.within = rows.first().wrapping_add(ROW_AHEAD_BYTES);
    }

    /// Asks for what is due for one of `runs` runs of a block, of `block_bytes` a row.
    #[inline(always)]
    pub(super) fn run(&mut self, runs: usize, block_bytes: usize) {
        let bytes = block_bytes * self.rows / runs;
        lines(self.following, bytes);
        self.following = self.following.wrapping_add(bytes);
        if self.twice {
            for _ in 0..self.rows / runs {
                lines(self.within, block_bytes);
                self.within = self.within.wrapping_add(self.stride);
            }
        }
    }
}

/// Asks for `bytes` from an address on, which may be any.
#[inline(always)]
fn lines(from: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(LINE_BYTES) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(offset).cast()) };
    }
}
