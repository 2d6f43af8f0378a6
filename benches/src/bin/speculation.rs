//! Drafts, beside none: one server that computes ahead what may follow, and one that does not, asked by turns.
//!
//! Two kinds of text: one that repeats what stands in its prompt (a list to be said again), and ordinary conversation, drawn
//! by chance from a seed. Each round asks something else, both servers the same; their answers must be the same to the
//! letter. A figure is tokens a second of all answers of a round, from the request to its end.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use benches::client::Client;
use benches::server::Server;
use benches::streams::words;
use benches::subject::Subject;
use benches::{median, spread};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

/// Tokens a second with drafts and without.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Kinds of text.
    #[arg(long, num_args = 1.., default_values = ["copy", "talk"])]
    texts: Vec<Text>,
    /// Streams at a time.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Threads of each server.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds; each server has its turn in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Text {
    /// A list, and that list again.
    Copy,
    /// An answer to a question.
    Talk,
}

/// What one turn came to.
#[derive(Default)]
struct Turn {
    seconds: f64,
    tokens: u64,
    accepted: u64,
    rejected: u64,
    texts: Vec<String>,
}

impl Text {
    /// The body of request `number`.
    fn body(self, model: &str, number: u64, tokens: usize) -> Value {
        let mut words = words(number);
        let mut some = |count: usize| words.by_ref().take(count).collect::<Vec<_>>().join(" ");
        match self {
            Self::Copy => {
                let list = (1..=20).map(|index| format!("{index}. {}\n", some(3))).collect::<String>();
                let prompt = format!("The list:\n{list}\nThe same list again:\n{list}\nThe same list again:\n");
                json!({ "model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true })
            }
            Self::Talk => {
                let prompt = format!(
                    "<|im_start|>user\nTell me something about a {} and a {}.<|im_end|>\n<|im_start|>assistant\n",
                    some(1),
                    some(1)
                );
                json!({ "model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0.7, "top_p": 0.9,
                        "seed": number, "ignore_eos": true })
            }
        }
    }
}

/// `streams` requests at once, from number `first` on.
fn turn(client: &Client, arguments: &Arguments, text: Text, first: u64) -> anyhow::Result<Turn> {
    let model = arguments.subject.model()?;
    let began = Instant::now();
    let bodies: Vec<Value> =
        (first..).take(arguments.streams).map(|number| text.body(&model, number, arguments.tokens)).collect();
    let answers = client.post_at_once("/v1/completions", &bodies)?;
    let mut turn = Turn { seconds: began.elapsed().as_secs_f64(), ..Turn::default() };
    for answer in answers {
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let usage = &answer.body["usage"];
        let drafts = |field: &str| usage["completion_tokens_details"][field].as_u64().unwrap_or(0);
        turn.tokens += usage["completion_tokens"].as_u64().context("an answer without its usage")?;
        turn.accepted += drafts("accepted_prediction_tokens");
        turn.rejected += drafts("rejected_prediction_tokens");
        turn.texts.push(answer.body["choices"][0]["text"].as_str().unwrap_or_default().to_owned());
    }
    Ok(turn)
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let server = |speculation: &str| {
        let config = format!("threads = {}\n[scheduler]\nspeculation = \"{speculation}\"\n", arguments.threads);
        arguments.subject.start(&config)
    };
    let (auto, off) = (server("auto")?, server("off")?);
    for &text in &arguments.texts {
        measure(&arguments, text, [&auto, &off])?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, text: Text, servers: [&Server; 2]) -> anyhow::Result<()> {
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    let mut drafts = (0, 0);
    for round in 0..=arguments.rounds as u64 {
        let first = round * arguments.streams as u64;
        // Who goes first alternates.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut turns = [Turn::default(), Turn::default()];
        for index in order {
            turns[index] = turn(servers[index].client(), arguments, text, first)?;
        }
        ensure!(turns[0].texts == turns[1].texts, "{text:?}, round {round}: drafts changed a text");
        // The first round brings the model in, and is not counted.
        if round > 0 {
            let [auto, off] = turns.each_ref().map(|turn| turn.tokens as f64 / turn.seconds);
            rates[0].push(auto);
            rates[1].push(off);
            ratios.push(auto / off);
            drafts = (drafts.0 + turns[0].accepted, drafts.1 + turns[0].rejected);
        }
    }
    println!(
        "{}",
        json!({
            "model": arguments.subject.model()?,
            "text": format!("{text:?}").to_lowercase(),
            "streams": arguments.streams,
            "tokens_per_second": { "auto": median(&mut rates[0]), "off": median(&mut rates[1]) },
            "ratio": spread(&mut ratios),
            "drafts": { "accepted": drafts.0, "rejected": drafts.1 },
        })
    );
    Ok(())
}
