//! Tensors out of an artifact by name: each is checked against the shape that the metadata implies, and in the end
//! what nobody took refuses the file.

use std::collections::HashSet;

use kernels::{Matrix, WeightType};
use loader::gguf::{Format, TensorType};
use loader::{Artifact, Place};

use crate::ModelError;
use crate::limits::CONVERTED_BYTES_MAX;
use crate::plan::{Linear, Values, Vector, Weight};

/// The tensors of one artifact.
pub(super) struct TensorSource<'a> {
    artifact: &'a Artifact,
    architecture: &'static str,
    taken: HashSet<String>,
    /// What is added to every norm's gain.
    gain_offset: f32,
    converted_bytes: usize,
    converted_bytes_max: usize,
}

impl<'a> TensorSource<'a> {
    pub(super) fn new(artifact: &'a Artifact, architecture: &'static str) -> Self {
        let (gain_offset, converted_bytes, converted_bytes_max) = (0.0, 0, CONVERTED_BYTES_MAX);
        Self { artifact, architecture, taken: HashSet::new(), gain_offset, converted_bytes, converted_bytes_max }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.artifact.tensor(name).is_some()
    }

    /// Rows of the matrix `name`.
    pub(super) fn rows(&self, name: &str) -> Result<u64, ModelError> {
        let tensor = self.artifact.tensor(name).ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
        Ok(tensor.dims.get(1).copied().unwrap_or(1))
    }

    /// The matrix `name`: \[rows, width\].
    pub(super) fn weight(&mut self, name: &str, rows: usize, width: usize) -> Result<Weight, ModelError> {
        let (ty, place) = self.take(name, &[width as u64, rows as u64])?;
        let unsupported = || ModelError::UnsupportedTensorType { name: name.to_owned(), ty: ty.name() };
        let ty = weight_type(ty).ok_or_else(unsupported)?;
        if Matrix::new(ty, rows, width, self.artifact.bytes(&place)).is_err() {
            return Err(unsupported());
        }
        Ok(Weight { name: name.to_owned(), ty, rows, width, place })
    }

    /// From here on `offset` is added to every gain.
    pub(super) fn add_to_gains(&mut self, offset: f32) {
        self.gain_offset = offset;
    }

    /// Memory of the vectors that were converted.
    pub(super) fn converted_bytes(&self) -> usize {
        self.converted_bytes
    }

    /// The gain of a norm, `name`: \[width\].
    pub(super) fn gain(&mut self, name: &str, width: usize) -> Result<Vector, ModelError> {
        self.shifted(name, width, self.gain_offset)
    }

    /// The vector `name`: \[width\].
    pub(super) fn vector(&mut self, name: &str, width: usize) -> Result<Vector, ModelError> {
        self.shifted(name, width, 0.0)
    }

    /// The vector `name` with `offset` added to its numbers: where it lies, if it can be used so.
    fn shifted(&mut self, name: &str, width: usize, offset: f32) -> Result<Vector, ModelError> {
        let (ty, place) = self.take(name, &[width as u64])?;
        let bytes = self.artifact.bytes(&place);
        let is_ready = ty == TensorType::F32 && offset == 0.0;
        let vector = |values| Vector { name: name.to_owned(), values };
        if is_ready && bytemuck::try_cast_slice::<u8, f32>(bytes).is_ok() {
            return Ok(vector(Values::Mapped(place)));
        }
        // What converters write as floats on their borders lies as it was trained in folders of safetensors.
        let converts = self.artifact.header().format() == Format::Safetensors;
        let ty = match ty {
            TensorType::F32 if !converts => return Err(ModelError::Unaligned { name: name.to_owned() }),
            TensorType::F32 => WeightType::F32,
            TensorType::F16 if converts => WeightType::F16,
            TensorType::BF16 if converts => WeightType::BF16,
            _ => return Err(ModelError::UnsupportedTensorType { name: name.to_owned(), ty: ty.name() }),
        };
        self.converted_bytes += width * size_of::<f32>();
        if self.converted_bytes > self.converted_bytes_max {
            return Err(ModelError::TooMuchConverted { name: name.to_owned(), max: self.converted_bytes_max });
        }
        let mut values = vec![0.0; width];
        let stored = Matrix::new(ty, 1, width, bytes).expect("the header's sizes are those of its types and shapes");
        stored.dequantize_row(0, &mut values);
        values.iter_mut().for_each(|value| *value += offset);
        Ok(vector(Values::Converted(values.into())))
    }

    /// The matrix `name`.weight with the bias `name`.bias, where the file has one.
    pub(super) fn linear(&mut self, name: &str, rows: usize, width: usize) -> Result<Linear, ModelError> {
        let weight = self.weight(&format!("{name}.weight"), rows, width)?;
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { Some(self.vector(&bias, rows)?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// The numbers of `vector`, which this source gave.
    pub(super) fn values<'v>(&'v self, vector: &'v Vector) -> &'v [f32] {
        vector.values(self.artifact)
    }

    fn take(&mut self, name: &str, expected: &[u64]) -> Result<(TensorType, Place), ModelError> {
        let missing = || ModelError::MissingTensor { name: name.to_owned() };
        let tensor = self.artifact.tensor(name).ok_or_else(missing)?;
        let place = self.artifact.tensor_place(name).ok_or_else(missing)?;
        if tensor.dims != expected {
            return Err(ModelError::TensorShape {
                name: name.to_owned(),
                found: tensor.dims.to_vec(),
                expected: expected.to_vec(),
            });
        }
        self.taken.insert(name.to_owned());
        Ok((tensor.ty, place))
    }

    /// Refuses the first tensor that no one took: computing without it would be wrong.
    pub(super) fn finish(&self) -> Result<(), ModelError> {
        match self.artifact.tensors().find(|tensor| !self.taken.contains(tensor.name)) {
            None => Ok(()),
            Some(tensor) => {
                Err(ModelError::UnsupportedTensor { name: tensor.name.to_owned(), architecture: self.architecture })
            }
        }
    }
}

fn weight_type(ty: TensorType) -> Option<WeightType> {
    Some(match ty {
        TensorType::F32 => WeightType::F32,
        TensorType::F16 => WeightType::F16,
        TensorType::BF16 => WeightType::BF16,
        TensorType::Q4_0 => WeightType::Q4_0,
        TensorType::Q4_1 => WeightType::Q4_1,
        TensorType::Q5_0 => WeightType::Q5_0,
        TensorType::Q5_1 => WeightType::Q5_1,
        TensorType::Q8_0 => WeightType::Q8_0,
        TensorType::Q2K => WeightType::Q2K,
        TensorType::Q3K => WeightType::Q3K,
        TensorType::Q4K => WeightType::Q4K,
        TensorType::Q5K => WeightType::Q5K,
        TensorType::Q6K => WeightType::Q6K,
        TensorType::IQ4NL => WeightType::IQ4NL,
        TensorType::IQ4XS => WeightType::IQ4XS,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use loader::fixture::{FolderWriter, TinyModel, tiny_model};

    use super::*;

    #[test]
    fn vectors_are_converted_up_to_a_bound() {
        let shape = TinyModel { layers: 2, hidden: 32, ..TinyModel::default() };
        let folder = tempfile::tempdir().unwrap();
        // As they were trained, and not as they are computed with.
        FolderWriter::of(&mut tiny_model(&shape), TensorType::BF16).write_to(folder.path()).unwrap();
        let artifact = Artifact::open(folder.path()).unwrap();
        let mut tensors = TensorSource::new(&artifact, "llama");
        tensors.converted_bytes_max = 2 * 32 * size_of::<f32>();
        for name in ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"] {
            assert!(matches!(tensors.gain(name, 32).unwrap().values, Values::Converted(_)), "{name}");
        }
        assert_eq!(tensors.converted_bytes(), tensors.converted_bytes_max);
        let error = tensors.gain("blk.1.attn_norm.weight", 32).unwrap_err();
        assert!(
            matches!(&error, ModelError::TooMuchConverted { name, max: 256 } if name == "blk.1.attn_norm.weight"),
            "{error}"
        );
    }
}
