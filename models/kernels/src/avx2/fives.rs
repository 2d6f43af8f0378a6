//! Unpacking of the 5-bit types whose blocks are 32 weights: 32 fifth bits stand before the nibbles. Layouts: ggml's
//! `ggml-common.h`.
//!
//! Four pairs of products of 31 × 127 fit 16 bits, no more.

use std::arch::x86_64::*;

use super::blocks::Blocks;
use super::lanes::{EightRows, paired, pairs_of_halves, quarter_sums_of_words, transposed};
use super::pending::PendingOffsets;
use super::weights::{ColumnBlock, Unsigned, sixteen};

pub(super) enum Q5_0 {}
pub(super) enum Q5_1 {}

/// Of a block: scale, offset, and the fifth bits of a row in each lane, the first weight's lowest.
pub(super) struct ScalesOfFives {
    scale: __m256,
    offset: __m256,
    high: __m256i,
}

impl ScalesOfFives {
    /// The run of a block with these nibbles.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn run(&self, nibbles: &[__m256i; 4]) -> Unsigned<4> {
        let &Self { scale, offset, high } = self;
        Unsigned { quants: fives(nibbles, high), factor: _mm256_set1_epi16(1), scale, offset }
    }
}

/// The low nibbles are the first 16 weights, the high ones the others; bit i of a lane of `high` belongs to weight i.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn fives(part: &[__m256i; 4], high: __m256i) -> [__m256i; 8] {
    let (mask, sixteen) = (_mm256_set1_epi8(15), _mm256_set1_epi8(16));
    // The bits of weights 4i to 4i + 3 are half a byte. In the high half they are at least 16 each.
    let (even, odd) = (_mm256_slli_epi32::<4>(high), high);
    let bits = _mm256_set1_epi32(0x8040_2010_u32.cast_signed());
    let five = |i: usize| {
        let low = if i < 4 { part[i] } else { _mm256_srli_epi16::<4>(part[i - 4]) };
        let a = 0x0101_0101 * (i / 2) as i32;
        let (b, c, d) = (a + 0x0404_0404, a + 0x0808_0808, a + 0x0c0c_0c0c);
        let spread = _mm256_setr_epi32(a, b, c, d, a, b, c, d);
        let bit = _mm256_and_si256(_mm256_shuffle_epi8([even, odd][i % 2], spread), bits);
        _mm256_or_si256(_mm256_and_si256(low, mask), _mm256_min_epu8(bit, sixteen))
    };
    [five(0), five(1), five(2), five(3), five(4), five(5), five(6), five(7)]
}

/// Products of a block whose nibbles stand at `offset`.
///
/// # Safety
/// As [`Blocks::products`].
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn five_products(rows: EightRows, offset: usize, scales: &ScalesOfFives, column: ColumnBlock) -> PendingOffsets {
    let mask = _mm256_set1_epi8(15);
    // SAFETY: by contract.
    let (v, a, b) = unsafe { (paired(rows, offset), sixteen(column, 0), sixteen(column, 1)) };
    let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    // Of rows i and i + 4, the fifth bits of 16 weights: those of the first or of the last two bytes.
    let fifth = |i: usize, half: usize| {
        let first = 0x0101_0101 * (4 * i + 2 * half) as i32;
        let second = first + 0x0101_0101;
        let spread = _mm256_setr_epi32(first, first, second, second, first, first, second, second);
        let bit = _mm256_and_si256(_mm256_shuffle_epi8(scales.high, spread), bits);
        _mm256_and_si256(_mm256_cmpeq_epi8(bit, bits), _mm256_set1_epi8(16))
    };
    let products = |i: usize| {
        let low = _mm256_or_si256(_mm256_and_si256(v[i], mask), fifth(i, 0));
        let high = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16::<4>(v[i]), mask), fifth(i, 1));
        _mm256_add_epi16(_mm256_maddubs_epi16(low, a), _mm256_maddubs_epi16(high, b))
    };
    let (even, odd) = quarter_sums_of_words([products(0), products(1), products(2), products(3)]);
    let ones = _mm256_set1_epi16(1);
    let sums = _mm256_add_epi32(_mm256_madd_epi16(even, ones), _mm256_madd_epi16(odd, ones));
    PendingOffsets { sums, scale: scales.scale, offset: scales.offset }
}

impl Blocks for Q5_0 {
    const BYTES: usize = 22;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = ScalesOfFives;
    type Part = [__m256i; 4];
    type Run = Unsigned<4>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesOfFives {
        // SAFETY: a block begins with a half and four bytes of fifth bits, in all 22.
        let [first, second, ..] = unsafe { transposed(rows, 0) };
        let (scale, _) = pairs_of_halves(first);
        let high = _mm256_blend_epi16::<0b1010_1010>(_mm256_srli_epi32::<16>(first), _mm256_slli_epi32::<16>(second));
        ScalesOfFives { scale, offset: _mm256_mul_ps(scale, _mm256_set1_ps(-16.0)), high }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &Self::Scales, _: usize) -> [__m256i; 4] {
        // SAFETY: after the half and the fifth bits come 16 bytes.
        unsafe { transposed(rows, 6) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesOfFives, _: usize, part: &[__m256i; 4]) -> Unsigned<4> {
        scales.run(part)
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products<const R: usize>(
        rows: EightRows,
        scales: &ScalesOfFives,
        _: usize,
        column: ColumnBlock,
    ) -> PendingOffsets {
        // SAFETY: by contract; after the half and the fifth bits come 16 bytes.
        unsafe { five_products(rows, 6, scales, column) }
    }
}

impl Blocks for Q5_1 {
    const BYTES: usize = 24;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = ScalesOfFives;
    type Part = [__m256i; 4];
    type Run = Unsigned<4>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesOfFives {
        // SAFETY: a block begins with two halves and four bytes of fifth bits, in all 24.
        let [pairs, high, ..] = unsafe { transposed(rows, 0) };
        let (scale, offset) = pairs_of_halves(pairs);
        ScalesOfFives { scale, offset, high }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &ScalesOfFives, _: usize) -> [__m256i; 4] {
        // SAFETY: after the halves and the fifth bits come 16 bytes.
        unsafe { transposed(rows, 8) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesOfFives, _: usize, part: &[__m256i; 4]) -> Unsigned<4> {
        scales.run(part)
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products<const R: usize>(
        rows: EightRows,
        scales: &ScalesOfFives,
        _: usize,
        column: ColumnBlock,
    ) -> PendingOffsets {
        // SAFETY: by contract; after the halves and the fifth bits come 16 bytes.
        unsafe { five_products(rows, 8, scales, column) }
    }
}
