//! Norms and gates, sixteen numbers at a time; what is left over goes under a mask, so that each element's result does not
//! depend on where it stands.

use std::arch::x86_64::*;

use super::vector::F32x16;
use crate::scalar;

/// e^x, as [`crate::vector::exp`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn exp(x: __m512) -> __m512 {
    // SAFETY: this function's instructions are the implementation's.
    unsafe { crate::vector::exp(F32x16(x)) }.0
}

/// The lanes of up to sixteen numbers.
#[inline(always)]
fn lanes(count: usize) -> __mmask16 {
    debug_assert!(count <= 16, "no more than a vector");
    ((1_u32 << count) - 1) as u16
}

/// Up to sixteen floats; zeros in the lanes beyond.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn load(x: &[f32]) -> __m512 {
    // SAFETY: the mask leaves out what lies beyond the slice.
    unsafe { _mm512_maskz_loadu_ps(lanes(x.len()), x.as_ptr()) }
}

/// Stores the first lanes, as many as `out` has room for, at most sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn store(out: &mut [f32], v: __m512) {
    // SAFETY: the mask leaves out what lies beyond the slice.
    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), lanes(out.len()), v) };
}

/// One over the root of the mean square, in every lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn rms_scale(x: &[f32], epsilon: f32) -> __m512 {
    let mut squares = [_mm512_setzero_ps(); 2];
    for (i, x) in x.chunks(16).enumerate() {
        let v = load(x);
        squares[i % 2] = _mm512_fmadd_ps(v, v, squares[i % 2]);
    }
    let mean = _mm512_reduce_add_ps(_mm512_add_ps(squares[0], squares[1])) / x.len() as f32;
    _mm512_set1_ps(1.0 / (mean + epsilon).sqrt())
}

/// The norm of a row, as [`scalar::elementwise::rms_norm`].
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = rms_scale(x, epsilon);
    for ((x, gain), out) in x.chunks(16).zip(gain.chunks(16)).zip(out.chunks_mut(16)) {
        store(out, _mm512_mul_ps(_mm512_mul_ps(load(x), scale), load(gain)));
    }
}

/// The same where the row is.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn rms_norm_in_place(x: &mut [f32], gain: &[f32], epsilon: f32) {
    let scale = rms_scale(x, epsilon);
    for (x, gain) in x.chunks_mut(16).zip(gain.chunks(16)) {
        let normed = _mm512_mul_ps(_mm512_mul_ps(load(x), scale), load(gain));
        store(x, normed);
    }
}

/// silu(`gate`) × `up`, as [`scalar::elementwise::silu_mul`].
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let one = _mm512_set1_ps(1.0);
    for ((gate, up), out) in gate.chunks(16).zip(up.chunks(16)).zip(out.chunks_mut(16)) {
        let gate = load(gate);
        let silu = _mm512_div_ps(gate, _mm512_add_ps(one, exp(_mm512_sub_ps(_mm512_setzero_ps(), gate))));
        store(out, _mm512_mul_ps(silu, load(up)));
    }
}

/// gelu(`gate`) × `up`, as [`scalar::elementwise::gelu_mul`].
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn gelu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let one = _mm512_set1_ps(1.0);
    let root = _mm512_set1_ps(-2.0 * scalar::elementwise::GELU_ROOT);
    let cubic = _mm512_set1_ps(scalar::elementwise::GELU_CUBIC);
    for ((gate, up), out) in gate.chunks(16).zip(up.chunks(16)).zip(out.chunks_mut(16)) {
        let gate = load(gate);
        let square = _mm512_mul_ps(gate, gate);
        // -2 √(2/π) x (1 + 0.044715 x²)
        let exponent = _mm512_mul_ps(_mm512_mul_ps(root, gate), _mm512_fmadd_ps(cubic, square, one));
        let gelu = _mm512_div_ps(gate, _mm512_add_ps(one, exp(exponent)));
        store(out, _mm512_mul_ps(gelu, load(up)));
    }
}
