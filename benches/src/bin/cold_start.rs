//! Cold and warm time to first token, dayfly beside llama.cpp's router, over the same files in the page cache.
//!
//! Each server has room for one model at a time, and the models are asked for in turns: the first request of each turn
//! is cold, the second warm. The servers take turns too, so that both see the same machine.

use std::path::PathBuf;

use benches::median;
use benches::server::Server;
use clap::Parser;
use serde_json::json;

/// Cold and warm time to first token, beside a llama-server router.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// A llama-server binary of a version that has router mode; without it only dayfly is measured.
    #[arg(long)]
    llama_server: Option<String>,
    /// The folder of the models.
    #[arg(long)]
    models_dir: PathBuf,
    /// Names of two or more models in it: the files' stems.
    #[arg(long, num_args = 2.., required = true)]
    models: Vec<String>,
    /// Memory for dayfly's pool: less than two of the models take.
    #[arg(long, default_value = "900MiB")]
    memory_budget: String,
    /// Rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

#[derive(Default)]
struct Times {
    cold: Vec<f64>,
    warm: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = arguments.models_dir.display().to_string();
    let config = format!("memory_budget = \"{}\"\n", arguments.memory_budget);
    let theirs =
        ["--host", "127.0.0.1", "--port", "{port}", "--models-dir", &folder, "--models-max", "1", "-fa", "off"];
    let theirs: Vec<String> = theirs.into_iter().map(str::to_owned).collect();

    let mut servers = vec![("dayfly", Server::dayfly(&arguments.dayfly, &arguments.models_dir, &config)?)];
    if let Some(program) = &arguments.llama_server {
        servers.push(("llama-server", Server::start(program, &theirs)?));
    }
    let mut times: Vec<Vec<Times>> =
        servers.iter().map(|_| arguments.models.iter().map(|_| Times::default()).collect()).collect();
    for round in 0..=arguments.rounds {
        for (model, name) in arguments.models.iter().enumerate() {
            for (server, (_, running)) in servers.iter().enumerate() {
                let cold = running.client().time_to_first_token(name)?.as_secs_f64() * 1e3;
                let warm = running.client().time_to_first_token(name)?.as_secs_f64() * 1e3;
                // The first round brings the files into the page cache.
                if round > 0 {
                    times[server][model].cold.push(cold);
                    times[server][model].warm.push(warm);
                }
            }
        }
    }
    for (model, name) in arguments.models.iter().enumerate() {
        let mut line = json!({ "model": name, "rounds": arguments.rounds });
        for (server, (label, _)) in servers.iter().enumerate() {
            let times = &mut times[server][model];
            line[label] = json!({
                "cold_ms": { "median": median(&mut times.cold), "min": times.cold.first(), "max": times.cold.last() },
                "warm_ms": { "median": median(&mut times.warm), "min": times.warm.first(), "max": times.warm.last() },
            });
        }
        if servers.len() == 2 {
            line["cold_ratio"] = json!(median(&mut times[0][model].cold) / median(&mut times[1][model].cold));
        }
        println!("{line}");
    }
    Ok(())
}
