//! Artifacts: from a file to verified, named tensors without a copy; which files there are; where to get them.
//!
//! - [`Artifact`] is an opened model, of one file or of several: [`gguf`] validates the header, `mapping` maps the bytes;
//!   `folder` translates what `transformers` saves into the same header.
//! - [`catalog`] knows the models in the models directories by name.
//! - [`tables`] keeps what was made of a header between runs, in a [`private_folder`].
//! - [`pull`] brings a model into a models directory.
//! - `fixture` (feature of that name, for tests) writes tiny models and broken files.
//!
//! Invariants: nothing is read from a file before its header is validated within [`limits`]; a name given by a client
//! never becomes a path; a file appears in a models directory only whole and verified.
//!
//! Deliberately absent: what a header means (architectures live in `models`), when to load or drop (`scheduler`).

mod artifact;
pub mod catalog;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod folder;
pub mod gguf;
pub mod limits;
pub mod private_folder;
pub mod pull;
pub mod tables;

pub use artifact::{Artifact, ArtifactFiles, ArtifactIdentity, OpenError, Place, TensorView};
pub use folder::FolderError;
pub use mapping::{BringIn, FileIdentity, LetGo, Lock, MapError, MappedFile, thread_major_faults};
