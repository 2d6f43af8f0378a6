//! Products: eight rows at a time, unpacked block by block into registers, for all columns of a tile.

use std::arch::x86_64::*;

use super::blocks::{Blocks, Q4_0, Q4_1, Q8_0};
use super::floats::{self, F16, F32};
use super::lanes::RowPointers;
use super::superblocks::{Q4K, Q6K};
use super::weights::{ColumnBlock, Weights};
use crate::activations::{Activations, Tile};
use crate::limits::{COLUMN_TILE_MAX, QUANT_BLOCK, ROW_GROUP};
use crate::products::RowsOf;
use crate::weights::WeightType;

/// Computes the part's rows for all columns.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn compute(part: &RowsOf<'_>) {
    // SAFETY: the processor's features are this function's contract; the type is the matrix's own.
    unsafe {
        match part.weights.ty() {
            WeightType::F32 => floats::compute::<F32>(part),
            WeightType::F16 => floats::compute::<F16>(part),
            WeightType::Q4_0 => quantized::<Q4_0>(part),
            WeightType::Q4_1 => quantized::<Q4_1>(part),
            WeightType::Q8_0 => quantized::<Q8_0>(part),
            WeightType::Q4K => quantized::<Q4K>(part),
            WeightType::Q6K => quantized::<Q6K>(part),
        }
    }
}

/// The blocks of one tile's columns.
struct TileBlocks<'a> {
    tile: Tile,
    activations: &'a Activations,
}

impl TileBlocks<'_> {
    /// The blocks number `block` of all columns, of which `column`'s is `column` places further.
    #[inline(always)]
    fn at(&self, block: usize) -> ColumnBlock {
        let index = self.tile.index(block, 0);
        ColumnBlock {
            quants: self.activations.quants()[index * QUANT_BLOCK..].as_ptr(),
            scale: self.activations.scales()[index..].as_ptr(),
            sum: self.activations.sums()[index..].as_ptr(),
            half_sums: self.activations.half_sums()[index..].as_ptr(),
        }
    }
}

impl ColumnBlock {
    /// The same block of the column `columns` further.
    ///
    /// # Safety
    /// The tile has such a column.
    #[inline(always)]
    unsafe fn right(self, columns: usize) -> Self {
        // SAFETY: the blocks of a tile's columns lie side by side.
        unsafe {
            Self {
                quants: self.quants.add(columns * QUANT_BLOCK),
                scale: self.scale.add(columns),
                sum: self.sum.add(columns),
                half_sums: self.half_sums.add(columns),
            }
        }
    }
}

/// Pointers to eight rows from `first` on; where the matrix ends before, its last row stands in.
pub(super) fn row_pointers(part: &RowsOf<'_>, first: usize) -> RowPointers {
    std::array::from_fn(|i| part.weights.row((first + i).min(part.rows.end - 1)).as_ptr())
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quantized<B: Blocks>(part: &RowsOf<'_>) {
    for tile in part.activations.tiles() {
        let blocks = TileBlocks { tile, activations: part.activations };
        for first in part.rows.clone().step_by(ROW_GROUP) {
            let rows = row_pointers(part, first);
            // SAFETY: the rows are whole, and as wide as the columns (`products` asserts).
            unsafe {
                if tile.columns == 1 {
                    let sums = one_column::<B>(rows, &blocks);
                    part.store(tile.first, first, &sums);
                } else {
                    many_columns::<B>(rows, &blocks, &mut |column, sums| part.store(tile.first + column, first, sums));
                }
            }
        }
    }
}

/// # Safety
/// Each pointer is to a row of the tile's number of blocks.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_column<B: Blocks>(mut rows: RowPointers, blocks: &TileBlocks<'_>) -> [f32; ROW_GROUP] {
    let mut acc = _mm256_setzero_ps();
    // The next group of rows follows this one in memory; the hardware's prefetcher would stop at every page.
    let mut ahead = rows[0].wrapping_add(rows[ROW_GROUP - 1].addr() - rows[0].addr());
    let mut block = 0;
    while block < blocks.tile.blocks {
        // SAFETY: a whole block is left of every row and of the column. Prefetching never faults.
        unsafe {
            ahead = prefetched(ahead, B::BYTES * ROW_GROUP);
            let packed = B::load(&rows);
            for run in 0..B::RUNS {
                acc = B::run(&packed, run).accumulate(blocks.at(block + run), acc);
            }
        }
        rows = rows.map(|row| row.wrapping_add(B::BYTES));
        block += B::RUNS;
    }
    let mut sums = [0.0; ROW_GROUP];
    // SAFETY: eight floats.
    unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), acc) };
    sums
}

/// Asks for `bytes` from `start` on, and returns their end.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn prefetched(start: *const u8, bytes: usize) -> *const u8 {
    for offset in (0..bytes).step_by(64) {
        _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(offset).cast());
    }
    start.wrapping_add(bytes)
}

/// # Safety
/// Each pointer is to a row of the tile's number of blocks.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn many_columns<B: Blocks>(
    mut rows: RowPointers,
    blocks: &TileBlocks<'_>,
    store: &mut dyn FnMut(usize, &[f32; ROW_GROUP]),
) {
    let mut accs = [_mm256_setzero_ps(); COLUMN_TILE_MAX];
    let accs = &mut accs[..blocks.tile.columns];
    let mut block = 0;
    while block < blocks.tile.blocks {
        // SAFETY: a whole block is left of every row and column.
        unsafe {
            let packed = B::load(&rows);
            for run in 0..B::RUNS {
                let weights = B::run(&packed, run);
                let columns = blocks.at(block + run);
                for (column, acc) in accs.iter_mut().enumerate() {
                    *acc = weights.accumulate(columns.right(column), *acc);
                }
            }
        }
        rows = rows.map(|row| row.wrapping_add(B::BYTES));
        block += B::RUNS;
    }
    for (column, acc) in accs.iter().enumerate() {
        let mut sums = [0.0; ROW_GROUP];
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), *acc) };
        store(column, &sums);
    }
}
