//! What a stream of one model feels of another model's loads: the time between its tokens, with and without them.
//!
//! The other model's file gets a new time of modification before each load, so that its header is read and its tokenizer
//! made each time; it never computes. Quiet and loaded streams take turns.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use benches::client::Client;
use benches::server::Server;
use benches::{median, percentile};
use clap::Parser;
use serde_json::json;

/// The time between a stream's tokens while another model loads, over the same without.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// The GGUF file of the model that streams.
    #[arg(long)]
    stream: PathBuf,
    /// The GGUF file of the model that is loaded and unloaded meanwhile; it is copied.
    #[arg(long)]
    load: PathBuf,
    /// Tokens of a stream.
    #[arg(long, default_value_t = 512)]
    tokens: usize,
    /// Threads of the server; its own choice by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Rounds of one quiet and one loaded stream each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

const STREAMING: &str = "streaming";
const LOADING: &str = "loading";

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = std::env::temp_dir().join(format!("dayfly-beside-loads-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(&arguments, &folder);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    let stream = fs::canonicalize(&arguments.stream)?;
    std::os::unix::fs::symlink(stream, folder.join(format!("{STREAMING}.gguf")))?;
    let loading = folder.join(format!("{LOADING}.gguf"));
    fs::copy(&arguments.load, &loading)?;
    let threads = arguments.threads.map_or(String::new(), |threads| format!("threads = {threads}\n"));
    let server = Server::dayfly(&arguments.dayfly, folder, &format!("links = \"followed\"\n{threads}"))?;
    let client = server.client();
    gaps(client, arguments.tokens)?;
    let (mut quiet, mut loaded, mut loads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        quiet.extend(gaps(client, arguments.tokens)?);
        let done = AtomicBool::new(false);
        let (stream, walls) = std::thread::scope(|scope| {
            let loader = scope.spawn(|| load_until(&done, client, &loading));
            let stream = gaps(client, arguments.tokens);
            done.store(true, Ordering::Relaxed);
            (stream, loader.join().expect("it returns its errors"))
        });
        loaded.extend(stream?);
        loads.extend(walls?);
    }
    let summary = |gaps: &mut Vec<f64>| json!({ "p50": percentile(gaps, 50.0), "p99": percentile(gaps, 99.0), "max": percentile(gaps, 100.0) });
    let (quiet_ms, loaded_ms) = (summary(&mut quiet), summary(&mut loaded));
    let line = json!({
        "streaming": arguments.stream.file_stem().map(|stem| stem.to_string_lossy()),
        "loading": arguments.load.file_stem().map(|stem| stem.to_string_lossy()),
        "quiet_ms": quiet_ms,
        "loaded_ms": loaded_ms,
        "p99_ratio": percentile(&mut loaded, 99.0) / percentile(&mut quiet, 99.0),
        "gaps": quiet.len(),
        "loads": loads.len(),
        "load_ms_median": median(&mut loads),
    });
    println!("{line}");
    Ok(())
}

/// Milliseconds between the tokens of a stream.
fn gaps(client: &Client, tokens: usize) -> anyhow::Result<Vec<f64>> {
    let body = json!({ "model": STREAMING, "prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0,
                       "ignore_eos": true, "stream": true });
    let (mut gaps, mut before) = (Vec::with_capacity(tokens), None::<Duration>);
    client.events("/v1/completions", Some(&body), |at, data| {
        // The last event carries no token.
        if data != "[DONE]" {
            gaps.extend(before.replace(at).map(|before| (at - before).as_secs_f64() * 1e3));
        }
        ControlFlow::Continue(())
    })?;
    ensure!(gaps.len() > tokens / 2, "a stream of {} tokens", gaps.len());
    Ok(gaps)
}

/// Loads and unloads the model until `done`; returns how many milliseconds each load took.
fn load_until(done: &AtomicBool, client: &Client, file: &Path) -> anyhow::Result<Vec<f64>> {
    let mut walls = Vec::new();
    while !done.load(Ordering::Relaxed) {
        File::options().append(true).open(file)?.set_modified(SystemTime::now())?;
        let began = std::time::Instant::now();
        let answer = client.post("/models/load", &json!({ "model": LOADING }))?;
        ensure!(answer.status == 200, "{}", answer.body);
        walls.push(began.elapsed().as_secs_f64() * 1e3);
        let answer = client.post("/models/unload", &json!({ "model": LOADING }))?;
        ensure!(answer.status == 200, "{}", answer.body);
    }
    walls.first().context("no load fell into a stream")?;
    Ok(walls)
}
