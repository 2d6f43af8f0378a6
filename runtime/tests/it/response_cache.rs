//! Answers that are given again: to whom, after what, and what they are said to have cost.

use loader::fixture::TinyModel;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::client::{Response, request, text_of};
use crate::models::{good, letters_only, quick, write};
use crate::server::{Options, Server};

const HEADER: &str = "x-dayfly-response-cache";

/// A completion that uses the cache.
fn ask(prompt: &str) -> Value {
    json!({
        "model": "good", "prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": true, "cache": true,
        "logit_bias": letters_only(),
    })
}

fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[field] = value;
    body
}

/// Whether the answer was looked for in the cache, and what came of it.
#[track_caller]
fn said(response: &Response) -> Option<String> {
    response.ok();
    response.header(HEADER).map(str::to_owned)
}

#[track_caller]
fn is_hit(response: &Response) {
    assert_eq!(said(response).as_deref(), Some("hit"), "{response}");
}

#[track_caller]
fn is_miss(response: &Response) {
    assert_eq!(said(response).as_deref(), Some("miss"), "{response}");
}

/// An answer without what is each answer's own.
fn shown(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for own in ["id", "created", "dayfly"] {
        answer.as_object_mut().unwrap().remove(own).unwrap_or_else(|| panic!("no {own}"));
    }
    answer["usage"]["prompt_tokens_details"] = Value::Null;
    answer
}

fn unload(server: &Server) {
    server.post("/models/unload", &json!({ "model": "good" })).ok();
    server.wait_for_status("good", "unloaded");
}

#[test]
fn an_answer_is_given_again_without_its_model() {
    let server = Server::serving(good);
    let body = with(&with(&ask("hello there"), "n", json!(2)), "logprobs", json!(2));
    let first = server.complete(&body);
    is_miss(&first);
    unload(&server);
    let again = server.complete(&body);
    is_hit(&again);
    let (first, again) = (first.ok(), again.ok());
    assert_eq!(shown(&again), shown(&first));
    assert_ne!(again["id"], first["id"]);
    let usage = &again["usage"];
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"], "{usage}");
    assert!(usage["completion_tokens"].as_u64() > Some(0), "{usage}");
    assert_eq!(server.status("good"), "unloaded");
    assert_eq!(server.model("good")["loads"], 1);
    assert_eq!(server.metric("dayfly_response_cache_hits_total"), 1.0);
    assert_eq!(server.metric("dayfly_response_cache_misses_total"), 1.0);
    assert_eq!(server.metric("dayfly_response_cache_answers"), 1.0);
    assert!(server.metric("dayfly_response_cache_bytes") >= 1024.0);
}

#[test]
fn a_model_that_is_there_is_kept_no_longer() {
    let server = Options::with_models(good).config("keep_alive = \"1h\"").start();
    let body = with(&ask("hello there"), "keep_alive", json!("2h"));
    is_miss(&server.complete(&body));
    let expires = |server: &Server| server.model("good")["expires_in_seconds"].as_f64().unwrap();
    let before = expires(&server);
    is_hit(&server.complete(&with(&body, "keep_alive", json!("9h"))));
    assert!(expires(&server) <= before);
}

#[test]
fn whole_and_streamed_answers_are_the_same() {
    let server = Server::serving(good);
    let body = ask("hello there");
    let whole = server.complete(&body);
    is_miss(&whole);
    let text = whole.ok()["choices"][0]["text"].as_str().unwrap().to_owned();
    let chunks = server.stream(&with(&body, "stream_options", json!({ "include_usage": true }))).finish();
    assert_eq!(text_of(&chunks, 0), text);
    assert_eq!(chunks.len(), 2, "one piece and the usage: {chunks:?}");
    assert_eq!(chunks[0]["choices"][0]["finish_reason"], "length");
    let last = chunks.last().unwrap();
    assert_eq!(last["usage"]["completion_tokens"], 12);
    assert_eq!(last["dayfly"]["method"]["answered_from"], "response_cache", "{last}");
    // The other way round, and as a conversation.
    let chat = json!({
        "model": "good", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 6, "temperature": 0.5,
        "seed": 4, "cache": true, "logit_bias": letters_only(), "stream": true,
    });
    let mut connection = server.connect();
    connection.send(crate::client::post("/v1/chat/completions", &chat));
    let chunks = connection.events().finish();
    let streamed: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    let whole = server.chat(&with(&chat, "stream", json!(false)));
    is_hit(&whole);
    assert_eq!(whole.ok()["choices"][0]["message"]["content"], streamed);
    // Comments of what it waits for come before the headers could say anything.
    let told = with(&with(&chat, "stream", json!(true)), "stream_options", json!({ "include_progress": true }));
    let mut connection = server.connect();
    connection.send(crate::client::post("/v1/chat/completions", &told));
    let chunks = connection.events().finish();
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], streamed, "{chunks:?}");
}

#[test]
fn nobody_uses_it_unasked() {
    let server = Server::serving(good);
    let mut body = ask("hello there");
    body.as_object_mut().unwrap().remove("cache");
    for _ in 0..2 {
        let response = server.complete(&body);
        assert_eq!(said(&response), None);
        assert_eq!(response.ok()["dayfly"]["method"]["answered_from"], "model");
    }
    assert_eq!(server.metric("dayfly_response_cache_answers"), 0.0);
    assert_eq!(server.metric("dayfly_response_cache_misses_total"), 0.0);
}

#[test]
fn what_is_drawn_anew_each_time_is_refused() {
    let server = Server::serving(good);
    let drawn = with(&ask("hello there"), "temperature", json!(0.7));
    server.complete(&drawn).refused_about(400, "invalid_value", "cache");
    server.complete(&with(&drawn, "seed", Value::Null)).refused_about(400, "invalid_value", "cache");
    let seeded = with(&drawn, "seed", json!(7));
    is_miss(&server.complete(&seeded));
    is_hit(&server.complete(&seeded));
    is_miss(&server.complete(&with(&drawn, "seed", json!(8))));
}

#[test]
fn another_request_has_another_answer() {
    let server = Server::serving(good);
    let body = ask("hello there");
    is_miss(&server.complete(&body));
    for other in [
        with(&body, "max_tokens", json!(11)),
        with(&body, "prompt", json!("hello ther")),
        with(&body, "stop", json!("qqqqq")),
        with(&body, "logprobs", json!(0)),
        with(&body, "echo", json!(true)),
        with(&body, "n", json!(2)),
    ] {
        is_miss(&server.complete(&other));
        is_hit(&server.complete(&other));
    }
    for same in [with(&body, "user", json!("me")), with(&body, "timeout", json!(30)), with(&body, "seed", json!(3))] {
        is_hit(&server.complete(&same));
    }
}

fn keys(tenants: &[&str]) -> String {
    let key = |tenant: &&str| {
        let hash: String = Sha256::digest(tenant).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[keys]]\ntenant = \"{tenant}\"\nsha256 = \"{hash}\"\n")
    };
    tenants.iter().map(key).collect()
}

/// A tenant's key is its name.
fn complete_as(server: &Server, tenant: &str, body: &Value) -> Response {
    let key = format!("authorization: Bearer {tenant}");
    let headers = ["content-type: application/json", &key];
    server.send(&request("POST", "/v1/completions", &headers, body.to_string().as_bytes()))
}

#[test]
fn each_tenant_has_its_own_and_may_have_it_unasked() {
    let config = format!("[tenants.acme]\nresponse_cache = true\n{}", keys(&["acme", "other"]));
    let server = Options::with_models(good).config(&config).start();
    let asking = ask("hello there");
    let mut silent = asking.clone();
    silent.as_object_mut().unwrap().remove("cache");
    is_miss(&complete_as(&server, "acme", &silent));
    is_hit(&complete_as(&server, "acme", &silent));
    is_hit(&complete_as(&server, "acme", &asking));
    assert_eq!(said(&complete_as(&server, "acme", &with(&asking, "cache", json!(false)))), None);
    assert_eq!(said(&complete_as(&server, "other", &silent)), None);
    is_miss(&complete_as(&server, "other", &asking));
    is_hit(&complete_as(&server, "other", &asking));
    // Of the prompt alone there is no answer: it is computed, so that a next request finds it.
    let warming = json!({ "model": "good", "prompt": "hello", "n_predict": 0, "temperature": 0 });
    let warm = |_| {
        let headers = ["content-type: application/json", "authorization: Bearer acme"];
        said(&server.send(&request("POST", "/completion", &headers, warming.to_string().as_bytes())))
    };
    assert_eq!([0, 1].map(warm), [None, None]);
    // What is drawn anew each time is not looked for, and not refused: nobody asked for it.
    let drawn = with(&silent, "temperature", json!(0.7));
    assert_eq!(said(&complete_as(&server, "acme", &drawn)), None);
    // What an answer that is computed would be refused for.
    let urgent = with(&asking, "service_tier", json!("priority"));
    complete_as(&server, "acme", &urgent).refused_about(403, "permission_denied", "service_tier");
}

#[test]
fn a_replaced_file_does_not_answer_from_the_cache_of_the_old_one() {
    let server = Server::serving(good);
    let body = ask("hello there");
    is_miss(&server.complete(&body));
    is_hit(&server.complete(&body));
    let other = TinyModel { layers: 3, ..quick() };
    write(server.models_dir(), "next", &other);
    let path = |name: &str| server.models_dir().join(format!("{name}.gguf"));
    std::fs::rename(path("next"), path("good")).unwrap();
    // The old file serves on while it is in memory: its answer is not the new one's.
    is_miss(&server.complete(&body));
    is_miss(&server.complete(&body));
    unload(&server);
    let new = server.complete(&body);
    is_miss(&new);
    let again = server.complete(&body);
    is_hit(&again);
    assert_eq!(shown(&again.ok()), shown(&new.ok()));
}

#[test]
fn memory_is_bounded_and_can_be_none() {
    let server = Options::with_models(good).config("[response_cache]\nmemory = \"4KiB\"\n").start();
    for number in 0..8 {
        is_miss(&server.complete(&ask(&format!("number {number}"))));
    }
    assert!(server.metric("dayfly_response_cache_bytes") <= 4096.0);
    is_hit(&server.complete(&ask("number 7")));
    is_miss(&server.complete(&ask("number 0")));
    let none = "[response_cache]\nmemory = \"0\"\n[tenants.anonymous]\nresponse_cache = true\n";
    let server = Options::with_models(good).config(none).start();
    let mut body = ask("hello there");
    server.complete(&body).refused_about(400, "invalid_value", "cache");
    body.as_object_mut().unwrap().remove("cache");
    for _ in 0..2 {
        assert_eq!(said(&server.complete(&body)), None);
    }
}

#[test]
fn a_hit_is_settled_once_and_took_nothing() {
    let rates = "[rates]\ncpu_hour = 1.0\nmemory_gb_hour = 1.0\nprompt_token = 0.5\ncached_token = 0.25\n\
                 completion_token = 2.0\n";
    let server = Options::with_models(good).config(rates).start();
    let body = ask("hello there");
    is_miss(&server.complete(&body));
    let hit = server.complete(&body);
    is_hit(&hit);
    let answer = hit.ok();
    let receipt = &answer["dayfly"];
    for (section, part) in [
        ("cpu", "total_ns"),
        ("memory", "weights_kib_ms"),
        ("memory", "load_kib_ms"),
        ("memory", "kv_kib_ms"),
        ("memory", "weights_bytes"),
        ("energy", "total_nj"),
        ("times", "prefill_ns"),
        ("times", "load_wait_ns"),
    ] {
        assert_eq!(receipt[section][part], 0, "{section}.{part}: {receipt}");
    }
    assert!(receipt["times"]["wall_ns"].as_u64() > Some(0), "{receipt}");
    assert_eq!((&receipt["cold"], &receipt["outcome"]), (&json!(false), &json!("completed")));
    let method = &receipt["method"];
    assert_eq!((&method["answered_from"], &method["steps"]), (&json!("response_cache"), &Value::Null));
    let tokens = receipt["tokens"]["total"].as_f64().unwrap();
    assert_eq!(receipt["cost"]["amount"].as_f64(), Some(tokens * 0.25), "{receipt}");
    let record = server.get(&format!("/v1/usage/{}", answer["id"].as_str().unwrap())).ok();
    assert_eq!((&record["state"], &record["method"]), (&json!("settled"), method), "durable before the answer");
    assert_eq!(hit.header("x-dayfly-cold"), Some("false"));
    server.settled_rows(2);
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);
}

#[test]
fn a_hit_is_settled_before_its_first_piece() {
    let server = Server::serving(good);
    let body = ask("hello there");
    is_miss(&server.complete(&body));
    let mut stream = server.stream(&body);
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    let record = server.get(&format!("/v1/usage/{id}")).ok();
    drop(stream);
    assert_eq!((&record["state"], &record["outcome"]), (&json!("settled"), &json!("completed")), "{record}");
    server.settled_rows(2);
}
