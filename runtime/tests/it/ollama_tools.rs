//! Formats, functions and thinking in Ollama's words.

use serde_json::{Value, json};

use crate::client::{Response, request};
use crate::models::{WEATHER, good_and_thinker, weather};
use crate::schemas::is_valid;
use crate::server::Server;

fn chat(model: &str, more: &Value) -> Value {
    let mut body = json!({
        "model": model, "messages": [{ "role": "user", "content": "How is the weather in Rome?" }],
        "options": { "num_predict": 64, "temperature": 1, "seed": 3 }, "stream": false,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn generation(more: &Value) -> Value {
    let mut body = chat("good", more);
    body["prompt"] = body["messages"][0]["content"].clone();
    body.as_object_mut().unwrap().remove("messages");
    body
}

/// What an answer shows: text, thoughts and calls without their ids.
fn shown(message: &Value) -> (String, String, Vec<Value>) {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| {
        assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
        call["function"].clone()
    });
    (text("content") + &text("response"), text("thinking"), calls.collect())
}

/// The same of a stream, and its last line.
fn streamed(server: &Server, path: &str, body: &Value) -> ((String, String, Vec<Value>), Value) {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let response = server.post(path, &body);
    assert_eq!(response.status, 200, "{response}");
    let lines: Vec<Value> = response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut all = (String::new(), String::new(), Vec::new());
    for line in &lines {
        let (text, thought, calls) = shown(if line["message"].is_object() { &line["message"] } else { line });
        all.0.push_str(&text);
        all.1.push_str(&thought);
        all.2.extend(calls);
    }
    (all, lines.last().unwrap().clone())
}

#[track_caller]
fn refused(response: &Response, param: &str) {
    assert_eq!(response.status, 400, "{response}");
    let message = response.json()["error"].as_str().unwrap().to_owned();
    assert!(message.contains(&format!("`{param}`")), "{message}");
}

#[test]
fn formats_hold_answers_whole_and_streamed() {
    let server = Server::serving(good_and_thinker);
    let more = json!({ "format": weather() });
    for (path, body) in [("/api/chat", chat("good", &more)), ("/api/generate", generation(&more))] {
        let answer = server.post(path, &body).ok();
        let whole = shown(if path == "/api/chat" { &answer["message"] } else { &answer });
        assert!(is_valid(&serde_json::from_str(&whole.0).unwrap(), &weather()), "{answer}");
        let (same, last) = streamed(&server, path, &body);
        assert_eq!((same, &last["done_reason"]), (whole, &json!("stop")));
    }
    let mut raw = generation(&json!({ "format": { "enum": [true] }, "raw": true }));
    assert_eq!(server.post("/api/generate", &raw).ok()["response"], "true");
    raw["format"] = json!("xml");
    refused(&server.post("/api/generate", &raw), "format");
    raw["format"] = json!({ "$ref": "#" });
    refused(&server.post("/api/generate", &raw), "format");
}

#[test]
fn functions_are_called_with_objects_whole_and_streamed() {
    let server = Server::serving(good_and_thinker);
    let function = json!({ "name": WEATHER, "strict": true, "parameters": weather() });
    let mut called = 0;
    // A model without sense says the one or the other: a call, or what the format lets it say.
    for instead in [json!(1), json!("a"), json!(null), json!(true), json!(7), json!(false), json!(-3)] {
        let tools = json!([{ "type": "function", "function": function }]);
        let mut body = chat("good", &json!({ "tools": tools, "format": { "enum": [instead] } }));
        (body["options"]["temperature"], body["options"]["num_predict"]) = (json!(2), json!(300));
        let (answer, instead) = (server.post("/api/chat", &body).ok(), instead.to_string());
        let (text, thought, calls) = shown(&answer["message"]);
        assert_eq!((text.as_str(), thought.as_str()), (if calls.is_empty() { &*instead } else { "" }, ""), "{answer}");
        for (index, call) in calls.iter().enumerate() {
            assert_eq!((&call["name"], &call["index"]), (&json!(WEATHER), &json!(index)));
            assert!(is_valid(&call["arguments"], &weather()), "{call}");
            called += 1;
        }
        assert_eq!(streamed(&server, "/api/chat", &body).0, (text, thought, calls));
    }
    assert!(called > 0);
    // What came of it is told to the model.
    let conversation = |result: &str| {
        let call = json!({ "function": { "name": WEATHER, "arguments": { "city": "Rome" } } });
        let messages = json!([
            { "role": "user", "content": "How is the weather in Rome?" },
            { "role": "assistant", "content": "", "thinking": "Look.", "tool_calls": [call] },
            { "role": "tool", "content": result, "tool_name": WEATHER },
        ]);
        server.post("/api/chat", &chat("good", &json!({ "messages": messages }))).ok()["prompt_eval_count"].as_u64()
    };
    assert!(conversation("It is sunny, and warm.") > conversation("Sun."));
}

#[test]
fn what_is_thought_stands_apart_where_a_model_thinks() {
    let server = Server::serving(good_and_thinker);
    for more in [json!({}), json!({ "think": true }), json!({ "think": "low" })] {
        let body = chat("thinker", &more);
        let answer = server.post("/api/chat", &body).ok();
        let (text, thought, _) = shown(&answer["message"]);
        assert!(text.is_empty() && !thought.is_empty(), "{answer}");
        assert_eq!(streamed(&server, "/api/chat", &body).0, (text, thought, Vec::new()));
    }
    let answer = server.post("/api/chat", &chat("thinker", &json!({ "think": false }))).ok();
    let (text, thought, _) = shown(&answer["message"]);
    assert!(!text.is_empty() && thought.is_empty(), "{answer}");
    let mut generated = generation(&json!({ "think": true }));
    generated["model"] = json!("thinker");
    let answer = server.post("/api/generate", &generated).ok();
    assert!(answer["response"] == "" && !answer["thinking"].as_str().unwrap().is_empty(), "{answer}");
    refused(&server.post("/api/chat", &chat("good", &json!({ "think": true }))), "think");
    refused(&server.post("/api/generate", &generation(&json!({ "think": "high" }))), "think");
    server.post("/api/chat", &chat("good", &json!({ "think": false }))).ok();
    let capabilities = |model: &str| server.post("/api/show", &json!({ "model": model })).ok()["capabilities"].clone();
    assert_eq!(capabilities("thinker"), json!(["completion", "tools", "thinking"]));
    assert_eq!(capabilities("good"), json!(["completion"]));
}

#[test]
fn whoever_takes_no_page_is_told_that_it_runs() {
    let server = Server::serving(good_and_thinker);
    let asked = |method: &str, headers: &[&str]| server.send(&request(method, "/", headers, b""));
    let told = asked("GET", &["accept: application/json"]);
    assert_eq!((told.status, told.text().as_str()), (200, "Ollama is running"));
    for headers in [&["accept: application/json"][..], &[]] {
        let mut connection = server.connect();
        connection.send(request("HEAD", "/", headers, b""));
        assert_eq!(connection.head().unwrap().0, 200, "{headers:?}");
    }
    for headers in [&[][..], &["accept: text/html,application/xhtml+xml"]] {
        assert!(asked("GET", headers).text().contains("<html"), "{headers:?}");
    }
}
