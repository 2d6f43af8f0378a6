//! The real MiniLM, a folder of safetensors, asked over HTTP.

use etcetera::BaseStrategy as _;
use loader::pull::{PullRequest, Silent, pull};
use serde_json::json;

use crate::server::Options;

#[test]
fn minilm_tells_likeness() {
    let folder = etcetera::choose_base_strategy().unwrap().data_dir().join("dayfly").join("models");
    pull(&PullRequest::parse("minilm", &folder).unwrap(), &Silent).unwrap();
    let server = Options::with_models_in(folder).start();
    let sentences = [
        "How do I reset my password?",
        "I forgot my login details and cannot sign in.",
        "The quick brown fox jumps over the lazy dog.",
    ];
    let answer = server.post("/v1/embeddings", &json!({ "model": "minilm", "input": sentences })).ok();
    let vector = |index: usize| -> Vec<f64> {
        let numbers = answer["data"][index]["embedding"].as_array().unwrap();
        numbers.iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let likeness = |a: usize, b: usize| vector(a).iter().zip(vector(b)).map(|(a, b)| a * b).sum::<f64>();
    assert_eq!(vector(0).len(), 384);
    assert!(likeness(0, 1) > 0.5 && likeness(0, 2) < 0.1, "{} {}", likeness(0, 1), likeness(0, 2));
    assert_eq!(answer["dayfly"]["model"], "all-MiniLM-L6-v2");
}
