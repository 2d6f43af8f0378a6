//! The log: one line for each request, and nothing in it that a client wrote.

use serde_json::{Map, Value, json};

use crate::client::{post, request, until};
use crate::keys::{bearer, create, send_as};
use crate::models::{endless, good, slow, write};
use crate::server::{Options, SOON, Server};

/// A word that no log may have.
const CANARY: &str = "canarybird";

/// The lines about requests by this route, as objects.
fn lines(server: &Server, route: &str) -> Vec<Value> {
    let said = server.said();
    let objects = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter(|line| line["target"] == "dayfly::request" && line["route"] == route).collect()
}

#[track_caller]
fn one_line(server: &Server, route: &str) -> Value {
    until(&format!("a line about {route}"), SOON, || {
        assert_eq!(server.get("/livez").status, 200);
        lines(server, route).pop()
    })
}

#[test]
fn each_request_has_one_line_when_it_is_over() {
    let server = Options::with_models(|folder| {
        good(folder);
        write(folder, "slow", &slow());
    });
    let server = server.flag("--log-format", "json").start();
    let key = create(&server, &["--tenant", "acme"]);
    let body = json!({ "model": "good", "prompt": "hello", "max_tokens": 3, "ignore_eos": true });
    let response = send_as(&server, &bearer(&key), ("POST", "/v1/completions"), &body);
    let answer = response.ok();
    let line = one_line(&server, "/v1/completions");
    let about = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
    assert_eq!(Some(&*about("request")), response.header("x-request-id"), "{line}");
    assert_eq!((about("id"), about("model")), (answer["id"].as_str().unwrap().to_owned(), "good".to_owned()));
    assert_eq!((about("tenant"), about("key_id")), ("acme".to_owned(), key["id"].as_str().unwrap().to_owned()));
    assert_eq!((about("method"), about("outcome"), &line["cold"]), ("POST".into(), "completed".into(), &json!(true)));
    assert_eq!(
        (&line["status"], &line["prompt_tokens"], &line["completion_tokens"]),
        (&json!(200), &json!(1), &json!(3))
    );
    let span = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("no {name}: {line}"));
    let parts = ["queue_ms", "load_ms", "prefill_ms", "decode_ms"].map(span);
    assert!(parts.iter().sum::<f64>() <= span("total_ms") + 1.0, "{line}");
    assert!(span("first_token_ms") <= span("total_ms"), "{line}");

    // A client that leaves: the line waits for the settlement.
    let mut connection = server.connect();
    let mut streamed = endless("slow");
    streamed["stream"] = json!(true);
    let head = ["content-type: application/json", &bearer(&key)].map(str::to_owned);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    connection.send(request("POST", "/v1/completions", &head, streamed.to_string().as_bytes()));
    assert_eq!(connection.head().unwrap().0, 200);
    drop(connection);
    let line = until("its line", SOON, || {
        assert_eq!(server.get("/livez").status, 200);
        lines(&server, "/v1/completions").into_iter().nth(1)
    });
    assert_eq!((&line["outcome"], &line["model"]), (&json!("cancelled"), &json!("slow")), "{line}");
    assert_eq!(line["error"], json!("request_cancelled"), "nothing failed: {line}");

    // What is refused has a line with its reason; who looks whether the server lives has none.
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.send(&post("/v1/chat/completions", &json!({}))).status, 401);
    let line = one_line(&server, "/v1/chat/completions");
    assert_eq!((&line["status"], &line["error"]), (&json!(401), &json!("invalid_api_key")), "{line}");
    assert_eq!((&line["tenant"], &line["model"]), (&Value::Null, &Value::Null), "{line}");
    assert!(lines(&server, "/livez").is_empty() && lines(&server, "/v1/completions").len() == 2);
    let said = server.said();
    let logged: Vec<&str> = said.lines().filter(|line| !line.starts_with("listening on")).collect();
    assert!(logged.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{said}");
}

/// Requests that go well and requests that do not, by all interfaces, each with the word in whatever can have it.
fn requests() -> Vec<(&'static str, Value)> {
    let messages = json!([{ "role": "system", "content": CANARY }, { "role": "user", "content": CANARY }]);
    let right = [
        ("/v1/chat/completions", json!({ "messages": messages, "max_tokens": 1, "user": CANARY, "stop": CANARY })),
        ("/v1/completions", json!({ "prompt": CANARY, "max_tokens": 1, "echo": true, "suffix": null })),
        ("/v1/responses", json!({ "input": messages, "instructions": CANARY, "metadata": { CANARY: CANARY } })),
        ("/v1/messages", json!({ "messages": [messages[1]], "system": CANARY, "max_tokens": 1 })),
        ("/api/chat", json!({ "messages": messages, "options": { "num_predict": 1 } })),
        ("/api/generate", json!({ "prompt": CANARY, "options": { "num_predict": 1 }, "stream": false })),
        ("/completion", json!({ "prompt": CANARY, "n_predict": 1 })),
        ("/apply-template", json!({ "messages": messages })),
        ("/tokenize", json!({ "content": CANARY })),
        ("/detokenize", json!({ "tokens": [5] })),
        ("/v1/embeddings", json!({ "input": CANARY })),
        ("/v1/rerank", json!({ "query": CANARY, "documents": [CANARY] })),
        ("/v1/contexts", json!({ "name": CANARY, "text": CANARY.repeat(9) })),
    ];
    let mut all = Vec::new();
    for (path, body) in right {
        let body = with(body, "model", json!("good"));
        let wrong = [
            with(body.clone(), "model", json!(CANARY)),
            with(body.clone(), CANARY, json!(CANARY)),
            with(body.clone(), "stream", json!(CANARY)),
            with(body.clone(), "temperature", json!(CANARY)),
            with(
                body.clone(),
                "response_format",
                json!({ "type": "json_schema", "json_schema": { "schema": CANARY } }),
            ),
            with(body.clone(), "grammar", json!(format!("start: {CANARY}"))),
            with(body.clone(), "regex", json!(format!("({CANARY}"))),
            with(body.clone(), "tools", json!([{ "type": "function", "function": { "name": CANARY } }])),
            with(body.clone(), "messages", json!([{ "role": CANARY, "content": [{ "type": CANARY }] }])),
            with(body.clone(), "context", json!(CANARY)),
            with(body.clone(), "keep_alive", json!(CANARY)),
        ];
        all.push((path, body));
        all.extend(wrong.into_iter().map(|body| (path, body)));
    }
    all
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

#[test]
fn nothing_that_a_client_writes_is_in_the_log() {
    for format in ["text", "json"] {
        // At its most talkative; and with a template that fails at what it is given, which is the model's fault.
        let template = format!("{{% for m in messages %}}{{{{ m.content + 1 }}}}{{% endfor %}}{{# {CANARY} #}}");
        let server = Options::with_models(|folder| {
            good(folder);
            write(folder, "failing", &crate::models::quick());
            std::fs::write(folder.join("failing.jinja"), &template).unwrap();
        });
        let path = server.models_path().join("failing.jinja");
        let templates = format!("log = \"trace\"\n[chat_templates]\nfailing = \"{}\"\n", path.display());
        let server = server.config(&templates).flag("--log-format", format).start();
        for (path, body) in requests() {
            let headers = [
                "content-type: application/json",
                &format!("authorization: Bearer {CANARY}"),
                &format!("idempotency-key: {CANARY}"),
                &format!("x-request-timeout: {CANARY}"),
                &format!("user-agent: {CANARY}"),
            ];
            server.post(path, &body);
            server.send(&request("POST", path, &headers, body.to_string().as_bytes()));
            server.send(&request("POST", path, &headers[..3], format!("{{\"{CANARY}\": {CANARY}").as_bytes()));
        }
        for (method, path) in [
            ("GET", format!("/{CANARY}?{CANARY}={CANARY}")),
            ("GET", format!("/v1/models/{CANARY}")),
            ("GET", format!("/v1/usage/{CANARY}")),
            ("GET", format!("/v1/usage?tenant={CANARY}&since={CANARY}")),
            ("DELETE", format!("/v1/contexts/{CANARY}")),
            ("PUT", "/v1/completions".to_owned()),
            (CANARY, "/livez".to_owned()),
        ] {
            server.send(&request(method, &path, &[&format!("x-api-key: {CANARY}")], CANARY.as_bytes()));
        }
        let failing = json!({ "model": "failing", "messages": [{ "role": "user", "content": CANARY }] });
        let failed = server.chat(&failing);
        assert_eq!(failed.status, 500, "{failed}");
        until("the failure is told", SOON, || {
            assert_eq!(server.get("/livez").status, 200);
            server.said().contains("template failed in line").then_some(())
        });
        server.send(&request(
            "POST",
            "/models/load",
            &["content-type: application/json"],
            failing.to_string().as_bytes(),
        ));
        server.answers("good");
        let said = server.said();
        let told: Vec<&str> = said.lines().filter(|line| line.to_lowercase().contains(CANARY)).collect();
        assert!(told.is_empty(), "{told:#?}");
        let routes: Map<String, Value> = said
            .lines()
            .filter(|line| line.contains("dayfly::request"))
            .map(|line| (line.split("route").nth(1).unwrap_or_default().chars().take(30).collect(), Value::Null))
            .collect();
        assert!(routes.len() > 14, "the requests have lines: {routes:?}");
    }
}
