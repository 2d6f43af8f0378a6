//! OpenAI's responses: shapes, streams, what is refused.

use serde_json::{Value, json};

use crate::client::Response;
use crate::models::good;
use crate::server::Server;

fn body() -> Value {
    json!({ "model": "good", "input": "hello", "instructions": "be brief", "max_output_tokens": 8, "temperature": 0 })
}

/// The events of a stream, each called as its `type` says, and numbered.
#[track_caller]
fn events(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response}");
    let text = response.text();
    let event = |(number, block): (usize, &str)| {
        let (name, data) = block.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(data["sequence_number"], number);
        data
    };
    text.split_terminator("\n\n").enumerate().map(event).collect()
}

#[test]
fn tokens_of_an_input_are_counted_as_they_would_be_used() {
    let server = Server::serving(good);
    let asked = json!({ "model": "good", "instructions": "Be brief.", "input": "hello", "max_output_tokens": 1 });
    let used = server.post("/v1/responses", &asked).ok()["usage"]["input_tokens"].clone();
    let counted = server.post("/v1/responses/input_tokens", &asked).ok();
    assert_eq!(counted, json!({ "object": "response.input_tokens", "input_tokens": used }));
    let long = json!({ "model": "good", "input": "a".repeat((1 << 20) + 1) });
    server.post("/v1/responses/input_tokens", &long).refused_about(400, "invalid_value", "input");
    server.settled_rows(1);
}

#[test]
fn a_response_has_its_shape_and_is_metered() {
    let server = Server::serving(good);
    let messages = json!([{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hello" }]);
    let chat = json!({ "model": "good", "messages": messages, "max_tokens": 8, "temperature": 0 });
    let expected = server.chat(&chat).ok();
    let answer = server.post("/v1/responses", &body()).ok();
    let message = &answer["output"][0];
    assert_eq!(message["content"][0]["text"], expected["choices"][0]["message"]["content"]);
    let is_cut = expected["choices"][0]["finish_reason"] == "length";
    let (status, details) =
        if is_cut { ("incomplete", json!({ "reason": "max_output_tokens" })) } else { ("completed", Value::Null) };
    assert_eq!((&answer["status"], &answer["incomplete_details"]), (&json!(status), &details));
    assert_eq!(
        (&message["type"], &message["role"], &message["status"]),
        (&json!("message"), &json!("assistant"), &json!(status))
    );
    let (usage, tokens) = (&answer["usage"], &answer["dayfly"]["tokens"]);
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&tokens["prompt"], &tokens["completion"]));
    assert_eq!((&usage["total_tokens"], &answer["store"]), (&tokens["total"], &json!(false)));
    let id = answer["id"].as_str().unwrap();
    assert!(id.starts_with("resp_"));
    assert_eq!(server.settled(id)["tokens"], *tokens);
    assert_eq!(server.get(&format!("/v1/responses/{id}")).status, 404, "nothing is stored");
    server.settled_rows(2);
}

#[test]
fn a_stream_makes_the_same_response() {
    let server = Server::serving(good);
    let mut asked = body();
    asked["include"] = json!(["message.output_text.logprobs"]);
    asked["top_logprobs"] = json!(1);
    let whole = server.post("/v1/responses", &asked).ok();
    asked["stream"] = json!(true);
    let events = events(&server.post("/v1/responses", &asked));
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let begin =
        ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"];
    assert_eq!(kinds[..4], begin);
    let last = format!("response.{}", whole["status"].as_str().unwrap());
    let end = ["response.output_text.done", "response.content_part.done", "response.output_item.done", &last];
    let (head, tail) = events.split_at(events.len() - 4);
    assert_eq!(kinds[head.len()..], end);
    let text: String = head[4..].iter().map(|event| event["delta"].as_str().unwrap()).collect();
    let part = &whole["output"][0]["content"][0];
    assert_eq!((&json!(text), &tail[0]["text"], &tail[1]["part"]), (&part["text"], &part["text"], part));
    assert!(!part["logprobs"].as_array().unwrap().is_empty());
    let response = &tail[3]["response"];
    assert_eq!(response["output"][0]["content"], whole["output"][0]["content"]);
    assert_eq!(response["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    assert!(events[0]["response"]["id"] == response["id"] && response["dayfly"]["id"] == response["id"]);
    assert_eq!(
        (&events[0]["response"]["status"], &events[0]["response"]["output"]),
        (&json!("in_progress"), &json!([]))
    );
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    let server = Server::serving(good);
    for (name, value) in
        [("store", json!(true)), ("previous_response_id", json!("resp_1")), ("background", json!(true))]
    {
        let mut asked = body();
        asked[name] = value;
        server.post("/v1/responses", &asked).refused_about(400, "unsupported_parameter", name);
    }
    let mut asked = body();
    asked["tools"] = json!([{ "type": "web_search" }]);
    server.post("/v1/responses", &asked).refused_about(400, "unsupported_parameter", "tools[0].type");
    let mut asked = body();
    asked["model"] = json!("none");
    server.post("/v1/responses", &asked).refused_about(404, "model_not_found", "model");
    server.settled_rows(0);
}
