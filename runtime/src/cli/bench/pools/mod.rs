//! `dayfly bench pools`: the same workload, really run in three arms.
//!
//! *Ephemeral* is one server that lets models go, *shared persistent* one that never does, *dedicated* a server for each
//! tenant with files of its own. The arms are run one after another, each from the same requests; a report says what each
//! took, what was saved, what cold starts cost, and whether the ledger's prediction of the persistent arms is what they
//! really held. Invariants: whatever is made for a run (copies, ledgers) is in one temporary folder, which goes with the
//! command, however that ends. Deliberately absent: other engines, and machines beyond this one.

pub(in crate::cli) mod arms;
mod chart;
pub(in crate::cli) mod child;
mod compare;
pub(in crate::cli) mod copies;
pub(in crate::cli) mod drive;
pub(in crate::cli) mod figures;
mod html;
mod random;
mod report;
pub(in crate::cli) mod samples;
mod trace;
pub(in crate::cli) mod workload;

use std::fs::{self, File};
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, value_parser};
use models::Descriptor;

use self::arms::{Arm, Overhead, Run, Stage, Tenant};
use self::compare::{ColdStarts, Forecast, Saved, alike, span_of};
use self::copies::Source;
use self::drive::Prompts;
use self::figures::{Figures, Measure};
use self::report::{Machine, ModelReport, NOTES, Report, SameAnswers, WorkloadReport};
use self::trace::Reading;
use self::workload::{Arrivals, Crowd, Shape, Workload};
use super::Compute;
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::flags::{Context, block_on, interrupted};
use crate::cli::output::{self, Format};
use crate::cli::{pull, reach};
use crate::config::{ByteSize, Config, Layer, Stay, bytes_text};
use crate::limits::{BENCH_REQUEST_TOKENS_MAX, BENCH_REQUESTS_MAX, BENCH_TENANTS_MAX};
use crate::reports;

/// How long an arm is watched behind the last time at which somebody may ask.
const WATCHED_BEHIND: Duration = Duration::from_secs(2);
/// How far from the expected number of requests a drawn one may be.
const REQUESTS_SPREAD: f64 = 2.0;

/// Run the same workload with models that are let go, that never are, and that every tenant has for itself
///
/// Each arm really runs servers of this binary over copies of the models, on free loopback ports, and is measured from
/// outside: memory, processor time, answers; then its ledger is read. With --json, and in the file beside an HTML report:
/// {"workload", "window_seconds", "arms": [{"arm", "memory", "cpu", "energy", "cost", "ledger", "first_token_ms", …}],
/// "measured_savings", "cold_starts", "ledger_savings", "overhead", "predictions": [{"arm", "ratio",
/// "within_10_percent", …}], …}.
#[derive(Args, Debug)]
pub(in crate::cli) struct Pools {
    /// Names or aliases; the first is asked for most
    #[arg(value_name = "MODEL", default_value = "smollm2", add = complete::models())]
    models: Vec<String>,
    /// Who ask, all alike; each has a server in the dedicated arm
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u16).range(1..=BENCH_TENANTS_MAX as i64))]
    tenants: u16,
    /// How requests come
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson, conflicts_with = "trace")]
    workload: Arrivals,
    /// Requests a second of all tenants together
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.5, conflicts_with = "trace", value_parser = positive)]
    rate: f64,
    /// Take times and tokens from a CSV file in the form of Azure's: TIMESTAMP,ContextTokens,GeneratedTokens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Replay the trace so many times faster
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, requires = "trace", value_parser = positive)]
    speedup: f64,
    /// Multiply the trace's numbers of tokens by this, from above 0 to 1
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "trace", value_parser = up_to_one)]
    token_scale: f64,
    /// For how long requests come, in each arm
    #[arg(long, value_name = "SECONDS", default_value_t = 28, value_parser = value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// The exponent of Zipf's law by which models are asked for; 0 asks for all alike
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = exponent)]
    zipf: f64,
    /// Tokens of a prompt on average
    #[arg(long, value_name = "N", default_value_t = 64, conflicts_with = "trace", value_parser = value_parser!(u32).range(1..=i64::from(BENCH_REQUEST_TOKENS_MAX / 2)))]
    prompt_tokens: u32,
    /// Tokens of an answer on average
    #[arg(long, value_name = "N", default_value_t = 24, conflicts_with = "trace", value_parser = value_parser!(u32).range(1..=i64::from(BENCH_REQUEST_TOKENS_MAX / 2)))]
    completion_tokens: u32,
    /// What everything is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long the ephemeral arm's models stay after their last answer: 30s, 0, auto
    #[arg(long, value_name = "TIME", default_value = "auto", value_parser = stay)]
    keep_alive: String,
    /// Write the report to this file, and as JSON to the one beside it that ends in .json
    #[arg(long, value_name = "FILE.html", value_parser = html_file)]
    report: Option<PathBuf>,
    /// Put the copies of the models in a folder in this one
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Memory of each server for weights and key-value caches together, such as 700MiB
    #[arg(long, value_name = "SIZE")]
    memory_budget: Option<ByteSize>,
    #[command(flatten)]
    compute: Compute,
}

/// What was seen of all arms, before anything is computed from it.
struct Seen {
    arms: Vec<Run>,
    overhead: Overhead,
}

impl Pools {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), Failure> {
        let report = self.compare(context)?;
        if let Some(path) = &self.report {
            write(path, &report)?;
        }
        match context.format() {
            Format::Json => output::print_json(&report),
            Format::Text => output::print(report.text()),
        }
    }

    /// Runs all arms, and says what that amounts to.
    ///
    /// # Errors
    /// When what is asked for makes no sense, there is no room for copies, or a server does not do what it should.
    pub(in crate::cli) fn compare(&self, context: &Context) -> Result<Report, Failure> {
        let Compute { threads, isa } = self.compute;
        let layer = Layer { threads, isa, memory_budget: self.memory_budget, ..Layer::default() };
        let config = context.config(layer)?;
        let folder = tempfile::Builder::new().prefix("dayfly-pools-").tempdir_in(self.work_dir());
        let folder = folder.with_context(|| format!("no folder can be made in {}", self.work_dir().display()))?;
        let stage = self.stage(config, folder.path())?;
        output::note(format_args!(
            "copies of the models take {} in {}; each arm takes {} s and the time to start its servers",
            bytes_text(stage.copies_bytes()),
            folder.path().display(),
            stage.watched.as_secs()
        ));
        let seen = block_on(async {
            tokio::select! {
                seen = see(&stage) => seen,
                failure = interrupted() => Err(failure),
            }
        })?;
        folder.close().context("the copies cannot be removed")?;
        Ok(self.judged(&stage, &seen))
    }

    fn work_dir(&self) -> PathBuf {
        self.work_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Everything that the arms have in common. Fetches known models.
    fn stage(&self, config: Config, folder: &Path) -> Result<Stage, Failure> {
        let workload = self.requests()?;
        let mut prompts = Prompts::new(self.seed);
        let mut models: Vec<Source> = Vec::new();
        for (index, name) in self.models.iter().enumerate() {
            let entry = pull::find_or_pull(&config, name)?;
            if models.iter().any(|model| model.name == entry.name) {
                return Err(Failure::Usage(anyhow::anyhow!("{} is asked for twice", entry.name)));
            }
            let artifact = entry.open().map_err(|error| Failure::Failed(error.into()))?;
            let descriptor = Descriptor::of(&artifact, None).map_err(|error| Failure::Failed(error.into()))?;
            check_fits(&descriptor, &workload, (index, name))?;
            prompts.add(&entry.name, &descriptor.tokenizer)?;
            models.push(Source::of(&entry)?);
        }
        let tenants = (1..=self.tenants).map(|number| {
            let name = format!("tenant-{number}");
            let (key, hash) = reach::fresh_key(&name);
            Tenant { name, key, hash }
        });
        Ok(Stage {
            tenants: tenants.collect(),
            keep_alive: self.keep_alive.clone(),
            workload: Arc::new(workload),
            prompts: Arc::new(prompts),
            watched: Duration::from_secs(self.duration) + WATCHED_BEHIND,
            folder: folder.to_owned(),
            models,
            config,
        })
    }

    fn requests(&self) -> Result<Workload, Failure> {
        let crowd = Crowd { tenants: self.tenants.into(), models: self.models.len(), zipf: self.zipf, seed: self.seed };
        let duration = Duration::from_secs(self.duration);
        let workload = if let Some(path) = &self.trace {
            let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
            let reading = Reading { speedup: self.speedup, token_scale: self.token_scale, duration, crowd };
            let read = trace::read(BufReader::new(file), &reading);
            read.map_err(|error| Failure::Usage(anyhow::Error::new(error).context(path.display().to_string())))?
        } else {
            #[expect(clippy::cast_precision_loss, reason = "a limit")]
            let requests_max = BENCH_REQUESTS_MAX as f64 / REQUESTS_SPREAD;
            if self.rate * duration.as_secs_f64() > requests_max {
                return Err(Failure::Usage(anyhow::anyhow!("more than {requests_max} requests are asked for")));
            }
            let tokens = (self.prompt_tokens, self.completion_tokens);
            Workload::new(self.workload, &Shape { per_second: self.rate, duration, crowd, tokens })
        };
        if workload.arrivals.is_empty() {
            return Err(Failure::Usage(anyhow::anyhow!(
                "nobody asks anything: choose a longer duration or a higher rate"
            )));
        }
        Ok(workload)
    }

    /// What all of it amounts to.
    fn judged(&self, stage: &Stage, seen: &Seen) -> Report {
        let (config, workload) = (&stage.config, &stage.workload);
        let window = seen.arms.iter().map(|run| run.observed).max().unwrap_or_default();
        let energy = reports::prices_of(config).energy;
        let measure = Measure { window, energy: &energy, rates: &config.rates, processors: processors() };
        let figures = seen.arms.iter().map(|run| measure.figures(run, |tenant| span_of(&run.driven, workload, tenant)));
        let arms: Vec<Figures> = figures.collect();
        let [ephemeral, persistent, _] = &seen.arms[..] else { unreachable!("each arm is run once") };
        let forecast = Forecast {
            ephemeral,
            workload,
            overhead: &seen.overhead,
            window,
            tenants: stage.tenants.iter().map(|tenant| tenant.name.as_str()).collect(),
            energy: &energy,
            rates: &config.rates,
        };
        let measured_savings: Vec<Saved> = arms[1..].iter().map(|arm| Saved::against(arm, &arms[0])).collect();
        let (tokens, texts) = alike(&seen.arms);
        Report {
            workload: self.workload_report(workload),
            models: stage.models.iter().map(ModelReport::of).collect(),
            machine: Machine::with(config),
            window_seconds: window.as_secs_f64(),
            extended_seconds: seen.arms.iter().map(|run| (run.arm, (window - run.observed).as_secs_f64())).collect(),
            copies_bytes: stage.copies_bytes(),
            cold_starts: ColdStarts::of(ephemeral, &persistent.driven, &measured_savings[0]),
            ledger_savings: forecast.savings(),
            predictions: arms[1..].iter().map(|arm| forecast.prediction(arm)).collect(),
            overhead: seen.overhead.clone(),
            same_answers: SameAnswers { requests: workload.arrivals.len(), tokens, texts },
            notes: NOTES.to_vec(),
            measured_savings,
            arms,
        }
    }

    fn workload_report(&self, workload: &Workload) -> WorkloadReport {
        let kind = match &self.trace {
            Some(path) => format!("trace {}", path.display()),
            None => format!("{:?}", self.workload).to_lowercase(),
        };
        WorkloadReport {
            kind,
            pacing: workload.pacing,
            seed: self.seed,
            tenants: self.tenants.into(),
            duration_seconds: Duration::from_secs(self.duration).as_secs_f64(),
            keep_alive: self.keep_alive.clone(),
            requests: workload.arrivals.clone(),
        }
    }
}

/// Runs all arms, one after another.
///
/// # Errors
/// When there is no room for copies, or a server does not do what it should.
async fn see(stage: &Stage) -> Result<Seen, Failure> {
    stage.copy().await?;
    output::note("what a process holds besides weights is measured");
    let overhead = stage.overhead().await?;
    let mut arms = Vec::new();
    for arm in Arm::ALL {
        output::note(format_args!("{} is run", arm.name()));
        arms.push(stage.run(arm).await?);
    }
    Ok(Seen { arms, overhead })
}

impl ModelReport {
    fn of(source: &Source) -> Self {
        Self { name: source.name.clone(), size_bytes: source.size_bytes }
    }
}

impl Machine {
    fn with(config: &Config) -> Self {
        let memory_bytes = sysinfo::System::new().map_or(0, |mut system| {
            system.refresh_memory();
            system.total_memory()
        });
        Self { processors: processors(), memory_bytes, threads: config.threads.get(), isa: config.isa.name() }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Refuses a model that does not answer with text, and requests that are longer than it can.
fn check_fits(descriptor: &Descriptor, workload: &Workload, (index, name): (usize, &str)) -> Result<(), Failure> {
    if descriptor.decoder().is_none() {
        return Err(Failure::Usage(anyhow::anyhow!("`{name}` makes vectors of texts: it decodes nothing")));
    }
    let context = descriptor.context_length() as u64;
    let longest = workload
        .arrivals
        .iter()
        .filter(|arrival| arrival.model == index)
        .map(|arrival| u64::from(arrival.prompt_tokens) + u64::from(arrival.completion_tokens));
    match longest.max().filter(|&longest| longest > context) {
        Some(longest) => Err(Failure::Usage(anyhow::anyhow!(
            "a request to `{name}` has {longest} tokens; the model has {context} positions (--token-scale makes a trace's less)"
        ))),
        None => Ok(()),
    }
}

fn write(path: &Path, report: &Report) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report).map_err(anyhow::Error::from)?;
    for (path, text) in [(path.to_owned(), html::page(report)), (path.with_extension("json"), json)] {
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

pub(in crate::cli::bench) fn positive(text: &str) -> Result<f64, String> {
    number(text, |value| value > 0.0 && value <= 1e6, "above 0, at most a million")
}

fn up_to_one(text: &str) -> Result<f64, String> {
    number(text, |value| value > 0.0 && value <= 1.0, "above 0, at most 1")
}

fn exponent(text: &str) -> Result<f64, String> {
    number(text, |value| (0.0..=10.0).contains(&value), "from 0 to 10")
}

fn number(text: &str, is_in: fn(f64) -> bool, range: &str) -> Result<f64, String> {
    text.parse().ok().filter(|&value| is_in(value)).ok_or_else(|| format!("it is a number {range}"))
}

/// What a server understands is passed on as it was written.
fn stay(text: &str) -> Result<String, String> {
    text.parse::<Stay>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn html_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_html = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("html"));
    if is_html { Ok(path) } else { Err("its name ends in .html".to_owned()) }
}
