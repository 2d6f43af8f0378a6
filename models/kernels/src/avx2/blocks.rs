//! Unpacking of the types whose blocks are 32 weights. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::lanes::{RowPointers, dwords, halves, pairs_of_halves, transposed};
use super::weights::{Signed, Unsigned, Weights};

/// A type's blocks, eight rows at a time.
pub(super) trait Blocks {
    /// Bytes of one block.
    const BYTES: usize;
    /// Runs of 32 weights in one block.
    const RUNS: usize;
    /// One block of eight rows, transposed but still packed.
    type Packed;
    /// One run, ready to be multiplied.
    type Run: Weights;

    /// Reads one block of each row.
    ///
    /// # Safety
    /// Every pointer is to a whole block. The processor has AVX2, FMA and F16C.
    unsafe fn load(rows: &RowPointers) -> Self::Packed;

    /// Unpacks a run, below [`Self::RUNS`].
    ///
    /// # Safety
    /// The processor has AVX2, FMA and F16C.
    unsafe fn run(packed: &Self::Packed, run: usize) -> Self::Run;
}

pub(super) enum Q4_0 {}
pub(super) enum Q4_1 {}
pub(super) enum Q8_0 {}

/// Four vectors of nibbles and what scales them.
pub(super) struct Nibbles {
    quants: [__m256i; 4],
    scale: __m256,
    offset: __m256,
}

impl Nibbles {
    /// The low nibbles are the first 16 weights, the high ones the others.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn unpacked(&self) -> Unsigned<8> {
        let [a, b, c, d] = self.quants;
        let mask = _mm256_set1_epi8(15);
        let low = |v| _mm256_and_si256(v, mask);
        let high = |v| _mm256_and_si256(_mm256_srli_epi16::<4>(v), mask);
        let quants = [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)];
        Unsigned { quants, scale: self.scale, offset: self.offset }
    }
}

impl Blocks for Q4_0 {
    const BYTES: usize = 18;
    const RUNS: usize = 1;
    type Packed = Nibbles;
    type Run = Unsigned<8>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(rows: &RowPointers) -> Nibbles {
        // SAFETY: a block is 18 bytes: a half, then 16 of nibbles.
        let (scale, quants) = unsafe { (halves(rows, 0), transposed(rows, 2)) };
        Nibbles { quants, scale, offset: _mm256_mul_ps(scale, _mm256_set1_ps(-8.0)) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run(packed: &Nibbles, _: usize) -> Unsigned<8> {
        packed.unpacked()
    }
}

impl Blocks for Q4_1 {
    const BYTES: usize = 20;
    const RUNS: usize = 1;
    type Packed = Nibbles;
    type Run = Unsigned<8>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(rows: &RowPointers) -> Nibbles {
        // SAFETY: a block is 20 bytes: two halves, then 16 of nibbles.
        let (pairs, quants) = unsafe { (dwords(rows, 0), transposed(rows, 4)) };
        let (scale, offset) = pairs_of_halves(pairs);
        Nibbles { quants, scale, offset }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run(packed: &Nibbles, _: usize) -> Unsigned<8> {
        packed.unpacked()
    }
}

impl Blocks for Q8_0 {
    const BYTES: usize = 34;
    const RUNS: usize = 1;
    type Packed = ([__m256i; 4], [__m256i; 4], __m256);
    type Run = Signed;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(rows: &RowPointers) -> Self::Packed {
        // SAFETY: a block is 34 bytes: a half, then 32 quants.
        unsafe { (transposed(rows, 2), transposed(rows, 18), halves(rows, 0)) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run(&([a, b, c, d], [e, f, g, h], scale): &Self::Packed, _: usize) -> Signed {
        let quants = [a, b, c, d, e, f, g, h];
        let abs = |v| _mm256_abs_epi8(v);
        Signed { quants, magnitudes: [abs(a), abs(b), abs(c), abs(d), abs(e), abs(f), abs(g), abs(h)], scale }
    }
}
