//! Takes the goldens of the tiny encoders anew: writes each, asks llama.cpp for vectors or scores, prints them as JSON.
//!
//! `cargo run -p models --example peer_embeddings -- PATH/TO/llama-server > models/tests/goldens/encoders.json`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for those who change the fixtures")]

use serde_json::{Value, json};

mod llama_server;
#[path = "../tests/it/peer_encoders.rs"]
mod peer_encoders;

use llama_server::Server;
use loader::fixture::EncoderPooling;
use peer_encoders::{DOCUMENTS, QUERY, peer_encoders, texts};

fn main() {
    let server = std::env::args().nth(1).expect("the path of llama-server");
    let folder = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for encoder in peer_encoders() {
        let path = folder.path().join(format!("{}.gguf", encoder.name));
        encoder.file.write_to(&path).unwrap();
        let answers = match encoder.pooling {
            EncoderPooling::Rank => scores(&Server::start(&server, &path, &["--reranking"])),
            _ => vectors(&Server::start(&server, &path, &["--embeddings"])),
        };
        lines.push(format!("\"{}\": {answers}", encoder.name));
    }
    println!("{{\n{}\n}}", lines.join(",\n"));
}

fn rounded(number: &Value) -> Value {
    json!((number.as_f64().unwrap() * 1e6).round() / 1e6)
}

/// A vector of length one for each text.
fn vectors(server: &Server) -> Value {
    let answer = server.post("/v1/embeddings", &json!({ "input": texts() }));
    let data = answer["data"].as_array().unwrap_or_else(|| panic!("no vectors: {answer}"));
    data.iter().map(|text| text["embedding"].as_array().unwrap().iter().map(rounded).collect::<Value>()).collect()
}

/// A score for each document.
fn scores(server: &Server) -> Value {
    let answer = server.post("/v1/rerank", &json!({ "query": QUERY, "documents": DOCUMENTS }));
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("no scores: {answer}"));
    let score = |index: usize| results.iter().find(|result| result["index"] == index).unwrap();
    (0..DOCUMENTS.len()).map(|index| rounded(&score(index)["relevance_score"])).collect()
}
