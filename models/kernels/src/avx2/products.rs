//! Products: eight rows at a time, unpacked block by block into registers, for all columns of a tile; where a type allows
//! it and there are many columns, by panels.

use std::arch::x86_64::*;

use super::ahead::Ahead;
use super::blocks::{Blocks, Q4_0, Q4_1, Q8_0};
use super::dots::{Fours, Multiply, Pairs, Vnni};
use super::fives::{Q5_0, Q5_1};
use super::floats::{self, BF16, F16, F32};
use super::lanes::EightRows;
use super::low_bits::{Q2K, Q3K};
use super::panel;
use super::pending::Pending;
use super::places::{Iq4Nl, Iq4Xs};
use super::superblocks::{Q4K, Q5K, Q6K};
use super::weights::{ColumnBlock, Unsigned, Weights};
use crate::activations::{Activations, Tile};
use crate::limits::{COLUMN_TILE_MAX, PANEL_COLUMNS_MIN, QUANT_BLOCK, ROW_GROUP};
use crate::products::RowsOf;
use crate::weights::WeightType;

/// Computes the part's rows for all columns.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
pub(crate) unsafe fn compute(part: &RowsOf<'_>) {
    // SAFETY: by contract.
    unsafe { compute_by::<Pairs>(part) }
}

/// The same with AVX-VNNI.
///
/// # Safety
/// The processor has AVX2, FMA, F16C and AVX-VNNI.
pub(crate) unsafe fn compute_with_vnni(part: &RowsOf<'_>) {
    // SAFETY: by contract.
    unsafe { compute_by::<Fours<Vnni>>(part) }
}

/// Computes the part's rows for all columns, many of them by the instructions of `M`.
///
/// # Safety
/// The processor has AVX2, FMA and F16C, and the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn compute_by<M: Multiply>(part: &RowsOf<'_>) {
    // SAFETY: the processor's features are this function's contract; the type is the matrix's own.
    unsafe {
        match part.weights.ty() {
            WeightType::F32 => floats::compute::<F32>(part),
            WeightType::F16 => floats::compute::<F16>(part),
            WeightType::BF16 => floats::compute::<BF16>(part),
            WeightType::Q4_0 => by_panels::<Q4_0, M>(part),
            WeightType::Q4_1 => by_panels::<Q4_1, M>(part),
            WeightType::Q5_0 => quantized::<Q5_0, M>(part),
            WeightType::Q5_1 => quantized::<Q5_1, M>(part),
            WeightType::Q8_0 => quantized::<Q8_0, M>(part),
            WeightType::Q2K => quantized::<Q2K, M>(part),
            WeightType::Q3K => quantized::<Q3K, M>(part),
            WeightType::Q4K => by_panels::<Q4K, M>(part),
            WeightType::Q5K => quantized::<Q5K, M>(part),
            WeightType::Q6K => quantized::<Q6K, M>(part),
            WeightType::IQ4NL => quantized::<Iq4Nl, M>(part),
            WeightType::IQ4XS => quantized::<Iq4Xs, M>(part),
        }
    }
}

/// Eight rows of a matrix, of which the lanes from `lane` on are the rows from `row` on.
pub(super) struct RowGroup {
    pub(super) rows: EightRows,
    row: usize,
    lane: usize,
}

impl RowGroup {
    /// The rows of `part` in groups. Where the matrix ends before a group does, the group begins earlier; a matrix of
    /// fewer than eight rows is taken row by row, each standing for all eight.
    pub(super) fn all<'a>(part: &'a RowsOf<'_>) -> impl Iterator<Item = Self> + 'a {
        let total = part.weights.rows();
        let (step, stride) = if total < ROW_GROUP { (1, 0) } else { (ROW_GROUP, part.weights.row_bytes()) };
        part.rows.clone().step_by(step).map(move |row| {
            let first = if total < ROW_GROUP { row } else { row.min(total - ROW_GROUP) };
            // From all that is left of the matrix: the pointer may be followed through the rows after the first.
            let rest = &part.weights.bytes()[first * part.weights.row_bytes()..];
            let rows = EightRows { first: rest.as_ptr(), stride };
            Self { rows, row, lane: row - first }
        })
    }

    /// Stores the sums of one column, a lane for each row.
    #[inline]
    pub(super) fn store(&self, part: &RowsOf<'_>, column: usize, sums: &[f32; ROW_GROUP]) {
        let end = if self.rows.stride == 0 { 1 } else { ROW_GROUP };
        part.store(column, self.row, &sums[self.lane..end]);
    }
}

/// All columns, a tile at a time; many of them by panels.
///
/// # Safety
/// The type's blocks are `B`; the processor has AVX2, FMA and F16C, and the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_panels<B: Blocks<Run = Unsigned<8>>, M: Multiply>(part: &RowsOf<'_>) {
    for tile in part.activations.tiles() {
        // SAFETY: by contract; the rows are whole, and as wide as the columns (`products` asserts).
        unsafe {
            if tile.columns < PANEL_COLUMNS_MIN {
                one_tile::<B, M>(part, tile);
            } else {
                panel::multiply::<B, M>(part, tile, ColumnBlock::first_of(part.activations, tile));
            }
        }
    }
}

/// All columns, a tile at a time.
///
/// # Safety
/// The type's blocks are `B`; the processor has AVX2, FMA and F16C, and the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quantized<B: Blocks, M: Multiply>(part: &RowsOf<'_>) {
    // SAFETY: by contract.
    part.activations.tiles().for_each(|tile| unsafe { one_tile::<B, M>(part, tile) });
}

/// # Safety
/// The type's blocks are `B`; the processor has AVX2, FMA and F16C, and the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_tile<B: Blocks, M: Multiply>(part: &RowsOf<'_>, tile: Tile) {
    let columns = ColumnBlock::first_of(part.activations, tile);
    let mut accs = [_mm256_setzero_ps(); COLUMN_TILE_MAX];
    for group in RowGroup::all(part) {
        let store = |accs: &[__m256]| {
            for (column, acc) in accs.iter().enumerate() {
                group.store(part, tile.first + column, &floats_of(*acc));
            }
        };
        let (rows, blocks, zero) = (group.rows, tile.blocks, _mm256_setzero_ps());
        // SAFETY: the rows are whole, and as wide as the columns (`products` asserts).
        unsafe {
            match tile.columns {
                1 => store(&[one_column::<B>(rows, columns, blocks)]),
                // Sums that are known to be few stay in registers.
                2 => store(&many_columns::<B, M, _>(rows, columns, blocks, [zero; 2])),
                3 => store(&many_columns::<B, M, _>(rows, columns, blocks, [zero; 3])),
                4 => store(&many_columns::<B, M, _>(rows, columns, blocks, [zero; 4])),
                count => {
                    let accs = &mut accs[..count];
                    accs.fill(zero);
                    store(many_columns::<B, M, &mut [__m256]>(rows, columns, blocks, accs));
                }
            }
        }
    }
}

impl ColumnBlock {
    /// The first block of the first column of a tile, whose blocks all lie behind it in order.
    fn first_of(activations: &Activations, tile: Tile) -> Self {
        let range = tile.index(0, 0)..tile.index(tile.blocks, 0);
        Self {
            quants: activations.quants()[range.start * QUANT_BLOCK..range.end * QUANT_BLOCK].as_ptr(),
            scale: activations.scales()[range.clone()].as_ptr(),
            sum: activations.sums()[range.clone()].as_ptr(),
            half_sums: activations.half_sums()[range].as_ptr(),
        }
    }

    /// The block `blocks` places further: in the same place of a later column, or of a later block.
    #[inline(always)]
    pub(super) fn right(self, blocks: usize) -> Self {
        Self {
            quants: self.quants.wrapping_add(blocks * QUANT_BLOCK),
            scale: self.scale.wrapping_add(blocks),
            sum: self.sum.wrapping_add(blocks),
            half_sums: self.half_sums.wrapping_add(blocks),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn floats_of(v: __m256) -> [f32; ROW_GROUP] {
    let mut floats = [0.0; ROW_GROUP];
    // SAFETY: eight floats.
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), v) };
    floats
}

/// # Safety
/// The rows and the column have `blocks` blocks of 32, a whole number of the type's.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_column<B: Blocks>(mut rows: EightRows, mut column: ColumnBlock, blocks: usize) -> __m256 {
    let mut late = Late::<B> { acc: _mm256_setzero_ps(), pending: <B::Run as Weights>::Pending::none(), column };
    let mut ahead = Ahead::of_group(rows.at(0, ROW_GROUP * rows.stride), ROW_GROUP * rows.stride);
    for _ in 0..blocks / (B::PARTS * B::RUNS) {
        // SAFETY: a whole block is left of every row and of the column. Prefetching never faults.
        unsafe {
            let scales = B::scales(rows);
            for number in 0..B::PARTS {
                ahead.advance(B::BYTES * ROW_GROUP / B::PARTS);
                late.add(B::products::<0>(rows, &scales, number, column), column);
                if B::RUNS >= 2 {
                    late.add(B::products::<1>(rows, &scales, number, column.right(1)), column.right(1));
                }
                if B::RUNS == 4 {
                    late.add(B::products::<2>(rows, &scales, number, column.right(2)), column.right(2));
                    late.add(B::products::<3>(rows, &scales, number, column.right(3)), column.right(3));
                }
                column = column.right(B::RUNS);
            }
        }
        rows = rows.right(B::BYTES);
    }
    // SAFETY: the last run's column.
    if blocks == 0 { late.acc } else { unsafe { late.pending.finish(late.column, late.acc) } }
}

/// Sums whose last addend is still pending.
struct Late<B: Blocks> {
    acc: __m256,
    pending: <B::Run as Weights>::Pending,
    column: ColumnBlock,
}

impl<B: Blocks> Late<B> {
    /// Finishes what is pending, and leaves `next` so.
    ///
    /// # Safety
    /// `column` is that of `next`.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn add(&mut self, next: <B::Run as Weights>::Pending, column: ColumnBlock) {
        // SAFETY: the columns are whole blocks.
        self.acc = unsafe { self.pending.finish(self.column, self.acc) };
        (self.pending, self.column) = (next, column);
    }
}

/// Adds the products to `accs`, one for each column, and returns them.
///
/// # Safety
/// The rows have `blocks` blocks of 32, a whole number of the type's, and as many of each column lie from `columns` on. The
/// processor has the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn many_columns<B: Blocks, M: Multiply, A: AsMut<[__m256]>>(
    mut rows: EightRows,
    mut columns: ColumnBlock,
    blocks: usize,
    mut accs: A,
) -> A {
    let mut ahead = Ahead::of_group(rows.at(0, ROW_GROUP * rows.stride), ROW_GROUP * rows.stride);
    for _ in 0..blocks / (B::PARTS * B::RUNS) {
        // SAFETY: a whole block is left of every row and column.
        unsafe {
            let scales = B::scales(rows);
            for number in 0..B::PARTS {
                ahead.advance(B::BYTES * ROW_GROUP / B::PARTS);
                let part = B::part(rows, &scales, number);
                columns = each_column::<M>(&B::run::<0>(&scales, number, &part), columns, accs.as_mut());
                if B::RUNS >= 2 {
                    columns = each_column::<M>(&B::run::<1>(&scales, number, &part), columns, accs.as_mut());
                }
                if B::RUNS == 4 {
                    columns = each_column::<M>(&B::run::<2>(&scales, number, &part), columns, accs.as_mut());
                    columns = each_column::<M>(&B::run::<3>(&scales, number, &part), columns, accs.as_mut());
                }
            }
        }
        rows = rows.right(B::BYTES);
    }
    accs
}

/// Multiplies one run with the blocks of all columns, and returns the place of the next blocks.
///
/// # Safety
/// A block of each column lies from `columns` on; the processor has the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn each_column<M: Multiply>(
    weights: &impl Weights,
    mut columns: ColumnBlock,
    accs: &mut [__m256],
) -> ColumnBlock {
    for acc in accs {
        // SAFETY: by contract.
        *acc = unsafe { M::accumulate(weights, columns, *acc) };
        columns = columns.right(1);
    }
    columns
}
