//! Takes the goldens of the tiny models anew: writes each, asks llama.cpp for log-probabilities, prints them as JSON.
//!
//! `cargo run -p models --example peer_goldens -- PATH/TO/llama-server > models/tests/goldens/tiny.json`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for those who change the fixtures")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

#[path = "../tests/it/peer_models.rs"]
mod peer_models;

use peer_models::{DEPTHS, peer_models, prompt};

const ADDRESS: &str = "127.0.0.1:18931";
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
        let _server = Server::start(&server, &path);
        let answers = DEPTHS.map(|depth| ask(&prompt()[..depth]));
        goldens.insert(model.name, json!(answers));
    }
    // One line for each model, so that a change shows which.
    let lines: Vec<String> = goldens.iter().map(|(name, answers)| format!("\"{name}\": {answers}")).collect();
    println!("{{\n{}\n}}", lines.join(",\n"));
}

/// A server that is ready, and ends when this is dropped: also when an answer is not what was expected.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, and needs not.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Keys and values are 32-bit floats, so that nothing but the weights is rounded.
    fn start(server: &str, model: &Path) -> Self {
        let (host, port) = ADDRESS.split_once(':').unwrap();
        let child = Command::new(server)
            .arg("-m")
            .arg(model)
            .args(["--host", host, "--port", port, "-fa", "off", "-ctk", "f32", "-ctv", "f32"])
            .args(["--no-warmup", "-t", "2", "-c", "512", "-np", "1", "--no-webui"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut server = Self(child.unwrap());
        let mut log = BufReader::new(server.0.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "llama-server ended before it served {}", model.display());
            eprint!("{line}");
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        server
    }
}

/// The likeliest next tokens after `tokens`: pairs of id and log-probability.
fn ask(tokens: &[u32]) -> Vec<Value> {
    // What is told is the distribution before sampling. The token that is sampled must be a whole character and not
    // the end, or nothing is told at all: a letter is forced.
    let body = json!({
        "prompt": tokens, "n_predict": 1, "n_probs": TOP, "temperature": 0, "cache_prompt": false,
        "logit_bias": [[LETTER, 1000]],
    });
    let body = body.to_string();
    let mut socket = TcpStream::connect(ADDRESS).unwrap();
    write!(
        socket,
        "POST /completion HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"));
    assert_eq!(answer["tokens_evaluated"], tokens.len(), "{answer}");
    let top = answer["completion_probabilities"][0]["top_logprobs"].as_array();
    let top = top.unwrap_or_else(|| panic!("no log-probabilities: {answer}"));
    let rounded = |logprob: &Value| (logprob.as_f64().unwrap() * 1e5).round() / 1e5;
    top.iter().map(|token| json!([token["id"], rounded(&token["logprob"])])).collect()
}
