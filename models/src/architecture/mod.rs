//! One file per architecture: from a header's metadata to a [`Plan`]. Folders of safetensors have the same keys and
//! names as GGUF files by then.
//!
//! To add one: a file that takes a `decoder::Decoder` and says what is its own, a line in `SUPPORTED`, and a tiny
//! model of it among the fixtures with log-probabilities of llama.cpp (`models/tests/it/peer.rs`).

mod decoder;
mod gemma3;
mod keys;
mod llama;
mod qwen2;
mod qwen3;
mod scaling;
mod smollm3;
mod tensors;

use loader::Artifact;

use crate::ModelError;
use crate::plan::Plan;

type Reader = fn(&Artifact) -> Result<Plan, ModelError>;

/// Every architecture, and what makes its plan.
const SUPPORTED: [(&str, Reader); 5] = [
    (gemma3::NAME, gemma3::plan),
    (llama::NAME, llama::plan),
    (qwen2::NAME, qwen2::plan),
    (qwen3::NAME, qwen3::plan),
    (smollm3::NAME, smollm3::plan),
];

/// The names of the architectures that have a plan, in alphabetical order.
pub fn supported() -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().map(|(name, _)| *name)
}

/// The plan of `artifact`, by its `general.architecture`.
///
/// # Errors
/// [`ModelError`] when the architecture, a key or a tensor is missing, impossible or not supported.
pub fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    const KEY: &str = "general.architecture";
    let name = artifact.header().string(KEY)?.ok_or_else(|| ModelError::MissingKey { key: KEY.to_owned() })?;
    match SUPPORTED.iter().find(|(supported, _)| *supported == name) {
        Some((_, plan)) => plan(artifact),
        None => Err(ModelError::UnsupportedArchitecture { name: name.chars().take(64).collect() }),
    }
}
