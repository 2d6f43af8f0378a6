//! Clients that leave: row 24.
//!
//! The work stops within a step or chunk, the memory of keys and values is given back, and what was computed is settled
//! as cancelled.

use std::time::{Duration, Instant};

use ledger::UsageRecord;
use meter::Outcome;
use serde_json::json;

use crate::client::{post, until};
use crate::models::{FIRST_BYTE_ID, endless, good, slow, write};
use crate::server::{SOON, Server};

/// The table says 100 ms; tests allow ten times as much.
const FREED_MAX: Duration = Duration::from_secs(1);

fn serving() -> Server {
    Server::serving(|folder| {
        good(folder);
        write(folder, "slow", &slow());
    })
}

/// Bytes in use with nothing but the idle models' weights in memory.
#[track_caller]
fn weights_bytes(server: &Server) -> u64 {
    let pool = server.pool();
    let models = pool["data"].as_array().unwrap();
    let loaded = models.iter().filter(|model| model["status"]["value"] == "loaded");
    loaded.filter_map(|model| model["weights_bytes"].as_u64()).sum()
}

/// Waits until the slow model is loaded and a request holds keys and values: a load alone takes memory too.
#[track_caller]
fn until_it_computes(server: &Server) {
    until("it computes", SOON, || {
        (server.status("slow") == "loaded" && server.held_bytes() > weights_bytes(server)).then_some(())
    });
}

/// Nobody uses the model any more, and its keys and values are gone; returns how long that took.
#[track_caller]
fn freed(server: &Server) -> Duration {
    let began = Instant::now();
    until("keys and values are given back", SOON, || {
        let is_free = server.model("slow")["leases"] == 0 && server.held_bytes() == weights_bytes(server);
        is_free.then(|| began.elapsed())
    })
}

fn outcomes(rows: &[UsageRecord]) -> Vec<Outcome> {
    rows.iter().filter_map(|row| row.outcome).collect()
}

#[test]
fn row_24_client_leaves_in_decode() {
    let server = serving();
    let mut stream = server.stream(&endless("slow"));
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        stream.chunk();
    }
    assert!(server.held_bytes() > weights_bytes(&server), "keys and values are counted while they are held");
    assert_eq!(server.model("slow")["leases"], 1);
    drop(stream);
    let took = freed(&server);
    assert!(took <= FREED_MAX, "{took:?}");

    let record = server.settled(&id);
    assert_eq!(record["outcome"], "cancelled", "{record}");
    let completion = record["tokens"]["completion"].as_u64().unwrap();
    assert!((1..30_000).contains(&completion), "far from the 60,000 that were asked for: {completion}");
    assert!(record["cpu"]["decode_ns"].as_u64().unwrap() > 0, "charged for what was computed");
    server.answers("slow");
    server.answers("good");
    assert_eq!(outcomes(&server.settled_rows(3)), [Outcome::Completed, Outcome::Completed, Outcome::Cancelled]);
}

#[test]
fn row_24_client_leaves_in_decode_of_a_whole_answer() {
    let server = serving();
    let mut connection = server.connect();
    connection.send(post("/v1/completions", &endless("slow")));
    until_it_computes(&server);
    drop(connection);
    let took = freed(&server);
    assert!(took <= FREED_MAX, "{took:?}");
    let rows = server.settled_rows(1);
    assert_eq!(outcomes(&rows), [Outcome::Cancelled]);
    assert!(rows[0].receipt.as_ref().unwrap().tokens.completion < 30_000);
    server.answers("slow");
}

#[test]
fn row_24_client_leaves_in_prefill() {
    const TOKENS: u64 = 30_000;
    let server = serving();
    let prompt: Vec<u32> = (0..u32::try_from(TOKENS).unwrap()).map(|index| FIRST_BYTE_ID + index % 256).collect();
    let mut connection = server.connect();
    connection.send(post("/v1/completions", &json!({ "model": "slow", "prompt": prompt, "max_tokens": 1 })));
    until_it_computes(&server);
    drop(connection);
    let took = freed(&server);
    assert!(took <= 2 * FREED_MAX, "within a chunk: {took:?}");
    let rows = server.settled_rows(1);
    assert_eq!(outcomes(&rows), [Outcome::Cancelled]);
    let tokens = rows[0].receipt.as_ref().unwrap().tokens;
    assert!(tokens.prompt < TOKENS, "charged for the chunks that were computed: {tokens:?}");
    assert_eq!(tokens.completion, 0);
    server.answers("slow");
}

#[test]
fn row_24_client_leaves_while_queued() {
    let server = serving();
    let mut running = server.crowd("slow");
    let mut queued = server.connect();
    queued.send(post("/v1/completions", &json!({ "model": "slow", "prompt": "hello", "max_tokens": 4 })));
    // It has its place on arrival; it is queued, and has a row, once its model is leased and its prompt is read.
    let reader = ledger::Reader::open(&server.ledger()).unwrap();
    until("it is queued", SOON, || {
        let rows = reader.recent(ledger::RECENT_MAX).unwrap();
        (rows.len() > running.len() && server.metric("dayfly_queued_requests") > 0.0).then_some(())
    });
    drop(queued);
    until("none waits", SOON, || (server.metric("dayfly_queued_requests") == 0.0).then_some(()));
    let cancelled = "dayfly_requests_total{tenant=\"anonymous\",model=\"slow\",outcome=\"cancelled\"}";
    until("it is settled", SOON, || (server.metric(cancelled) > 0.0).then_some(()));
    let before = running[0].chunk();
    assert_eq!(before["model"], "slow", "the others go on");
    let count = running.len() + 1;
    drop(running);
    freed(&server);
    let rows = server.settled_rows(count);
    assert_eq!(outcomes(&rows), vec![Outcome::Cancelled; count]);
    let tokens = rows[0].receipt.as_ref().unwrap().tokens;
    assert_eq!((tokens.prompt, tokens.completion), (0, 0), "never computed");
    assert_eq!(server.metric("dayfly_request_errors_total{error=\"internal_error\"}"), 0.0, "nothing failed");
}

#[test]
fn row_24_client_leaves_while_the_model_loads() {
    let server = serving();
    for _ in 0..8 {
        // Gone before the answer to anything is known.
        let mut connection = server.connect();
        connection.send(post("/v1/completions", &endless("slow")));
    }
    until("nobody uses it", SOON, || {
        let pool = server.pool();
        let is_idle =
            pool["memory"]["waiting_requests"] == 0 && server.model("slow")["leases"].as_u64().unwrap_or(0) == 0;
        (is_idle && server.held_bytes() == weights_bytes(&server)).then_some(())
    });
    let began = Instant::now();
    server.answers("slow");
    assert!(began.elapsed() < SOON, "nothing of those that left is in the way: {:?}", began.elapsed());
}
