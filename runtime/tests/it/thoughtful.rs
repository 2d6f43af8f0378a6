//! Thoughts before answers that keep to a format, a grammar or a call, in each interface's words, whole and streamed.
//!
//! The model has no sense and often ends its thoughts: its output leans to the token that does. What it thinks is nothing, or
//! some bytes; what it says behind that is held.

use std::path::Path;

use loader::fixture::{FixtureValue, Output, TinyModel, tiny_model};
use serde_json::{Value, json};

use crate::client::post;
use crate::models::{WEATHER, quick, weather, write_file};
use crate::schemas::is_valid;
use crate::server::{Options, Server};

/// Different enough for different thoughts.
const QUESTIONS: [&str; 6] = ["How is the weather?", "And now?", "Rome or Oslo?", "Where is it warm?", "Why?", "?!"];

/// Writes three models whose token 0 ends thoughts: the prompt of `begins` has begun them unless they are switched off, `may`
/// has them if it likes, and `cannot` knows none.
fn thinkers(folder: &Path) {
    const MESSAGES: &str = "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}\
        {% if tools %}{{ tools | tojson }}<tool_call>{% endif %}assistant: ";
    const SWITCH: &str = "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>' }}{% endif %}";
    const CLOSED: &str =
        "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>' }}{% endif %}";
    let shape = TinyModel { context_length: 4096, output: Output::Separate, ..quick() };
    for (name, end) in [("begins", SWITCH), ("may", CLOSED), ("cannot", "")] {
        let mut model = tiny_model(&shape);
        let tokens = model.keys.iter_mut().find(|(key, _)| key == "tokenizer.ggml.tokens");
        let Some((_, FixtureValue::Strings(tokens))) = tokens else { panic!("it has tokens") };
        tokens[0] = b"</think>".to_vec();
        let row = &mut model.tensor_mut("output.weight").data[..4 * shape.hidden as usize];
        for weight in row.chunks_exact_mut(4) {
            let leaning = 6.0 * f32::from_le_bytes(weight.try_into().unwrap());
            weight.copy_from_slice(&leaning.to_le_bytes());
        }
        model.set("tokenizer.chat_template", format!("{MESSAGES}{end}").as_str());
        write_file(folder, name, &model);
    }
}

fn format() -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "it", "schema": weather() } })
}

fn tool() -> Value {
    json!({ "type": "function", "function": { "name": WEATHER, "parameters": weather() } })
}

fn chat(model: &str, question: &str, more: &Value) -> Value {
    let mut body = json!({
        "model": model, "max_tokens": 400, "temperature": 0, "messages": [{ "role": "user", "content": question }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// What an answer thinks, says and calls, and why it ended.
type Said = (String, String, Vec<Value>, String);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Checks one answer; whether it had thoughts and was whole.
#[track_caller]
fn check((thought, content, calls, finish): &Said, is_call: bool) -> bool {
    if finish == "length" {
        return false;
    }
    assert!(!content.contains("</think>") && !thought.contains("</think>"), "{thought:?}, {content:?}");
    if is_call {
        assert_eq!((content.as_str(), calls.len()), ("", 1), "{calls:?}");
        let arguments = match &calls[0]["arguments"] {
            Value::String(arguments) => serde_json::from_str(arguments).unwrap(),
            arguments => arguments.clone(),
        };
        assert!(calls[0]["name"] == WEATHER && is_valid(&arguments, &weather()), "{calls:?}");
    } else {
        assert!(is_valid(&serde_json::from_str(content).unwrap(), &weather()), "{content:?}");
    }
    !thought.is_empty()
}

/// Asks every question, and checks that most answers are whole and some have thoughts.
fn check_all(is_call: bool, ask: impl Fn(&str) -> [Said; 2]) {
    let mut thoughtful = 0;
    for question in QUESTIONS {
        let [whole, streamed] = ask(question);
        assert_eq!(whole, streamed, "{question}");
        thoughtful += usize::from(check(&whole, is_call));
    }
    assert!(thoughtful > 0, "some answers have thoughts and are whole");
}

fn openai(server: &Server, body: &Value) -> [Said; 2] {
    let answer = server.chat(body).ok();
    let (choice, message) = (&answer["choices"][0], &answer["choices"][0]["message"]);
    let calls = |calls: &Value| calls.as_array().into_iter().flatten().map(|call| call["function"].clone()).collect();
    let whole = (
        text(&message["reasoning_content"]),
        text(&message["content"]),
        calls(&message["tool_calls"]),
        text(&choice["finish_reason"]),
    );
    let mut streamed: Said = Said::default();
    let mut body = body.clone();
    body["stream"] = json!(true);
    let mut connection = server.connect();
    connection.send(post("/v1/chat/completions", &body));
    for chunk in connection.events().finish() {
        let (choice, delta) = (&chunk["choices"][0], &chunk["choices"][0]["delta"]);
        assert!(delta["reasoning_content"].is_null() || streamed.1.is_empty(), "thoughts come first");
        streamed.0.push_str(&text(&delta["reasoning_content"]));
        streamed.1.push_str(&text(&delta["content"]));
        streamed.2.extend::<Vec<Value>>(calls(&delta["tool_calls"]));
        streamed.3.push_str(&text(&choice["finish_reason"]));
    }
    [whole, streamed]
}

#[test]
fn openai_s_chats_think_before_formats_and_calls() {
    let server = Server::serving(thinkers);
    for more in [
        json!({ "response_format": format() }),
        json!({ "response_format": format(), "reasoning_effort": "high" }),
        json!({ "guided_json": weather(), "chat_template_kwargs": { "enable_thinking": true } }),
        json!({ "regex": "\\{\"city\": \"(Rome|Oslo)\"\\}" }),
        json!({ "grammar": "root ::= \"{\\\"city\\\":\\\"\" (\"Rome\" | \"Oslo\") \"\\\"}\"" }),
    ] {
        check_all(false, |question| openai(&server, &chat("begins", question, &more)));
    }
    for choice in [json!("required"), json!({ "type": "function", "function": { "name": WEATHER } })] {
        let more = json!({ "tools": [tool()], "tool_choice": choice, "parallel_tool_calls": false });
        check_all(true, |question| openai(&server, &chat("begins", question, &more)));
    }
}

#[test]
fn what_is_switched_off_is_held_from_the_first_token_on() {
    let server = Server::serving(thinkers);
    for (model, more) in [
        ("begins", json!({ "reasoning_effort": "none" })),
        ("may", json!({ "chat_template_kwargs": { "enable_thinking": false } })),
        ("cannot", json!({})),
        // It may, and what it does without sense is not to begin with a tag of eight characters.
        ("may", json!({})),
    ] {
        let mut body = chat(model, QUESTIONS[0], &more);
        body["response_format"] = format();
        let [whole, streamed] = openai(&server, &body);
        assert_eq!(whole, streamed);
        assert!(!check(&whole, false) && whole.0.is_empty() && whole.3 == "stop", "{whole:?}");
    }
    let asked = chat("cannot", "Why?", &json!({ "response_format": format(), "reasoning_effort": "low" }));
    server.chat(&asked).refused_about(400, "unsupported_parameter", "reasoning_effort");
    let endless = json!({ "guided_json": { "$ref": "#" } });
    server.chat(&chat("begins", "Why?", &endless)).refused_about(400, "invalid_schema", "guided_json");
}

#[test]
fn thoughts_that_are_cut_leave_no_answer_and_are_charged() {
    let server = Server::serving(thinkers);
    // What ends thoughts is put out of reach.
    let more = json!({ "response_format": format(), "logit_bias": { "0": -100 }, "max_tokens": 20 });
    let body = chat("begins", QUESTIONS[0], &more);
    let [whole, streamed] = openai(&server, &body);
    assert_eq!(whole, streamed);
    assert!(whole.3 == "length" && whole.1.is_empty() && whole.2.is_empty(), "{whole:?}");
    let usage = server.chat(&body).ok()["usage"].clone();
    assert_eq!(usage["completion_tokens"], 20);
}

#[test]
fn drafts_change_nothing_of_thoughts_or_answers() {
    let (auto, off) = (
        Server::serving(thinkers),
        Options::with_models(thinkers).config("[scheduler]\nspeculation = \"off\"").start(),
    );
    for question in QUESTIONS {
        let body = chat("begins", question, &json!({ "response_format": format() }));
        let (with, without) = (auto.chat(&body).ok(), off.chat(&body).ok());
        assert_eq!(with["choices"], without["choices"]);
        assert_eq!(with["usage"]["completion_tokens"], without["usage"]["completion_tokens"]);
    }
}

#[test]
fn ollama_thinks_before_formats() {
    let server = Server::serving(thinkers);
    let whole = |answer: &Value| {
        let message = if answer["message"].is_object() { &answer["message"] } else { answer };
        let said = text(&message["content"]) + &text(&message["response"]);
        (text(&message["thinking"]), said, Vec::new(), text(&answer["done_reason"]))
    };
    for path in ["/api/chat", "/api/generate"] {
        check_all(false, |question| {
            let mut body = json!({
                "model": "begins", "think": true, "format": weather(), "stream": false,
                "options": { "num_predict": 400, "temperature": 0 },
            });
            match path {
                "/api/chat" => body["messages"] = json!([{ "role": "user", "content": question }]),
                _ => body["prompt"] = json!(question),
            }
            let answer = whole(&server.post(path, &body).ok());
            body["stream"] = json!(true);
            let lines = server.post(path, &body).text();
            let mut streamed = Said::default();
            for line in lines.lines() {
                let (thought, said, _, finish) = whole(&serde_json::from_str(line).unwrap());
                streamed.0.push_str(&thought);
                streamed.1.push_str(&said);
                streamed.3.push_str(&finish);
            }
            [answer, streamed]
        });
    }
}

#[test]
fn anthropic_s_messages_think_before_formats_and_uses() {
    let server = Server::serving(thinkers);
    let of_blocks = |blocks: &Value, reason: &Value| {
        let mut said = Said::default();
        for block in blocks.as_array().unwrap() {
            said.0.push_str(&text(&block["thinking"]));
            said.1.push_str(&text(&block["text"]));
            if block["type"] == "tool_use" {
                said.2.push(json!({ "name": block["name"], "arguments": block["input"] }));
            }
        }
        said.3 = if reason == "max_tokens" { "length".to_owned() } else { text(reason) };
        said
    };
    let held = json!({ "output_config": { "format": { "type": "json_schema", "schema": weather() } } });
    let tools = json!([{ "name": WEATHER, "input_schema": weather() }]);
    let forced = json!({ "tools": tools, "tool_choice": { "type": "any", "disable_parallel_tool_use": true } });
    for (more, is_call) in [(held, false), (forced, true)] {
        check_all(is_call, |question| {
            let mut body = chat("begins", question, &more);
            body["max_tokens"] = json!(1100);
            body["thinking"] = json!({ "type": "enabled", "budget_tokens": 1024 });
            let answer = server.post("/v1/messages", &body).ok();
            body["stream"] = json!(true);
            let events = server.post("/v1/messages", &body).text();
            let mut streamed = Said::default();
            let mut input = String::new();
            for line in events.lines().filter_map(|line| line.strip_prefix("data: ")) {
                let event: Value = serde_json::from_str(line).unwrap();
                streamed.0.push_str(&text(&event["delta"]["thinking"]));
                streamed.1.push_str(&text(&event["delta"]["text"]));
                input.push_str(&text(&event["delta"]["partial_json"]));
                if event["content_block"]["type"] == "tool_use" {
                    streamed.2.push(json!({ "name": event["content_block"]["name"] }));
                }
                streamed.3.push_str(&text(&event["delta"]["stop_reason"]).replace("max_tokens", "length"));
            }
            if let Some(call) = streamed.2.last_mut() {
                call["arguments"] = serde_json::from_str(&input).unwrap();
            }
            [of_blocks(&answer["content"], &answer["stop_reason"]), streamed]
        });
    }
}

#[test]
fn responses_reason_before_formats_and_calls() {
    let server = Server::serving(thinkers);
    let of_items = |items: &Value, status: &Value| {
        let mut said = Said::default();
        for item in items.as_array().unwrap() {
            match item["type"].as_str().unwrap() {
                "reasoning" => said.0.push_str(&text(&item["content"][0]["text"])),
                "message" => said.1.push_str(&text(&item["content"][0]["text"])),
                _ => said.2.push(json!({ "name": item["name"], "arguments": item["arguments"] })),
            }
        }
        said.3 = if status == "incomplete" { "length".to_owned() } else { text(status) };
        said
    };
    let held = json!({ "text": { "format": { "type": "json_schema", "name": "it", "schema": weather() } } });
    let tools = json!([{ "type": "function", "name": WEATHER, "parameters": weather() }]);
    let forced = json!({ "tools": tools, "tool_choice": "required", "parallel_tool_calls": false });
    for (more, is_call) in [(held, false), (forced, true)] {
        check_all(is_call, |question| {
            let mut body = json!({
                "model": "begins", "input": question, "max_output_tokens": 400, "temperature": 0,
                "reasoning": { "effort": "low" },
            });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = server.post("/v1/responses", &body).ok();
            body["stream"] = json!(true);
            let events = server.post("/v1/responses", &body).text();
            let last = events.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
            let last: Value = serde_json::from_str(last).unwrap();
            let streamed = of_items(&last["response"]["output"], &last["response"]["status"]);
            [of_items(&answer["output"], &answer["status"]), streamed]
        });
    }
}
