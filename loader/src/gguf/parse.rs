//! The bounded validator: bytes to [`Header`], or what is wrong and where.
//!
//! One pass over the header, no recursion. Counts and lengths are compared with what is left before anything is
//! allocated or walked, so time and memory are bounded by [`HEADER_BYTES_MAX`](crate::limits::HEADER_BYTES_MAX)
//! whatever the file says. Tensor data is not touched.

use super::cursor::Cursor;
use super::header::{Format, Header, Key, Tensor};
use super::names::Names;
use super::{ElementType, FormatError, TensorType, ValueType, shown};
use crate::limits::{
    ALIGNMENT_MAX, DIMS_MAX, KEY_BYTES_MAX, KEYS_MAX, STRINGS_MAX, TENSOR_NAME_BYTES_MAX, TENSORS_MAX,
};

const MAGIC: [u8; 4] = *b"GGUF";
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT_DEFAULT: u32 = 32;
/// Magic, version and two counts.
const FIXED_BYTES: usize = 24;
/// Name's length, one byte of name, type, one byte of value.
const KEY_BYTES_MIN: u64 = 14;
/// Name's length, one byte of name, count of dimensions, one dimension, type, offset.
const TENSOR_BYTES_MIN: u64 = 33;
/// Value type number of arrays.
const ARRAY_ID: u32 = 9;

/// Validates the header of a GGUF file of version 2 or 3. `bytes` is the whole file.
///
/// What holds afterwards: keys and tensors are unique; every value lies in the header; every tensor has one to four
/// non-zero dimensions, rows of whole blocks, an aligned offset, and bytes of its own inside the file. Gaps between
/// tensors and bytes behind the last one are accepted. Strings (values and array elements) may be any bytes; names
/// are UTF-8. Whether the metadata describes a model is not looked at.
///
/// # Errors
/// The first [`FormatError`] met.
pub fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
    let mut cursor = Cursor::new(bytes);
    let (version, tensor_count, key_count) = fixed_part(bytes, &mut cursor)?;
    let metadata = Metadata::read(&mut cursor, key_count)?;
    let metadata_end = cursor.position();
    let (tensor_names, mut tensors) = tensor_list(&mut cursor, tensor_count)?;
    let alignment = metadata.alignment;
    let data_offset = (cursor.position() as u64).next_multiple_of(u64::from(alignment));
    place(&tensor_names, &mut tensors, &Layout { alignment, data_offset, file_bytes: bytes.len() as u64 })?;
    Ok(Header {
        format: Format::Gguf { version },
        alignment,
        data_offset,
        file_bytes: bytes.len() as u64,
        metadata: bytes[FIXED_BYTES..metadata_end].into(),
        string_positions: metadata.string_positions.into_boxed_slice(),
        key_names: metadata.names,
        keys: metadata.keys,
        tensor_names,
        tensors,
    })
}

/// Version, number of tensors, number of keys.
fn fixed_part(bytes: &[u8], cursor: &mut Cursor<'_>) -> Result<(u32, usize, usize), FormatError> {
    let file_bytes = bytes.len() as u64;
    let magic: [u8; 4] = *bytes.first_chunk().ok_or(FormatError::TooShort { file_bytes })?;
    if magic != MAGIC {
        let swapped = magic.iter().eq(MAGIC.iter().rev());
        return Err(if swapped { FormatError::ByteSwapped } else { FormatError::BadMagic { found: magic } });
    }
    if bytes.len() < FIXED_BYTES {
        return Err(FormatError::TooShort { file_bytes });
    }
    cursor.take(4, "magic")?;
    let version = cursor.u32("version")?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => return Err(FormatError::ByteSwapped),
        _ => return Err(FormatError::UnsupportedVersion { version }),
    }
    let tensors = cursor.u64("tensor count")?;
    let keys = cursor.u64("key count")?;
    let tensors = bounded(tensors, "tensors", TENSORS_MAX.min(cursor.remaining() / TENSOR_BYTES_MIN))?;
    let keys = bounded(keys, "keys", KEYS_MAX.min(cursor.remaining() / KEY_BYTES_MIN))?;
    Ok((version, tensors, keys))
}

fn bounded(count: u64, what: &'static str, limit: u64) -> Result<usize, FormatError> {
    match usize::try_from(count) {
        Ok(fitting) if count <= limit => Ok(fitting),
        _ => Err(FormatError::CountTooLarge { what, count, limit }),
    }
}

/// The metadata as it is being read.
struct Metadata {
    names: Names,
    keys: Vec<Key>,
    string_positions: Vec<u32>,
    alignment: u32,
}

impl Metadata {
    fn read(cursor: &mut Cursor<'_>, count: usize) -> Result<Self, FormatError> {
        let mut metadata = Self {
            names: Names::with_capacity(count),
            keys: Vec::with_capacity(count),
            string_positions: Vec::new(),
            alignment: ALIGNMENT_DEFAULT,
        };
        for _ in 0..count {
            let name = cursor.name("key", KEY_BYTES_MAX)?;
            metadata.names.add(name).ok_or_else(|| FormatError::DuplicateKey { key: shown(name) })?;
            let key = metadata.value(cursor, name)?;
            metadata.keys.push(key);
        }
        Ok(metadata)
    }

    fn value(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Result<Key, FormatError> {
        let id = cursor.u32("value type")?;
        if id == ARRAY_ID {
            if name == ALIGNMENT_KEY {
                let found = ValueType::Array(element_type(cursor.u32("element type")?, name)?);
                return Err(FormatError::AlignmentType { found });
            }
            return self.array(cursor, name);
        }
        let element = element_type(id, name)?;
        let position = metadata_position(cursor);
        match element.fixed_bytes() {
            None => {
                cursor.string("string")?;
            }
            Some(size) => {
                let bytes = cursor.take(size as u64, "value")?;
                check_bools(element, bytes, name)?;
                if name == ALIGNMENT_KEY {
                    self.alignment = alignment(element, bytes)?;
                }
            }
        }
        if name == ALIGNMENT_KEY && element == ElementType::String {
            return Err(FormatError::AlignmentType { found: ValueType::Single(element) });
        }
        Ok(Key { ty: ValueType::Single(element), position, count: 1, first_string: 0 })
    }

    fn array(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Result<Key, FormatError> {
        let id = cursor.u32("element type")?;
        if id == ARRAY_ID {
            return Err(FormatError::NestedArray { key: shown(name) });
        }
        let element = element_type(id, name)?;
        let length = cursor.u64("array length")?;
        // A string takes at least its length's eight bytes.
        let element_bytes = element.fixed_bytes().unwrap_or(8) as u64;
        let count = match u32::try_from(length) {
            Ok(count) if length <= cursor.remaining() / element_bytes => count,
            _ => return Err(FormatError::ArrayTooLong { key: shown(name), count: length }),
        };
        let position = metadata_position(cursor);
        let first_string = u32::try_from(self.string_positions.len()).expect("at most STRINGS_MAX");
        if element == ElementType::String {
            self.strings(cursor, count, name)?;
        } else {
            let bytes = cursor.take(length * element_bytes, "array")?;
            check_bools(element, bytes, name)?;
        }
        Ok(Key { ty: ValueType::Array(element), position, count, first_string })
    }

    fn strings(&mut self, cursor: &mut Cursor<'_>, count: u32, name: &str) -> Result<(), FormatError> {
        if self.string_positions.len() as u64 + u64::from(count) > STRINGS_MAX {
            return Err(FormatError::TooManyStrings { key: shown(name), limit: STRINGS_MAX });
        }
        self.string_positions.reserve_exact(count as usize);
        for _ in 0..count {
            self.string_positions.push(metadata_position(cursor));
            cursor.string("string in an array")?;
        }
        Ok(())
    }
}

/// The cursor's position, counted from the end of the fixed part, as in [`Header`]'s copy.
fn metadata_position(cursor: &Cursor<'_>) -> u32 {
    u32::try_from(cursor.position() - FIXED_BYTES).expect("headers are smaller than 4 GiB")
}

fn element_type(id: u32, name: &str) -> Result<ElementType, FormatError> {
    ElementType::from_id(id).ok_or_else(|| FormatError::UnknownValueType { key: shown(name), id })
}

fn check_bools(element: ElementType, bytes: &[u8], name: &str) -> Result<(), FormatError> {
    if element != ElementType::Bool {
        return Ok(());
    }
    match bytes.iter().find(|byte| **byte > 1) {
        None => Ok(()),
        Some(&byte) => Err(FormatError::InvalidBool { key: shown(name), byte }),
    }
}

fn alignment(element: ElementType, bytes: &[u8]) -> Result<u32, FormatError> {
    let (ElementType::U32, Some(bytes)) = (element, bytes.first_chunk()) else {
        return Err(FormatError::AlignmentType { found: ValueType::Single(element) });
    };
    let alignment = u32::from_le_bytes(*bytes);
    if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX {
        Ok(alignment)
    } else {
        Err(FormatError::BadAlignment { alignment, limit: ALIGNMENT_MAX })
    }
}

/// Names and descriptions of all tensors, offsets as written (relative to the data).
fn tensor_list(cursor: &mut Cursor<'_>, count: usize) -> Result<(Names, Vec<Tensor>), FormatError> {
    let mut names = Names::with_capacity(count);
    let mut tensors = Vec::with_capacity(count);
    for _ in 0..count {
        let name = cursor.name("tensor name", TENSOR_NAME_BYTES_MAX)?;
        names.add(name).ok_or_else(|| FormatError::DuplicateTensor { tensor: shown(name) })?;
        tensors.push(tensor(cursor, name)?);
    }
    Ok((names, tensors))
}

fn tensor(cursor: &mut Cursor<'_>, name: &str) -> Result<Tensor, FormatError> {
    let count = cursor.u32("dimension count")?;
    if count == 0 || count > DIMS_MAX {
        return Err(FormatError::BadDimensionCount { tensor: shown(name), count, limit: DIMS_MAX });
    }
    let mut dims = [1; DIMS_MAX as usize];
    let used = &mut dims[..count as usize];
    for (index, dim) in used.iter_mut().enumerate() {
        *dim = cursor.u64("dimension")?;
        if *dim == 0 {
            return Err(FormatError::ZeroDimension { tensor: shown(name), index });
        }
    }
    let id = cursor.u32("tensor type")?;
    let ty = TensorType::from_id(id).ok_or_else(|| FormatError::UnknownTensorType { tensor: shown(name), id })?;
    if !used[0].is_multiple_of(ty.block_len()) {
        return Err(FormatError::RaggedRows { tensor: shown(name), width: used[0], block_len: ty.block_len(), ty });
    }
    let bytes =
        ty.tensor_bytes(used).ok_or_else(|| FormatError::SizeOverflow { tensor: shown(name), dims: used.to_vec() })?;
    let offset = cursor.u64("tensor offset")?;
    let dim_count = u8::try_from(count).expect("at most DIMS_MAX");
    Ok(Tensor { file: 0, ty, dims, dim_count, offset, bytes })
}

/// What tensors must fit into.
struct Layout {
    alignment: u32,
    data_offset: u64,
    file_bytes: u64,
}

/// Checks that tensors are aligned, inside the file and apart, and makes their offsets count from the file's start.
fn place(names: &Names, tensors: &mut [Tensor], layout: &Layout) -> Result<(), FormatError> {
    for (number, tensor) in tensors.iter_mut().enumerate() {
        let (offset, bytes) = (tensor.offset, tensor.bytes);
        if !offset.is_multiple_of(u64::from(layout.alignment)) {
            let tensor = shown(names.get(number));
            return Err(FormatError::Unaligned { tensor, offset, alignment: layout.alignment });
        }
        let start = layout.data_offset.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= layout.file_bytes => tensor.offset = start,
            _ => {
                let (tensor, file_bytes) = (shown(names.get(number)), layout.file_bytes);
                return Err(FormatError::TensorPastEnd { tensor, offset, bytes, file_bytes });
            }
        }
    }
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_unstable_by_key(|&number| tensors[number].offset);
    for pair in order.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if tensors[first].offset + tensors[first].bytes > tensors[second].offset {
            let (first, second) = (shown(names.get(first)), shown(names.get(second)));
            return Err(FormatError::Overlap { first, second });
        }
    }
    Ok(())
}
