//! Tools, formats and thinking in Anthropic's words.

use serde_json::{Value, json};

use crate::client::Response;
use crate::models::{WEATHER, good_and_thinker, weather};
use crate::schemas::is_valid;
use crate::server::Server;

fn body(model: &str, more: &Value) -> Value {
    let mut body = json!({
        "model": model, "max_tokens": 200, "temperature": 0,
        "messages": [{ "role": "user", "content": "How is the weather in Rome?" }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    json!([
        { "name": WEATHER, "description": "Tells the weather.", "input_schema": weather() },
        { "type": "custom", "name": "time", "strict": true, "input_schema": { "type": "object", "additionalProperties": false } },
    ])
}

#[track_caller]
fn refused(response: &Response, param: &str) {
    assert_eq!(response.status, 400, "{response}");
    let body = response.json();
    assert_eq!(body["error"]["type"], "invalid_request_error", "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains(&format!("`{param}")), "{body}");
}

/// Blocks without what is never the same.
fn plain(blocks: &Value) -> Value {
    let mut blocks = blocks.clone();
    for block in blocks.as_array_mut().unwrap() {
        if block["type"] == "tool_use" {
            assert!(block["id"].as_str().unwrap().starts_with("toolu_"), "{block}");
            block["id"] = Value::Null;
        }
        if block["type"] == "thinking" {
            assert!(block["signature"].as_str().unwrap().starts_with("msg_"), "{block}");
            block["signature"] = Value::Null;
        }
    }
    blocks
}

/// Blocks put together from a stream's events, as a client does it, and why it ended.
#[track_caller]
fn streamed(server: &Server, body: &Value) -> (Value, Value) {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let response = server.post("/v1/messages", &body);
    assert_eq!(response.status, 200, "{response}");
    let (mut blocks, mut open, mut input, mut reason) = (Vec::<Value>::new(), false, String::new(), Value::Null);
    for line in response.text().lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(line).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert!(!open && event["index"] == blocks.len(), "{event}");
                (open, input) = (true, String::new());
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert!(open && event["index"] == blocks.len() - 1, "{event}");
                let (block, delta) = (blocks.last_mut().unwrap(), &event["delta"]);
                match delta["type"].as_str().unwrap() {
                    "input_json_delta" => {
                        assert_eq!(block["type"], "tool_use");
                        input.push_str(delta["partial_json"].as_str().unwrap());
                        block["input"] = serde_json::from_str(&input).unwrap();
                    }
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    kind => {
                        let name = kind.strip_suffix("_delta").unwrap();
                        let text = format!("{}{}", block[name].as_str().unwrap(), delta[name].as_str().unwrap());
                        block[name] = json!(text);
                    }
                }
            }
            "content_block_stop" => {
                assert!(open && event["index"] == blocks.len() - 1, "{event}");
                open = false;
            }
            "message_delta" => {
                assert!(!open, "{event}");
                reason = event["delta"]["stop_reason"].clone();
            }
            _ => {}
        }
    }
    (json!(blocks), reason)
}

#[test]
fn tools_are_used_whole_and_streamed_alike() {
    let server = Server::serving(good_and_thinker);
    for choice in [
        json!({ "type": "any", "disable_parallel_tool_use": true }),
        json!({ "type": "any" }),
        json!({ "type": "tool", "name": WEATHER }),
        json!({ "type": "auto" }),
    ] {
        let body = body("good", &json!({ "tools": tools(), "tool_choice": choice }));
        let answer = server.post("/v1/messages", &body).ok();
        let blocks = plain(&answer["content"]);
        assert_eq!(streamed(&server, &body).1, answer["stop_reason"]);
        assert_eq!(plain(&streamed(&server, &body).0), blocks, "{choice}");
        let uses: Vec<&Value> = blocks.as_array().unwrap().iter().filter(|block| block["type"] == "tool_use").collect();
        for used in &uses {
            let is_kept = used["name"] != WEATHER || is_valid(&used["input"], &weather());
            assert!(is_kept && used["input"].is_object(), "{used}");
        }
        if choice["type"] != "auto" && answer["stop_reason"] != "max_tokens" {
            assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
            assert!(!uses.is_empty() && (choice["type"] == "any" || uses[0]["name"] == WEATHER), "{answer}");
        }
        if choice["disable_parallel_tool_use"] == true {
            assert_eq!(uses.len(), 1, "{answer}");
        }
    }
    let endless = json!([{ "name": "a", "input_schema": { "type": "object", "$ref": "#" } }]);
    let more = json!({ "tools": endless, "tool_choice": { "type": "any" } });
    refused(&server.post("/v1/messages", &body("good", &more)), "tools");
    let more = json!({ "tools": [{ "type": "bash_20250124", "name": "bash" }] });
    refused(&server.post("/v1/messages", &body("good", &more)), "tools[0].type");
}

#[test]
fn what_a_tool_gave_is_told_and_counted() {
    let server = Server::serving(good_and_thinker);
    let conversation = |result: Value| {
        let used = json!({ "type": "tool_use", "id": "toolu_1", "name": WEATHER, "input": { "city": "Rome" } });
        let messages = json!([
            { "role": "user", "content": "How is the weather in Rome?" },
            { "role": "assistant", "content": [{ "type": "thinking", "thinking": "Look.", "signature": "msg_1" }, used] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": result }] },
        ]);
        json!({ "model": "good", "messages": messages, "tools": tools() })
    };
    let count = |body: &Value| server.post("/v1/messages/count_tokens", body).ok()["input_tokens"].as_u64().unwrap();
    let body = conversation(json!([{ "type": "text", "text": "It is sunny." }]));
    let mut asked = body.clone();
    asked["max_tokens"] = json!(1);
    let answer = server.post("/v1/messages", &asked).ok();
    assert_eq!(answer["dayfly"]["tokens"]["prompt"], count(&body));
    let mut without = body.clone();
    without["tool_choice"] = json!({ "type": "none" });
    assert!(count(&without) < count(&body), "what may not be used is not told of");
    assert!(count(&conversation(json!("It is sunny, and warm."))) > count(&body));
    let mut long = body;
    long["messages"][1]["content"][0]["thinking"] = json!("a".repeat((1 << 20) + 1));
    refused(&server.post("/v1/messages/count_tokens", &long), "messages");
}

#[test]
fn formats_hold_answers() {
    let server = Server::serving(good_and_thinker);
    let format = json!({ "type": "json_schema", "schema": weather() });
    for more in [json!({ "output_config": { "format": format } }), json!({ "output_format": format })] {
        let body = body("good", &more);
        let answer = server.post("/v1/messages", &body).ok();
        let text = answer["content"][0]["text"].as_str().unwrap();
        assert!(is_valid(&serde_json::from_str(text).unwrap(), &weather()), "{answer}");
        assert_eq!(streamed(&server, &body), (answer["content"].clone(), json!("end_turn")));
    }
    let schema = json!({ "type": "json_schema", "schema": { "$ref": "#" } });
    let more = json!({ "output_config": { "format": schema } });
    refused(&server.post("/v1/messages", &body("good", &more)), "output_config.format.schema");
}

#[test]
fn thoughts_are_blocks_where_a_model_thinks() {
    let server = Server::serving(good_and_thinker);
    let enabled = json!({ "type": "enabled", "budget_tokens": 1024 });
    for (thinking, is_shown) in [
        (Value::Null, true),
        (enabled.clone(), true),
        (json!({ "type": "adaptive" }), true),
        (json!({ "type": "adaptive", "display": "omitted" }), false),
    ] {
        let mut body = body("thinker", &json!({ "thinking": thinking, "max_tokens": 24 }));
        if thinking == enabled {
            body["max_tokens"] = json!(1025);
        }
        let answer = server.post("/v1/messages", &body).ok();
        let block = &answer["content"][0];
        assert_eq!(block["type"], "thinking", "{answer}");
        assert_eq!(!block["thinking"].as_str().unwrap().is_empty(), is_shown, "{answer}");
        assert_eq!(plain(&streamed(&server, &body).0), plain(&answer["content"]));
    }
    let disabled = json!({ "thinking": { "type": "disabled" }, "max_tokens": 24 });
    let answer = server.post("/v1/messages", &body("thinker", &disabled)).ok();
    assert_eq!(answer["content"][0]["type"], "text", "{answer}");
    server.post("/v1/messages", &body("good", &disabled)).ok();
    let asked = json!({ "thinking": enabled, "max_tokens": 2000 });
    refused(&server.post("/v1/messages", &body("good", &asked)), "thinking");
    let effort = json!({ "output_config": { "effort": "low" } });
    refused(&server.post("/v1/messages", &body("good", &effort)), "output_config.effort");
}
