//! Unpacking of the types whose blocks are 256 weights. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::{Blocks, nibble_products};
use super::lanes::{EightRows, halves, paired, pairs_of_halves, transposed};
use super::pending::PendingNibbles;
use super::weights::{ColumnBlock, Sixteenths, Unsigned};

pub(super) enum Q4K {}
pub(super) enum Q5K {}
pub(super) enum Q6K {}

/// 32 bytes of each row, as eight vectors of which the i-th holds the i-th 32 bits of rows 0 to 7, in order.
///
/// # Safety
/// 32 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn thirty_two(rows: EightRows, offset: usize) -> [__m256i; 8] {
    // SAFETY: readable by contract.
    let ([a, b, c, d], [e, f, g, h]) = unsafe { (transposed(rows, offset), transposed(rows, offset + 16)) };
    [a, b, c, d, e, f, g, h]
}

/// The bit of one of eight runs, in every byte.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn bit_of_run(run: usize) -> __m256i {
    _mm256_set1_epi8(1_i8.wrapping_shl(run as u32))
}

/// All bits of the bytes that have `bit`, none of the others. Shifts would do with fewer steps, but some processors have
/// a single unit for them.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn where_set(bytes: __m256i, bit: __m256i) -> __m256i {
    _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit)
}

/// The signed factors of the two sixteens of run `R`, of four bytes that hold those of runs 0 and 1, or 2 and 3: the
/// first and the second, each twice in a lane, and both side by side.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn factors_of_run<const R: usize>(bytes: __m256i) -> [__m256i; 3] {
    // A factor to the high byte of a 16-bit lane, and down again with its sign.
    let placed = |low: usize, high: usize| {
        let lane = (0x80 | low << 8 | 0x80 << 16 | high << 24) as i32;
        let (b, c, d) = (lane + 0x0400_0400, lane + 0x0800_0800, lane + 0x0c00_0c00);
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(bytes, _mm256_setr_epi32(lane, b, c, d, lane, b, c, d)))
    };
    let (first, second) = (R % 2 * 2, R % 2 * 2 + 1);
    [placed(first, first), placed(second, second), placed(first, second)]
}

/// Of Q4_K and Q5_K: a factor and a minimum for each of the eight runs.
pub(super) struct ScalesQ4K {
    d: __m256,
    negative_dmin: __m256,
    /// Byte i of a lane: the scale of run i, of run i + 4.
    scales: [__m256i; 2],
    /// Byte i of a lane: the minimum of run i, of run i + 4.
    minima: [__m256i; 2],
}

impl ScalesQ4K {
    /// The scales at the beginning of a block.
    ///
    /// # Safety
    /// `rows` are whole blocks of Q4_K or Q5_K.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn of_block(rows: EightRows) -> Self {
        // SAFETY: a block begins with d, dmin and 12 bytes of packed scales and minima.
        let [pairs, s, m, mixed] = unsafe { transposed(rows, 0) };
        let (d, dmin) = pairs_of_halves(pairs);
        let (six, four, two) = (_mm256_set1_epi8(63), _mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
        let top = |v| _mm256_and_si256(_mm256_srli_epi16::<2>(v), two);
        let scales = [_mm256_and_si256(s, six), _mm256_or_si256(_mm256_and_si256(mixed, four), top(s))];
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(mixed), four);
        let minima = [_mm256_and_si256(m, six), _mm256_or_si256(high, top(m))];
        Self { d, negative_dmin: _mm256_xor_ps(dmin, _mm256_set1_ps(-0.0)), scales, minima }
    }

    /// Integer factor, scale and offset of one of the eight runs.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn of_run(&self, run: usize) -> (__m256i, __m256, __m256) {
        // Byte `run` of four to the low byte of both 16 bits of its lane, or of the lane alone.
        let (twice, once) = (0x8000_8000_u32, 0x8080_8000_u32);
        let placed = |bytes, pattern: u32, byte: u32| {
            let lane = |first: u32| (pattern + (first + byte) * if pattern == twice { 0x0001_0001 } else { 1 }) as i32;
            let (a, b, c, d) = (lane(0), lane(4), lane(8), lane(12));
            _mm256_shuffle_epi8(bytes, _mm256_setr_epi32(a, b, c, d, a, b, c, d))
        };
        let (half, byte) = (run / 4, run as u32 % 4);
        let minimum = _mm256_cvtepi32_ps(placed(self.minima[half], once, byte));
        (placed(self.scales[half], twice, byte), self.d, _mm256_mul_ps(self.negative_dmin, minimum))
    }
}

impl Blocks for Q4K {
    const BYTES: usize = 144;
    const PARTS: usize = 4;
    const RUNS: usize = 2;
    type Scales = ScalesQ4K;
    type Part = [[__m256i; 4]; 2];
    type Run = Unsigned<8>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesQ4K {
        // SAFETY: by contract.
        unsafe { ScalesQ4K::of_block(rows) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &Self::Scales, part: usize) -> [[__m256i; 4]; 2] {
        let start = 16 + part * 32;
        // SAFETY: after 16 bytes of scales, a block has four times 32 of nibbles.
        unsafe { [transposed(rows, start), transposed(rows, start + 16)] }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ4K, number: usize, part: &[[__m256i; 4]; 2]) -> Unsigned<8> {
        let mask = _mm256_set1_epi8(15);
        let nibbles = |v| _mm256_and_si256(if R == 0 { v } else { _mm256_srli_epi16::<4>(v) }, mask);
        let &[[a, b, c, d], [e, f, g, h]] = part;
        let (factor, scale, offset) = scales.of_run(2 * number + R);
        let quants = [nibbles(a), nibbles(b), nibbles(c), nibbles(d), nibbles(e), nibbles(f), nibbles(g), nibbles(h)];
        Unsigned { quants, factor, scale, offset }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products<const R: usize>(
        rows: EightRows,
        scales: &ScalesQ4K,
        number: usize,
        column: ColumnBlock,
    ) -> PendingNibbles {
        let (start, mask) = (16 + number * 32, _mm256_set1_epi8(15));
        let nibbles = |v| _mm256_and_si256(if R == 0 { v } else { _mm256_srli_epi16::<4>(v) }, mask);
        let (factor, scale, offset) = scales.of_run(2 * number + R);
        // SAFETY: by contract; a part is 32 bytes.
        unsafe {
            let (v, w) = (paired(rows, start), paired(rows, start + 16));
            let half_sums = nibble_products(|i| nibbles(v[i]), |i| nibbles(w[i]), column);
            PendingNibbles { half_sums, factor, scale, offset }
        }
    }
}

/// Of Q5_K: those of Q4_K, and the fifth bits of the block, transposed: bit j of byte k belongs to weight k of run j.
pub(super) struct ScalesQ5K {
    as_q4: ScalesQ4K,
    high: [__m256i; 8],
}

impl Blocks for Q5K {
    const BYTES: usize = 176;
    const PARTS: usize = 2;
    const RUNS: usize = 4;
    type Scales = ScalesQ5K;
    /// Nibbles of runs 0 and 1, of runs 2 and 3.
    type Part = [[__m256i; 8]; 2];
    type Run = Unsigned<4>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesQ5K {
        // SAFETY: after 16 bytes of scales, a block has 32 of fifth bits.
        unsafe { ScalesQ5K { as_q4: ScalesQ4K::of_block(rows), high: thirty_two(rows, 16) } }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &ScalesQ5K, part: usize) -> [[__m256i; 8]; 2] {
        let start = 48 + part * 64;
        // SAFETY: after the fifth bits, a block has twice 64 bytes of nibbles.
        unsafe { [thirty_two(rows, start), thirty_two(rows, start + 32)] }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ5K, number: usize, part: &[[__m256i; 8]; 2]) -> Unsigned<4> {
        let (four, bit) = (_mm256_set1_epi8(15), bit_of_run(4 * number + R));
        let quants = |i: usize| {
            let low = part[R / 2][i];
            let nibble = [low, _mm256_srli_epi16::<4>(low)][R % 2];
            let fifth = _mm256_and_si256(where_set(scales.high[i], bit), _mm256_set1_epi8(16));
            _mm256_or_si256(_mm256_and_si256(nibble, four), fifth)
        };
        let (factor, scale, offset) = scales.as_q4.of_run(4 * number + R);
        let quants = [quants(0), quants(1), quants(2), quants(3), quants(4), quants(5), quants(6), quants(7)];
        Unsigned { quants, factor, scale, offset }
    }
}

/// Of Q6_K: d, and a signed factor for each 16 weights.
pub(super) struct ScalesQ6K {
    d: __m256,
    /// Byte i of a lane of vector j: the factor of the sixteen number 4j + i.
    factors: [__m256i; 4],
}

/// Half a block of Q6_K: low nibbles of runs 0 and 2, of runs 1 and 3, and the high pairs of bits of all four.
pub(super) struct PartQ6K {
    low: [[__m256i; 8]; 2],
    high: [__m256i; 8],
}

impl Blocks for Q6K {
    const BYTES: usize = 210;
    const PARTS: usize = 2;
    const RUNS: usize = 4;
    type Scales = ScalesQ6K;
    type Part = PartQ6K;
    type Run = Sixteenths<2>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> ScalesQ6K {
        // SAFETY: a block is 210 bytes, the factors at 192 and d at 208.
        unsafe { ScalesQ6K { d: halves(rows, 208), factors: transposed(rows, 192) } }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &Self::Scales, part: usize) -> PartQ6K {
        // SAFETY: a block has twice 64 bytes of nibbles, then twice 32 of pairs of bits.
        unsafe {
            let low = [thirty_two(rows, part * 64), thirty_two(rows, part * 64 + 32)];
            PartQ6K { low, high: thirty_two(rows, 128 + part * 32) }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesQ6K, number: usize, part: &PartQ6K) -> Sixteenths<2> {
        let quants = |i: usize| {
            let (low, high) = (part.low[R % 2][i], part.high[i]);
            let nibble = if R < 2 { low } else { _mm256_srli_epi16::<4>(low) };
            let pair = match R {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<2>(high),
                2 => high,
                _ => _mm256_srli_epi16::<2>(high),
            };
            let (four, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
            _mm256_or_si256(_mm256_and_si256(nibble, four), _mm256_and_si256(pair, two))
        };
        let [first, second, both] = factors_of_run::<R>(scales.factors[2 * number + R / 2]);
        Sixteenths {
            quants: [quants(0), quants(1), quants(2), quants(3), quants(4), quants(5), quants(6), quants(7)],
            factors: [first, second],
            // 32 times.
            offsets: _mm256_slli_epi16::<5>(both),
            scale: scales.d,
        }
    }
}
