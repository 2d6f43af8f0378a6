//! Functions that a model may call: forced, of its own accord, whole and streamed, and told of in a conversation.

use std::path::Path;

use loader::fixture::TinyModel;
use serde_json::{Value, json};

use crate::client::post;
use crate::models::{quick, write};
use crate::schemas::is_valid;
use crate::server::{Options, Server};
use crate::smollm2::models_dir;

/// Room for a prompt in which each byte is a token.
fn roomy(folder: &Path) {
    write(folder, "good", &TinyModel { context_length: 4096, ..quick() });
}

fn weather() -> Value {
    json!({
        "type": "object", "required": ["city", "days"], "additionalProperties": false,
        "properties": { "city": { "enum": ["Rome", "Oslo"] }, "days": { "$ref": "#/$defs/days" } },
        "$defs": { "days": { "type": "integer", "minimum": 1, "maximum": 9 } },
    })
}

fn tools() -> Value {
    json!([
        { "type": "function", "function": { "name": "weather", "description": "Tells the weather.", "parameters": weather() } },
        { "type": "function", "function": { "name": "time", "strict": true, "parameters": { "type": "object", "additionalProperties": false } } },
    ])
}

fn chat(model: &str, more: &Value) -> Value {
    let mut body = json!({
        "model": model, "max_tokens": 120, "temperature": 1, "seed": 3, "tools": tools(),
        "messages": [{ "role": "user", "content": "How is the weather in Rome?" }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A choice put together from its chunks, without the ids of its calls.
fn streamed(server: &Server, body: &Value, choice: u64) -> Value {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let mut connection = server.connect();
    connection.send(post("/v1/chat/completions", &body));
    let (mut content, mut calls, mut finish) = (String::new(), Vec::new(), Value::Null);
    for chunk in connection.events().finish() {
        let piece = &chunk["choices"][0];
        if piece["index"] != choice {
            continue;
        }
        content.push_str(piece["delta"]["content"].as_str().unwrap_or_default());
        for call in piece["delta"]["tool_calls"].as_array().into_iter().flatten() {
            assert_eq!(call["index"], calls.len());
            assert_eq!(call["type"], "function");
            assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
            calls.push(call["function"].clone());
        }
        if !piece["finish_reason"].is_null() {
            assert!(finish.is_null(), "it ends once");
            finish = piece["finish_reason"].clone();
        }
    }
    json!({ "content": content, "calls": calls, "finish": finish })
}

/// A choice of a whole answer in the same form.
fn whole(choice: &Value) -> Value {
    let message = &choice["message"];
    let calls: Vec<Value> =
        message["tool_calls"].as_array().into_iter().flatten().map(|call| call["function"].clone()).collect();
    let is_shown = message["content"].as_str().is_some_and(|content| !content.is_empty() || calls.is_empty());
    assert!(is_shown || (message["content"].is_null() && !calls.is_empty()), "{message}");
    json!({ "content": message["content"].as_str().unwrap_or_default(), "calls": calls, "finish": choice["finish_reason"] })
}

#[track_caller]
fn check_calls(answer: &Value) {
    for call in answer["calls"].as_array().unwrap() {
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        match call["name"].as_str().unwrap() {
            "weather" => assert!(is_valid(&arguments, &weather()), "{call}"),
            "time" => assert_eq!(arguments, json!({})),
            other => panic!("{other} is none of the tools"),
        }
    }
}

#[test]
fn forced_calls_are_made_whole_and_streamed_alike() {
    let server = Server::serving(roomy);
    for (more, least) in [
        (json!({ "tool_choice": "required", "parallel_tool_calls": false }), 1),
        (json!({ "tool_choice": "required", "n": 2 }), 1),
        (json!({ "tool_choice": { "type": "function", "function": { "name": "weather" } }, "temperature": 0 }), 1),
    ] {
        let body = chat("good", &more);
        let answer = server.chat(&body).ok();
        for (index, choice) in (0..).zip(answer["choices"].as_array().unwrap()) {
            let said = whole(choice);
            assert_eq!(streamed(&server, &body, index), said, "{more}");
            check_calls(&said);
            if said["finish"] != "length" {
                assert_eq!(said["finish"], "tool_calls", "{answer}");
                assert!(said["calls"].as_array().unwrap().len() >= least, "{answer}");
            }
            if more["parallel_tool_calls"] == false {
                assert_eq!(said["calls"].as_array().unwrap().len(), 1);
            }
        }
    }
    let named = json!({ "tool_choice": { "type": "function", "function": { "name": "time" } } });
    let answer = server.chat(&chat("good", &named)).ok();
    assert_eq!(
        answer["choices"][0]["message"]["tool_calls"][0]["function"],
        json!({ "name": "time", "arguments": "{}" })
    );
}

#[test]
fn a_call_has_no_arguments_that_its_function_does_not_name() {
    // As clients write it that derive parameters from a function's signature.
    let nothing = json!({ "type": "object", "properties": {} });
    let server = Server::serving(roomy);
    for seed in 0..4 {
        let more = json!({
            "seed": seed, "tool_choice": "required", "parallel_tool_calls": false,
            "tools": [{ "type": "function", "function": { "name": "now", "parameters": nothing } }],
        });
        let said = whole(&server.chat(&chat("good", &more)).ok()["choices"][0]);
        assert_eq!(said["calls"], json!([{ "name": "now", "arguments": "{}" }]), "{said}");
    }
}

#[test]
fn what_cannot_be_called_is_refused() {
    let server = Server::serving(roomy);
    for (more, code, param) in [
        (json!({ "functions": [{ "name": "a" }] }), "unsupported_parameter", "functions"),
        (json!({ "function_call": "auto" }), "unsupported_parameter", "function_call"),
        (json!({ "regex": "a" }), "invalid_value", "regex"),
        (json!({ "tool_choice": "required", "tools": [] }), "invalid_value", "tool_choice"),
        (
            json!({ "chat_template_kwargs": { "enable_thinking": false } }),
            "invalid_value",
            "chat_template_kwargs.enable_thinking",
        ),
        (json!({ "ignore_eos": true, "tool_choice": "required" }), "invalid_value", "ignore_eos"),
        (json!({ "reasoning_effort": "low" }), "unsupported_parameter", "reasoning_effort"),
    ] {
        server.chat(&chat("good", &more)).refused_about(400, code, param);
    }
    // One call and no more is something to keep to, also where nothing else is.
    let loose = json!([{ "type": "function", "function": { "name": "a" } }]);
    let more = json!({ "tools": loose, "parallel_tool_calls": false, "ignore_eos": true });
    server.chat(&chat("good", &more)).refused_about(400, "invalid_value", "ignore_eos");
    let endless = json!([{ "type": "function", "function": { "name": "a", "parameters": { "$ref": "#" } } }]);
    let more = json!({ "tools": endless, "tool_choice": "required" });
    server.chat(&chat("good", &more)).refused_about(400, "invalid_schema", "tools");
}

#[test]
fn smollm2_calls_when_it_must_and_may() {
    let server = Options::with_models_in(models_dir()).config("ctx_max = 1024").start();
    let must = chat("smollm2", &json!({ "tool_choice": "required", "temperature": 0, "parallel_tool_calls": false }));
    let answer = server.chat(&must).ok();
    let said = whole(&answer["choices"][0]);
    assert_eq!(said["finish"], "tool_calls", "{answer}");
    check_calls(&said);
    assert_eq!(streamed(&server, &must, 0), said);
    // What was called, and what came of it, is told as the template can.
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    let may = json!({
        "temperature": 0, "max_tokens": 24, "messages": [
            { "role": "user", "content": "How is the weather in Rome?" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": call["id"], "content": "Sunny, 21 degrees." },
        ],
    });
    let body = chat("smollm2", &may);
    let answer = server.chat(&body).ok();
    let said = whole(&answer["choices"][0]);
    assert_eq!(streamed(&server, &body, 0), said);
    let more = chat("smollm2", &json!({ "temperature": 0, "max_tokens": 8, "tool_choice": "none" }));
    let (with, without) = (server.chat(&body).ok(), server.chat(&more).ok());
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens(&with) > tokens(&without), "tools that may be called are told of");
}
