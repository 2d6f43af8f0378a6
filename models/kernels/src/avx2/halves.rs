//! Floats as halves.

use super::vector::F32x8;
use crate::scalar;
use crate::vector::Vector;

/// Stores floats as the nearest halves in `to`, which is as long.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn narrow(from: &[f32], to: &mut [u16]) {
    assert_eq!(from.len(), to.len(), "as many halves as floats");
    let whole = from.len() / F32x8::LANES * F32x8::LANES;
    for start in (0..whole).step_by(F32x8::LANES) {
        // SAFETY: a whole vector is left of both.
        unsafe { F32x8::load(from.as_ptr().add(start)).store_halves(to.as_mut_ptr().add(start)) };
    }
    for (from, to) in from[whole..].iter().zip(&mut to[whole..]) {
        *to = scalar::halves::float_to_half(*from);
    }
}
