//! Norms, gates and rotations, one number at a time.

use crate::rope::RopeStyle;

pub(crate) fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    let squares: f32 = x.iter().map(|x| x * x).sum();
    let scale = 1.0 / (squares / x.len() as f32 + epsilon).sqrt();
    for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
        *out = x * scale * gain;
    }
}

pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + (-gate).exp()) * up;
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

/// The greatest, and Σ e^(x − greatest).
pub(crate) fn greatest_and_exp_sum(x: &[f32]) -> (f32, f32) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max, x.iter().map(|x| (x - max).exp()).sum())
}
