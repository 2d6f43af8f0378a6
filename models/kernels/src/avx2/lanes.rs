//! Small moves between lanes, shared by the kernels.

use std::arch::x86_64::*;

use crate::limits::ROW_GROUP;

/// The same place in eight neighbouring rows.
pub(super) type RowPointers = [*const u8; ROW_GROUP];

/// Sum of the eight lanes, in a fixed order.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn sum_of_lanes(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// 16 bytes of each row, as four vectors of which the i-th holds the i-th 32 bits of rows 0 to 7, in order.
///
/// # Safety
/// 16 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn transposed(rows: &RowPointers, offset: usize) -> [__m256i; 4] {
    // SAFETY: readable by contract.
    let pair = |low: usize, high: usize| unsafe {
        let low = _mm_loadu_si128(rows[low].add(offset).cast());
        let high = _mm_loadu_si128(rows[high].add(offset).cast());
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
    };
    let (a, b, c, d) = (pair(0, 4), pair(1, 5), pair(2, 6), pair(3, 7));
    let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The halves at `offset` of each row, as floats.
///
/// # Safety
/// Two bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn halves(rows: &RowPointers, offset: usize) -> __m256 {
    // SAFETY: readable by contract.
    let half = |row: usize| unsafe { i32::from(rows[row].add(offset).cast::<i16>().read_unaligned()) };
    let v = _mm_cvtsi32_si128(half(0));
    let v = _mm_insert_epi16::<1>(v, half(1));
    let v = _mm_insert_epi16::<2>(v, half(2));
    let v = _mm_insert_epi16::<3>(v, half(3));
    let v = _mm_insert_epi16::<4>(v, half(4));
    let v = _mm_insert_epi16::<5>(v, half(5));
    let v = _mm_insert_epi16::<6>(v, half(6));
    _mm256_cvtph_ps(_mm_insert_epi16::<7>(v, half(7)))
}

/// The 32 bits at `offset` of each row.
///
/// # Safety
/// Four bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn dwords(rows: &RowPointers, offset: usize) -> __m256i {
    // SAFETY: readable by contract.
    let dword = |row: usize| unsafe { rows[row].add(offset).cast::<i32>().read_unaligned() };
    _mm256_setr_epi32(dword(0), dword(1), dword(2), dword(3), dword(4), dword(5), dword(6), dword(7))
}

/// Each lane's low and high half, as floats.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn pairs_of_halves(pairs: __m256i) -> (__m256, __m256) {
    let apart = _mm256_setr_epi8(
        0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
    );
    let split = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(pairs, apart));
    (_mm256_cvtph_ps(_mm256_castsi256_si128(split)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(split)))
}
