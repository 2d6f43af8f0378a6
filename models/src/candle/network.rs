//! A decoder by candle's ops: tokens to hidden states, hidden states to logits.

use candle_core::{Result, Tensor};
use candle_nn::ops::{rms_norm, silu};
use kernels::Gate;

use super::attention::attention;
use super::cache::Cache;
use super::rotation::Rotation;
use super::tensors::Tensors;
use crate::plan::{FeedForward, Plan, Vector};

/// What one sequence has in a step.
pub(crate) struct Part<'a> {
    pub(crate) tokens: &'a [u32],
    /// Of the first of them; all before it are in the cache.
    pub(crate) position: usize,
    pub(crate) cache: &'a mut Cache,
}

/// The ops of one step: a plan over weights, and the angles of its tokens.
pub(super) struct Step<'a, T: Tensors> {
    pub(super) tensors: &'a T,
    pub(super) plan: &'a Plan,
    pub(super) rotations: Vec<Rotation>,
}

/// Hidden states behind the last layer, of all parts' tokens one after another: \[tokens, hidden\]. Each part's keys and
/// values are in its cache afterwards.
///
/// # Errors
/// candle's own.
///
/// # Panics
/// When a part's cache has no room for its tokens.
pub(crate) fn hidden_states<T: Tensors>(tensors: &T, plan: &Plan, parts: &mut [Part<'_>]) -> Result<Tensor> {
    let positions: Vec<usize> =
        parts.iter().flat_map(|part| part.position..part.position + part.tokens.len()).collect();
    let tokens: Vec<u32> = parts.iter().flat_map(|part| part.tokens.iter().copied()).collect();
    let rotation = |rope| Rotation::new(rope, &positions, tensors.device());
    let rotations = plan.ropes.iter().map(rotation).collect::<Result<Vec<_>>>()?;
    let step = Step { tensors, plan, rotations };
    for Part { tokens, position, cache } in &mut *parts {
        cache.set_len(*position + tokens.len());
    }
    let mut hidden = (tensors.rows(&plan.token_embedding, &tokens)? * f64::from(plan.embedding_scale))?;
    for (index, layer) in plan.layers.iter().enumerate() {
        hidden = (&hidden + attention(&step, &hidden, (index, &layer.attention), parts)?)?;
        hidden = (&hidden + step.feed_forward(&hidden, &layer.feed_forward)?)?;
    }
    Ok(hidden)
}

/// Logits of hidden states: \[rows, vocabulary\].
///
/// # Errors
/// candle's own.
pub(crate) fn logits<T: Tensors>(tensors: &T, plan: &Plan, hidden: &Tensor) -> Result<Tensor> {
    let normed = rms_norm(&hidden.contiguous()?, &tensors.vector(&plan.output_norm)?, plan.rms_epsilon)?;
    tensors.linear(&plan.output, &normed)
}

impl<T: Tensors> Step<'_, T> {
    /// The norm of rows as wide as `gain`.
    pub(super) fn norm(&self, x: &Tensor, gain: &Vector) -> Result<Tensor> {
        rms_norm(&x.contiguous()?, &self.tensors.vector(gain)?, self.plan.rms_epsilon)
    }

    /// The norm, where there is one.
    pub(super) fn normed(&self, x: Tensor, gain: Option<&Vector>) -> Result<Tensor> {
        match gain {
            Some(gain) => self.norm(&x, gain),
            None => Ok(x),
        }
    }

    fn feed_forward(&self, hidden: &Tensor, layer: &FeedForward) -> Result<Tensor> {
        let normed = self.norm(hidden, &layer.norm)?;
        let gate = self.tensors.linear(&layer.gate, &normed)?;
        let gate = match self.plan.gating {
            Gate::Silu => silu(&gate)?,
            Gate::GeluTanh => gate.gelu()?,
        };
        let inner = (gate * self.tensors.linear(&layer.up, &normed)?)?;
        self.normed(self.tensors.linear(&layer.down, &inner)?, layer.post_norm.as_ref())
    }
}
