//! Log-probabilities, for clients that score texts.

use serde_json::{Value, json};

use crate::client::post;
use crate::models::{VOCABULARY, byte_ids, good};
use crate::server::Server;

fn score(server: &Server, prompt: &Value) -> Value {
    let body = json!({ "model": "good", "prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 3 });
    server.complete(&body).ok()
}

fn numbers(list: &Value) -> Vec<Option<f64>> {
    list.as_array().unwrap().iter().map(Value::as_f64).collect()
}

#[test]
fn a_prompt_is_scored_without_an_answer() {
    let server = Server::serving(good);
    let answer = score(&server, &json!(byte_ids("a text to score")));
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(15), &json!(0)));
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("a text to score"), &json!("length")));
    let logprobs = &choice["logprobs"];
    let tokens: Vec<&str> = logprobs["tokens"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((tokens.len(), tokens.concat().as_str()), (15, "a text to score"));
    let scores = numbers(&logprobs["token_logprobs"]);
    assert_eq!(scores[0], None, "nothing comes before the first");
    assert!(scores[1..].iter().all(|score| score.is_some_and(|score| score < 0.0)));
    assert_eq!(numbers(&logprobs["text_offset"]), (0..15).map(|at| Some(f64::from(at))).collect::<Vec<_>>());
    for (index, top) in logprobs["top_logprobs"].as_array().unwrap().iter().enumerate().skip(1) {
        let top = top.as_object().unwrap();
        assert!((3..=4).contains(&top.len()), "three, and the token itself where it is none of them");
        assert_eq!(top[tokens[index]].as_f64(), scores[index], "token {index} is found by its text");
        let best = top.values().filter_map(Value::as_f64).fold(f64::NEG_INFINITY, f64::max);
        assert!(best >= scores[index].unwrap());
    }
}

#[test]
fn scores_are_of_the_unmodified_distribution() {
    let server = Server::serving(good);
    let plain = score(&server, &json!("hello there and on"));
    let body = json!({
        "model": "good", "prompt": "hello there and on", "max_tokens": 0, "echo": true, "logprobs": 3,
        "temperature": 0.1, "top_k": 2, "top_p": 0.5, "logit_bias": { "5": 100 }, "repetition_penalty": 2.0,
    });
    assert_eq!(server.complete(&body).ok()["choices"], plain["choices"]);
    // The probabilities of all tokens that may come next are one.
    let body = json!({ "model": "good", "prompt": [5], "max_tokens": 1, "logprobs": 20, "temperature": 0 });
    let choice = server.complete(&body).ok()["choices"][0].clone();
    let top: Vec<f64> =
        choice["logprobs"]["top_logprobs"][0].as_object().unwrap().values().filter_map(Value::as_f64).collect();
    let sum: f64 = top.iter().map(|score| score.exp()).sum();
    assert!((0.05..=1.001).contains(&sum), "20 of {VOCABULARY}: {sum}");
}

#[test]
fn a_scored_answer_equals_the_scored_prompt() {
    let server = Server::serving(good);
    let body = json!({
        "model": "good", "prompt": byte_ids("hello"), "max_tokens": 6, "logprobs": 0, "temperature": 0, "ignore_eos": true,
        "logit_bias": crate::models::letters_only(), "echo": true,
    });
    let generated = server.complete(&body).ok()["choices"][0].clone();
    let text = generated["text"].as_str().unwrap();
    assert_eq!(text.len(), 11);
    let forced = score(&server, &json!(byte_ids(text)))["choices"][0].clone();
    let (a, b) = (&generated["logprobs"]["token_logprobs"], &forced["logprobs"]["token_logprobs"]);
    for (index, (a, b)) in numbers(a).into_iter().zip(numbers(b)).enumerate() {
        let (a, b) = (a.unwrap_or(0.0), b.unwrap_or(0.0));
        assert!((a - b).abs() < 0.02, "token {index}: {a} generated, {b} forced");
    }
}

#[test]
fn echo_without_scores_and_with_an_answer() {
    let server = Server::serving(good);
    let body = |echo: bool, tokens: u32| json!({ "model": "good", "prompt": "hello there", "max_tokens": tokens, "echo": echo, "temperature": 0 });
    let text = |body: &Value| server.complete(body).ok()["choices"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(text(&body(true, 0)), "hello there");
    assert_eq!(text(&body(true, 5)), format!("hello there{}", text(&body(false, 5))));
    server.complete(&body(false, 0)).refused_about(400, "invalid_value", "max_tokens");
}

#[test]
fn chats_show_log_probabilities_and_alternatives() {
    let server = Server::serving(good);
    let body = json!({
        "model": "good", "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 4, "temperature": 0,
        "ignore_eos": true, "logprobs": true, "top_logprobs": 2,
    });
    let choice = server.chat(&body).ok()["choices"][0].clone();
    let content = choice["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(content.len(), 4);
    for token in &content {
        assert!(token["logprob"].as_f64().unwrap() <= 0.0 && token["bytes"].is_array());
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["logprob"]), (2, &token["logprob"]), "greedy: the first is the best");
    }
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let mut connection = server.connect();
    connection.send(post("/v1/chat/completions", &streamed));
    let chunks = connection.events().finish();
    let shown: Vec<Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(shown, content, "each token once");
}
