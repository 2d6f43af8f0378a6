//! Small moves between lanes, shared by the kernels.

use std::arch::x86_64::*;

use crate::limits::ROW_GROUP;

/// The same place in eight rows, a fixed number of bytes apart.
#[derive(Clone, Copy)]
pub(super) struct EightRows {
    pub(super) first: *const u8,
    pub(super) stride: usize,
}

impl EightRows {
    /// The address `offset` bytes further in `row`.
    #[inline(always)]
    pub(super) fn at(self, row: usize, offset: usize) -> *const u8 {
        debug_assert!(row < ROW_GROUP);
        self.first.wrapping_add(row * self.stride + offset)
    }

    /// The place `bytes` further in all rows.
    #[inline(always)]
    pub(super) fn right(self, bytes: usize) -> Self {
        Self { first: self.first.wrapping_add(bytes), ..self }
    }
}

/// Sum of the eight lanes, in a fixed order.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn sum_of_lanes(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// 16 bytes of each row, as four vectors of which the i-th holds those of rows i and i + 4.
///
/// # Safety
/// 16 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn paired(rows: EightRows, offset: usize) -> [__m256i; 4] {
    // SAFETY: readable by contract.
    let pair = |low: usize, high: usize| unsafe {
        let low = _mm_loadu_si128(rows.at(low, offset).cast());
        let high = _mm_loadu_si128(rows.at(high, offset).cast());
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
    };
    [pair(0, 4), pair(1, 5), pair(2, 6), pair(3, 7)]
}

/// 16 bytes of each row, as four vectors of which the i-th holds the i-th 32 bits of rows 0 to 7, in order.
///
/// # Safety
/// 16 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn transposed(rows: EightRows, offset: usize) -> [__m256i; 4] {
    // SAFETY: readable by contract.
    let [a, b, c, d] = unsafe { paired(rows, offset) };
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
pub(super) unsafe fn halves(rows: EightRows, offset: usize) -> __m256 {
    // SAFETY: readable by contract.
    let half = |row: usize| unsafe { u64::from(rows.at(row, offset).cast::<u16>().read_unaligned()) };
    // Gathered in integer registers: the vector units are what is short.
    let four = |row: usize| (half(row) | half(row + 1) << 16 | half(row + 2) << 32 | half(row + 3) << 48).cast_signed();
    _mm256_cvtph_ps(_mm_set_epi64x(four(4), four(0)))
}

/// The 32 bits at `offset` of each row.
///
/// # Safety
/// Four bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn dwords(rows: EightRows, offset: usize) -> __m256i {
    // SAFETY: readable by contract.
    let dword = |row: usize| unsafe { rows.at(row, offset).cast::<i32>().read_unaligned() };
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

/// Sums per row: of four vectors with eight 16-bit numbers each of rows i and i + 4, the sums of rows 0 to 7, in order.
/// In halves: each lane holds two numbers still to be added. Any four of a row's numbers must add up within 16 bits.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn half_sums_of_words(words: [__m256i; 4]) -> __m256i {
    let (even, odd) = quarter_sums_of_words(words);
    _mm256_add_epi16(even, odd)
}

/// As [`half_sums_of_words`], in quarters: each lane of both vectors holds two numbers still to be added. Any two of a
/// row's numbers must add up within 16 bits.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn quarter_sums_of_words([a, b, c, d]: [__m256i; 4]) -> (__m256i, __m256i) {
    let two = |a, b| _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    even_and_odd(two(a, b), two(c, d))
}

/// Sums per row: of four vectors with four 32-bit numbers each of rows i and i + 4, the sums of rows 0 to 7, in order.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn sums_of_dwords([a, b, c, d]: [__m256i; 4]) -> __m256i {
    let two = |a, b| _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let (even, odd) = even_and_odd(two(a, b), two(c, d));
    _mm256_add_epi32(even, odd)
}

/// The even and the odd 32 bits of both, `a`'s first in each half.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn even_and_odd(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
    let even = _mm256_shuffle_ps::<0b10_00_10_00>(a, b);
    let odd = _mm256_shuffle_ps::<0b11_01_11_01>(a, b);
    (_mm256_castps_si256(even), _mm256_castps_si256(odd))
}
