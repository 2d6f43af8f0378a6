//! Faults of models, clients and neighbours that cost one request and no more: rows 8, 14, 23, 35 and 42.

use std::process::Command;
use std::time::{Duration, Instant};

use loader::fixture::{TinyModel, Weights, tiny_model};
use serde_json::{Value, json};

use crate::client::{post, until};
use crate::models::{endless, good, quick, slow, write, write_file};
use crate::server::{Options, SOON, Server};

#[test]
fn row_08_weights_that_are_no_numbers() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "nan", &TinyModel { weights: Weights::Nan, ..quick() });
        write(folder, "infinite", &TinyModel { weights: Weights::Infinite, ..quick() });
    });
    for model in ["nan", "infinite"] {
        let body = json!({ "model": model, "prompt": "hello", "max_tokens": 4, "temperature": 0 });
        server.complete(&body).refused(500, "server_error", "non_finite_logits");
        let mut streamed = body;
        streamed["stream"] = json!(true);
        server.complete(&streamed).refused(500, "server_error", "non_finite_logits");
    }
    server.answers("good");
    let rows = server.settled_rows(5);
    assert_eq!(rows.iter().filter(|row| row.outcome == Some(meter::Outcome::Failed)).count(), 4);
    // Three in a row are the model's fault.
    let body = json!({ "model": "nan", "prompt": "hello", "max_tokens": 4, "temperature": 0 });
    server.complete(&body).refused(500, "server_error", "non_finite_logits");
    is_quarantined(&server, &body);
    server.answers("good");
    server.settled_rows(7);
}

/// Whoever asks for the model now is refused, and so is whoever does when it has gone.
#[track_caller]
fn is_quarantined(server: &Server, body: &Value) {
    for _ in 0..2 {
        let refused = server.complete(body);
        refused.refused(503, "service_unavailable_error", "model_quarantined");
        assert!(refused.retry_after() >= 1);
        let model = body["model"].as_str().unwrap();
        server.wait_for_status(model, "unloaded");
        assert!(server.model(model)["quarantined_for_seconds"].as_f64() > Some(0.0));
    }
}

#[test]
fn row_39_a_model_whose_step_does_not_return_is_quarantined() {
    let step_timeout = "[scheduler]\nstep_timeout = \"1ms\"\n";
    let server = Options::with_models(|folder| write(folder, "slow", &slow())).config(step_timeout).start();
    // At least 32 tokens of it are one step, of far more than a millisecond.
    let body = json!({ "model": "slow", "prompt": vec![5; 400], "max_tokens": 4 });
    server.complete(&body).refused(504, "server_error", "engine_timeout");
    is_quarantined(&server, &body);
    assert_eq!(server.pool()["evictions"][0]["cause"], "failed in use");
    server.settled_rows(1);
}

#[test]
fn row_14_templates_that_do_not_end() {
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(6000), ")".repeat(6000));
    let templates = [
        ("parentheses", parentheses.as_str()),
        ("brackets", &format!("{{{{ {}{} }}}}", "[".repeat(6000), "]".repeat(6000))),
        ("macro", "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"),
        ("loop", "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"),
        ("range", "{% for a in range(10000000000) %}x{% endfor %}"),
        ("product", "{{ 'x' * 1000000000 }}"),
        ("doubling", &format!("{{% set a = 'x' %}}{}{{{{ a }}}}", "{% set a = a ~ a %}".repeat(40))),
        ("list", "{{ [1] * 1000000000 }}"),
        ("replace", "{{ ('x' * 100000)|replace('x', 'x' * 100000) }}"),
        ("broken", "{% for"),
    ];
    let server = Server::serving(|folder| {
        good(folder);
        for (name, template) in templates {
            let mut writer = tiny_model(&quick());
            writer.set("tokenizer.chat_template", template);
            write_file(folder, name, &writer);
        }
    });
    let mut wrong = Vec::new();
    for (name, _) in templates {
        let began = Instant::now();
        let messages = json!([{ "role": "user", "content": "hello" }]);
        let response = server.chat(&json!({ "model": name, "messages": messages, "max_tokens": 1 }));
        let error = response.json()["error"].clone();
        let is_expected = match response.status {
            503 => error["code"] == "model_quarantined" && response.retry_after() >= 1,
            500 => error["code"] == "template_budget" && error["type"] == "server_error",
            _ => false,
        };
        if !is_expected || began.elapsed() > SOON {
            wrong.push(format!("{name} after {:?}: {response}", began.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(peak_kib < 512 << 10, "{peak_kib} KiB");
    server.answers("good");
}

#[test]
fn row_23_a_client_that_stops_reading() {
    /// When the server gives such a client up.
    const STALL: Duration = Duration::from_secs(30);
    let server = Server::serving(|folder| {
        good(folder);
        // Fast enough to fill the sockets' buffers at once.
        write(folder, "long", &TinyModel { context_length: 1 << 16, ..quick() });
    });
    let mut body = endless("long");
    body["logprobs"] = json!(20);
    let mut stream = server.stream(&body);
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    server.answers("long");
    let record = until("it is given up", STALL + 2 * SOON, || {
        let record = server.get(&format!("/v1/usage/{id}")).ok();
        (record["state"] == "settled").then_some(record)
    });
    assert_eq!(record["outcome"], "cancelled", "{record}");
    let completion = record["tokens"]["completion"].as_u64().unwrap();
    assert!((10..20_000).contains(&completion), "what was computed until then: {completion}");
    assert!(record["times"]["stall_ns"].as_u64().unwrap() >= 10_000_000_000, "{record}");
    assert!(stream.rest().iter().all(|data| data != "[DONE]"));
    assert_eq!(server.model("long")["leases"], 0);
    server.answers("long");
}

#[test]
fn row_35_the_queue_is_full() {
    /// Places of one tenant.
    const QUEUE_MAX: usize = 128;
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "slow", &slow());
    });
    let running = server.crowd("slow");
    let body = json!({ "model": "slow", "prompt": "hello", "max_tokens": 1 });
    let request = post("/v1/completions", &body);
    let queued: Vec<_> = (0..QUEUE_MAX)
        .map(|_| {
            let mut connection = server.connect();
            connection.send(&request);
            connection
        })
        .collect();
    until("the queue is full", SOON, || (server.metric("dayfly_queued_requests") >= QUEUE_MAX as f64).then_some(()));
    let refused = server.complete(&body);
    refused.refused(503, "service_unavailable_error", "server_is_overloaded");
    assert!((1..=60).contains(&refused.retry_after()));
    let begun = running.len();
    drop(running);
    for mut connection in queued {
        let answer: Value = connection.response().ok();
        assert_eq!(answer["usage"]["prompt_tokens"], 1);
    }
    // Those that were admitted, each once; the refused one never was.
    let rows = server.settled_rows(QUEUE_MAX + begun);
    assert!(rows.iter().all(|row| row.outcome != Some(meter::Outcome::Failed)));
}

#[test]
fn row_42_a_second_process_on_one_ledger() {
    let server = Server::serving(good);
    server.answers("good");
    let output = Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["serve", "--listen", "127.0.0.1:0", "--ledger"])
        .arg(server.ledger())
        .arg("--models-dir")
        .arg(server.models_dir())
        .env_clear()
        .env("HOME", server.models_dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ledger"), "{said}");
    server.answers("good");
    server.settled_rows(2);
}
