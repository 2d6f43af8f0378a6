//! Rotary position embedding of the positions of one step.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::rotary_emb::{rope, rope_i};
use kernels::RopeStyle;

use crate::plan::Rope;

/// Sines and cosines of a step's tokens.
pub(super) struct Rotation {
    cos: Tensor,
    sin: Tensor,
    dimensions: usize,
    style: RopeStyle,
}

impl Rotation {
    /// Those of tokens that stand at `positions`.
    pub(super) fn new(rope: &Rope, positions: &[usize], device: &Device) -> Result<Self> {
        let pairs = rope.dimensions / 2;
        let frequency = |pair: usize| {
            let exponent = 2.0 * pair as f64 / rope.dimensions as f64;
            1.0 / f64::from(rope.base).powf(exponent) / f64::from(rope.divisors[pair])
        };
        let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
        let angles: Vec<f64> = positions
            .iter()
            .flat_map(|&position| frequencies.iter().map(move |frequency| position as f64 * frequency))
            .collect();
        // On the host: not every device has 64-bit floats.
        let angles = Tensor::from_vec(angles, (positions.len(), pairs), &Device::Cpu)?;
        let table = |angles: Tensor| angles.to_dtype(DType::F32)?.to_device(device);
        let (cos, sin) = (table(angles.cos()?)?, table(angles.sin()?)?);
        Ok(Self { cos, sin, dimensions: rope.dimensions, style: rope.style })
    }

    /// Turns heads: \[1, heads, tokens, head_dim\].
    pub(super) fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        let turning = x.narrow(3, 0, self.dimensions)?.contiguous()?;
        let turned = match self.style {
            RopeStyle::Interleaved => rope_i(&turning, &self.cos, &self.sin)?,
            RopeStyle::Halves => rope(&turning, &self.cos, &self.sin)?,
        };
        if width == self.dimensions {
            return Ok(turned);
        }
        Tensor::cat(&[&turned, &x.narrow(3, self.dimensions, width - self.dimensions)?], 3)
    }
}
