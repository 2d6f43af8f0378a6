//! Rows of a panel × columns: all sums of a tile under way at once.

use std::arch::x86_64::*;

use super::dots::Multiply;
use super::weights::{ColumnBlock, Unsigned, four, scaled_with_offset};

/// Adds the products of `R` groups of rows with `C` columns to `sums`: the same, bit for bit, as
/// [`Weights::accumulate`](super::weights::Weights::accumulate) does one by one.
///
/// # Safety
/// The pointers of `columns` are those of `C` whole blocks, one of each column, side by side. The processor has AVX2, FMA
/// and F16C, and the instructions of `M`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn accumulate<M: Multiply, const R: usize, const C: usize>(
    rows: [&Unsigned<8>; R],
    columns: ColumnBlock,
    sums: &mut [[__m256; R]; C],
) {
    let mut products = [[_mm256_setzero_si256(); R]; C];
    for i in 0..8 {
        for c in 0..C {
            // SAFETY: by this function's contract.
            let a = unsafe { four(columns.right(c), i) };
            for r in 0..R {
                // SAFETY: by this function's contract.
                products[c][r] = unsafe { M::add_products(products[c][r], rows[r].quants[i], a) };
            }
        }
        pin(&mut products);
    }
    for c in 0..C {
        for r in 0..R {
            let scales = (rows[r].scale, rows[r].offset);
            // SAFETY: by this function's contract.
            sums[c][r] = unsafe {
                let whole = M::times(products[c][r], rows[r].factor);
                scaled_with_offset(whole, scales, columns.right(c), sums[c][r])
            };
        }
    }
}

/// Has each vector in a register here, in turn, and all loads that come later in the text after it. Without it the
/// compiler has the products of all steps of an unrolled loop under way at once, far more than there are registers, and
/// spends the time on moving them to the stack and back.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn pin<const R: usize, const C: usize>(vectors: &mut [[__m256i; R]; C]) {
    for c in 0..C {
        for r in 0..R {
            // SAFETY: no instruction at all.
            unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) vectors[c][r], options(nostack, preserves_flags)) };
        }
    }
}
