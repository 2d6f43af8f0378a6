//! `llama`: RMS norm, grouped-query attention with rotary positions, SwiGLU; the head tied to the embedding or apart.
//!
//! The file's query and key rows are already permuted for pairs of neighbouring dimensions
//! ([`RopeStyle::Interleaved`]), as llama.cpp's converter writes them.
//! Source: arXiv:2302.13971; key and tensor names: the GGUF specification.
//!
//! Deliberately absent, and so refused by name: mixtures of experts, RoPE scaling by keys, sliding windows, biases.

use kernels::RopeStyle;
use loader::Artifact;

use super::keys::Keys;
use crate::ModelError;
use crate::limits::{CONTEXT_MAX, HEADS_MAX, LAYERS_MAX, PREFILL_CHUNK_TOKENS, STEP_BYTES_MAX, WIDTH_MAX};
use crate::plan::{Layer, Plan, Rope, TensorSource};

/// The value of `general.architecture`.
pub(crate) const NAME: &str = "llama";

const KNOWN_KEYS: &[&str] = &[
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "vocab_size",
];

const ROPE_FACTORS: &str = "rope_freqs.weight";
const LAYER_TENSORS: [&str; 9] = [
    "attn_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
];

struct Shape {
    hidden: usize,
    feed_forward: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    layers: usize,
}

/// The plan of a llama file.
pub(crate) fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    let keys = Keys::new(artifact.header(), NAME);
    keys.only(KNOWN_KEYS)?;
    keys.only_value("rope.scaling.type", "none")?;
    let shape = shape(&keys)?;
    let vocabulary = vocabulary(artifact)?;
    let rope_dimensions = keys.optional_count("rope.dimension_count", WIDTH_MAX)?.unwrap_or(shape.head_dim);
    if rope_dimensions > shape.head_dim || rope_dimensions % 2 != 0 {
        let reason = format!("{rope_dimensions} is odd or over the head's {}", shape.head_dim);
        return Err(keys.impossible("rope.dimension_count", reason));
    }
    let rms_epsilon = keys.optional_positive("attention.layer_norm_rms_epsilon")?;
    let rms_epsilon =
        rms_epsilon.ok_or_else(|| ModelError::MissingKey { key: "llama.attention.layer_norm_rms_epsilon".into() })?;

    // What one step works in: it must stay small beside the weights whatever the file says.
    let step_bytes =
        4 * PREFILL_CHUNK_TOKENS * (3 * shape.feed_forward + 4 * shape.hidden + 4 * shape.heads * shape.head_dim);
    if step_bytes > STEP_BYTES_MAX {
        let reason = format!("a step would work in {step_bytes} bytes, the limit is {STEP_BYTES_MAX}");
        return Err(keys.impossible("feed_forward_length", reason));
    }

    let mut tensors = TensorSource::new(artifact, NAME);
    let token_embedding = tensors.weight("token_embd.weight", vocabulary, shape.hidden)?;
    let output_norm = tensors.gain("output_norm.weight", shape.hidden)?;
    let output = if tensors.has("output.weight") {
        tensors.weight("output.weight", vocabulary, shape.hidden)?
    } else {
        token_embedding.clone()
    };
    let frequency_factors = match tensors.has(ROPE_FACTORS) {
        true => Some(tensors.gain(ROPE_FACTORS, rope_dimensions / 2)?),
        false => None,
    };
    let layers = (0..shape.layers).map(|index| layer(&mut tensors, index, &shape)).collect::<Result<_, _>>()?;
    tensors.finish(|name| is_used(name, shape.layers))?;

    Ok(Plan {
        architecture: NAME,
        hidden: shape.hidden,
        feed_forward: shape.feed_forward,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        context_length: keys.count("context_length", CONTEXT_MAX)?,
        vocabulary,
        rms_epsilon,
        rope: Rope {
            dimensions: rope_dimensions,
            base: keys.optional_positive("rope.freq_base")?.unwrap_or(10_000.0),
            style: RopeStyle::Interleaved,
            frequency_factors,
        },
        token_embedding,
        output_norm,
        output,
        layers,
    })
}

fn shape(keys: &Keys<'_>) -> Result<Shape, ModelError> {
    let hidden = keys.count("embedding_length", WIDTH_MAX)?;
    let heads = keys.count("attention.head_count", HEADS_MAX)?;
    let kv_heads = keys.optional_count("attention.head_count_kv", HEADS_MAX)?.unwrap_or(heads);
    if heads % kv_heads != 0 {
        let reason = format!("{kv_heads} does not divide the {heads} heads");
        return Err(keys.impossible("attention.head_count_kv", reason));
    }
    let head_dim = match keys.optional_count("attention.key_length", WIDTH_MAX)? {
        Some(length) => length,
        None if hidden % heads == 0 => hidden / heads,
        None => return Err(keys.impossible("attention.head_count", format!("{heads} does not divide {hidden}"))),
    };
    let value_length = keys.optional_count("attention.value_length", WIDTH_MAX)?.unwrap_or(head_dim);
    if value_length != head_dim {
        return Err(keys.impossible("attention.value_length", format!("{value_length} differs from {head_dim}")));
    }
    Ok(Shape {
        hidden,
        feed_forward: keys.count("feed_forward_length", WIDTH_MAX)?,
        heads,
        kv_heads,
        head_dim,
        layers: keys.count("block_count", LAYERS_MAX)?,
    })
}

/// Rows of the embedding, which the vocabulary must match.
fn vocabulary(artifact: &Artifact) -> Result<usize, ModelError> {
    const KEY: &str = "tokenizer.ggml.tokens";
    let tokens = artifact.header().strings(KEY)?.ok_or_else(|| ModelError::MissingKey { key: KEY.to_owned() })?;
    let embedding = artifact
        .tensor("token_embd.weight")
        .ok_or_else(|| ModelError::MissingTensor { name: "token_embd.weight".to_owned() })?;
    let rows = embedding.dims.get(1).copied().unwrap_or(1);
    if rows != tokens.len() as u64 {
        let reason = format!("{} tokens for an embedding of {rows} rows", tokens.len());
        return Err(ModelError::InconsistentTokenizer { reason });
    }
    Ok(tokens.len())
}

fn layer(tensors: &mut TensorSource<'_>, index: usize, shape: &Shape) -> Result<Layer, ModelError> {
    let name = |part: usize| format!("blk.{index}.{}", LAYER_TENSORS[part]);
    let (hidden, width) = (shape.hidden, shape.heads * shape.head_dim);
    let kv_width = shape.kv_heads * shape.head_dim;
    Ok(Layer {
        attention_norm: tensors.gain(&name(0), hidden)?,
        query: tensors.weight(&name(1), width, hidden)?,
        key: tensors.weight(&name(2), kv_width, hidden)?,
        value: tensors.weight(&name(3), kv_width, hidden)?,
        attention_output: tensors.weight(&name(4), hidden, width)?,
        feed_forward_norm: tensors.gain(&name(5), hidden)?,
        gate: tensors.weight(&name(6), shape.feed_forward, hidden)?,
        up: tensors.weight(&name(7), shape.feed_forward, hidden)?,
        down: tensors.weight(&name(8), hidden, shape.feed_forward)?,
    })
}

fn is_used(name: &str, layers: usize) -> bool {
    if ["token_embd.weight", "output_norm.weight", "output.weight", ROPE_FACTORS].contains(&name) {
        return true;
    }
    let Some((index, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else { return false };
    index.parse::<usize>().is_ok_and(|index| index < layers) && LAYER_TENSORS.contains(&part)
}
