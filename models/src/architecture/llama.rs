//! `llama`: RMS norm, grouped-query attention with rotary positions, SwiGLU; the head tied to the embedding or apart.
//! Llama 2 and 3, Mistral 7B, SmolLM and the many that share their shape.
//!
//! A GGUF file's query and key rows are already permuted for pairs of neighbouring dimensions, as llama.cpp's converter
//! writes them. Where a file states a sliding window (Mistral
//! 7B v0.1: 4096), every layer has it, as the model was trained; llama.cpp has all of its llama layers see everything,
//! so beyond the window the two differ.
//! Source: arXiv:2302.13971, arXiv:2310.06825; key and tensor names: the GGUF specification.
//!
//! Deliberately absent, and so refused by name: mixtures of experts, fused query-key-value tensors.

use loader::Artifact;

use super::decoder::Decoder;
use crate::ModelError;
use crate::plan::Plan;

/// The value of `general.architecture`.
pub(super) const NAME: &str = "llama";

/// The plan of a llama file.
pub(super) fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    let mut decoder = Decoder::read(artifact, NAME, &["attention.sliding_window"])?;
    let style = decoder.permuted_style();
    let scaled = decoder.rope(style)?;
    let window = decoder.window()?;
    let mut layers = Vec::new();
    for index in 0..decoder.shape().layers {
        let mut layer = decoder.layer(index)?;
        layer.attention.rope = Some(0);
        layer.attention.scale *= scaled.score_factor;
        layer.attention.window = window;
        layers.push(layer);
    }
    decoder.plan(vec![scaled.rope], layers)
}
