//! Norms, gates, rotations and softmax, eight numbers at a time; what is left over goes through a padded vector, so
//! that each element's result does not depend on where it stands.

use std::arch::x86_64::*;

use super::lanes::sum_of_lanes;
use super::vector::F32x8;
use crate::elementwise::LayerNorm;
use crate::rope::RopeStyle;
use crate::scalar;

/// e^x, as [`crate::vector::exp`].
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn exp(x: __m256) -> __m256 {
    // SAFETY: this function's instructions are the implementation's.
    unsafe { crate::vector::exp(F32x8(x)) }.0
}

/// Up to eight floats; `fill` in the lanes beyond.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn load(x: &[f32], fill: f32) -> __m256 {
    let mut padded = [fill; 8];
    let source = if x.len() == 8 {
        x.as_ptr()
    } else {
        padded[..x.len()].copy_from_slice(x);
        padded.as_ptr()
    };
    // SAFETY: eight floats either way.
    unsafe { _mm256_loadu_ps(source) }
}

/// Stores the first lanes, as many as `out` has room for, at most eight.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn store(out: &mut [f32], v: __m256) {
    if out.len() == 8 {
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) };
    } else {
        let mut padded = [0.0; 8];
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(padded.as_mut_ptr(), v) };
        out.copy_from_slice(&padded[..out.len()]);
    }
}

/// One over the root of the mean square, in every lane.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn rms_scale(x: &[f32], epsilon: f32) -> __m256 {
    let mut squares = [_mm256_setzero_ps(); 2];
    for (i, x) in x.chunks(8).enumerate() {
        let v = load(x, 0.0);
        squares[i % 2] = _mm256_fmadd_ps(v, v, squares[i % 2]);
    }
    let mean = sum_of_lanes(_mm256_add_ps(squares[0], squares[1])) / x.len() as f32;
    _mm256_set1_ps(1.0 / (mean + epsilon).sqrt())
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = rms_scale(x, epsilon);
    for ((x, gain), out) in x.chunks(8).zip(gain.chunks(8)).zip(out.chunks_mut(8)) {
        store(out, _mm256_mul_ps(_mm256_mul_ps(load(x, 0.0), scale), load(gain, 0.0)));
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn rms_norm_in_place(x: &mut [f32], gain: &[f32], epsilon: f32) {
    let scale = rms_scale(x, epsilon);
    for (x, gain) in x.chunks_mut(8).zip(gain.chunks(8)) {
        let normed = _mm256_mul_ps(_mm256_mul_ps(load(x, 0.0), scale), load(gain, 0.0));
        store(x, normed);
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn layer_norm_in_place(x: &mut [f32], norm: &LayerNorm<'_>) {
    let width = x.len() as f32;
    let sum = x.chunks(8).fold(_mm256_setzero_ps(), |sum, x| _mm256_add_ps(sum, load(x, 0.0)));
    let mean = sum_of_lanes(sum) / width;
    let means = _mm256_set1_ps(mean);
    let squares = x.chunks(8).fold(_mm256_setzero_ps(), |squares, x| {
        let distance = _mm256_sub_ps(load(x, mean), means);
        _mm256_fmadd_ps(distance, distance, squares)
    });
    let scale = _mm256_set1_ps(1.0 / (sum_of_lanes(squares) / width + norm.epsilon).sqrt());
    for ((x, gain), bias) in x.chunks_mut(8).zip(norm.gain.chunks(8)).zip(norm.bias.chunks(8)) {
        let normed = _mm256_mul_ps(_mm256_sub_ps(load(x, 0.0), means), scale);
        store(x, _mm256_fmadd_ps(normed, load(gain, 0.0), load(bias, 0.0)));
    }
}

/// x Φ(x), as [`scalar::elementwise::gelu`].
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn gelu(x: &[f32], out: &mut [f32]) {
    let (zero, one) = (_mm256_setzero_ps(), _mm256_set1_ps(1.0));
    let end = _mm256_set1_ps(scalar::elementwise::TAIL_END);
    let slope = _mm256_set1_ps(scalar::elementwise::TAIL_SLOPE);
    for (x, out) in x.chunks(8).zip(out.chunks_mut(8)) {
        let x = load(x, 0.0);
        // The second operand is what a comparison with a NaN gives.
        let distance = _mm256_min_ps(end, _mm256_andnot_ps(_mm256_set1_ps(-0.0), x));
        let t = _mm256_div_ps(one, _mm256_fmadd_ps(slope, distance, one));
        let mut tail = zero;
        for coefficient in scalar::elementwise::TAIL.into_iter().rev() {
            tail = _mm256_mul_ps(_mm256_add_ps(tail, _mm256_set1_ps(coefficient)), t);
        }
        let exponent = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(-0.5), distance), distance);
        let tail = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.5), tail), exp(exponent));
        store(out, _mm256_fnmadd_ps(distance, tail, _mm256_max_ps(x, zero)));
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let one = _mm256_set1_ps(1.0);
    for ((gate, up), out) in gate.chunks(8).zip(up.chunks(8)).zip(out.chunks_mut(8)) {
        let gate = load(gate, 0.0);
        let silu = _mm256_div_ps(gate, _mm256_add_ps(one, exp(_mm256_sub_ps(_mm256_setzero_ps(), gate))));
        store(out, _mm256_mul_ps(silu, load(up, 0.0)));
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn gelu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let one = _mm256_set1_ps(1.0);
    let root = _mm256_set1_ps(-2.0 * scalar::elementwise::GELU_ROOT);
    let cubic = _mm256_set1_ps(scalar::elementwise::GELU_CUBIC);
    for ((gate, up), out) in gate.chunks(8).zip(up.chunks(8)).zip(out.chunks_mut(8)) {
        let gate = load(gate, 0.0);
        let square = _mm256_mul_ps(gate, gate);
        // -2 √(2/π) x (1 + 0.044715 x²)
        let exponent = _mm256_mul_ps(_mm256_mul_ps(root, gate), _mm256_fmadd_ps(cubic, square, one));
        let gelu = _mm256_div_ps(gate, _mm256_add_ps(one, exp(exponent)));
        store(out, _mm256_mul_ps(gelu, load(up, 0.0)));
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], style: RopeStyle) {
    let pairs = cosines.len();
    if !pairs.is_multiple_of(8) {
        return scalar::elementwise::rotate(head, cosines, sines, style);
    }
    for pair in (0..pairs).step_by(8) {
        let (c, s) = (load(&cosines[pair..pair + 8], 0.0), load(&sines[pair..pair + 8], 0.0));
        let (first, second) = match style {
            RopeStyle::Interleaved => (2 * pair, 2 * pair + 8),
            RopeStyle::Halves => (pair, pairs + pair),
        };
        let (a, b) = (load(&head[first..first + 8], 0.0), load(&head[second..second + 8], 0.0));
        // Neighbours are parted into even and odd, rotated, and joined again; both moves stay within 128 bits, so the
        // angles are brought into the same order.
        let (x, y, c, s) = match style {
            RopeStyle::Interleaved => (
                _mm256_shuffle_ps::<0b10_00_10_00>(a, b),
                _mm256_shuffle_ps::<0b11_01_11_01>(a, b),
                quads_crossed(c),
                quads_crossed(s),
            ),
            RopeStyle::Halves => (a, b, c, s),
        };
        let (x, y) = (
            _mm256_sub_ps(_mm256_mul_ps(x, c), _mm256_mul_ps(y, s)),
            _mm256_add_ps(_mm256_mul_ps(x, s), _mm256_mul_ps(y, c)),
        );
        let (a, b) = match style {
            RopeStyle::Interleaved => (_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y)),
            RopeStyle::Halves => (x, y),
        };
        store(&mut head[first..first + 8], a);
        store(&mut head[second..second + 8], b);
    }
}

/// Pairs of lanes 0, 2, 1, 3.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn quads_crossed(v: __m256) -> __m256 {
    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v)))
}
