//! `dayfly bench run`: prompts and answers, timed.
//!
//! As llama-bench does it: tokens are drawn at random (from a fixed seed), logits are computed for the last token of a
//! prompt and for each generated one, nothing is sampled, and a run of each kind goes before the timed ones.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use clap::{Args, ValueEnum};
use kernels::KvCache;
use models::executor::Run;
use models::generation::Wanted;
use models::limits::PREFILL_CHUNK_TOKENS;
use models::reference::{self, Kept};
use models::{Executor, Model};
use serde::Serialize;

use super::{Bed, Compute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::flags::Context;
use crate::cli::output::{self, Column, Format, figure, table};

/// Runs of each kind at most.
const REPETITIONS_MAX: u32 = 1000;

/// Tokens per second of prompts and of answers, in llama-bench's sense
///
/// With --json: {"model", "isa", "threads", "prefill": {"tokens_per_second", "min", "max", "repetitions", "by_depth":
/// {"0": {…}}}, "decode": {"0": {"tokens_per_second", …}}}. Each figure is the median of the repetitions, and prefill's
/// own is that of the first depth.
#[derive(Args, Debug)]
pub(in crate::cli) struct Speed {
    /// A name or alias, or a file that ends in .gguf
    #[arg(value_name = "MODEL|FILE", add = complete::models())]
    model: String,
    /// Tokens of a prompt; 0 times none
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    prompt: usize,
    /// Tokens of an answer; 0 times none
    #[arg(long = "gen", value_name = "TOKENS", default_value_t = 128)]
    generate: usize,
    /// Tokens that are in the cache before; several separated by commas
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Timed runs of each kind
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(REPETITIONS_MAX)))]
    repetitions: u32,
    /// What computes: our kernels, or candle's plain operations (prompts alone, no depth)
    #[arg(long, value_enum, default_value_t = Kind::Kernels)]
    executor: Kind,
    #[command(flatten)]
    compute: Compute,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Kernels,
    Candle,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    model_bytes: u64,
    executor: Kind,
    isa: Option<&'static str>,
    threads: Option<usize>,
    prompt_tokens: usize,
    generated_tokens: usize,
    prefill: Option<Prefill>,
    decode: BTreeMap<usize, Rate>,
}

/// Prompts.
#[derive(Debug, Serialize)]
struct Prefill {
    #[serde(flatten)]
    first: Rate,
    by_depth: BTreeMap<usize, Rate>,
}

/// Tokens per second of the timed runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Rate {
    /// The median.
    tokens_per_second: f64,
    min: f64,
    max: f64,
    repetitions: usize,
}

impl Speed {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut bed = Bed::open(context, &self.compute, &self.model)?;
        self.check(&bed)?;
        let report = match self.executor {
            Kind::Kernels => self.kernels(&mut bed),
            Kind::Candle => self.candle(&bed)?,
        };
        bed.check()?;
        match context.format() {
            Format::Json => output::print_json(&report),
            Format::Text => output::print(report.text()),
        }
    }

    fn check(&self, bed: &Bed) -> Result<(), Failure> {
        if self.executor == Kind::Candle && (self.depth != [0] || self.prompt == 0) {
            return Err(Failure::Usage(anyhow::anyhow!("candle's operations are timed on prompts alone, at depth 0")));
        }
        let deepest = self.depth.iter().max().copied().unwrap_or(0);
        bed.check_context(deepest.saturating_add(self.prompt.max(self.generate)))
    }

    fn kernels(&self, bed: &mut Bed) -> Report {
        let (model, executor) = (&bed.model, &mut bed.executor);
        let mut report = self.report(&bed.name, model);
        report.isa = Some(executor.isa().name());
        report.threads = Some(executor.threads());
        let mut by_depth = BTreeMap::new();
        for &depth in &self.depth {
            let mut trial = Trial::at_depth(model, executor, depth, self.prompt.max(self.generate));
            if self.prompt > 0 {
                by_depth.insert(depth, trial.rate(self.prompt, self.repetitions, Trial::prefill));
            }
            if self.generate > 0 {
                report.decode.insert(depth, trial.rate(self.generate, self.repetitions, Trial::decode));
            }
        }
        let first = self.depth.first().and_then(|depth| by_depth.get(depth)).cloned();
        report.prefill = first.map(|first| Prefill { first, by_depth });
        report
    }

    /// candle's operations choose their own threads, and unpack every weight each time.
    fn candle(&self, bed: &Bed) -> Result<Report, Failure> {
        let mut report = self.report(&bed.name, &bed.model);
        let tokens = Tokens::new(&bed.model).take(self.prompt).collect::<Vec<_>>();
        let logits =
            || reference::logits(&bed.model, &tokens, Kept::Halves).map_err(|error| Failure::Failed(error.into()));
        black_box(logits()?);
        let mut seconds = Vec::new();
        for _ in 0..self.repetitions {
            let started = Instant::now();
            black_box(logits()?);
            seconds.push(started.elapsed().as_secs_f64());
        }
        let first = Rate::of(self.prompt, &seconds);
        report.prefill = Some(Prefill { by_depth: BTreeMap::from([(0, first.clone())]), first });
        Ok(report)
    }

    fn report(&self, name: &str, model: &Model) -> Report {
        Report {
            model: name.to_owned(),
            model_bytes: model.weights_bytes(),
            executor: self.executor,
            isa: None,
            threads: None,
            prompt_tokens: self.prompt,
            generated_tokens: if self.executor == Kind::Kernels { self.generate } else { 0 },
            prefill: None,
            decode: BTreeMap::new(),
        }
    }
}

/// Random tokens, the same ones each time.
///
/// Source: the generator is G. Steele et al.'s SplitMix64, OOPSLA 2014.
struct Tokens {
    state: u64,
    vocabulary: u64,
}

impl Tokens {
    fn new(model: &Model) -> Self {
        Self { state: 0, vocabulary: model.plan().vocabulary as u64 }
    }
}

impl Iterator for Tokens {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % self.vocabulary).ok()
    }
}

/// Runs from one depth, again and again.
struct Trial<'a> {
    model: &'a Model,
    executor: &'a mut Executor,
    cache: KvCache,
    tokens: Tokens,
    depth: usize,
    /// Positions that a run from that depth may add.
    more: usize,
}

impl<'a> Trial<'a> {
    /// Fills the cache to `depth`, with room for `more` positions.
    fn at_depth(model: &'a Model, executor: &'a mut Executor, depth: usize, more: usize) -> Self {
        let cache = KvCache::new(model.kv_shape());
        let more = more.max(depth);
        let mut trial = Self { model, executor, cache, tokens: Tokens::new(model), depth: 0, more };
        trial.rewind();
        trial.prefill(depth);
        trial.depth = depth;
        trial
    }

    /// Back to the depth, with room for what follows: forgetting positions gives their blocks back.
    fn rewind(&mut self) {
        self.cache.truncate(self.depth);
        while self.cache.capacity() < self.depth + self.more {
            self.cache.push_block();
        }
    }

    /// The rate of `repetitions` runs over `count` tokens, after one that is not timed.
    fn rate(&mut self, count: usize, repetitions: u32, run: fn(&mut Self, usize)) -> Rate {
        self.rewind();
        run(self, count);
        let seconds: Vec<f64> = (0..repetitions)
            .map(|_| {
                self.rewind();
                let started = Instant::now();
                run(self, count);
                started.elapsed().as_secs_f64()
            })
            .collect();
        Rate::of(count, &seconds)
    }

    /// `count` tokens as a prompt.
    fn prefill(&mut self, count: usize) {
        let tokens: Vec<u32> = self.tokens.by_ref().take(count).collect();
        let mut chunks = tokens.chunks(PREFILL_CHUNK_TOKENS).peekable();
        while let Some(chunk) = chunks.next() {
            let wanted = if chunks.peek().is_some() { Wanted::Nothing } else { Wanted::Last };
            self.step(chunk, wanted);
        }
    }

    /// `count` tokens one by one.
    fn decode(&mut self, count: usize) {
        for _ in 0..count {
            let token = self.tokens.next().expect("random tokens do not end");
            self.step(&[token], Wanted::Last);
        }
    }

    fn step(&mut self, tokens: &[u32], wanted: Wanted) {
        let run = Run { tokens, position: self.cache.len(), wanted };
        self.executor.run(self.model, &mut self.cache, run, &mut |_, _| {});
        black_box(self.executor.logits_of(0));
    }
}

impl Rate {
    fn of(tokens: usize, seconds: &[f64]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "token counts stay far below 2^52")]
        let tokens = tokens as f64;
        let mut rates: Vec<f64> = seconds.iter().map(|seconds| tokens / seconds.max(f64::MIN_POSITIVE)).collect();
        rates.sort_by(f64::total_cmp);
        let middle = rates.len() / 2;
        let median = if rates.len() % 2 == 1 { rates[middle] } else { f64::midpoint(rates[middle - 1], rates[middle]) };
        Self { tokens_per_second: median, min: rates[0], max: rates[rates.len() - 1], repetitions: rates.len() }
    }
}

impl Report {
    fn text(&self) -> String {
        let columns = [
            Column::Left("TEST"),
            Column::Right("DEPTH"),
            Column::Right("TOKENS/S"),
            Column::Right("LEAST"),
            Column::Right("MOST"),
        ];
        let row = |test: String, (depth, rate): (&usize, &Rate)| {
            vec![test, depth.to_string(), figure(rate.tokens_per_second), figure(rate.min), figure(rate.max)]
        };
        let prompts = self.prefill.iter().flat_map(|prefill| &prefill.by_depth);
        let prompts = prompts.map(|entry| row(format!("prompt {}", self.prompt_tokens), entry));
        let answers = self.decode.iter().map(|entry| row(format!("answer {}", self.generated_tokens), entry));
        let how = match (self.isa, self.threads) {
            (Some(isa), Some(threads)) => format!("{isa}, {threads} threads"),
            _ => "candle's plain operations".into(),
        };
        format!("{} ({how})\n{}", self.model, table(&columns, prompts.chain(answers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_spread_are_of_rates() {
        let rate = Rate::of(10, &[1.0, 4.0, 2.0]);
        assert_eq!(rate, Rate { tokens_per_second: 5.0, min: 2.5, max: 10.0, repetitions: 3 });
        assert_eq!(Rate::of(10, &[1.0, 2.0]).tokens_per_second, 7.5);
    }

    #[test]
    fn tokens_are_below_the_vocabulary_and_repeat() {
        let tokens = || Tokens { state: 0, vocabulary: 7 };
        let drawn: Vec<u32> = tokens().take(100).collect();
        assert!(drawn.iter().all(|token| *token < 7) && (0..7).all(|token| drawn.contains(&token)));
        assert_eq!(drawn, tokens().take(100).collect::<Vec<_>>());
    }

    #[test]
    fn the_json_has_the_members_that_are_promised() {
        let rate = Rate::of(1, &[1.0]);
        let report = Report {
            model: "m".into(),
            model_bytes: 1,
            executor: Kind::Kernels,
            isa: Some("avx2"),
            threads: Some(2),
            prompt_tokens: 512,
            generated_tokens: 128,
            prefill: Some(Prefill { first: rate.clone(), by_depth: BTreeMap::from([(0, rate.clone())]) }),
            decode: BTreeMap::from([(0, rate.clone()), (512, rate)]),
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["prefill"]["tokens_per_second"], 1.0);
        assert_eq!(json["decode"]["512"]["tokens_per_second"], 1.0);
        assert_eq!((&json["model"], &json["isa"], &json["threads"]), (&"m".into(), &"avx2".into(), &2.into()));
        assert!(report.text().contains("answer 128"));
    }
}
