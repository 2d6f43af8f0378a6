//! Activations as int8 with one scale per 32.

use crate::activations::QuantizedColumn;
use crate::limits::QUANT_BLOCK;

/// Blocks whose greatest magnitude is below this are zero: the inverse of their scale would overflow.
pub(crate) const MAGNITUDE_MIN: f32 = 1e-30;

/// Quantizes `x`, whose length is a multiple of 32: scale = max |x| / 127, rounded to nearest, ties to even.
///
/// An infinity or NaN makes the block's scale infinite or NaN, and so every product that reads it.
pub(crate) fn column(x: &[f32], out: &QuantizedColumn<'_>) {
    for (index, block) in x.chunks_exact(QUANT_BLOCK).enumerate() {
        // By bits, the order of magnitudes holds for infinities and puts NaNs above them.
        let magnitude = block.iter().map(|x| x.to_bits() & (u32::MAX >> 1)).max().map_or(0.0, f32::from_bits);
        let (scale, inverse) =
            if magnitude < MAGNITUDE_MIN { (0.0, 0.0) } else { (magnitude / 127.0, 127.0 / magnitude) };
        let mut quants = [0i8; QUANT_BLOCK];
        for (quant, &x) in quants.iter_mut().zip(block) {
            *quant = (x * inverse).round_ties_even() as i8;
        }
        let half_sum = |half: &[i8]| half.iter().map(|&quant| i16::from(quant)).sum();
        out.store(index, &quants, scale, [half_sum(&quants[..16]), half_sum(&quants[16..])]);
    }
}
