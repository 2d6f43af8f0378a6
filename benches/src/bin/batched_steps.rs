//! What a step costs that many sequences share: beside a step of one, and beside what the machine allows.
//!
//! Each case is a step over so many sequences at one depth, each with a token of its own and memory of its own for keys and
//! values, or such a step with tokens of a prompt beside them. Cases take turns, and a figure is the median of its rounds.
//! What stands in the caches does not change what reading them costs, so they are not computed first.
//!
//! The limit of a step: the matrices read once or multiplied by all columns, whichever is longer at the machine's best
//! (measured in the same run), and the keys and values read once for each sequence.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use benches::models::{Chosen, open};
use benches::{median, roofline::Limits};
use clap::Parser;
use kernels::{Isa, Kernels, KvCache};
use loader::BringIn;
use models::executor::{Run, SequenceRun};
use models::generation::Wanted;
use models::plan::{Attention, FeedForward, Linear};
use models::{Executor, Model};
use serde_json::json;

/// Time steps that many sequences share.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Threads.
    #[arg(long, default_value_t = NonZeroUsize::MIN.saturating_add(1))]
    threads: NonZeroUsize,
    /// Instructions; by default the best that there are.
    #[arg(long, value_parser = Isa::from_name)]
    isa: Option<Isa>,
    /// Sequences of a step.
    #[arg(long, num_args = 1.., default_values_t = [1, 2, 4, 8, 16, 32])]
    batches: Vec<usize>,
    /// Positions that each has behind it.
    #[arg(long, num_args = 1.., default_values_t = [64, 512])]
    depths: Vec<usize>,
    /// Tokens of a prompt beside 7 sequences; 0 for none.
    #[arg(long, default_value_t = 64)]
    prompt: usize,
    /// Times that each case has its turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// Time that a case's turn takes at least.
const TURN_MIN: Duration = Duration::from_millis(60);
/// Sequences beside a prompt.
const BESIDE_A_PROMPT: usize = 7;

struct Case {
    depth: usize,
    sequences: usize,
    prompt: usize,
    caches: Vec<KvCache>,
    seconds: Vec<f64>,
}

impl Case {
    fn new(model: &Model, depth: usize, sequences: usize, prompt: usize) -> Self {
        let cache = |more: usize| {
            let mut cache = KvCache::new(model.kv_shape());
            while cache.capacity() < depth + more {
                cache.push_block();
            }
            cache
        };
        let caches = (0..sequences).map(|_| cache(1)).chain((prompt > 0).then(|| cache(prompt))).collect();
        Self { depth, sequences, prompt, caches, seconds: Vec::new() }
    }

    /// Tokens whose columns the matrices meet.
    fn columns(&self) -> usize {
        self.sequences + self.prompt
    }

    fn step(&mut self, model: &Model, executor: &mut Executor) {
        let tokens: Vec<u32> = (100..).take(self.prompt.max(1)).collect();
        let (depth, prompt) = (self.depth, self.prompt);
        let runs = self.caches.iter_mut().enumerate().map(|(index, cache)| {
            let (position, count) = if index < self.sequences { (depth, 1) } else { (0, prompt) };
            cache.set_len(position);
            SequenceRun { cache, run: Run { tokens: &tokens[..count], position, wanted: Wanted::Last } }
        });
        executor.step(model, &mut runs.collect::<Vec<_>>(), &mut |_, _, _| {});
    }

    fn turn(&mut self, model: &Model, executor: &mut Executor) {
        self.step(model, executor);
        let (start, mut steps) = (Instant::now(), 0.0);
        while start.elapsed() < TURN_MIN {
            self.step(model, executor);
            steps += 1.0;
        }
        self.seconds.push(start.elapsed().as_secs_f64() / steps);
    }
}

/// What the matrices of a step hold: bytes and weights.
fn matrices(model: &Model) -> (usize, usize) {
    let plan = model.plan();
    let of = |linear: &Linear| {
        let ((rows, width), ty) = (linear.weight.shape(), linear.weight.ty());
        let weights = rows * width;
        (weights / ty.block_len() * ty.block_bytes(), weights)
    };
    let layers = plan.layers.iter().flat_map(|layer| {
        let (Attention { query, key, value, output, .. }, FeedForward { gate, up, down, .. }) =
            (&layer.attention, &layer.feed_forward);
        [query, key, value, output, gate, up, down]
    });
    layers.chain([&plan.output]).map(of).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let isa = arguments.isa.unwrap_or_else(Isa::detect);
    for (name, entry) in arguments.chosen.entries()? {
        let model = open(&entry, &mut None)?;
        model.bring_in(BringIn::Populate, &mut |_| {});
        measure(&arguments, isa, &name, &model);
    }
    Ok(())
}

fn measure(arguments: &Arguments, isa: Isa, name: &str, model: &Model) {
    let (mut executor, kernels) = (Executor::new(arguments.threads, isa), Kernels::new(arguments.threads, isa));
    let mut cases: Vec<Case> = Vec::new();
    for &depth in &arguments.depths {
        cases.extend(arguments.batches.iter().map(|&batch| Case::new(model, depth, batch, 0)));
        cases.extend((arguments.prompt > 0).then(|| Case::new(model, depth, BESIDE_A_PROMPT, arguments.prompt)));
        cases.extend((arguments.prompt > 0).then(|| Case::new(model, depth, 0, arguments.prompt)));
    }
    let (bytes, weights) = matrices(model);
    let (mut limits, buffer) = (Limits::default(), vec![1; bytes]);
    for _ in 0..arguments.rounds {
        limits.try_read(&kernels, &buffer);
        limits.try_int8(&kernels);
        cases.iter_mut().for_each(|case| case.turn(model, &mut executor));
    }
    let (read, int8) = (limits.read(buffer.len()).wall, limits.int8().wall);
    let mut alone = 0.0;
    for case in &mut cases {
        let seconds = median(&mut case.seconds);
        if case.sequences == 1 {
            alone = seconds;
        }
        let limit = limit(model, case, (bytes, weights), (read, int8));
        println!(
            "{}",
            json!({
                "model": name, "isa": isa.to_string(), "depth": case.depth, "sequences": case.sequences,
                "prompt": case.prompt, "ms": round(seconds * 1e3), "tokens_per_second": round(case.columns() as f64 / seconds),
                "to_one": round(seconds / alone), "of_limit": round(limit / seconds),
            })
        );
    }
    println!("{}", json!({"model": name, "read_gb_per_second": round(read / 1e9), "int8_tops": round(int8 / 1e12)}));
}

/// Seconds that a step takes at least.
fn limit(model: &Model, case: &Case, (bytes, weights): (usize, usize), (read, int8): (f64, f64)) -> f64 {
    let (rows, width) = model.plan().output.weight.shape();
    let multiplied = (weights - rows * width) * case.columns() + rows * width * case.caches.len();
    let shape = model.kv_shape();
    let kv_bytes = case.sequences * case.depth.div_ceil(shape.block_positions) * shape.block_bytes();
    (bytes as f64 / read).max(2.0 * multiplied as f64 / int8) + kv_bytes as f64 / read
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
