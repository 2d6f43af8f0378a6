//! Headers of safetensors files: validated within fixed bounds.
//!
//! The header is read as a stream: a tensor's dimensions and the number of tensors are compared with their limits as they
//! come, so that memory is bounded by the header's length whatever it says. Names are unique, sizes match types and
//! shapes, and tensors cover the data without gap or overlap, as the format demands.
//!
//! Why not the `safetensors` crate: it collects shapes of any length, and of two tensors with one name it keeps the
//! second; it is the oracle of this module's tests.
//!
//! Source: <https://github.com/huggingface/safetensors#format>.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::FolderError;
use crate::gguf::{FormatError, TensorType, shown};
use crate::limits::{DIMS_MAX, SAFETENSORS_HEADER_BYTES_MAX, TENSOR_NAME_BYTES_MAX, TENSORS_MAX};

const METADATA: &str = "__metadata__";
/// The length in front of the header.
const LENGTH_BYTES: u64 = 8;

/// A tensor as the header describes it, inside its file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) ty: TensorType,
    /// In GGUF's order: the row's width first.
    pub(super) dims: Vec<u64>,
    /// From the file's start.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// Validates the header of a safetensors file, of which `bytes` is the whole; its tensors in the order of their bytes.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Stored>, FolderError> {
    let file_bytes = bytes.len() as u64;
    let length = bytes.first_chunk().ok_or(FormatError::TooShort { file_bytes })?;
    let header_bytes = u64::from_le_bytes(*length);
    let limit = SAFETENSORS_HEADER_BYTES_MAX.min(file_bytes - LENGTH_BYTES);
    if header_bytes > limit {
        let limit = SAFETENSORS_HEADER_BYTES_MAX;
        return Err(FolderError::HeaderLength { header_bytes, file_bytes, limit });
    }
    let data_offset = LENGTH_BYTES + header_bytes;
    let end = usize::try_from(data_offset).expect("inside the file");
    let header = &bytes[usize::try_from(LENGTH_BYTES).expect("eight")..end];
    let header = std::str::from_utf8(header).map_err(|_| FolderError::NotUtf8)?;
    let Listed(mut tensors) = serde_json::from_str(header)?;
    tensors.sort_unstable_by_key(|tensor| (tensor.offset, tensor.bytes));
    place(&mut tensors, data_offset, file_bytes)?;
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(FormatError::DuplicateTensor { tensor: shown(pair[0]) }.into()),
        None => Ok(tensors),
    }
}

/// Checks that the sorted tensors fill the data, and makes their offsets count from the file's start.
fn place(tensors: &mut [Stored], data_offset: u64, file_bytes: u64) -> Result<(), FolderError> {
    let data_bytes = file_bytes - data_offset;
    let (mut filled, mut before) = (0, String::new());
    for tensor in tensors {
        let (offset, bytes) = (tensor.offset, tensor.bytes);
        let name = || shown(&tensor.name);
        let expected = tensor.ty.tensor_bytes(&tensor.dims);
        let expected =
            expected.ok_or_else(|| FormatError::SizeOverflow { tensor: name(), dims: tensor.dims.clone() })?;
        if bytes != expected {
            return Err(FolderError::TensorBytes { tensor: name(), found: bytes, expected });
        }
        let end = offset.checked_add(bytes).filter(|end| *end <= data_bytes);
        let end = end.ok_or_else(|| FormatError::TensorPastEnd { tensor: name(), offset, bytes, file_bytes })?;
        if offset < filled {
            return Err(FormatError::Overlap { first: before, second: name() }.into());
        }
        if offset > filled {
            return Err(FolderError::Hole { offset: filled, bytes: offset - filled });
        }
        (filled, before) = (end, name());
        tensor.offset += data_offset;
    }
    match data_bytes - filled {
        0 => Ok(()),
        bytes => Err(FolderError::Hole { offset: filled, bytes }),
    }
}

/// All tensors of a header, offsets as written.
struct Listed(Vec<Stored>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<Remarks>()?;
                        continue;
                    }
                    if tensors.len() as u64 == TENSORS_MAX {
                        return Err(A::Error::custom(format_args!("more than {TENSORS_MAX} tensors")));
                    }
                    if name.is_empty() || name.len() as u64 > TENSOR_NAME_BYTES_MAX {
                        return Err(A::Error::custom(format_args!("a tensor's name of {} bytes", name.len())));
                    }
                    let described: Described = map.next_value()?;
                    tensors.push(described.stored(name).map_err(A::Error::custom)?);
                }
                Ok(Listed(tensors))
            }
        }
        deserializer.deserialize_map(Tensors)
    }
}

/// What a file says of itself: texts by name, which mean nothing here.
struct Remarks;

impl<'de> Deserialize<'de> for Remarks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Remarks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Remarks, A::Error> {
                while map.next_entry::<String, String>()?.is_some() {}
                Ok(Remarks)
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl Described {
    fn stored(self, name: String) -> Result<Stored, String> {
        let ty = tensor_type(&self.dtype).ok_or_else(|| {
            format!("tensor {:?} has the type {:?}, which is not supported", shown(&name), self.dtype)
        })?;
        let (begin, end) = self.data_offsets;
        let bytes = end.checked_sub(begin);
        let bytes = bytes.ok_or_else(|| format!("tensor {:?} ends before it begins", shown(&name)))?;
        Ok(Stored { name, ty, dims: self.shape.0, offset: begin, bytes })
    }
}

fn tensor_type(dtype: &str) -> Option<TensorType> {
    Some(match dtype {
        "F64" => TensorType::F64,
        "F32" => TensorType::F32,
        "F16" => TensorType::F16,
        "BF16" => TensorType::BF16,
        "I64" => TensorType::I64,
        "I32" => TensorType::I32,
        "I16" => TensorType::I16,
        "I8" => TensorType::I8,
        _ => return None,
    })
}

/// One to four dimensions, none zero, in GGUF's order.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "1 to {DIMS_MAX} dimensions above zero")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = sequence.next_element::<u64>()? {
                    if dim == 0 || dims.len() == DIMS_MAX as usize {
                        return Err(A::Error::custom(format_args!(
                            "a shape has 1 to {DIMS_MAX} dimensions above zero"
                        )));
                    }
                    dims.insert(0, dim);
                }
                match dims.is_empty() {
                    true => Err(A::Error::custom("a tensor without dimensions")),
                    false => Ok(Shape(dims)),
                }
            }
        }
        deserializer.deserialize_seq(Dimensions)
    }
}
