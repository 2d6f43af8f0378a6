//! dayfly beside its peers on the same models, in turns: ratios with their spread, beside what the machine can do.
//!
//! `--dayfly` runs `dayfly bench run`, `--llama-bench` llama.cpp's program of that name, `--python` OpenVINO GenAI in a
//! Python that has it. Prints a Markdown table, or JSON; progress goes to standard error. A peer that cannot run a
//! model is named with its reason. Children inherit the environment (`LD_LIBRARY_PATH`, if a peer needs it).

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context as _;
use benches::peers::{Dayfly, Engine, LlamaBench, Machine, OpenVino, Plan, Report, run_rounds};
use benches::roofline::Limits;
use clap::Parser;
use kernels::{Isa, Kernels};

/// Tokens per second of dayfly and of its peers, in turns.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: PathBuf,
    /// A llama-bench binary.
    #[arg(long)]
    llama_bench: Option<PathBuf>,
    /// What llama-bench is told beside the tests, separated by spaces.
    #[arg(long, default_value = "-fa 0", allow_hyphen_values = true)]
    llama_bench_args: String,
    /// Its version, for a build that does not know it.
    #[arg(long)]
    llama_version: Option<String>,
    /// A Python that has the package openvino-genai.
    #[arg(long)]
    python: Option<PathBuf>,
    /// A GGUF file; may be given again.
    #[arg(long = "model", required = true)]
    models: Vec<PathBuf>,
    /// Times that each engine runs each test.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Threads of each engine.
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
    /// Tokens of a prompt; 0 times none.
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens of an answer.
    #[arg(long = "gen", default_value = "64")]
    generate: NonZeroUsize,
    /// Tokens in the cache before an answer; several separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "0,512")]
    depth: Vec<usize>,
    /// Instructions that dayfly is to use (and the limits): avx512, avx2 or scalar.
    #[arg(long)]
    isa: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Ours first.
    fn engines(&self) -> anyhow::Result<Vec<Box<dyn Engine>>> {
        let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Dayfly::new(self.dayfly.clone(), self.isa.clone())?)];
        if let Some(program) = &self.llama_bench {
            let version = self.llama_version.clone();
            engines.push(Box::new(LlamaBench::new(program.clone(), &self.llama_bench_args, version)));
        }
        if let Some(python) = &self.python {
            engines.push(Box::new(OpenVino::new(python.clone())));
        }
        Ok(engines)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let isa = arguments.isa.as_deref().map_or(Ok(Isa::detect()), Isa::from_name)?;
    let kernels = Kernels::new(arguments.threads, isa);
    let engines = arguments.engines()?;
    let names: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
    let plan = Plan {
        prompt: arguments.prompt,
        generate: arguments.generate.get(),
        depths: arguments.depth.clone(),
        threads: arguments.threads,
    };
    let rounds = usize::from(arguments.rounds);
    let mut models = Vec::new();
    for model in &arguments.models {
        let mut limits = Limits::default();
        let mut measure_limits = |round: usize, bytes: u64| {
            eprintln!("{}: round {} of {rounds}", model.display(), round + 1);
            measure(&mut limits, &kernels, bytes);
        };
        let result = run_rounds(&engines, model, (&plan, rounds), &mut measure_limits)
            .with_context(|| format!("{} cannot be read", model.display()))?;
        let summary = limits.summary(usize::try_from(result.bytes)?);
        models.push((result, summary));
    }
    let report = Report::new(Machine::this()?, &names, (&plan, rounds), &models);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.markdown());
    }
    Ok(())
}

/// A few tries at each limit; the buffer is gone before an engine needs the memory.
fn measure(limits: &mut Limits, kernels: &Kernels, bytes: u64) {
    let buffer = vec![1; usize::try_from(bytes).expect("a file that can be mapped")];
    for _ in 0..3 {
        limits.try_read(kernels, &buffer);
        limits.try_int8(kernels);
        limits.try_f32(kernels);
    }
}
