//! Encoders by candle's plain ops: one text at a time.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use super::{linear, vector, weight};
use crate::Model;
use crate::encoding::Passage;
use crate::plan::{EncoderLayer, Norm, Pooling};

/// What the model makes of `passage`: its pooled hidden state, or its one score.
///
/// # Errors
/// candle's own, for shapes or memory.
pub fn encode(model: &Model, passage: &Passage) -> Result<Vec<f32>> {
    let (plan, artifact) = (model.encoder(), model.artifact());
    let length = passage.tokens().len();
    let mut hidden =
        weight(&plan.token_embedding, artifact)?.embedding(&Tensor::new(passage.tokens(), &Device::Cpu)?)?;
    hidden = (hidden + weight(&plan.position_embedding, artifact)?.narrow(0, 0, length)?)?;
    if let Some(types) = &plan.type_embedding {
        let of_tokens: Vec<u32> = (0..length).map(|position| u32::from(passage.token_type(position) > 0)).collect();
        hidden = (hidden + weight(types, artifact)?.embedding(&Tensor::new(of_tokens, &Device::Cpu)?)?)?;
    }
    hidden = norm(&hidden, &plan.embedding_norm, model)?;
    for layer in &plan.layers {
        hidden = norm(&(&hidden + attention(&hidden, layer, model)?)?, &layer.attention_norm, model)?;
        let inner = linear(&layer.up, artifact, &hidden)?.gelu_erf()?;
        hidden = norm(&(&hidden + linear(&layer.down, artifact, &inner)?)?, &layer.output_norm, model)?;
    }
    let pooled = match &plan.pooling {
        Pooling::Mean => hidden.mean_keepdim(0)?,
        Pooling::First => hidden.narrow(0, 0, 1)?,
        Pooling::Last => hidden.narrow(0, length - 1, 1)?,
        Pooling::Rank(head) => {
            let first = hidden.narrow(0, 0, 1)?;
            let inner = match &head.dense {
                Some(dense) => linear(dense, artifact, &first)?.tanh()?,
                None => first,
            };
            linear(&head.output, artifact, &inner)?
        }
    };
    pooled.flatten_all()?.to_vec1()
}

fn attention(hidden: &Tensor, layer: &EncoderLayer, model: &Model) -> Result<Tensor> {
    let (plan, artifact) = (model.encoder(), model.artifact());
    let heads = |x: Tensor| x.reshape(((), plan.heads, plan.head_dim))?.transpose(0, 1)?.contiguous();
    // As halves, for that is how our executor keeps them.
    let kept = |x: Tensor| x.to_dtype(DType::F16)?.to_dtype(DType::F32);
    let query = heads(linear(&layer.query, artifact, hidden)?)?;
    let key = kept(heads(linear(&layer.key, artifact, hidden)?)?)?;
    let value = kept(heads(linear(&layer.value, artifact, hidden)?)?)?;
    let scores = (query.matmul(&key.transpose(D::Minus2, D::Minus1)?.contiguous()?)? * f64::from(layer.scale))?;
    let attended = softmax_last_dim(&scores)?.matmul(&value)?;
    let attended = attended.transpose(0, 1)?.contiguous()?.reshape(((), plan.hidden))?;
    linear(&layer.output, artifact, &attended)
}

fn norm(x: &Tensor, norm: &Norm, model: &Model) -> Result<Tensor> {
    let artifact = model.artifact();
    let (gain, bias) = (vector(&norm.gain, artifact)?, vector(&norm.bias, artifact)?);
    layer_norm(&x.contiguous()?, &gain, &bias, model.encoder().norm_epsilon)
}
