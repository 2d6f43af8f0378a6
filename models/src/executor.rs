//! The executor that runs requests: our kernels over mapped weights, one arena, nothing allocated once it is warm.
//!
//! A step takes tokens of any number of sequences, prompts and single tokens alike, and reads each weight once for all of
//! them. Only the positions whose logits are asked for are multiplied with
//! the head, all at once.
//!
//! Invariant: on one instruction set a sequence's logits are the same, bit for bit, whatever it shares its steps with and
//! however its tokens are cut into steps: the kernels compute each column of a product and each token's attention as if
//! it were alone.

mod encoder;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kernels::{Activations, AttentionCall, Isa, Kernels, KvCache, Product, RmsNorm, SequenceRows, Sight};
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
    logits: Logits,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("threads", &self.kernels.threads()).finish_non_exhaustive()
    }
}

/// Working memory of a step; it grows to the largest step and stays.
#[derive(Default)]
struct Arena {
    /// Where each token stands.
    positions: Vec<usize>,
    hidden: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    projected: Vec<f32>,
    /// Hidden states that meet the head.
    last: Vec<f32>,
    input: Activations,
}

/// What a step leaves behind.
#[derive(Default)]
struct Logits {
    /// Those of last tokens: \[tokens of runs that want any, vocabulary\].
    last: Vec<f32>,
    /// Which rows each run's are; they follow one another.
    rows: Vec<Range<usize>>,
    width: usize,
    /// Those of a few tokens before the last.
    scored: Vec<f32>,
}

/// The tokens of a sequence in a step, and where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Token ids, below the vocabulary's length; at least one.
    pub tokens: &'a [u32],
    /// Position of the first.
    pub position: usize,
    /// Which logits to compute.
    pub wanted: Wanted,
}

/// What one sequence has in a step.
pub struct SequenceRun<'a> {
    /// Where its keys and values are.
    pub cache: &'a mut KvCache,
    /// The tokens.
    pub run: Run<'a>,
}

/// Who draws from the logits of a run.
pub struct Drawer<T> {
    /// Number of the run in the step, if it had one.
    pub run: Option<usize>,
    /// Who.
    pub drawer: T,
}

impl SequenceRows for SequenceRun<'_> {
    fn cache(&self) -> &KvCache {
        self.cache
    }

    fn cache_mut(&mut self) -> &mut KvCache {
        self.cache
    }

    fn first_position(&self) -> usize {
        self.run.position
    }

    fn tokens(&self) -> usize {
        self.run.tokens.len()
    }
}

impl Executor {
    /// An executor over `threads` threads of its own.
    #[must_use]
    pub fn new(threads: NonZeroUsize, isa: Isa) -> Self {
        Self {
            kernels: Arc::new(Kernels::new(threads, isa)),
            arena: Arena::default(),
            encoder: EncoderArena::default(),
            logits: Logits::default(),
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

    /// The logits of the last token of the last step's run number `run` (\[vocabulary\]), and of those before it that were
    /// wanted with it ([`Wanted::LastAnd`]: \[tokens, vocabulary\]), for whoever draws from them to change; empty when none
    /// were wanted.
    pub fn logits_of(&mut self, run: usize) -> &mut [f32] {
        let Logits { last, rows, width, .. } = &mut self.logits;
        match rows.get(run) {
            Some(rows) => &mut last[rows.start * *width..rows.end * *width],
            None => &mut [],
        }
    }

    /// Hands the logits of the last step's runs to those who draw from them, several at a time: `draw` gets each drawer and
    /// the logits of its run as [`Executor::logits_of`] has them, or none where it has no run.
    ///
    /// # Panics
    /// When two have the same run.
    pub fn each_logits<T: Send>(&mut self, drawers: &mut [Drawer<T>], draw: &(dyn Fn(&mut T, &mut [f32]) + Sync)) {
        let Logits { last, rows, width, .. } = &mut self.logits;
        let mut rest = last.as_mut_slice();
        let mut free: Vec<_> = Vec::with_capacity(rows.len());
        for rows in rows.iter() {
            let (of_run, behind) = std::mem::take(&mut rest).split_at_mut(rows.len() * *width);
            free.push(Some(of_run));
            rest = behind;
        }
        let mut logits_of = |run: usize| Some(free.get_mut(run)?.take().expect("the logits of a run are one drawer's"));
        let draws = drawers.iter_mut().map(|Drawer { run, drawer }| (drawer, run.and_then(&mut logits_of)));
        let mut draws: Vec<_> = draws.collect();
        self.kernels.each(&mut draws, &|(drawer, logits)| {
            let logits = logits.as_deref_mut().unwrap_or_default();
            draw(drawer, logits);
        });
    }

    /// A step of one sequence: [`Executor::step`] with one run.
    ///
    /// # Panics
    /// As [`Executor::step`].
    pub fn run(&mut self, model: &Model, cache: &mut KvCache, run: Run<'_>, each: &mut dyn FnMut(usize, &[f32])) {
        self.step(model, &mut [SequenceRun { cache, run }], &mut |_, token, logits| each(token, logits));
    }

    /// Computes `runs` and puts the keys and values of each into its cache, which afterwards ends with the run's last
    /// position. `each` gets the logits of every token, in order, of the runs that ask for [`Wanted::Each`], given the
    /// run's number and the token's; those of last tokens are kept ([`Executor::logits_of`]).
    ///
    /// # Panics
    /// When a run has no token or one past the vocabulary, or wants logits of more tokens than it has, the positions before
    /// it are not in its cache, the cache has no room, or a block that it would write is shared.
    pub fn step(&mut self, model: &Model, runs: &mut [SequenceRun<'_>], each: &mut dyn FnMut(usize, usize, &[f32])) {
        let plan = model.plan();
        for SequenceRun { cache, run } in &mut *runs {
            let end = run.position + run.tokens.len();
            assert!(!run.tokens.is_empty(), "a run has tokens");
            if let Wanted::LastAnd(before) = run.wanted {
                assert!(before < run.tokens.len(), "logits are of tokens of the run");
            }
            assert!(run.position <= cache.len() && end <= cache.capacity(), "the cache holds what precedes the run");
            cache.set_len(end);
        }
        self.arena.positions.clear();
        let positions = runs.iter().flat_map(|of| of.run.position..of.run.position + of.run.tokens.len());
        self.arena.positions.extend(positions);
        self.arena.resize(model);
        let embedding = plan.token_embedding.matrix(model.artifact());
        let tokens = runs.iter().flat_map(|of| of.run.tokens);
        for (token, row) in tokens.zip(self.arena.hidden.chunks_exact_mut(plan.hidden)) {
            embedding.dequantize_row(*token as usize, row);
            row.iter_mut().for_each(|x| *x *= plan.embedding_scale);
        }
        for (index, layer) in plan.layers.iter().enumerate() {
            self.attention(model, &layer.attention, index, runs);
            self.feed_forward(model, &layer.feed_forward);
        }
        self.head(model, runs, each);
    }

    fn attention(&mut self, model: &Model, layer: &Attention, index: usize, runs: &mut [SequenceRun<'_>]) {
        let (plan, artifact, kernels) = (model.plan(), model.artifact(), &self.kernels);
        let Arena { positions, hidden, query, key, value, attended, input, .. } = &mut self.arena;
        kernels.activate_normed(input, hidden, norm(plan, artifact, &layer.norm));
        let outputs = [(&layer.query, &mut *query), (&layer.key, &mut *key), (&layer.value, &mut *value)];
        linear(kernels, artifact, input, outputs);
        if let Some(norms) = &layer.head_norms {
            kernels.normalize(query, norm(plan, artifact, &norms.query));
            kernels.normalize(key, norm(plan, artifact, &norms.key));
        }
        if let Some(rope) = layer.rope {
            kernels.rope([query, key], &model.ropes()[rope], positions);
        }
        kernels.kv_write(index, runs, key, value);
        kernels.attention(AttentionCall {
            q: query,
            sequences: runs,
            layer: index,
            heads: plan.heads,
            sight: Sight::Causal { window: layer.window },
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

    fn head(&mut self, model: &Model, runs: &[SequenceRun<'_>], each: &mut dyn FnMut(usize, usize, &[f32])) {
        let (hidden, vocabulary) = (model.plan().hidden, model.plan().vocabulary);
        self.logits.rows.clear();
        self.arena.last.clear();
        let (mut begin, mut wanted) = (0, 0);
        for (number, SequenceRun { run, .. }) in runs.iter().enumerate() {
            let last = begin + run.tokens.len() - 1;
            if run.wanted == Wanted::Each {
                self.score(model, begin..last, &mut |token, logits| each(number, token, logits));
            }
            let rows = match run.wanted {
                Wanted::Nothing => 0,
                Wanted::Last | Wanted::Each => 1,
                Wanted::LastAnd(before) => before + 1,
            };
            let end = last + 1;
            self.arena.last.extend_from_slice(&self.arena.hidden[(end - rows) * hidden..end * hidden]);
            self.logits.rows.push(wanted..wanted + rows);
            wanted += rows;
            begin = end;
        }
        let Logits { last, width, .. } = &mut self.logits;
        *width = vocabulary;
        project(&self.kernels, model, (&self.arena.last, &mut self.arena.input), last);
        for (number, SequenceRun { run, .. }) in runs.iter().enumerate() {
            if run.wanted == Wanted::Each {
                each(number, run.tokens.len() - 1, self.logits_of(number));
            }
        }
    }

    /// Logits of the step's tokens `range`, a few at a time; `each` gets a token's number in the range.
    fn score(&mut self, model: &Model, range: Range<usize>, each: &mut dyn FnMut(usize, &[f32])) {
        let (hidden, vocabulary) = (model.plan().hidden, model.plan().vocabulary);
        for begin in range.clone().step_by(SCORED_POSITIONS_AT_ONCE) {
            let end = range.end.min(begin + SCORED_POSITIONS_AT_ONCE);
            let states = &self.arena.hidden[begin * hidden..end * hidden];
            let scored = &mut self.logits.scored;
            project(&self.kernels, model, (states, &mut self.arena.input), scored);
            for (index, logits) in scored.chunks_exact(vocabulary).enumerate() {
                each(begin - range.start + index, logits);
            }
        }
    }
}

/// Logits of some hidden states: \[states, vocabulary\].
fn project(kernels: &Kernels, model: &Model, (states, input): (&[f32], &mut Activations), logits: &mut Vec<f32>) {
    let (plan, artifact) = (model.plan(), model.artifact());
    logits.resize(states.len() / plan.hidden * plan.vocabulary, 0.0);
    if states.is_empty() {
        return;
    }
    kernels.activate_normed(input, states, norm(plan, artifact, &plan.output_norm));
    linear(kernels, artifact, input, [(&plan.output, logits)]);
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
    /// Makes room for as many tokens as there are positions.
    fn resize(&mut self, model: &Model) {
        let (plan, tokens) = (model.plan(), self.positions.len());
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
