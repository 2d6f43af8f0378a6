//! A real model, end to end. Pulled into the user's models directory if it is not there, where later runs find it.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;
use loader::pull::{PullRequest, Silent, pull};
use serde_json::{Value, json};

use crate::client::{post, text_of};
use crate::server::Options;

/// Where `dayfly pull smollm2` puts it.
pub(crate) fn models_dir() -> PathBuf {
    let folder = etcetera::choose_base_strategy().unwrap().data_dir().join("dayfly").join("models");
    pull(&PullRequest::parse("smollm2", &folder).unwrap(), &Silent).unwrap();
    folder
}

#[test]
fn smollm2_is_asked_and_answers() {
    let server = Options::with_models_in(models_dir()).config("ctx_max = 512").start();
    let body = json!({
        "model": "smollm2", "max_tokens": 24, "temperature": 0,
        "messages": [{ "role": "user", "content": "What is the capital of France? Answer in one sentence." }],
    });
    let answer = server.chat(&body).ok();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("Paris"), "{text:?}");
    assert_eq!(answer["dayfly"]["model"], "SmolLM2-135M-Instruct.Q4_1");
    assert_eq!(answer["dayfly"]["cold"], true);
    assert!(answer["dayfly"]["energy"]["joules"].as_f64().unwrap() > 0.0);

    let mut streamed = body;
    streamed["stream"] = json!(true);
    streamed["keep_alive"] = json!(0);
    let mut connection = server.connect();
    connection.send(post("/v1/chat/completions", &streamed));
    assert_eq!(text_of(&connection.events().finish(), 0), text);
    server.wait_for_status("SmolLM2-135M-Instruct.Q4_1", "unloaded");

    // After eviction, from the kept header: the same model.
    let raw = json!({ "model": "smollm2", "prompt": "The capital of France is", "max_tokens": 1, "temperature": 0, "logprobs": 2 });
    let answer = server.complete(&raw).ok();
    assert_eq!(answer["choices"][0]["text"], " Paris", "{answer}");
    assert_eq!(answer["dayfly"]["cold"], true);
    let ids = server.post("/tokenize", &json!({ "model": "smollm2", "content": "The capital of France is" })).ok();
    let ids: Vec<u64> = ids["tokens"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    let again = json!({ "model": "smollm2", "prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 2 });
    assert_eq!(server.complete(&again).ok()["choices"], answer["choices"]);
    server.settled_rows(4);
}
