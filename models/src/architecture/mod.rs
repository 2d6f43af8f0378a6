//! One file per architecture: from a header's metadata to a [`Network`]. Folders of safetensors have the same keys and
//! names as GGUF files by then.
//!
//! To add one: a file that takes a `decoder::Decoder` and says what is its own, a line in `SUPPORTED`, and a tiny
//! model of it among the fixtures with log-probabilities of llama.cpp (`models/tests/it/peer.rs`). An encoder
//! (`bert`) makes its plan by itself; its fixture has embeddings of llama.cpp.

mod bert;
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
use crate::plan::Network;

type Reader = fn(&Artifact) -> Result<Network, ModelError>;

/// Every architecture, and what makes its plan.
const SUPPORTED: [(&str, Reader); 6] = [
    (bert::NAME, |artifact| bert::plan(artifact).map(Network::Encoder)),
    (gemma3::NAME, |artifact| gemma3::plan(artifact).map(Network::Decoder)),
    (llama::NAME, |artifact| llama::plan(artifact).map(Network::Decoder)),
    (qwen2::NAME, |artifact| qwen2::plan(artifact).map(Network::Decoder)),
    (qwen3::NAME, |artifact| qwen3::plan(artifact).map(Network::Decoder)),
    (smollm3::NAME, |artifact| smollm3::plan(artifact).map(Network::Decoder)),
];

/// The names of the architectures that have a plan, in alphabetical order.
pub fn supported() -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().map(|(name, _)| *name)
}

/// What `artifact` computes, by its `general.architecture`.
///
/// # Errors
/// [`ModelError`] when the architecture, a key or a tensor is missing, impossible or not supported.
pub fn network(artifact: &Artifact) -> Result<Network, ModelError> {
    const KEY: &str = "general.architecture";
    let name = artifact.header().string(KEY)?.ok_or_else(|| ModelError::MissingKey { key: KEY.to_owned() })?;
    match SUPPORTED.iter().find(|(supported, _)| *supported == name) {
        Some((_, network)) => network(artifact),
        None => Err(ModelError::UnsupportedArchitecture { name: name.chars().take(64).collect() }),
    }
}
