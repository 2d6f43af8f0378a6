//! What metering takes of the processors, beside what the steps take that it meters, and for each request.
//!
//! Three parts, each measured where it can be told from everything else:
//!
//! - *the ledger*: processor time of the server's thread that writes (reservations, settlements, accounts, digests, sums,
//!   JSON, commits), by the kernel, while streams are answered. Waiting for the disk is none;
//! - *calls*: what splits each step among its sequences, follows who holds what and makes receipts runs on threads that do
//!   other things as well, and cannot be told apart from outside. So the same calls are timed in this process, and counted as
//!   often as they can have been: as if every token had been a step's member of its own;
//! - *upkeep*: what the server takes for as long as nobody asks while it holds a model: asking the kernel what is resident,
//!   reading sensors, storing accounts. Whatever else an idle server does is in it too, so that it is no less than metering's.
//!
//! The share is their sum over the steps' processor time, which the server tells. What a request costs beyond the commits that
//! it shares with others is what its calls take, and its rows in a ledger in memory of which many share a commit. Deliberately
//! absent: metrics and logs, which are no metering, and arms without metering, which no server has.

mod calls;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use benches::client::Client;
use benches::closed_loop::closed_loop;
use benches::median;
use benches::server::Server;
use benches::streams::{Requests, Shape};
use benches::subject::Subject;
use clap::Parser;
use procfs::process::Process;
use serde_json::json;

use self::calls::CallCosts;

/// Processor time of metering beside that of the steps.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Streams at a time.
    #[arg(long, default_value_t = 4)]
    streams: usize,
    /// Requests of a round.
    #[arg(long, default_value_t = 64)]
    requests: usize,
    /// Words of a prompt.
    #[arg(long, default_value_t = 64)]
    prompt_words: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Rounds, of which the middle is told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long nobody asks, to see what the server takes by itself, in seconds.
    #[arg(long, default_value_t = 20)]
    idle_seconds: u64,
}

/// The part of the steps' processor time that metering may take.
const SHARE_MAX: f64 = 0.01;
/// Microseconds of processor time that it may take for a request, by calls and rows, beyond commits.
const REQUEST_MICROS_MAX: f64 = 50.0;
/// What the thread is called that writes the ledger.
const LEDGER_THREAD: &str = "ledger";

/// What a server has taken until now, in seconds of processor time.
#[derive(Clone, Copy)]
struct Taken {
    /// By the thread that writes the ledger.
    ledger: f64,
    /// By steps and loads.
    devices: f64,
}

impl Taken {
    fn by(server: &Server) -> anyhow::Result<Self> {
        Ok(Self { ledger: ledger_thread(server.id())?.as_secs_f64(), devices: devices(server.client())? })
    }
}

/// A round, in seconds of processor time.
struct Round {
    ledger: f64,
    calls: f64,
    upkeep: f64,
    steps: f64,
    requests: f64,
}

impl Round {
    fn share(&self) -> f64 {
        (self.ledger + self.calls + self.upkeep) / self.steps
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let calls = calls::measure(arguments.streams)?;
    let model = arguments.subject.model()?;
    let server = arguments.subject.start("keep_alive = \"1h\"\n")?;
    let Arguments { prompt_words, tokens, .. } = arguments;
    let requests = Requests::new(server.client(), &model, Shape { prompt_words, shared: 0.0, tokens });
    // The model is loaded, and step costs are known.
    closed_loop(&requests, arguments.streams, arguments.streams * 2)?;
    let idle = idle_share(&server, Duration::from_secs(arguments.idle_seconds))?;
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        let before = Taken::by(&server)?;
        let done = closed_loop(&requests, arguments.streams, arguments.requests)?;
        let after = Taken::by(&server)?;
        let requests = done.completed as f64;
        let members = (done.prompt_tokens + done.output_tokens) as f64;
        rounds.push(Round {
            ledger: after.ledger - before.ledger,
            calls: members * calls.member.as_secs_f64() + requests * calls.request.as_secs_f64(),
            upkeep: idle * done.wall.as_secs_f64(),
            steps: after.devices - before.devices,
            requests,
        });
    }
    tell(&rounds, &calls, idle)
}

fn tell(rounds: &[Round], calls: &CallCosts, idle: f64) -> anyhow::Result<()> {
    ensure!(rounds.iter().all(|round| round.steps > 0.0 && round.requests > 0.0), "no step was told of");
    let middle = |figure: &dyn Fn(&Round) -> f64| median(&mut rounds.iter().map(figure).collect::<Vec<_>>());
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let (share, of_request) = (middle(&Round::share), micros(calls.request + calls.rows));
    let told = json!({
        "share_of_steps": share,
        "share_max": SHARE_MAX,
        "share_is_met": share <= SHARE_MAX,
        "microseconds_per_request": of_request,
        "microseconds_per_request_max": REQUEST_MICROS_MAX,
        "request_is_met": of_request <= REQUEST_MICROS_MAX,
        "of_steps": {
            "ledger": middle(&|round| round.ledger / round.steps),
            "calls": middle(&|round| round.calls / round.steps),
            "upkeep": middle(&|round| round.upkeep / round.steps),
        },
        "ledger_microseconds_per_request_with_commits": middle(&|round| round.ledger / round.requests * 1e6),
        "calls_microseconds": {
            "member_of_a_step": micros(calls.member),
            "request": micros(calls.request),
            "rows": micros(calls.rows),
        },
        "idle_processors": idle,
        "steps_seconds": middle(&|round| round.steps),
        "rounds": rounds.len(),
    });
    println!("{}", serde_json::to_string_pretty(&told)?);
    Ok(())
}

/// How many processors the server uses by itself.
fn idle_share(server: &Server, idle: Duration) -> anyhow::Result<f64> {
    ensure!(!idle.is_zero(), "a while is needed to see what the server takes by itself");
    let (before, began) = (server.processor_time()?, Instant::now());
    // Nothing else tells when a while is over; it may return early.
    while began.elapsed() < idle {
        thread::park_timeout(idle.saturating_sub(began.elapsed()));
    }
    let taken = server.processor_time()?.saturating_sub(before);
    Ok(taken.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// Processor time of the thread of process `id` that writes the ledger, to the nanosecond.
fn ledger_thread(id: u32) -> anyhow::Result<Duration> {
    for task in Process::new(id.try_into()?)?.tasks()? {
        let task = task?;
        if task.stat()?.comm == LEDGER_THREAD {
            return Ok(Duration::from_nanos(task.schedstat()?.sum_exec_runtime));
        }
    }
    anyhow::bail!("no thread writes the ledger")
}

/// Processor time of steps and loads, in seconds, as the server tells it.
fn devices(client: &Client) -> anyhow::Result<f64> {
    const NAME: &str = "dayfly_device_cpu_seconds_total";
    let text = client.text("/metrics")?;
    let told = text.lines().filter(|line| line.starts_with(NAME));
    let seconds: Vec<f64> = told.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    ensure!(!seconds.is_empty(), "the server does not tell {NAME}");
    Ok(seconds.iter().sum())
}
