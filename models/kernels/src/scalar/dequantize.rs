//! Weights as floats. Source of the layouts: ggml's `ggml-common.h` and `ggml-quants.c`.

mod superblocks;

use crate::scalar::halves::{brain_to_float, half_to_float};
use crate::weights::WeightType;

/// Writes the weights of `blocks` to `out`, which has room for exactly as many.
pub(crate) fn row(ty: WeightType, blocks: &[u8], out: &mut [f32]) {
    let one: fn(&[u8], &mut [f32]) = match ty {
        WeightType::F32 => f32_block,
        WeightType::F16 => |block, out| out[0] = half(block, 0),
        WeightType::BF16 => |block, out| out[0] = brain_to_float(u16::from_le_bytes([block[0], block[1]])),
        WeightType::Q4_0 => q4_0,
        WeightType::Q4_1 => q4_1,
        WeightType::Q5_0 => q5_0,
        WeightType::Q5_1 => q5_1,
        WeightType::Q8_0 => q8_0,
        WeightType::Q2K => superblocks::q2_k,
        WeightType::Q3K => superblocks::q3_k,
        WeightType::Q4K => superblocks::q4_k,
        WeightType::Q5K => superblocks::q5_k,
        WeightType::Q6K => superblocks::q6_k,
        WeightType::IQ4NL => iq4_nl,
        WeightType::IQ4XS => superblocks::iq4_xs,
    };
    for (block, out) in blocks.chunks_exact(ty.block_bytes()).zip(out.chunks_exact_mut(ty.block_len())) {
        one(block, out);
    }
}

/// The IEEE half at `offset`.
fn half(block: &[u8], offset: usize) -> f32 {
    half_to_float(u16::from_le_bytes([block[offset], block[offset + 1]]))
}

fn f32_block(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (i, &byte) in block[2..18].iter().enumerate() {
        out[i] = d * (f32::from(byte & 15) - 8.0);
        out[i + 16] = d * (f32::from(byte >> 4) - 8.0);
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, &byte) in block[4..20].iter().enumerate() {
        out[i] = d * f32::from(byte & 15) + m;
        out[i + 16] = d * f32::from(byte >> 4) + m;
    }
}

/// The quants of a 5-bit block: 32 fifth bits at `high`, then the nibbles.
fn fives(block: &[u8], high: usize) -> [f32; 32] {
    let bits = u32::from_le_bytes([block[high], block[high + 1], block[high + 2], block[high + 3]]);
    std::array::from_fn(|i| {
        let nibble = block[high + 4 + i % 16] >> (i / 16 * 4) & 15;
        f32::from(nibble) + if bits >> i & 1 == 1 { 16.0 } else { 0.0 }
    })
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (out, quant) in out.iter_mut().zip(fives(block, 2)) {
        *out = d * (quant - 16.0);
    }
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (out, quant) in out.iter_mut().zip(fives(block, 4)) {
        *out = d * quant + m;
    }
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (out, &byte) in out.iter_mut().zip(&block[2..34]) {
        *out = d * f32::from(byte.cast_signed());
    }
}

/// What the nibbles of IQ4_NL and IQ4_XS stand for.
pub(crate) const PLACES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn iq4_nl(block: &[u8], out: &mut [f32]) {
    places(half(block, 0), &block[2..18], out);
}

/// 32 weights whose low nibbles come first.
fn places(d: f32, nibbles: &[u8], out: &mut [f32]) {
    for (i, &byte) in nibbles.iter().enumerate() {
        out[i] = d * f32::from(PLACES[usize::from(byte & 15)]);
        out[i + 16] = d * f32::from(PLACES[usize::from(byte >> 4)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks written out by hand from the format's description.
    #[test]
    fn known_blocks_give_known_weights() {
        let mut out = [0.0; 32];
        let mut block = vec![0x00, 0x38]; // 0.5
        block.extend((0..16u8).map(|i| i | (15 - i) << 4));
        row(WeightType::Q4_0, &block, &mut out);
        assert_eq!((out[0], out[15], out[16], out[31]), (-4.0, 3.5, 3.5, -4.0));
        block.splice(2..2, [0x00, 0xbc]); // minimum −1
        row(WeightType::Q4_1, &block, &mut out);
        assert_eq!((out[0], out[15], out[16], out[31]), (-1.0, 6.5, 6.5, -1.0));
        let mut block = vec![0x00, 0x3c];
        block.extend((0..32).map(|i| if i == 0 { 0x80 } else { i }));
        row(WeightType::Q8_0, &block, &mut out);
        assert_eq!((out[0], out[1], out[31]), (-128.0, 1.0, 31.0));
    }
}
