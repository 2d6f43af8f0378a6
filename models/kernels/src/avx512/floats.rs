//! Products of weights that are floats: along the row, sixteen lanes to a (row, column), summed once at the end.
//!
//! The order of additions of one (row, column) is the same in every tile.

use std::arch::x86_64::*;

use crate::products::RowsOf;

/// A type of weights that are floats.
pub(super) trait Float {
    /// Bytes of one.
    const BYTES: usize;

    /// Sixteen of them.
    ///
    /// # Safety
    /// As many bytes are readable. The processor has AVX-512 F, BW and VL.
    unsafe fn sixteen(at: *const u8) -> __m512;

    /// Those whose bit is set in `mask`, and zeros.
    ///
    /// # Safety
    /// Their bytes are readable. The processor has AVX-512 F, BW and VL.
    unsafe fn some(at: *const u8, mask: u16) -> __m512;
}

pub(super) enum F32 {}
pub(super) enum F16 {}
pub(super) enum BF16 {}

impl Float for F32 {
    const BYTES: usize = 4;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn sixteen(at: *const u8) -> __m512 {
        // SAFETY: by contract.
        unsafe { _mm512_loadu_ps(at.cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn some(at: *const u8, mask: u16) -> __m512 {
        // SAFETY: by contract; what the mask leaves out is not read.
        unsafe { _mm512_maskz_loadu_ps(mask, at.cast()) }
    }
}

impl Float for F16 {
    const BYTES: usize = 2;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn sixteen(at: *const u8) -> __m512 {
        // SAFETY: by contract.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(at.cast()) })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn some(at: *const u8, mask: u16) -> __m512 {
        // SAFETY: by contract; what the mask leaves out is not read.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, at.cast()) })
    }
}

/// The high half of a float is that float, less precisely.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn from_high_halves(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

impl Float for BF16 {
    const BYTES: usize = 2;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn sixteen(at: *const u8) -> __m512 {
        // SAFETY: by contract.
        from_high_halves(unsafe { _mm256_loadu_si256(at.cast()) })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn some(at: *const u8, mask: u16) -> __m512 {
        // SAFETY: by contract; what the mask leaves out is not read.
        from_high_halves(unsafe { _mm256_maskz_loadu_epi16(mask, at.cast()) })
    }
}

/// Computes the part's rows for all columns.
///
/// # Safety
/// The matrix has at least sixteen rows of `F`. The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn compute<F: Float>(part: &RowsOf<'_>) {
    // SAFETY: by contract.
    unsafe {
        match part.activations.columns() {
            1 => tiles::<F, 8, 1>(part),
            2..=4 => tiles::<F, 4, 4>(part),
            _ => tiles::<F, 4, 6>(part),
        }
    }
}

/// All rows and columns, `R` × `C` at a time; at the border the last row or column stands in for those beyond.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tiles<F: Float, const R: usize, const C: usize>(part: &RowsOf<'_>) {
    let (columns, width) = (part.activations.columns(), part.activations.width());
    let (values, total, stride) = (part.activations.values(), part.weights.rows(), part.weights.row_bytes());
    for column in (0..columns).step_by(C) {
        let inputs: [&[f32]; C] = std::array::from_fn(|c| {
            let start = (column + c).min(columns - 1) * width;
            &values[start..start + width]
        });
        for row in part.rows.clone().step_by(R) {
            let first = row.min(total - R);
            let rest = &part.weights.bytes()[first * stride..];
            let rows: [*const u8; R] = std::array::from_fn(|r| rest[r * stride..].as_ptr());
            // SAFETY: the rows are as wide as the inputs (`products` asserts).
            let sums = unsafe { tile::<F, R, C>(rows, inputs) };
            for (c, sums) in sums[..C.min(columns - column)].iter().enumerate() {
                part.store(column + c, row, &sums[row - first..]);
            }
        }
    }
}

/// The products of `R` rows with `C` inputs.
///
/// # Safety
/// The rows are as wide as the inputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn tile<F: Float, const R: usize, const C: usize>(rows: [*const u8; R], inputs: [&[f32]; C]) -> [[f32; R]; C] {
    let width = inputs[0].len();
    let whole = width / 16 * 16;
    let mut accs = [[_mm512_setzero_ps(); R]; C];
    for k in (0..whole).step_by(16) {
        // SAFETY: sixteen more of the row and of each input.
        unsafe {
            let weights: [__m512; R] = each(|r| F::sixteen(rows[r].add(k * F::BYTES)));
            for c in 0..C {
                let input = _mm512_loadu_ps(inputs[c].as_ptr().add(k));
                for r in 0..R {
                    accs[c][r] = _mm512_fmadd_ps(weights[r], input, accs[c][r]);
                }
            }
        }
    }
    if whole < width {
        let mask = (1u16 << (width - whole)) - 1;
        // SAFETY: the mask leaves out what lies beyond the rows and inputs.
        unsafe {
            let weights: [__m512; R] = each(|r| F::some(rows[r].add(whole * F::BYTES), mask));
            for c in 0..C {
                let input = _mm512_maskz_loadu_ps(mask, inputs[c].as_ptr().add(whole));
                for r in 0..R {
                    accs[c][r] = _mm512_fmadd_ps(weights[r], input, accs[c][r]);
                }
            }
        }
    }
    let mut sums = [[0.0; R]; C];
    for c in 0..C {
        for r in 0..R {
            sums[c][r] = _mm512_reduce_add_ps(accs[c][r]);
        }
    }
    sums
}

/// An array of `R` vectors, by number.
#[inline(always)]
fn each<const R: usize>(vector: impl Fn(usize) -> __m512) -> [__m512; R] {
    std::array::from_fn(vector)
}
