//! Eight rows × 32 weights in registers, and their products with one column's block.
//!
//! Everywhere, vector i of eight holds weights 4i to 4i + 3 of rows 0 to 7, four bytes a row: a column's four quants are
//! broadcast against it and no lane is ever summed across. The sums of a block are exact integers; the f32 steps per block are
//! `acc += (scale · column's scale) · sum · factor` (an integer) and, where there is an offset, `acc += offset · column's sum`,
//! in this order for every number of columns, so a column's result does not depend on its neighbours.

use std::arch::x86_64::*;

use super::dots::Dot;
use super::pending::{Pending, PendingMinima, PendingNibbles, PendingOffsets, PendingSums};

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
    /// What [`Self::products`] leaves to be done.
    type Pending: Pending;

    /// The products of the rows with `column`, all that is an integer included.
    ///
    /// # Safety
    /// The pointers of `column` are those of a whole block. The processor has AVX2, FMA and F16C.
    unsafe fn products(&self, column: ColumnBlock) -> Self::Pending;

    /// Adds the products of the rows with `column` to `acc`.
    ///
    /// # Safety
    /// As [`Weights::products`].
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate(&self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe { self.products(column).finish(column, acc) }
    }

    /// The same, bit for bit, by sums of four products.
    ///
    /// # Safety
    /// As [`Weights::products`]; the processor has the instructions of `D`.
    unsafe fn accumulate_fours<D: Dot>(&self, column: ColumnBlock, acc: __m256) -> __m256;
}

/// Quants without sign, of which `RUN` pairs of products fit 16 bits, with a factor, a scale and an offset per row.
pub(super) struct Unsigned<const RUN: usize> {
    pub(super) quants: [__m256i; 8],
    /// A 16-bit integer, twice in each lane.
    pub(super) factor: __m256i,
    pub(super) scale: __m256,
    pub(super) offset: __m256,
}

/// Signed bytes with a factor and a scale per row.
pub(super) struct Signed {
    pub(super) quants: [__m256i; 8],
    pub(super) magnitudes: [__m256i; 8],
    /// A 16-bit integer, twice in each lane.
    pub(super) factor: __m256i,
    pub(super) scale: __m256,
}

/// Quants without sign, of which `RUN` pairs of products fit 16 bits, an integer factor per 16 of them, an offset, and a
/// scale per row.
pub(super) struct Sixteenths<const RUN: usize> {
    pub(super) quants: [__m256i; 8],
    /// The factor of the first and the second 16, twice in each lane.
    pub(super) factors: [__m256i; 2],
    /// Offset × factor of the first and the second 16, side by side in each lane.
    pub(super) offsets: __m256i,
    pub(super) scale: __m256,
}

/// Quants without sign below 16, an integer factor and minimum per 16 of them, and a scale of each per row.
pub(super) struct SixteenthsWithMinima {
    pub(super) quants: [__m256i; 8],
    /// The factor of the first and the second 16, twice in each lane.
    pub(super) factors: [__m256i; 2],
    /// The minimum of the first and the second 16, side by side in each lane.
    pub(super) minima: __m256i,
    pub(super) scale: __m256,
    pub(super) scale_of_minima: __m256,
}

/// Quants 4i to 4i + 3 of a column, in every lane.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn four(column: ColumnBlock, i: usize) -> __m256i {
    // SAFETY: a block has 32 quants.
    unsafe { _mm256_set1_epi32(column.quants.cast::<i32>().add(i).read_unaligned()) }
}

/// The first or the second 16 quants of a column, in both halves.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn sixteen(column: ColumnBlock, half: usize) -> __m256i {
    // SAFETY: a block has 32 quants.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(column.quants.add(16 * half).cast()) })
}

/// `acc` += `sum` × the rows' scale × the column's.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn scaled(sum: __m256i, scale: __m256, column: ColumnBlock, acc: __m256) -> __m256 {
    // SAFETY: a block has a scale.
    let scale = _mm256_mul_ps(scale, _mm256_set1_ps(unsafe { *column.scale }));
    _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, acc)
}

/// `acc` += `sum` × the rows' scale × the column's, += the rows' offset × the column's sum.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn scaled_with_offset(
    sum: __m256i,
    (scale, offset): (__m256, __m256),
    column: ColumnBlock,
    acc: __m256,
) -> __m256 {
    // SAFETY: by contract.
    let (acc, column_sum) = unsafe { (scaled(sum, scale, column, acc), _mm256_set1_ps(*column.sum)) };
    _mm256_fmadd_ps(offset, column_sum, acc)
}

/// Products of quants 4 `FROM` to 4 `TO` − 1 with a column.
///
/// # Safety
/// The pointers of `column` are those of a whole block; the processor has the instructions of `D`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn fours<D: Dot, const FROM: usize, const TO: usize>(quants: &[__m256i; 8], column: ColumnBlock) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for i in FROM..TO {
        // SAFETY: by contract.
        sum = unsafe { D::dot(sum, quants[i], four(column, i)) };
    }
    sum
}

/// `sum` times a factor that stands twice in each lane.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn times(sum: __m256i, factor: __m256i) -> __m256i {
    _mm256_mullo_epi32(sum, _mm256_srai_epi32::<16>(factor))
}

impl<const RUN: usize> Unsigned<RUN> {
    /// Sums of products with a column's first and last 16 quants, in 16 bits.
    ///
    /// # Safety
    /// The pointers of `column` are those of a whole block.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn halves(&self, column: ColumnBlock) -> [__m256i; 2] {
        // SAFETY: by this function's contract.
        let p = |i: usize| unsafe { _mm256_maddubs_epi16(self.quants[i], four(column, i)) };
        [0, 4].map(|i| _mm256_add_epi16(_mm256_add_epi16(p(i), p(i + 1)), _mm256_add_epi16(p(i + 2), p(i + 3))))
    }

    /// # Safety
    /// As [`Weights::accumulate_fours`].
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn fours<D: Dot>(&self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe {
            let (low, high) = (fours::<D, 0, 4>(&self.quants, column), fours::<D, 4, 8>(&self.quants, column));
            let sums = times(_mm256_add_epi32(low, high), self.factor);
            scaled_with_offset(sums, (self.scale, self.offset), column, acc)
        }
    }
}

impl Weights for Unsigned<8> {
    type Pending = PendingNibbles;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products(&self, column: ColumnBlock) -> PendingNibbles {
        // SAFETY: by this function's contract.
        let [low, high] = unsafe { self.halves(column) };
        let &Self { factor, scale, offset, .. } = self;
        PendingNibbles { half_sums: _mm256_add_epi16(low, high), factor, scale, offset }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate_fours<D: Dot>(&self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe { self.fours::<D>(column, acc) }
    }
}

impl Weights for Unsigned<4> {
    type Pending = PendingOffsets;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products(&self, column: ColumnBlock) -> PendingOffsets {
        // SAFETY: by this function's contract.
        let [low, high] = unsafe { self.halves(column) }.map(|half| _mm256_madd_epi16(half, self.factor));
        PendingOffsets { sums: _mm256_add_epi32(low, high), scale: self.scale, offset: self.offset }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate_fours<D: Dot>(&self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe { self.fours::<D>(column, acc) }
    }
}

impl Weights for Signed {
    type Pending = PendingSums;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products(&self, column: ColumnBlock) -> PendingSums {
        // A column's quants are never −128, so their signs can be turned; |−128| is 128 without sign, and two products
        // of 128 × 127 still fit 16 bits.
        let p = |i: usize| {
            // SAFETY: by this function's contract.
            let turned = unsafe { _mm256_sign_epi8(four(column, i), self.quants[i]) };
            _mm256_madd_epi16(_mm256_maddubs_epi16(self.magnitudes[i], turned), self.factor)
        };
        let low = _mm256_add_epi32(_mm256_add_epi32(p(0), p(1)), _mm256_add_epi32(p(2), p(3)));
        let high = _mm256_add_epi32(_mm256_add_epi32(p(4), p(5)), _mm256_add_epi32(p(6), p(7)));
        PendingSums { sums: _mm256_add_epi32(low, high), scale: self.scale }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate_fours<D: Dot>(&self, column: ColumnBlock, acc: __m256) -> __m256 {
        let mut sums = [_mm256_setzero_si256(); 2];
        for i in 0..8 {
            // SAFETY: by this function's contract.
            unsafe {
                let turned = _mm256_sign_epi8(four(column, i), self.quants[i]);
                sums[i / 4] = D::dot(sums[i / 4], self.magnitudes[i], turned);
            }
        }
        // SAFETY: by this function's contract.
        unsafe { scaled(times(_mm256_add_epi32(sums[0], sums[1]), self.factor), self.scale, column, acc) }
    }
}

/// Sums of products with a column of quants of which `RUN` pairs fit 16 bits, each 16 times their factor.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn sums_of_sixteens<const RUN: usize>(
    quants: &[__m256i; 8],
    factors: &[__m256i; 2],
    column: ColumnBlock,
) -> __m256i {
    const { assert!(RUN == 4 || RUN == 2) };
    // SAFETY: by this function's contract.
    let p = |i: usize| unsafe { _mm256_maddubs_epi16(quants[i], four(column, i)) };
    let pair = |i: usize| _mm256_add_epi16(p(2 * i), p(2 * i + 1));
    if RUN == 4 {
        let first = _mm256_madd_epi16(_mm256_add_epi16(pair(0), pair(1)), factors[0]);
        _mm256_add_epi32(first, _mm256_madd_epi16(_mm256_add_epi16(pair(2), pair(3)), factors[1]))
    } else {
        let first = _mm256_add_epi32(_mm256_madd_epi16(pair(0), factors[0]), _mm256_madd_epi16(pair(1), factors[0]));
        let second = _mm256_add_epi32(_mm256_madd_epi16(pair(2), factors[1]), _mm256_madd_epi16(pair(3), factors[1]));
        _mm256_add_epi32(first, second)
    }
}

/// The same sums, by fours.
///
/// # Safety
/// The pointers of `column` are those of a whole block; the processor has the instructions of `D`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn fours_of_sixteens<D: Dot>(quants: &[__m256i; 8], factors: &[__m256i; 2], column: ColumnBlock) -> __m256i {
    // SAFETY: by contract.
    let (first, second) = unsafe { (fours::<D, 0, 4>(quants, column), fours::<D, 4, 8>(quants, column)) };
    _mm256_add_epi32(times(first, factors[0]), times(second, factors[1]))
}

/// The column's two sums of 16 quants, in each lane.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn half_sums(column: ColumnBlock) -> __m256i {
    // SAFETY: by this function's contract.
    unsafe { _mm256_set1_epi32(column.half_sums.cast::<i32>().read_unaligned()) }
}

impl<const RUN: usize> Weights for Sixteenths<RUN> {
    type Pending = PendingSums;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products(&self, column: ColumnBlock) -> PendingSums {
        // The whole stays below 2²⁴ once the offset is gone, so its conversion to f32 is exact.
        // SAFETY: by this function's contract.
        let (sums, halves) =
            unsafe { (sums_of_sixteens::<RUN>(&self.quants, &self.factors, column), half_sums(column)) };
        PendingSums { sums: _mm256_sub_epi32(sums, _mm256_madd_epi16(self.offsets, halves)), scale: self.scale }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate_fours<D: Dot>(&self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe {
            let sums = fours_of_sixteens::<D>(&self.quants, &self.factors, column);
            let sums = _mm256_sub_epi32(sums, _mm256_madd_epi16(self.offsets, half_sums(column)));
            scaled(sums, self.scale, column, acc)
        }
    }
}

impl Weights for SixteenthsWithMinima {
    type Pending = PendingMinima;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products(&self, column: ColumnBlock) -> PendingMinima {
        // SAFETY: by this function's contract.
        let (sums, halves) = unsafe { (sums_of_sixteens::<4>(&self.quants, &self.factors, column), half_sums(column)) };
        let minima = _mm256_madd_epi16(self.minima, halves);
        PendingMinima { sums, minima, scale: self.scale, scale_of_minima: self.scale_of_minima }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate_fours<D: Dot>(&self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe {
            let sums = fours_of_sixteens::<D>(&self.quants, &self.factors, column);
            let minima = _mm256_madd_epi16(self.minima, half_sums(column));
            PendingMinima { sums, minima, scale: self.scale, scale_of_minima: self.scale_of_minima }.finish(column, acc)
        }
    }
}
