//! A register of floats: what attention and the exponential are written in, once for every width.
//!
//! All methods are inlined into a function that enables the instructions; a generic function over this trait is
//! `inline(always)` too, up to that function, or its vectors would pass through memory.

/// As many 32-bit floats as one register holds.
///
/// # Safety (of every method)
/// The processor has the instructions of the implementation, and the caller was compiled for them. Loads and stores
/// touch [`Vector::LANES`] elements from the pointer on, which needs no alignment.
pub(crate) trait Vector: Copy {
    /// Floats of a register; divides [`crate::limits::LANES_MAX`].
    const LANES: usize;

    /// The same number in every lane.
    unsafe fn splat(x: f32) -> Self;

    /// Floats from memory.
    unsafe fn load(from: *const f32) -> Self;

    /// Halves from memory, exactly.
    unsafe fn load_halves(from: *const u16) -> Self;

    /// Signed bytes from memory, exactly.
    unsafe fn load_bytes(from: *const i8) -> Self;

    /// Asks for the cache line of an address, which may be any.
    unsafe fn prefetch(at: *const u16);

    /// Floats to memory.
    unsafe fn store(self, to: *mut f32);

    /// `self` + `other`.
    unsafe fn add(self, other: Self) -> Self;

    /// `self` × `other`.
    unsafe fn mul(self, other: Self) -> Self;

    /// `self` × `factor` + `addend`, rounded once.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The lesser; `other` where either is a NaN.
    unsafe fn min(self, other: Self) -> Self;

    /// The greater; `other` where either is a NaN.
    unsafe fn max(self, other: Self) -> Self;

    /// The nearest whole number, ties to even.
    unsafe fn round(self) -> Self;

    /// 2 to the power of whole numbers from −126 to 127.
    unsafe fn exp2_of_whole(self) -> Self;

    /// `self`, but zero where `x` < `bound`.
    unsafe fn zero_where_less(self, x: Self, bound: Self) -> Self;

    /// The sum of all lanes, in a fixed order.
    unsafe fn sum(self) -> f32;

    /// The greatest lane; unspecified where one is a NaN.
    unsafe fn greatest(self) -> f32;
}

/// e^x with a relative error below 2⁻²². Below −87.3 it is exactly zero (also for −∞), above 88.3 it stays finite,
/// and a NaN stays one.
///
/// Method: x = n ln 2 + r with |r| ≤ ln 2 / 2, and e^r by the polynomial of the Cephes library's `expf`.
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    const LOWEST: f32 = -87.3;
    // SAFETY: by contract.
    unsafe {
        // The second operand is what a comparison with a NaN gives.
        let clamped = V::splat(88.3).min(V::splat(LOWEST).max(x));
        let n = clamped.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let r = n.mul_add(V::splat(-0.693_359_4), clamped);
        let r = n.mul_add(V::splat(2.121_944_4e-4), r);
        let mut p = V::splat(1.987_569_1e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p.mul_add(r, V::splat(coefficient));
        }
        let e_r = p.mul(r).mul_add(r, r).add(V::splat(1.0));
        e_r.mul(n.exp2_of_whole()).zero_where_less(x, V::splat(LOWEST))
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn with_avx2(x: f32) -> f32 {
        // SAFETY: the caller asked the processor.
        unsafe { exp(crate::avx2::vector::F32x8::splat(x)).greatest() }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn with_avx512(x: f32) -> f32 {
        // SAFETY: the caller asked the processor.
        unsafe { exp(crate::avx512::vector::F32x16::splat(x)).greatest() }
    }

    #[test]
    fn the_exponential_is_close_everywhere() {
        for isa in [Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available()) {
            // SAFETY: the processor has the features.
            let exp = |x| unsafe { if isa == Isa::Avx2 { with_avx2(x) } else { with_avx512(x) } };
            let mut worst = 0f64;
            for i in 0..200_000 {
                let x = -87.2 + 175.4 * (i as f32 / 200_000.0);
                let exact = f64::from(x).exp();
                worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
            }
            assert!(worst < 2f64.powi(-22), "{isa}: {worst:e}");
            assert_eq!((exp(f32::NEG_INFINITY), exp(-1e4), exp(0.0)), (0.0, 0.0, 1.0));
            assert!(exp(f32::NAN).is_nan() && exp(1e4).is_finite() && exp(1e4) > 1e38);
        }
    }
}
