//! What two models keep of their throughput when both are asked at once: the sum of the parts of what each does alone.
//!
//! Endless streams, as many for each model; tokens are counted within a window that begins when the caches and queues are
//! filled, so that neither model ever computes alone in the round of both.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use benches::closed_loop::{Window, tokens_per_second};
use benches::median;
use benches::server::Server;
use benches::streams::{Requests, Shape};
use clap::Parser;
use comfy_table::{Table, presets};
use serde_json::json;

/// Throughput of two models alone and at once.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// The GGUF files of the two models.
    #[arg(long, num_args = 2, required = true)]
    models: Vec<PathBuf>,
    /// Streams at a time of each model.
    #[arg(long, default_value_t = 4)]
    streams: usize,
    /// Words of a prompt; about as many tokens.
    #[arg(long, default_value_t = 64)]
    prompt_words: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Seconds before tokens are counted.
    #[arg(long, default_value_t = 3)]
    settle: u64,
    /// Seconds in which they are.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Rounds of each model alone, then both.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let files: Vec<_> = arguments.models.iter().map(PathBuf::as_path).collect();
    let server = Server::dayfly_over(&arguments.dayfly, &files, "")?;
    let shape = Shape { prompt_words: arguments.prompt_words, shared: 0.0, tokens: arguments.tokens };
    let names: Vec<String> = arguments
        .models
        .iter()
        .map(|file| Ok(file.file_stem().context("a path of a file")?.to_string_lossy().into_owned()))
        .collect::<anyhow::Result<_>>()?;
    let models: Vec<Requests> = names.iter().map(|name| Requests::new(server.client(), name, shape)).collect();
    let both: Vec<&Requests> = models.iter().collect();
    let rates = |kinds: &[&Requests]| {
        let window = Window::after(Duration::from_secs(arguments.settle), Duration::from_secs(arguments.seconds));
        tokens_per_second(kinds, arguments.streams, window)
    };
    // Loads them.
    for model in &models {
        model.whole()?;
    }
    let (mut alone, mut together, mut kept) = ([vec![], vec![]], [vec![], vec![]], Vec::new());
    for round in 0..arguments.rounds {
        let mut sum = 0.0;
        let each: Vec<f64> = both.iter().map(|model| Ok(rates(&[model])?[0])).collect::<anyhow::Result<_>>()?;
        let at_once = rates(&both)?;
        for model in 0..both.len() {
            sum += at_once[model] / each[model];
            alone[model].push(each[model]);
            together[model].push(at_once[model]);
        }
        kept.push(sum);
        println!("{}", json!({ "round": round, "alone": each, "together": at_once, "sum_of_parts": sum }));
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["model", "tokens/s alone", "together", "part"]);
    for (model, name) in names.iter().enumerate() {
        let (alone, together) = (median(&mut alone[model]), median(&mut together[model]));
        table.add_row([
            name.clone(),
            format!("{alone:.1}"),
            format!("{together:.1}"),
            format!("{:.2}", together / alone),
        ]);
    }
    let sum = median(&mut kept);
    table.add_row(["sum".to_owned(), String::new(), String::new(), format!("{sum:.2}")]);
    let line = json!({ "models": names, "streams_each": arguments.streams, "rounds": arguments.rounds, "sum_of_parts": sum,
                       "sum_of_parts_min": kept.first(), "sum_of_parts_max": kept.last() });
    println!("{line}\n\n{table}");
    Ok(())
}
