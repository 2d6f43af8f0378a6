//! `smollm3`: llama, but every fourth layer's queries and keys have no position.
//!
//! Source: huggingface.co/blog/smollm3 and arXiv:2501.18795 (NoPE); the step of four stands in no key, as in llama.cpp.

use loader::Artifact;

use super::decoder::Decoder;
use crate::ModelError;
use crate::plan::Plan;

/// The value of `general.architecture`.
pub(super) const NAME: &str = "smollm3";

/// The last of so many layers has no position.
const WITHOUT_POSITIONS_EVERY: usize = 4;

/// The plan of a smollm3 file.
pub(super) fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    let mut decoder = Decoder::read(artifact, NAME, &[])?;
    let style = decoder.permuted_style();
    let scaled = decoder.rope(style)?;
    let mut layers = Vec::new();
    for index in 0..decoder.shape().layers {
        let mut layer = decoder.layer(index)?;
        if (index + 1) % WITHOUT_POSITIONS_EVERY != 0 {
            layer.attention.rope = Some(0);
            layer.attention.scale *= scaled.score_factor;
        }
        layers.push(layer);
    }
    decoder.plan(vec![scaled.rope], layers)
}
