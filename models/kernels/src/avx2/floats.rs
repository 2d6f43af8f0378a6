//! Products of weights that are floats: along the row, eight lanes to a (row, column), summed once at the end.
//!
//! The order of additions of one (row, column) is the same in every tile.

use std::arch::x86_64::*;

use super::lanes::sum_of_lanes;
use super::products::RowGroup;
use crate::limits::ROW_GROUP;
use crate::products::RowsOf;
use crate::scalar::halves::{brain_to_float, half_to_float};

/// A type of weights that are floats.
pub(super) trait Float {
    /// Bytes of one.
    const BYTES: usize;

    /// Eight of them.
    ///
    /// # Safety
    /// As many bytes are readable. The processor has AVX2, FMA and F16C.
    unsafe fn eight(at: *const u8) -> __m256;

    /// One of them.
    ///
    /// # Safety
    /// Its bytes are readable.
    unsafe fn one(at: *const u8) -> f32;
}

pub(super) enum F32 {}
pub(super) enum F16 {}
pub(super) enum BF16 {}

impl Float for F32 {
    const BYTES: usize = 4;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: by contract.
        unsafe { _mm256_loadu_ps(at.cast()) }
    }

    #[inline]
    unsafe fn one(at: *const u8) -> f32 {
        // SAFETY: by contract.
        unsafe { at.cast::<f32>().read_unaligned() }
    }
}

impl Float for F16 {
    const BYTES: usize = 2;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: by contract.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }

    #[inline]
    unsafe fn one(at: *const u8) -> f32 {
        // SAFETY: by contract.
        half_to_float(unsafe { at.cast::<u16>().read_unaligned() })
    }
}

impl Float for BF16 {
    const BYTES: usize = 2;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn eight(at: *const u8) -> __m256 {
        // SAFETY: by contract.
        let upper = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(at.cast()) });
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(upper))
    }

    #[inline]
    unsafe fn one(at: *const u8) -> f32 {
        // SAFETY: by contract.
        brain_to_float(unsafe { at.cast::<u16>().read_unaligned() })
    }
}

/// Computes the part's rows for all columns.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn compute<F: Float>(part: &RowsOf<'_>) {
    let columns = part.activations.columns();
    // SAFETY: by the contract of `compute` in `products`.
    unsafe {
        if columns == 1 {
            tiles::<F, 4, 1>(part);
        } else if columns <= 3 {
            tiles::<F, 4, 3>(part);
        } else {
            tiles::<F, 2, 6>(part);
        }
    }
}

/// All rows and columns, `R` × `C` at a time; at the border the last row or column stands in for those beyond.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tiles<F: Float, const R: usize, const C: usize>(part: &RowsOf<'_>) {
    let (columns, width) = (part.activations.columns(), part.activations.width());
    let values = part.activations.values();
    for column in (0..columns).step_by(C) {
        let inputs: [&[f32]; C] = std::array::from_fn(|c| {
            let start = (column + c).min(columns - 1) * width;
            &values[start..start + width]
        });
        for group in RowGroup::all(part) {
            let mut sums = [[0.0; ROW_GROUP]; C];
            for row in (0..ROW_GROUP).step_by(R) {
                let rows: [*const u8; R] = std::array::from_fn(|r| group.rows.at(row + r, 0));
                // SAFETY: the rows are as wide as the inputs (`products` asserts).
                let tile = unsafe { tile::<F, R, C>(rows, inputs) };
                sums.iter_mut().zip(tile).for_each(|(sums, tile)| sums[row..row + R].copy_from_slice(&tile));
            }
            for (c, sums) in sums[..C.min(columns - column)].iter().enumerate() {
                group.store(part, column + c, sums);
            }
        }
    }
}

/// The products of `R` rows with `C` inputs.
///
/// # Safety
/// The rows are as wide as the inputs.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn tile<F: Float, const R: usize, const C: usize>(rows: [*const u8; R], inputs: [&[f32]; C]) -> [[f32; R]; C] {
    let width = inputs[0].len();
    let whole = width / 8 * 8;
    let mut accs = [[_mm256_setzero_ps(); R]; C];
    for k in (0..whole).step_by(8) {
        // SAFETY: eight more of the row and of each input.
        unsafe {
            let weights: [__m256; R] = each(|r| F::eight(rows[r].add(k * F::BYTES)));
            for c in 0..C {
                let input = _mm256_loadu_ps(inputs[c].as_ptr().add(k));
                for r in 0..R {
                    accs[c][r] = _mm256_fmadd_ps(weights[r], input, accs[c][r]);
                }
            }
        }
    }
    let mut sums = [[0.0; R]; C];
    for (sums, (accs, input)) in sums.iter_mut().zip(accs.iter().zip(inputs)) {
        for (sum, (acc, row)) in sums.iter_mut().zip(accs.iter().zip(rows)) {
            *sum = sum_of_lanes(*acc);
            for (k, input) in input.iter().enumerate().skip(whole) {
                // SAFETY: within the row.
                *sum += input * unsafe { F::one(row.add(k * F::BYTES)) };
            }
        }
    }
    sums
}

/// An array of `R` vectors, by number.
#[inline(always)]
fn each<const R: usize>(vector: impl Fn(usize) -> __m256) -> [__m256; R] {
    std::array::from_fn(vector)
}
