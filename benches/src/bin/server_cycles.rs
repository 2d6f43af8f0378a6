//! What is left in a server after many loads: memory, file descriptors and threads before, on the way, and at the end.

use std::path::PathBuf;

use anyhow::ensure;
use benches::client::Client;
use benches::process::Held;
use benches::server::Server;
use clap::Parser;
use serde_json::{Value, json};

/// Memory, descriptors and threads of a server over many loads and evictions.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// The folder of the models.
    #[arg(long)]
    models_dir: PathBuf,
    /// Names of models in it, loaded and unloaded in turns.
    #[arg(long, num_args = 1.., required = true)]
    models: Vec<String>,
    /// Loads of each model.
    #[arg(long, default_value_t = 100)]
    cycles: usize,
    /// Cycles of each model before what is held is looked at first: caches and arenas fill once.
    #[arg(long, default_value_t = 5)]
    warm_up: usize,
}

/// Reports on the way, evenly apart.
const REPORTS: usize = 10;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let server = Server::dayfly(&arguments.dayfly, &arguments.models_dir, "")?;
    let turn = || arguments.models.iter().try_for_each(|model| cycle(server.client(), model));
    (0..arguments.warm_up).try_for_each(|_| turn())?;
    let start = server.held()?;
    println!("{}", line(0, start));
    let mut most = start;
    for done in 1..=arguments.cycles {
        turn()?;
        if done.is_multiple_of((arguments.cycles / REPORTS).max(1)) {
            let now = server.held()?;
            println!("{}", line(done, now));
            most.pss_bytes = most.pss_bytes.max(now.pss_bytes);
            most.descriptors = most.descriptors.max(now.descriptors);
            most.threads = most.threads.max(now.threads);
        }
    }
    let end = server.held()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
    let ratio = |bytes: u64| bytes as f64 / start.pss_bytes as f64;
    let summary = json!({
        "models": arguments.models,
        "loads": arguments.cycles * arguments.models.len(),
        "start": line(0, start),
        "end": line(arguments.cycles, end),
        "pss_ratio": ratio(end.pss_bytes),
        "pss_ratio_at_most": ratio(most.pss_bytes),
        "descriptors_at_most": most.descriptors,
        "threads_at_most": most.threads,
    });
    println!("{summary}");
    Ok(())
}

/// Loads `model` and lets it go. What is told to go is gone, or on its way, before the next load.
fn cycle(client: &Client, model: &str) -> anyhow::Result<()> {
    for path in ["/models/load", "/models/unload"] {
        let answer = client.post(path, &json!({ "model": model }))?;
        ensure!(answer.status == 200, "{path}: {}", answer.body);
    }
    Ok(())
}

fn line(cycles: usize, held: Held) -> Value {
    let Held { pss_bytes, anonymous_bytes, descriptors, threads } = held;
    json!({ "cycles": cycles, "pss_bytes": pss_bytes, "anonymous_bytes": anonymous_bytes, "descriptors": descriptors, "threads": threads })
}
