//! Keys and values of one sequence, as tensors on a device.
//!
//! Room is counted in blocks, as that of the kernels' cache is, so that whoever owns the budget grants both alike; the
//! tensors of a layer are as long as the room was when they were last written, and grow by copying.

use candle_core::{DType, Device as CandleDevice, Result, Tensor};

use super::Device;
use crate::Model;
use crate::limits::KV_BLOCK_POSITIONS;
use crate::plan::Plan;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As halves: what [`crate::executor`] has.
    Halves,
    /// As they were computed: what an engine without rounding has.
    Floats,
}

/// The keys and values of one sequence.
#[derive(Debug)]
pub struct Cache {
    device: CandleDevice,
    ty: DType,
    kv_heads: usize,
    head_dim: usize,
    /// Keys and values, \[1, kv_heads, positions, head_dim\] each; none before the layer's first step.
    layers: Vec<Option<[Tensor; 2]>>,
    len: usize,
    capacity: usize,
}

impl Cache {
    /// An empty cache without room, of halves, for sequences of `model` on `device`.
    ///
    /// # Panics
    /// When the model is an encoder.
    #[must_use]
    pub fn new(model: &Model, device: &Device) -> Self {
        Self::of(model.plan(), device.candle.clone(), Kept::Halves)
    }

    pub(crate) fn of(plan: &Plan, device: CandleDevice, kept: Kept) -> Self {
        let ty = match kept {
            Kept::Halves => DType::F16,
            Kept::Floats => DType::F32,
        };
        let layers = vec![None; plan.layers.len()];
        Self { device, ty, kv_heads: plan.kv_heads, head_dim: plan.head_dim, layers, len: 0, capacity: 0 }
    }

    /// Positions that it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of a block of [`KV_BLOCK_POSITIONS`] positions, in all layers.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        2 * self.layers.len() * self.kv_heads * self.head_dim * KV_BLOCK_POSITIONS * self.ty.size_in_bytes()
    }

    /// Makes room for a block more.
    pub fn push_block(&mut self) {
        self.capacity += KV_BLOCK_POSITIONS;
    }

    /// Gives back all room.
    pub fn clear(&mut self) {
        self.layers.fill(None);
        (self.len, self.capacity) = (0, 0);
    }

    /// From here on it ends after `len` positions.
    ///
    /// # Panics
    /// When there is no room for them.
    pub(super) fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "the cache has room for what is computed");
        self.len = len;
    }

    /// Puts keys and values (\[1, kv_heads, tokens, head_dim\]) from `position` on into `layer`. Returns those of the
    /// positions from `from` on to the last that was written, as 32-bit floats, \[kv_heads, positions, head_dim\].
    pub(super) fn extend(
        &mut self,
        layer: usize,
        (key, value): (&Tensor, &Tensor),
        position: usize,
        from: usize,
    ) -> Result<(Tensor, Tensor)> {
        let end = position + key.dim(2)?;
        let shape = (1, self.kv_heads, self.capacity, self.head_dim);
        let grown = |old: Option<&Tensor>| -> Result<Tensor> {
            let tensor = Tensor::zeros(shape, self.ty, &self.device)?;
            if let Some(old) = old.filter(|_| position > 0) {
                tensor.slice_set(&old.narrow(2, 0, position)?.contiguous()?, 2, 0)?;
            }
            Ok(tensor)
        };
        let kept = match self.layers[layer].take() {
            Some(kept) if kept[0].dim(2)? >= end => kept,
            Some([keys, values]) => [grown(Some(&keys))?, grown(Some(&values))?],
            None => [grown(None)?, grown(None)?],
        };
        for (kept, new) in kept.iter().zip([key, value]) {
            kept.slice_set(&new.to_dtype(self.ty)?.contiguous()?, 2, position)?;
        }
        let seen = |kept: &Tensor| kept.narrow(2, from, end - from)?.squeeze(0)?.to_dtype(DType::F32)?.contiguous();
        let read = (seen(&kept[0])?, seen(&kept[1])?);
        self.layers[layer] = Some(kept);
        Ok(read)
    }
}
