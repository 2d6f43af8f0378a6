//! Keys and values as bytes: what [`KvPrecision::Q8_0`] keeps.
//!
//! A scale belongs to 32 neighbouring dimensions of one position, for keys as for values: a head's dimensions differ in
//! loudness far more than its positions do, and a position is written once, so no scale ever changes. Keys stay transposed,
//! so their scales are: \[head_dim / 32\]\[positions\], and neighbouring positions are scaled side by side; those of values
//! are \[positions\]\[head_dim / 32\]. Each follows its bytes.
//!
//! Numbers are read as floats once per task, for all of its query rows. A number that is none, and whatever halves cannot
//! hold as a scale, makes its 32 no numbers.

use super::{KvCache, KvPrecision, KvShape};
use crate::limits::QUANT_BLOCK;
use crate::scalar::halves::{float_to_half, half_to_float};
use crate::vector::Vector;

/// A half that is no number.
const NAN: u16 = 0x7e00;

impl KvShape {
    /// Scales of a head's key or value.
    pub(super) const fn scales(&self) -> usize {
        self.head_dim.div_ceil(QUANT_BLOCK)
    }
}

/// The bytes and the scales of keys or values that have `numbers`, padding included.
fn parts(packed: &[u16], numbers: usize) -> (&[i8], &[u16]) {
    let (bytes, scales) = packed.split_at(numbers / 2);
    // SAFETY: as many bytes, of which any is a number.
    (unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), numbers) }, scales)
}

fn parts_mut(packed: &mut [u16], numbers: usize) -> (&mut [i8], &mut [u16]) {
    let (bytes, scales) = packed.split_at_mut(numbers / 2);
    // SAFETY: as many bytes, of which any is a number, borrowed mutably.
    (unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), numbers) }, scales)
}

/// The nearest bytes and their scale.
fn quantize(x: &[f32], bytes: &mut [i8; QUANT_BLOCK]) -> u16 {
    if x.iter().any(|x| !x.is_finite()) {
        return NAN;
    }
    let loudest = x.iter().fold(0.0_f32, |loudest, x| loudest.max(x.abs()));
    let scale = float_to_half(loudest / 127.0);
    let inverse = if scale == 0 { 0.0 } else { 1.0 / half_to_float(scale) };
    for (x, byte) in x.iter().zip(bytes) {
        *byte = (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    scale
}

/// Stores the key of one position.
pub(super) fn write_key(shape: &KvShape, k: &[f32], keys: &mut [u16], place: usize) {
    let stride = shape.key_stride();
    let (bytes, scales) = parts_mut(keys, shape.head_dim * stride);
    for (group, k) in k.chunks(QUANT_BLOCK).enumerate() {
        let mut quants = [0; QUANT_BLOCK];
        scales[group * stride + place] = quantize(k, &mut quants);
        for (d, quant) in (group * QUANT_BLOCK..).zip(&quants[..k.len()]) {
            bytes[d * stride + place] = *quant;
        }
    }
}

/// Stores the value of one position.
pub(super) fn write_value(shape: &KvShape, v: &[f32], values: &mut [u16], place: usize) {
    let stride = shape.value_stride();
    let (bytes, scales) = parts_mut(values, shape.block_positions * stride);
    for (group, v) in v.chunks(QUANT_BLOCK).enumerate() {
        let mut quants = [0; QUANT_BLOCK];
        scales[place * shape.scales() + group] = quantize(v, &mut quants);
        bytes[place * stride + group * QUANT_BLOCK..][..v.len()].copy_from_slice(&quants[..v.len()]);
    }
}

/// Keys of the first `positions`, a multiple of the lanes, as floats: \[head_dim\]\[key_stride\].
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
pub(crate) unsafe fn widen_keys<V: Vector>(shape: &KvShape, keys: &[u16], positions: usize, out: &mut [f32]) {
    let stride = shape.key_stride();
    let (bytes, scales) = parts(keys, shape.head_dim * stride);
    assert!(positions <= stride && positions.is_multiple_of(V::LANES), "whole vectors of a row");
    for d in 0..shape.head_dim {
        let (bytes, scales) = (&bytes[d * stride..][..stride], &scales[d / QUANT_BLOCK * stride..][..stride]);
        let out = &mut out[d * stride..][..stride];
        for place in (0..positions).step_by(V::LANES) {
            // SAFETY: within the rows, as asserted; by contract.
            unsafe {
                let scale = V::load_halves(scales.as_ptr().add(place));
                V::load_bytes(bytes.as_ptr().add(place)).mul(scale).store(out.as_mut_ptr().add(place));
            }
        }
    }
}

/// Values of the first `positions` as floats: \[positions\]\[value_stride\].
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
pub(crate) unsafe fn widen_values<V: Vector>(shape: &KvShape, values: &[u16], positions: usize, out: &mut [f32]) {
    let stride = shape.value_stride();
    let (bytes, scales) = parts(values, shape.block_positions * stride);
    for place in 0..positions {
        let (bytes, out) = (&bytes[place * stride..][..stride], &mut out[place * stride..][..stride]);
        let scales = &scales[place * shape.scales()..][..shape.scales()];
        let groups = bytes.chunks(QUANT_BLOCK).zip(out.chunks_mut(QUANT_BLOCK));
        for ((bytes, out), scale) in groups.zip(scales) {
            // SAFETY: by contract; rows are padded to whole vectors, of which 32 are a multiple.
            unsafe {
                let scale = V::splat(half_to_float(*scale));
                for d in (0..bytes.len()).step_by(V::LANES) {
                    V::load_bytes(bytes.as_ptr().add(d)).mul(scale).store(out.as_mut_ptr().add(d));
                }
            }
        }
    }
}

impl KvCache {
    /// One number of a key: the scalar kernels' way.
    pub(crate) fn key_at(&self, position: usize, (layer, kv_head): (usize, usize), d: usize) -> f32 {
        let (shape, place) = (self.shape, position % self.shape.block_positions);
        let (keys, stride) = (self.keys(position / shape.block_positions, layer, kv_head), shape.key_stride());
        match shape.precision {
            KvPrecision::F16 => half_to_float(keys[d * stride + place]),
            KvPrecision::Q8_0 => {
                let (bytes, scales) = parts(keys, shape.head_dim * stride);
                f32::from(bytes[d * stride + place]) * half_to_float(scales[d / QUANT_BLOCK * stride + place])
            }
        }
    }

    /// One number of a value.
    pub(crate) fn value_at(&self, position: usize, (layer, kv_head): (usize, usize), d: usize) -> f32 {
        let (shape, place) = (self.shape, position % self.shape.block_positions);
        let (values, stride) = (self.values(position / shape.block_positions, layer, kv_head), shape.value_stride());
        match shape.precision {
            KvPrecision::F16 => half_to_float(values[place * stride + d]),
            KvPrecision::Q8_0 => {
                let (bytes, scales) = parts(values, shape.block_positions * stride);
                f32::from(bytes[place * stride + d]) * half_to_float(scales[place * shape.scales() + d / QUANT_BLOCK])
            }
        }
    }
}
