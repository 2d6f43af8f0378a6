//! `bert`: an encoder with learned positions, norms after each part, biases throughout, and the exact GELU, as BERT
//! was trained (llama.cpp takes tanh's approximation of it). MiniLM, BGE, E5 and cross-encoders over them.
//!
//! Source: arXiv:1810.04805, arXiv:1908.10084 (pooling); key and tensor names: the GGUF specification.
//!
//! Deliberately absent, and so refused by name: rotary positions and gates (nomic-bert, jina-bert), mixtures of experts,
//! models without pooling, scores of more than one label, scores without types of tokens (RoBERTa's pairs).

use loader::Artifact;

use super::decoder::{Decoder, vocabulary};
use super::keys::{Keys, Neutral};
use super::tensors::TensorSource;
use crate::ModelError;
use crate::limits::{
    CONTEXT_MAX, ENCODER_STEP_BYTES_MAX, ENCODER_STEP_TOKENS, HEADS_MAX, LAYERS_MAX, TOKEN_TYPES_MAX, WIDTH_MAX,
};
use crate::plan::{EncoderLayer, EncoderPlan, Finish, Norm, Pooling, RankHead};

/// The value of `general.architecture`.
pub(super) const NAME: &str = "bert";

/// Keys that are read, and keys that say nothing about the maths.
const KNOWN_KEYS: &[&str] = &[
    "attention.causal",
    "attention.head_count",
    "attention.layer_norm_epsilon",
    "block_count",
    "classifier.output_labels",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    POOLING,
    "tensor_data_layout",
    "vocab_size",
];

const POOLING: &str = "pooling_type";
const TYPES: &str = "token_types.weight";

/// Sizes that all layers share.
#[derive(Clone, Copy)]
struct Shape {
    hidden: usize,
    feed_forward: usize,
    heads: usize,
    context_length: usize,
    layers: usize,
}

/// The plan of a bert file.
pub(super) fn plan(artifact: &Artifact) -> Result<EncoderPlan, ModelError> {
    let keys = Keys::new(artifact.header(), NAME);
    keys.only(&[KNOWN_KEYS])?;
    keys.only_neutral(&("attention.causal", Neutral::False))?;
    let shape = shape(&keys)?;
    let mut tensors = TensorSource::new(artifact, NAME);
    let vocabulary = vocabulary(&keys, &tensors)?;
    let token_embedding = tensors.weight("token_embd.weight", vocabulary, shape.hidden)?;
    let position_embedding = tensors.weight("position_embd.weight", shape.context_length, shape.hidden)?;
    let types = token_types(&keys, &tensors)?;
    let type_embedding = types.map(|types| tensors.weight(TYPES, types, shape.hidden)).transpose()?;
    let embedding_norm = norm(&mut tensors, "token_embd_norm", shape.hidden)?;
    let layers = (0..shape.layers).map(|index| layer(&mut tensors, shape, index)).collect::<Result<_, _>>()?;
    let pooling = pooling(&keys, &mut tensors, shape.hidden)?;
    if matches!(pooling, Pooling::Rank(_)) && types.is_none_or(|types| types < 2) {
        return Err(
            keys.impossible(POOLING, "pairs are scored by the types of their tokens, of which there are none".into())
        );
    }
    tensors.finish()?;
    Ok(EncoderPlan {
        hidden: shape.hidden,
        feed_forward: shape.feed_forward,
        heads: shape.heads,
        head_dim: shape.hidden / shape.heads,
        context_length: shape.context_length,
        vocabulary,
        norm_epsilon: keys.positive("attention.layer_norm_epsilon")?,
        converted_bytes: tensors.converted_bytes(),
        token_embedding,
        position_embedding,
        type_embedding,
        embedding_norm,
        layers,
        finish: finish(&keys, &pooling)?,
        pooling,
    })
}

fn shape(keys: &Keys<'_>) -> Result<Shape, ModelError> {
    let hidden = keys.count("embedding_length", WIDTH_MAX)?;
    let heads = keys.count("attention.head_count", HEADS_MAX)?;
    if hidden % heads != 0 {
        return Err(keys.impossible("attention.head_count", format!("{heads} does not divide {hidden}")));
    }
    let feed_forward = keys.count("feed_forward_length", WIDTH_MAX)?;
    let context_length = keys.count("context_length", CONTEXT_MAX)?;
    // A text is computed at once, and its step must stay small beside the weights whatever the file says.
    let tokens = context_length.max(ENCODER_STEP_TOKENS);
    let step_bytes = 4 * tokens as u64 * (2 * feed_forward as u64 + 8 * hidden as u64);
    if step_bytes > ENCODER_STEP_BYTES_MAX as u64 {
        let reason = format!("a step would work in {step_bytes} bytes, the limit is {ENCODER_STEP_BYTES_MAX}");
        return Err(keys.impossible("context_length", reason));
    }
    Ok(Shape { hidden, feed_forward, heads, context_length, layers: keys.count("block_count", LAYERS_MAX)? })
}

/// How many types a token may have, where the file has any.
fn token_types(keys: &Keys<'_>, tensors: &TensorSource<'_>) -> Result<Option<usize>, ModelError> {
    if !tensors.has(TYPES) {
        return Ok(None);
    }
    let rows = tensors.rows(TYPES)?;
    match usize::try_from(rows) {
        Ok(types @ 1..=TOKEN_TYPES_MAX) => Ok(Some(types)),
        _ => {
            Err(keys.impossible("embedding_length", format!("{rows} types of tokens are not in 1..={TOKEN_TYPES_MAX}")))
        }
    }
}

fn norm(tensors: &mut TensorSource<'_>, name: &str, hidden: usize) -> Result<Norm, ModelError> {
    Ok(Norm {
        gain: tensors.vector(&format!("{name}.weight"), hidden)?,
        bias: tensors.vector(&format!("{name}.bias"), hidden)?,
    })
}

fn layer(tensors: &mut TensorSource<'_>, shape: Shape, index: usize) -> Result<EncoderLayer, ModelError> {
    let Shape { hidden, feed_forward, heads, .. } = shape;
    let name = |part: &str| format!("blk.{index}.{part}");
    Ok(EncoderLayer {
        query: tensors.linear(&name("attn_q"), hidden, hidden)?,
        key: tensors.linear(&name("attn_k"), hidden, hidden)?,
        value: tensors.linear(&name("attn_v"), hidden, hidden)?,
        scale: Decoder::scale(hidden / heads),
        output: tensors.linear(&name("attn_output"), hidden, hidden)?,
        attention_norm: norm(tensors, &name("attn_output_norm"), hidden)?,
        up: tensors.linear(&name("ffn_up"), feed_forward, hidden)?,
        down: tensors.linear(&name("ffn_down"), hidden, feed_forward)?,
        output_norm: norm(tensors, &name("layer_output_norm"), hidden)?,
    })
}

/// Vectors are scaled to a length of one, but by a folder of a sentence encoder that does not ask for it.
fn finish(keys: &Keys<'_>, pooling: &Pooling) -> Result<Finish, ModelError> {
    let scales = keys.header().bool("sentence_transformers.normalize")?.unwrap_or(true);
    Ok(match pooling {
        Pooling::Rank(_) => Finish::AsComputed,
        _ if !scales => Finish::AsComputed,
        _ => Finish::LengthOne,
    })
}

/// By llama.cpp's numbers: 0 none, 1 mean, 2 first, 3 last, 4 rank.
fn pooling(keys: &Keys<'_>, tensors: &mut TensorSource<'_>, hidden: usize) -> Result<Pooling, ModelError> {
    match keys.optional_size(POOLING, u32::MAX)? {
        Some(1) => Ok(Pooling::Mean),
        Some(2) => Ok(Pooling::First),
        Some(3) => Ok(Pooling::Last),
        Some(4) => {
            let dense = if tensors.has("cls.weight") { Some(tensors.linear("cls", hidden, hidden)?) } else { None };
            let output = tensors.linear("cls.output", 1, hidden)?;
            Ok(Pooling::Rank(Box::new(RankHead { dense, output })))
        }
        Some(_) => Err(keys.unsupported(POOLING)),
        None => Err(keys.missing(POOLING)),
    }
}
