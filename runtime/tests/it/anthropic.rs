//! Anthropic's messages: shapes, streams, what is refused and in which words.

use serde_json::{Value, json};

use crate::client::{Response, request};
use crate::models::good;
use crate::server::Server;

fn body(tokens_max: u64) -> Value {
    json!({
        "model": "good", "max_tokens": tokens_max, "temperature": 0,
        "messages": [{ "role": "user", "content": "hello" }],
    })
}

/// The events of a stream, each called as its `type` says.
#[track_caller]
fn events(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = response.text();
    let event = |block: &str| {
        let (name, data) = block.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    text.split_terminator("\n\n").map(event).collect()
}

#[track_caller]
fn refused(response: &Response, status: u16, kind: &str) -> String {
    assert_eq!(response.status, status, "{response}");
    let body = response.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_has_its_shape_and_is_metered() {
    let server = Server::serving(good);
    let answer = server.post("/v1/messages", &body(8)).ok();
    assert_eq!(
        (&answer["type"], &answer["role"], &answer["model"]),
        (&json!("message"), &json!("assistant"), &json!("good"))
    );
    let chat = json!({ "model": "good", "messages": body(8)["messages"], "max_tokens": 8, "temperature": 0 });
    let expected = server.chat(&chat).ok();
    let text = &expected["choices"][0]["message"]["content"];
    assert_eq!(answer["content"], json!([{ "type": "text", "text": text }]));
    let ended = if answer["usage"]["output_tokens"] == 8 { "max_tokens" } else { "end_turn" };
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!(ended), &Value::Null));
    let (usage, tokens) = (&answer["usage"], &answer["dayfly"]["tokens"]);
    let sum = |names: [&str; 2]| names.iter().map(|name| usage[*name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(json!(sum(["input_tokens", "cache_read_input_tokens"])), tokens["prompt"]);
    assert_eq!(usage["output_tokens"], tokens["completion"]);
    let id = answer["id"].as_str().unwrap();
    assert!(id.starts_with("msg_"));
    assert_eq!(server.settled(id)["tokens"], *tokens);
    server.settled_rows(2);
}

#[test]
fn a_stream_makes_the_same_message() {
    let server = Server::serving(good);
    let whole = server.post("/v1/messages", &body(8)).ok();
    let mut streamed = body(8);
    streamed["stream"] = json!(true);
    let events = events(&server.post("/v1/messages", &streamed));
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["message_start", "ping", "content_block_start"]);
    let (end, deltas) = (&events[events.len() - 3..], &events[3..events.len() - 3]);
    assert_eq!(kinds[events.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert!(!deltas.is_empty() && deltas.iter().all(|event| event["type"] == "content_block_delta"));
    let text: String = deltas.iter().map(|event| event["delta"]["text"].as_str().unwrap()).collect();
    assert_eq!(json!(text), whole["content"][0]["text"]);
    let start = &events[0]["message"];
    let prompt = whole["dayfly"]["tokens"]["prompt"].as_u64();
    assert_eq!((start["usage"]["input_tokens"].as_u64(), &start["content"]), (prompt, &json!([])));
    assert!(start["stop_reason"].is_null());
    assert_eq!(end[1]["delta"]["stop_reason"], whole["stop_reason"]);
    assert_eq!(end[1]["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    assert_eq!(end[1]["dayfly"]["id"], start["id"]);
}

#[test]
fn the_text_that_ends_an_answer_is_named() {
    let server = Server::serving(good);
    let chat = json!({ "model": "good", "messages": body(1)["messages"], "max_tokens": 24, "temperature": 0 });
    let text = server.chat(&chat).ok()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let stop: String = text.chars().skip(2).take(1).collect();
    let mut stopped = body(24);
    stopped["stop_sequences"] = json!(["never said", stop]);
    let answer = server.post("/v1/messages", &stopped).ok();
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
    assert!(text.starts_with(answer["content"][0]["text"].as_str().unwrap()));
    stopped["stream"] = json!(true);
    let events = events(&server.post("/v1/messages", &stopped));
    let delta = &events[events.len() - 2]["delta"];
    assert_eq!((&delta["stop_reason"], &delta["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
}

#[test]
fn an_answer_that_may_be_longer_than_there_is_room_ends_with_the_context() {
    let server = crate::server::Options::with_models(good).flag("--ctx-max", "64").start();
    let mut endless = body(32_000);
    let prompt = server.post("/v1/messages", &body(1)).ok()["dayfly"]["tokens"]["prompt"].as_u64().unwrap();
    // What ends a text is never drawn.
    let chat = json!({
        "model": "good", "messages": endless["messages"], "max_tokens": 64 - prompt, "temperature": 0, "ignore_eos": false,
    });
    let bounded = server.chat(&chat).ok();
    let answer = server.post("/v1/messages", &endless).ok();
    assert_eq!(answer["content"][0]["text"], bounded["choices"][0]["message"]["content"]);
    let is_cut = bounded["choices"][0]["finish_reason"] == "length";
    assert!(is_cut, "the model goes on and on");
    assert_eq!(answer["stop_reason"], "model_context_window_exceeded");
    assert_eq!(answer["usage"]["output_tokens"], 64 - prompt);
    endless["stream"] = json!(true);
    let events = events(&server.post("/v1/messages", &endless));
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "model_context_window_exceeded");
    assert_eq!(server.post("/v1/messages", &body(64 - prompt)).ok()["stop_reason"], "max_tokens");
}

#[test]
fn tokens_are_counted_as_they_would_be_used() {
    let server = Server::serving(good);
    let mut counted = body(1);
    counted["system"] = json!("be brief");
    let answer = server.post("/v1/messages", &counted).ok();
    let counting = json!({ "model": "good", "system": "be brief", "messages": counted["messages"] });
    let count = server.post("/v1/messages/count_tokens", &counting).ok();
    assert_eq!(count, json!({ "input_tokens": answer["dayfly"]["tokens"]["prompt"] }));
    let long = json!({ "model": "good", "messages": [{ "role": "user", "content": "hello ".repeat(1000) }] });
    assert!(server.post("/v1/messages/count_tokens", &long).ok()["input_tokens"].as_u64().unwrap() > 512);
    let too_long = json!({ "model": "good", "messages": [{ "role": "user", "content": "a".repeat((1 << 20) + 1) }] });
    refused(&server.post("/v1/messages/count_tokens", &too_long), 400, "invalid_request_error");
    server.settled_rows(1);
}

#[test]
fn errors_are_told_in_its_words() {
    let server = Server::serving(good);
    let with = |name: &str, value: Value| {
        let mut changed = body(1);
        changed[name] = value;
        server.post("/v1/messages", &changed)
    };
    let invalid = "invalid_request_error";
    assert!(refused(&with("model", json!("none")), 404, "not_found_error").contains("none"));
    assert!(refused(&with("tools", json!([{ "name": "t" }])), 400, invalid).contains("tools"));
    assert!(refused(&with("max_tokens", Value::Null), 400, invalid).contains("max_tokens"));
    let long = json!([{ "role": "user", "content": "hello ".repeat(1000) }]);
    assert!(refused(&with("messages", long), 400, invalid).starts_with("prompt is too long: "));
    let used = json!({ "type": "tool_use", "id": "t", "name": "f", "input": {} });
    let said = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": [used] }]);
    assert!(refused(&with("messages", said), 400, invalid).contains("assistant"));
    refused(&server.get("/v1/messages"), 405, invalid);
    refused(&server.send(&request("POST", "/v1/messages", &[], b"{}")), 415, invalid);
    let version = |version: &str| {
        let headers = ["content-type: application/json", version];
        server.send(&request("POST", "/v1/messages", &headers, body(1).to_string().as_bytes()))
    };
    assert!(refused(&version("anthropic-version: 2023-01-01"), 400, invalid).contains("anthropic-version"));
    for known in ["2023-06-01", "2026-10-21"] {
        assert_eq!(version(&format!("anthropic-version: {known}")).status, 200);
    }
    server.settled_rows(2);
}
