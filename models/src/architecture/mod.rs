//! One file per architecture: from a GGUF file's metadata to a [`Plan`].

mod keys;
mod llama;

use loader::Artifact;

use crate::ModelError;
use crate::plan::Plan;

/// The plan of `artifact`, by its `general.architecture`.
///
/// # Errors
/// [`ModelError`] when the architecture, a key or a tensor is missing, impossible or not supported.
pub fn plan(artifact: &Artifact) -> Result<Plan, ModelError> {
    const KEY: &str = "general.architecture";
    let name = artifact.header().string(KEY)?.ok_or_else(|| ModelError::MissingKey { key: KEY.to_owned() })?;
    match name {
        llama::NAME => llama::plan(artifact),
        _ => Err(ModelError::UnsupportedArchitecture { name: name.chars().take(64).collect() }),
    }
}
