//! `qwen3`: as qwen2, with a norm of every head's query and key instead of biases, and heads whose width is its own.
//!
//! Source: arXiv:2505.09388; key and tensor names: the GGUF specification.
//!
//! Deliberately absent, and so refused by name: mixtures of experts, the rerankers' classifier.

use kernels::RopeStyle;
use loader::Artifact;

use super::decoder::Decoder;
use crate::ModelError;
use crate::plan::Plan;

/// The value of `general.architecture`.
pub(super) const NAME: &str = "qwen3";

/// The plan of a qwen3 file.
pub(super) fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    let mut decoder = Decoder::read(artifact, NAME, &[])?;
    let scaled = decoder.rope(RopeStyle::Halves)?;
    let mut layers = Vec::new();
    for index in 0..decoder.shape().layers {
        let mut layer = decoder.layer(index)?;
        layer.attention.head_norms = Some(decoder.head_norms(index)?);
        layer.attention.rope = Some(0);
        layer.attention.scale *= scaled.score_factor;
        layers.push(layer);
    }
    decoder.plan(vec![scaled.rope], layers)
}
