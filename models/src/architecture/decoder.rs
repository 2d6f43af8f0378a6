//! What the decoders here have in common, read once: an architecture's file says only what is its own.
//!
//! A [`Decoder`] checks keys and shapes, hands out layers as a plain llama has them, and in the end makes the plan,
//! refusing tensors that nobody asked for.

use std::num::NonZeroUsize;

use kernels::{Gate, RopeStyle};
use loader::Artifact;
use loader::gguf::Format;

use super::keys::{Keys, Neutral};
use super::scaling;
use super::tensors::TensorSource;
use crate::ModelError;
use crate::limits::{
    CONTEXT_MAX, HEADS_MAX, LAYERS_MAX, PREFILL_CHUNK_TOKENS, STEP_BYTES_MAX, VOCABULARY_MAX, WIDTH_MAX,
};
use crate::plan::{Attention, FeedForward, HeadNorms, Layer, Linear, Plan, Rope, Vector};

/// Keys that every decoder here reads, and keys that say nothing about the maths (where the weights come from).
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
    "rope.scaling.finetuned",
    "tensor_data_layout",
    "vocab_size",
];

/// Keys that converters write whether or not they mean something; these values mean nothing.
const NEUTRAL_KEYS: &[(&str, Neutral)] = &[
    ("attention.causal", Neutral::True),
    ("expert_count", Neutral::Zero),
    ("expert_used_count", Neutral::Zero),
    ("pooling_type", Neutral::Zero),
];

/// A decoder-only transformer that is being read.
pub(super) struct Decoder<'a> {
    keys: Keys<'a>,
    tensors: TensorSource<'a>,
    shape: Shape,
}

/// Sizes that all layers share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) feed_forward: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) layers: usize,
}

impl<'a> Decoder<'a> {
    /// Reads the sizes of a file of `architecture`, and refuses its keys but the common ones and `own_keys`.
    pub(super) fn read(
        artifact: &'a Artifact,
        architecture: &'static str,
        own_keys: &[&str],
    ) -> Result<Self, ModelError> {
        let keys = Keys::new(artifact.header(), architecture);
        let neutral: Vec<&str> = NEUTRAL_KEYS.iter().map(|(key, _)| *key).collect();
        keys.only(&[KNOWN_KEYS, scaling::KNOWN_KEYS, &neutral, own_keys])?;
        NEUTRAL_KEYS.iter().try_for_each(|key| keys.only_neutral(key))?;
        let shape = shape(&keys)?;
        Ok(Self { keys, tensors: TensorSource::new(artifact, architecture), shape })
    }

    pub(super) fn keys(&self) -> &Keys<'a> {
        &self.keys
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// How pairs of dimensions turn where llama.cpp's converter permutes rows of queries and keys for pairs of neighbours:
    /// in halves, as the model was trained, where nobody permuted them.
    pub(super) fn permuted_style(&self) -> RopeStyle {
        match self.keys.header().format() {
            Format::Gguf { .. } => RopeStyle::Interleaved,
            Format::Safetensors => RopeStyle::Halves,
        }
    }

    /// Takes gains as one more than what is stored where no converter has added that one.
    pub(super) fn gains_lack_one(&mut self) {
        if self.keys.header().format() == Format::Safetensors {
            self.tensors.add_to_gains(1.0);
        }
    }

    /// Rotary positions by the file's base, scaling and `rope_freqs.weight`.
    pub(super) fn rope(&mut self, style: RopeStyle) -> Result<ScaledRope, ModelError> {
        let rope = self.unscaled_rope(style, "rope.freq_base")?;
        let mut scaled = scaling::scaled(&self.keys, rope, self.shape.head_dim)?;
        let factors = "rope_freqs.weight";
        if self.tensors.has(factors) {
            let divisors = &mut scaled.rope.divisors;
            let stored = self.tensors.vector(factors, divisors.len())?;
            for (divisor, factor) in divisors.iter_mut().zip(self.tensors.values(&stored)) {
                if !factor.is_finite() || *factor <= 0.0 {
                    return Err(ModelError::ImpossibleTensor { name: factors.to_owned() });
                }
                *divisor *= factor;
            }
        }
        Ok(scaled)
    }

    /// Rotary positions by the base in `base_key` (10,000 where it is absent), and nothing else.
    pub(super) fn unscaled_rope(&self, style: RopeStyle, base_key: &str) -> Result<Rope, ModelError> {
        let head_dim = self.shape.head_dim;
        let dimensions = self.keys.optional_count("rope.dimension_count", WIDTH_MAX)?.unwrap_or(head_dim);
        if dimensions > head_dim || dimensions % 2 != 0 {
            let reason = format!("{dimensions} is odd or over the head's {head_dim}");
            return Err(self.keys.impossible("rope.dimension_count", reason));
        }
        let base = self.keys.optional_positive(base_key)?.unwrap_or(10_000.0);
        Ok(Rope { dimensions, base, style, divisors: vec![1.0; dimensions / 2] })
    }

    /// How many positions a layer sees; none where the key is absent or, as converters write it, 0.
    pub(super) fn window(&self) -> Result<Option<NonZeroUsize>, ModelError> {
        Ok(self.keys.optional_size("attention.sliding_window", CONTEXT_MAX)?.and_then(NonZeroUsize::new))
    }

    /// Factor of the scores that an architecture has unless it says otherwise: 1 / √`width`.
    #[expect(clippy::cast_precision_loss, reason = "a head is far narrower than 2^24")]
    pub(super) fn scale(width: usize) -> f32 {
        1.0 / (width as f32).sqrt()
    }

    /// Layer `index` as llama has it: no head norms, no post norms, no rope and all positions seen.
    /// Biases are taken where the file has them.
    pub(super) fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let Shape { hidden, feed_forward, heads, kv_heads, head_dim, .. } = self.shape;
        let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let name = |part: &str| format!("blk.{index}.{part}");
        let tensors = &mut self.tensors;
        let attention = Attention {
            norm: tensors.gain(&name("attn_norm.weight"), hidden)?,
            query: tensors.linear(&name("attn_q"), width, hidden)?,
            key: tensors.linear(&name("attn_k"), kv_width, hidden)?,
            value: tensors.linear(&name("attn_v"), kv_width, hidden)?,
            head_norms: None,
            rope: None,
            window: None,
            scale: Self::scale(head_dim),
            output: tensors.linear(&name("attn_output"), hidden, width)?,
            post_norm: None,
        };
        let feed_forward = FeedForward {
            norm: tensors.gain(&name("ffn_norm.weight"), hidden)?,
            gate: tensors.linear(&name("ffn_gate"), feed_forward, hidden)?,
            up: tensors.linear(&name("ffn_up"), feed_forward, hidden)?,
            down: tensors.linear(&name("ffn_down"), hidden, feed_forward)?,
            post_norm: None,
        };
        Ok(Layer { attention, feed_forward })
    }

    /// The norms of layer `index`'s queries and keys, head by head.
    pub(super) fn head_norms(&mut self, index: usize) -> Result<HeadNorms, ModelError> {
        let head_dim = self.shape.head_dim;
        Ok(HeadNorms {
            query: self.tensors.gain(&format!("blk.{index}.attn_q_norm.weight"), head_dim)?,
            key: self.tensors.gain(&format!("blk.{index}.attn_k_norm.weight"), head_dim)?,
        })
    }

    /// A norm's gain as wide as the hidden state: blk.`index`.`part`.weight.
    pub(super) fn gain(&mut self, index: usize, part: &str) -> Result<Vector, ModelError> {
        self.tensors.gain(&format!("blk.{index}.{part}.weight"), self.shape.hidden)
    }

    /// The plan over `layers`, with SiLU and no factor of the embedding; refuses tensors that no one took.
    pub(super) fn plan(mut self, ropes: Vec<Rope>, layers: Vec<Layer>) -> Result<Plan, ModelError> {
        let (shape, tensors) = (self.shape, &mut self.tensors);
        let vocabulary = vocabulary(&self.keys, tensors)?;
        let token_embedding = tensors.weight("token_embd.weight", vocabulary, shape.hidden)?;
        let output = if tensors.has("output.weight") {
            tensors.linear("output", vocabulary, shape.hidden)?
        } else {
            Linear { weight: token_embedding.clone(), bias: None }
        };
        let output_norm = tensors.gain("output_norm.weight", shape.hidden)?;
        tensors.finish()?;
        let converted_bytes = tensors.converted_bytes();
        Ok(Plan {
            hidden: shape.hidden,
            feed_forward: shape.feed_forward,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            context_length: self.keys.count("context_length", CONTEXT_MAX)?,
            vocabulary,
            rms_epsilon: self.keys.positive("attention.layer_norm_rms_epsilon")?,
            embedding_scale: 1.0,
            gating: Gate::Silu,
            ropes,
            token_embedding,
            output_norm,
            output,
            layers,
            converted_bytes,
        })
    }
}

/// A rope, and what its scaling does to the scores of queries and keys that it turned.
pub(super) struct ScaledRope {
    pub(super) rope: Rope,
    /// Factor of the scores: 1 but for YaRN.
    pub(super) score_factor: f32,
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
    let feed_forward = keys.count("feed_forward_length", WIDTH_MAX)?;
    // What one step works in: it must stay small beside the weights whatever the file says.
    let step_bytes = 4 * PREFILL_CHUNK_TOKENS * (3 * feed_forward + 4 * hidden + 4 * heads * head_dim);
    if step_bytes > STEP_BYTES_MAX {
        let reason = format!("a step would work in {step_bytes} bytes, the limit is {STEP_BYTES_MAX}");
        return Err(keys.impossible("feed_forward_length", reason));
    }
    Ok(Shape { hidden, feed_forward, heads, kv_heads, head_dim, layers: keys.count("block_count", LAYERS_MAX)? })
}

/// Rows of the embedding, which the tokenizer's vocabulary must match. In a folder of safetensors they are as many as the
/// configuration says, and the tokenizer may have fewer: embeddings are often padded.
pub(super) fn vocabulary(keys: &Keys<'_>, tensors: &TensorSource<'_>) -> Result<usize, ModelError> {
    const KEY: &str = "tokenizer.ggml.tokens";
    let rows = tensors.rows("token_embd.weight")?;
    if keys.header().format() == Format::Safetensors {
        let vocabulary = keys.count("vocab_size", u32::try_from(VOCABULARY_MAX).expect("a limit far below 2^32"))?;
        if rows != vocabulary as u64 {
            return Err(keys.impossible("vocab_size", format!("{vocabulary} for an embedding of {rows} rows")));
        }
        return Ok(vocabulary);
    }
    let tokens = keys.header().strings(KEY)?.ok_or_else(|| ModelError::MissingKey { key: KEY.to_owned() })?;
    if rows != tokens.len() as u64 {
        let reason = format!("{} tokens for an embedding of {rows} rows", tokens.len());
        return Err(ModelError::InconsistentTokenizer { reason });
    }
    Ok(tokens.len())
}
