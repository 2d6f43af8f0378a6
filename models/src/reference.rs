//! The reference executor: candle's plain ops over weights that candle itself unpacks, where it knows their type.
//!
//! It reads the same plan as [`crate::executor`] and shares nothing else with it: no kernel, no cache, no rounding of
//! activations but, where asked for, of keys and values. It computes a whole sequence at once and
//! copies every weight that it touches; it is the oracle of tests and a peer in benchmarks, not a way to serve.

mod encoder;

use std::borrow::Cow;
use std::num::NonZeroUsize;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_i};
use kernels::{Gate, RopeStyle, WeightType};
use loader::Artifact;

pub use self::encoder::encode;
use crate::Model;
use crate::plan::{Attention, FeedForward, Linear, Rope, Vector, Weight};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As halves: what [`crate::executor`] has.
    Halves,
    /// As they were computed: what an engine without rounding has.
    Floats,
}

/// Logits of every position of `tokens`: \[tokens, vocabulary\], row by row.
///
/// # Errors
/// candle's own, for shapes or memory.
pub fn logits(model: &Model, tokens: &[u32], kept: Kept) -> Result<Vec<f32>> {
    let (plan, artifact) = (model.plan(), model.artifact());
    let embedding = weight(&plan.token_embedding, artifact)?;
    let embedded = embedding.embedding(&Tensor::new(tokens, &Device::Cpu)?)?;
    let mut hidden = (embedded * f64::from(plan.embedding_scale))?;
    let rotations = plan.ropes.iter().map(|rope| Rotation::new(rope, tokens.len())).collect::<Result<Vec<_>>>()?;
    for layer in &plan.layers {
        hidden = (&hidden + attention(&hidden, &layer.attention, &rotations, model, kept)?)?;
        hidden = (&hidden + feed_forward(&hidden, &layer.feed_forward, model)?)?;
    }
    let normed = norm(&hidden, &plan.output_norm, model)?;
    linear(&plan.output, artifact, &normed)?.flatten_all()?.to_vec1()
}

fn attention(hidden: &Tensor, layer: &Attention, rotations: &[Rotation], model: &Model, kept: Kept) -> Result<Tensor> {
    let (plan, artifact) = (model.plan(), model.artifact());
    let normed = norm(hidden, &layer.norm, model)?;
    let heads = |weights: &Linear, gain: Option<&Vector>, heads: usize| -> Result<Tensor> {
        let projected = linear(weights, artifact, &normed)?.reshape(((), heads, plan.head_dim))?;
        let projected = gain.map_or(Ok(projected.clone()), |gain| norm(&projected, gain, model))?;
        projected.unsqueeze(0)?.transpose(1, 2)?.contiguous()
    };
    let turned = |x: Tensor| layer.rope.map_or(Ok(x.clone()), |rope| rotations[rope].turn(&x));
    let norms = layer.head_norms.as_ref();
    let query = turned(heads(&layer.query, norms.map(|norms| &norms.query), plan.heads)?)?;
    let kept = |x: Tensor| match kept {
        Kept::Halves => x.to_dtype(DType::F16)?.to_dtype(DType::F32),
        Kept::Floats => Ok(x),
    };
    let key = kept(turned(heads(&layer.key, norms.map(|norms| &norms.key), plan.kv_heads)?)?)?;
    let value = kept(heads(&layer.value, None, plan.kv_heads)?)?;
    let group = plan.heads / plan.kv_heads;
    let (key, value) = (spread(&key, group)?, spread(&value, group)?);
    let scores = (query.matmul(&key.transpose(2, 3)?.contiguous()?)? * f64::from(layer.scale))?;
    let scores = scores.broadcast_add(&mask(scores.dim(D::Minus1)?, layer.window)?)?;
    let attended = softmax_last_dim(&scores)?.matmul(&value)?;
    let attended = attended.transpose(1, 2)?.contiguous()?.reshape(((), plan.heads * plan.head_dim))?;
    let output = linear(&layer.output, artifact, &attended)?;
    layer.post_norm.as_ref().map_or(Ok(output.clone()), |gain| norm(&output, gain, model))
}

fn feed_forward(hidden: &Tensor, layer: &FeedForward, model: &Model) -> Result<Tensor> {
    let artifact = model.artifact();
    let normed = norm(hidden, &layer.norm, model)?;
    let gate = linear(&layer.gate, artifact, &normed)?;
    let gate = match model.plan().gating {
        Gate::Silu => silu(&gate)?,
        Gate::GeluTanh => gate.gelu()?,
    };
    let inner = (gate * linear(&layer.up, artifact, &normed)?)?;
    let output = linear(&layer.down, artifact, &inner)?;
    layer.post_norm.as_ref().map_or(Ok(output.clone()), |gain| norm(&output, gain, model))
}

/// What is added to the scores so that a position sees itself and those before it, within the window.
fn mask(tokens: usize, window: Option<NonZeroUsize>) -> Result<Tensor> {
    let hidden = |row: usize, column: usize| column > row || window.is_some_and(|window| row - column >= window.get());
    let mask: Vec<f32> = (0..tokens)
        .flat_map(|row| (0..tokens).map(move |column| if hidden(row, column) { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (1, 1, tokens, tokens), &Device::Cpu)
}

/// Each key or value head once for every query head of its group.
fn spread(x: &Tensor, group: usize) -> Result<Tensor> {
    let (batch, heads, tokens, width) = x.dims4()?;
    x.unsqueeze(2)?.expand((batch, heads, group, tokens, width))?.reshape((batch, heads * group, tokens, width))
}

struct Rotation {
    cos: Tensor,
    sin: Tensor,
    dimensions: usize,
    style: RopeStyle,
}

impl Rotation {
    fn new(rope: &Rope, tokens: usize) -> Result<Self> {
        let pairs = rope.dimensions / 2;
        let angle = |position: usize, pair: usize| {
            let exponent = 2.0 * pair as f64 / rope.dimensions as f64;
            position as f64 / f64::from(rope.base).powf(exponent) / f64::from(rope.divisors[pair])
        };
        let angles: Vec<f64> = (0..tokens)
            .flat_map(|position| (0..pairs).map(move |pair| (position, pair)))
            .map(|(position, pair)| angle(position, pair))
            .collect();
        let angles = Tensor::from_vec(angles, (tokens, pairs), &Device::Cpu)?.to_dtype(DType::F32)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()?, dimensions: rope.dimensions, style: rope.style })
    }

    fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        let turning = x.narrow(3, 0, self.dimensions)?.contiguous()?;
        let turned = match self.style {
            RopeStyle::Interleaved => rope_i(&turning, &self.cos, &self.sin)?,
            RopeStyle::Halves => rope(&turning, &self.cos, &self.sin)?,
        };
        if width == self.dimensions {
            return Ok(turned);
        }
        Tensor::cat(&[&turned, &x.narrow(3, self.dimensions, width - self.dimensions)?], 3)
    }
}

/// The norm of rows as wide as `gain`.
fn norm(x: &Tensor, gain: &Vector, model: &Model) -> Result<Tensor> {
    rms_norm(&x.contiguous()?, &vector(gain, model.artifact())?, model.plan().rms_epsilon)
}

fn linear(linear: &Linear, artifact: &Artifact, x: &Tensor) -> Result<Tensor> {
    let bias = linear.bias.as_ref().map(|bias| vector(bias, artifact)).transpose()?;
    candle_nn::Linear::new(weight(&linear.weight, artifact)?, bias).forward(x)
}

fn vector(vector: &Vector, artifact: &Artifact) -> Result<Tensor> {
    Tensor::new(vector.values(artifact), &Device::Cpu)
}

/// A weight as 32-bit floats: unpacked by candle, or, where it does not know the type, by the kernels' own
/// dequantizer, whose tests compare it with ggml's.
fn weight(weights: &Weight, artifact: &Artifact) -> Result<Tensor> {
    let matrix = weights.matrix(artifact);
    let ty = match weights.ty() {
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
        WeightType::IQ4NL | WeightType::IQ4XS => {
            let mut floats = vec![0.0; matrix.rows() * matrix.width()];
            for (row, floats) in floats.chunks_exact_mut(matrix.width()).enumerate() {
                matrix.dequantize_row(row, floats);
            }
            return Tensor::from_vec(floats, weights.shape(), &Device::Cpu);
        }
    };
    let storage = QStorage::from_data(Cow::Borrowed(matrix.bytes()), &Device::Cpu, ty)?;
    QTensor::new(storage, weights.shape())?.dequantize(&Device::Cpu)?.to_dtype(DType::F32)
}
