//! What is left of a server's goodput when it is asked for many times what it can do, and how it refuses the rest.
//!
//! Goodput is whole answers a second. Its peak is the best of several numbers of clients in a closed loop; then come
//! several times as many requests in an open loop, each on a connection of its own, while probes look whether the server
//! lives and is ready. Each round has a server of its own, whose end cuts off what still waits. The generator runs on the
//! same processors: what both took of them is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use benches::closed_loop::{Window, answers_per_second};
use benches::open_loop::{Offer, Offered, Tally, open_loop, wait_until};
use benches::process::processor_time;
use benches::server::Server;
use benches::streams::{Requests, Shape};
use benches::subject::Subject;
use benches::{client::Answer, median, percentile};
use clap::Parser;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

/// Goodput, refusals and probes under many times the requests that a server can answer.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Numbers of clients among which the peak is looked for, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "8,32,64")]
    clients: Vec<usize>,
    /// How many times the peak is offered.
    #[arg(long, default_value_t = 20.0)]
    times: f64,
    /// Connections at once in the open loop.
    #[arg(long, default_value_t = 768)]
    connections_max: usize,
    /// Words of a prompt; about as many tokens.
    #[arg(long, default_value_t = 32)]
    prompt_words: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 16)]
    tokens: usize,
    /// Seconds before answers are counted.
    #[arg(long, default_value_t = 3)]
    settle: u64,
    /// Seconds in which they are, for each number of clients: many times what an answer takes, since clients that ask at the
    /// same time are answered at the same time.
    #[arg(long, default_value_t = 30)]
    peak_seconds: u64,
    /// Seconds in which they are, under overload.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Probes a second; half of them ask for `/livez`, half for `/readyz`.
const PROBES_PER_SECOND: f64 = 40.0;
const PROBE_CONNECTIONS: usize = 16;

/// What one round of overload was like.
struct Overload {
    goodput: f64,
    tally: Tally,
    probes: Probes,
    /// Processor seconds in each second of the window.
    server_processors: f64,
    generator_processors: f64,
}

#[derive(Default)]
struct Probes {
    latency_ms: Vec<f64>,
    failed: usize,
    unsent: usize,
}

impl Probes {
    fn of(offered: &Offered<anyhow::Result<Answer>>) -> Self {
        let mut probes = Self { unsent: offered.unsent, ..Self::default() };
        for sent in &offered.sent {
            probes.latency_ms.push(sent.latency.as_secs_f64() * 1e3);
            probes.failed += usize::from(!sent.result.as_ref().is_ok_and(|answer| answer.status == 200));
        }
        probes
    }

    fn json(&mut self) -> Value {
        let ms = &mut self.latency_ms;
        json!({ "latency_ms": { "p50": percentile(ms, 50.0), "p99": percentile(ms, 99.0), "max": percentile(ms, 100.0) },
                "sent": ms.len(), "failed": self.failed, "unsent": self.unsent })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut kept = Vec::new();
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "round",
        "peak /s",
        "goodput /s",
        "part",
        "refused (Retry-After)",
        "refusal p99 ms",
        "probe p99 ms",
        "processors: server, generator",
    ]);
    for round in 0..arguments.rounds {
        let server = arguments.subject.start("")?;
        let requests = requests(&arguments, &server)?;
        let peaks = peaks(&arguments, &requests)?;
        let peak = peaks.iter().map(|(_, peak)| *peak).fold(0.0, f64::max);
        ensure!(peak > 0.0, "no answer within the time in which the peak is looked for");
        let mut overload = overload(&arguments, &requests, server, peak * arguments.times)?;
        let part = overload.goodput / peak;
        kept.push(part);
        let tally = &mut overload.tally;
        let refused: usize = tally.refused.values().sum();
        table.add_row([
            round.to_string(),
            format!("{peak:.1}"),
            format!("{:.1}", overload.goodput),
            format!("{part:.2}"),
            format!("{refused} ({})", tally.with_retry_after),
            format!("{:.1}", percentile(&mut tally.refusal_ms, 99.0)),
            format!("{:.1}", percentile(&mut overload.probes.latency_ms, 99.0)),
            format!("{:.2}, {:.2}", overload.server_processors, overload.generator_processors),
        ]);
        let line = json!({ "round": round, "peaks": peaks, "peak": peak, "offered_per_second": peak * arguments.times,
                           "goodput": overload.goodput, "goodput_over_peak": part, "requests": tally.json(),
                           "probes": overload.probes.json(), "server_processors": overload.server_processors,
                           "generator_processors": overload.generator_processors });
        println!("{line}");
    }
    let line = json!({ "times": arguments.times, "rounds": arguments.rounds, "goodput_over_peak": median(&mut kept),
                       "goodput_over_peak_min": kept.first() });
    println!("{line}\n\n{table}");
    Ok(())
}

/// Asks once, which loads the model.
fn requests(arguments: &Arguments, server: &Server) -> anyhow::Result<Requests> {
    let model = arguments.subject.model()?;
    let shape = Shape { prompt_words: arguments.prompt_words, shared: 0.0, tokens: arguments.tokens };
    let requests = Requests::new(server.client(), &model, shape);
    let answer = requests.whole()?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    Ok(requests)
}

/// Numbers of clients, with the answers a second that they get.
fn peaks(arguments: &Arguments, requests: &Requests) -> anyhow::Result<Vec<(usize, f64)>> {
    let peak = |&clients: &usize| {
        let window = Window::after(Duration::from_secs(arguments.settle), Duration::from_secs(arguments.peak_seconds));
        Ok((clients, answers_per_second(requests, clients, window)?))
    };
    arguments.clients.iter().map(peak).collect()
}

/// Offers `per_second` to `server`, and ends it.
fn overload(arguments: &Arguments, requests: &Requests, server: Server, per_second: f64) -> anyhow::Result<Overload> {
    let (settle, length) = (Duration::from_secs(arguments.settle), Duration::from_secs(arguments.seconds));
    let flood = Offer { per_second, during: settle + length, connections_max: arguments.connections_max };
    let probe = Offer { per_second: PROBES_PER_SECOND, during: settle + length, connections_max: PROBE_CONNECTIONS };
    let (client, probed) = (server.client().clone(), AtomicUsize::new(0));
    let look = || client.get(["/livez", "/readyz"][probed.fetch_add(1, Ordering::Relaxed) % 2]);
    thread::scope(|scope| {
        let window = Window::after(settle, length);
        let flood = scope.spawn(|| open_loop(flood, || requests.whole()));
        let probes = scope.spawn(|| open_loop(probe, look));
        wait_until(window.end() - length);
        let before = (server.processor_time()?, processor_time()?);
        wait_until(window.end());
        let after = (server.processor_time()?, processor_time()?);
        // The last probes are answered before the server ends.
        let probes = probes.join().expect("it returns its errors");
        drop(server);
        let flood = flood.join().expect("it returns its errors")?;
        let tally = Tally::of(&flood);
        let within = tally.good.iter().filter(|at| window.contains(**at)).count();
        Ok(Overload {
            goodput: window.rate(within as f64),
            tally,
            probes: Probes::of(&probes?),
            server_processors: window.rate((after.0 - before.0).as_secs_f64()),
            generator_processors: window.rate((after.1 - before.1).as_secs_f64()),
        })
    })
}
