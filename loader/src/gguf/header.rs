//! A validated header, owned: it outlives the file's map and is cheap to keep.

use super::names::Names;
use super::value::{StringArray, Value, string_at};
use super::{ElementType, FormatError, TensorType, ValueType};

/// What a header was read from. Weights are laid out differently in some of their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A GGUF file, split or whole.
    Gguf {
        /// Version of the format: 2 or 3.
        version: u32,
    },
    /// A folder of safetensors, whose configuration was translated to GGUF's keys and names.
    Safetensors,
}

/// The validated header of an artifact: its metadata and where its tensors lie. Of a split GGUF file: the metadata of the
/// first shard and the tensors of all.
///
/// Holds no borrow of the file. Its buffers are one copy of the metadata as it stands in the file, four bytes per
/// string in an array, and two small tables of names.
#[derive(Debug)]
pub struct Header {
    pub(super) format: Format,
    pub(super) alignment: u32,
    pub(super) data_offset: u64,
    pub(super) file_bytes: u64,
    pub(super) metadata: Box<[u8]>,
    pub(super) string_positions: Box<[u32]>,
    pub(super) key_names: Names,
    pub(super) keys: Vec<Key>,
    pub(super) tensor_names: Names,
    pub(super) tensors: Vec<Tensor>,
}

/// Where a key's value stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) ty: ValueType,
    /// In the metadata: the value, a string's length, or an array's first element.
    pub(super) position: u32,
    /// Elements of an array; 1 otherwise.
    pub(super) count: u32,
    /// In `string_positions`: an array's first string.
    pub(super) first_string: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    /// Which of the artifact's files it lies in.
    pub(super) file: u32,
    pub(super) ty: TensorType,
    pub(super) dims: [u64; 4],
    pub(super) dim_count: u8,
    /// From its file's start.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// What the header says of one tensor. All of it is validated against the file's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Name, such as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Element type.
    pub ty: TensorType,
    /// One to four dimensions, none zero, in GGUF's order: `dims[0]` is the row's width.
    pub dims: &'a [u64],
    /// Which of the artifact's files it lies in: 0 unless the file is split.
    pub file: usize,
    /// First byte, from its file's start; a multiple of that file's alignment past its data's offset.
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
}

impl Header {
    /// Which files it was read from.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Alignment of tensor data in bytes, a power of two; 1 for safetensors, whose tensors may begin anywhere.
    #[must_use]
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Where tensor data begins, in bytes from the file's start; 0 for safetensors.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Length of the file that this header was validated against; of all shards together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Memory that this header keeps, in bytes, nearly: for caches that weigh.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.metadata.len()
            + self.string_positions.len() * size_of::<u32>()
            + self.keys.len() * (size_of::<Key>() + 48)
            + self.tensors.len() * (size_of::<Tensor>() + 48)
    }

    /// A fingerprint of all keys and values as they stand in the file, for telling whether what was made of them still
    /// holds. Not for telling friend from foe: XXH3, which somebody who wants to can make collide.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        xxhash_rust::xxh3::xxh3_128(&self.metadata)
    }

    /// Number of tensors.
    #[must_use]
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        (0..self.tensors.len()).map(|number| self.tensor_at(number))
    }

    /// The tensor called `name`, in constant time.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<TensorInfo<'_>> {
        self.tensor_names.find(name).map(|number| self.tensor_at(number))
    }

    fn tensor_at(&self, number: usize) -> TensorInfo<'_> {
        let tensor = &self.tensors[number];
        TensorInfo {
            name: self.tensor_names.get(number),
            ty: tensor.ty,
            dims: &tensor.dims[..usize::from(tensor.dim_count)],
            file: tensor.file as usize,
            offset: tensor.offset,
            bytes: tensor.bytes,
        }
    }

    /// Whether there is a key of this name, of whatever type.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.key_names.find(key).is_some()
    }

    /// The type of a key's value.
    #[must_use]
    pub fn value_type(&self, key: &str) -> Option<ValueType> {
        self.key(key).map(|key| key.ty)
    }

    /// All keys, in the file's order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.keys.len()).map(|number| self.key_names.get(number))
    }

    /// All keys with their values, in the file's order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> {
        self.keys.iter().enumerate().map(|(number, key)| (self.key_names.get(number), self.value(key)))
    }

    /// A string.
    ///
    /// # Errors
    /// [`FormatError::WrongType`], or [`FormatError::NotUtf8`].
    pub fn string(&self, key: &str) -> Result<Option<&str>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some((_, Value::String(bytes))) => {
                std::str::from_utf8(bytes).map(Some).map_err(|_| FormatError::NotUtf8 { key: key.into() })
            }
            Some((found, _)) => Err(wrong_type(key, "string", found.ty)),
        }
    }

    /// An integer of any type that fits: writers do not agree on widths.
    ///
    /// # Errors
    /// [`FormatError::WrongType`], or [`FormatError::OutOfRange`].
    pub fn u32(&self, key: &str) -> Result<Option<u32>, FormatError> {
        self.integer(key, "u32")
    }

    /// As [`Header::u32`], with 64 bits.
    ///
    /// # Errors
    /// As [`Header::u32`].
    pub fn u64(&self, key: &str) -> Result<Option<u64>, FormatError> {
        self.integer(key, "u64")
    }

    /// A float, of 32 bits or rounded from 64. May be infinite or NaN.
    ///
    /// # Errors
    /// [`FormatError::WrongType`].
    pub fn f32(&self, key: &str) -> Result<Option<f32>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            #[allow(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
            Some((_, Value::Float(value))) => Ok(Some(value as f32)),
            Some((found, _)) => Err(wrong_type(key, "f32", found.ty)),
        }
    }

    /// A bool.
    ///
    /// # Errors
    /// [`FormatError::WrongType`].
    pub fn bool(&self, key: &str) -> Result<Option<bool>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some((_, Value::Bool(value))) => Ok(Some(value)),
            Some((found, _)) => Err(wrong_type(key, "bool", found.ty)),
        }
    }

    /// An array of strings.
    ///
    /// # Errors
    /// [`FormatError::WrongType`].
    pub fn strings(&self, key: &str) -> Result<Option<StringArray<'_>>, FormatError> {
        let Some(found) = self.key(key) else { return Ok(None) };
        if found.ty != ValueType::Array(ElementType::String) {
            return Err(wrong_type(key, "array of string", found.ty));
        }
        let first = found.first_string as usize;
        let positions = &self.string_positions[first..first + found.count as usize];
        Ok(Some(StringArray { metadata: &self.metadata, positions }))
    }

    /// An array of floats of 32 bits.
    ///
    /// # Errors
    /// [`FormatError::WrongType`].
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, FormatError> {
        self.array(key, "array of f32", |value| match value {
            #[allow(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
            Value::Float(value) => Some(value as f32),
            _ => None,
        })
    }

    /// An array of integers of any type whose elements fit.
    ///
    /// # Errors
    /// [`FormatError::WrongType`], or [`FormatError::OutOfRange`].
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, FormatError> {
        self.array(key, "array of i32", |value| match value {
            Value::Unsigned(value) => i32::try_from(value).ok(),
            Value::Signed(value) => i32::try_from(value).ok(),
            _ => None,
        })
    }

    /// An array of bools.
    ///
    /// # Errors
    /// [`FormatError::WrongType`].
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>, FormatError> {
        self.array(key, "array of bool", |value| match value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    fn key(&self, name: &str) -> Option<&Key> {
        self.key_names.find(name).map(|number| &self.keys[number])
    }

    fn get(&self, name: &str) -> Option<(&Key, Value<'_>)> {
        self.key(name).map(|key| (key, self.value(key)))
    }

    fn value(&self, key: &Key) -> Value<'_> {
        match key.ty {
            ValueType::Array(element) => Value::Array { element, len: key.count as usize },
            ValueType::Single(ElementType::String) => Value::String(string_at(&self.metadata, key.position)),
            ValueType::Single(element) => Value::read(element, &self.metadata[key.position as usize..]),
        }
    }

    fn integer<T: TryFrom<u64> + TryFrom<i64>>(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<Option<T>, FormatError> {
        let (converted, value) = match self.get(key) {
            None => return Ok(None),
            Some((_, Value::Unsigned(value))) => (T::try_from(value).ok(), value.to_string()),
            Some((_, Value::Signed(value))) => (T::try_from(value).ok(), value.to_string()),
            Some((found, _)) => return Err(wrong_type(key, expected, found.ty)),
        };
        match converted {
            Some(integer) => Ok(Some(integer)),
            None => Err(FormatError::OutOfRange { key: key.into(), value, expected }),
        }
    }

    /// Reads an array of fixed-size elements; `convert` refuses a type or a value.
    fn array<'h, T>(
        &'h self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(Value<'h>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, FormatError> {
        let Some(found) = self.key(key) else { return Ok(None) };
        let (ValueType::Array(element), Some(size)) = (found.ty, fixed_array_bytes(found.ty)) else {
            return Err(wrong_type(key, expected, found.ty));
        };
        if convert(Value::read(element, &[0; 8])).is_none() {
            return Err(wrong_type(key, expected, found.ty));
        }
        let bytes = &self.metadata[found.position as usize..][..found.count as usize * size];
        let mut values = Vec::with_capacity(found.count as usize);
        for chunk in bytes.chunks_exact(size) {
            let value = Value::read(element, chunk);
            values.push(convert(value).ok_or_else(|| FormatError::OutOfRange {
                key: key.into(),
                value: format!("{value:?}"),
                expected: &expected["array of ".len()..],
            })?);
        }
        Ok(Some(values))
    }
}

fn fixed_array_bytes(ty: ValueType) -> Option<usize> {
    match ty {
        ValueType::Array(element) => element.fixed_bytes(),
        ValueType::Single(_) => None,
    }
}

fn wrong_type(key: &str, expected: &'static str, found: ValueType) -> FormatError {
    FormatError::WrongType { key: key.into(), expected, found }
}
