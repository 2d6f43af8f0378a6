//! Unpacking of the types whose nibbles are places in a table of sixteen signed bytes. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::Blocks;
use super::lanes::{EightRows, halves, pairs_of_halves, transposed};
use super::weights::Signed;
use crate::scalar::dequantize::PLACES;

pub(super) enum Iq4Nl {}
pub(super) enum Iq4Xs {}

/// The weights that the nibbles stand for: the low ones are the first 16, the high ones the others.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn signed(nibbles: &[__m256i; 4], factor: __m256i, scale: __m256) -> Signed {
    // SAFETY: the table has 16 bytes.
    let table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(PLACES.as_ptr().cast()) });
    let (mask, table_of_magnitudes) = (_mm256_set1_epi8(15), _mm256_abs_epi8(table));
    let places = |i: usize| {
        let low = if i < 4 { nibbles[i] } else { _mm256_srli_epi16::<4>(nibbles[i - 4]) };
        _mm256_and_si256(low, mask)
    };
    let quants = |i| _mm256_shuffle_epi8(table, places(i));
    let magnitudes = |i| _mm256_shuffle_epi8(table_of_magnitudes, places(i));
    Signed {
        quants: [quants(0), quants(1), quants(2), quants(3), quants(4), quants(5), quants(6), quants(7)],
        magnitudes: [
            magnitudes(0),
            magnitudes(1),
            magnitudes(2),
            magnitudes(3),
            magnitudes(4),
            magnitudes(5),
            magnitudes(6),
            magnitudes(7),
        ],
        factor,
        scale,
    }
}

impl Blocks for Iq4Nl {
    const BYTES: usize = 18;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = __m256;
    type Part = [__m256i; 4];
    type Run = Signed;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> __m256 {
        // SAFETY: a block begins with a half.
        unsafe { halves(rows, 0) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &__m256, _: usize) -> [__m256i; 4] {
        // SAFETY: after the half come 16 bytes.
        unsafe { transposed(rows, 2) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(&scale: &__m256, _: usize, part: &[__m256i; 4]) -> Signed {
        signed(part, _mm256_set1_epi16(1), scale)
    }
}

/// Of IQ4_XS: d, and the factors of the eight runs: four bits of each in `low`, two in the upper half of `high`.
pub(super) struct ScalesIq4Xs {
    d: __m256,
    low: __m256i,
    high: __m256i,
}

impl ScalesIq4Xs {
    /// The signed factor of a run, twice in each lane.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn of_run(&self, run: usize) -> __m256i {
        let low = _mm256_srl_epi32(self.low, _mm_cvtsi32_si128(4 * run as i32));
        let high = _mm256_srl_epi32(self.high, _mm_cvtsi32_si128(16 + 2 * run as i32));
        let low = _mm256_and_si256(low, _mm256_set1_epi32(15));
        let high = _mm256_and_si256(_mm256_slli_epi32::<4>(high), _mm256_set1_epi32(0x30));
        let once = _mm256_or_si256(low, high);
        let twice = _mm256_or_si256(once, _mm256_slli_epi32::<16>(once));
        _mm256_sub_epi16(twice, _mm256_set1_epi16(32))
    }
}

impl Blocks for Iq4Xs {
    const BYTES: usize = 136;
    const PARTS: usize = 8;
    const RUNS: usize = 1;
    type Scales = ScalesIq4Xs;
    type Part = [__m256i; 4];
    type Run = Signed;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesIq4Xs {
        // SAFETY: a block begins with d, two bytes of the factors' upper bits and four of their lower ones.
        let [high, low, ..] = unsafe { transposed(rows, 0) };
        let (d, _) = pairs_of_halves(high);
        ScalesIq4Xs { d, low, high }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &ScalesIq4Xs, part: usize) -> [__m256i; 4] {
        // SAFETY: after eight bytes of scales come eight times 16 of nibbles.
        unsafe { transposed(rows, 8 + 16 * part) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesIq4Xs, number: usize, part: &[__m256i; 4]) -> Signed {
        signed(part, scales.of_run(number), scales.d)
    }
}
