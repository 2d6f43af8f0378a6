//! Floats as halves.

use std::arch::x86_64::*;

use crate::scalar;

/// Stores floats as the nearest halves in `to`, which is as long.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn narrow(from: &[f32], to: &mut [u16]) {
    assert_eq!(from.len(), to.len(), "as many halves as floats");
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
    for (from, to) in from.iter().zip(to) {
        // SAFETY: eight elements of each.
        unsafe {
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(from.as_ptr()));
            _mm_storeu_si128(to.as_mut_ptr().cast(), halves);
        }
    }
    for (from, to) in from_rest.iter().zip(to_rest) {
        *to = scalar::halves::float_to_half(*from);
    }
}
