//! Weights of the types whose blocks are 256: each half of a block is four runs of 32, packed into the same bytes.

use super::{half, places};

pub(super) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, quants, d, dmin) = (&block[..16], &block[16..80], half(block, 80), half(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let (side, run, k) = (i / 128, i % 128 / 32, i % 32);
        let (scale, minimum) = (f32::from(scales[i / 16] & 15), f32::from(scales[i / 16] >> 4));
        let quant = quants[side * 32 + k] >> (run * 2) & 3;
        *out = d * scale * f32::from(quant) - dmin * minimum;
    }
}

/// The signed 6-bit scale of sixteen weights, number `j` of sixteen: four bits in the first eight bytes, two in the
/// last four.
fn signed_scale(packed: &[u8], j: usize) -> f32 {
    let low = packed[j % 8] >> (j / 8 * 4) & 15;
    let high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
    f32::from(low | high << 4) - 32.0
}

pub(super) fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, quants, packed, d) = (&block[..32], &block[32..96], &block[96..108], half(block, 108));
    for (i, out) in out.iter_mut().enumerate() {
        let (side, run, k) = (i / 128, i % 128 / 32, i % 32);
        let low = quants[side * 32 + k] >> (run * 2) & 3;
        let quant = f32::from(low | (high[k] >> (i / 32) & 1) << 2) - 4.0;
        *out = d * signed_scale(packed, i / 16) * quant;
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

pub(super) fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin, packed, quants) = (half(block, 0), half(block, 2), &block[4..16], &block[16..144]);
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, j);
        for (out, &byte) in out.iter_mut().zip(&quants[j / 2 * 32..]) {
            let quant = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
            *out = d * scale * f32::from(quant) - dmin * minimum;
        }
    }
}

pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin, packed, high, quants) =
        (half(block, 0), half(block, 2), &block[4..16], &block[16..48], &block[48..176]);
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, j);
        for ((out, &byte), &bits) in out.iter_mut().zip(&quants[j / 2 * 32..]).zip(high) {
            let quant = byte >> (j % 2 * 4) & 15 | (bits >> j & 1) << 4;
            *out = d * scale * f32::from(quant) - dmin * minimum;
        }
    }
}

pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
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

pub(super) fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let (d, high, low) = (half(block, 0), u16::from_le_bytes([block[2], block[3]]), &block[4..8]);
    for (j, (out, nibbles)) in out.chunks_exact_mut(32).zip(block[8..136].chunks_exact(16)).enumerate() {
        let four = low[j / 2] >> (j % 2 * 4) & 15;
        let scale = f32::from(u16::from(four) | (high >> (2 * j) & 3) << 4) - 32.0;
        places(d * scale, nibbles, out);
    }
}

#[cfg(test)]
mod tests {
    use crate::scalar::dequantize::row;
    use crate::weights::WeightType;

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
