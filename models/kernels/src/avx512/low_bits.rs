//! Unpacking of the 2- and 3-bit types: four runs of 32 share the same 32 bytes, two bits each. Layouts: ggml's
//! `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::Blocks;
use super::lanes::{
    SixteenRows, high_halves, last_dwords, low_halves, low_nibbles, or_masked, signed_byte, transposed, transposed_32,
    unsigned_byte,
};
use super::superblocks::bits_moved;
use super::weights::{CentredHalves, OffsetHalves};

pub(super) enum Q2K {}
pub(super) enum Q3K {}

/// Two bits of each byte: number `R` of four pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn pairs<const R: usize>(v: __m512i) -> __m512i {
    let moved = match R {
        0 => v,
        1 => _mm512_srli_epi16::<2>(v),
        2 => _mm512_srli_epi16::<4>(v),
        _ => _mm512_srli_epi16::<6>(v),
    };
    _mm512_and_si512(moved, _mm512_set1_epi8(3))
}

/// Of Q2_K: d, −dmin, and for each 16 weights a factor of either, side by side in a byte.
#[derive(Clone, Copy)]
pub(super) struct ScalesQ2K {
    d: __m512,
    negative_dmin: __m512,
    factors: [__m512i; 4],
}

impl Blocks for Q2K {
    const BYTES: usize = 84;
    const PARTS: usize = 2;
    const RUNS: usize = 4;
    type Scales = ScalesQ2K;
    type Part = [__m512i; 8];
    type Run = OffsetHalves;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> ScalesQ2K {
        // SAFETY: a block of 84 bytes begins with 16 of factors, and ends with d and dmin.
        let (factors, pairs) = unsafe { (transposed(rows, 0), last_dwords(rows, 84)) };
        let negative_dmin = _mm512_sub_ps(_mm512_setzero_ps(), high_halves(pairs));
        ScalesQ2K { d: low_halves(pairs), negative_dmin, factors }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, number: usize) -> [__m512i; 8] {
        // SAFETY: after 16 bytes, a block has twice 32 of quants.
        unsafe { transposed_32(rows, 16 + number * 32) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ2K, number: usize, part: &[__m512i; 8]) -> OffsetHalves {
        let quant = |i: usize| pairs::<R>(part[i]);
        // The first of two neighbouring sixteens has an even number: both factors stand in the same half of a lane.
        let (factors, byte) = (scales.factors[2 * number + R / 2], R % 2 * 2);
        let scale = |byte| _mm512_mul_ps(scales.d, _mm512_cvtepi32_ps(unsigned_byte(low_nibbles(factors), byte)));
        let both = _mm512_srlv_epi32(factors, _mm512_set1_epi32(8 * byte as i32));
        let first = _mm512_and_si512(_mm512_srli_epi32::<4>(both), _mm512_set1_epi32(15));
        let second = _mm512_and_si512(_mm512_slli_epi32::<4>(both), _mm512_set1_epi32(15 << 16));
        OffsetHalves {
            quants: [quant(0), quant(1), quant(2), quant(3), quant(4), quant(5), quant(6), quant(7)],
            scales: [scale(byte), scale(byte + 1)],
            minima: _mm512_or_si512(first, second),
            offset: scales.negative_dmin,
        }
    }
}

/// Of Q3_K: d, a signed factor for each 16 weights, and the third bits: bit j of a byte is that of run j.
#[derive(Clone, Copy)]
pub(super) struct ScalesQ3K {
    d: __m512,
    /// Byte i of a lane of vector j: the factor of the sixteen number 4j + i.
    factors: [__m512i; 4],
    bits: [__m512i; 8],
}

impl Blocks for Q3K {
    const BYTES: usize = 110;
    const PARTS: usize = 2;
    const RUNS: usize = 4;
    type Scales = ScalesQ3K;
    type Part = [__m512i; 8];
    type Run = CentredHalves<4>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> ScalesQ3K {
        // SAFETY: a block of 110 bytes begins with 32 of third bits, and ends with 12 of factors and d.
        let (bits, [_, a, b, tops], end) =
            unsafe { (transposed_32(rows, 0), transposed(rows, 92), last_dwords(rows, 110)) };
        let top = |tops| _mm512_and_si512(tops, _mm512_set1_epi8(0x30));
        let factor = |nibbles, top| _mm512_sub_epi8(_mm512_or_si512(nibbles, top), _mm512_set1_epi8(32));
        let factors = [
            factor(low_nibbles(a), top(_mm512_slli_epi16::<4>(tops))),
            factor(low_nibbles(b), top(_mm512_slli_epi16::<2>(tops))),
            factor(low_nibbles(_mm512_srli_epi16::<4>(a)), top(tops)),
            factor(low_nibbles(_mm512_srli_epi16::<4>(b)), top(_mm512_srli_epi16::<2>(tops))),
        ];
        ScalesQ3K { d: high_halves(end), factors, bits }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, number: usize) -> [__m512i; 8] {
        // SAFETY: after 32 bytes, a block has twice 32 of quants.
        unsafe { transposed_32(rows, 32 + number * 32) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ3K, number: usize, part: &[__m512i; 8]) -> CentredHalves<4> {
        let third = |i: usize| bits_moved(scales.bits[i], 4 * number + R, 2);
        let quant = |i: usize| or_masked(pairs::<R>(part[i]), third(i), _mm512_set1_epi8(4));
        let scale = |sixteen: usize| {
            let factor = signed_byte(scales.factors[sixteen / 4], sixteen % 4);
            _mm512_mul_ps(scales.d, _mm512_cvtepi32_ps(factor))
        };
        let sixteen = 8 * number + 2 * R;
        CentredHalves {
            quants: [quant(0), quant(1), quant(2), quant(3), quant(4), quant(5), quant(6), quant(7)],
            scales: [scale(sixteen), scale(sixteen + 1)],
        }
    }
}
