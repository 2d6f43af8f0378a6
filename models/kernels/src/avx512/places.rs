//! Unpacking of the types whose nibbles are places in a table of sixteen signed bytes. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::{Blocks, OneRun, Q4_0, nibbles};
use super::lanes::{SixteenRows, low_halves, or_masked, transposed};
use super::weights::Centred;
use crate::scalar::dequantize::PLACES;

pub(super) enum Iq4Nl {}
pub(super) enum Iq4Xs {}

/// 128 more than the value that each byte, below 16, stands for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn raised_values(nibbles: [__m512i; 8]) -> [__m512i; 8] {
    // SAFETY: the table has 16 bytes.
    let places = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(PLACES.as_ptr().cast()) });
    // A signed byte plus 128 is the byte with its sign turned.
    let table = _mm512_xor_si512(places, _mm512_set1_epi8(i8::MIN));
    nibbles.map(|nibbles| _mm512_shuffle_epi8(table, nibbles))
}

impl OneRun for Iq4Nl {
    const BYTES: usize = 18;
    type Run = Centred<128>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn unpack(rows: SixteenRows) -> Centred<128> {
        // SAFETY: by contract: blocks of Q4_0 but for what their nibbles mean.
        let Centred { quants, scale } = unsafe { Q4_0::unpack(rows) };
        Centred { quants: raised_values(quants), scale }
    }
}

/// Of IQ4_XS: d; of the factors of the eight runs, the high pairs of bits in a lane's high half, and the low nibbles.
#[derive(Clone, Copy)]
pub(super) struct ScalesIq4Xs {
    d: __m512,
    high: __m512i,
    low: __m512i,
}

impl Blocks for Iq4Xs {
    const BYTES: usize = 136;
    const PARTS: usize = 8;
    const RUNS: usize = 1;
    type Scales = ScalesIq4Xs;
    type Part = [__m512i; 4];
    type Run = Centred<128>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> ScalesIq4Xs {
        // SAFETY: a block of 136 bytes begins with d, two bytes of high pairs and four of low nibbles.
        let [first, low, ..] = unsafe { transposed(rows, 0) };
        ScalesIq4Xs { d: low_halves(first), high: first, low }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, number: usize) -> [__m512i; 4] {
        // SAFETY: after eight bytes, a block has eight times 16 of nibbles.
        unsafe { transposed(rows, 8 + number * 16) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(scales: &ScalesIq4Xs, number: usize, part: &[__m512i; 4]) -> Centred<128> {
        let bits = |v, from: usize| _mm512_srlv_epi32(v, _mm512_set1_epi32(from as i32));
        let low = _mm512_and_si512(bits(scales.low, 4 * number), _mm512_set1_epi32(15));
        let high = _mm512_slli_epi32::<4>(bits(scales.high, 16 + 2 * number));
        let factor = or_masked(low, high, _mm512_set1_epi32(0x30));
        let factor = _mm512_sub_epi32(factor, _mm512_set1_epi32(32));
        let scale = _mm512_mul_ps(scales.d, _mm512_cvtepi32_ps(factor));
        Centred { quants: raised_values(nibbles(part)), scale }
    }
}
