//! `qwen2`: llama with biases on queries, keys and values, and rotary pairs of a head's two halves. Qwen 2 and 2.5.
//!
//! Source: arXiv:2407.10671; key and tensor names: the GGUF specification.
//!
//! Deliberately absent, and so refused by name: mixtures of experts, sliding windows.

use kernels::RopeStyle;
use loader::Artifact;

use super::decoder::Decoder;
use crate::ModelError;
use crate::plan::Plan;

/// The value of `general.architecture`.
pub(super) const NAME: &str = "qwen2";

/// The plan of a qwen2 file.
pub(super) fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    let mut decoder = Decoder::read(artifact, NAME, &[])?;
    let scaled = decoder.rope(RopeStyle::Halves)?;
    let mut layers = Vec::new();
    for index in 0..decoder.shape().layers {
        let mut layer = decoder.layer(index)?;
        layer.attention.rope = Some(0);
        layer.attention.scale *= scaled.score_factor;
        layers.push(layer);
    }
    decoder.plan(vec![scaled.rope], layers)
}
