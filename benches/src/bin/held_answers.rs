//! Answers that keep to a JSON schema, beside answers to the same prompts that keep to nothing: what finding the allowed
//! tokens costs a stream, alone and beside others.
//!
//! One server, without drafts, which come true more often in one kind of text than in the other. Each round asks both kinds
//! by turns for the same number of tokens: no answer that keeps to the schema is whole before. A figure is tokens a second
//! of all streams while they decode, by their receipts: prompts, and the first request's compilation, are not in it.

use anyhow::{Context as _, ensure};
use benches::client::{Answer, Client};
use benches::server::Server;
use benches::streams::words;
use benches::subject::Subject;
use benches::{median, spread};
use clap::Parser;
use serde_json::{Value, json};

/// Tokens a second with a schema and without.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Streams at a time, each number in its turn.
    #[arg(long, num_args = 1.., default_values_t = [1, 8])]
    streams: Vec<usize>,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Threads of the server.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds; each kind has its turn in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What answers keep to.
#[derive(Clone, Copy)]
enum Kind {
    /// Nothing.
    Free,
    /// The schema.
    Held,
}

impl Kind {
    /// The body of request `number`.
    fn body(self, model: &str, number: u64, tokens: usize) -> Value {
        let topic: Vec<&str> = words(number).take(2).collect();
        let prompt = format!("As JSON, a long list of sentences about a {}:\n", topic.join(" and a "));
        let mut body = json!({ "model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0.7, "top_p": 0.9,
                               "seed": number });
        match self {
            Self::Free => body["ignore_eos"] = json!(true),
            Self::Held => {
                // An item takes a token at least, and so does what stands between two.
                let list = json!({ "type": "array", "minItems": tokens / 2 + 1, "items": { "type": "string" } });
                body["guided_json"] = json!({ "type": "object", "required": ["list"], "properties": { "list": list } });
            }
        }
        body
    }
}

/// Tokens a second of `streams` requests at once, from number `first` on.
fn turn(client: &Client, arguments: &Arguments, kind: Kind, (streams, first): (usize, u64)) -> anyhow::Result<f64> {
    let model = arguments.subject.model()?;
    let bodies: Vec<Value> =
        (first..).take(streams).map(|number| kind.body(&model, number, arguments.tokens)).collect();
    let answers = client.post_at_once("/v1/completions", &bodies)?;
    answers.iter().map(|answer| rate(answer, arguments.tokens)).sum()
}

/// Of one answer of this many tokens, from its first token to its last.
fn rate(answer: &Answer, tokens: usize) -> anyhow::Result<f64> {
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    let receipt = &answer.body["dayfly"];
    let made = receipt["tokens"]["completion"].as_u64().context("an answer without a receipt")?;
    ensure!(made == tokens as u64, "an answer of {made} tokens: {}", answer.body["choices"][0]["text"]);
    let decoding = receipt["times"]["decode_ns"].as_u64().context("a receipt without times")?;
    Ok((made - 1) as f64 / (decoding as f64 / 1e9))
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = format!("threads = {}\n[scheduler]\nspeculation = \"off\"\n", arguments.threads);
    let server = arguments.subject.start(&config)?;
    for &streams in &arguments.streams {
        measure(&arguments, &server, streams)?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, server: &Server, streams: usize) -> anyhow::Result<()> {
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..=arguments.rounds as u64 {
        let first = round * streams as u64;
        // Who goes first alternates.
        let order = if round % 2 == 0 { [Kind::Free, Kind::Held] } else { [Kind::Held, Kind::Free] };
        let mut turns = [0.0; 2];
        for kind in order {
            turns[kind as usize] = turn(server.client(), arguments, kind, (streams, first))?;
        }
        // The first round brings the model in and compiles, and is not counted.
        if round > 0 {
            let [free, held] = turns;
            rates[0].push(free);
            rates[1].push(held);
            ratios.push(held / free);
        }
    }
    println!(
        "{}",
        json!({
            "model": arguments.subject.model()?,
            "streams": streams,
            "tokens_per_second": { "free": median(&mut rates[0]), "held": median(&mut rates[1]) },
            "ratio": spread(&mut ratios),
        })
    );
    Ok(())
}
