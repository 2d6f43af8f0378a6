//! Models that are loaded and let go by name, and those who listen to it.

use serde_json::{Value, json};

use crate::client::{Events, request, until};
use crate::models::{endless, good, quick, slow, write, write_file};
use crate::server::{Options, SOON, Server};
use loader::fixture::{TinyModel, tiny_model};
use rustix::process::Signal;

const MIB: usize = 1 << 20;

fn named(model: &str) -> Value {
    json!({ "model": model })
}

fn listen(server: &Server) -> Events {
    let mut connection = server.connect();
    connection.send(request("GET", "/models/sse", &[], b""));
    connection.events()
}

fn load_streamed(server: &Server, model: &str) -> Events {
    let mut connection = server.connect();
    connection.send(crate::client::post("/models/load", &json!({ "model": model, "stream": true })));
    connection.events()
}

/// Status and state of an event.
fn status(event: &Value) -> (&str, Option<&str>) {
    (event["data"]["status"].as_str().unwrap_or_default(), event["data"]["state"].as_str())
}

/// Reads events until one of `model` has this status.
#[track_caller]
fn hear(events: &mut Events, model: &str, wanted: &str) -> Value {
    loop {
        let event = events.chunk();
        if event["model"] == model && status(&event).0 == wanted {
            return event;
        }
    }
}

#[test]
fn a_load_answers_when_the_model_is_in_memory() {
    let server = Server::serving(good);
    let answer = server.post("/models/load", &json!({ "model": "good", "keep_alive": "1h" })).ok();
    assert_eq!((&answer["success"], &answer["was_loaded"]), (&json!(true), &json!(false)));
    assert_eq!(answer["state"]["status"]["value"], "loaded");
    assert_eq!(server.status("good"), "loaded");
    let expires = server.model("good")["expires_in_seconds"].as_f64().unwrap();
    assert!(expires > 3000.0, "{expires}");
    assert_eq!(server.post("/models/load", &named("good")).ok()["was_loaded"], true);
    let model = server.model("good");
    assert_eq!(model["loads"], 1);
    assert!(model["last_load_source"]["label"].is_string(), "{model}");
    let answer = server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 2 })).ok();
    assert_eq!(answer["dayfly"]["cold"], false);
    assert_eq!(server.post("/models/unload", &named("good")).ok()["success"], true);
    server.wait_for_status("good", "unloaded");
    assert!(server.metric("dayfly_ledger_imbalance_total").abs() < f64::EPSILON);
}

#[test]
fn a_load_that_fails_is_the_askers_fault_and_stays_it() {
    let server = Server::serving(|folder| {
        let mut writer = tiny_model(&quick());
        writer.set("general.architecture", "nope");
        write_file(folder, "broken", &writer);
    });
    for _ in 0..2 {
        let error = server.post("/models/load", &named("broken"));
        error.refused_about(400, "model_file_invalid", "model");
        assert!(!error.text().contains(server.models_dir().to_str().unwrap()), "no path is told: {error}");
    }
    let inference = server.complete(&json!({ "model": "broken", "prompt": "x", "max_tokens": 1 }));
    inference.refused(503, "service_unavailable_error", "model_quarantined");
    server.post("/models/load", &named("nowhere")).refused_about(404, "model_not_found", "model");
    server.post("/models/load", &json!({ "model": "x", "n_ctx": 1 })).refused_about(
        400,
        "unsupported_parameter",
        "n_ctx",
    );
}

#[test]
fn a_streamed_load_tells_each_step_to_its_end() {
    let server = Server::serving(|folder| write(folder, "m", &TinyModel { padding_bytes: 4 * MIB, ..quick() }));
    let events = load_streamed(&server, "m").finish();
    let statuses: Vec<_> = events.iter().map(status).collect();
    let expected = [("loading", Some("inspecting")), ("loading", Some("awaiting_room")), ("loading", Some("loading"))];
    assert_eq!(statuses[..3], expected);
    assert_eq!(
        statuses.iter().filter(|(status, _)| *status == "loaded").count(),
        1 + usize::from(statuses.last().unwrap().1 == Some("idle"))
    );
    assert!(events.iter().all(|event| event["model"] == "m"));
    let loaded = events.iter().find(|event| status(event).0 == "loaded").unwrap();
    assert!(loaded["data"]["load_seconds"].is_f64() && loaded["data"]["source"]["label"].is_string(), "{loaded}");

    let again = load_streamed(&server, "m").finish();
    assert!(again.iter().any(|event| event["event"] == "model_status" && status(event).0 == "loaded"), "{again:?}");
    let rest = load_streamed_refusal(&server);
    assert_eq!(rest, "model_not_found");
}

/// What a streamed load of no model gets: an answer of its own, before any event.
fn load_streamed_refusal(server: &Server) -> String {
    let answer = server.post("/models/load", &json!({ "model": "nowhere", "stream": true }));
    answer.refused(404, "invalid_request_error", "model_not_found")["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_broken_streamed_load_ends_with_its_error() {
    let server = Server::serving(|folder| {
        let mut writer = tiny_model(&quick());
        writer.set("general.architecture", "nope");
        write_file(folder, "broken", &writer);
    });
    let rest = load_streamed(&server, "broken").rest();
    let last: Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "model_file_invalid", "{rest:?}");
}

#[test]
fn listeners_hear_what_becomes_of_models_and_why() {
    let options = Options::with_models(|folder| {
        for name in ["a", "b", "c"] {
            write(folder, name, &TinyModel { padding_bytes: 8 * MIB, ..quick() });
        }
    });
    let server = options.flag("--memory-budget", "20MiB").start();
    server.post("/models/load", &named("a")).ok();
    let mut events = listen(&server);
    let first = events.chunk();
    assert_eq!((&first["model"], &first["event"], status(&first).0), (&json!("a"), &json!("model_status"), "loaded"));
    for model in ["b", "c"] {
        server.post("/models/load", &named(model)).ok();
    }
    hear(&mut events, "b", "loaded");
    let evicted = hear(&mut events, "a", "unloading");
    assert_eq!(evicted["data"]["for_model"], "c", "{evicted}");
    assert!(evicted["data"]["idle_seconds"].is_f64());
    hear(&mut events, "a", "unloaded");
    hear(&mut events, "c", "loaded");
    let record = &server.pool()["evictions"][0];
    assert_eq!((&record["model"], &record["for_model"]), (&json!("a"), &json!("c")));
}

#[test]
fn probes_scrapes_and_listeners_neither_wake_a_model_nor_keep_it() {
    let server = Options::with_models(|folder| {
        good(folder);
        write(folder, "asleep", &quick());
    })
    .config("keep_alive = \"400ms\"")
    .start();
    let mut events = listen(&server);
    server.post("/models/load", &named("good")).ok();
    // Asked all the time until it has gone: if any of these were a use, it never would.
    until("good idles out under probes", SOON, || {
        for path in ["/livez", "/readyz", "/metrics", "/models", "/v1/models", "/v1/models/good"] {
            assert_eq!(server.get(path).status, 200, "{path}");
        }
        (server.status("good") == "unloaded").then_some(())
    });
    hear(&mut events, "good", "unloading");
    assert_eq!(server.status("asleep"), "unloaded");
    assert!(server.model("asleep")["loads"].is_null(), "it was never asked for");
}

#[test]
fn one_listener_too_many_is_told_to_come_back() {
    let server = Server::serving(good);
    let mut listening: Vec<Events> = (0..64).map(|_| listen(&server)).collect();
    let refused = server.get("/models/sse");
    refused.refused(503, "service_unavailable_error", "server_is_overloaded");
    assert!(refused.retry_after() >= 1);
    server.post("/models/load", &named("good")).ok();
    for events in &mut listening {
        hear(events, "good", "loaded");
    }
    let streamed = || server.post("/models/load", &json!({ "model": "good", "stream": true })).status;
    assert_eq!(streamed(), 503, "a streamed load listens too");
    listening.pop();
    until("a place is free", SOON, || (streamed() == 200).then_some(()));
}

#[test]
fn a_server_that_stops_waits_for_no_listener() {
    let mut server = Server::serving(good);
    let mut events = listen(&server);
    server.post("/models/load", &named("good")).ok();
    hear(&mut events, "good", "loaded");
    server.signal(Signal::TERM);
    assert!(server.exit(SOON).success());
    events.rest();
}

#[test]
fn a_load_whose_asker_left_goes_on() {
    let server = Server::serving(|folder| write(folder, "m", &slow()));
    let mut events = listen(&server);
    let mut connection = server.connect();
    connection.send(crate::client::post("/models/load", &named("m")));
    hear(&mut events, "m", "loading");
    drop(connection);
    server.wait_for_status("m", "loaded");
    let mut stream = server.stream(&endless("m"));
    stream.chunk();
    assert_eq!(server.model("m")["loads"], 1);
}

/// Models of 8 MiB and a bit, of which two fit.
fn three_of_which_two_fit() -> Server {
    let options = Options::with_models(|folder| {
        for name in ["a", "b", "c"] {
            write(folder, name, &TinyModel { padding_bytes: 8 * MIB, ..quick() });
        }
    });
    options.flag("--memory-budget", "20MiB").start()
}

#[test]
fn a_pinned_model_stays_until_it_is_unpinned() {
    let server = three_of_which_two_fit();
    let pinned = server.post("/models/pin", &named("a")).ok();
    assert_eq!((&pinned["was_loaded"], &pinned["state"]["pinned"]), (&json!(false), &json!(true)), "{pinned}");
    for model in ["b", "c", "b", "c"] {
        server.answers(model);
    }
    assert_eq!((server.status("a"), &server.model("a")["loads"]), ("loaded".to_owned(), &json!(1)));
    assert_eq!(server.pool()["memory"]["pinned_bytes"], server.model("a")["weights_bytes"]);
    server.post("/models/unload", &named("a")).refused_about(409, "model_pinned", "model");

    // What can never fit beside the pinned ones is told at once, and no wait.
    server.post("/models/pin", &named("b")).ok();
    for path in ["/models/pin", "/models/load"] {
        let refused = server.post(path, &named("c"));
        refused.refused(503, "service_unavailable_error", "model_too_large");
    }
    server.post("/models/unpin", &named("b")).ok();
    assert_eq!(server.post("/models/unpin", &named("a")).ok()["outcome"], "unpinned");
    assert_eq!(server.post("/models/unpin", &named("a")).ok()["outcome"], "not_pinned");
    assert_eq!(server.post("/models/unload", &named("a")).ok()["outcome"], "evicting");
    server.wait_for_status("a", "unloaded");
    assert!(server.metric("dayfly_ledger_imbalance_total").abs() < f64::EPSILON);
    server.settled_rows(4);
}

#[test]
fn the_budget_can_change_under_way() {
    let server = three_of_which_two_fit();
    let (mib, ask) = (1_u64 << 20, |budget: Value| server.post("/models/budget", &json!({ "memory_budget": budget })));
    server.answers("a");
    server.answers("b");
    assert_eq!(ask(json!("30MiB")).ok()["memory"]["limit_bytes"], 30 * mib);
    server.answers("c");
    assert_eq!(server.pool()["evictions"], json!([]), "three fit now");
    assert_eq!(ask(json!(10 * mib)).ok()["memory"]["limit_bytes"], 10 * mib);
    until("two went", SOON, || (server.used_bytes() <= 10 * mib).then_some(()));
    let causes = server.pool()["evictions"].as_array().unwrap().clone();
    assert_eq!(causes.len(), 2);
    assert!(causes.iter().all(|eviction| eviction["cause"] == "smaller budget"), "{causes:?}");
    assert_eq!(server.status("c"), "loaded", "the one used last");
    server.post("/models/pin", &named("c")).ok();
    ask(json!("9MiB")).refused_about(409, "budget_too_small", "memory_budget");
    ask(json!(0)).refused_about(400, "invalid_value", "memory_budget");
    ask(json!("nine")).refused_about(400, "invalid_value", "memory_budget");
    server.post("/models/budget", &json!({})).refused_about(400, "missing_required_parameter", "memory_budget");
    assert_eq!(server.pool()["memory"]["limit_bytes"], 10 * mib);
    // More than there is cannot be had.
    let limit_bytes = ask(json!("1000TiB")).ok()["memory"]["limit_bytes"].as_u64().unwrap();
    assert!(limit_bytes < 1000 << 40, "{limit_bytes}");
}
