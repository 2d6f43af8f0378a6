//! What a request is told that it used, and that it adds up.

use serde_json::{Value, json};

use crate::models::{good, slow, write};
use crate::server::Server;

fn body() -> Value {
    json!({ "model": "good", "prompt": "hello there", "max_tokens": 200, "temperature": 0, "ignore_eos": true })
}

#[track_caller]
fn sum(section: &Value, parts: &[&str]) -> u64 {
    parts.iter().map(|part| section[part].as_u64().unwrap_or_else(|| panic!("no {part} in {section}"))).sum()
}

/// Every section's parts sum to its whole.
#[track_caller]
fn adds_up(receipt: &Value) {
    let tokens = &receipt["tokens"];
    assert_eq!(tokens["total"], sum(tokens, &["prompt", "completion"]), "{receipt}");
    let times = &receipt["times"];
    let spans = ["queue_ns", "load_wait_ns", "prefill_ns", "decode_ns", "stall_ns", "other_ns"];
    assert_eq!(times["wall_ns"], sum(times, &spans), "{receipt}");
    let cpu = &receipt["cpu"];
    assert_eq!(cpu["total_ns"], sum(cpu, &["prefill_ns", "decode_ns", "load_ns"]), "{receipt}");
    let energy = &receipt["energy"];
    assert_eq!(energy["total_nj"], sum(energy, &["active_nj", "load_nj", "residency_nj"]), "{receipt}");
    let joules = energy["joules"].as_f64().unwrap();
    let nanojoules = energy["total_nj"].as_u64().unwrap();
    assert!((joules * 1e9 - nanojoules as f64).abs() <= 1.0, "{receipt}");
    let memory = &receipt["memory"];
    let kib_ms = sum(memory, &["weights_kib_ms", "load_kib_ms", "kv_kib_ms"]) as f64;
    assert!((memory["byte_seconds"].as_f64().unwrap() - kib_ms * 1.024).abs() <= 1e-6 * kib_ms.max(1.0), "{receipt}");
    let cost = &receipt["cost"];
    let parts: u64 = cost["parts"].as_array().unwrap().iter().map(|part| part["pico_units"].as_u64().unwrap()).sum();
    assert_eq!(cost["pico_units"], parts, "{receipt}");
}

#[test]
fn a_receipt_adds_up_and_says_what_it_is() {
    let server = Server::serving(good);
    let answer = server.complete(&body()).ok();
    let receipt = &answer["dayfly"];
    adds_up(receipt);
    assert_eq!(receipt["id"], answer["id"]);
    assert_eq!((&receipt["tenant"], &receipt["model"]), (&json!("anonymous"), &json!("good")));
    assert_eq!((&receipt["cold"], &receipt["outcome"]), (&json!(true), &json!("completed")));
    let usage = &answer["usage"];
    assert_eq!(usage["prompt_tokens"], receipt["tokens"]["prompt"]);
    assert_eq!(usage["completion_tokens"], 200);
    assert_eq!(usage["completion_tokens"], receipt["tokens"]["completion"]);
    assert_eq!(usage["total_tokens"], receipt["tokens"]["total"]);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], receipt["tokens"]["cached"]);
    for (section, part) in [
        ("times", "load_wait_ns"),
        ("times", "prefill_ns"),
        ("times", "decode_ns"),
        ("cpu", "prefill_ns"),
        ("cpu", "decode_ns"),
        ("cpu", "load_ns"),
        ("energy", "total_nj"),
        ("memory", "kv_kib_ms"),
        ("memory", "weights_bytes"),
    ] {
        assert!(receipt[section][part].as_u64().is_some_and(|value| value > 0), "{section}.{part}: {receipt}");
    }
    let energy = &receipt["energy"];
    // A machine that counts its energy, and lets this process read it, is no longer modelled once it has worked.
    assert!(matches!(energy["quality"].as_str(), Some("modelled" | "derived")), "{energy}");
    assert!((0.05..=0.5).contains(&energy["relative_uncertainty"].as_f64().unwrap()), "{energy}");
    assert!(!energy["source"].as_str().unwrap().is_empty());
    assert!(receipt["carbon"]["intensity_grams_per_kwh"].as_u64().unwrap() > 0);
    assert!(receipt["cost"]["amount"].as_f64().unwrap() >= 0.0 && receipt["cost"]["currency"] == "USD");

    let warm = server.complete(&body()).ok();
    adds_up(&warm["dayfly"]);
    assert_eq!(warm["dayfly"]["cold"], false);
    assert_eq!((&warm["dayfly"]["times"]["load_wait_ns"], &warm["dayfly"]["cpu"]["load_ns"]), (&json!(0), &json!(0)));
    assert_eq!(warm["choices"], answer["choices"]);
}

#[test]
fn headers_say_the_same() {
    let server = Server::serving(good);
    let response = server.complete(&body());
    let receipt = response.ok()["dayfly"].clone();
    assert_eq!(response.header("x-dayfly-cold"), Some("true"));
    let joules: f64 = response.header("x-dayfly-energy-joules").unwrap().parse().unwrap();
    assert!((joules - receipt["energy"]["joules"].as_f64().unwrap()).abs() <= 1e-12);
    assert!(response.header("x-dayfly-cost").unwrap().ends_with(" USD"));
    assert_eq!(response.header("server"), Some(concat!("dayfly/", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_ledger_says_what_the_answer_said() {
    let server = Server::serving(good);
    let answer = server.complete(&body()).ok();
    let id = answer["id"].as_str().unwrap();
    let record = server.get(&format!("/v1/usage/{id}")).ok();
    assert_eq!(
        (&record["state"], &record["outcome"]),
        (&json!("settled"), &json!("completed")),
        "durable before the answer"
    );
    for section in
        ["id", "tenant", "model", "cold", "tokens", "times", "cpu", "memory", "energy", "carbon", "cost", "method"]
    {
        assert_eq!(record[section], answer["dayfly"][section], "{section}");
    }
    assert!(record["reserved_unix_ms"].as_u64().unwrap() > 1_700_000_000_000);

    let mut streamed = body();
    streamed["stream_options"] = json!({ "include_usage": true });
    let chunks = server.stream(&streamed).finish();
    let last = chunks.last().unwrap();
    adds_up(&last["dayfly"]);
    let record = server.get(&format!("/v1/usage/{}", last["id"].as_str().unwrap())).ok();
    assert_eq!((&record["state"], &record["tokens"]), (&json!("settled"), &last["dayfly"]["tokens"]));
    assert_eq!(server.get("/v1/usage/cmpl-nothing").status, 404);
    assert_eq!(server.get("/v1/usage/..%2f..").status, 404);
    server.settled_rows(2);
}

#[test]
fn a_running_request_is_reserved() {
    let server = Server::serving(|folder| write(folder, "slow", &slow()));
    let mut stream = server.stream(&crate::models::endless("slow"));
    let id = stream.chunk()["id"].as_str().unwrap().to_owned();
    let record = server.get(&format!("/v1/usage/{id}")).ok();
    assert_eq!((&record["state"], &record["outcome"]), (&json!("reserved"), &Value::Null), "{record}");
    assert!(record.get("tokens").is_none(), "nothing is known yet: {record}");
    drop(stream);
    assert_eq!(server.settled(&id)["outcome"], "cancelled");
}

#[test]
fn what_was_refused_is_not_in_the_ledger() {
    let server = Server::serving(good);
    server.complete(&json!({ "model": "none", "prompt": "hello" })).refused_about(404, "model_not_found", "model");
    server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 9999 })).refused(
        400,
        "invalid_request_error",
        "context_length_exceeded",
    );
    server.complete(&json!({ "model": "good" })).refused_about(400, "missing_required_parameter", "prompt");
    server.settled_rows(0);
    server.complete(&body()).ok();
    server.settled_rows(1);
}

#[test]
fn metrics_count_what_receipts_say() {
    let server = Server::serving(good);
    for _ in 0..3 {
        server.complete(&body()).ok();
    }
    let rows = server.settled_rows(3);
    let completion: u64 = rows.iter().map(|row| row.receipt.as_ref().unwrap().tokens.completion).sum();
    assert_eq!(completion, 600);
    let labels = "tenant=\"anonymous\",model=\"good\"";
    let counted = server.metric(&format!("dayfly_tokens_total{{{labels},type=\"completion\"}}"));
    assert!((counted - 600.0).abs() < f64::EPSILON, "{counted}");
    let requests = server.metric(&format!("dayfly_requests_total{{{labels},outcome=\"completed\"}}"));
    assert!((requests - 3.0).abs() < f64::EPSILON, "{requests}");
    assert!(server.metric("dayfly_ledger_imbalance_total").abs() < f64::EPSILON, "every byte-second has its account");
    assert!(server.metric("dayfly_pool_used_bytes") > 0.0);
    let receipts: f64 = rows.iter().map(|row| row.receipt.as_ref().unwrap().cpu.total_ns.get() as f64 / 1e9).sum();
    let computed = server.metric("dayfly_device_cpu_seconds_total{device=\"cpu\"}");
    let process = server.metric("dayfly_process_cpu_seconds_total");
    assert!(receipts > 0.0 && computed >= receipts * (1.0 - 1e-9), "{computed} of steps, {receipts} on receipts");
    assert!(process > computed, "{process} of which {computed} are of steps");
}
