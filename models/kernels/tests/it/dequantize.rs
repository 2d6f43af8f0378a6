//! Dequantized blocks against goldens.
//!
//! A line of `goldens/blocks.txt` is a type, the bytes of some random blocks with sane scales, and their weights as
//! gguf-py's `quants.dequantize` (gguf 0.19) gives them, all in little-endian hexadecimal.

use kernels::WeightType;

use crate::seeded::matrix;

const GOLDENS: &str = include_str!("../goldens/blocks.txt");

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("two hexadecimal digits")).collect()
}

#[test]
fn every_type_dequantizes_as_ggml_does() {
    let mut seen = 0;
    for line in GOLDENS.lines() {
        let [name, blocks, floats] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("three words in {line}") };
        let ty = WeightType::ALL.into_iter().find(|ty| format!("{ty:?}") == name).expect("a type of ours");
        let expected: Vec<f32> =
            bytes(floats).chunks(4).map(|x| f32::from_le_bytes(x.try_into().expect("four bytes"))).collect();
        let blocks = bytes(blocks);
        let mut found = vec![f32::NAN; expected.len()];
        matrix(ty, 1, expected.len(), &blocks).dequantize_row(0, &mut found);
        let greatest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            // The order of multiplications may differ.
            assert!((found - expected).abs() <= 1e-6 * greatest, "{name} {i}: {found} for {expected}");
        }
        seen += 1;
    }
    // F32 is what the goldens are written in.
    assert_eq!(seen, WeightType::ALL.len() - 1);
}
