//! Encoders by candle's ops: one text at a time.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use super::tensors::Tensors;
use crate::encoding::Passage;
use crate::plan::{EncoderLayer, EncoderPlan, Norm, Pooling};

/// What the model makes of `passage`: its pooled hidden state, or its one score.
///
/// # Errors
/// candle's own.
pub(crate) fn encode<T: Tensors>(tensors: &T, plan: &EncoderPlan, passage: &Passage) -> Result<Vec<f32>> {
    let length = passage.tokens().len();
    let positions: Vec<u32> = (0..).take(length).collect();
    let embedded = tensors.rows(&plan.token_embedding, passage.tokens())?;
    let mut hidden = (embedded + tensors.rows(&plan.position_embedding, &positions)?)?;
    if let Some(types) = &plan.type_embedding {
        let of_tokens: Vec<u32> = (0..length).map(|position| u32::from(passage.token_type(position) > 0)).collect();
        hidden = (hidden + tensors.rows(types, &of_tokens)?)?;
    }
    hidden = norm(tensors, plan, &hidden, &plan.embedding_norm)?;
    for layer in &plan.layers {
        let attended = attention(tensors, plan, &hidden, layer)?;
        hidden = norm(tensors, plan, &(&hidden + attended)?, &layer.attention_norm)?;
        let inner = tensors.linear(&layer.up, &hidden)?.gelu_erf()?;
        hidden = norm(tensors, plan, &(&hidden + tensors.linear(&layer.down, &inner)?)?, &layer.output_norm)?;
    }
    let pooled = match &plan.pooling {
        Pooling::Mean => hidden.mean_keepdim(0)?,
        Pooling::First => hidden.narrow(0, 0, 1)?,
        Pooling::Last => hidden.narrow(0, length - 1, 1)?,
        Pooling::Rank(head) => {
            let first = hidden.narrow(0, 0, 1)?;
            let inner = match &head.dense {
                Some(dense) => tensors.linear(dense, &first)?.tanh()?,
                None => first,
            };
            tensors.linear(&head.output, &inner)?
        }
    };
    pooled.flatten_all()?.to_vec1()
}

fn attention<T: Tensors>(tensors: &T, plan: &EncoderPlan, hidden: &Tensor, layer: &EncoderLayer) -> Result<Tensor> {
    let heads = |x: Tensor| x.reshape(((), plan.heads, plan.head_dim))?.transpose(0, 1)?.contiguous();
    // As halves, for that is how our executor keeps them.
    let kept = |x: Tensor| x.to_dtype(DType::F16)?.to_dtype(DType::F32);
    let query = heads(tensors.linear(&layer.query, hidden)?)?;
    let key = kept(heads(tensors.linear(&layer.key, hidden)?)?)?;
    let value = kept(heads(tensors.linear(&layer.value, hidden)?)?)?;
    let scores = (query.matmul(&key.transpose(D::Minus2, D::Minus1)?.contiguous()?)? * f64::from(layer.scale))?;
    let attended = softmax_last_dim(&scores)?.matmul(&value)?;
    let attended = attended.transpose(0, 1)?.contiguous()?.reshape(((), plan.hidden))?;
    tensors.linear(&layer.output, &attended)
}

fn norm<T: Tensors>(tensors: &T, plan: &EncoderPlan, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let (gain, bias) = (tensors.vector(&norm.gain)?, tensors.vector(&norm.bias)?);
    layer_norm(&x.contiguous()?, &gain, &bias, plan.norm_epsilon)
}
