//! Unpacking of the types whose blocks are 32 weights. Layouts: ggml's `ggml-common.h`.

use std::arch::x86_64::*;

use super::lanes::{
    EightRows, dwords, half_sums_of_words, halves, paired, pairs_of_halves, sums_of_dwords, transposed,
};
use super::pending::{PendingNibbles, PendingSums};
use super::weights::{ColumnBlock, Signed, Unsigned, Weights, sixteen};

/// A type's blocks, eight rows at a time: a block has parts, which are transposed at once, and a part has runs of 32
/// weights, which are unpacked at once.
pub(super) trait Blocks {
    /// Bytes of one block.
    const BYTES: usize;
    /// Parts of one block.
    const PARTS: usize;
    /// Runs of one part: 1, 2 or 4.
    const RUNS: usize;
    /// The scales of one block of eight rows.
    type Scales;
    /// One part of eight rows, transposed but still packed.
    type Part;
    /// One run, ready to be multiplied.
    type Run: Weights;

    /// Reads the scales of one block of each row.
    ///
    /// # Safety
    /// `rows` are whole blocks. The processor has AVX2, FMA and F16C.
    unsafe fn scales(rows: EightRows) -> Self::Scales;

    /// Reads the quants of one part, below [`Self::PARTS`].
    ///
    /// # Safety
    /// `rows` are whole blocks. The processor has AVX2, FMA and F16C.
    unsafe fn part(rows: EightRows, scales: &Self::Scales, part: usize) -> Self::Part;

    /// Unpacks run `R` of a part, below [`Self::RUNS`].
    ///
    /// # Safety
    /// The processor has AVX2, FMA and F16C.
    unsafe fn run<const R: usize>(scales: &Self::Scales, number: usize, part: &Self::Part) -> Self::Run;

    /// Multiplies run `R` of a part with one column, up to the steps that wait for each other: the same as [`Self::run`]
    /// and [`Weights::products`], bit for bit, but shorter where a type allows it. As it is here a part is the same for
    /// its runs, and transposed once.
    ///
    /// # Safety
    /// `rows` are whole blocks, `column` is the run's. The processor has AVX2, FMA and F16C.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products<const R: usize>(
        rows: EightRows,
        scales: &Self::Scales,
        number: usize,
        column: ColumnBlock,
    ) -> <Self::Run as Weights>::Pending {
        // SAFETY: by contract.
        unsafe { Self::run::<R>(scales, number, &Self::part(rows, scales, number)).products(column) }
    }
}

/// Products of nibbles, per row, in halves: one vector with the first 16 quants of a column, one with the others.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn nibble_products(
    first: impl Fn(usize) -> __m256i,
    second: impl Fn(usize) -> __m256i,
    column: ColumnBlock,
) -> __m256i {
    // SAFETY: by contract.
    let (a, b) = unsafe { (sixteen(column, 0), sixteen(column, 1)) };
    let products = |i| _mm256_add_epi16(_mm256_maddubs_epi16(first(i), a), _mm256_maddubs_epi16(second(i), b));
    half_sums_of_words([products(0), products(1), products(2), products(3)])
}

/// Products of a block of 32 nibbles at `offset`, per row, in halves.
///
/// # Safety
/// As [`Blocks::products`]; 16 bytes of nibbles stand at `offset`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn nibble_block_products(rows: EightRows, offset: usize, column: ColumnBlock) -> __m256i {
    let mask = _mm256_set1_epi8(15);
    // SAFETY: by contract.
    unsafe {
        let v = paired(rows, offset);
        let high = |i: usize| _mm256_and_si256(_mm256_srli_epi16::<4>(v[i]), mask);
        nibble_products(|i| _mm256_and_si256(v[i], mask), high, column)
    }
}

pub(super) enum Q4_0 {}
pub(super) enum Q4_1 {}
pub(super) enum Q8_0 {}

/// The low nibbles are the first 16 weights, the high ones the others.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn nibbles([a, b, c, d]: [__m256i; 4]) -> [__m256i; 8] {
    let mask = _mm256_set1_epi8(15);
    let low = |v| _mm256_and_si256(v, mask);
    let high = |v| _mm256_and_si256(_mm256_srli_epi16::<4>(v), mask);
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

impl Blocks for Q4_0 {
    const BYTES: usize = 18;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = __m256;
    type Part = [__m256i; 4];
    type Run = Unsigned<8>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> __m256 {
        // SAFETY: a block begins with a half.
        unsafe { halves(rows, 0) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &Self::Scales, _: usize) -> [__m256i; 4] {
        // SAFETY: after the half come 16 bytes.
        unsafe { transposed(rows, 2) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(scale: &__m256, _: usize, part: &[__m256i; 4]) -> Unsigned<8> {
        let offset = _mm256_mul_ps(*scale, _mm256_set1_ps(-8.0));
        Unsigned { quants: nibbles(*part), factor: _mm256_set1_epi16(1), scale: *scale, offset }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products<const R: usize>(
        rows: EightRows,
        &scale: &__m256,
        _: usize,
        column: ColumnBlock,
    ) -> PendingNibbles {
        let (factor, offset) = (_mm256_set1_epi16(1), _mm256_mul_ps(scale, _mm256_set1_ps(-8.0)));
        // SAFETY: by contract; after the half come 16 bytes.
        PendingNibbles { half_sums: unsafe { nibble_block_products(rows, 2, column) }, factor, scale, offset }
    }
}

impl Blocks for Q4_1 {
    const BYTES: usize = 20;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = (__m256, __m256);
    type Part = [__m256i; 4];
    type Run = Unsigned<8>;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> (__m256, __m256) {
        // SAFETY: a block begins with two halves.
        pairs_of_halves(unsafe { dwords(rows, 0) })
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &Self::Scales, _: usize) -> [__m256i; 4] {
        // SAFETY: after the halves come 16 bytes.
        unsafe { transposed(rows, 4) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(&(scale, offset): &(__m256, __m256), _: usize, part: &[__m256i; 4]) -> Unsigned<8> {
        Unsigned { quants: nibbles(*part), factor: _mm256_set1_epi16(1), scale, offset }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products<const R: usize>(
        rows: EightRows,
        &(scale, offset): &(__m256, __m256),
        _: usize,
        column: ColumnBlock,
    ) -> PendingNibbles {
        let factor = _mm256_set1_epi16(1);
        // SAFETY: by contract; after the halves come 16 bytes.
        PendingNibbles { half_sums: unsafe { nibble_block_products(rows, 4, column) }, factor, scale, offset }
    }
}

impl Blocks for Q8_0 {
    const BYTES: usize = 34;
    const PARTS: usize = 1;
    const RUNS: usize = 1;
    type Scales = __m256;
    type Part = [[__m256i; 4]; 2];
    type Run = Signed;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn scales(rows: EightRows) -> __m256 {
        // SAFETY: a block begins with a half.
        unsafe { halves(rows, 0) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn part(rows: EightRows, _: &Self::Scales, _: usize) -> [[__m256i; 4]; 2] {
        // SAFETY: after the half come 32 bytes.
        unsafe { [transposed(rows, 2), transposed(rows, 18)] }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn run<const R: usize>(&scale: &__m256, _: usize, part: &[[__m256i; 4]; 2]) -> Signed {
        let &[[a, b, c, d], [e, f, g, h]] = part;
        let abs = |v| _mm256_abs_epi8(v);
        Signed {
            quants: [a, b, c, d, e, f, g, h],
            magnitudes: [abs(a), abs(b), abs(c), abs(d), abs(e), abs(f), abs(g), abs(h)],
            factor: _mm256_set1_epi16(1),
            scale,
        }
    }
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn products<const R: usize>(rows: EightRows, &scale: &__m256, _: usize, column: ColumnBlock) -> PendingSums {
        // SAFETY: by contract; after the half come 32 bytes.
        let (first, second) = unsafe { (paired(rows, 2), paired(rows, 18)) };
        // SAFETY: by contract.
        let (a, b) = unsafe { (sixteen(column, 0), sixteen(column, 1)) };
        let product = |w, a| {
            let turned = _mm256_sign_epi8(a, w);
            _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), turned), _mm256_set1_epi16(1))
        };
        let products = |i: usize| _mm256_add_epi32(product(first[i], a), product(second[i], b));
        let sums = sums_of_dwords([products(0), products(1), products(2), products(3)]);
        PendingSums { sums, scale }
    }
}
