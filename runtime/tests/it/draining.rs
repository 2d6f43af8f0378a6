//! Ends of the process: SIGTERM under load drains, a second one ends at once.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::client::{Connection, request, until};
use crate::models::{endless, good, slow, write};
use crate::server::{Options, SOON, Server};

fn both(folder: &Path) {
    good(folder);
    write(folder, "slow", &slow());
}

fn serving() -> Server {
    Server::serving(both)
}

#[test]
fn sigterm_under_load_drains() {
    let one_at_a_time = Options::with_models(both).config("[scheduler]\nsequences_per_model_max = 1\n");
    let mut server = one_at_a_time.start();
    let body = |model| json!({ "model": model, "prompt": "hello", "max_tokens": 300, "ignore_eos": true });
    // One computes, two wait for it, one is on a model of its own.
    let mut streams: Vec<_> = ["slow", "good"].map(|model| server.stream(&body(model))).into();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let mut connection = server.connect();
            connection.send(crate::client::post("/v1/completions", &body("slow")));
            connection
        })
        .collect();
    streams[0].chunk();
    let reader = ledger::Reader::open(&server.ledger()).unwrap();
    until("two wait", SOON, || {
        let rows = reader.recent(ledger::RECENT_MAX).unwrap();
        (rows.len() == 4 && server.metric("dayfly_queued_requests") >= 2.0).then_some(())
    });
    let mut idle = server.connect();
    assert_eq!(idle.ask(&request("GET", "/livez", &[], b"")).status, 200);

    server.signal(Signal::TERM);
    until("new connections are refused", SOON, || Connection::try_open(server.address()).is_err().then_some(()));
    for mut stream in streams {
        let chunks = stream.finish();
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
    }
    for mut connection in waiting {
        let answer = connection.response().ok();
        assert_eq!(answer["usage"]["completion_tokens"], 300, "queued before the signal");
    }
    assert!(idle.is_closed_within(SOON), "an idle connection is not waited for");
    let status = server.exit(SOON);
    assert_eq!(status.code(), Some(0), "{}", server.said());
    let rows = server.settled_rows(4);
    assert!(rows.iter().all(|row| row.outcome == Some(meter::Outcome::Completed)));
}

#[test]
fn sigterm_and_sigint_end_an_idle_server_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::serving(good);
        server.answers("good");
        server.signal(signal);
        assert_eq!(server.exit(SOON).code(), Some(0), "{signal:?}");
        server.settled_rows(1);
    }
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut server = serving();
    let mut stream = server.stream(&endless("slow"));
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    server.signal(Signal::TERM);
    until("it drains", SOON, || Connection::try_open(server.address()).is_err().then_some(()));
    server.signal(Signal::TERM);
    let status = server.exit(Duration::from_secs(5));
    assert_eq!(status.code(), Some(143), "128 + SIGTERM");
    assert!(stream.rest().iter().all(|data| data != "[DONE]"));

    // What was cut off is settled by the next process, once.
    let server = server.restart();
    let record = server.settled(&id);
    assert_eq!(record["outcome"], "crashed", "{record}");
    server.answers("slow");
    server.settled_rows(2);
}

#[test]
fn a_killed_server_leaves_a_ledger_that_the_next_one_goes_on_with() {
    let server = serving();
    server.answers("good");
    let mut stream = server.stream(&endless("slow"));
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    let server = server.restart();
    assert_eq!(server.settled(&id)["outcome"], "crashed");
    server.answers("good");
    server.settled_rows(3);
    let verified = ledger::Reader::open(&server.ledger()).unwrap().verify().unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}
