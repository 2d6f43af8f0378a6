//! How unpacked quants are multiplied with many columns: pairwise by what AVX2 has, or four at a time by AVX-VNNI.
//!
//! Invariant: both have the same sums, which are exact integers, and the same steps in f32 after them, so a product does
//! not depend on which it was.
//!
//! One column alone is multiplied as AVX2 does it everywhere: decoding waits for memory and for unpacking, which are the
//! same. AVX-VNNI's instruction is written as assembly, so that the code around it, unpacking above all, is the one that
//! AVX2 has, and no second copy of it for another `target_feature`.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::weights::{ColumnBlock, Weights, times};

/// What multiplies weights with several columns.
pub(super) trait Multiply {
    /// Adds the products of the rows with `column` to `acc`.
    ///
    /// # Safety
    /// As [`Weights::accumulate`]; the processor has the instructions of `Self`.
    unsafe fn accumulate<W: Weights>(weights: &W, column: ColumnBlock, acc: __m256) -> __m256;

    /// `sums` + products of bytes below 16 with signed ones, eight times at most from zero on.
    ///
    /// # Safety
    /// The processor has AVX2, FMA and F16C, and the instructions of `Self`.
    unsafe fn add_products(sums: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i;

    /// Such sums times a 16-bit factor that stands twice in each lane: whole, in 32 bits.
    ///
    /// # Safety
    /// As [`Multiply::add_products`].
    unsafe fn times(sums: __m256i, factor: __m256i) -> __m256i;
}

/// Sums of four products of bytes.
pub(crate) trait Dot {
    /// `acc` + the four products of bytes in each 32 bits, of `unsigned` and `signed` ones, without saturation.
    ///
    /// # Safety
    /// The processor has AVX2, FMA, F16C, and the instructions of `Self`.
    unsafe fn dot(acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i;
}

/// Pairs of products in 16 bits: AVX2.
pub(super) enum Pairs {}

/// Four products in 32 bits, as `D` has them.
pub(super) struct Fours<D>(PhantomData<D>);

/// AVX-VNNI.
pub(crate) enum Vnni {}

impl Multiply for Pairs {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate<W: Weights>(weights: &W, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by contract.
        unsafe { weights.accumulate(column, acc) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn add_products(sums: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        _mm256_add_epi16(sums, _mm256_maddubs_epi16(unsigned, signed))
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn times(sums: __m256i, factor: __m256i) -> __m256i {
        _mm256_madd_epi16(sums, factor)
    }
}

impl<D: Dot> Multiply for Fours<D> {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn accumulate<W: Weights>(weights: &W, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by contract.
        unsafe { weights.accumulate_fours::<D>(column, acc) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn add_products(sums: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: by contract.
        unsafe { D::dot(sums, unsigned, signed) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn times(sums: __m256i, factor: __m256i) -> __m256i {
        times(sums, factor)
    }
}

impl Dot for Vnni {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn dot(mut acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: the processor has the instruction, by contract; it reads and writes these registers and nothing else.
        unsafe {
            asm!(
                "{{vex}} vpdpbusd {acc}, {unsigned}, {signed}",
                acc = inout(ymm_reg) acc,
                unsigned = in(ymm_reg) unsigned,
                signed = in(ymm_reg) signed,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        acc
    }
}

#[cfg(test)]
mod tests {
    use super::super::products::compute_by;
    use super::*;
    use crate::aligned::Shared;
    use crate::products::{RowsOf, Store};
    use crate::{Activations, Isa, Kernels, Matrix, WeightType};

    /// What the instruction is specified to do, for processors without it. Source: Intel's Software Developer's Manual,
    /// VPDPBUSD.
    enum Specified {}

    impl Dot for Specified {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline]
        unsafe fn dot(acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
            // SAFETY: 32 bytes each, in any of these forms.
            let (mut sums, unsigned, signed) = unsafe {
                (
                    std::mem::transmute::<__m256i, [i32; 8]>(acc),
                    std::mem::transmute::<__m256i, [u8; 32]>(unsigned),
                    std::mem::transmute::<__m256i, [i8; 32]>(signed),
                )
            };
            for (i, (u, s)) in unsigned.into_iter().zip(signed).enumerate() {
                sums[i / 4] = sums[i / 4].wrapping_add(i32::from(u) * i32::from(s));
            }
            // SAFETY: as above.
            unsafe { std::mem::transmute::<[i32; 8], __m256i>(sums) }
        }
    }

    /// Seeded bytes: a linear congruential generator's upper halves.
    struct Bytes(u64);

    impl Iterator for Bytes {
        type Item = u8;

        fn next(&mut self) -> Option<u8> {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some((self.0 >> 56) as u8)
        }
    }

    #[test]
    fn fours_and_pairs_have_the_same_products() {
        if !Isa::Avx2.is_available() {
            return;
        }
        let (kernels, mut random) = (Kernels::new(std::num::NonZeroUsize::MIN, Isa::Avx2), Bytes(1));
        let (rows, width, mut finite) = (16, 256, 0);
        for ty in WeightType::ALL.into_iter().filter(|ty| ty.block_len() > 1) {
            let bytes: Vec<u8> = random.by_ref().take(rows * width / ty.block_len() * ty.block_bytes()).collect();
            let weights = Matrix::new(ty, rows, width, &bytes).unwrap();
            for columns in [1, 2, 3, 4, 5, 7, 9, 70] {
                let x: Vec<f32> = random.by_ref().take(columns * width).map(|byte| f32::from(byte) - 99.0).collect();
                let mut activations = Activations::new();
                kernels.activate(&mut activations, &x, width);
                let products = |compute: unsafe fn(&RowsOf<'_>)| {
                    let mut out = vec![0.0; columns * rows];
                    let shared = Shared::new(&mut out);
                    let rows = 0..rows;
                    let part = RowsOf { weights, activations: &activations, out: &shared, store: Store::Replace, rows };
                    // SAFETY: the processor has AVX2, FMA and F16C, and needs nothing else.
                    unsafe { compute(&part) };
                    out
                };
                let (pairs, fours) = (products(compute_by::<Pairs>), products(compute_by::<Fours<Specified>>));
                for (pairs, fours) in pairs.into_iter().zip(fours) {
                    // Some scales are no numbers.
                    let same = pairs.to_bits() == fours.to_bits() || pairs.is_nan() && fours.is_nan();
                    assert!(same, "{ty:?} × {columns}: {pairs} and {fours}");
                    finite += usize::from(pairs.is_finite());
                }
            }
        }
        assert!(finite > 10_000, "{finite} products were numbers");
    }

    /// On a processor that has it, the instruction does what its specification says.
    #[test]
    fn the_instruction_is_as_specified() {
        if !Isa::AvxVnni.is_available() {
            return;
        }
        let mut random = Bytes(2);
        for _ in 0..1000 {
            let mut vector = || {
                let bytes: [u8; 32] = std::array::from_fn(|_| random.next().expect("it never ends"));
                // SAFETY: 32 bytes in both forms.
                unsafe { std::mem::transmute::<[u8; 32], __m256i>(bytes) }
            };
            let (acc, unsigned, signed) = (vector(), vector(), vector());
            // SAFETY: the processor has all of it; 32 bytes in both forms.
            let (found, expected) = unsafe {
                let (found, expected) = (Vnni::dot(acc, unsigned, signed), Specified::dot(acc, unsigned, signed));
                (std::mem::transmute::<__m256i, [i32; 8]>(found), std::mem::transmute::<__m256i, [i32; 8]>(expected))
            };
            assert_eq!(found, expected);
        }
    }
}
