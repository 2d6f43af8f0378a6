//! Products of a run with one column, up to the steps that wait for each other.

use std::arch::x86_64::*;

use super::weights::{ColumnBlock, scaled, scaled_with_offset};

/// The last steps of a run's product. They are a chain of long latencies; done one run late, they overlap with the next
/// run's loads, which the processor's window is too small to see otherwise.
///
/// # Safety
/// All zeros are a value: vectors and nothing else.
pub(super) unsafe trait Pending: Copy {
    /// A product that adds nothing.
    #[inline(always)]
    fn none() -> Self {
        // SAFETY: by the trait's contract.
        unsafe { std::mem::zeroed() }
    }

    /// Adds the products to `acc`.
    ///
    /// # Safety
    /// The pointers of `column` are those of a whole block. The processor has AVX2, FMA and F16C.
    unsafe fn finish(self, column: ColumnBlock, acc: __m256) -> __m256;
}

/// Sums of nibbles, in halves, to be multiplied by their factor; a scale and an offset.
#[derive(Clone, Copy)]
pub(super) struct PendingNibbles {
    pub(super) half_sums: __m256i,
    pub(super) factor: __m256i,
    pub(super) scale: __m256,
    pub(super) offset: __m256,
}

/// Whole sums and a scale.
#[derive(Clone, Copy)]
pub(super) struct PendingSums {
    pub(super) sums: __m256i,
    pub(super) scale: __m256,
}

/// Whole sums and a scale, of the products and of the minima.
#[derive(Clone, Copy)]
pub(super) struct PendingMinima {
    pub(super) sums: __m256i,
    pub(super) minima: __m256i,
    pub(super) scale: __m256,
    pub(super) scale_of_minima: __m256,
}

/// Whole sums, a scale and an offset.
#[derive(Clone, Copy)]
pub(super) struct PendingOffsets {
    pub(super) sums: __m256i,
    pub(super) scale: __m256,
    pub(super) offset: __m256,
}

// SAFETY: vectors.
unsafe impl Pending for PendingNibbles {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn finish(self, column: ColumnBlock, acc: __m256) -> __m256 {
        let sums = _mm256_madd_epi16(self.half_sums, self.factor);
        // SAFETY: by contract.
        unsafe { scaled_with_offset(sums, (self.scale, self.offset), column, acc) }
    }
}

// SAFETY: vectors.
unsafe impl Pending for PendingSums {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn finish(self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by contract.
        unsafe { scaled(self.sums, self.scale, column, acc) }
    }
}

// SAFETY: vectors.
unsafe impl Pending for PendingOffsets {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn finish(self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by contract.
        unsafe { scaled_with_offset(self.sums, (self.scale, self.offset), column, acc) }
    }
}

// SAFETY: vectors.
unsafe impl Pending for PendingMinima {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn finish(self, column: ColumnBlock, acc: __m256) -> __m256 {
        // SAFETY: by contract.
        unsafe {
            let acc = scaled(self.sums, self.scale, column, acc);
            scaled(self.minima, self.scale_of_minima, column, acc)
        }
    }
}
