//! Unpacking of the types whose blocks are 32 weights. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::lanes::{
    SixteenRows, first_dwords, high_halves, high_nibbles, low_halves, low_nibbles, transposed, transposed_32,
};
use super::weights::{Centred, Offset, Weights};

/// A type's blocks, sixteen rows at a time: a block has parts, which are transposed at once, and a part has runs of 32
/// weights, which are unpacked at once.
pub(super) trait Blocks {
    /// Bytes of one block.
    const BYTES: usize;
    /// Parts of one block.
    const PARTS: usize;
    /// Runs of one part: 1, 2 or 4.
    const RUNS: usize;
    /// The scales of one block of sixteen rows.
    type Scales;
    /// One part of sixteen rows, transposed but still packed.
    type Part;
    /// One run, ready to be multiplied.
    type Run: Weights;

    /// Reads the scales of one block of each row.
    ///
    /// # Safety
    /// `rows` are whole blocks. The processor has AVX-512 F, BW, VL and VNNI.
    unsafe fn scales(rows: SixteenRows) -> Self::Scales;

    /// Reads the quants of one part, below [`Self::PARTS`].
    ///
    /// # Safety
    /// `rows` are whole blocks. The processor has AVX-512 F, BW, VL and VNNI.
    unsafe fn part(rows: SixteenRows, number: usize) -> Self::Part;

    /// Unpacks run `R` of a part, below [`Self::RUNS`].
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, VL and VNNI.
    unsafe fn run<const R: usize>(scales: &Self::Scales, number: usize, part: &Self::Part) -> Self::Run;
}

/// What the nibbles of IQ4_NL and IQ4_XS stand for, and 128 more: four bytes to a number.
const RAISED_VALUES: [i32; 4] = {
    const VALUES: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];
    let mut dwords = [0; 4];
    let mut i = 0;
    while i < 16 {
        dwords[i / 4] |= (VALUES[i] as i32) << (8 * (i % 4));
        i += 1;
    }
    dwords
};

pub(super) enum Q4_0 {}
pub(super) enum Q4_1 {}
pub(super) enum Q5_0 {}
pub(super) enum Q5_1 {}
pub(super) enum Q8_0 {}
pub(super) enum IQ4NL {}

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

/// 128 more than the value that each byte, below 16, stands for in IQ4_NL and IQ4_XS.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn raised_values(nibbles: [__m512i; 8]) -> [__m512i; 8] {
    let [a, b, c, d] = RAISED_VALUES;
    let table = _mm512_set4_epi32(d, c, b, a);
    nibbles.map(|nibbles| _mm512_shuffle_epi8(table, nibbles))
}

/// The low nibbles are the first 16 weights, the high ones the others.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn nibbles(&[a, b, c, d]: &[__m512i; 4]) -> [__m512i; 8] {
    [
        low_nibbles(a),
        low_nibbles(b),
        low_nibbles(c),
        low_nibbles(d),
        high_nibbles(a),
        high_nibbles(b),
        high_nibbles(c),
        high_nibbles(d),
    ]
}

impl Blocks for Q4_0 {
    const BYTES: usize = 18;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = __m512;
    type Part = [__m512i; 4];
    type Run = Centred<8>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> __m512 {
        // SAFETY: a block of 18 bytes begins with a half.
        low_halves(unsafe { first_dwords(rows, 0) })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, _: usize) -> [__m512i; 4] {
        // SAFETY: after the half come 16 bytes.
        unsafe { transposed(rows, 2) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(&scale: &__m512, _: usize, part: &[__m512i; 4]) -> Centred<8> {
        Centred { quants: nibbles(part), scale }
    }
}

impl Blocks for Q4_1 {
    const BYTES: usize = 20;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = (__m512, __m512);
    type Part = [__m512i; 4];
    type Run = Offset;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> (__m512, __m512) {
        // SAFETY: a block of 20 bytes begins with two halves.
        let pairs = unsafe { first_dwords(rows, 0) };
        (low_halves(pairs), high_halves(pairs))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, _: usize) -> [__m512i; 4] {
        // SAFETY: after the halves come 16 bytes.
        unsafe { transposed(rows, 4) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(&(scale, offset): &(__m512, __m512), _: usize, part: &[__m512i; 4]) -> Offset {
        Offset { quants: nibbles(part), scale, offset }
    }
}

impl Blocks for Q8_0 {
    const BYTES: usize = 34;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = __m512;
    type Part = [__m512i; 8];
    type Run = Centred<128>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> __m512 {
        // SAFETY: a block of 34 bytes begins with a half.
        low_halves(unsafe { first_dwords(rows, 0) })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, _: usize) -> [__m512i; 8] {
        // SAFETY: after the half come 32 bytes.
        unsafe { transposed_32(rows, 2) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(&scale: &__m512, _: usize, part: &[__m512i; 8]) -> Centred<128> {
        // A signed byte plus 128 is the byte with its sign turned.
        let raised = |i: usize| _mm512_xor_si512(part[i], _mm512_set1_epi8(i8::MIN));
        let quants = [raised(0), raised(1), raised(2), raised(3), raised(4), raised(5), raised(6), raised(7)];
        Centred { quants, scale }
    }
}

impl Blocks for Q5_0 {
    const BYTES: usize = 22;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    /// Scales and fifth bits.
    type Scales = (__m512, __m512i);
    type Part = [__m512i; 4];
    type Run = Centred<16>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> (__m512, __m512i) {
        // SAFETY: a block of 22 bytes begins with a half, and four bytes of fifth bits.
        let [first, second, ..] = unsafe { transposed(rows, 0) };
        let bits = _mm512_or_si512(_mm512_srli_epi32::<16>(first), _mm512_slli_epi32::<16>(second));
        (low_halves(first), bits)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, _: usize) -> [__m512i; 4] {
        // SAFETY: after six bytes come 16.
        unsafe { transposed(rows, 6) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(&(scale, bits): &(__m512, __m512i), _: usize, part: &[__m512i; 4]) -> Centred<16> {
        Centred { quants: fives(part, bits), scale }
    }
}

impl Blocks for Q5_1 {
    const BYTES: usize = 24;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    /// Scales, offsets and fifth bits.
    type Scales = (__m512, __m512, __m512i);
    type Part = [__m512i; 4];
    type Run = Offset;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> Self::Scales {
        // SAFETY: a block of 24 bytes begins with two halves, and four bytes of fifth bits.
        let [pairs, bits, ..] = unsafe { transposed(rows, 0) };
        (low_halves(pairs), high_halves(pairs), bits)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, _: usize) -> [__m512i; 4] {
        // SAFETY: after eight bytes come 16.
        unsafe { transposed(rows, 8) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(&(scale, offset, bits): &Self::Scales, _: usize, part: &[__m512i; 4]) -> Offset {
        Offset { quants: fives(part, bits), scale, offset }
    }
}

impl Blocks for IQ4NL {
    const BYTES: usize = 18;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = __m512;
    type Part = [__m512i; 4];
    type Run = Centred<128>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(rows: SixteenRows) -> __m512 {
        // SAFETY: a block of 18 bytes begins with a half.
        low_halves(unsafe { first_dwords(rows, 0) })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, _: usize) -> [__m512i; 4] {
        // SAFETY: after the half come 16 bytes.
        unsafe { transposed(rows, 2) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>(&scale: &__m512, _: usize, part: &[__m512i; 4]) -> Centred<128> {
        Centred { quants: raised_values(nibbles(part)), scale }
    }
}
