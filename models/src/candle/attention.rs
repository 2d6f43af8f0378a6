//! Attention of a step: products for all tokens at once, scores sequence by sequence.

use std::num::NonZeroUsize;
use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::network::{Part, Step};
use super::tensors::Tensors;
use crate::plan::{Attention, Linear, Vector};

/// What attention adds to the hidden states of all parts' tokens: \[tokens, hidden\].
pub(super) fn attention<T: Tensors>(
    step: &Step<'_, T>,
    hidden: &Tensor,
    (index, layer): (usize, &Attention),
    parts: &mut [Part<'_>],
) -> Result<Tensor> {
    let plan = step.plan;
    let normed = step.norm(hidden, &layer.norm)?;
    let heads = |weights: &Linear, gain: Option<&Vector>, heads: usize| -> Result<Tensor> {
        let projected = step.tensors.linear(weights, &normed)?.reshape(((), heads, plan.head_dim))?;
        step.normed(projected, gain)?.unsqueeze(0)?.transpose(1, 2)?.contiguous()
    };
    let turned = |x: Tensor| layer.rope.map_or(Ok(x.clone()), |rope| step.rotations[rope].turn(&x));
    let norms = layer.head_norms.as_ref();
    let query = turned(heads(&layer.query, norms.map(|norms| &norms.query), plan.heads)?)?;
    let key = turned(heads(&layer.key, norms.map(|norms| &norms.key), plan.kv_heads)?)?;
    let value = heads(&layer.value, None, plan.kv_heads)?;
    let mut attended = Vec::with_capacity(parts.len());
    let mut begin = 0;
    for Part { tokens, position, cache } in parts {
        let own = |x: &Tensor| x.narrow(2, begin, tokens.len());
        let seen = first_seen(*position, layer.window)..*position + tokens.len();
        let (keys, values) = cache.extend(index, (&own(&key)?, &own(&value)?), *position, seen.start)?;
        let query = own(&query)?;
        attended.push(attend(&query, (&keys, &values), (*position, seen), layer)?);
        begin += tokens.len();
    }
    let output = step.tensors.linear(&layer.output, &Tensor::cat(&attended, 0)?)?;
    step.normed(output, layer.post_norm.as_ref())
}

/// The first position that the first token of a part, at `position`, sees.
fn first_seen(position: usize, window: Option<NonZeroUsize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window.get()))
}

/// What the tokens of one sequence see of the positions `seen`: `query` \[1, heads, tokens, head_dim\], keys and values
/// \[kv_heads, seen, head_dim\] → \[tokens, heads · head_dim\].
fn attend(
    query: &Tensor,
    (keys, values): (&Tensor, &Tensor),
    (position, seen): (usize, Range<usize>),
    layer: &Attention,
) -> Result<Tensor> {
    let (_, heads, tokens, width) = query.dims4()?;
    let kv_heads = keys.dim(0)?;
    // The heads of a group stand one behind the other, and see the same keys.
    let rows = heads / kv_heads * tokens;
    let grouped = query.contiguous()?.reshape((kv_heads, rows, width))?;
    let scores = (grouped.matmul(&keys.transpose(1, 2)?.contiguous()?)? * f64::from(layer.scale))?;
    let scores = match mask(position..position + tokens, &seen, layer.window, query.device())? {
        Some(mask) => scores.reshape((heads, tokens, seen.len()))?.broadcast_add(&mask)?,
        None => scores,
    };
    let weights = softmax_last_dim(&scores)?.reshape((kv_heads, rows, seen.len()))?;
    let attended = weights.matmul(values)?.reshape((heads, tokens, width))?;
    attended.transpose(0, 1)?.contiguous()?.flatten_from(D::Minus2)
}

/// What is added to the scores so that each of `tokens` sees itself and those before it, within the window:
/// \[tokens, seen\]. None where all see all.
fn mask(
    tokens: Range<usize>,
    seen: &Range<usize>,
    window: Option<NonZeroUsize>,
    device: &Device,
) -> Result<Option<Tensor>> {
    if tokens.len() == 1 {
        return Ok(None);
    }
    let is_hidden = |token: usize, other: usize| {
        other > token || window.is_some_and(|window| token.abs_diff(other) >= window.get())
    };
    let mask: Vec<f32> = tokens
        .clone()
        .flat_map(|token| seen.clone().map(move |other| if is_hidden(token, other) { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (tokens.len(), seen.len()), device).map(Some)
}
