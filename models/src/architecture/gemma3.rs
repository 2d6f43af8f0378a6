//! `gemma3` (text): norms before and after attention and feed-forward network, norms of every head's query and key,
//! GELU, and mostly local attention: of six layers five see a sliding window and turn by a base of their own, the
//! sixth sees everything and turns by the file's base and scaling.
//!
//! The embedding is multiplied by √hidden in 32-bit floats (the original rounds that root to bfloat16; llama.cpp does
//! not). Gains are 1 + w, which converters store and folders of safetensors do not.
//! Source: arXiv:2503.19786; key and tensor names: the GGUF specification.
//!
//! Deliberately absent, and so refused by name: soft caps of logits, vision, the dense layers of embedding models.

use kernels::{Gate, RopeStyle};
use loader::Artifact;

use super::decoder::Decoder;
use super::keys::Keys;
use crate::ModelError;
use crate::limits::LAYERS_MAX;
use crate::plan::Plan;

/// The value of `general.architecture`.
pub(super) const NAME: &str = "gemma3";

const PATTERN: &str = "attention.sliding_window_pattern";
const LOCAL_BASE: &str = "rope.freq_base_swa";

/// The last of so many layers sees everything, unless the file says otherwise.
const GLOBAL_EVERY: usize = 6;

/// Layers of the 27-billion model, whose scores are scaled by the width of the hidden state per head and not by the
/// head's own. Nothing else in a file tells it apart.
const LAYERS_OF_27B: usize = 62;

/// Places in the plan's ropes.
const GLOBAL: usize = 0;
const LOCAL: usize = 1;

/// The plan of a gemma3 file.
pub(super) fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    let mut decoder = Decoder::read(artifact, NAME, &["attention.sliding_window", PATTERN, LOCAL_BASE])?;
    decoder.gains_lack_one();
    let shape = decoder.shape();
    let global = decoder.rope(RopeStyle::Halves)?;
    let local = decoder.unscaled_rope(RopeStyle::Halves, LOCAL_BASE)?;
    let window = decoder.window()?;
    let is_local = match window {
        Some(_) => local_layers(decoder.keys(), shape.layers)?,
        None => vec![false; shape.layers],
    };
    let scale = Decoder::scale(match shape.layers {
        LAYERS_OF_27B => shape.hidden / shape.heads,
        _ => shape.head_dim,
    });
    let mut layers = Vec::new();
    for (index, is_local) in is_local.into_iter().enumerate() {
        let mut layer = decoder.layer(index)?;
        let attention = &mut layer.attention;
        (attention.rope, attention.window, attention.scale) = match is_local {
            true => (Some(LOCAL), window, scale),
            false => (Some(GLOBAL), None, scale * global.score_factor),
        };
        attention.head_norms = Some(decoder.head_norms(index)?);
        attention.post_norm = Some(decoder.gain(index, "post_attention_norm")?);
        layer.feed_forward.post_norm = Some(decoder.gain(index, "post_ffw_norm")?);
        layers.push(layer);
    }
    let mut plan = decoder.plan(vec![global.rope, local], layers)?;
    plan.gating = Gate::GeluTanh;
    #[expect(clippy::cast_precision_loss, reason = "a hidden state is far narrower than 2^24")]
    let embedding_scale = (shape.hidden as f32).sqrt();
    plan.embedding_scale = embedding_scale;
    Ok(plan)
}

/// Which layers see the window alone: all but every n-th, or as the file lists them.
fn local_layers(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    if let Some(listed) = keys.optional_bools(PATTERN)? {
        if listed.len() != layers {
            return Err(keys.impossible(PATTERN, format!("{} entries for {layers} layers", listed.len())));
        }
        return Ok(listed);
    }
    let every = keys.optional_count(PATTERN, LAYERS_MAX)?.unwrap_or(GLOBAL_EVERY);
    Ok((0..layers).map(|index| (index + 1) % every != 0).collect())
}
