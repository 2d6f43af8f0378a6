//! GGUF headers: validated within fixed bounds, then kept as [`Header`].
//!
//! The file is hostile until [`parse()`] has returned. Afterwards every tensor's place and every value's type is
//! certain; whether they make a model is for the architecture to judge, through the typed getters whose errors name
//! the key.
//!
//! Deliberately absent: version 1 (32-bit counts), big-endian files, arrays of arrays, files split in shards (each
//! shard parses; `split.count` tells). Writing exists for tests alone, in `fixture`.
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod cursor;
mod error;
mod header;
mod names;
mod parse;
mod tensor_type;
#[cfg(test)]
mod tests;
mod value;

pub use error::FormatError;
pub use header::{Header, TensorInfo};
pub use parse::parse;
pub use tensor_type::TensorType;
pub use value::{ElementType, StringArray, Value, ValueType};
