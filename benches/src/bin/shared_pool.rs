//! Many tenants over a few models in a pool that does not hold them all: whether all are answered, and rightly.
//!
//! Each tenant asks for random models, one request after another. Before, every model was asked for alone: an answer
//! that differs from that one is wrong. Meanwhile the server's own events are watched for a load of a model that is
//! already loading or loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use benches::client::Client;
use benches::percentile;
use benches::server::Server;
use clap::Parser;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Tenants over models in a pool that does not hold them all.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// The folder of the models.
    #[arg(long)]
    models_dir: PathBuf,
    /// Names of models in it that answer differently.
    #[arg(long, num_args = 2.., required = true)]
    models: Vec<String>,
    /// Memory of the pool.
    #[arg(long)]
    memory_budget: String,
    /// Tenants, each with a key and one request at a time.
    #[arg(long, default_value_t = 100)]
    tenants: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 8)]
    tokens: usize,
    /// How long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

const PROMPT: &str = "The capital of France is";

/// What the tenants saw.
#[derive(Default)]
struct Seen {
    latencies_ms: Vec<f64>,
    cold: usize,
    by_model: BTreeMap<String, usize>,
    wrong: Vec<String>,
    refused: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let keys: Vec<String> = (0..arguments.tenants).map(|tenant| format!("key-{tenant}")).collect();
    let mut config = format!("memory_budget = \"{}\"\n", arguments.memory_budget);
    for (tenant, key) in keys.iter().enumerate() {
        let digest: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        config.push_str(&format!("[[keys]]\ntenant = \"tenant-{tenant}\"\nsha256 = \"{digest}\"\n"));
    }
    let server = Server::dayfly(&arguments.dayfly, &arguments.models_dir, &config)?;
    let admin = server.client().with_key(&keys[0]);
    let expected: BTreeMap<String, String> = arguments
        .models
        .iter()
        .map(|model| Ok((model.clone(), complete(&admin, model, arguments.tokens)?.0)))
        .collect::<anyhow::Result<_>>()?;
    let distinct: BTreeSet<&String> = expected.values().collect();
    ensure!(distinct.len() == expected.len(), "two of the models answer alike, so a mix-up would not be seen");

    let (before, loads_before) = (server.held()?, loads(&admin)?);
    let (seen, done, violations) = (Mutex::<Seen>::default(), AtomicBool::new(false), Mutex::<Vec<String>>::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&admin, &done, &violations));
        let tenants: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(tenant, key)| {
                let (client, until) = (server.client().with_key(key), began + Duration::from_secs(arguments.seconds));
                let (seen, expected, tokens) = (&seen, &expected, arguments.tokens);
                scope.spawn(move || ask_until(until, (&client, tenant as u64), (expected, tokens), seen))
            })
            .collect();
        tenants.into_iter().for_each(|tenant| tenant.join().expect("it catches its errors"));
        done.store(true, Ordering::Relaxed);
        // A last event wakes the watcher.
        let _ = admin.post("/models/unload", &json!({ "model": arguments.models[0] }));
        let _ = admin.post("/models/load", &json!({ "model": arguments.models[0] }));
    });
    let loads = loads(&admin)? - loads_before;
    report(seen.into_inner()?, (loads, began.elapsed()), &violations.into_inner()?);
    println!("{}", json!({ "before": format!("{before:?}"), "after": format!("{:?}", server.held()?) }));
    Ok(())
}

/// Asks for random models until the time is over.
fn ask_until(
    until: Instant,
    (client, seed): (&Client, u64),
    (expected, tokens): (&BTreeMap<String, String>, usize),
    seen: &Mutex<Seen>,
) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while Instant::now() < until {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let index = usize::try_from(random % expected.len() as u64).expect("few models");
        let (model, right) = expected.iter().nth(index).expect("an index below the length");
        let began = Instant::now();
        let answer = complete(client, model, tokens);
        let latency_ms = began.elapsed().as_secs_f64() * 1e3;
        let mut seen = seen.lock().expect("nobody panics with it");
        match answer {
            Ok((text, is_cold)) => {
                seen.latencies_ms.push(latency_ms);
                seen.cold += usize::from(is_cold);
                *seen.by_model.entry(model.clone()).or_default() += 1;
                if text != *right {
                    seen.wrong.push(format!("{model}: {text:?} for {right:?}"));
                }
            }
            Err(error) => seen.refused.push(format!("{model}: {error:#}")),
        }
    }
}

/// The text of a greedy answer, and whether its request waited for a load.
fn complete(client: &Client, model: &str, tokens: usize) -> anyhow::Result<(String, bool)> {
    let body = json!({ "model": model, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": true });
    let answer = client.post("/v1/completions", &body)?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    let text = answer.body.pointer("/choices/0/text").and_then(Value::as_str).context("no text")?;
    Ok((text.to_owned(), answer.body["dayfly"]["cold"] == true))
}

/// Loads of all models so far.
fn loads(client: &Client) -> anyhow::Result<u64> {
    let models = client.get("/models")?.body;
    let models = models["data"].as_array().context("no models")?;
    Ok(models.iter().filter_map(|model| model["loads"].as_u64()).sum())
}

/// Follows the server's events; a load that begins before the copy before was let go is a violation.
fn watch(client: &Client, done: &AtomicBool, violations: &Mutex<Vec<String>>) {
    let mut there: BTreeSet<String> = BTreeSet::new();
    let note = |text: String| violations.lock().expect("nobody panics with it").push(text);
    let watched = client.events("/models/sse", None, |_, data| {
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        if event["event"] == "missed" {
            note(format!("the watcher missed events: {data}"));
        }
        if let (Some(model), Some(status)) = (event["model"].as_str(), event["data"]["status"].as_str()) {
            let begins = status == "loading" && event["data"].get("waited_seconds").is_some();
            // A load that had begun by the first look may still be told as beginning.
            let is_first_look = event["event"] == "model_status" && status == "loaded";
            if status.starts_with("unload") {
                there.remove(model);
            } else if (begins || is_first_look) && !there.insert(model.to_owned()) {
                note(format!("{model} was loaded while it was there"));
            }
        }
        if done.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Err(error) = watched {
        note(format!("the events broke off: {error:#}"));
    }
}

fn report(mut seen: Seen, (loads, wall): (u64, Duration), violations: &[String]) {
    let answered = seen.latencies_ms.len();
    let few = |texts: &[String]| texts.iter().take(5).cloned().collect::<Vec<_>>();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let per_request = loads as f64 / answered.max(1) as f64;
    let latency = &mut seen.latencies_ms;
    let line = json!({
        "seconds": wall.as_secs_f64(),
        "answered": answered,
        "by_model": seen.by_model,
        "wrong": seen.wrong.len(),
        "refused": seen.refused.len(),
        "examples": few(&[few(&seen.wrong), few(&seen.refused)].concat()),
        "waited_for_a_load": seen.cold,
        "loads": loads,
        "loads_per_request": per_request,
        "violations": violations,
        "latency_ms": { "p50": percentile(latency, 50.0), "p99": percentile(latency, 99.0), "max": percentile(latency, 100.0) },
    });
    println!("{line}");
}
