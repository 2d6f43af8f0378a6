//! Products: sixteen rows at a time, unpacked block by block into registers, for all columns of a tile.

use std::arch::x86_64::*;

use super::ahead::Ahead;
use super::blocks::{Blocks, Q4_0, Q4_1, Q8_0};
use super::fives::{Q5_0, Q5_1};
use super::floats::{self, BF16, F16, F32};
use super::lanes::{ROWS, SixteenRows};
use super::low_bits::{Q2K, Q3K};
use super::places::{Iq4Nl, Iq4Xs};
use super::superblocks::{Q4K, Q5K, Q6K};
use super::weights::{ColumnBlock, Weights};
use crate::activations::{Activations, Tile};
use crate::limits::{COLUMN_TILE_MAX, PAIRED_COLUMNS_MIN, QUANT_BLOCK};
use crate::products::{RowsOf, Store};
use crate::weights::WeightType;

/// Computes the part's rows for all columns.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI, and AVX2, FMA and F16C.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(crate) unsafe fn compute(part: &RowsOf<'_>) {
    // SAFETY: the processor's features are this function's contract; the type is the matrix's own, and there are
    // enough rows for a group.
    unsafe {
        if part.weights.rows() < ROWS {
            return crate::avx2::products::compute(part);
        }
        match part.weights.ty() {
            WeightType::F32 => floats::compute::<F32>(part),
            WeightType::F16 => floats::compute::<F16>(part),
            WeightType::BF16 => floats::compute::<BF16>(part),
            WeightType::Q4_0 => quantized::<Q4_0>(part),
            WeightType::Q4_1 => quantized::<Q4_1>(part),
            WeightType::Q5_0 => quantized::<Q5_0>(part),
            WeightType::Q5_1 => quantized::<Q5_1>(part),
            WeightType::Q8_0 => quantized::<Q8_0>(part),
            WeightType::Q2K => quantized::<Q2K>(part),
            WeightType::Q3K => quantized::<Q3K>(part),
            WeightType::Q4K => quantized::<Q4K>(part),
            WeightType::Q5K => quantized::<Q5K>(part),
            WeightType::Q6K => quantized::<Q6K>(part),
            WeightType::IQ4NL => quantized::<Iq4Nl>(part),
            WeightType::IQ4XS => quantized::<Iq4Xs>(part),
        }
    }
}

/// Sixteen rows of a matrix, of which those from `row` on are asked for.
#[derive(Clone, Copy)]
struct RowGroup {
    rows: SixteenRows,
    first: usize,
    row: usize,
}

impl RowGroup {
    /// The rows of `part` in groups. Where the matrix, of at least sixteen rows, ends before a group does, the group begins
    /// earlier.
    fn all<'a>(part: &'a RowsOf<'_>) -> impl Iterator<Item = Self> + 'a {
        let (total, stride) = (part.weights.rows(), part.weights.row_bytes());
        part.rows.clone().step_by(ROWS).map(move |row| {
            let first = row.min(total - ROWS);
            // From all that is left of the matrix: the pointer may be followed through the rows after the first.
            let rest = &part.weights.bytes()[first * stride..];
            Self { rows: SixteenRows::new(rest.as_ptr(), stride), first, row }
        })
    }

    /// Stores the sums of one column, a lane for each row: those that are asked for.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn store(self, part: &RowsOf<'_>, column: usize, sums: __m512) {
        let before = self.row - self.first;
        let count = (ROWS - before).min(part.rows.end - self.row);
        let asked = (((1_u32 << count) - 1) << before) as u16;
        // SAFETY: it ends with this function, which takes no other.
        let out = unsafe { part.out(column, self.row..self.row + count) };
        let lanes = out.as_mut_ptr().wrapping_sub(before);
        // SAFETY: the lanes of the mask are the floats of `out`, and no other is touched.
        unsafe {
            let sums = match part.store {
                Store::Replace => sums,
                Store::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(asked, lanes), sums),
            };
            _mm512_mask_storeu_ps(lanes, asked, sums);
        }
    }
}

/// Computes the part's rows for all columns.
///
/// # Safety
/// The matrix has at least sixteen rows, in blocks of `B`. The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn quantized<B: Blocks>(part: &RowsOf<'_>) {
    let mut accs = [_mm512_setzero_ps(); 2 * COLUMN_TILE_MAX];
    for tile in part.activations.tiles() {
        let mut groups = RowGroup::all(part);
        while let Some(group) = groups.next() {
            let other = if tile.columns >= PAIRED_COLUMNS_MIN { groups.next() } else { None };
            // SAFETY: by contract.
            unsafe {
                match other {
                    Some(other) => tile_of::<B, 2>(part, tile, [group, other], &mut accs),
                    None => tile_of::<B, 1>(part, tile, [group], &mut accs),
                }
            }
        }
    }
}

/// Computes the products of `N` groups of rows with the columns of a tile. There is room for as many sums in `accs`.
///
/// # Safety
/// The groups are of the part's matrix, in blocks of `B`. The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn tile_of<B: Blocks, const N: usize>(
    part: &RowsOf<'_>,
    tile: Tile,
    groups: [RowGroup; N],
    accs: &mut [__m512; 2 * COLUMN_TILE_MAX],
) {
    let store = |accs: &[[__m512; N]]| {
        for (column, accs) in accs.iter().enumerate() {
            for (group, acc) in groups.iter().zip(accs) {
                group.store(part, tile.first + column, *acc);
            }
        }
    };
    let (rows, blocks, zero) = (groups.map(|group| group.rows), tile.blocks, [_mm512_setzero_ps(); N]);
    let columns = ColumnBlock::first_of(part.activations, tile);
    // SAFETY: the rows are whole, and as wide as the columns (`products` asserts).
    unsafe {
        match tile.columns {
            // Sums that are known to be few stay in registers.
            1 => store(&multiply::<B, _, N>(rows, columns, blocks, [zero; 1])),
            2 => store(&multiply::<B, _, N>(rows, columns, blocks, [zero; 2])),
            3 => store(&multiply::<B, _, N>(rows, columns, blocks, [zero; 3])),
            4 => store(&multiply::<B, _, N>(rows, columns, blocks, [zero; 4])),
            8 => store(&multiply::<B, _, N>(rows, columns, blocks, [zero; 8])),
            count => {
                let accs = &mut accs.as_chunks_mut().0[..count];
                accs.fill(zero);
                store(multiply::<B, &mut [[__m512; N]], N>(rows, columns, blocks, accs));
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

    /// The next block: of the next column, or of the same one where there is no other.
    #[inline(always)]
    fn next(self) -> Self {
        Self {
            quants: self.quants.wrapping_add(QUANT_BLOCK),
            scale: self.scale.wrapping_add(1),
            sum: self.sum.wrapping_add(1),
            half_sums: self.half_sums.wrapping_add(1),
        }
    }
}

/// Adds to `accs` the products of `N` times sixteen rows with as many columns: an array of few stays in registers.
///
/// # Safety
/// The rows have `blocks` blocks of 32, a whole number of the type's, and as many of each column lie from `columns` on. The
/// processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline(never)]
unsafe fn multiply<B: Blocks, A: AsMut<[[__m512; N]]>, const N: usize>(
    mut rows: [SixteenRows; N],
    mut columns: ColumnBlock,
    blocks: usize,
    mut accs: A,
) -> A {
    let runs = B::PARTS * B::RUNS;
    let mut ahead = Ahead::of_groups(&rows, accs.as_mut().len(), runs);
    for _ in 0..blocks / runs {
        ahead.begin_block(rows[0]);
        // SAFETY: a whole block is left of every row and column.
        unsafe {
            // Loops and no closures: one that is not compiled into its caller passes vectors by memory.
            let mut scales = [B::scales(rows[0]); N];
            for n in 1..N {
                scales[n] = B::scales(rows[n]);
            }
            for number in 0..B::PARTS {
                let mut parts = [B::part(rows[0], number); N];
                for n in 1..N {
                    parts[n] = B::part(rows[n], number);
                }
                columns = run::<B, 0, N>((&scales, &parts), number, columns, accs.as_mut());
                ahead.run(runs, B::BYTES);
                if B::RUNS >= 2 {
                    columns = run::<B, 1, N>((&scales, &parts), number, columns, accs.as_mut());
                    ahead.run(runs, B::BYTES);
                }
                if B::RUNS == 4 {
                    columns = run::<B, 2, N>((&scales, &parts), number, columns, accs.as_mut());
                    ahead.run(runs, B::BYTES);
                    columns = run::<B, 3, N>((&scales, &parts), number, columns, accs.as_mut());
                    ahead.run(runs, B::BYTES);
                }
            }
        }
        rows = rows.map(|rows| rows.right(B::BYTES));
    }
    accs
}

/// Multiplies one run with the blocks of all columns, and returns the place of the next blocks.
///
/// # Safety
/// A block of each column lies from `columns` on. The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn run<B: Blocks, const R: usize, const N: usize>(
    (scales, parts): (&[B::Scales; N], &[B::Part; N]),
    number: usize,
    mut columns: ColumnBlock,
    accs: &mut [[__m512; N]],
) -> ColumnBlock {
    // SAFETY: by contract.
    unsafe {
        let mut weights = [B::run::<R>(&scales[0], number, &parts[0]); N];
        for n in 1..N {
            weights[n] = B::run::<R>(&scales[n], number, &parts[n]);
        }
        for accs in accs {
            Weights::accumulate(&weights, columns, accs);
            columns = columns.next();
        }
    }
    columns
}
