//! Norms, gates and rotations, one number at a time.

use crate::elementwise::LayerNorm;
use crate::rope::RopeStyle;

/// √(2/π) and the cubic term of GELU's tanh approximation.
pub(crate) const GELU_ROOT: f32 = 0.797_884_6;
pub(crate) const GELU_CUBIC: f32 = 0.044_715;

/// Of the tail of the normal distribution: 1 − Φ(x) ≈ Σ `TAIL[i]` tⁱ⁺¹ e^(−x²/2) / 2 with t = 1 / (1 + `TAIL_SLOPE` x)
/// for x ≥ 0, to 8 · 10⁻⁸. Source: Abramowitz and Stegun, 7.1.26, in x / √2.
pub(crate) const TAIL_SLOPE: f32 = 0.231_641_9;
pub(crate) const TAIL: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];

/// Where the tail is zero in 32 bits.
pub(crate) const TAIL_END: f32 = 14.0;

/// One over the root of the mean square.
fn rms_scale(x: &[f32], epsilon: f32) -> f32 {
    let squares: f32 = x.iter().map(|x| x * x).sum();
    1.0 / (squares / x.len() as f32 + epsilon).sqrt()
}

pub(crate) fn rms_norm_in_place(x: &mut [f32], gain: &[f32], epsilon: f32) {
    let scale = rms_scale(x, epsilon);
    x.iter_mut().zip(gain).for_each(|(x, gain)| *x = *x * scale * gain);
}

pub(crate) fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = rms_scale(x, epsilon);
    for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
        *out = x * scale * gain;
    }
}

pub(crate) fn layer_norm_in_place(x: &mut [f32], norm: &LayerNorm<'_>) {
    let width = x.len() as f32;
    let mean = x.iter().sum::<f32>() / width;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width;
    let scale = 1.0 / (variance + norm.epsilon).sqrt();
    for ((x, gain), bias) in x.iter_mut().zip(norm.gain).zip(norm.bias) {
        *x = (*x - mean) * scale * gain + bias;
    }
}

pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + (-gate).exp()) * up;
    }
}

/// ½ (1 + tanh u) = 1 / (1 + e⁻²ᵘ).
pub(crate) fn gelu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        let u = GELU_ROOT * (gate + GELU_CUBIC * gate * gate * gate);
        *out = gate / (1.0 + (-2.0 * u).exp()) * up;
    }
}

/// x Φ(x): x less its tail above zero, and the tail alone below.
pub(crate) fn gelu(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        // The order lets a NaN through.
        let distance = if x.abs() > TAIL_END { TAIL_END } else { x.abs() };
        let t = 1.0 / (1.0 + TAIL_SLOPE * distance);
        let tail = TAIL.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
        *out = x.max(0.0) - distance * (0.5 * tail * (-0.5 * distance * distance).exp());
    }
}

/// Rotates the pairs of one head by their angles.
pub(crate) fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], style: RopeStyle) {
    let pairs = cosines.len();
    for (pair, (cosine, sine)) in cosines.iter().zip(sines).enumerate() {
        let (i, j) = match style {
            RopeStyle::Interleaved => (2 * pair, 2 * pair + 1),
            RopeStyle::Halves => (pair, pair + pairs),
        };
        let (x, y) = (head[i], head[j]);
        (head[i], head[j]) = (x * cosine - y * sine, x * sine + y * cosine);
    }
}

/// Replaces logits by probabilities.
pub(crate) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in &mut *x {
        *x = (*x - max).exp();
        sum += *x;
    }
    x.iter_mut().for_each(|x| *x /= sum);
}
