//! What a plan's ops ask for: products, rows and vectors, wherever the weights are.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Module as _, Result, Tensor};
use kernels::WeightType;
use loader::Artifact;

use crate::plan::{Linear, Vector, Weight};

/// The weights of one model, as its ops see them.
pub(crate) trait Tensors: Sync {
    /// Where they are.
    fn device(&self) -> &Device;

    /// `x` (\[rows, width\]) times the transposed matrix.
    fn product(&self, weight: &Weight, x: &Tensor) -> Result<Tensor>;

    /// Rows of the matrix by their numbers: \[numbers, width\].
    fn rows(&self, weight: &Weight, numbers: &[u32]) -> Result<Tensor>;

    /// The vector.
    fn vector(&self, vector: &Vector) -> Result<Tensor>;

    /// A product and its bias.
    fn linear(&self, linear: &Linear, x: &Tensor) -> Result<Tensor> {
        let product = self.product(&linear.weight, x)?;
        match &linear.bias {
            Some(bias) => product.broadcast_add(&self.vector(bias)?),
            None => Ok(product),
        }
    }
}

/// Weights where they are mapped, unpacked to 32-bit floats at each use and dropped again.
pub(crate) struct Unpacked<'a>(pub(crate) &'a Artifact);

impl Tensors for Unpacked<'_> {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn product(&self, weight: &Weight, x: &Tensor) -> Result<Tensor> {
        candle_nn::Linear::new(unpacked(weight, self.0)?, None).forward(x)
    }

    fn rows(&self, weight: &Weight, numbers: &[u32]) -> Result<Tensor> {
        unpacked(weight, self.0)?.embedding(&Tensor::new(numbers, &Device::Cpu)?)
    }

    fn vector(&self, vector: &Vector) -> Result<Tensor> {
        Tensor::new(vector.values(self.0), &Device::Cpu)
    }
}

/// candle's name of a type, if it has one.
pub(super) fn candle_type(ty: WeightType) -> Option<GgmlDType> {
    Some(match ty {
        WeightType::F32 => GgmlDType::F32,
        WeightType::F16 => GgmlDType::F16,
        WeightType::BF16 => GgmlDType::BF16,
        WeightType::Q4_0 => GgmlDType::Q4_0,
        WeightType::Q4_1 => GgmlDType::Q4_1,
        WeightType::Q5_0 => GgmlDType::Q5_0,
        WeightType::Q5_1 => GgmlDType::Q5_1,
        WeightType::Q8_0 => GgmlDType::Q8_0,
        WeightType::Q2K => GgmlDType::Q2K,
        WeightType::Q3K => GgmlDType::Q3K,
        WeightType::Q4K => GgmlDType::Q4K,
        WeightType::Q5K => GgmlDType::Q5K,
        WeightType::Q6K => GgmlDType::Q6K,
        WeightType::IQ4NL | WeightType::IQ4XS => return None,
    })
}

/// A weight as 32-bit floats on the host: unpacked by candle, or, where it does not know the type, by the kernels' own
/// dequantizer, whose tests compare it with ggml's.
pub(super) fn unpacked(weight: &Weight, artifact: &Artifact) -> Result<Tensor> {
    let matrix = weight.matrix(artifact);
    let Some(ty) = candle_type(weight.ty()) else {
        let mut floats = vec![0.0; matrix.rows() * matrix.width()];
        for (row, floats) in floats.chunks_exact_mut(matrix.width()).enumerate() {
            matrix.dequantize_row(row, floats);
        }
        return Tensor::from_vec(floats, weight.shape(), &Device::Cpu);
    };
    let storage = QStorage::from_data(Cow::Borrowed(matrix.bytes()), &Device::Cpu, ty)?;
    QTensor::new(storage, weight.shape())?.dequantize(&Device::Cpu)?.to_dtype(DType::F32)
}
