//! Bodies that cannot be read and fields that cannot be honoured: rows 18, 19, 29, 30, 31 and 33.
//!
//! Each is refused with its own code and the field's name, before a model is loaded for it.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Response;
use crate::models::{VOCABULARY, good};
use crate::server::{Options, Server};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn chat_body() -> Value {
    json!({ "model": "good", "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 1 })
}

fn completion_body() -> Value {
    json!({ "model": "good", "prompt": "hello", "max_tokens": 1 })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

/// Sends the right body with this field changed, to chats and to completions.
fn both(server: &Server, name: &str, value: &Value) -> [Response; 2] {
    [
        server.post(CHAT, &with(chat_body(), name, value.clone())),
        server.post(COMPLETIONS, &with(completion_body(), name, value.clone())),
    ]
}

/// Nothing that was refused woke a model or is in the ledger, and the right bodies are answered.
#[track_caller]
fn nothing_happened(server: &Server) {
    assert_eq!(server.status("good"), "unloaded");
    assert_eq!(server.used_bytes(), 0);
    server.settled_rows(0);
    server.post(CHAT, &chat_body()).ok();
    server.answers("good");
    server.settled_rows(2);
}

#[test]
fn row_18_bodies_that_are_no_json() {
    let server = Server::serving(good);
    let nested = |levels: usize| {
        let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!("{{\"model\":\"good\",\"prompt\":{value}}}").into_bytes()
    };
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b" ".to_vec()),
        ("half", br#"{"model":"good","prompt":"hel"#.to_vec()),
        ("invalid UTF-8", b"{\"model\":\"good\",\"prompt\":\"\xff\xfe\"}".to_vec()),
        ("overlong UTF-8", b"{\"model\":\"good\",\"prompt\":\"\xc0\xaf\"}".to_vec()),
        ("surrogate in UTF-8", b"{\"model\":\"good\",\"prompt\":\"\xed\xa0\x80\"}".to_vec()),
        ("lone surrogate", br#"{"model":"good","prompt":"\ud800"}"#.to_vec()),
        ("lone low surrogate", br#"{"model":"good","prompt":"\udc00 and on"}"#.to_vec()),
        ("surrogates in the wrong order", br#"{"model":"good","prompt":"\udc00\ud800"}"#.to_vec()),
        // The object is the first level.
        ("129 levels", nested(128)),
        ("100,000 levels", nested(100_000)),
        ("objects in objects", format!("{}1{}", "{\"a\":".repeat(129), "}".repeat(129)).into_bytes()),
        ("trailing garbage", br#"{"model":"good","prompt":"hello"} x"#.to_vec()),
        ("two objects", br#"{"model":"good","prompt":"hello"}{}"#.to_vec()),
        ("trailing zero byte", b"{\"model\":\"good\",\"prompt\":\"hello\"}\0".to_vec()),
        ("1e999", br#"{"model":"good","prompt":"hello","temperature":1e999}"#.to_vec()),
        ("-1e999", br#"{"model":"good","prompt":"hello","seed":-1e999}"#.to_vec()),
        ("NaN", br#"{"model":"good","prompt":"hello","temperature":NaN}"#.to_vec()),
        ("Infinity", br#"{"model":"good","prompt":"hello","temperature":Infinity}"#.to_vec()),
        ("an array", b"[]".to_vec()),
        ("a string", br#""hello""#.to_vec()),
        ("null", b"null".to_vec()),
        ("single quotes", b"{'model':'good'}".to_vec()),
        ("a comment", b"{\"model\":\"good\"/* */}".to_vec()),
        ("a trailing comma", b"{\"model\":\"good\",}".to_vec()),
        ("a control character in a string", b"{\"model\":\"good\",\"prompt\":\"a\nb\"}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{\"model\":\"good\"}".to_vec()),
        ("a name twice", br#"{"model":"good","model":"other","prompt":"hello"}"#.to_vec()),
        ("01", br#"{"model":"good","prompt":"hello","max_tokens":01}"#.to_vec()),
    ];
    for (what, body) in &bodies {
        for path in [CHAT, COMPLETIONS, "/tokenize", "/detokenize"] {
            let began = Instant::now();
            let response = server.post_bytes(path, body);
            assert_eq!(response.status, 400, "{what} by {path}: {response}");
            response.refused(400, "invalid_request_error", "invalid_json");
            assert!(began.elapsed() < Duration::from_secs(10), "{what} by {path} took {:?}", began.elapsed());
        }
    }
    nothing_happened(&server);
}

#[test]
fn row_18_what_is_json_is_read() {
    let server = Server::serving(good);
    let bodies = [
        br#" {"model" : "good", "prompt":"\ud83d\ude00", "max_tokens":1} "#.to_vec(),
        "{\"model\":\"good\",\"prompt\":\"\u{1F600} \u{0} \u{FFFF}\",\"max_tokens\":1}"
            .replace('\0', "\\u0000")
            .into_bytes(),
        br#"{"model":"good","prompt":"hello","max_tokens":1,"temperature":1e-3}"#.to_vec(),
    ];
    for body in bodies {
        server.post_bytes(COMPLETIONS, &body).ok();
    }
}

#[test]
fn row_19_wrong_types() {
    let server = Server::serving(good);
    let of_both = [
        ("model", json!(5)),
        ("model", json!(["good"])),
        ("stream", json!("yes")),
        ("stream", json!(1)),
        ("temperature", json!("hot")),
        ("temperature", json!([1])),
        ("top_p", json!(true)),
        ("top_k", json!(1.5)),
        ("max_tokens", json!("9")),
        ("max_tokens", json!(1.5)),
        ("n", json!(1.5)),
        ("n", json!("1")),
        ("seed", json!("7")),
        ("seed", json!(0.5)),
        ("stop", json!(5)),
        ("logit_bias", json!([])),
        ("logit_bias", json!("x")),
        ("stream_options", json!(true)),
        ("ignore_eos", json!(0)),
        ("user", json!({})),
        ("metadata", json!("x")),
        ("keep_alive", json!(true)),
        ("presence_penalty", json!({})),
    ];
    for (name, value) in of_both {
        for response in both(&server, name, &value) {
            assert_eq!(response.status, 400, "{name} = {value}: {response}");
            response.refused_about(400, "invalid_type", name);
        }
    }
    let message = |message: Value| with(chat_body(), "messages", json!([message]));
    let chats = [
        (with(chat_body(), "messages", json!("hello")), "messages"),
        (with(chat_body(), "messages", json!(["hello"])), "messages[0]"),
        (with(chat_body(), "logprobs", json!(1)), "logprobs"),
        (with(chat_body(), "top_logprobs", json!("2")), "top_logprobs"),
        (message(json!({ "role": 5, "content": "x" })), "messages[0].role"),
        (message(json!({ "role": "user", "content": 5 })), "messages[0].content"),
        (message(json!({ "role": "user", "content": null })), "messages[0].content"),
        (message(json!({ "role": "user" })), "messages[0].content"),
        (message(json!({ "role": "user", "content": ["x"] })), "messages[0].content[0]"),
        (message(json!({ "role": "user", "content": [{ "type": "text", "text": 5 }] })), "messages[0].content[0].text"),
    ];
    for (body, param) in chats {
        server.post(CHAT, &body).refused_about(400, "invalid_type", param);
    }
    let completions = [
        (with(completion_body(), "prompt", json!(5)), "prompt"),
        (with(completion_body(), "prompt", json!({})), "prompt"),
        (with(completion_body(), "prompt", json!([1.5])), "prompt[0]"),
        (with(completion_body(), "prompt", json!(["a", 5])), "prompt[1]"),
        (with(completion_body(), "logprobs", json!(true)), "logprobs"),
        (with(completion_body(), "echo", json!("yes")), "echo"),
    ];
    for (body, param) in completions {
        server.post(COMPLETIONS, &body).refused_about(400, "invalid_type", param);
    }
    nothing_happened(&server);
}

#[test]
fn row_19_unknown_roles_and_no_messages() {
    let server = Server::serving(good);
    let messages = |messages: Value| server.post(CHAT, &with(chat_body(), "messages", messages));
    messages(json!([])).refused_about(400, "invalid_value", "messages");
    messages(json!([{ "role": "user", "content": "x" }, { "role": "wizard", "content": "x" }])).refused_about(
        400,
        "invalid_value",
        "messages[1].role",
    );
    messages(json!([{ "role": "", "content": "x" }])).refused_about(400, "invalid_value", "messages[0].role");
    messages(json!([{ "role": "user", "content": [] }])).refused_about(400, "invalid_value", "messages[0].content");
    messages(Value::Null).refused_about(400, "missing_required_parameter", "messages");
    messages(json!([{ "content": "x" }])).refused_about(400, "missing_required_parameter", "messages[0].role");
    let prompt = |prompt: Value| server.post(COMPLETIONS, &with(completion_body(), "prompt", prompt));
    for empty in [json!([]), json!([[]]), json!([[1], []])] {
        assert_eq!(
            prompt(empty).refused(400, "invalid_request_error", "invalid_value")["param"].as_str().map(|p| &p[..6]),
            Some("prompt")
        );
    }
    prompt(Value::Null).refused_about(400, "missing_required_parameter", "prompt");
    server.post(COMPLETIONS, &json!({ "prompt": "x" })).refused_about(400, "missing_required_parameter", "model");
    nothing_happened(&server);
}

#[test]
fn unknown_fields_are_refused_by_name() {
    let server = Server::serving(good);
    for (name, value) in [("temprature", json!(1)), ("guided_grammar", json!({})), ("x", json!("y")), ("", json!(1))] {
        for response in both(&server, name, &value) {
            response.refused_about(400, "unsupported_parameter", name);
        }
    }
    let unsupported = [
        ("functions", json!([{ "name": "f" }])),
        ("function_call", json!("auto")),
        ("tools", json!([{ "type": "web_search" }])),
        ("response_format", json!({ "type": "xml" })),
        ("modalities", json!(["audio"])),
        ("store", json!(true)),
        ("prompt", json!("x")),
        ("echo", json!(true)),
        ("reasoning_effort", json!("high")),
        ("audio", json!({})),
    ];
    for (name, value) in unsupported {
        let response = server.post(CHAT, &with(chat_body(), name, value));
        let error = response.refused(400, "invalid_request_error", "unsupported_parameter");
        assert!(error["param"].as_str().unwrap().starts_with(name), "{response}");
    }
    for (name, value) in [("suffix", json!("x")), ("best_of", json!(2)), ("messages", json!([])), ("tools", json!([]))]
    {
        server.post(COMPLETIONS, &with(completion_body(), name, value)).refused_about(
            400,
            "unsupported_parameter",
            name,
        );
    }
    let inner = json!([{ "role": "user", "content": "x", "refusal": "no" }]);
    server.post(CHAT, &with(chat_body(), "messages", inner)).refused_about(
        400,
        "unsupported_parameter",
        "messages[0].refusal",
    );
    let options =
        with(with(chat_body(), "stream", json!(true)), "stream_options", json!({ "include_obfuscation": true }));
    server.post(CHAT, &options).refused_about(400, "unsupported_parameter", "stream_options.include_obfuscation");
    server.post("/tokenize", &json!({ "model": "good", "content": "x", "return_token_strs": true })).refused_about(
        400,
        "unsupported_parameter",
        "return_token_strs",
    );
    // `null` asks for nothing.
    server.post(CHAT, &with(chat_body(), "tools", Value::Null)).ok();
}

#[test]
fn row_29_more_answers_than_can_be_kept() {
    let server = Server::serving(good);
    let prompts = vec![vec![20; 100]; 256];
    let body = json!({ "model": "good", "prompt": prompts, "n": 128, "max_tokens": 0, "echo": true });
    server.post(COMPLETIONS, &body).refused_about(400, "invalid_value", "n");
    let body = json!({ "model": "good", "prompt": vec![vec![20; 100]; 256], "n": 1, "max_tokens": 0, "echo": true });
    let answer = server.post(COMPLETIONS, &body).ok();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 256);
}

#[test]
fn row_29_numbers_out_of_range() {
    let server = Server::serving(good);
    let past_63_bits = json!(1_u64 << 63);
    let out_of_range = [
        ("n", json!(0)),
        ("n", json!(-1)),
        ("n", past_63_bits.clone()),
        ("n", json!(129)),
        ("max_tokens", json!(-1)),
        ("max_tokens", past_63_bits.clone()),
        ("max_tokens", json!(u64::MAX)),
        ("temperature", json!(-1)),
        ("temperature", json!(2.1)),
        ("top_p", json!(0)),
        ("top_p", json!(2)),
        ("top_p", json!(-0.5)),
        ("min_p", json!(-1)),
        ("min_p", json!(1.5)),
        ("top_k", json!(-2)),
        ("top_k", past_63_bits.clone()),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!(-3)),
        ("repetition_penalty", json!(0)),
        ("stop", json!([""])),
        ("stop", json!("")),
        ("stop", json!(vec!["x"; 1000])),
        ("stop", json!("x".repeat(1 << 20))),
        ("keep_alive", json!(1e30)),
        ("keep_alive", json!("soon")),
        ("user", json!("x".repeat(1 << 20))),
    ];
    for (name, value) in out_of_range {
        for response in both(&server, name, &value) {
            assert_eq!(response.status, 400, "{name}: {response}");
            let error = response.refused(400, "invalid_request_error", "invalid_value");
            assert!(error["param"].as_str().unwrap().starts_with(name), "{response}");
            assert!(response.body.len() < 2000, "what was sent is not told back");
        }
    }
    // 2⁶⁴ and more are still whole numbers.
    for name in ["n", "max_tokens", "seed"] {
        for path in [CHAT, COMPLETIONS] {
            let body = if path == CHAT { chat_body() } else { completion_body() };
            let text = with(body, name, json!("NUMBER")).to_string().replace("\"NUMBER\"", "36893488147419103232");
            let response = server.post_bytes(path, text.as_bytes());
            assert_eq!((response.status, response.json()["error"]["param"].as_str()), (400, Some(name)), "{response}");
        }
    }
    server.post(CHAT, &with(chat_body(), "max_tokens", json!(0))).refused_about(400, "invalid_value", "max_tokens");
    let contradiction = with(chat_body(), "max_completion_tokens", json!(2));
    server.post(CHAT, &contradiction).refused_about(400, "invalid_value", "max_tokens");
    nothing_happened(&server);
}

#[test]
fn answers_may_be_cut_at_the_context_where_the_operator_lets_them() {
    let cut = "[http]\noverlong_answers = \"cut\"";
    let server = Options::with_models(good).flag("--ctx-max", "64").config(cut).start();
    let body = |prompt: usize, tokens: u32| {
        let prompt = vec![5; prompt];
        json!({ "model": "good", "prompt": prompt, "max_tokens": tokens, "ignore_eos": true })
    };
    for (tokens, expected) in [(u32::MAX, 4), (5, 4), (4, 4), (3, 3)] {
        let answer = server.complete(&body(60, tokens)).ok();
        assert_eq!(
            (&answer["usage"]["completion_tokens"], &answer["choices"][0]["finish_reason"]),
            (&json!(expected), &json!("length"))
        );
    }
    let mut echoed = body(64, 0);
    echoed["echo"] = json!(true);
    assert_eq!(server.complete(&echoed).ok()["usage"]["completion_tokens"], 0);
    // Each ends with the context behind its own prompt.
    let mut uneven = body(60, 20);
    uneven["prompt"] = json!([vec![5; 60], vec![5; 10]]);
    assert_eq!(server.complete(&uneven).ok()["usage"]["completion_tokens"], 4 + 20);
    let mut several = body(1, 3);
    several["n"] = json!(128);
    assert_eq!(server.complete(&several).ok()["usage"]["completion_tokens"], 3 * 128);
    server.complete(&body(64, 1)).refused_about(400, "context_length_exceeded", "prompt");
}

#[test]
fn row_30_longer_than_the_context() {
    let server = Options::with_models(good).flag("--ctx-max", "64").start();
    let ids: Vec<u32> = vec![5; 60];
    let body = |tokens: u32| json!({ "model": "good", "prompt": ids, "max_tokens": tokens, "ignore_eos": true });
    server.complete(&body(5)).refused_about(400, "context_length_exceeded", "prompt");
    server.complete(&body(u32::MAX)).refused_about(400, "context_length_exceeded", "prompt");
    assert_eq!(server.complete(&body(4)).ok()["usage"]["completion_tokens"], 4, "as many as there is room for");
    let long: Vec<u32> = vec![5; 65];
    server.complete(&json!({ "model": "good", "prompt": long })).refused_about(
        400,
        "context_length_exceeded",
        "prompt",
    );
    let scored = json!({ "model": "good", "prompt": vec![5; 65], "max_tokens": 0, "echo": true, "logprobs": 1 });
    server.complete(&scored).refused_about(400, "context_length_exceeded", "prompt");
    let text = json!({ "model": "good", "prompt": "x ".repeat(64), "max_tokens": 1 });
    server.complete(&text).refused_about(400, "context_length_exceeded", "prompt");
    let mut chat = chat_body();
    chat["messages"][0]["content"] = json!("x ".repeat(64));
    server.post(CHAT, &chat).refused_about(400, "context_length_exceeded", "messages");
    let mut streamed = body(5);
    streamed["stream"] = json!(true);
    server.complete(&streamed).refused_about(400, "context_length_exceeded", "prompt");
    let several = json!({ "model": "good", "prompt": ["x", "y ".repeat(64)], "max_tokens": 1 });
    server.complete(&several).refused_about(400, "context_length_exceeded", "prompt");
    server.settled_rows(1);
    server.answers("good");
}

#[test]
fn row_31_too_many_biases_and_alternatives() {
    let server = Server::serving(good);
    let mut million = br#"{"model":"good","prompt":"hello","logit_bias":{"#.to_vec();
    for id in 0..1_000_000 {
        let comma = if id == 0 { "" } else { "," };
        million.extend(format!("{comma}\"{id}\":1").bytes());
    }
    million.extend(b"}}");
    let began = Instant::now();
    let response = server.post_bytes(COMPLETIONS, &million);
    response.refused_about(400, "invalid_value", "logit_bias");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    let wrong =
        [json!({ "x": 1 }), json!({ "-1": 1 }), json!({ "01": 1 }), json!({ "5": 101 }), json!({ "99999999999": 1 })];
    for bias in wrong {
        for response in both(&server, "logit_bias", &bias) {
            let error = response.refused(400, "invalid_request_error", "invalid_value");
            assert!(error["param"].as_str().unwrap().starts_with("logit_bias"), "{response}");
        }
    }
    for response in both(&server, "logit_bias", &json!({ "5": "x" })) {
        response.refused_about(400, "invalid_type", "logit_bias.5");
    }
    for top in [json!(21), json!(10_000), json!(-1)] {
        let mut chat = with(chat_body(), "logprobs", json!(true));
        chat["top_logprobs"] = top.clone();
        server.post(CHAT, &chat).refused_about(400, "invalid_value", "top_logprobs");
        server.post(COMPLETIONS, &with(completion_body(), "logprobs", top)).refused_about(
            400,
            "invalid_value",
            "logprobs",
        );
    }
    server.post(CHAT, &with(chat_body(), "top_logprobs", json!(2))).refused_about(400, "invalid_value", "top_logprobs");
    assert_eq!(server.status("good"), "unloaded");

    // What only the vocabulary can tell is told once the model is known.
    for response in both(&server, "logit_bias", &json!({ VOCABULARY.to_string(): 1 })) {
        response.refused_about(400, "invalid_value", "logit_bias");
    }
    for response in both(&server, "logit_bias", &json!({ (VOCABULARY - 1).to_string(): 1 })) {
        response.ok();
    }
    server.settled_rows(2);
}

#[test]
fn row_33_images_are_refused_and_not_fetched() {
    let server = Server::serving(good);
    let bait = TcpListener::bind("127.0.0.1:0").unwrap();
    bait.set_nonblocking(true).unwrap();
    let address = bait.local_addr().unwrap();
    let urls = [
        format!("http://{address}/x.png"),
        format!("https://{address}/x.png"),
        "file:///etc/passwd".to_owned(),
        "data:image/png;base64,iVBORw0KGgo=".to_owned(),
        "ftp://localhost/x".to_owned(),
        String::new(),
    ];
    for url in urls {
        let parts = json!([{ "type": "text", "text": "look" }, { "type": "image_url", "image_url": { "url": url } }]);
        let body = with(chat_body(), "messages", json!([{ "role": "user", "content": parts }]));
        server.post(CHAT, &body).refused_about(400, "unsupported_content", "messages[0].content[1]");
    }
    for kind in ["input_audio", "file", "video_url", "refusal", ""] {
        let body = with(chat_body(), "messages", json!([{ "role": "user", "content": [{ "type": kind }] }]));
        server.post(CHAT, &body).refused_about(400, "unsupported_content", "messages[0].content[0]");
    }
    assert_eq!(bait.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came");
    nothing_happened(&server);
}
