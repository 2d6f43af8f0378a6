//! What can be wrong with a GGUF header. Every variant is the file's fault, and trying again cannot help.

use super::{TensorType, ValueType};

/// Why a file is not a usable GGUF file: what, and where.
///
/// Names from the file are shown escaped and shortened. Offsets are bytes from the file's start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum FormatError {
    /// Not even the fixed part is there; an empty file gives 0.
    #[error("the file has {file_bytes} bytes, fewer than a GGUF header")]
    TooShort { file_bytes: u64 },
    /// Another kind of file.
    #[error("the file does not start with GGUF but with {found:02x?}")]
    BadMagic { found: [u8; 4] },
    /// Written on a big-endian machine.
    #[error("the file is byte-swapped (big-endian)")]
    ByteSwapped,
    /// Only versions 2 and 3 are read.
    #[error("GGUF version {version} is not supported, only 2 and 3")]
    UnsupportedVersion { version: u32 },
    /// A count in the fixed part exceeds its limit or the file.
    #[error("{count} {what} cannot be: at most {limit} are accepted")]
    CountTooLarge { what: &'static str, count: u64, limit: u64 },
    /// Something reaches past the end of the file.
    #[error("{what} at byte {offset} needs {needed_bytes} bytes, past the end of the file ({file_bytes} bytes)")]
    PastEnd { what: &'static str, offset: u64, needed_bytes: u64, file_bytes: u64 },
    /// Metadata and tensor list exceed [`HEADER_BYTES_MAX`](crate::limits::HEADER_BYTES_MAX).
    #[error("{what} at byte {offset} needs {needed_bytes} bytes, which makes the header larger than {limit} bytes")]
    HeaderTooLarge { what: &'static str, offset: u64, needed_bytes: u64, limit: u64 },
    /// A key or tensor name is longer than its limit.
    #[error("{what} at byte {offset} has {length} bytes, more than {limit}")]
    NameTooLong { what: &'static str, offset: u64, length: u64, limit: u64 },
    /// A key or tensor name is not UTF-8.
    #[error("{what} at byte {offset} is not UTF-8")]
    NameNotUtf8 { what: &'static str, offset: u64 },
    /// A key or tensor without a name.
    #[error("{what} at byte {offset} is empty")]
    NameEmpty { what: &'static str, offset: u64 },
    /// A number that names no value type.
    #[error("key {key:?} has the unknown value type {id}")]
    UnknownValueType { key: String, id: u32 },
    /// Arrays of arrays, which no known writer makes.
    #[error("key {key:?} is an array of arrays")]
    NestedArray { key: String },
    /// An array longer than its limit or than what is left of the header.
    #[error("key {key:?} is an array of {count} elements, more than the header can hold")]
    ArrayTooLong { key: String, count: u64 },
    /// All string arrays together exceed [`STRINGS_MAX`](crate::limits::STRINGS_MAX).
    #[error("key {key:?} brings the strings in arrays to more than {limit}")]
    TooManyStrings { key: String, limit: u64 },
    /// A bool that is neither 0 nor 1.
    #[error("key {key:?} holds the byte {byte} where a bool belongs")]
    InvalidBool { key: String, byte: u8 },
    /// The same key twice.
    #[error("key {key:?} appears twice")]
    DuplicateKey { key: String },
    /// `general.alignment` is of another type than u32.
    #[error("general.alignment is of type {found}, not u32")]
    AlignmentType { found: ValueType },
    /// `general.alignment` is no power of two or too large.
    #[error("general.alignment {alignment} is not a power of two up to {limit}")]
    BadAlignment { alignment: u32, limit: u32 },
    /// The same tensor name twice.
    #[error("tensor {tensor:?} appears twice")]
    DuplicateTensor { tensor: String },
    /// Not one to four dimensions.
    #[error("tensor {tensor:?} has {count} dimensions, not 1 to {limit}")]
    BadDimensionCount { tensor: String, count: u32, limit: u32 },
    /// A dimension of zero.
    #[error("dimension {index} of tensor {tensor:?} is 0")]
    ZeroDimension { tensor: String, index: usize },
    /// A number that names no (current) tensor type.
    #[error("tensor {tensor:?} has the unknown type {id}")]
    UnknownTensorType { tensor: String, id: u32 },
    /// Rows that are not a whole number of blocks.
    #[error("the rows of tensor {tensor:?} have {width} elements, no multiple of the {block_len} of {ty}")]
    RaggedRows { tensor: String, width: u64, block_len: u64, ty: TensorType },
    /// A product of dimensions that no machine can hold.
    #[error("the dimensions {dims:?} of tensor {tensor:?} overflow")]
    SizeOverflow { tensor: String, dims: Vec<u64> },
    /// An offset that is not a multiple of the alignment.
    #[error("tensor {tensor:?} starts at offset {offset}, no multiple of the alignment {alignment}")]
    Unaligned { tensor: String, offset: u64, alignment: u32 },
    /// A tensor that reaches past the end of the file: truncated, or lying.
    #[error("tensor {tensor:?} ({bytes} bytes at {offset}) reaches past the end of the file ({file_bytes} bytes)")]
    TensorPastEnd { tensor: String, offset: u64, bytes: u64, file_bytes: u64 },
    /// Two tensors that share bytes.
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
    /// A shard of a split file does not say which one it is.
    #[error("key {key:?} is missing, which every shard of a split file has")]
    ShardKeyMissing { key: &'static str },
    /// A shard of a split file says something else than its name, its place or the other shards.
    #[error("key {key:?} is {found}, not {expected} as the shards' names, order and tensors are")]
    ShardMismatch { key: &'static str, found: u64, expected: u64 },
    /// A key that is there, but of another type than its reader needs (typed getters).
    #[error("key {key:?} is of type {found}, not {expected}")]
    WrongType { key: String, expected: &'static str, found: ValueType },
    /// A number that does not fit its reader's type (typed getters).
    #[error("key {key:?} holds {value}, which is no {expected}")]
    OutOfRange { key: String, value: String, expected: &'static str },
    /// A string value that is not UTF-8 (typed getters).
    #[error("key {key:?} is not UTF-8")]
    NotUtf8 { key: String },
}
