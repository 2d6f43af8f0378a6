//! What a tenant feels of another that asks a hundred times as often.
//!
//! The victim's requests come at fixed times, first alone and then beside the aggressor's, and its latencies alone are the
//! measure of those beside. Each round has a server of its own, whose end cuts off what the aggressor still waits for.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use benches::open_loop::{Offer, Offered, Tally, open_loop, wait_until};
use benches::streams::{Requests, Shape, Streamed};
use benches::subject::Subject;
use benches::{median, percentile};
use clap::Parser;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A tenant's latencies beside one that asks a hundred times as often.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Requests a second of the victim.
    #[arg(long, default_value_t = 1.0)]
    per_second: f64,
    /// How many times as many the aggressor sends.
    #[arg(long, default_value_t = 100.0)]
    times: f64,
    /// Connections of the aggressor at once.
    #[arg(long, default_value_t = 512)]
    connections_max: usize,
    /// Words of a prompt; about as many tokens.
    #[arg(long, default_value_t = 64)]
    prompt_words: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 16)]
    tokens: usize,
    /// Seconds that the aggressor asks before the victim does.
    #[arg(long, default_value_t = 5)]
    settle: u64,
    /// Seconds that the victim asks, alone and beside.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

const VICTIM: &str = "victim";
const AGGRESSOR: &str = "aggressor";
/// Connections of the victim: more than its requests ever need.
const VICTIM_CONNECTIONS: usize = 64;

/// A victim's requests.
struct Felt {
    whole_ms: Vec<f64>,
    first_ms: Vec<f64>,
    failed: Vec<String>,
}

impl Felt {
    fn of(offered: Offered<anyhow::Result<Streamed>>) -> Self {
        let mut felt = Self { whole_ms: Vec::new(), first_ms: Vec::new(), failed: Vec::new() };
        felt.failed.extend((0..offered.unsent).map(|_| "no connection was free".to_owned()));
        for sent in offered.sent {
            match sent.result {
                Ok(streamed) => {
                    felt.whole_ms.push(streamed.whole.as_secs_f64() * 1e3);
                    felt.first_ms.push(streamed.first.as_secs_f64() * 1e3);
                }
                Err(error) => felt.failed.push(format!("{error:#}")),
            }
        }
        felt
    }

    /// The part of all requests, those that failed too, that were answered within `limit_ms`.
    fn within(&self, limit_ms: f64) -> f64 {
        let within = self.whole_ms.iter().filter(|&&ms| ms <= limit_ms).count();
        within as f64 / (self.whole_ms.len() + self.failed.len()).max(1) as f64
    }

    fn json(&mut self) -> Value {
        let summary = |ms: &mut Vec<f64>| json!({ "p50": percentile(ms, 50.0), "p95": percentile(ms, 95.0), "max": percentile(ms, 100.0) });
        json!({ "latency_ms": summary(&mut self.whole_ms), "ttft_ms": summary(&mut self.first_ms), "answered": self.whole_ms.len(),
                "failed": self.failed.len(), "first_failure": self.failed.first() })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (mut within_median, mut within_p95) = (Vec::new(), Vec::new());
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "round",
        "alone p50 / p95 ms",
        "beside p50 / p95 ms",
        "within 2 × p50",
        "within 2 × p95",
        "aggressor answered / refused",
    ]);
    for round in 0..arguments.rounds {
        let (mut alone, mut beside, mut aggressor) = one_round(&arguments)?;
        let spread = |ms: &mut Vec<f64>| (percentile(ms, 50.0), percentile(ms, 95.0));
        let (quiet, loaded) = (spread(&mut alone.whole_ms), spread(&mut beside.whole_ms));
        let parts = (beside.within(2.0 * quiet.0), beside.within(2.0 * quiet.1));
        within_median.push(parts.0);
        within_p95.push(parts.1);
        let refused: usize = aggressor.refused.values().sum();
        table.add_row([
            round.to_string(),
            format!("{:.0} / {:.0}", quiet.0, quiet.1),
            format!("{:.0} / {:.0}", loaded.0, loaded.1),
            format!("{:.2}", parts.0),
            format!("{:.2}", parts.1),
            format!("{} / {refused}", aggressor.good.len()),
        ]);
        println!(
            "{}",
            json!({ "round": round, "alone": alone.json(), "beside": beside.json(), "within_2_medians": parts.0,
                               "within_2_p95s": parts.1, "aggressor": aggressor.json() })
        );
    }
    let line = json!({ "times": arguments.times, "per_second": arguments.per_second, "rounds": arguments.rounds,
                       "within_2_medians": median(&mut within_median), "within_2_p95s": median(&mut within_p95) });
    println!("{line}\n\n{table}");
    Ok(())
}

/// The victim alone, the victim beside the aggressor, and the aggressor.
fn one_round(arguments: &Arguments) -> anyhow::Result<(Felt, Felt, Tally)> {
    let mut config = String::new();
    for name in [VICTIM, AGGRESSOR] {
        let digest: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        config.push_str(&format!("[[keys]]\ntenant = \"{name}\"\nsha256 = \"{digest}\"\n"));
    }
    let server = arguments.subject.start(&config)?;
    let model = arguments.subject.model()?;
    let shape = Shape { prompt_words: arguments.prompt_words, shared: 0.0, tokens: arguments.tokens };
    let of = |tenant| Requests::new(&server.client().with_key(tenant), &model, shape);
    let (victim, aggressor) = (of(VICTIM), of(AGGRESSOR));
    victim.whole()?;
    let during = Duration::from_secs(arguments.seconds);
    let calm = Offer { per_second: arguments.per_second, during, connections_max: VICTIM_CONNECTIONS };
    let ask = || open_loop(calm, || victim.stream(|_| ControlFlow::Continue(()))).map(Felt::of);
    let alone = ask()?;
    if alone.whole_ms.is_empty() {
        bail!("the victim alone is not answered: {:?}", alone.failed.first());
    }
    let settle = Duration::from_secs(arguments.settle);
    let flood = Offer {
        per_second: arguments.per_second * arguments.times,
        during: settle + during,
        connections_max: arguments.connections_max,
    };
    thread::scope(|scope| {
        let flood = scope.spawn(|| open_loop(flood, || aggressor.whole()));
        wait_until(Instant::now() + settle);
        let beside = ask();
        drop(server);
        let flood = flood.join().expect("it returns its errors")?;
        Ok((alone, beside?, Tally::of(&flood)))
    })
}
