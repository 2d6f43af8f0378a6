//! Takes the goldens of the tiny models anew: writes each, asks llama.cpp for log-probabilities, prints them as JSON.
//!
//! `cargo run -p models --example peer_goldens -- PATH/TO/llama-server > models/tests/goldens/tiny.json`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for those who change the fixtures")]

use serde_json::{Map, Value, json};

mod llama_server;
#[path = "../tests/it/peer_models.rs"]
mod peer_models;

use llama_server::Server;
use peer_models::{DEPTHS, peer_models, prompt};

/// The id of "A": three control tokens, then the bytes.
const LETTER: u32 = 3 + b'A' as u32;
/// Likeliest tokens that are kept of each answer.
const TOP: usize = 12;

fn main() {
    let server = std::env::args().nth(1).expect("the path of llama-server");
    let folder = tempfile::tempdir().unwrap();
    let mut goldens = Map::new();
    for model in peer_models() {
        let path = folder.path().join(format!("{}.gguf", model.name));
        model.file.write_to(&path).unwrap();
        let server = Server::start(&server, &path, &[]);
        let answers = DEPTHS.map(|depth| ask(&server, &prompt()[..depth]));
        goldens.insert(model.name, json!(answers));
    }
    // One line for each model, so that a change shows which.
    let lines: Vec<String> = goldens.iter().map(|(name, answers)| format!("\"{name}\": {answers}")).collect();
    println!("{{\n{}\n}}", lines.join(",\n"));
}

/// The likeliest next tokens after `tokens`: pairs of id and log-probability.
fn ask(server: &Server, tokens: &[u32]) -> Vec<Value> {
    // What is told is the distribution before sampling. The token that is sampled must be a whole character and not
    // the end, or nothing is told at all: a letter is forced.
    let body = json!({
        "prompt": tokens, "n_predict": 1, "n_probs": TOP, "temperature": 0, "cache_prompt": false,
        "logit_bias": [[LETTER, 1000]],
    });
    let answer = server.post("/completion", &body);
    assert_eq!(answer["tokens_evaluated"], tokens.len(), "{answer}");
    let top = answer["completion_probabilities"][0]["top_logprobs"].as_array();
    let top = top.unwrap_or_else(|| panic!("no log-probabilities: {answer}"));
    let rounded = |logprob: &Value| (logprob.as_f64().unwrap() * 1e5).round() / 1e5;
    top.iter().map(|token| json!([token["id"], rounded(&token["logprob"])])).collect()
}
