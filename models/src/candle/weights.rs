//! A model's weights on a device: copied out of the mapping once, at its load.

use std::borrow::Cow;
use std::collections::HashMap;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{DType, Device as CandleDevice, Module as _, Result, Tensor};
use kernels::WeightType;
use loader::Artifact;

use super::tensors::{Tensors, candle_type, unpacked};
use super::{CandleError, Device, DeviceKind};
use crate::Model;
use crate::plan::{Attention, EncoderLayer, EncoderPlan, FeedForward, Layer, Linear, Network, Norm, Plan, Pooling};
use crate::plan::{Vector, Weight};
use crate::residency::Progress;

/// The weights of one model on one device.
pub struct Weights {
    device: Device,
    matrices: HashMap<String, Matrix>,
    vectors: HashMap<String, Tensor>,
    bytes: u64,
}

/// How a matrix is kept.
enum Matrix {
    /// As floats of some width.
    Floats(Tensor),
    /// As the file has it.
    Packed(QMatMul),
}

/// How a matrix of this type is kept on a device of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Floats(DType),
    Packed,
}

impl Form {
    fn of(ty: WeightType, device: DeviceKind) -> Self {
        match (device, ty) {
            (DeviceKind::Cpu, _) | (_, WeightType::F32) => Self::Floats(DType::F32),
            (_, WeightType::F16) => Self::Floats(DType::F16),
            (_, WeightType::BF16) => Self::Floats(DType::BF16),
            _ if candle_type(ty).is_some() => Self::Packed,
            _ => Self::Floats(DType::F16),
        }
    }

    fn bytes(self, weight: &Weight) -> u64 {
        match self {
            Self::Floats(ty) => (weight.rows * weight.width * ty.size_in_bytes()) as u64,
            Self::Packed => weight.place().range.len() as u64,
        }
    }
}

impl Weights {
    /// Bytes that a network takes on a device of this kind.
    #[must_use]
    pub fn bytes_on(device: DeviceKind, network: &Network) -> u64 {
        let mut seen = std::collections::HashSet::new();
        let matrices = linears(network).into_iter().map(|linear| &linear.weight);
        let once = matrices.filter(|weight| seen.insert(weight.name()));
        let matrices_bytes: u64 = once.map(|weight| Form::of(weight.ty(), device).bytes(weight)).sum();
        matrices_bytes + vectors(network).into_iter().map(|vector| vector.len() as u64 * 4).sum::<u64>()
    }

    /// Copies the weights of `model` to `device`; `progress` hears of each matrix, in bytes of the device.
    ///
    /// # Errors
    /// [`CandleError::Upload`].
    pub fn upload(
        model: &Model,
        device: &Device,
        progress: &mut dyn FnMut(Progress),
    ) -> std::result::Result<Self, CandleError> {
        let network = &model.descriptor().network;
        let bytes = Self::bytes_on(device.kind(), network);
        let mut weights = Self { device: device.clone(), matrices: HashMap::new(), vectors: HashMap::new(), bytes };
        let copied = weights.copy(model.artifact(), network, progress);
        copied.map_err(|source| CandleError::Upload(Box::new(source)))?;
        Ok(weights)
    }

    fn copy(&mut self, artifact: &Artifact, network: &Network, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let (candle, kind) = (self.device.candle.clone(), self.device.kind());
        let mut done_bytes = 0;
        for vector in vectors(network) {
            self.vectors.insert(vector.name().to_owned(), Tensor::new(vector.values(artifact), &candle)?);
            done_bytes += vector.len() as u64 * 4;
        }
        for Linear { weight, .. } in linears(network) {
            if self.matrices.contains_key(weight.name()) {
                continue;
            }
            let form = Form::of(weight.ty(), kind);
            let matrix = match form {
                Form::Floats(ty) => Matrix::Floats(unpacked(weight, artifact)?.to_dtype(ty)?.to_device(&candle)?),
                Form::Packed => Matrix::Packed(packed(weight, artifact, &candle)?),
            };
            self.matrices.insert(weight.name().to_owned(), matrix);
            done_bytes += form.bytes(weight);
            progress(Progress { done_bytes, bytes: self.bytes });
        }
        Ok(())
    }

    /// Where they are.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of the device that they take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// As ops see them: rows of embeddings come from `artifact`, which they were copied from.
    pub(super) fn over<'a>(&'a self, artifact: &'a Artifact) -> Uploaded<'a> {
        Uploaded { weights: self, artifact }
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights").field("device", &self.device).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A matrix as the file has it.
fn packed(weight: &Weight, artifact: &Artifact, device: &CandleDevice) -> Result<QMatMul> {
    let ty = candle_type(weight.ty()).expect("only types that candle knows stay packed");
    let matrix = weight.matrix(artifact);
    let storage = QStorage::from_data(Cow::Borrowed(matrix.bytes()), device, ty)?;
    QMatMul::from_qtensor(QTensor::new(storage, weight.shape())?)
}

/// Weights on a device, and the mapping that rows are read from.
pub(super) struct Uploaded<'a> {
    weights: &'a Weights,
    artifact: &'a Artifact,
}

const ALL_ARE_COPIED: &str = "a load copies all that its plan names";

impl Tensors for Uploaded<'_> {
    fn device(&self) -> &CandleDevice {
        &self.weights.device.candle
    }

    fn product(&self, weight: &Weight, x: &Tensor) -> Result<Tensor> {
        match self.weights.matrices.get(weight.name()).expect(ALL_ARE_COPIED) {
            Matrix::Packed(matrix) => matrix.forward(x),
            Matrix::Floats(matrix) => x.to_dtype(matrix.dtype())?.matmul(&matrix.t()?)?.to_dtype(DType::F32),
        }
    }

    fn rows(&self, weight: &Weight, numbers: &[u32]) -> Result<Tensor> {
        let matrix = weight.matrix(self.artifact);
        let mut rows = vec![0.0; numbers.len() * matrix.width()];
        for (&number, row) in numbers.iter().zip(rows.chunks_exact_mut(matrix.width())) {
            matrix.dequantize_row(number as usize, row);
        }
        Tensor::from_vec(rows, (numbers.len(), matrix.width()), self.device())
    }

    fn vector(&self, vector: &Vector) -> Result<Tensor> {
        Ok(self.weights.vectors.get(vector.name()).expect(ALL_ARE_COPIED).clone())
    }
}

/// Every product of a network.
fn linears(network: &Network) -> Vec<&Linear> {
    match network {
        Network::Decoder(plan) => plan.layers.iter().flat_map(of_layer).chain([&plan.output]).collect(),
        Network::Encoder(plan) => {
            let mut linears: Vec<&Linear> = plan.layers.iter().flat_map(of_encoder_layer).collect();
            if let Pooling::Rank(head) = &plan.pooling {
                linears.extend(head.dense.iter().chain([&head.output]));
            }
            linears
        }
    }
}

fn of_layer(Layer { attention, feed_forward }: &Layer) -> [&Linear; 7] {
    let Attention { query, key, value, output, .. } = attention;
    let FeedForward { gate, up, down, .. } = feed_forward;
    [query, key, value, output, gate, up, down]
}

fn of_encoder_layer(EncoderLayer { query, key, value, output, up, down, .. }: &EncoderLayer) -> [&Linear; 6] {
    [query, key, value, output, up, down]
}

/// Every vector of a network.
fn vectors(network: &Network) -> Vec<&Vector> {
    let mut vectors = match network {
        Network::Decoder(plan) => decoder_gains(plan),
        Network::Encoder(plan) => encoder_norms(plan),
    };
    vectors.extend(linears(network).into_iter().filter_map(|linear| linear.bias.as_ref()));
    vectors
}

fn decoder_gains(plan: &Plan) -> Vec<&Vector> {
    let mut gains = vec![&plan.output_norm];
    for Layer { attention, feed_forward } in &plan.layers {
        gains.extend([&attention.norm, &feed_forward.norm]);
        gains.extend(attention.head_norms.iter().flat_map(|norms| [&norms.query, &norms.key]));
        gains.extend(attention.post_norm.iter().chain(&feed_forward.post_norm));
    }
    gains
}

fn encoder_norms(plan: &EncoderPlan) -> Vec<&Vector> {
    let of_layers = plan.layers.iter().flat_map(|layer| [&layer.attention_norm, &layer.output_norm]);
    let norms = of_layers.chain([&plan.embedding_norm]);
    norms.flat_map(|Norm { gain, bias }| [gain, bias]).collect()
}
