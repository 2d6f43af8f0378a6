//! Unpacking of the types whose blocks are 256 weights. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::Blocks;
use super::lanes::{RowPointers, halves, pairs_of_halves, transposed};
use super::weights::{Sixteenths, Unsigned};

pub(super) enum Q4K {}
pub(super) enum Q6K {}

/// A block of Q4_K: d, dmin, eight 6-bit scales and minima, then per 64 weights 32 bytes of nibbles.
pub(super) struct PackedQ4K {
    rows: RowPointers,
    d: __m256,
    dmin: __m256,
    /// Byte i of a lane: the scale of run i, of run i + 4.
    scales: [__m256i; 2],
    /// Byte i of a lane: the minimum of run i, of run i + 4.
    minima: [__m256i; 2],
}

/// Byte `index` of every lane, as a float.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn byte(bytes: __m256i, index: usize) -> __m256 {
    let shift = _mm_cvtsi64_si128(8 * index as i64);
    _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srl_epi32(bytes, shift), _mm256_set1_epi32(255)))
}

impl Blocks for Q4K {
    const BYTES: usize = 144;
    const RUNS: usize = 8;
    type Packed = PackedQ4K;
    type Run = Unsigned<8>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(rows: &RowPointers) -> PackedQ4K {
        // SAFETY: a block begins with 16 bytes of scales.
        let [pairs, s, m, mixed] = unsafe { transposed(rows, 0) };
        let (d, dmin) = pairs_of_halves(pairs);
        let (six, four, two) = (_mm256_set1_epi8(63), _mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
        let top = |v| _mm256_and_si256(_mm256_srli_epi16::<2>(v), two);
        let scales = [_mm256_and_si256(s, six), _mm256_or_si256(_mm256_and_si256(mixed, four), top(s))];
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(mixed), four);
        let minima = [_mm256_and_si256(m, six), _mm256_or_si256(high, top(m))];
        PackedQ4K { rows: *rows, d, dmin, scales, minima }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run(packed: &PackedQ4K, run: usize) -> Unsigned<8> {
        let start = 16 + run / 2 * 32;
        // SAFETY: the pointers are still those of whole blocks, of 16 + 4 × 32 bytes.
        let ([a, b, c, d], [e, f, g, h]) =
            unsafe { (transposed(&packed.rows, start), transposed(&packed.rows, start + 16)) };
        let (shift, mask) = (_mm_cvtsi64_si128(run as i64 % 2 * 4), _mm256_set1_epi8(15));
        let nibbles = |v| _mm256_and_si256(_mm256_srl_epi16(v, shift), mask);
        let scale = _mm256_mul_ps(packed.d, byte(packed.scales[run / 4], run % 4));
        let minimum = _mm256_mul_ps(packed.dmin, byte(packed.minima[run / 4], run % 4));
        Unsigned {
            quants: [nibbles(a), nibbles(b), nibbles(c), nibbles(d), nibbles(e), nibbles(f), nibbles(g), nibbles(h)],
            scale,
            offset: _mm256_xor_ps(minimum, _mm256_set1_ps(-0.0)),
        }
    }
}

/// A block of Q6_K: 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed factors, d.
pub(super) struct PackedQ6K {
    rows: RowPointers,
    scale: __m256,
    /// Byte i of a lane of vector j: the factor of the sixteen number 4j + i.
    factors: [__m256i; 4],
}

impl Blocks for Q6K {
    const BYTES: usize = 210;
    const RUNS: usize = 8;
    type Packed = PackedQ6K;
    type Run = Sixteenths;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(rows: &RowPointers) -> PackedQ6K {
        // SAFETY: a block is 210 bytes, the factors at 192 and d at 208.
        unsafe { PackedQ6K { rows: *rows, scale: halves(rows, 208), factors: transposed(rows, 192) } }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run(packed: &PackedQ6K, run: usize) -> Sixteenths {
        // Each half of the block packs four runs: two in the low nibbles of 64 bytes, two in the high ones.
        let (side, run_of_side) = (run / 4, run % 4);
        let (low, high) = (side * 64 + run_of_side % 2 * 32, 128 + side * 32);
        // SAFETY: the pointers are still those of whole blocks.
        let (l0, l1, h0, h1) = unsafe {
            (
                transposed(&packed.rows, low),
                transposed(&packed.rows, low + 16),
                transposed(&packed.rows, high),
                transposed(&packed.rows, high + 16),
            )
        };
        let nibble_shift = _mm_cvtsi64_si128(run_of_side as i64 / 2 * 4);
        let pair_shift = _mm_cvtsi64_si128(run_of_side as i64 * 2);
        let quants = |low, high| {
            let nibble = _mm256_and_si256(_mm256_srl_epi16(low, nibble_shift), _mm256_set1_epi8(15));
            let pair = _mm256_and_si256(_mm256_srl_epi16(high, pair_shift), _mm256_set1_epi8(3));
            _mm256_or_si256(nibble, _mm256_slli_epi16::<4>(pair))
        };
        // A factor to the high byte of a 16-bit lane, and down again with its sign.
        let bytes = packed.factors[run / 2];
        let (first, second) = (run % 2 * 2, run % 2 * 2 + 1);
        let placed = |low: usize, high: usize| {
            let lane = (0x80 | low << 8 | 0x80 << 16 | high << 24) as i32;
            let lanes =
                _mm256_setr_epi32(0, 0x0400_0400, 0x0800_0800, 0x0c00_0c00, 0, 0x0400_0400, 0x0800_0800, 0x0c00_0c00);
            _mm256_shuffle_epi8(bytes, _mm256_add_epi32(_mm256_set1_epi32(lane), lanes))
        };
        Sixteenths {
            quants: std::array::from_fn(|i| if i < 4 { quants(l0[i], h0[i]) } else { quants(l1[i - 4], h1[i - 4]) }),
            factors: [_mm256_srai_epi16::<8>(placed(first, first)), _mm256_srai_epi16::<8>(placed(second, second))],
            // 32 × the factor: five bits less down.
            offsets: _mm256_srai_epi16::<3>(placed(first, second)),
            scale: packed.scale,
        }
    }
}
