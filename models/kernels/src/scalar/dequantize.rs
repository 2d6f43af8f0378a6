//! Weights as floats. Source of the layouts: ggml's `ggml-common.h` and `ggml-quants.c`.

use crate::weights::WeightType;

/// Writes the weights of `blocks` to `out`, which has room for exactly as many.
pub(crate) fn row(ty: WeightType, blocks: &[u8], out: &mut [f32]) {
    let one: fn(&[u8], &mut [f32]) = match ty {
        WeightType::F32 => f32_block,
        WeightType::F16 => |block, out| out[0] = half(block, 0),
        WeightType::Q4_0 => q4_0,
        WeightType::Q4_1 => q4_1,
        WeightType::Q5_0 => q5_0,
        WeightType::Q8_0 => q8_0,
        WeightType::Q4K => q4_k,
        WeightType::Q6K => q6_k,
    };
    for (block, out) in blocks.chunks_exact(ty.block_bytes()).zip(out.chunks_exact_mut(ty.block_len())) {
        one(block, out);
    }
}

/// The IEEE half at `offset`.
fn half(block: &[u8], offset: usize) -> f32 {
    half_to_float(u16::from_le_bytes([block[offset], block[offset + 1]]))
}

/// A half as a float, exactly: subnormals, infinities and NaNs too.
pub(crate) fn half_to_float(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10 & 0x1f);
    let fraction = u32::from(half & 0x3ff);
    let magnitude = match (exponent, fraction) {
        (0, 0) => 0,
        (0, _) => {
            // Subnormal: the leading one becomes the implicit bit.
            let shift = fraction.leading_zeros() - 21;
            (113 - shift) << 23 | (fraction << shift & 0x3ff) << 13
        }
        (31, _) => 0xff << 23 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
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

fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (out, &byte) in out.iter_mut().zip(&block[2..34]) {
        *out = d * f32::from(byte.cast_signed());
    }
}

/// The 6-bit scale and minimum of sub-block `j` of eight, from the 12 bytes that pack them.
fn scale_and_minimum(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4, (packed[j + 4] >> 4) | (packed[j] >> 6) << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin, packed, quants) = (half(block, 0), half(block, 2), &block[4..16], &block[16..144]);
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, j);
        for (out, &byte) in out.iter_mut().zip(&quants[j / 2 * 32..]) {
            let quant = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
            *out = d * scale * f32::from(quant) - dmin * minimum;
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half(block, 208));
    for (i, out) in out.iter_mut().enumerate() {
        // Each half of the block packs four runs of 32: two in the low nibbles, two in the high ones.
        let (side, run, k) = (i / 128, i % 128 / 32, i % 32);
        let nibble = low[side * 64 + run % 2 * 32 + k] >> (run / 2 * 4) & 15;
        let top = high[side * 32 + k] >> (run * 2) & 3;
        let quant = f32::from(nibble | top << 4) - 32.0;
        *out = d * f32::from(scales[i / 16].cast_signed()) * quant;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        let known = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x7c00, f32::INFINITY),
            (0x3555, 0.333_251_95),
        ];
        for (half, float) in known {
            assert_eq!(half_to_float(half), float, "{half:#x}");
        }
        assert!(half_to_float(0x8000).is_sign_negative() && half_to_float(0x7e00).is_nan());
    }

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

    #[test]
    fn known_superblocks_give_known_weights() {
        let mut out = [0.0; 256];
        let mut block = vec![0x00, 0x3c, 0x00, 0x3c]; // d = dmin = 1
        block.extend([0xc1, 2, 3, 4, 0x45, 6, 7, 8, 0x21, 0, 0, 0]);
        block.extend([0x3a; 128]);
        row(WeightType::Q4K, &block, &mut out);
        // Sub-block 0: scale 1, minimum 5; sub-block 4: scale 1 | 3 << 4, minimum 2 | 1 << 4.
        assert_eq!((out[0], out[32], out[128]), (10.0 - 5.0, 2.0 * 3.0 - 6.0, 49.0 * 10.0 - 18.0));
        let mut block = vec![0x21; 128];
        block.extend([0b1101_1000; 64]);
        block.extend((0..16u8).map(|i| if i == 15 { 0x80 } else { i }));
        block.extend([0x00, 0x40]); // d = 2
        row(WeightType::Q6K, &block, &mut out);
        // Runs of the first half: 1 | 0, 1 | 2 << 4, 2 | 1 << 4, 2 | 3 << 4.
        assert_eq!((out[16], out[32], out[64], out[96]), (2.0 * -31.0, 4.0, 8.0 * -14.0, 12.0 * 18.0));
        assert_eq!(out[255], 2.0 * -128.0 * 18.0);
    }
}
