//! Whatever interface a request comes by, it is a request like any other: deadlines, faults, cancellation, keys and what is
//! charged once. Rows are those of the table of faults.

use std::fs::OpenOptions;

use meter::Outcome;
use serde_json::{Value, json};

use crate::client::{Response, request, until};
use crate::models::{good, slow, write};
use crate::server::{SOON, Server};

/// Long streams of `model`, by the paths of all interfaces but OpenAI's older one.
fn streams(model: &str) -> [(&'static str, Value); 5] {
    let messages = json!([{ "role": "user", "content": "on and on" }]);
    let options = json!({ "num_predict": 60_000, "temperature": 0 });
    [
        ("/api/generate", json!({ "model": model, "prompt": "on and on", "raw": true, "options": options })),
        ("/api/chat", json!({ "model": model, "messages": messages, "options": options })),
        (
            "/v1/messages",
            json!({ "model": model, "messages": messages, "max_tokens": 60_000, "temperature": 0, "stream": true }),
        ),
        (
            "/completion",
            json!({ "model": model, "prompt": "on and on", "n_predict": 60_000, "ignore_eos": true, "stream": true }),
        ),
        (
            "/v1/responses",
            json!({ "model": model, "input": messages, "max_output_tokens": 60_000, "temperature": 0, "stream": true }),
        ),
    ]
}

fn post(path: &str, headers: &[&str], body: &Value) -> Vec<u8> {
    let headers = [&["content-type: application/json"], headers].concat();
    request("POST", path, &headers, body.to_string().as_bytes())
}

/// An error's message in the words of the interface that `path` belongs to.
#[track_caller]
fn message(path: &str, told: &Value) -> String {
    let error = match path {
        "/api/generate" | "/api/chat" => &told["error"],
        "/v1/responses" if told["type"] == "response.failed" => &told["response"]["error"]["message"],
        _ => &told["error"]["message"],
    };
    error.as_str().unwrap_or_else(|| panic!("no message: {told}")).to_owned()
}

/// The last thing that a stream tells.
#[track_caller]
fn last(text: &str) -> Value {
    let line = text.trim_end().lines().last().unwrap();
    serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).unwrap_or_else(|_| panic!("no JSON: {line:?}"))
}

#[test]
fn row_11_a_stream_that_fails_ends_with_its_error() {
    for (path, body) in streams("slow") {
        let server = Server::serving(|folder| {
            good(folder);
            write(folder, "slow", &slow());
        });
        let mut connection = server.connect();
        connection.send(post(path, &[], &body));
        assert_eq!(connection.head().unwrap().0, 200, "{path}");
        let file = server.models_dir().join("slow.gguf");
        OpenOptions::new().write(true).open(file).unwrap().set_len(4096).unwrap();
        let chunks: Vec<u8> = std::iter::from_fn(|| connection.chunk().unwrap()).flatten().collect();
        let told = last(&String::from_utf8(chunks).unwrap());
        assert!(message(path, &told).contains("file changed"), "{path}: {told}");
        server.answers("good");
    }
}

#[test]
fn row_24_a_client_that_leaves_cancels() {
    let server = Server::serving(|folder| write(folder, "slow", &slow()));
    let streams = streams("slow");
    for (path, body) in &streams {
        let mut connection = server.connect();
        connection.send(post(path, &[], body));
        assert_eq!(connection.head().unwrap().0, 200, "{path}");
        drop(connection);
        until("nobody uses the model", SOON, || (server.model("slow")["leases"] == 0).then_some(()));
    }
    let rows = server.settled_rows(streams.len());
    assert!(rows.iter().all(|row| row.outcome == Some(Outcome::Cancelled)), "{rows:?}");
}

#[test]
fn row_35_a_deadline_that_passes_is_told_in_each_one_s_words() {
    let server = Server::serving(good);
    for (path, body) in streams("good") {
        let response: Response = server.send(&post(path, &["x-request-timeout: 0.000001"], &body));
        assert_eq!(response.status, 504, "{path}: {response}");
        assert!(message(path, &response.json()).contains("time was over"), "{path}: {response}");
    }
}

#[test]
fn row_46_a_request_that_comes_again_is_charged_once() {
    let server = Server::serving(good);
    for (number, (path, mut body)) in (0..).zip(streams("good")) {
        body["stream"] = json!(false);
        for (name, few) in [("max_tokens", 2), ("n_predict", 2), ("max_output_tokens", 2)] {
            if body.get(name).is_some() {
                body[name] = json!(few);
            }
        }
        if body.get("options").is_some() {
            body["options"]["num_predict"] = json!(2);
        }
        let key = format!("idempotency-key: {number}");
        assert_eq!(server.send(&post(path, &[&key], &body)).status, 200, "{path}");
        let again = server.send(&post(path, &[&key], &body));
        assert_eq!(again.status, 409, "{path}: {again}");
        assert!(again.header("location").is_some_and(|location| location.starts_with("/v1/usage/")));
        assert!(message(path, &again.json()).contains("Idempotency-Key"), "{path}: {again}");
    }
    server.settled_rows(5);
}

#[test]
fn a_tag_that_says_nothing_is_left_away_by_every_interface() {
    let server = Server::serving(good);
    let messages = json!([{ "role": "user", "content": "hello" }]);
    for (path, mut body) in [
        ("/v1/chat/completions", json!({ "messages": messages, "max_tokens": 1 })),
        ("/v1/completions", json!({ "prompt": "hello", "max_tokens": 1 })),
        ("/v1/responses", json!({ "input": "hello", "max_output_tokens": 1 })),
        ("/v1/messages", json!({ "messages": messages, "max_tokens": 1 })),
        ("/completion", json!({ "prompt": "hello", "n_predict": 1 })),
        ("/api/chat", json!({ "messages": messages, "stream": false, "options": { "num_predict": 1 } })),
        ("/tokenize", json!({ "content": "hello" })),
    ] {
        body["model"] = json!("good:latest");
        server.post(path, &body).ok();
    }
    assert_eq!(server.get("/v1/models/good:latest").ok()["id"], "good");
    server.get("/v1/models/good:8b").refused_about(404, "model_not_found", "model");
}
