//! Requests that share steps and pages: rows 34 and 35, and what is computed once.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::client::{Response, request, text_of, until};
use crate::models::{FIRST_BYTE_ID, VOCABULARY, endless, good, slow, write};
use crate::server::{Options, SOON, Server};

/// Positions of a page.
const PAGE: u64 = 32;

fn both(folder: &std::path::Path) {
    good(folder);
    write(folder, "slow", &slow());
}

pub(crate) fn keys(tenants: &[&str]) -> String {
    let key = |tenant: &&str| {
        let hash: String = Sha256::digest(tenant).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[keys]]\ntenant = \"{tenant}\"\nsha256 = \"{hash}\"\n")
    };
    tenants.iter().map(key).collect()
}

/// A tenant's key is its name.
pub(crate) fn complete_as(server: &Server, tenant: &str, body: &Value) -> Response {
    let key = format!("authorization: Bearer {tenant}");
    let headers = ["content-type: application/json", &key];
    server.send(&request("POST", "/v1/completions", &headers, body.to_string().as_bytes()))
}

/// A completion of a prompt of `tokens` tokens, which `seed` changes from the first on.
fn long(tokens: u32, seed: u32) -> Value {
    let prompt: Vec<u32> = (0..tokens).map(|index| FIRST_BYTE_ID + (index * 7 + seed) % (VOCABULARY - 19)).collect();
    json!({ "model": "good", "prompt": prompt, "max_tokens": 8, "temperature": 0, "logprobs": 1, "ignore_eos": true })
}

pub(crate) fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

/// The log-probabilities of an answer's tokens.
fn logprobs(answer: &Value) -> Vec<f64> {
    let listed = answer["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    listed.iter().filter_map(Value::as_f64).collect()
}

#[test]
fn streams_of_one_model_share_its_steps() {
    let server = Server::serving(both);
    let mut streams: Vec<_> = (0..4).map(|_| server.stream(&endless("slow"))).collect();
    for _ in 0..3 {
        // Each goes on while none has ended.
        for stream in &mut streams {
            stream.chunk();
        }
    }
    let ids: Vec<String> = streams.iter_mut().map(|stream| stream.chunk()["id"].as_str().unwrap().to_owned()).collect();
    drop(streams);
    for id in ids {
        let record = server.settled(&id);
        let sharing = &record["method"]["steps"];
        assert!(!sharing.is_null(), "it says how steps were shared: {record}");
        assert!(record["cpu"]["decode_ns"].as_u64().unwrap() > 0, "{record}");
    }
}

#[test]
fn a_beginning_is_computed_once() {
    let server = Server::serving(both);
    let first = server.complete(&long(100, 0)).ok();
    assert_eq!((cached(&first), first["usage"]["prompt_tokens"].as_u64()), (0, Some(100)));
    let again = server.complete(&long(100, 0)).ok();
    assert_eq!(cached(&again), 3 * PAGE, "whole pages, and never the last token");
    assert_eq!(again["choices"][0]["text"], first["choices"][0]["text"]);
    for (again, first) in logprobs(&again).iter().zip(logprobs(&first)) {
        assert!((again - first).abs() <= 0.05, "{again} and {first}");
    }
    let other = server.complete(&long(100, 1)).ok();
    assert_eq!(cached(&other), 0, "it begins otherwise");
    let shorter = server.complete(&long(64, 0)).ok();
    assert_eq!(cached(&shorter), PAGE, "the page of its last token is computed");
    assert_eq!(server.metric("dayfly_prefix_cache_hits"), 4.0);
    let record = server.settled(again["id"].as_str().unwrap());
    assert_eq!(record["tokens"]["cached"], 3 * PAGE, "{record}");
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);
}

#[test]
fn an_answer_goes_on_from_the_one_before() {
    let server = Server::serving(both);
    let mut body = long(40, 0);
    body["max_tokens"] = json!(40);
    body["return_tokens"] = Value::Null;
    let answer = server.complete(&body).ok();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty());
    // The prompt's page and, of what was generated, the page that was full.
    let status = &server.pool()["memory"]["prefix_cache"];
    assert_eq!(status["pages"], 2, "{status}");
    assert_eq!(status["unused_bytes"], status["bytes"], "{status}");
}

#[test]
fn several_answers_leave_the_pages_of_their_prompt_alone() {
    let server = Server::serving(both);
    let mut body = long(40, 0);
    body["n"] = json!(3);
    body["max_tokens"] = json!(40);
    let answer = server.complete(&body).ok();
    let text = |choice: usize| answer["choices"][choice]["text"].clone();
    assert_eq!((text(0), text(0)), (text(1), text(2)), "greedy, and so alike");
    assert_eq!(server.pool()["memory"]["prefix_cache"]["pages"], 1);
    let alone = server.complete(&long(40, 0)).ok();
    assert_eq!(cached(&alone), PAGE);
}

#[test]
fn tenants_find_their_own_pages_alone_unless_told_otherwise() {
    for (scope, expected) in [("tenant", 0), ("everyone", 3 * PAGE)] {
        let config = format!("[scheduler]\nprefix_scope = \"{scope}\"\n{}", keys(&["acme", "other"]));
        let server = Options::with_models(both).config(&config).start();
        complete_as(&server, "acme", &long(100, 0)).ok();
        assert_eq!(cached(&complete_as(&server, "acme", &long(100, 0)).ok()), 3 * PAGE);
        assert_eq!(cached(&complete_as(&server, "other", &long(100, 0)).ok()), expected, "{scope}");
    }
}

#[test]
fn pages_go_with_their_model_and_within_their_bound() {
    let config = "[scheduler]\nprefix_cache = \"0\"\n";
    let server = Options::with_models(both).config(config).start();
    server.complete(&long(100, 0)).ok();
    assert_eq!(cached(&server.complete(&long(100, 0)).ok()), 0, "there is no cache");
    let server = Server::serving(both);
    server.complete(&long(100, 0)).ok();
    assert!(server.pool()["memory"]["prefix_cache"]["pages"].as_u64() > Some(0));
    server.post("/models/unload", &json!({ "model": "good" })).ok();
    until("pages are given back", SOON, || (server.used_bytes() == 0).then_some(()));
    assert_eq!(cached(&server.complete(&long(100, 0)).ok()), 0);
}

#[test]
fn row_35_a_full_queue_refuses_early_and_each_tenant_has_its_part() {
    let config = format!(
        "[scheduler]\nsequences_per_model_max = 1\nqueue_max = 3\nqueue_per_tenant_max = 2\n{}",
        keys(&["acme", "other", "third"])
    );
    let server = Options::with_models(both).config(&config).start();
    let ask = |tenant: &str| {
        let mut connection = server.connect();
        let mut body = endless("slow");
        body["stream"] = json!(true);
        let key = format!("authorization: Bearer {tenant}");
        let headers = ["content-type: application/json", &key];
        connection.send(request("POST", "/v1/completions", &headers, body.to_string().as_bytes()));
        connection
    };
    let queued = |count: f64| {
        let series = || {
            let key = "authorization: Bearer acme";
            let text = server.send(&request("GET", "/metrics", &[key], b"")).text();
            let line = text.lines().find(|line| line.starts_with("dayfly_queued_requests "))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        until("the queue", SOON, || (series() == Some(count)).then_some(()));
    };
    // One runs for each of the first two: a tenant may begin what is less than its share.
    let mut running = vec![ask("acme").events()];
    running[0].chunk();
    let mut waiting = vec![ask("acme")];
    queued(1.0);
    waiting.push(ask("acme"));
    queued(2.0);
    let refused = complete_as(&server, "acme", &endless("slow"));
    refused.refused(503, "service_unavailable_error", "server_is_overloaded");
    assert!(refused.retry_after() >= 1);
    let mut other = ask("other").events();
    other.chunk();
    drop(other);
    drop(running);
    drop(waiting);
}

#[test]
fn a_request_has_the_time_that_it_gives_itself() {
    let server = Server::serving(both);
    let mut body = endless("slow");
    body["timeout"] = json!(0.2);
    let late = server.complete(&body);
    late.refused(504, "server_error", "deadline_exceeded");
    let headers = ["content-type: application/json", "x-request-timeout: 0.2"];
    let late = server.send(&request("POST", "/v1/completions", &headers, endless("slow").to_string().as_bytes()));
    late.refused(504, "server_error", "deadline_exceeded");
    for (value, code) in [(json!(0), "invalid_value"), (json!(-1), "invalid_value"), (json!("1"), "invalid_type")] {
        body["timeout"] = value;
        server.complete(&body).refused_about(400, code, "timeout");
    }
    let headers = ["content-type: application/json", "x-request-timeout: soon"];
    let wrong = server.send(&request("POST", "/v1/completions", &headers, endless("slow").to_string().as_bytes()));
    wrong.refused_about(400, "invalid_value", "x-request-timeout");
    let mut body = json!({ "model": "good", "prompt": "hello", "max_tokens": 2, "timeout": 60 });
    server.complete(&body).ok();
    body["service_tier"] = json!("flex");
    assert_eq!(server.complete(&body).ok()["service_tier"], "flex");
    body["service_tier"] = json!("priority");
    server.complete(&body).refused_about(403, "permission_denied", "service_tier");
}

#[test]
fn a_tenant_may_be_urgent_where_the_operator_says_so() {
    let config = format!("[tenants.acme]\npriority_max = \"high\"\nweight = 3\n{}", keys(&["acme", "other"]));
    let server = Options::with_models(both).config(&config).start();
    let body = json!({ "model": "good", "prompt": "hello", "max_tokens": 2, "service_tier": "priority" });
    assert_eq!(complete_as(&server, "acme", &body).ok()["service_tier"], "priority");
    complete_as(&server, "other", &body).refused_about(403, "permission_denied", "service_tier");
}

#[test]
fn a_stream_that_asks_is_told_what_it_waits_for() {
    let server = Options::with_models(both).config("[scheduler]\nsequences_per_model_max = 1\n").start();
    let mut running = server.stream(&endless("slow"));
    running.chunk();
    let mut body = json!({ "model": "slow", "prompt": "hello", "max_tokens": 2, "ignore_eos": true, "temperature": 0 });
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_progress": true });
    let mut connection = server.connect();
    connection.send(crate::client::post("/v1/completions", &body));
    let mut waiting = connection.events();
    let comment = waiting.comment();
    assert!(comment.starts_with("queued ahead="), "{comment}");
    drop(running);
    let chunks = waiting.finish();
    assert!(chunks.iter().all(|chunk| chunk["model"] == "slow"), "{chunks:?}");
    let _ = text_of(&chunks, 0);
}

#[test]
fn those_who_wait_for_a_load_refuse_nobody_else() {
    let two = |folder: &std::path::Path| {
        write(folder, "slow", &slow());
        write(folder, "other", &slow());
    };
    // One of the two has room, and does not give way.
    let config = "[scheduler]\nqueue_max = 1\nloading_max = 1\n[pool]\nbusy_turn_max = \"1h\"\n";
    let server = Options::with_models(two).config(config).flag("--memory-budget", "30MiB").start();
    let mut running = server.stream(&endless("slow"));
    running.chunk();
    let mut waiting = server.connect();
    waiting.send(crate::client::post("/v1/completions", &endless("other")));
    until("it waits for its load", SOON, || (server.metric("dayfly_loading_requests") == 1.0).then_some(()));
    assert_eq!(server.metric("dayfly_queued_requests"), 0.0);
    let body = json!({ "model": "slow", "prompt": "hello", "max_tokens": 2 });
    server.complete(&body).ok();
    // A second one finds no room aside, and takes the queue's place.
    let mut second = server.connect();
    second.send(crate::client::post("/v1/completions", &endless("other")));
    until("it has the place", SOON, || (server.metric("dayfly_queued_requests") == 1.0).then_some(()));
    server.complete(&body).refused(503, "service_unavailable_error", "server_is_overloaded");
    drop((waiting, second));
    until("both have left", SOON, || (server.metric("dayfly_loading_requests") == 0.0).then_some(()));
    until("both have left", SOON, || (server.metric("dayfly_queued_requests") == 0.0).then_some(()));
    server.complete(&body).ok();
}

#[test]
fn a_finished_answer_holds_no_model_while_its_client_reads() {
    const PROMPTS: usize = 126;
    let server = Server::serving(both);
    // Echoes: nothing is computed, and every piece is 48 KB, of which a socket takes some. Those that are left are more than
    // the server hands on to a client, and fewer than a sequence may be ahead.
    let prompts = vec!["\u{1}".repeat(8_000); PROMPTS];
    let mut answer = server.stream(&json!({ "model": "slow", "prompt": prompts, "max_tokens": 0, "echo": true }));
    until("nobody holds it", SOON, || (server.model("slow")["status"]["state"] == "idle").then_some(()));
    let chunks = answer.finish();
    assert_eq!(chunks.len(), PROMPTS);
    assert_eq!(text_of(&chunks, PROMPTS as u64 - 1).len(), 8_000);
    server.settled_rows(1);
}
