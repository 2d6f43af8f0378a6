//! Unpacking of the 5-bit types whose blocks are 32 weights: 32 fifth bits stand before the nibbles. Layouts: ggml's
//! `ggml-common.h`.

use std::arch::x86_64::*;

use super::blocks::{OneRun, nibbles};
use super::lanes::{SixteenRows, high_halves, low_halves, transposed_block};
use super::weights::{Centred, Offset};

pub(super) enum Q5_0 {}
pub(super) enum Q5_1 {}

/// Four of the 32 bits of each lane, from number 4 `i` on: each as 16 in a byte of its own, added to `quants`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn with_fifth_bits(quants: __m512i, bits: __m512i, i: usize) -> __m512i {
    // Each byte of a lane gets the byte with its bit.
    let byte = (0x0101_0101 * (i / 2)) as i32;
    let places = _mm512_set4_epi32(byte + 0x0c0c_0c0c, byte + 0x0808_0808, byte + 0x0404_0404, byte);
    let bit = if i.is_multiple_of(2) { 0x0804_0201 } else { 0x8040_2010_u32.cast_signed() };
    let set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, places), _mm512_set1_epi32(bit));
    _mm512_mask_add_epi8(quants, set, quants, _mm512_set1_epi8(16))
}

/// Nibbles with their fifth bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn fives(part: &[__m512i; 4], bits: __m512i) -> [__m512i; 8] {
    let [a, b, c, d, e, f, g, h] = nibbles(part);
    let five = |quants, i| with_fifth_bits(quants, bits, i);
    [five(a, 0), five(b, 1), five(c, 2), five(d, 3), five(e, 4), five(f, 5), five(g, 6), five(h, 7)]
}

impl OneRun for Q5_0 {
    const BYTES: usize = 22;
    type Run = Centred<16>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn unpack(rows: SixteenRows) -> Centred<16> {
        // SAFETY: a block of 22 bytes is a half, four bytes of fifth bits and 16 of nibbles: from two bytes before it on, a
        // dword that ends with the half, and five others.
        let [first, bits, a, b, c, d, ..] = unsafe { transposed_block::<22, 2>(rows) };
        Centred { quants: fives(&[a, b, c, d], bits), scale: high_halves(first) }
    }
}

impl OneRun for Q5_1 {
    const BYTES: usize = 24;
    type Run = Offset;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn unpack(rows: SixteenRows) -> Offset {
        // SAFETY: a block of 24 bytes is two halves, four bytes of fifth bits and 16 of nibbles.
        let [pairs, bits, a, b, c, d, ..] = unsafe { transposed_block::<24, 0>(rows) };
        Offset { quants: fives(&[a, b, c, d], bits), scale: low_halves(pairs), offset: high_halves(pairs) }
    }
}
