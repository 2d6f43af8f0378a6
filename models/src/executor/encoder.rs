//! A step of an encoder: all products take the tokens of all texts at once, attention goes from text to text.
//!
//! Texts are laid one behind the other without padding; a text's vector is the same alone and in any batch.
//!
//! Deliberately absent: what becomes of the vectors, and which texts make a batch (`encoding`).

use std::ops::Range;

use kernels::{AttentionCall, CacheRows, KvCache, KvPrecision, KvShape, LayerNorm, Product, Sight};
use loader::Artifact;

use super::{Executor, linear};
use crate::Model;
use crate::encoding::Passage;
use crate::limits::KV_BLOCK_POSITIONS;
use crate::plan::{EncoderLayer, EncoderPlan, Linear, Norm, Pooling, RankHead, Weight};

/// What an encoder's step has beside a decoder's.
#[derive(Default)]
pub(super) struct EncoderArena {
    /// Keys and values of the text at hand, in the layer at hand.
    cache: Option<KvCache>,
    /// A row of an embedding.
    row: Vec<f32>,
    /// One row for each text.
    pooled: Vec<f32>,
    inner: Vec<f32>,
}

impl Executor {
    /// What the model makes of each text of `batch`: \[texts, width\], one row behind the other. A row is the pooled
    /// hidden state, as wide as the model's, or the one score of a model that ranks.
    ///
    /// # Panics
    /// When the model is no encoder, or a text is empty, longer than its context, or has a token past its vocabulary.
    pub fn encode(&mut self, model: &Model, batch: &[&Passage]) -> &[f32] {
        let plan = model.encoder();
        let tokens = batch.iter().map(|passage| passage.tokens().len()).sum();
        self.embed(model, batch, tokens);
        for layer in &plan.layers {
            self.encoder_attention(model, layer, batch);
            self.encoder_feed_forward(model, layer);
        }
        self.pool(plan, batch);
        if let Pooling::Rank(head) = &plan.pooling {
            self.rank(model, head);
        }
        &self.encoder.pooled
    }

    /// The norm of the embeddings' sum, for every token.
    fn embed(&mut self, model: &Model, batch: &[&Passage], tokens: usize) {
        let (plan, artifact) = (model.encoder(), model.artifact());
        let arena = &mut self.arena;
        for (buffer, width) in [
            (&mut arena.hidden, plan.hidden),
            (&mut arena.query, plan.hidden),
            (&mut arena.key, plan.hidden),
            (&mut arena.value, plan.hidden),
            (&mut arena.attended, plan.hidden),
            (&mut arena.up, plan.feed_forward),
        ] {
            buffer.resize(tokens * width, 0.0);
        }
        let row = &mut self.encoder.row;
        row.resize(plan.hidden, 0.0);
        let places = batch.iter().flat_map(|passage| passage.tokens().iter().enumerate().map(move |at| (passage, at)));
        for ((passage, (position, &token)), hidden) in places.zip(arena.hidden.chunks_exact_mut(plan.hidden)) {
            plan.token_embedding.matrix(artifact).dequantize_row(token as usize, hidden);
            let mut add = |weight: &Weight, index: usize| {
                weight.matrix(artifact).dequantize_row(index, row);
                hidden.iter_mut().zip(&*row).for_each(|(hidden, row)| *hidden += row);
            };
            add(&plan.position_embedding, position);
            if let Some(types) = &plan.type_embedding {
                add(types, passage.token_type(position));
            }
        }
        self.kernels.layer_normalize(&mut arena.hidden, norm(plan, artifact, &plan.embedding_norm));
    }

    fn encoder_attention(&mut self, model: &Model, layer: &EncoderLayer, batch: &[&Passage]) {
        let (plan, artifact, kernels) = (model.encoder(), model.artifact(), &self.kernels);
        let arena = &mut self.arena;
        kernels.activate(&mut arena.input, &arena.hidden, plan.hidden);
        let outputs =
            [(&layer.query, &mut arena.query), (&layer.key, &mut arena.key), (&layer.value, &mut arena.value)];
        linear(kernels, artifact, &arena.input, outputs);
        let longest = batch.iter().map(|passage| passage.tokens().len()).max().unwrap_or(0);
        let cache = cache_for(&mut self.encoder.cache, plan, longest);
        for (range, positions) in ranges(batch, plan.hidden) {
            cache.set_len(positions);
            let mut sequence = [CacheRows { cache: &mut *cache, first_position: 0, tokens: positions }];
            kernels.kv_write(0, &mut sequence, &arena.key[range.clone()], &arena.value[range.clone()]);
            kernels.attention(AttentionCall {
                q: &arena.query[range.clone()],
                sequences: &sequence,
                layer: 0,
                heads: plan.heads,
                sight: Sight::Whole,
                scale: layer.scale,
                out: &mut arena.attended[range],
            });
        }
        kernels.activate(&mut arena.input, &arena.attended, plan.hidden);
        self.add_and_normalize(model, &layer.output, &layer.attention_norm);
    }

    fn encoder_feed_forward(&mut self, model: &Model, layer: &EncoderLayer) {
        let (plan, artifact, kernels) = (model.encoder(), model.artifact(), &self.kernels);
        let arena = &mut self.arena;
        kernels.activate(&mut arena.input, &arena.hidden, plan.hidden);
        linear(kernels, artifact, &arena.input, [(&layer.up, &mut arena.up)]);
        kernels.activate_gelu(&mut arena.input, &arena.up, plan.feed_forward);
        self.add_and_normalize(model, &layer.down, &layer.output_norm);
    }

    /// The norm of the hidden state and what a linear layer makes of the present input.
    fn add_and_normalize(&mut self, model: &Model, layer: &Linear, after: &Norm) {
        let (plan, artifact, kernels) = (model.encoder(), model.artifact(), &self.kernels);
        let (hidden, input) = (&mut self.arena.hidden, &self.arena.input);
        kernels.products(input, &mut [Product::added(layer.weight.matrix(artifact), hidden)]);
        if let Some(bias) = &layer.bias {
            kernels.add_to_rows(hidden, bias.values(artifact));
        }
        kernels.layer_normalize(hidden, norm(plan, artifact, after));
    }

    /// One row for each text: \[texts, hidden\].
    fn pool(&mut self, plan: &EncoderPlan, batch: &[&Passage]) {
        let (hidden, pooled) = (&self.arena.hidden, &mut self.encoder.pooled);
        pooled.clear();
        for (range, _) in ranges(batch, plan.hidden) {
            let states = &hidden[range];
            match plan.pooling {
                Pooling::Mean => mean(states, plan.hidden, pooled),
                Pooling::First | Pooling::Rank(_) => pooled.extend_from_slice(&states[..plan.hidden]),
                Pooling::Last => pooled.extend_from_slice(&states[states.len() - plan.hidden..]),
            }
        }
    }

    /// Replaces each row by its score: \[texts, 1\].
    fn rank(&mut self, model: &Model, head: &RankHead) {
        let (plan, artifact, kernels) = (model.encoder(), model.artifact(), &self.kernels);
        let (input, EncoderArena { pooled, inner, .. }) = (&mut self.arena.input, &mut self.encoder);
        let texts = pooled.len() / plan.hidden;
        kernels.activate(input, pooled, plan.hidden);
        if let Some(dense) = &head.dense {
            inner.resize(pooled.len(), 0.0);
            linear(kernels, artifact, input, [(dense, &mut *inner)]);
            inner.iter_mut().for_each(|x| *x = x.tanh());
            kernels.activate(input, inner, plan.hidden);
        }
        pooled.resize(texts, 0.0);
        linear(kernels, artifact, input, [(&head.output, pooled)]);
    }
}

/// Appends the mean of rows of `width`.
fn mean(rows: &[f32], width: usize, out: &mut Vec<f32>) {
    let start = out.len();
    out.resize(start + width, 0.0);
    let out = &mut out[start..];
    for row in rows.chunks_exact(width) {
        out.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    #[expect(clippy::cast_precision_loss, reason = "a text has far fewer than 2^24 tokens")]
    let count = (rows.len() / width) as f32;
    out.iter_mut().for_each(|sum| *sum /= count);
}

/// Where each text's states lie among rows of `width`, and how many tokens it has.
fn ranges(batch: &[&Passage], width: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    let mut end = 0;
    batch.iter().map(move |passage| {
        let tokens = passage.tokens().len();
        let start = end;
        end += tokens * width;
        (start..end, tokens)
    })
}

/// A cache of one layer with room for `positions`: the one that is there, if it is of this shape.
fn cache_for<'a>(kept: &'a mut Option<KvCache>, plan: &EncoderPlan, positions: usize) -> &'a mut KvCache {
    let shape = KvShape {
        layers: 1,
        kv_heads: plan.heads,
        head_dim: plan.head_dim,
        block_positions: KV_BLOCK_POSITIONS,
        precision: KvPrecision::F16,
    };
    kept.take_if(|cache| cache.shape() != shape);
    let cache = kept.get_or_insert_with(|| KvCache::new(shape));
    while cache.capacity() < positions {
        cache.push_block();
    }
    cache
}

fn norm<'a>(plan: &EncoderPlan, artifact: &'a Artifact, norm: &'a Norm) -> LayerNorm<'a> {
    LayerNorm { gain: norm.gain.values(artifact), bias: norm.bias.values(artifact), epsilon: plan.norm_epsilon }
}
