//! Functions, formats and reasoning in the words of OpenAI's responses.

use serde_json::{Value, json};

use crate::models::{WEATHER, good_and_thinker, weather};
use crate::schemas::is_valid;
use crate::server::Server;

fn body(model: &str, more: &Value) -> Value {
    let mut body = json!({
        "model": model, "input": "How is the weather in Rome?", "max_output_tokens": 200, "temperature": 0,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    json!([
        { "type": "function", "name": WEATHER, "description": "Tells the weather.", "parameters": weather() },
        { "type": "function", "name": "time", "strict": true, "parameters": { "type": "object", "additionalProperties": false } },
    ])
}

/// Items without what is never the same.
fn plain(items: &Value) -> Value {
    let mut items = items.clone();
    for item in items.as_array_mut().unwrap() {
        let prefix = match item["type"].as_str().unwrap() {
            "reasoning" => "rs_",
            "message" => "msg_",
            "function_call" => {
                assert!(item["call_id"].as_str().unwrap().starts_with("call_"), "{item}");
                item["call_id"] = Value::Null;
                "fc_"
            }
            other => panic!("{other}"),
        };
        assert!(item["id"].as_str().unwrap().starts_with(prefix), "{item}");
        item["id"] = Value::Null;
    }
    items
}

/// Items put together from a stream's events, as a client does it. They are those of the response at its end.
#[track_caller]
fn streamed(server: &Server, body: &Value) -> Value {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let response = server.post("/v1/responses", &body);
    assert_eq!(response.status, 200, "{response}");
    let text = response.text();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (mut items, mut said) = (Vec::<Value>::new(), String::new());
    let (last, rest) = events.split_last().unwrap();
    for (number, event) in rest.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
        if matches!(kind, "created" | "in_progress") {
            continue;
        }
        let index = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
        assert_eq!(index, if kind == "output_item.added" { items.len() } else { items.len() - 1 }, "{event}");
        if let Some(id) = event.get("item_id") {
            assert_eq!(*id, items[index]["id"]);
        }
        match kind {
            "output_item.added" => {
                assert_eq!(event["item"]["status"], "in_progress");
                items.push(event["item"].clone());
                said.clear();
            }
            "output_text.delta" | "reasoning_text.delta" | "function_call_arguments.delta" => {
                said.push_str(event["delta"].as_str().unwrap());
            }
            "output_text.done" | "reasoning_text.done" => assert_eq!(event["text"], said),
            "function_call_arguments.done" => assert_eq!(event["arguments"], said),
            "content_part.added" => assert_eq!(event["part"]["text"], ""),
            "content_part.done" => assert_eq!(event["part"]["text"], said),
            "output_item.done" => items[index] = event["item"].clone(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(last["response"]["output"], json!(items));
    json!(items)
}

#[test]
fn functions_are_called_whole_and_streamed_alike() {
    let server = Server::serving(good_and_thinker);
    for more in [
        json!({ "tool_choice": "required", "parallel_tool_calls": false }),
        json!({ "tool_choice": "required" }),
        json!({ "tool_choice": { "type": "function", "name": WEATHER } }),
        json!({}),
    ] {
        let mut body = body("good", &more);
        body["tools"] = tools();
        let answer = server.post("/v1/responses", &body).ok();
        let items = plain(&answer["output"]);
        assert_eq!(plain(&streamed(&server, &body)), items, "{more}");
        let calls: Vec<&Value> =
            items.as_array().unwrap().iter().filter(|item| item["type"] == "function_call").collect();
        for call in &calls {
            let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
            assert!(call["name"] != WEATHER || is_valid(&arguments, &weather()), "{call}");
        }
        if more.get("tool_choice").is_some() && answer["status"] == "completed" {
            assert_eq!(calls.len(), items.as_array().unwrap().len(), "{answer}");
        }
        if more["parallel_tool_calls"] == false {
            assert_eq!(calls.len(), 1, "{answer}");
        }
        assert_eq!((&answer["tools"][1]["name"], &answer["tools"][0]["strict"]), (&json!("time"), &json!(false)));
        let told = more.get("tool_choice").cloned().unwrap_or(json!("auto"));
        assert_eq!(
            (&answer["tool_choice"], &answer["parallel_tool_calls"]),
            (&told, &json!(more.get("parallel_tool_calls").is_none()))
        );
    }
    let endless = json!([{ "type": "function", "name": "a", "parameters": { "$ref": "#" } }]);
    let more = json!({ "tools": endless, "tool_choice": "required" });
    server.post("/v1/responses", &body("good", &more)).refused_about(400, "invalid_schema", "tools");
}

#[test]
fn a_function_of_a_namespace_is_called_by_both_names() {
    let server = Server::serving(good_and_thinker);
    let namespace = json!({
        "type": "namespace", "name": "sky", "description": "What is above.",
        "tools": [{ "type": "function", "name": WEATHER, "parameters": weather() }],
    });
    let known_as = format!("sky.{WEATHER}");
    let more = json!({
        "tools": [namespace, tools()[1]], "parallel_tool_calls": false,
        "tool_choice": { "type": "function", "name": known_as },
    });
    let asked = body("good", &more);
    let answer = server.post("/v1/responses", &asked).ok();
    let call = &answer["output"][0];
    assert_eq!((&call["namespace"], &call["name"]), (&json!("sky"), &json!(WEATHER)), "{answer}");
    assert_eq!(answer["tools"][0]["tools"][0]["name"], WEATHER, "as it was offered");
    assert_eq!(plain(&streamed(&server, &asked)), plain(&answer["output"]));
    // As it came, it goes back.
    let gave = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "Sun." });
    let input = json!([{ "role": "user", "content": "How is the weather in Rome?" }, call, gave]);
    server.post("/v1/responses", &body("good", &json!({ "input": input, "tools": more["tools"] }))).ok();
    let of_service = body("good", &json!({ "tools": [{ "type": "web_search" }] }));
    let refused = server.post("/v1/responses", &of_service);
    refused.refused_about(400, "unsupported_parameter", "tools[0].type");
    assert!(refused.text().contains("leave it out"), "{refused}");
}

#[test]
fn what_a_function_gave_is_told_to_the_model() {
    let server = Server::serving(good_and_thinker);
    let prompt_tokens = |more: &[Value]| {
        let first = json!({ "role": "user", "content": "How is the weather in Rome?" });
        let input: Vec<Value> = [&[first], more].concat();
        let body = body("good", &json!({ "input": input, "max_output_tokens": 1 }));
        server.post("/v1/responses", &body).ok()["usage"]["input_tokens"].as_u64().unwrap()
    };
    let call = json!({ "type": "function_call", "call_id": "c", "name": WEATHER, "arguments": "{\"city\":\"Rome\"}" });
    let gave = |output: Value| json!({ "type": "function_call_output", "call_id": "c", "output": output });
    let short = prompt_tokens(&[call.clone(), gave(json!("Sun."))]);
    assert!(prompt_tokens(&[]) < short);
    let parts = json!([{ "type": "input_text", "text": "It is sunny, and warm." }]);
    assert!(short < prompt_tokens(&[call, gave(parts)]));
}

#[test]
fn formats_hold_answers() {
    let server = Server::serving(good_and_thinker);
    let format = json!({ "type": "json_schema", "name": "w", "schema": weather(), "strict": true });
    let asked = body("good", &json!({ "text": { "format": format }, "include": ["message.output_text.logprobs"] }));
    let answer = server.post("/v1/responses", &asked).ok();
    let part = &answer["output"][0]["content"][0];
    assert!(is_valid(&serde_json::from_str(part["text"].as_str().unwrap()).unwrap(), &weather()), "{answer}");
    assert!(!part["logprobs"].as_array().unwrap().is_empty(), "{answer}");
    assert_eq!((&answer["text"]["format"]["name"], &answer["status"]), (&json!("w"), &json!("completed")));
    assert_eq!(plain(&streamed(&server, &asked)), plain(&answer["output"]));
    let endless = json!({ "type": "json_schema", "name": "w", "schema": { "$ref": "#" } });
    let asked = body("good", &json!({ "text": { "format": endless } }));
    server.post("/v1/responses", &asked).refused_about(400, "invalid_schema", "text.format.schema");
}

#[test]
fn reasoning_is_an_item_where_a_model_thinks() {
    let server = Server::serving(good_and_thinker);
    for (effort, kind) in [(Value::Null, "reasoning"), (json!("low"), "reasoning"), (json!("none"), "message")] {
        let body = body("thinker", &json!({ "reasoning": { "effort": effort }, "max_output_tokens": 24 }));
        let answer = server.post("/v1/responses", &body).ok();
        let item = &answer["output"][0];
        assert_eq!((&item["type"], &answer["reasoning"]["effort"]), (&json!(kind), &effort), "{answer}");
        assert!(!item["content"][0]["text"].as_str().unwrap().is_empty(), "{answer}");
        assert_eq!(plain(&streamed(&server, &body)), plain(&answer["output"]));
    }
    let format = json!({ "format": { "type": "json_schema", "name": "w", "schema": weather() } });
    let held = |effort: &str| body("thinker", &json!({ "reasoning": { "effort": effort }, "text": format }));
    assert_eq!(server.post("/v1/responses", &held("low")).ok()["output"][0]["type"], "reasoning");
    assert_eq!(server.post("/v1/responses", &held("none")).ok()["output"][0]["type"], "message");
    server.post("/v1/responses", &body("good", &json!({ "reasoning": { "effort": "none" } }))).ok();
    let asked = body("good", &json!({ "reasoning": { "effort": "low" } }));
    server.post("/v1/responses", &asked).refused_about(400, "unsupported_parameter", "reasoning.effort");
}
