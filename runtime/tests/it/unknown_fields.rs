//! Fields that mean nothing here: refused, or where the operator says so let pass and named, by every interface.

use serde_json::{Value, json};

use crate::client::Response;
use crate::models::good;
use crate::server::{Options, Server};

const HEADER: &str = "x-dayfly-ignored-fields";

/// A right body for each way of reading one.
pub(crate) fn bodies() -> [(&'static str, Value); 10] {
    let messages = json!([{ "role": "user", "content": "hello" }]);
    [
        ("/v1/chat/completions", json!({ "model": "good", "messages": messages, "max_tokens": 1 })),
        ("/v1/completions", json!({ "model": "good", "prompt": "hello", "max_tokens": 1 })),
        ("/v1/responses", json!({ "model": "good", "input": "hello", "max_output_tokens": 1 })),
        ("/v1/messages", json!({ "model": "good", "messages": messages, "max_tokens": 1 })),
        ("/v1/messages/count_tokens", json!({ "model": "good", "messages": messages })),
        (
            "/api/chat",
            json!({ "model": "good", "messages": messages, "stream": false, "options": { "num_predict": 1 } }),
        ),
        (
            "/api/generate",
            json!({ "model": "good", "prompt": "hello", "stream": true, "options": { "num_predict": 1 } }),
        ),
        ("/completion", json!({ "model": "good", "prompt": "hello", "n_predict": 1 })),
        ("/apply-template", json!({ "model": "good", "messages": messages })),
        ("/tokenize", json!({ "model": "good", "content": "hello" })),
    ]
}

/// The same body with a field of this name, which no field's value is like.
pub(crate) fn with(body: &Value, name: &str) -> Value {
    let mut body = body.clone();
    body[name] = json!({ "deep": ["secret"] });
    body
}

#[track_caller]
fn refused(response: &Response, name: &str) {
    assert_eq!(response.status, 400, "{response}");
    assert!(response.text().contains(&format!("`{name}` is not supported")), "{response}");
    assert_eq!(response.header(HEADER), None);
}

#[test]
fn they_are_refused_by_name_unless_told() {
    let server = Server::serving(good);
    for (path, body) in bodies() {
        refused(&server.post(path, &with(&body, "x_trace")), "x_trace");
    }
    assert_eq!(server.status("good"), "unloaded", "nothing was computed");
}

#[test]
fn where_they_are_accepted_they_are_named_and_what_would_change_an_answer_is_refused() {
    let server = Options::with_models(good).config("[http]\nunknown_fields = \"accept\"").start();
    for (path, body) in bodies() {
        let plain = server.post(path, &body);
        assert_eq!((plain.status, plain.header(HEADER)), (200, None), "{path}: {plain}");
        let passed = server.post(path, &with(&with(&body, "x_trace"), "mood"));
        assert_eq!((passed.status, passed.header(HEADER)), (200, Some("x_trace, mood")), "{path}: {passed}");
        for known in ["logits_processors", "previous_response_id", "lora"] {
            refused(&server.post(path, &with(&body, known)), known);
        }
    }
    let nested =
        json!({ "model": "good", "messages": [{ "role": "user", "content": "a", "mood": 1 }], "max_tokens": 1 });
    assert_eq!(server.post("/v1/chat/completions", &nested).header(HEADER), Some("messages[0].mood"));
    let wrong = with(&json!({ "model": "good", "prompt": 5 }), "x_trace");
    assert_eq!(server.post("/v1/completions", &wrong).json()["error"]["param"], "prompt");
}
