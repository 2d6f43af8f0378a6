//! Unpacking of the types whose blocks are 32 weights. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::lanes::{
    SixteenRows, first_dwords, high_halves, high_nibbles, low_halves, low_nibbles, transposed_32, transposed_block,
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
    type Scales: Copy;
    /// One part of sixteen rows, transposed but still packed.
    type Part: Copy;
    /// One run, ready to be multiplied.
    type Run: Weights + Copy;

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

/// A type whose blocks are 32 weights: one run.
pub(super) trait OneRun {
    /// Bytes of one block.
    const BYTES: usize;
    /// A block of sixteen rows, ready to be multiplied.
    type Run: Weights + Copy;

    /// Reads and unpacks one block of each row.
    ///
    /// # Safety
    /// `rows` are whole blocks. The processor has AVX-512 F, BW, VL and VNNI.
    unsafe fn unpack(rows: SixteenRows) -> Self::Run;
}

impl<T: OneRun> Blocks for T {
    const BYTES: usize = T::BYTES;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = ();
    type Part = T::Run;
    type Run = T::Run;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(_: SixteenRows) {}

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn part(rows: SixteenRows, _: usize) -> T::Run {
        // SAFETY: by contract.
        unsafe { T::unpack(rows) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run<const R: usize>((): &(), _: usize, run: &T::Run) -> T::Run {
        *run
    }
}

pub(super) enum Q4_0 {}
pub(super) enum Q4_1 {}
pub(super) enum Q8_0 {}

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

impl OneRun for Q4_0 {
    const BYTES: usize = 18;
    type Run = Centred<8>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn unpack(rows: SixteenRows) -> Centred<8> {
        // SAFETY: a block of 18 bytes is a half and 16 bytes of nibbles: from two bytes before it on, a dword that ends with
        // the half, and four others.
        let [first, a, b, c, d, ..] = unsafe { transposed_block::<18, 2>(rows) };
        Centred { quants: nibbles(&[a, b, c, d]), scale: high_halves(first) }
    }
}

impl OneRun for Q4_1 {
    const BYTES: usize = 20;
    type Run = Offset;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn unpack(rows: SixteenRows) -> Offset {
        // SAFETY: a block of 20 bytes is two halves and 16 bytes of nibbles.
        let [pairs, a, b, c, d, ..] = unsafe { transposed_block::<20, 0>(rows) };
        Offset { quants: nibbles(&[a, b, c, d]), scale: low_halves(pairs), offset: high_halves(pairs) }
    }
}

impl OneRun for Q8_0 {
    const BYTES: usize = 34;
    type Run = Centred<128>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn unpack(rows: SixteenRows) -> Centred<128> {
        // SAFETY: a block of 34 bytes is a half and 32 bytes.
        let (first, quants) = unsafe { (first_dwords(rows, 0), transposed_32(rows, 2)) };
        // A signed byte plus 128 is the byte with its sign turned.
        let raised = |i: usize| _mm512_xor_si512(quants[i], _mm512_set1_epi8(i8::MIN));
        let quants = [raised(0), raised(1), raised(2), raised(3), raised(4), raised(5), raised(6), raised(7)];
        Centred { quants, scale: low_halves(first) }
    }
}
