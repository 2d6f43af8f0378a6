//! GGUF headers: validated within fixed bounds, then kept as [`Header`].
//!
//! The file is hostile until [`parse()`] has returned. Afterwards every tensor's place and every value's type is
//! certain; whether they make a model is for the architecture to judge, through the typed getters whose errors name
//! the key.
//!
//! Each shard of a split file is parsed as a file; `split` joins their headers. `assemble` makes a header of what a folder
//! of safetensors says, so that all readers know one kind.
//!
//! Deliberately absent: version 1 (32-bit counts), big-endian files, arrays of arrays. Writing exists for tests alone, in
//! `fixture`.
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod assemble;
mod cursor;
mod error;
mod header;
mod names;
mod parse;
mod split;
mod tensor_type;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use assemble::{Assembly, Placed};
pub use error::FormatError;
pub use header::{Format, Header, TensorInfo};
pub use parse::parse;
pub(crate) use split::{Join, check_whole};
pub use tensor_type::TensorType;
pub use value::{ElementType, StringArray, Value, ValueType};

/// A name from the file, short enough for a message.
pub(crate) fn shown(name: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    match name.char_indices().nth(SHOWN_CHARS) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}
