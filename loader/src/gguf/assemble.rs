//! A header that is put together from what other files say, under GGUF's keys and names.

use super::header::{Format, Header, Key, Tensor};
use super::names::Names;
use super::{ElementType, FormatError, TensorType, ValueType, shown};
use crate::limits::TENSORS_MAX;

/// Room for keys: more than any translation writes.
const KEYS: usize = 64;

/// A header to be. Who fills it writes each key once, and few of them.
#[derive(Debug)]
pub(crate) struct Assembly {
    metadata: Vec<u8>,
    key_names: Names,
    keys: Vec<Key>,
    tensor_names: Names,
    tensors: Vec<Tensor>,
}

/// A tensor whose place was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) name: &'a str,
    pub(crate) ty: TensorType,
    /// In GGUF's order, at most four.
    pub(crate) dims: &'a [u64],
    pub(crate) file: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Assembly {
    /// Room for `tensors` tensors.
    pub(crate) fn with_capacity(tensors: usize) -> Result<Self, FormatError> {
        if tensors as u64 > TENSORS_MAX {
            return Err(FormatError::CountTooLarge { what: "tensors", count: tensors as u64, limit: TENSORS_MAX });
        }
        Ok(Self {
            metadata: Vec::new(),
            key_names: Names::with_capacity(KEYS),
            keys: Vec::new(),
            tensor_names: Names::with_capacity(tensors),
            tensors: Vec::with_capacity(tensors),
        })
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.single(key, ElementType::U32, &value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.single(key, ElementType::F32, &value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.single(key, ElementType::Bool, &[u8::from(value)]);
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        let length = (value.len() as u64).to_le_bytes();
        self.single(key, ElementType::String, &[&length[..], value.as_bytes()].concat());
    }

    pub(crate) fn u32s(&mut self, key: &str, values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.add(key, ValueType::Array(ElementType::U32), values.len(), &bytes);
    }

    pub(crate) fn bools(&mut self, key: &str, values: &[bool]) {
        let bytes: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
        self.add(key, ValueType::Array(ElementType::Bool), values.len(), &bytes);
    }

    fn single(&mut self, key: &str, element: ElementType, bytes: &[u8]) {
        self.add(key, ValueType::Single(element), 1, bytes);
    }

    fn add(&mut self, key: &str, ty: ValueType, count: usize, bytes: &[u8]) {
        self.key_names.add(key).expect("each key is written once");
        let position = u32::try_from(self.metadata.len()).expect("what is translated is smaller than 4 GiB");
        let count = u32::try_from(count).expect("what is translated is smaller than 4 GiB");
        self.keys.push(Key { ty, position, count, first_string: 0 });
        self.metadata.extend_from_slice(bytes);
    }

    pub(crate) fn tensor(&mut self, placed: Placed<'_>) -> Result<(), FormatError> {
        let Placed { name, ty, dims: used, file, offset, bytes } = placed;
        self.tensor_names.add(name).ok_or_else(|| FormatError::DuplicateTensor { tensor: shown(name) })?;
        let mut dims = [1; 4];
        dims[..used.len()].copy_from_slice(used);
        let dim_count = u8::try_from(used.len()).expect("at most DIMS_MAX");
        self.tensors.push(Tensor { file, ty, dims, dim_count, offset, bytes });
        Ok(())
    }

    /// Names of the tensors so far.
    pub(crate) fn tensor_names(&self) -> impl Iterator<Item = &str> {
        (0..self.tensors.len()).map(|number| self.tensor_names.get(number))
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensor_names.find(name).is_some()
    }

    /// The header, for weights of `file_bytes` altogether.
    pub(crate) fn finish(self, file_bytes: u64) -> Header {
        Header {
            format: Format::Safetensors,
            alignment: 1,
            data_offset: 0,
            file_bytes,
            metadata: self.metadata.into_boxed_slice(),
            string_positions: Box::default(),
            key_names: self.key_names,
            keys: self.keys,
            tensor_names: self.tensor_names,
            tensors: self.tensors,
        }
    }
}
