//! e^x for eight lanes.

use std::arch::x86_64::*;

/// e^x with a relative error below 2⁻²². Below −87.3 it is exactly zero (also for −∞), above 88.3 it stays finite,
/// and a NaN stays one.
///
/// Method: x = n ln 2 + r with |r| ≤ ln 2 / 2, and e^r by the polynomial of the Cephes library's `expf`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn exp(x: __m256) -> __m256 {
    const LOWEST: f32 = -87.3;
    let set = |value: f32| _mm256_set1_ps(value);
    // The second operand is what a comparison with a NaN gives.
    let clamped = _mm256_min_ps(set(88.3), _mm256_max_ps(set(LOWEST), x));
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        clamped,
        set(std::f32::consts::LOG2_E),
    ));
    let r = _mm256_fnmadd_ps(n, set(0.693_359_4), clamped);
    let r = _mm256_fnmadd_ps(n, set(-2.121_944_4e-4), r);
    let mut p = set(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = _mm256_fmadd_ps(p, r, set(coefficient));
    }
    let e_r = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r), set(1.0));
    let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
    let result = _mm256_mul_ps(e_r, _mm256_castsi256_ps(power));
    _mm256_and_ps(result, _mm256_cmp_ps::<_CMP_NLT_UQ>(x, set(LOWEST)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[target_feature(enable = "avx2,fma,f16c")]
    fn exp_of(x: f32) -> f32 {
        _mm256_cvtss_f32(exp(_mm256_set1_ps(x)))
    }

    #[test]
    fn it_is_close_everywhere() {
        if !Isa::Avx2.is_available() {
            return;
        }
        // SAFETY: the processor has the features.
        let exp = |x| unsafe { exp_of(x) };
        let mut worst = 0f64;
        for i in 0..200_000 {
            let x = -87.2 + 175.4 * (i as f32 / 200_000.0);
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
        }
        assert!(worst < 2f64.powi(-22), "{worst:e}");
        assert_eq!((exp(f32::NEG_INFINITY), exp(-1e4), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && exp(1e4).is_finite() && exp(1e4) > 1e38);
    }
}
