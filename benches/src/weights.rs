//! Weights that stand in for a model's: blocks of every type, of middling size, so that nothing is zero, infinite or
//! denormal on the way.

use kernels::WeightType;

/// Blocks that differ from each other; larger matrices repeat them.
const DISTINCT_BLOCKS: usize = 1024;

/// 0.05 as a half, and as the upper half of a float a number that is small and normal.
const SCALE: [u8; 2] = [0x66, 0x2a];

/// As many bytes of whole blocks as fit `bytes_max`.
#[must_use]
pub fn blocks(ty: WeightType, bytes_max: usize) -> Vec<u8> {
    let mut state = 13u8;
    let mut pattern: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(5).wrapping_add(167);
        state
    })
    .take(DISTINCT_BLOCKS * ty.block_bytes())
    .collect();
    for block in pattern.chunks_exact_mut(ty.block_bytes()) {
        scales(ty).iter().for_each(|&at| block[at..at + SCALE.len()].copy_from_slice(&SCALE));
    }
    let bytes = bytes_max / ty.block_bytes() * ty.block_bytes();
    let mut blocks = pattern.repeat(bytes.div_ceil(pattern.len()));
    blocks.truncate(bytes);
    blocks
}

/// Where the scales and minima of a block are.
fn scales(ty: WeightType) -> &'static [usize] {
    match ty {
        WeightType::F32 => &[2],
        WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4K | WeightType::Q5K => &[0, 2],
        WeightType::Q2K => &[80, 82],
        WeightType::Q3K => &[108],
        WeightType::Q6K => &[208],
        _ => &[0],
    }
}

/// The type's name in GGUF files.
#[must_use]
pub fn name(ty: WeightType) -> &'static str {
    match ty {
        WeightType::F32 => "F32",
        WeightType::F16 => "F16",
        WeightType::BF16 => "BF16",
        WeightType::Q4_0 => "Q4_0",
        WeightType::Q4_1 => "Q4_1",
        WeightType::Q5_0 => "Q5_0",
        WeightType::Q5_1 => "Q5_1",
        WeightType::Q8_0 => "Q8_0",
        WeightType::Q2K => "Q2_K",
        WeightType::Q3K => "Q3_K",
        WeightType::Q4K => "Q4_K",
        WeightType::Q5K => "Q5_K",
        WeightType::Q6K => "Q6_K",
        WeightType::IQ4NL => "IQ4_NL",
        WeightType::IQ4XS => "IQ4_XS",
    }
}

/// Whether products multiply it as floats (else as int8).
#[must_use]
pub fn is_float(ty: WeightType) -> bool {
    ty.block_len() == 1
}

#[cfg(test)]
mod tests {
    use kernels::Matrix;

    use super::*;

    #[test]
    fn the_weights_of_every_type_are_normal_numbers() {
        for ty in WeightType::ALL {
            let bytes = blocks(ty, 100_000);
            assert!(bytes.len() <= 100_000 && 100_000 - bytes.len() < ty.block_bytes());
            let width = bytes.len() / ty.block_bytes() * ty.block_len();
            let mut weights = vec![0.0; width];
            Matrix::new(ty, 1, width, &bytes).unwrap().dequantize_row(0, &mut weights);
            assert!(weights.iter().all(|weight| *weight == 0.0 || weight.is_normal()), "{}", name(ty));
            assert!(weights.iter().filter(|weight| **weight != 0.0).count() > width / 2, "{}", name(ty));
        }
    }
}
