//! What can be wrong with a folder of safetensors. Every variant is the folder's fault, and trying again cannot help.

use crate::gguf::FormatError;

/// Why a folder's files do not make a model: what, and where. Names from the files are shown escaped and shortened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum FolderError {
    /// A text is larger than any real one.
    #[error("the file has {bytes} bytes, the limit is {limit}")]
    TooLarge { bytes: u64, limit: u64 },
    /// No JSON, or of another shape.
    #[error("the JSON is not usable")]
    Json(#[from] serde_json::Error),
    /// No UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A safetensors header that is longer than its limit or than its file.
    #[error("a header of {header_bytes} bytes does not fit: the file has {file_bytes}, the limit is {limit}")]
    HeaderLength { header_bytes: u64, file_bytes: u64, limit: u64 },
    /// A tensor whose bytes are not as many as its type and shape take.
    #[error("tensor {tensor:?} has {found} bytes, its type and shape take {expected}")]
    TensorBytes { tensor: String, found: u64, expected: u64 },
    /// Bytes that belong to no tensor, which the format forbids.
    #[error("the {bytes} bytes at offset {offset} of the data belong to no tensor")]
    Hole { offset: u64, bytes: u64 },
    /// The index names another file, or another tensor, than there is.
    #[error("the index and the shards disagree about tensor {tensor:?}")]
    Index { tensor: String },
    /// The class of the model is not one of ours.
    #[error("architecture {name:?} is not supported (supported: {})", super::SUPPORTED.join(", "))]
    UnsupportedArchitecture { name: String },
    /// A key that every configuration of this kind has is not there.
    #[error("key {key:?} is missing")]
    MissingKey { key: String },
    /// A key is of another type, or out of its type's range.
    #[error("key {key:?} is no {expected}")]
    WrongType { key: String, expected: &'static str },
    /// A key that is not known to be harmless.
    #[error("key {key:?} may change how the model computes and is not supported")]
    UnsupportedKey { key: String },
    /// A key that is known, with a value that changes how the model computes.
    #[error("key {key:?} has the value {value}, which is not supported")]
    UnsupportedValue { key: String, value: String },
    /// The configuration asks for a tensor that is not there.
    #[error("tensor {tensor:?} is missing, which the configuration asks for")]
    MissingTensor { tensor: String },
    /// A tensor that a model of this configuration does not use.
    #[error("tensor {tensor:?} has no use by the configuration")]
    UnusedTensor { tensor: String },
    /// The same faults that a GGUF file may have.
    #[error(transparent)]
    Format(#[from] FormatError),
}
