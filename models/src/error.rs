//! What can be wrong with a model's file, as its user needs to hear it.

use loader::gguf::FormatError;

/// Why a model cannot be used. Each is the file's fault and stays until the file changes.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file's architecture is not one of ours.
    #[error("architecture `{name}` is not supported (supported: {})", crate::architecture::supported().collect::<Vec<_>>().join(", "))]
    UnsupportedArchitecture {
        /// `general.architecture` of the file.
        name: String,
    },
    /// A key that every file of this architecture needs is not there.
    #[error("key `{key}` is missing")]
    MissingKey {
        /// The metadata key.
        key: String,
    },
    /// A key has a value that no working model has.
    #[error("key `{key}` has an impossible value: {reason}")]
    ImpossibleValue {
        /// The metadata key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that would change the maths is not understood.
    #[error("key `{key}` changes how the model computes and is not supported")]
    UnsupportedKey {
        /// The metadata key.
        key: String,
    },
    /// A weight is missing.
    #[error("tensor `{name}` is missing")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A weight has another shape than the metadata asks for.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its dimensions in the file, width first.
        found: Vec<u64>,
        /// The dimensions that the metadata implies.
        expected: Vec<u64>,
    },
    /// A weight is stored in a type that has no kernel.
    #[error("tensor `{name}` has type {ty}, which is not supported")]
    UnsupportedTensorType {
        /// The tensor.
        name: String,
        /// Its type's name.
        ty: &'static str,
    },
    /// A tensor that this architecture does not use: computing without it would be wrong.
    #[error("tensor `{name}` is not part of a {architecture} model that is supported")]
    UnsupportedTensor {
        /// The tensor.
        name: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// A vector of 32-bit floats does not lie on a border of four bytes.
    #[error("tensor `{name}` is not aligned to its element")]
    Unaligned {
        /// The tensor.
        name: String,
    },
    /// The vectors that are stored otherwise than as 32-bit floats are more than any real model's.
    #[error("tensor `{name}` brings the vectors that have to be converted to more than {max} bytes")]
    TooMuchConverted {
        /// The tensor.
        name: String,
        /// The limit.
        max: usize,
    },
    /// A tensor of hyperparameters has a value that no working model has.
    #[error("tensor `{name}` holds impossible values")]
    ImpossibleTensor {
        /// The tensor.
        name: String,
    },
    /// The tokenizer's kind or pre-tokenizer is not one of ours.
    #[error("tokenizer {what} is not supported")]
    UnsupportedTokenizer {
        /// The kind or pre-tokenizer.
        what: String,
    },
    /// The vocabulary or the merges contradict themselves or the weights.
    #[error("the tokenizer is inconsistent: {reason}")]
    InconsistentTokenizer {
        /// How.
        reason: String,
    },
    /// `tokenizer.json` cannot be read.
    #[error("tokenizer.json is not usable")]
    TokenizerJson(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The chat template does not compile.
    #[error("the chat template does not compile")]
    Template(#[source] minijinja::Error),
    /// The chat template is too long.
    #[error("the chat template has {bytes} bytes, the limit is {max}")]
    TemplateTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A metadata value has the wrong type.
    #[error("the file's metadata is not usable")]
    Format(#[from] FormatError),
}
