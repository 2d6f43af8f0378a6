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
    /// Adds the products of the rows with `column` to `acc`.
    ///
    /// # Safety
    /// The pointers of `column` are those of a whole block. The processor has AVX-512 F, BW, VL and VNNI.
    unsafe fn accumulate(&self, column: ColumnBlock, acc: __m512) -> __m512;
}

/// Quants with a scale and an offset per row.
pub(super) struct Offset {
    pub(super) quants: [__m512i; 8],
    pub(super) scale: __m512,
    pub(super) offset: __m512,
}

/// Quants above their value by `ZERO`, with a scale per row.
pub(super) struct Centred<const ZERO: i16> {
    pub(super) quants: [__m512i; 8],
    pub(super) scale: __m512,
}

/// Quants above their value by `ZERO`, with a scale for the first and for the second 16 of each row.
pub(super) struct CentredHalves<const ZERO: i16> {
    pub(super) quants: [__m512i; 8],
    pub(super) scales: [__m512; 2],
}

/// Quants with a scale and an integer minimum for the first and for the second 16 of each row.
pub(super) struct OffsetHalves {
    pub(super) quants: [__m512i; 8],
    pub(super) scales: [__m512; 2],
    /// The minimum of the first and the second 16, side by side in each lane.
    pub(super) minima: __m512i,
    /// What a minimum of 1 adds.
    pub(super) offset: __m512,
}

/// Adds the products of quants 4 `FROM` … 4 `TO` − 1 to `sum`.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn dot<const FROM: usize, const TO: usize>(
    quants: &[__m512i; 8],
    column: ColumnBlock,
    mut sum: __m512i,
) -> __m512i {
    for i in FROM..TO {
        // SAFETY: a block has 32 quants.
        let four = unsafe { _mm512_set1_epi32(column.quants.cast::<i32>().add(i).read_unaligned()) };
        sum = _mm512_dpbusd_epi32(sum, quants[i], four);
    }
    sum
}

/// Adds the products of all quants to `sum`, in two chains: one would make each column wait for its own latencies longer
/// than the processor's window reaches into the next.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn dot_32(quants: &[__m512i; 8], column: ColumnBlock, sum: __m512i) -> __m512i {
    // SAFETY: by contract.
    unsafe { _mm512_add_epi32(dot::<0, 4>(quants, column, sum), dot::<4, 8>(quants, column, _mm512_setzero_si512())) }
}

/// `first` × the sum of the column's first 16 quants + `second` × that of the others, in every lane.
///
/// # Safety
/// The pointers of `column` are those of a whole block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn times_sums(column: ColumnBlock, first: i16, second: i16) -> __m512i {
    // SAFETY: by contract.
    let halves = unsafe { _mm512_set1_epi32(column.half_sums.cast::<i32>().read_unaligned()) };
    let factors = i32::from(first.cast_unsigned()) | i32::from(second) << 16;
    _mm512_madd_epi16(halves, _mm512_set1_epi32(factors))
}

impl Weights for Offset {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate(&self, column: ColumnBlock, acc: __m512) -> __m512 {
        // SAFETY: by contract.
        unsafe {
            let sum = dot_32(&self.quants, column, _mm512_setzero_si512());
            let scale = _mm512_mul_ps(self.scale, _mm512_set1_ps(*column.scale));
            let acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, acc);
            _mm512_fmadd_ps(self.offset, _mm512_set1_ps(*column.sum), acc)
        }
    }
}

impl<const ZERO: i16> Weights for Centred<ZERO> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate(&self, column: ColumnBlock, acc: __m512) -> __m512 {
        // SAFETY: by contract.
        unsafe {
            let sum = dot_32(&self.quants, column, times_sums(column, -ZERO, -ZERO));
            let scale = _mm512_mul_ps(self.scale, _mm512_set1_ps(*column.scale));
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, acc)
        }
    }
}

impl<const ZERO: i16> Weights for CentredHalves<ZERO> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate(&self, column: ColumnBlock, acc: __m512) -> __m512 {
        // SAFETY: by contract.
        unsafe {
            let first = dot::<0, 4>(&self.quants, column, times_sums(column, -ZERO, 0));
            let second = dot::<4, 8>(&self.quants, column, times_sums(column, 0, -ZERO));
            let both = _mm512_mul_ps(_mm512_cvtepi32_ps(first), self.scales[0]);
            let both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(second), self.scales[1], both);
            _mm512_fmadd_ps(both, _mm512_set1_ps(*column.scale), acc)
        }
    }
}

impl Weights for OffsetHalves {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn accumulate(&self, column: ColumnBlock, acc: __m512) -> __m512 {
        // SAFETY: by contract.
        unsafe {
            let first = dot::<0, 4>(&self.quants, column, _mm512_setzero_si512());
            let second = dot::<4, 8>(&self.quants, column, _mm512_setzero_si512());
            let halves = _mm512_set1_epi32(column.half_sums.cast::<i32>().read_unaligned());
            let minima = _mm512_madd_epi16(self.minima, halves);
            let all = _mm512_mul_ps(_mm512_cvtepi32_ps(first), self.scales[0]);
            let all = _mm512_fmadd_ps(_mm512_cvtepi32_ps(second), self.scales[1], all);
            let all = _mm512_fmadd_ps(_mm512_cvtepi32_ps(minima), self.offset, all);
            _mm512_fmadd_ps(all, _mm512_set1_ps(*column.scale), acc)
        }
    }
}
