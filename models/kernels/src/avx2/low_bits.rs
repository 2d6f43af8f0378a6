//! Unpacking of the 2- and 3-bit types: four runs of 32 share the same 32 bytes, two bits each. Layouts: ggml's
//! `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::Blocks;
use super::lanes::{EightRows, dwords, halves, pairs_of_halves, transposed};
use super::superblocks::{bit_of_run, factors_of_run, thirty_two, where_set};
use super::weights::{Sixteenths, SixteenthsWithMinima};

pub(super) enum Q2K {}
pub(super) enum Q3K {}

/// 32 bytes of eight rows, which hold two bits of each of four runs; and four bits further down, so that the bits of runs
/// 0 and 2, of 1 and 3 stand at the same place. There they stay: those of the odd runs count four times, and a fourth of
/// their scale makes up for it.
type Pairs = [[__m256i; 8]; 2];

/// # Safety
/// 32 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn pairs(rows: EightRows, offset: usize) -> Pairs {
    // SAFETY: readable by contract.
    let low = unsafe { thirty_two(rows, offset) };
    let [a, b, c, d, e, f, g, h] = low;
    let down = |v| _mm256_srli_epi16::<4>(v);
    [low, [down(a), down(b), down(c), down(d), down(e), down(f), down(g), down(h)]]
}

/// The bits of run `R`, four times where it is odd.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn pair_of_bits<const R: usize>(pairs: &Pairs, i: usize) -> __m256i {
    _mm256_and_si256(pairs[R / 2][i], _mm256_set1_epi8([3, 12][R % 2]))
}

/// The scales of even and of odd runs.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn even_and_odd(d: __m256) -> [__m256; 2] {
    [d, _mm256_mul_ps(d, _mm256_set1_ps(0.25))]
}

/// Of Q2_K: the scales of even and odd runs, −dmin, and a factor and a minimum for each 16 weights: byte i of a lane of vector
/// j belongs to the sixteen number 4j + i.
pub(super) struct ScalesQ2K {
    d: [__m256; 2],
    negative_dmin: __m256,
    factors: [__m256i; 4],
    minima: [__m256i; 4],
}

impl Blocks for Q2K {
    const BYTES: usize = 84;
    const PARTS: usize = 2;
    const RUNS: usize = 4;
    type Scales = ScalesQ2K;
    type Part = Pairs;
    type Run = SixteenthsWithMinima;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesQ2K {
        // SAFETY: a block is 84 bytes: 16 of scales, 64 of quants, then d and dmin.
        let ([a, b, c, d], pairs) = unsafe { (transposed(rows, 0), dwords(rows, 80)) };
        let mask = _mm256_set1_epi8(15);
        let low = |v| _mm256_and_si256(v, mask);
        let high = |v| _mm256_and_si256(_mm256_srli_epi16::<4>(v), mask);
        let (factors, minima) = ([low(a), low(b), low(c), low(d)], [high(a), high(b), high(c), high(d)]);
        let (d, dmin) = pairs_of_halves(pairs);
        ScalesQ2K { d: even_and_odd(d), negative_dmin: _mm256_xor_ps(dmin, _mm256_set1_ps(-0.0)), factors, minima }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &ScalesQ2K, part: usize) -> Pairs {
        // SAFETY: after 16 bytes of scales, a block has twice 32 of quants.
        unsafe { pairs(rows, 16 + part * 32) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ2K, number: usize, part: &Pairs) -> SixteenthsWithMinima {
        let quants = |i: usize| pair_of_bits::<R>(part, i);
        let [first, second, _] = factors_of_run::<R>(scales.factors[2 * number + R / 2]);
        let [.., minima] = factors_of_run::<R>(scales.minima[2 * number + R / 2]);
        SixteenthsWithMinima {
            quants: [quants(0), quants(1), quants(2), quants(3), quants(4), quants(5), quants(6), quants(7)],
            factors: [first, second],
            minima,
            scale: scales.d[R % 2],
            scale_of_minima: scales.negative_dmin,
        }
    }
}

/// Of Q3_K: the scales of even and odd runs, a signed factor for each 16 weights, and the third bits of the block, transposed.
pub(super) struct ScalesQ3K {
    d: [__m256; 2],
    /// Byte i of a lane of vector j: the factor of the sixteen number 4j + i.
    factors: [__m256i; 4],
    /// Bit j of byte k of a row: weight k of run j.
    high: [__m256i; 8],
}

impl Blocks for Q3K {
    const BYTES: usize = 110;
    const PARTS: usize = 2;
    const RUNS: usize = 4;
    type Scales = ScalesQ3K;
    type Part = Pairs;
    type Run = Sixteenths<4>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesQ3K {
        // SAFETY: a block is 110 bytes: 32 of third bits, 64 of pairs of bits, 12 of factors, d.
        let ([_, a, b, top], d, high) = unsafe { (transposed(rows, 92), halves(rows, 108), thirty_two(rows, 0)) };
        let (four, two, bias) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30), _mm256_set1_epi8(32));
        let factor = |low, high| {
            let (low, high) = (_mm256_and_si256(low, four), _mm256_and_si256(high, two));
            _mm256_sub_epi8(_mm256_or_si256(low, high), bias)
        };
        let factors = [
            factor(a, _mm256_slli_epi16::<4>(top)),
            factor(b, _mm256_slli_epi16::<2>(top)),
            factor(_mm256_srli_epi16::<4>(a), top),
            factor(_mm256_srli_epi16::<4>(b), _mm256_srli_epi16::<2>(top)),
        ];
        ScalesQ3K { d: even_and_odd(d), factors, high }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &ScalesQ3K, part: usize) -> Pairs {
        // SAFETY: after the third bits, a block has twice 32 bytes of pairs of bits.
        unsafe { pairs(rows, 32 + part * 32) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ3K, number: usize, part: &Pairs) -> Sixteenths<4> {
        let bit = bit_of_run(4 * number + R);
        let quants = |i: usize| {
            let third = _mm256_and_si256(where_set(scales.high[i], bit), _mm256_set1_epi8([4, 16][R % 2]));
            _mm256_or_si256(pair_of_bits::<R>(part, i), third)
        };
        let [first, second, both] = factors_of_run::<R>(scales.factors[2 * number + R / 2]);
        Sixteenths {
            quants: [quants(0), quants(1), quants(2), quants(3), quants(4), quants(5), quants(6), quants(7)],
            factors: [first, second],
            // Four times, as often as the quants count.
            offsets: [_mm256_slli_epi16::<2>(both), _mm256_slli_epi16::<4>(both)][R % 2],
            scale: scales.d[R % 2],
        }
    }
}
