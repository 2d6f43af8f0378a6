//! Metadata values: their types, and arrays of strings.

use std::fmt;

/// The type of a single metadata value or of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ElementType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    U64,
    I64,
    F64,
}

impl ElementType {
    /// The type with GGUF's number `id`; `None` for unknown ones and for 9, the array.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// GGUF's number.
    #[must_use]
    pub fn id(self) -> u32 {
        match self {
            Self::U8 => 0,
            Self::I8 => 1,
            Self::U16 => 2,
            Self::I16 => 3,
            Self::U32 => 4,
            Self::I32 => 5,
            Self::F32 => 6,
            Self::Bool => 7,
            Self::String => 8,
            Self::U64 => 10,
            Self::I64 => 11,
            Self::F64 => 12,
        }
    }

    /// Bytes of one value; `None` for strings.
    #[must_use]
    pub fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String => None,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        })
    }
}

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One value.
    Single(ElementType),
    /// An array of such values; arrays do not nest.
    Array(ElementType),
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(element) => element.fmt(f),
            Self::Array(element) => write!(f, "array of {element}"),
        }
    }
}

/// A metadata value, for those who show all of them. Numbers are widened.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    /// Any bytes; mostly UTF-8.
    String(&'a [u8]),
    /// Only type and length: the typed getters read arrays.
    Array {
        element: ElementType,
        len: usize,
    },
}

impl<'a> Value<'a> {
    /// Reads one value that starts `bytes`. Strings are handed in without their length.
    pub(super) fn read(element: ElementType, bytes: &'a [u8]) -> Self {
        match element {
            ElementType::U8 => Self::Unsigned(bytes[0].into()),
            ElementType::I8 => Self::Signed(bytes[0].cast_signed().into()),
            ElementType::U16 => Self::Unsigned(u16::from_le_bytes(first(bytes)).into()),
            ElementType::I16 => Self::Signed(i16::from_le_bytes(first(bytes)).into()),
            ElementType::U32 => Self::Unsigned(u32::from_le_bytes(first(bytes)).into()),
            ElementType::I32 => Self::Signed(i32::from_le_bytes(first(bytes)).into()),
            ElementType::U64 => Self::Unsigned(u64::from_le_bytes(first(bytes))),
            ElementType::I64 => Self::Signed(i64::from_le_bytes(first(bytes))),
            ElementType::F32 => Self::Float(f32::from_le_bytes(first(bytes)).into()),
            ElementType::F64 => Self::Float(f64::from_le_bytes(first(bytes))),
            ElementType::Bool => Self::Bool(bytes[0] != 0),
            ElementType::String => Self::String(bytes),
        }
    }
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a value's bytes are validated before they are read")
}

/// An array of strings, in the header's buffer.
///
/// Elements are any bytes: vocabularies hold pieces of characters, so UTF-8 is asked for only where text is needed.
#[derive(Clone, Copy, Debug)]
pub struct StringArray<'a> {
    /// Metadata as in the file: each string follows its length.
    pub(super) metadata: &'a [u8],
    /// Where each string's length stands in `metadata`.
    pub(super) positions: &'a [u32],
}

impl<'a> StringArray<'a> {
    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The string at `index`, in constant time.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.positions.get(index).map(|&position| string_at(self.metadata, position))
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let metadata = self.metadata;
        self.positions.iter().map(move |&position| string_at(metadata, position))
    }
}

/// The string whose length stands at `position`. Empty if the file changed between validation and copying, which its
/// map's poisoned flag or identity tells.
pub(super) fn string_at(metadata: &[u8], position: u32) -> &[u8] {
    let read = || {
        let (length, rest) = metadata.get(position as usize..)?.split_first_chunk()?;
        rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
    };
    read().unwrap_or_default()
}
