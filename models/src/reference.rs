//! The reference executor: candle's plain ops over weights that candle itself unpacks, where it knows their type.
//!
//! It reads the same plan as [`crate::executor`] and shares nothing else with it: no kernel, no pages, no rounding of
//! activations but, where asked for, of keys and values. It computes a whole sequence at once and copies every weight
//! that it touches; it is the oracle of tests and a peer in benchmarks. What serves with the same ops is
//! [`crate::candle`].

use candle_core::{Device, Result};

use crate::Model;
pub use crate::candle::Kept;
use crate::candle::{self, Cache, Part, Unpacked};
use crate::encoding::Passage;

/// Logits of every position of `tokens`: \[tokens, vocabulary\], row by row.
///
/// # Errors
/// candle's own, for shapes or memory.
pub fn logits(model: &Model, tokens: &[u32], kept: Kept) -> Result<Vec<f32>> {
    let (plan, tensors) = (model.plan(), Unpacked(model.artifact()));
    let mut cache = Cache::of(plan, Device::Cpu, kept);
    while cache.capacity() < tokens.len() {
        cache.push_block();
    }
    let part = Part { tokens, position: 0, cache: &mut cache };
    let hidden = candle::hidden_states(&tensors, plan, &mut [part])?;
    candle::logits(&tensors, plan, &hidden)?.flatten_all()?.to_vec1()
}

/// What the model makes of `passage`: its pooled hidden state, or its one score.
///
/// # Errors
/// candle's own, for shapes or memory.
pub fn encode(model: &Model, passage: &Passage) -> Result<Vec<f32>> {
    candle::encode(&Unpacked(model.artifact()), model.encoder(), passage)
}
