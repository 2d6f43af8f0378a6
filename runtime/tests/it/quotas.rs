//! How fast and how much: rates and budgets (row 34), and the same request again (row 46).

use serde_json::{Value, json};

use crate::client::{Response, request, until};
use crate::keys::{bearer, complete_as, create, send_as};
use crate::models::{endless, good, slow, write};
use crate::server::{Options, SOON, Server};

/// Asks for an answer of exactly so many tokens; the prompt has one, and is estimated at two.
fn ask(server: &Server, header: &str, tokens: u64) -> Response {
    let body = json!({ "model": "good", "prompt": "hello", "max_tokens": tokens, "ignore_eos": true });
    send_as(server, header, ("POST", "/v1/completions"), &body)
}

fn level(response: &Response, name: &str) -> u64 {
    let value = response.header(&format!("x-ratelimit-{name}")).unwrap_or_else(|| panic!("no {name}: {response}"));
    value.parse().unwrap()
}

#[test]
fn row_34_requests_that_come_too_fast_are_told_when_to_come_again() {
    let config = "[tenants.bounded]\nrequests_per_second = 0.002\n";
    let server = Options::with_models(good).config(config).start();
    let fast = bearer(&create(&server, &["--tenant", "free"]));
    let slow = bearer(&create(&server, &["--tenant", "free", "--requests-per-second", "0.001"]));
    let of_tenant = [(); 2].map(|()| bearer(&create(&server, &["--tenant", "bounded"])));
    let first = complete_as(&server, &slow, "good");
    first.ok();
    assert_eq!((level(&first, "limit-requests"), level(&first, "remaining-requests")), (1, 0));
    assert!(first.header("x-ratelimit-reset-requests").unwrap().starts_with("16m"), "of 1000 seconds");
    for _ in 0..3 {
        let refused = complete_as(&server, &slow, "good");
        refused.refused(429, "rate_limit_error", "rate_limit_exceeded");
        assert!((900..=1000).contains(&refused.retry_after()), "{}", refused.retry_after());
        assert_eq!(level(&refused, "remaining-requests"), 0);
    }
    // A tenant's keys share its rate.
    complete_as(&server, &of_tenant[0], "good").ok();
    let refused = complete_as(&server, &of_tenant[1], "good");
    refused.refused(429, "rate_limit_error", "rate_limit_exceeded");
    assert!((400..=500).contains(&refused.retry_after()));
    for _ in 0..5 {
        let response = complete_as(&server, &fast, "good");
        response.ok();
        assert_eq!(response.header("x-ratelimit-limit-requests"), None, "it has none");
    }
    let admin = bearer(&create(&server, &["--tenant", "ops", "--scope", "admin", "--scope", "read"]));
    let figures = send_as(&server, &admin, ("GET", "/metrics"), &Value::Null).text();
    let counted = "dayfly_refused_requests_total{tenant=\"free\",reason=\"rate_limit_exceeded\"} 3";
    assert!(figures.contains(counted), "{figures}");
    server.settled_rows(7);
}

#[test]
fn row_34_tokens_are_reserved_and_settled_to_what_was_used() {
    let server = Server::serving(good);
    let key = bearer(&create(&server, &["--tenant", "acme", "--tokens-per-minute", "600"]));
    let first = ask(&server, &key, 300);
    first.ok();
    assert_eq!(level(&first, "limit-tokens"), 600);
    // One of the prompt's two is given back when it is settled.
    let refused = ask(&server, &key, 500);
    refused.refused(429, "rate_limit_error", "rate_limit_exceeded");
    assert!((1..=21).contains(&refused.retry_after()), "{}", refused.retry_after());
    assert!((299..=600).contains(&level(&refused, "remaining-tokens")));
    ask(&server, &key, 200).ok();
    // What it did not have does not count.
    ask(&server, &key, 300).refused(429, "rate_limit_error", "rate_limit_exceeded");
    let unknown = json!({ "model": "none", "prompt": "hello", "max_tokens": 50 });
    for _ in 0..20 {
        send_as(&server, &key, ("POST", "/v1/completions"), &unknown).refused_about(404, "model_not_found", "model");
    }
    server.settled_rows(2);
}

#[test]
fn row_34_an_answer_that_may_be_cut_reserves_no_more_than_one_without_a_bound() {
    let models = |folder: &std::path::Path| {
        good(folder);
        write(folder, "slow", &slow());
    };
    let server = Options::with_models(models).config("[http]\noverlong_answers = \"cut\"\n").start();
    let key = bearer(&create(&server, &["--tenant", "acme", "--budget", "20000 tokens/month"]));
    let mut body = endless("slow");
    (body["stream"], body["max_tokens"]) = (json!(true), json!(u32::MAX));
    let headers = ["content-type: application/json", key.as_str()];
    let mut connection = server.connect();
    connection.send(request("POST", "/v1/completions", &headers, body.to_string().as_bytes()));
    let mut stream = connection.events();
    stream.chunk();
    ask(&server, &key, 1).ok();
    stream.chunk();
}

#[test]
fn row_34_a_budget_that_is_spent_refuses_until_it_begins_anew() {
    let config = "[tenants.poor]\nbudgets = [\"0.000000001 USD/month\"]\n";
    let server = Options::with_models(good).config(config).start();
    let bounded = bearer(&create(&server, &["--tenant", "acme", "--budget", "100 tokens/month"]));
    let free = bearer(&create(&server, &["--tenant", "acme"]));
    let poor = bearer(&create(&server, &["--tenant", "poor"]));
    // What another key of the tenant spends is none of it.
    ask(&server, &free, 90).ok();
    ask(&server, &bounded, 60).ok();
    ask(&server, &bounded, 60).ok();
    let is_refused = |server: &Server, key: &str| {
        let refused = ask(server, key, 1);
        let error = refused.refused(429, "rate_limit_error", "insufficient_quota");
        assert_eq!(refused.header("retry-after"), None);
        error["message"].as_str().unwrap().to_owned()
    };
    assert!(is_refused(&server, &bounded).contains("100 tokens/month"));
    ask(&server, &free, 1).ok();
    ask(&server, &poor, 60).ok();
    assert!(is_refused(&server, &poor).contains("0.000000001 USD/month"));
    // Killed, and begun anew: the ledger knows what was spent.
    let server = server.restart();
    is_refused(&server, &bounded);
    is_refused(&server, &poor);
    ask(&server, &free, 1).ok();
    server.settled_rows(6);
}

#[test]
fn who_was_admitted_is_answered_to_the_end_and_others_wait_for_that() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "slow", &slow());
    });
    let key = bearer(&create(&server, &["--tenant", "acme", "--budget", "50 tokens/month"]));
    let mut body = endless("slow");
    body["stream"] = json!(true);
    let headers = ["content-type: application/json", key.as_str()];
    let mut connection = server.connect();
    connection.send(request("POST", "/v1/completions", &headers, body.to_string().as_bytes()));
    let mut stream = connection.events();
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    ask(&server, &key, 1).refused(429, "rate_limit_error", "insufficient_quota");
    for _ in 0..60 {
        stream.chunk();
    }
    drop(stream);
    let settled = until("it is settled", SOON, || {
        let record = send_as(&server, &key, ("GET", &format!("/v1/usage/{id}")), &Value::Null).ok();
        (record["state"] == "settled").then_some(record)
    });
    assert!(settled["tokens"]["total"].as_u64().unwrap() > 50, "{settled}");
    ask(&server, &key, 1).refused(429, "rate_limit_error", "insufficient_quota");
}

/// Asks under a name of the client's.
fn ask_once(server: &Server, name: &str, more: &[&str], body: &Value) -> Response {
    let headers = [&["content-type: application/json", name], more].concat();
    server.send(&request("POST", "/v1/completions", &headers, body.to_string().as_bytes()))
}

#[test]
fn row_46_a_request_under_the_same_key_is_charged_once() {
    let server = Server::serving(good);
    let body = json!({ "model": "good", "prompt": "hello", "max_tokens": 2, "cache": true, "temperature": 0 });
    let name = "Idempotency-Key: order 66";
    // What was refused was no request.
    ask_once(&server, name, &[], &json!({ "model": "none", "prompt": "x" })).refused_about(
        404,
        "model_not_found",
        "model",
    );
    let first = ask_once(&server, name, &[], &body).ok();
    let id = first["id"].as_str().unwrap();
    for body in [&body, &json!({ "model": "good", "prompt": "another" })] {
        let repeat = ask_once(&server, name, &[], body);
        repeat.refused_about(409, "idempotency_key_used", "Idempotency-Key");
        assert_eq!(repeat.header("location"), Some(&*format!("/v1/usage/{id}")));
        assert!(repeat.text().contains(id) && repeat.text().contains("completed"), "{repeat}");
    }
    server.settled_rows(1);
    ask_once(&server, "Idempotency-Key: order 67", &[], &body).ok();
    // After a restart as well, and other tenants' names are their own.
    let server = server.restart();
    let keys = ["acme", "other"].map(|tenant| bearer(&create(&server, &["--tenant", tenant])));
    for key in &keys {
        ask_once(&server, name, &[key], &body).ok();
        ask_once(&server, name, &[key], &body).refused_about(409, "idempotency_key_used", "Idempotency-Key");
    }
    server.settled_rows(4);
    for wrong in ["Idempotency-Key:", "Idempotency-Key: \u{fc}", &format!("Idempotency-Key: {}", "k".repeat(256))] {
        let refused = ask_once(&server, wrong, &[&keys[0]], &body);
        refused.refused_about(400, "invalid_value", "Idempotency-Key");
    }
}

#[test]
fn row_46_a_repeat_beside_the_first_and_after_a_kill() {
    let server = Server::serving(|folder| write(folder, "slow", &slow()));
    let name = "Idempotency-Key: long";
    let mut body = endless("slow");
    body["stream"] = json!(true);
    let mut connection = server.connect();
    let headers = ["content-type: application/json", name];
    connection.send(request("POST", "/v1/completions", &headers, body.to_string().as_bytes()));
    let mut stream = connection.events();
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    let beside = ask_once(&server, name, &[], &body);
    beside.refused_about(409, "idempotency_key_in_use", "Idempotency-Key");
    assert_eq!(beside.header("location"), Some(&*format!("/v1/usage/{id}")));
    // SIGKILL, and another process on the same ledger.
    let server = server.restart();
    let after = ask_once(&server, name, &[], &body);
    after.refused_about(409, "idempotency_key_used", "Idempotency-Key");
    assert!(after.text().contains("crashed"), "{after}");
    let rows = server.settled_rows(1);
    assert_eq!((rows[0].id.as_str(), rows[0].outcome), (id.as_str(), Some(meter::Outcome::Crashed)));
}

#[test]
fn row_46_of_many_at_once_one_is_computed() {
    let server = Server::serving(good);
    let body = json!({ "model": "good", "prompt": "hello", "max_tokens": 50, "ignore_eos": true });
    let headers = ["content-type: application/json", "Idempotency-Key: at once"];
    let bytes = request("POST", "/v1/completions", &headers, body.to_string().as_bytes());
    let mut connections: Vec<_> = (0..16).map(|_| server.connect()).collect();
    for connection in &mut connections {
        connection.send(&bytes);
    }
    let statuses: Vec<u16> = connections.iter_mut().map(|connection| connection.response().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    server.settled_rows(1);
}

#[test]
fn whoever_is_anonymous_has_bounds_as_a_tenant_has() {
    let config = "anonymous = \"served\"\n[tenants.anonymous]\nmodels = [\"good\"]\ntokens_per_minute = 60\n";
    let server = Options::with_models(|folder| {
        good(folder);
        write(folder, "other", &crate::models::quick());
    });
    let server = server.config(config).start();
    let key = bearer(&create(&server, &["--tenant", "acme"]));
    let nobody = "accept: */*";
    ask(&server, nobody, 50).ok();
    ask(&server, nobody, 50).refused(429, "rate_limit_error", "rate_limit_exceeded");
    complete_as(&server, nobody, "other").refused_about(404, "model_not_found", "model");
    for _ in 0..2 {
        ask(&server, &key, 50).ok();
    }
    complete_as(&server, &key, "other").ok();
}
