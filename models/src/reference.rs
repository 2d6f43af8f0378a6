//! The reference executor: candle's plain ops over weights that candle itself unpacks.
//!
//! It reads the same plan as [`crate::executor`] and shares nothing else with it: no kernel, no cache, no rounding of
//! activations. It computes a whole sequence at once and copies every weight that it touches; it is the oracle of tests
//! and a peer in benchmarks, not a way to serve.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;
use kernels::WeightType;
use loader::Artifact;

use crate::Model;
use crate::plan::{Gain, Layer, Plan, Weight, stored_type};

/// Logits of every position of `tokens`: \[tokens, vocabulary\], row by row.
///
/// # Errors
/// candle's own, for shapes or memory.
pub fn logits(model: &Model, tokens: &[u32]) -> Result<Vec<f32>> {
    let (plan, artifact) = (model.plan(), model.artifact());
    let embedding = weight(&plan.token_embedding, artifact)?;
    let mut hidden = embedding.embedding(&Tensor::new(tokens, &Device::Cpu)?)?;
    let rotation = Rotation::new(plan, artifact, tokens.len())?;
    for layer in &plan.layers {
        let normed = norm(&hidden, &layer.attention_norm, plan, artifact)?;
        hidden = (hidden + attention(&normed, layer, &rotation, model)?)?;
        let normed = norm(&hidden, &layer.feed_forward_norm, plan, artifact)?;
        let gate = silu(&product(&layer.gate, artifact, &normed)?)?;
        let inner = (gate * product(&layer.up, artifact, &normed)?)?;
        hidden = (hidden + product(&layer.down, artifact, &inner)?)?;
    }
    let normed = norm(&hidden, &plan.output_norm, plan, artifact)?;
    product(&plan.output, artifact, &normed)?.flatten_all()?.to_vec1()
}

fn attention(normed: &Tensor, layer: &Layer, rotation: &Rotation, model: &Model) -> Result<Tensor> {
    let (plan, artifact) = (model.plan(), model.artifact());
    let heads = |weights: &Weight, heads: usize| -> Result<Tensor> {
        let projected = product(weights, artifact, normed)?;
        projected.reshape((1, (), heads, plan.head_dim))?.transpose(1, 2)?.contiguous()
    };
    let query = rotation.turn(&heads(&layer.query, plan.heads)?)?;
    let key = rotation.turn(&heads(&layer.key, plan.kv_heads)?)?;
    let value = heads(&layer.value, plan.kv_heads)?;
    let group = plan.heads / plan.kv_heads;
    let (key, value) = (spread(&key, group)?, spread(&value, group)?);
    let scores = (query.matmul(&key.transpose(2, 3)?.contiguous()?)? / (plan.head_dim as f64).sqrt())?;
    let scores = scores.broadcast_add(&rotation.mask)?;
    let attended = softmax_last_dim(&scores)?.matmul(&value)?;
    let attended = attended.transpose(1, 2)?.contiguous()?.reshape(((), plan.heads * plan.head_dim))?;
    product(&layer.attention_output, artifact, &attended)
}

/// Each key or value head once for every query head of its group.
fn spread(x: &Tensor, group: usize) -> Result<Tensor> {
    let (batch, heads, tokens, width) = x.dims4()?;
    x.unsqueeze(2)?.expand((batch, heads, group, tokens, width))?.reshape((batch, heads * group, tokens, width))
}

struct Rotation {
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
    dimensions: usize,
}

impl Rotation {
    fn new(plan: &Plan, artifact: &Artifact, tokens: usize) -> Result<Self> {
        let pairs = plan.rope.dimensions / 2;
        let factors = plan.rope.frequency_factors.as_ref().map(|gain| gain.values(artifact));
        let angle = |position: usize, pair: usize| {
            let exponent = 2.0 * pair as f64 / plan.rope.dimensions as f64;
            let divisor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            position as f64 / f64::from(plan.rope.base).powf(exponent) / divisor
        };
        let angles: Vec<f64> = (0..tokens)
            .flat_map(|position| (0..pairs).map(move |pair| (position, pair)))
            .map(|(position, pair)| angle(position, pair))
            .collect();
        let angles = Tensor::from_vec(angles, (tokens, pairs), &Device::Cpu)?.to_dtype(DType::F32)?;
        let mask: Vec<f32> = (0..tokens)
            .flat_map(|row| (0..tokens).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
            mask: Tensor::from_vec(mask, (1, 1, tokens, tokens), &Device::Cpu)?,
            dimensions: plan.rope.dimensions,
        })
    }

    fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        let turned = rope_i(&x.narrow(3, 0, self.dimensions)?.contiguous()?, &self.cos, &self.sin)?;
        if width == self.dimensions {
            return Ok(turned);
        }
        Tensor::cat(&[&turned, &x.narrow(3, self.dimensions, width - self.dimensions)?], 3)
    }
}

fn norm(x: &Tensor, gain: &Gain, plan: &Plan, artifact: &Artifact) -> Result<Tensor> {
    let gain = Tensor::from_slice(gain.values(artifact), plan.hidden, &Device::Cpu)?;
    rms_norm(&x.contiguous()?, &gain, plan.rms_epsilon)
}

fn product(weights: &Weight, artifact: &Artifact, x: &Tensor) -> Result<Tensor> {
    candle_nn::Linear::new(weight(weights, artifact)?, None).forward(x)
}

/// A weight as 32-bit floats, unpacked by candle.
fn weight(weights: &Weight, artifact: &Artifact) -> Result<Tensor> {
    let ty = match stored_type(weights) {
        WeightType::F32 => GgmlDType::F32,
        WeightType::F16 => GgmlDType::F16,
        WeightType::Q4_0 => GgmlDType::Q4_0,
        WeightType::Q4_1 => GgmlDType::Q4_1,
        WeightType::Q5_0 => GgmlDType::Q5_0,
        WeightType::Q8_0 => GgmlDType::Q8_0,
        WeightType::Q4K => GgmlDType::Q4K,
        WeightType::Q6K => GgmlDType::Q6K,
    };
    let matrix = weights.matrix(artifact);
    let storage = QStorage::from_data(Cow::Borrowed(matrix.bytes()), &Device::Cpu, ty)?;
    QTensor::new(storage, weights.shape())?.dequantize(&Device::Cpu)?.to_dtype(DType::F32)
}
