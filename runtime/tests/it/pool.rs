//! Which models are in memory: single flight, keep-alive, time-outs, the budget.

use std::path::Path;
use std::sync::Barrier;

use loader::fixture::TinyModel;
use serde_json::{Value, json};

use crate::client::{Response, until};
use crate::models::{endless, good, quick, slow, write};
use crate::server::{Options, SOON, Server};

const MIB: usize = 1 << 20;

fn ask(model: &str) -> Value {
    json!({ "model": model, "prompt": "hello", "max_tokens": 2 })
}

/// Models of 8 MiB and a bit, of which two fit 20 MiB.
fn large(folder: &Path, names: &[&str]) {
    for name in names {
        write(folder, name, &TinyModel { padding_bytes: 8 * MIB, ..quick() });
    }
}

fn two_fit(names: &'static [&'static str]) -> Server {
    Options::with_models(|folder| large(folder, names)).flag("--memory-budget", "20MiB").start()
}

/// Models that were evicted, the earliest first, with the reasons.
#[track_caller]
fn evictions(server: &Server) -> Vec<(String, String)> {
    let pool = server.pool();
    let mut evictions: Vec<&Value> = pool["evictions"].as_array().unwrap().iter().collect();
    evictions.sort_by(|a, b| b["seconds_ago"].as_f64().unwrap().total_cmp(&a["seconds_ago"].as_f64().unwrap()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    evictions.into_iter().map(|record| (text(&record["model"]), text(&record["cause"]))).collect()
}

#[track_caller]
fn evicted(server: &Server) -> Vec<String> {
    evictions(server).into_iter().map(|(model, _)| model).collect()
}

#[test]
fn an_empty_pool_is_ready_and_its_models_are_listed() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "Some.Model-1.Q4_0", &quick());
    });
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/livez").status, 200);
    let listed = server.get("/v1/models").ok();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!(ids, ["Some.Model-1.Q4_0", "good"]);
    assert!(listed["data"].as_array().unwrap().iter().all(|model| model["object"] == "model"));
    assert_eq!(server.get("/v1/models/good").ok()["id"], "good");
    assert_eq!(server.status("good"), "unloaded");
    assert_eq!(server.used_bytes(), 0, "nothing was loaded for a list");
}

#[test]
fn an_alias_is_its_model() {
    let server = Options::with_models(good).config("[aliases]\nshort = \"good\"").start();
    let answer = server.complete(&ask("short")).ok();
    assert_eq!((&answer["model"], &answer["dayfly"]["model"]), (&json!("short"), &json!("good")));
    assert_eq!(server.model("good")["loads"], 1);
    server.complete(&ask("good")).ok();
    assert_eq!(server.model("good")["loads"], 1, "one model, whatever it is called");
}

#[test]
fn sixty_four_first_requests_load_the_model_once() {
    let server = Server::serving(|folder| write(folder, "wanted", &slow()));
    let barrier = Barrier::new(64);
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let ask = || {
            let mut connection = server.connect();
            barrier.wait();
            connection.ask(&crate::client::post("/v1/completions", &ask("wanted")))
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let cold = answers.iter().filter(|answer| answer.ok()["dayfly"]["cold"] == true).count();
    assert!((1..=64).contains(&cold), "those that waited for the load: {cold}");
    assert_eq!(server.model("wanted")["loads"], 1);
    let loads = server.metric("dayfly_model_loads_total{model=\"wanted\",cause=\"demand\"}");
    assert!((loads - 1.0).abs() < f64::EPSILON, "{loads}");
    assert!(server.metric("dayfly_ledger_imbalance_total").abs() < f64::EPSILON);
    server.settled_rows(64);
}

#[test]
fn keep_alive_zero_disposes_after_the_answer() {
    let server = Server::serving(good);
    let mut body = ask("good");
    body["keep_alive"] = json!(0);
    server.complete(&body).ok();
    server.wait_for_status("good", "unloaded");
    until("memory is given back", SOON, || (server.used_bytes() == 0).then_some(()));
    assert_eq!(evicted(&server), ["good"]);
    let series = "dayfly_model_evictions_total{model=\"good\",cause=\"keep_alive_zero\"}";
    assert!((server.metric(series) - 1.0).abs() < f64::EPSILON);
    let again = server.complete(&body).ok();
    assert_eq!(again["dayfly"]["cold"], true, "it had to be loaded again");
}

#[test]
fn idle_models_are_unloaded_and_minus_one_stays() {
    let options = Options::with_models(|folder| {
        good(folder);
        write(folder, "kept", &quick());
        write(folder, "short", &quick());
    });
    let server = options.config("keep_alive = \"200ms\"").start();
    let with = |model: &str, keep_alive: Value| {
        let mut body = ask(model);
        body["keep_alive"] = keep_alive;
        server.complete(&body).ok();
    };
    with("kept", json!(-1));
    with("short", json!("100ms"));
    server.complete(&ask("good")).ok();
    server.wait_for_status("good", "unloaded");
    server.wait_for_status("short", "unloaded");
    assert_eq!(server.status("kept"), "loaded");
    assert_eq!(server.model("kept")["expires_in_seconds"], Value::Null);
    for model in ["good", "short"] {
        let series = format!("dayfly_model_evictions_total{{model=\"{model}\",cause=\"idle_timeout\"}}");
        assert!((server.metric(&series) - 1.0).abs() < f64::EPSILON, "{model}");
    }
    // The next request decides anew.
    with("kept", json!("100ms"));
    server.wait_for_status("kept", "unloaded");
}

#[test]
fn a_busy_model_does_not_idle_out() {
    let options = Options::with_models(|folder| {
        good(folder);
        write(folder, "slow", &slow());
    });
    let server = options.config("keep_alive = \"100ms\"").start();
    let mut stream = server.stream(&endless("slow"));
    stream.chunk();
    server.complete(&ask("good")).ok();
    server.wait_for_status("good", "unloaded");
    assert_eq!(server.status("slow"), "loaded", "longer in memory than the one that idled out");
    stream.chunk();
    drop(stream);
    server.wait_for_status("slow", "unloaded");
}

#[test]
fn unload_lets_go_at_once_when_idle_and_after_the_answer_when_busy() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "slow", &slow());
    });
    let unload = |model: &str| server.post("/models/unload", &json!({ "model": model }));
    assert_eq!(unload("good").ok()["outcome"], "not_loaded");
    server.complete(&ask("good")).ok();
    assert_eq!(unload("good").ok()["outcome"], "evicting");
    server.wait_for_status("good", "unloaded");

    let body = json!({ "model": "slow", "prompt": "hello", "max_tokens": 600, "ignore_eos": true });
    let mut stream = server.stream(&body);
    stream.chunk();
    let outcome = unload("slow").ok();
    assert_eq!((&outcome["outcome"], &outcome["users"]), (&json!("when_free"), &json!(1)), "{outcome}");
    assert_eq!(stream.finish().last().unwrap()["choices"][0]["finish_reason"], "length");
    server.wait_for_status("slow", "unloaded");
}

#[test]
fn the_budget_evicts_the_least_recently_used() {
    let server = two_fit(&["a", "b", "c"]);
    for model in ["a", "b", "a", "c"] {
        server.complete(&ask(model)).ok();
    }
    assert_eq!(evicted(&server), ["b"], "a was used after b");
    let (used, limit) = (server.used_bytes(), server.pool()["memory"]["limit_bytes"].as_u64().unwrap());
    assert!(used <= limit && limit == 20 * MIB as u64, "{used} of {limit}");
    server.complete(&ask("b")).ok();
    assert_eq!(evicted(&server), ["b", "a"]);
    let (_, why) = &evictions(&server)[1];
    assert!(why.contains('b'), "an eviction says for whom: {why}");
    let loads: Vec<u64> = ["a", "b", "c"].map(|model| server.model(model)["loads"].as_u64().unwrap()).into();
    assert_eq!(loads, [1, 2, 1]);
    server.settled_rows(5);
}

/// Models of 18 MB, of which two fit with some room for keys and values.
fn two_busy_fit() -> Server {
    let options = Options::with_models(|folder| {
        for name in ["a", "b", "c"] {
            write(folder, name, &slow());
        }
    });
    let server = options.flag("--memory-budget", "48MiB").start();
    let bytes = server.model("a")["size_bytes"].as_u64().unwrap();
    assert!(2 * bytes + (12 << 20) < 48 << 20 && 3 * bytes > 48 << 20, "two fit and three do not: {bytes}");
    server
}

/// Goes on until it is interrupted, in events so large that an unread stream soon stands still.
fn held(model: &str) -> Value {
    let mut body = endless(model);
    body["logprobs"] = json!(20);
    body
}

#[test]
fn the_budget_never_evicts_a_busy_model() {
    let server = two_fit_with_busy();
    let mut busy = server.stream(&json!({
        "model": "busy", "prompt": "hello", "max_tokens": 1200, "ignore_eos": true
    }));
    busy.chunk();
    server.complete(&ask("b")).ok();
    server.complete(&ask("c")).ok();
    assert_eq!(evicted(&server), ["b"], "idle, though used more recently than the busy one");
    assert_eq!(server.model("busy")["leases"], 1);
    assert_eq!(busy.finish().last().unwrap()["choices"][0]["finish_reason"], "length");
    server.settled_rows(3);
}

fn two_fit_with_busy() -> Server {
    let options = Options::with_models(|folder| {
        write(folder, "busy", &slow());
        for name in ["b", "c"] {
            write(folder, name, &TinyModel { padding_bytes: 40 * MIB, ..quick() });
        }
    });
    options.flag("--memory-budget", "80MiB").start()
}

#[test]
fn who_finds_all_models_busy_waits_for_one() {
    let server = two_busy_fit();
    let mut first = server.stream(&held("a"));
    let mut second = server.stream(&held("b"));
    first.chunk();
    second.chunk();
    std::thread::scope(|scope| {
        let third = scope.spawn(|| server.complete(&ask("c")));
        until("c waits", SOON, || (server.pool()["memory"]["waiting_requests"] == 1).then_some(()));
        assert!(!third.is_finished());
        assert_eq!((server.status("a"), server.status("b")), ("loaded".to_owned(), "loaded".to_owned()));
        drop(first);
        third.join().unwrap().ok();
    });
    assert_eq!(evicted(&server), ["a"]);
    second.chunk();
    assert_eq!(server.model("b")["leases"], 1);
}

/// Six clients ask these models in turn, ten times each; everyone is answered, and every byte is accounted for.
#[track_caller]
fn all_are_answered(server: &Server, models: &[&str], keep_alive: &Value) {
    std::thread::scope(|scope| {
        for client in 0..6 {
            scope.spawn(move || {
                for turn in 0..10 {
                    let mut body = ask(models[(client + turn) % models.len()]);
                    body["keep_alive"] = keep_alive.clone();
                    let answer = server.complete(&body).ok();
                    assert_eq!(answer["usage"]["prompt_tokens"], 1);
                    let memory = &server.pool()["memory"];
                    assert!(memory["used_bytes"].as_u64() <= memory["limit_bytes"].as_u64(), "{memory}");
                }
            });
        }
    });
    server.settled_rows(60);
    assert!(server.metric("dayfly_ledger_imbalance_total").abs() < f64::EPSILON);
}

#[test]
fn everyone_is_answered_while_models_come_and_go() {
    all_are_answered(&two_fit(&["a", "b", "c"]), &["a", "b", "c"], &Value::Null);
}

#[test]
fn everyone_is_answered_while_answers_dispose_of_the_model() {
    let server = Server::serving(good);
    all_are_answered(&server, &["good"], &json!(0));
    until("memory is given back", SOON, || (server.used_bytes() == 0).then_some(()));
}

#[test]
fn row_36_larger_than_the_budget() {
    let options = Options::with_models(|folder| {
        good(folder);
        write(folder, "huge", &TinyModel { padding_bytes: 32 * MIB, ..quick() });
    });
    let server = options.flag("--memory-budget", "16MiB").start();
    server.answers("good");
    let response = server.complete(&ask("huge"));
    response.refused(503, "service_unavailable_error", "model_too_large");
    assert_eq!(server.status("good"), "loaded", "nothing is evicted for it");
    assert!(evicted(&server).is_empty());
    server.settled_rows(1);
}
