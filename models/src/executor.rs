//! The executor that runs requests: our kernels over mapped weights, one arena, nothing allocated once it is warm.
//!
//! A step reads each weight once, whatever the number of its tokens. Of a prompt only the positions that are asked for
//! are multiplied with the head.

mod encoder;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use kernels::{Activations, AttentionCall, Isa, Kernels, KvCache, Product, RmsNorm, Sight};
use loader::Artifact;

use crate::Model;
use crate::generation::Wanted;
use crate::limits::SCORED_POSITIONS_AT_ONCE;
use crate::plan::{Attention, FeedForward, Linear, Plan, Vector};
use encoder::EncoderArena;

/// Runs steps of any model on the kernels' threads, one at a time.
pub struct Executor {
    kernels: Arc<Kernels>,
    arena: Arena,
    encoder: EncoderArena,
    logits: Vec<f32>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("threads", &self.kernels.threads()).finish_non_exhaustive()
    }
}

/// Working memory of a step; it grows to the largest step and stays.
#[derive(Default)]
struct Arena {
    hidden: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    projected: Vec<f32>,
    input: Activations,
}

/// The tokens of a step and where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Token ids, below the vocabulary's length.
    pub tokens: &'a [u32],
    /// Position of the first.
    pub position: usize,
    /// Which logits to compute.
    pub wanted: Wanted,
}

impl Executor {
    /// An executor over `threads` threads of its own.
    #[must_use]
    pub fn new(threads: NonZeroUsize, isa: Isa) -> Self {
        Self {
            kernels: Arc::new(Kernels::new(threads, isa)),
            arena: Arena::default(),
            encoder: EncoderArena::default(),
            logits: Vec::new(),
        }
    }

    /// Instructions that it uses.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// Threads that it uses.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.kernels.threads()
    }

    /// Processor time that its threads have used since they began.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.kernels.cpu_time()
    }

    /// The logits of the last step's last token (\[vocabulary\]): empty when none were wanted.
    pub fn logits(&mut self) -> &mut Vec<f32> {
        &mut self.logits
    }

    /// Computes `run` and puts its keys and values into `cache`, which afterwards ends with the run's last position.
    /// `each` gets the logits of every token, in order, where [`Wanted::Each`] asks for them.
    ///
    /// # Panics
    /// When a token is past the vocabulary, the positions before the run are not in the cache, or the cache has no room.
    pub fn run(&mut self, model: &Model, cache: &mut KvCache, run: Run<'_>, each: &mut dyn FnMut(usize, &[f32])) {
        let plan = model.plan();
        let end = run.position + run.tokens.len();
        assert!(run.position <= cache.len() && end <= cache.capacity(), "the cache holds what precedes the run");
        cache.set_len(end);
        self.arena.resize(model, run.tokens.len());
        let embedding = plan.token_embedding.matrix(model.artifact());
        for (token, row) in run.tokens.iter().zip(self.arena.hidden.chunks_exact_mut(plan.hidden)) {
            embedding.dequantize_row(*token as usize, row);
            row.iter_mut().for_each(|x| *x *= plan.embedding_scale);
        }
        for (index, layer) in plan.layers.iter().enumerate() {
            self.attention(model, &layer.attention, (index, run.position), cache);
            self.feed_forward(model, &layer.feed_forward);
        }
        self.head(model, run, each);
    }

    fn attention(&mut self, model: &Model, layer: &Attention, (index, position): (usize, usize), cache: &mut KvCache) {
        let (plan, artifact, kernels) = (model.plan(), model.artifact(), &self.kernels);
        let Arena { hidden, query, key, value, attended, input, .. } = &mut self.arena;
        kernels.activate_normed(input, hidden, norm(plan, artifact, &layer.norm));
        let outputs = [(&layer.query, &mut *query), (&layer.key, &mut *key), (&layer.value, &mut *value)];
        linear(kernels, artifact, input, outputs);
        if let Some(norms) = &layer.head_norms {
            kernels.normalize(query, norm(plan, artifact, &norms.query));
            kernels.normalize(key, norm(plan, artifact, &norms.key));
        }
        if let Some(rope) = layer.rope {
            kernels.rope(query, &model.ropes()[rope], plan.heads, position);
            kernels.rope(key, &model.ropes()[rope], plan.kv_heads, position);
        }
        kernels.kv_write(cache, index, position, key, value);
        kernels.attention(AttentionCall {
            q: query,
            kv: cache,
            layer: index,
            heads: plan.heads,
            sight: Sight::Causal { first_position: position, window: layer.window },
            scale: layer.scale,
            out: attended,
        });
        kernels.activate(input, attended, plan.heads * plan.head_dim);
        self.add(model, &layer.output, layer.post_norm.as_ref());
    }

    fn feed_forward(&mut self, model: &Model, layer: &FeedForward) {
        let (plan, artifact, kernels) = (model.plan(), model.artifact(), &self.kernels);
        let Arena { hidden, gate, up, input, .. } = &mut self.arena;
        kernels.activate_normed(input, hidden, norm(plan, artifact, &layer.norm));
        linear(kernels, artifact, input, [(&layer.gate, &mut *gate), (&layer.up, &mut *up)]);
        kernels.activate_gated(input, (gate, up), plan.feed_forward, plan.gating);
        self.add(model, &layer.down, layer.post_norm.as_ref());
    }

    /// Adds what a linear layer makes of the present input to the hidden state, through a norm where there is one.
    fn add(&mut self, model: &Model, layer: &Linear, post_norm: Option<&Vector>) {
        let (plan, artifact, kernels) = (model.plan(), model.artifact(), &self.kernels);
        let Arena { hidden, projected, input, .. } = &mut self.arena;
        let Some(gain) = post_norm else {
            kernels.products(input, &mut [Product::added(layer.weight.matrix(artifact), hidden)]);
            if let Some(bias) = &layer.bias {
                kernels.add_to_rows(hidden, bias.values(artifact));
            }
            return;
        };
        linear(kernels, artifact, input, [(layer, &mut *projected)]);
        kernels.normalize(projected, norm(plan, artifact, gain));
        kernels.add(hidden, projected);
    }

    fn head(&mut self, model: &Model, run: Run<'_>, each: &mut dyn FnMut(usize, &[f32])) {
        let (plan, tokens) = (model.plan(), run.tokens.len());
        match run.wanted {
            Wanted::Nothing => self.logits.clear(),
            Wanted::Last => self.project(model, tokens - 1..tokens),
            Wanted::Each => {
                for begin in (0..tokens).step_by(SCORED_POSITIONS_AT_ONCE) {
                    let end = tokens.min(begin + SCORED_POSITIONS_AT_ONCE);
                    self.project(model, begin..end);
                    for (index, logits) in self.logits.chunks_exact(plan.vocabulary).enumerate() {
                        each(begin + index, logits);
                    }
                }
                let last = self.logits.len() - plan.vocabulary;
                self.logits.drain(..last);
            }
        }
    }

    /// Logits of some positions of the step: \[positions, vocabulary\].
    fn project(&mut self, model: &Model, positions: std::ops::Range<usize>) {
        let (plan, artifact, arena) = (model.plan(), model.artifact(), &mut self.arena);
        let hidden = &arena.hidden[positions.start * plan.hidden..positions.end * plan.hidden];
        self.kernels.activate_normed(&mut arena.input, hidden, norm(plan, artifact, &plan.output_norm));
        self.logits.resize(positions.len() * plan.vocabulary, 0.0);
        linear(&self.kernels, artifact, &arena.input, [(&plan.output, &mut self.logits)]);
    }
}

/// The norm with `gain` that `plan` asks for.
fn norm<'a>(plan: &Plan, artifact: &'a Artifact, gain: &'a Vector) -> RmsNorm<'a> {
    RmsNorm { gain: gain.values(artifact), epsilon: plan.rms_epsilon }
}

/// Products of one input with several matrices, and their biases.
fn linear<const N: usize>(
    kernels: &Kernels,
    artifact: &Artifact,
    input: &Activations,
    mut outputs: [(&Linear, &mut Vec<f32>); N],
) {
    let mut products = outputs.each_mut().map(|(linear, out)| Product::new(linear.weight.matrix(artifact), out));
    kernels.products(input, &mut products);
    for (linear, out) in outputs {
        if let Some(bias) = &linear.bias {
            kernels.add_to_rows(out, bias.values(artifact));
        }
    }
}

impl Arena {
    fn resize(&mut self, model: &Model, tokens: usize) {
        let plan = model.plan();
        let (width, kv_width) = (plan.heads * plan.head_dim, plan.kv_heads * plan.head_dim);
        for (buffer, width) in [
            (&mut self.hidden, plan.hidden),
            (&mut self.projected, plan.hidden),
            (&mut self.query, width),
            (&mut self.attended, width),
            (&mut self.key, kv_width),
            (&mut self.value, kv_width),
            (&mut self.gate, plan.feed_forward),
            (&mut self.up, plan.feed_forward),
        ] {
            buffer.resize(tokens * width, 0.0);
        }
    }
}
