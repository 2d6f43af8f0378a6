//! Products with many columns: a panel of rows is unpacked once, into memory that stays in L1, and multiplied with all
//! columns of a tile, sixteen rows × four columns of sums in registers at a time.
//!
//! One column at a time would load a quant of the column for each multiplication, and wait for its own chain of
//! latencies (the additions, the conversion, the scaling), which is longer than the processor's window reaches into the
//! next column.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::blocks::Blocks;
use super::dots::Multiply;
use super::lanes::EightRows;
use super::products::{RowGroup, floats_of};
use super::tiles;
use super::weights::{ColumnBlock, Unsigned};
use crate::activations::Tile;
use crate::limits::{COLUMN_TILE_MAX, PANEL_BLOCKS, PANEL_GROUPS, ROW_GROUP};
use crate::products::RowsOf;

/// Runs of one group of rows.
type Runs = [MaybeUninit<Unsigned<8>>; PANEL_BLOCKS];

/// Columns whose sums fit the registers beside those of two groups of rows.
const TILE_COLUMNS: usize = 4;

/// Sums of one column: eight rows in a vector.
type ColumnSums = [__m256; PANEL_GROUPS];

/// Computes the part's rows for the columns of `tile`, whose first block is at `columns`.
///
/// # Safety
/// The rows are whole blocks of `B`, and as wide as the columns. The processor has AVX2, FMA and F16C, and the instructions
/// of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply<B: Blocks<Run = Unsigned<8>>, M: Multiply>(
    part: &RowsOf<'_>,
    tile: Tile,
    columns: ColumnBlock,
) {
    const { assert!(PANEL_BLOCKS.is_multiple_of(B::PARTS * B::RUNS), "whole blocks of every type") };
    let mut panel = [const { [const { MaybeUninit::uninit() }; PANEL_BLOCKS] }; PANEL_GROUPS];
    let mut sums = [[_mm256_setzero_ps(); PANEL_GROUPS]; COLUMN_TILE_MAX];
    let sums = &mut sums[..tile.columns];
    let mut groups = RowGroup::all(part).peekable();
    while groups.peek().is_some() {
        let mut of_panel: [Option<RowGroup>; PANEL_GROUPS] = std::array::from_fn(|_| groups.next());
        let count = of_panel.iter().flatten().count();
        sums.fill([_mm256_setzero_ps(); PANEL_GROUPS]);
        for first in (0..tile.blocks).step_by(PANEL_BLOCKS) {
            let blocks = PANEL_BLOCKS.min(tile.blocks - first);
            for (group, runs) in of_panel.iter_mut().flatten().zip(&mut panel) {
                // SAFETY: as many blocks are left of every row; a panel is a whole number of the type's.
                unsafe { unpack::<B>(&mut group.rows, blocks, runs) };
            }
            let columns = columns.right(first * tile.columns);
            // SAFETY: `blocks` runs of `count` groups were written, and as many blocks of each column are left.
            unsafe { all_columns::<M>(&panel[..count], blocks, (columns, tile.columns), sums) };
        }
        for (column, sums) in sums.iter().enumerate() {
            for (group, sums) in of_panel.iter().flatten().zip(sums) {
                group.store(part, tile.first + column, &floats_of(*sums));
            }
        }
    }
}

/// Unpacks the next `blocks` of 32 of eight rows, and moves the rows past them.
///
/// # Safety
/// The rows have as many blocks left, a whole number of the type's. The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn unpack<B: Blocks<Run = Unsigned<8>>>(rows: &mut EightRows, blocks: usize, runs: &mut Runs) {
    let own = B::PARTS * B::RUNS;
    prefetch(*rows, blocks / own * B::BYTES);
    for first in (0..blocks).step_by(own) {
        // SAFETY: a whole block is left of every row.
        unsafe {
            let scales = B::scales(*rows);
            for number in 0..B::PARTS {
                let part = B::part(*rows, &scales, number);
                let runs = &mut runs[first + number * B::RUNS..][..B::RUNS];
                runs[0].write(B::run::<0>(&scales, number, &part));
                if B::RUNS >= 2 {
                    runs[1].write(B::run::<1>(&scales, number, &part));
                }
                if B::RUNS == 4 {
                    runs[2].write(B::run::<2>(&scales, number, &part));
                    runs[3].write(B::run::<3>(&scales, number, &part));
                }
            }
        }
        *rows = rows.right(B::BYTES);
    }
}

/// Asks for what is unpacked next of every row, `bytes` long and as far away. Prefetching never faults.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn prefetch(rows: EightRows, bytes: usize) {
    for row in 0..ROW_GROUP {
        for offset in (0..bytes).step_by(64) {
            _mm_prefetch::<_MM_HINT_T0>(rows.at(row, bytes + offset).cast());
        }
    }
}

/// Adds the products of a panel with `count` columns to `sums`.
///
/// # Safety
/// The panel holds `blocks` runs of each group, and as many blocks of each column lie from `columns` on. The processor
/// has AVX2, FMA and F16C, and the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn all_columns<M: Multiply>(
    panel: &[Runs],
    blocks: usize,
    (columns, count): (ColumnBlock, usize),
    sums: &mut [ColumnSums],
) {
    let mut done = 0;
    while done < count {
        let (left, columns) = ((count - done).min(TILE_COLUMNS), columns.right(done));
        let sums = &mut sums[done..done + left];
        // SAFETY: by contract.
        unsafe {
            match left {
                1 => all_groups::<M, 1>(panel, blocks, (columns, count), sums),
                2 => all_groups::<M, 2>(panel, blocks, (columns, count), sums),
                3 => all_groups::<M, 3>(panel, blocks, (columns, count), sums),
                _ => all_groups::<M, 4>(panel, blocks, (columns, count), sums),
            }
        }
        done += left;
    }
}

/// # Safety
/// As [`all_columns`]; a block of a column is `stride` after that before.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn all_groups<M: Multiply, const C: usize>(
    panel: &[Runs],
    blocks: usize,
    (columns, stride): (ColumnBlock, usize),
    sums: &mut [ColumnSums],
) {
    let sums = &mut sums[..C];
    for block in 0..blocks {
        let next = columns.right(block * stride + C);
        _mm_prefetch::<_MM_HINT_T0>(next.quants.cast());
        _mm_prefetch::<_MM_HINT_T0>(next.quants.wrapping_add(64).cast());
        _mm_prefetch::<_MM_HINT_T0>(next.scale.cast());
        _mm_prefetch::<_MM_HINT_T0>(next.sum.cast());
    }
    for group in (0..panel.len()).step_by(2) {
        // SAFETY: by contract.
        unsafe {
            let run = |group: usize, block: usize| panel[group][block].assume_init_ref();
            if group + 1 < panel.len() {
                let mut tile: [[__m256; 2]; C] = std::array::from_fn(|c| [sums[c][group], sums[c][group + 1]]);
                for block in 0..blocks {
                    let rows = [run(group, block), run(group + 1, block)];
                    tiles::accumulate::<M, 2, C>(rows, columns.right(block * stride), &mut tile);
                }
                (0..C).for_each(|c| [sums[c][group], sums[c][group + 1]] = tile[c]);
            } else {
                let mut tile: [[__m256; 1]; C] = std::array::from_fn(|c| [sums[c][group]]);
                for block in 0..blocks {
                    tiles::accumulate::<M, 1, C>([run(group, block)], columns.right(block * stride), &mut tile);
                }
                (0..C).for_each(|c| [sums[c][group]] = tile[c]);
            }
        }
    }
}
