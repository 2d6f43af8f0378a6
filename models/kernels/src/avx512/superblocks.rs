//! Unpacking of the types whose blocks are 256 weights. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::Blocks;
use super::lanes::{
    SixteenRows, high_halves, high_nibbles, last_dwords, low_halves, low_nibbles, or_masked, signed_byte, transposed,
    transposed_32, unsigned_byte,
};
use super::weights::{CentredHalves, Offset};

pub(super) enum Q4K {}
pub(super) enum Q5K {}
pub(super) enum Q6K {}

/// Of Q4_K: d and −dmin, and their 6-bit factors for each of the eight runs.
#[derive(Clone, Copy)]
pub(super) struct ScalesQ4K {
    d: __m512,
    negative_dmin: __m512,
    /// Byte i of a lane: the factor of run i, of run i + 4.
    scales: [__m512i; 2],
    /// Byte i of a lane: the minimum's factor of run i, of run i + 4.
    minima: [__m512i; 2],
}

impl ScalesQ4K {
    /// Reads d, dmin and the packed factors, the first 16 bytes of a block.
    ///
    /// # Safety
    /// `rows` are whole blocks, which begin so.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn read(rows: SixteenRows) -> Self {
        // SAFETY: by contract.
        let [pairs, s, m, mixed] = unsafe { transposed(rows, 0) };
        let (six, two) = (_mm512_set1_epi8(63), _mm512_set1_epi8(0x30));
        let top = |v| _mm512_srli_epi16::<2>(v);
        let scales = [_mm512_and_si512(s, six), or_masked(low_nibbles(mixed), top(s), two)];
        let minima = [_mm512_and_si512(m, six), or_masked(high_nibbles(mixed), top(m), two)];
        let negative_dmin = _mm512_sub_ps(_mm512_setzero_ps(), high_halves(pairs));
        Self { d: low_halves(pairs), negative_dmin, scales, minima }
    }

    /// Scale and offset of one of the eight runs.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn of_run(&self, run: usize) -> (__m512, __m512) {
        let factor = |bytes: &[__m512i; 2]| _mm512_cvtepi32_ps(unsigned_byte(bytes[run / 4], run % 4));
        (_mm512_mul_ps(self.d, factor(&self.scales)), _mm512_mul_ps(self.negative_dmin, factor(&self.minima)))
    }
}

impl Blocks for Q4K {
    const BYTES: usize = 144;
    const PARTS: usize = 4;
    const RUNS: usize = 2;
    type Scales = ScalesQ4K;
    type Part = [__m512i; 8];
    type Run = Offset;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> ScalesQ4K {
        // SAFETY: a block begins with 16 bytes of scales.
        unsafe { ScalesQ4K::read(rows) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, number: usize) -> [__m512i; 8] {
        // SAFETY: after 16 bytes of scales, a block has four times 32 of nibbles.
        unsafe { transposed_32(rows, 16 + number * 32) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ4K, number: usize, part: &[__m512i; 8]) -> Offset {
        let nibbles = |i: usize| if R == 0 { low_nibbles(part[i]) } else { high_nibbles(part[i]) };
        let (scale, offset) = scales.of_run(2 * number + R);
        let quants = [nibbles(0), nibbles(1), nibbles(2), nibbles(3), nibbles(4), nibbles(5), nibbles(6), nibbles(7)];
        Offset { quants, scale, offset }
    }
}

/// The bits number `bit` of all bytes, moved to bit `place` of the same byte; what stands beside them is unspecified.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn bits_moved(v: __m512i, bit: usize, place: usize) -> __m512i {
    // A turn by less than eight places: what was asked for stays in its byte.
    _mm512_rolv_epi32(v, _mm512_set1_epi32((32 + place - bit) as i32 % 32))
}

impl Blocks for Q5K {
    const BYTES: usize = 176;
    const PARTS: usize = 4;
    const RUNS: usize = 2;
    /// Scales, and the fifth bits: bit j of a byte is that of run j.
    type Scales = (ScalesQ4K, [__m512i; 8]);
    type Part = [__m512i; 8];
    type Run = Offset;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> Self::Scales {
        // SAFETY: a block begins with 16 bytes of scales and 32 of fifth bits.
        unsafe { (ScalesQ4K::read(rows), transposed_32(rows, 16)) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, number: usize) -> [__m512i; 8] {
        // SAFETY: after 48 bytes, a block has four times 32 of nibbles.
        unsafe { transposed_32(rows, 48 + number * 32) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>((scales, bits): &Self::Scales, number: usize, part: &[__m512i; 8]) -> Offset {
        let run = 2 * number + R;
        let fives = |i: usize| {
            let nibbles = if R == 0 { low_nibbles(part[i]) } else { high_nibbles(part[i]) };
            or_masked(nibbles, bits_moved(bits[i], run, 4), _mm512_set1_epi8(16))
        };
        let (scale, offset) = scales.of_run(run);
        let quants = [fives(0), fives(1), fives(2), fives(3), fives(4), fives(5), fives(6), fives(7)];
        Offset { quants, scale, offset }
    }
}

/// Of Q6_K: d, and a signed factor for each 16 weights.
#[derive(Clone, Copy)]
pub(super) struct ScalesQ6K {
    d: __m512,
    /// Byte i of a lane of vector j: the factor of the sixteen number 4j + i.
    factors: [__m512i; 4],
}

/// Half a block of Q6_K: low nibbles of runs 0 and 2, of runs 1 and 3, and the high pairs of bits of all four.
#[derive(Clone, Copy)]
pub(super) struct PartQ6K {
    low: [[__m512i; 8]; 2],
    high: [__m512i; 8],
}

impl Blocks for Q6K {
    const BYTES: usize = 210;
    const PARTS: usize = 2;
    const RUNS: usize = 4;
    type Scales = ScalesQ6K;
    type Part = PartQ6K;
    type Run = CentredHalves<32>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> ScalesQ6K {
        // SAFETY: a block is 210 bytes, the factors at 192 and d in the last two.
        unsafe { ScalesQ6K { d: high_halves(last_dwords(rows, 210)), factors: transposed(rows, 192) } }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, number: usize) -> PartQ6K {
        // SAFETY: a block has twice 64 bytes of nibbles, then twice 32 of pairs of bits.
        unsafe {
            let low = [transposed_32(rows, number * 64), transposed_32(rows, number * 64 + 32)];
            PartQ6K { low, high: transposed_32(rows, 128 + number * 32) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ6K, number: usize, part: &PartQ6K) -> CentredHalves<32> {
        let quants = |i: usize| {
            let (low, high) = (part.low[R % 2][i], part.high[i]);
            let nibble = if R < 2 { low_nibbles(low) } else { high_nibbles(low) };
            let pair = match R {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<2>(high),
                2 => high,
                _ => _mm512_srli_epi16::<2>(high),
            };
            or_masked(nibble, pair, _mm512_set1_epi8(0x30))
        };
        let scale = |sixteen: usize| {
            let factor = signed_byte(scales.factors[sixteen / 4], sixteen % 4);
            _mm512_mul_ps(scales.d, _mm512_cvtepi32_ps(factor))
        };
        let sixteen = 8 * number + 2 * R;
        CentredHalves {
            quants: [quants(0), quants(1), quants(2), quants(3), quants(4), quants(5), quants(6), quants(7)],
            scales: [scale(sixteen), scale(sixteen + 1)],
        }
    }
}
