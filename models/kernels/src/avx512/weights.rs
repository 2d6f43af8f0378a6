//! Sixteen rows × 32 weights in registers, and their products with one column's block.
//!
//! Everywhere, vector i of eight holds weights 4i to 4i + 3 of rows 0 to 15, four bytes a row, without sign: a column's
//! four quants are broadcast against it and no lane is ever summed across. Sums of products are exact integers, offsets
//! that are whole numbers included; the f32 steps per block come in the same order for every number of columns, so a
//! column's result does not depend on its neighbours.

use std::arch::x86_64::*;

/// One block of one column.
#[derive(Clone, Copy)]
pub(super) struct ColumnBlock {
    pub(super) quants: *const i8,
    pub(super) scale: *const f32,
    pub(super) sum: *const f32,
    pub(super) half_sums: *const [i16; 2],
}

/// Weights ready to be multiplied.
pub(super) trait Weights {
    /// Adds the products of each of `N` groups of rows with `column` to its sum.
    ///
    /// # Safety
    /// The pointers of `column` are those of a whole block. The processor has AVX-512 F, BW, VL and VNNI.
    unsafe fn accumulate<const N: usize>(groups: &[Self; N], column: ColumnBlock, accs: &mut [__m512; N])
    where
        Self: Sized;
}

/// Quants with a scale and an offset per row.
#[derive(Clone, Copy)]
pub(super) struct Offset {
    pub(super) quants: [__m512i; 8],
    pub(super) scale: __m512,
    pub(super) offset: __m512,
}

/// Quants above their value by `ZERO`, with a scale per row.
#[derive(Clone, Copy)]
pub(super) struct Centred<const ZERO: i16> {
    pub(super) quants: [__m512i; 8],
    pub(super) scale: __m512,
}

/// Quants above their value by `ZERO`, with a scale for the first and for the second 16 of each row.
#[derive(Clone, Copy)]
pub(super) struct CentredHalves<const ZERO: i16> {
    pub(super) quants: [__m512i; 8],
    pub(super) scales: [__m512; 2],
}

/// Quants with a scale and an integer minimum for the first and for the second 16 of each row.
#[derive(Clone, Copy)]
pub(super) struct OffsetHalves {
    pub(super) quants: [__m512i; 8],
    pub(super) scales: [__m512; 2],
    /// The minimum of the first and the second 16, side by side in each lane.
    pub(super) minima: __m512i,
    /// What a minimum of 1 adds.
    pub(super) offset: __m512,
}

/// Adds the products of quants 4 `FROM` … 4 `TO` − 1 of each group to its sum; what is read of the column serves all.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn dot<const FROM: usize, const TO: usize, const N: usize>(
    quants: [&[__m512i; 8]; N],
    column: ColumnBlock,
    mut sums: [__m512i; N],
) -> [__m512i; N] {
    for i in FROM..TO {
        // SAFETY: a block has 32 quants.
        let four = unsafe { _mm512_set1_epi32(column.quants.cast::<i32>().add(i).read_unaligned()) };
        for n in 0..N {
            sums[n] = _mm512_dpbusd_epi32(sums[n], quants[n][i], four);
        }
    }
    sums
}

/// Adds the products of all quants of each group to its sum, in two chains: one would make each column wait for its own
/// latencies longer than the processor's window reaches into the next.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn dot_32<const N: usize>(quants: [&[__m512i; 8]; N], column: ColumnBlock, sum: __m512i) -> [__m512i; N] {
    // SAFETY: by contract.
    let (mut first, second) = unsafe {
        (dot::<0, 4, N>(quants, column, [sum; N]), dot::<4, 8, N>(quants, column, [_mm512_setzero_si512(); N]))
    };
    for n in 0..N {
        first[n] = _mm512_add_epi32(first[n], second[n]);
    }
    first
}

/// The column's sums of its first and its second 16 quants, side by side in every lane.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn half_sums(column: ColumnBlock) -> __m512i {
    // SAFETY: by contract.
    _mm512_set1_epi32(unsafe { column.half_sums.cast::<i32>().read_unaligned() })
}

/// `first` × the sum of the column's first 16 quants + `second` × that of the others, in every lane.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn times_sums(column: ColumnBlock, first: i16, second: i16) -> __m512i {
    let factors = i32::from(first.cast_unsigned()) | i32::from(second) << 16;
    // SAFETY: by contract.
    _mm512_madd_epi16(unsafe { half_sums(column) }, _mm512_set1_epi32(factors))
}

/// What `part` takes from each of `groups`.
#[inline(always)]
fn each<W, T, const N: usize>(groups: &[W; N], part: impl Fn(&W) -> &T) -> [&T; N] {
    std::array::from_fn(|n| part(&groups[n]))
}

impl Weights for Offset {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate<const N: usize>(groups: &[Self; N], column: ColumnBlock, accs: &mut [__m512; N]) {
        // SAFETY: by contract.
        unsafe {
            let sums = dot_32(each(groups, |group| &group.quants), column, _mm512_setzero_si512());
            let (scale, offset) = (_mm512_set1_ps(*column.scale), _mm512_set1_ps(*column.sum));
            for n in 0..N {
                let scale = _mm512_mul_ps(groups[n].scale, scale);
                let acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[n]), scale, accs[n]);
                accs[n] = _mm512_fmadd_ps(groups[n].offset, offset, acc);
            }
        }
    }
}

impl<const ZERO: i16> Weights for Centred<ZERO> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate<const N: usize>(groups: &[Self; N], column: ColumnBlock, accs: &mut [__m512; N]) {
        // SAFETY: by contract.
        unsafe {
            let sums = dot_32(each(groups, |group| &group.quants), column, times_sums(column, -ZERO, -ZERO));
            let scale = _mm512_set1_ps(*column.scale);
            for n in 0..N {
                let scale = _mm512_mul_ps(groups[n].scale, scale);
                accs[n] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[n]), scale, accs[n]);
            }
        }
    }
}

impl<const ZERO: i16> Weights for CentredHalves<ZERO> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate<const N: usize>(groups: &[Self; N], column: ColumnBlock, accs: &mut [__m512; N]) {
        // SAFETY: by contract.
        unsafe {
            let quants = each(groups, |group| &group.quants);
            let first = dot::<0, 4, N>(quants, column, [times_sums(column, -ZERO, 0); N]);
            let second = dot::<4, 8, N>(quants, column, [times_sums(column, 0, -ZERO); N]);
            let scale = _mm512_set1_ps(*column.scale);
            for n in 0..N {
                let both = _mm512_mul_ps(_mm512_cvtepi32_ps(first[n]), groups[n].scales[0]);
                let both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(second[n]), groups[n].scales[1], both);
                accs[n] = _mm512_fmadd_ps(both, scale, accs[n]);
            }
        }
    }
}

impl Weights for OffsetHalves {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate<const N: usize>(groups: &[Self; N], column: ColumnBlock, accs: &mut [__m512; N]) {
        // SAFETY: by contract.
        unsafe {
            let quants = each(groups, |group| &group.quants);
            let first = dot::<0, 4, N>(quants, column, [_mm512_setzero_si512(); N]);
            let second = dot::<4, 8, N>(quants, column, [_mm512_setzero_si512(); N]);
            let (halves, scale) = (half_sums(column), _mm512_set1_ps(*column.scale));
            for n in 0..N {
                let minima = _mm512_madd_epi16(groups[n].minima, halves);
                let all = _mm512_mul_ps(_mm512_cvtepi32_ps(first[n]), groups[n].scales[0]);
                let all = _mm512_fmadd_ps(_mm512_cvtepi32_ps(second[n]), groups[n].scales[1], all);
                let all = _mm512_fmadd_ps(_mm512_cvtepi32_ps(minima), groups[n].offset, all);
                accs[n] = _mm512_fmadd_ps(all, scale, accs[n]);
            }
        }
    }
}
