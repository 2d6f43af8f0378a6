//! Products of dequantized weights, one number at a time.

use crate::activations::{Activations, Tile};
use crate::limits::QUANT_BLOCK;
use crate::products::RowsOf;
use crate::scalar::dequantize;
use crate::weights::WeightType;

/// Weights dequantized at a time: a multiple of every block's length.
const RUN: usize = 256;

/// Computes the part's rows for all columns.
pub(crate) fn compute(part: &RowsOf<'_>) {
    let weights = part.weights;
    for row in part.rows.clone() {
        for tile in part.activations.tiles() {
            let mut sums = [0.0; crate::limits::COLUMN_TILE_MAX];
            let bytes = weights.ty().row_bytes(RUN).expect("a run is a whole number of blocks").max(1);
            for (run, blocks) in weights.row(row).chunks(bytes).enumerate() {
                let mut floats = [0.0; RUN];
                let floats = &mut floats[..(weights.width() - run * RUN).min(RUN)];
                dequantize::row(weights.ty(), blocks, floats);
                for (column, sum) in sums[..tile.columns].iter_mut().enumerate() {
                    *sum += if weights.ty().is_quantized() {
                        quantized(floats, part.activations, tile, (run * RUN / QUANT_BLOCK, column))
                    } else {
                        plain(floats, part.activations, tile.first + column, run * RUN)
                    };
                }
            }
            for (column, sum) in sums[..tile.columns].iter().enumerate() {
                part.store(tile.first + column, row, &[*sum]);
            }
        }
    }
}

/// Σ weights × quants × scale, from `block` of the column on.
fn quantized(weights: &[f32], activations: &Activations, tile: Tile, (block, column): (usize, usize)) -> f32 {
    let blocks = weights.chunks_exact(QUANT_BLOCK).enumerate().map(|(offset, weights)| {
        let index = tile.index(block + offset, column);
        let quants = &activations.quants()[index * QUANT_BLOCK..(index + 1) * QUANT_BLOCK];
        let sum: f32 = weights.iter().zip(quants).map(|(weight, &quant)| weight * f32::from(quant)).sum();
        sum * activations.scales()[index]
    });
    blocks.sum()
}

/// Σ weights × values, from the `first` value of the column on.
fn plain(weights: &[f32], activations: &Activations, column: usize, first: usize) -> f32 {
    let start = column * activations.width() + first;
    let values = &activations.values()[start..start + weights.len()];
    weights.iter().zip(values).map(|(weight, value)| weight * value).sum()
}

// Every block length divides the run.
const _: () = {
    let mut index = 0;
    while index < WeightType::ALL.len() {
        assert!(RUN.is_multiple_of(WeightType::ALL[index].block_len()));
        index += 1;
    }
};
