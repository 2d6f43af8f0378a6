//! What an architecture computes, written once: hyperparameters, and which mapped tensor serves where.
//!
//! A plan owns no weights: a [`Weight`] names a range of the file, and [`Weight::matrix`] borrows it from the mapping.
//! Shapes, types and alignment are checked when the plan is made, so that a step can rely on them.

use std::ops::Range;

use kernels::{Matrix, RopeStyle, WeightType};
use loader::Artifact;
use loader::gguf::TensorType;

use crate::ModelError;

/// A decoder-only transformer over tensors of one file.
#[derive(Debug)]
pub struct Plan {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Width of the hidden state.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions that the model was trained for.
    pub context_length: usize,
    /// Entries of the vocabulary: rows of the embedding.
    pub vocabulary: usize,
    /// Added to the mean square before its root is taken.
    pub rms_epsilon: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Embedding of a token: \[vocabulary, hidden\].
    pub token_embedding: Weight,
    /// Gain of the last norm: \[hidden\].
    pub output_norm: Gain,
    /// The head: \[vocabulary, hidden\]; the embedding itself where they are tied.
    pub output: Weight,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
}

/// Rotary position embedding (arXiv:2104.09864).
#[derive(Debug)]
pub struct Rope {
    /// Dimensions of a head that turn.
    pub dimensions: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// Which dimensions form a pair.
    pub style: RopeStyle,
    /// Divisors of the frequencies, \[dimensions / 2\], as Llama 3.1 stores them.
    pub frequency_factors: Option<Gain>,
}

/// One transformer layer: attention, then a gated feed-forward network, each after a norm and added to its input.
#[derive(Debug)]
pub struct Layer {
    /// Gain before attention: \[hidden\].
    pub attention_norm: Gain,
    /// Queries: \[heads · head_dim, hidden\].
    pub query: Weight,
    /// Keys: \[kv_heads · head_dim, hidden\].
    pub key: Weight,
    /// Values: \[kv_heads · head_dim, hidden\].
    pub value: Weight,
    /// Back to the hidden state: \[hidden, heads · head_dim\].
    pub attention_output: Weight,
    /// Gain before the feed-forward network: \[hidden\].
    pub feed_forward_norm: Gain,
    /// Gate: \[feed_forward, hidden\].
    pub gate: Weight,
    /// Up: \[feed_forward, hidden\].
    pub up: Weight,
    /// Down: \[hidden, feed_forward\].
    pub down: Weight,
}

/// A matrix in the file.
#[derive(Clone, Debug)]
pub struct Weight {
    name: String,
    ty: WeightType,
    rows: usize,
    width: usize,
    range: Range<usize>,
}

/// A vector of 32-bit floats in the file.
#[derive(Clone, Debug)]
pub struct Gain {
    name: String,
    range: Range<usize>,
}

impl Weight {
    /// Name of the tensor in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows and width of the matrix.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    /// Where it lies in the file, in bytes.
    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The matrix, where `artifact` is mapped. `artifact` must be the one the plan was made from.
    #[must_use]
    pub fn matrix<'a>(&self, artifact: &'a Artifact) -> Matrix<'a> {
        let bytes = &artifact.file().bytes()[self.range.clone()];
        Matrix::new(self.ty, self.rows, self.width, bytes).expect("the shape was checked when the plan was made")
    }
}

impl Gain {
    /// The vector, where `artifact` is mapped. `artifact` must be the one the plan was made from.
    #[must_use]
    pub fn values<'a>(&self, artifact: &'a Artifact) -> &'a [f32] {
        bytemuck::cast_slice(&artifact.file().bytes()[self.range.clone()])
    }

    /// Name of the tensor in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Takes tensors out of an artifact by name, checks them, and in the end refuses what nobody took.
pub(crate) struct TensorSource<'a> {
    artifact: &'a Artifact,
    architecture: &'static str,
    taken: usize,
}

impl<'a> TensorSource<'a> {
    pub(crate) fn new(artifact: &'a Artifact, architecture: &'static str) -> Self {
        Self { artifact, architecture, taken: 0 }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.artifact.tensor(name).is_some()
    }

    pub(crate) fn weight(&mut self, name: &str, rows: usize, width: usize) -> Result<Weight, ModelError> {
        let (ty, range) = self.take(name, &[width as u64, rows as u64])?;
        let unsupported = || ModelError::UnsupportedTensorType { name: name.to_owned(), ty: ty.name() };
        let ty = weight_type(ty).ok_or_else(unsupported)?;
        let bytes = &self.artifact.file().bytes()[range.clone()];
        if Matrix::new(ty, rows, width, bytes).is_err() {
            return Err(unsupported());
        }
        Ok(Weight { name: name.to_owned(), ty, rows, width, range })
    }

    pub(crate) fn gain(&mut self, name: &str, width: usize) -> Result<Gain, ModelError> {
        let (ty, range) = self.take(name, &[width as u64])?;
        if ty != TensorType::F32 {
            return Err(ModelError::UnsupportedTensorType { name: name.to_owned(), ty: ty.name() });
        }
        if bytemuck::try_cast_slice::<u8, f32>(&self.artifact.file().bytes()[range.clone()]).is_err() {
            return Err(ModelError::Unaligned { name: name.to_owned() });
        }
        Ok(Gain { name: name.to_owned(), range })
    }

    fn take(&mut self, name: &str, expected: &[u64]) -> Result<(TensorType, Range<usize>), ModelError> {
        let missing = || ModelError::MissingTensor { name: name.to_owned() };
        let tensor = self.artifact.tensor(name).ok_or_else(missing)?;
        let range = self.artifact.tensor_range(name).ok_or_else(missing)?;
        if tensor.dims != expected {
            return Err(ModelError::TensorShape {
                name: name.to_owned(),
                found: tensor.dims.to_vec(),
                expected: expected.to_vec(),
            });
        }
        self.taken += 1;
        Ok((tensor.ty, range))
    }

    /// Refuses the first tensor that no one took. `used` tells whether a name belongs to the plan.
    pub(crate) fn finish(&self, used: impl Fn(&str) -> bool) -> Result<(), ModelError> {
        if self.taken == self.artifact.header().tensor_count() {
            return Ok(());
        }
        match self.artifact.tensors().find(|tensor| !used(tensor.name)) {
            Some(tensor) => {
                Err(ModelError::UnsupportedTensor { name: tensor.name.to_owned(), architecture: self.architecture })
            }
            None => Ok(()),
        }
    }
}

fn weight_type(ty: TensorType) -> Option<WeightType> {
    Some(match ty {
        TensorType::F32 => WeightType::F32,
        TensorType::F16 => WeightType::F16,
        TensorType::Q4_0 => WeightType::Q4_0,
        TensorType::Q4_1 => WeightType::Q4_1,
        TensorType::Q5_0 => WeightType::Q5_0,
        TensorType::Q8_0 => WeightType::Q8_0,
        TensorType::Q4K => WeightType::Q4K,
        TensorType::Q6K => WeightType::Q6K,
        _ => return None,
    })
}

/// The loader's name for a weight's type.
pub(crate) fn stored_type(weight: &Weight) -> WeightType {
    weight.ty
}
