//! Two devices: the kernels and candle's plain ops, and who goes where.

use std::path::Path;
use std::process::{Command, Output};

use loader::fixture::TinyModel;
use serde_json::{Value, json};

use crate::client::{post, until};
use crate::models::{endless, slow, write};
use crate::server::{Options, SOON, Server};
use crate::smollm2::models_dir;

/// A second device with room for every model here.
const SECOND: &str = "[devices.second]\nkind = \"candle-cpu\"\nmemory = \"1GiB\"\nthreads = 1\n";

fn models(folder: &Path) {
    write(folder, "slow", &slow());
    write(folder, "other", &slow());
}

fn asked(model: &str) -> Value {
    json!({ "model": model, "prompt": "on and on", "max_tokens": 6, "ignore_eos": true, "temperature": 0 })
}

fn routing(answer: &Value) -> &Value {
    &answer["dayfly"]["method"]["routing"]
}

fn device(answer: &Value) -> (&str, &str) {
    let routing = routing(answer);
    (routing["device"].as_str().unwrap_or("none"), routing["reason"].as_str().unwrap_or("none"))
}

/// What the receipt says of one device.
fn candidate<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let candidates = routing(answer)["candidates"].as_array().unwrap();
    candidates.iter().find(|candidate| candidate["device"] == name).unwrap()
}

/// Has both devices compute `model` once, so that it is known what that takes.
fn explore(server: &Server, model: &str) -> [Value; 2] {
    let answers = [(); 2].map(|()| server.complete(&asked(model)).ok());
    assert_eq!(device(&answers[0]), ("cpu", "exploring"), "{}", answers[0]);
    assert_eq!(device(&answers[1]), ("second", "exploring"), "{}", answers[1]);
    answers
}

#[test]
fn each_device_is_tried_once_and_then_the_faster_one_answers() {
    let server = Options::with_models(models).config(SECOND).start();
    let [first, second] = explore(&server, "slow");
    assert_eq!(candidate(&first, "cpu")["predicted_finish_ms"], Value::Null, "{first}");
    assert_eq!(first["choices"][0]["text"], second["choices"][0]["text"], "floats on both");
    let third = server.complete(&asked("slow")).ok();
    let finish = |name: &str| candidate(&third, name)["predicted_finish_ms"].as_f64().unwrap();
    let faster = if finish("cpu") <= finish("second") { "cpu" } else { "second" };
    assert_eq!(device(&third), (faster, "fastest"), "{third}");
    assert_eq!(routing(&third)["policy"], "latency");
    assert!(candidate(&third, "cpu")["predicted_joules"].as_f64() > Some(0.0), "{third}");
    assert!(candidate(&third, "second")["predicted_cost"].as_f64() > Some(0.0), "{third}");
    // The row in the ledger tells the same.
    let record = server.settled(third["id"].as_str().unwrap());
    assert_eq!(record["method"]["routing"], *routing(&third));
    // Another model is predicted by this one, and need not be tried.
    let other = server.complete(&asked("other")).ok();
    assert_ne!(device(&other).1, "exploring", "{other}");
    let series = format!("dayfly_routing_prediction_error_ratio_count{{device=\"{faster}\"}}");
    assert!(server.metric(&series) >= 1.0);
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);
}

#[test]
fn a_server_with_one_device_says_nothing_of_routing() {
    let server = Server::serving(models);
    let answer = server.complete(&asked("slow")).ok();
    assert!(answer["dayfly"]["method"].get("routing").is_none(), "{answer}");
    assert_eq!(server.pool()["devices"].as_array().unwrap().len(), 1);
    assert_eq!(server.model("slow")["device"], "cpu");
}

#[test]
fn both_devices_score_prompts_and_answer_several_times_alike() {
    let server = Options::with_models(models).config(SECOND).start();
    let body = json!({
        "model": "slow", "prompt": "on and on and on", "max_tokens": 4, "ignore_eos": true, "temperature": 0, "n": 2,
        "echo": true, "logprobs": 1,
    });
    let answers = [(); 2].map(|()| server.complete(&body).ok());
    assert_eq!((device(&answers[0]).0, device(&answers[1]).0), ("cpu", "second"));
    let logprobs = |answer: &Value, choice: usize| -> Vec<f64> {
        let listed = answer["choices"][choice]["logprobs"]["token_logprobs"].as_array().unwrap();
        listed.iter().filter_map(Value::as_f64).collect()
    };
    assert_eq!(answers[1]["choices"][0]["text"], answers[1]["choices"][1]["text"], "greedy, and so alike");
    for choice in 0..2 {
        let (here, there) = (logprobs(&answers[0], choice), logprobs(&answers[1], choice));
        assert!(here.len() > 4 && here.len() == there.len(), "{here:?}");
        for (here, there) in here.iter().zip(&there) {
            assert!((here - there).abs() < 0.01, "{here} and {there}");
        }
    }
}

/// What a request is routed by is the file as it is; a copy of the one before must not get its tokens.
#[test]
fn a_replaced_file_is_met_by_the_next_try() {
    let new = TinyModel { seed: 99, ..slow() };
    let server = Options::with_models(|folder| {
        models(folder);
        write(folder.parent().unwrap(), "next", &new);
        write(folder, "reference", &new);
    });
    let server = server.config(SECOND).start();
    explore(&server, "slow");
    std::fs::rename(server.models_dir().parent().unwrap().join("next.gguf"), server.models_dir().join("slow.gguf"))
        .unwrap();
    let expected = server.complete(&asked("reference")).ok()["choices"][0]["text"].clone();
    let answer = until("the new file answers", SOON, || {
        let response = server.complete(&asked("slow"));
        if response.status != 200 {
            response.refused(503, "service_unavailable_error", "model_load_failed");
            return None;
        }
        Some(response.ok())
    });
    assert_eq!(answer["choices"][0]["text"], expected, "{answer}");
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);
}

#[test]
fn energy_is_saved_where_the_operator_says_so() {
    let config = format!(
        "[scheduler]\nrouting = \"energy\"\nrouting_slack = 1000.0\n[devices.cpu]\nwatts_idle = 0.0\nwatts_max = 5000.0\n\
         {SECOND}watts_idle = 0.0\nwatts_max = 0.5\nprice_per_hour = 3.6\n"
    );
    let server = Options::with_models(models).config(&config).start();
    explore(&server, "slow");
    let answer = server.complete(&asked("slow")).ok();
    assert_eq!(device(&answer), ("second", "least_energy"), "{answer}");
    let energy = &answer["dayfly"]["energy"];
    assert_eq!(energy["quality"], "assumed");
    assert!(energy["source"].as_str().unwrap().contains("0.5 W while it computes"), "{energy}");
    let joules = |name: &str| candidate(&answer, name)["predicted_joules"].as_f64().unwrap();
    assert!(joules("second") < joules("cpu"), "{answer}");
    let parts = answer["dayfly"]["cost"]["parts"].as_array().unwrap();
    assert!(parts.iter().any(|part| part["resource"] == "device"), "{answer}");
}

#[test]
fn a_device_that_is_too_small_for_a_model_is_passed_over() {
    let config = "[devices.second]\nkind = \"candle-cpu\"\nmemory = \"2MiB\"\n";
    let server = Options::with_models(models).config(config).start();
    for _ in 0..3 {
        let answer = server.complete(&asked("slow")).ok();
        assert_eq!(device(&answer).0, "cpu", "{answer}");
        let excluded = candidate(&answer, "second")["excluded"].as_str().unwrap();
        assert!(excluded.starts_with("the model needs"), "{excluded}");
    }
}

#[test]
fn copies_on_both_devices_are_counted_and_let_go() {
    let server = Options::with_models(models).config(SECOND).start();
    explore(&server, "slow");
    let model = server.model("slow");
    let there: Vec<&str> = model["devices"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(there, ["cpu", "second"], "{model}");
    for (name, kind) in [("cpu", "cpu"), ("second", "candle-cpu")] {
        let pool = server.pool();
        let devices = pool["devices"].as_array().unwrap();
        let device = devices.iter().find(|device| device["id"] == name).unwrap();
        assert_eq!(device["kind"], kind);
        assert!(device["memory"]["used_bytes"].as_u64() >= Some(10 << 20), "{device}");
        assert!(server.metric(&format!("dayfly_device_used_bytes{{device=\"{name}\"}}")) > 1e7);
        let series = format!("dayfly_device_model_resident_bytes{{device=\"{name}\",model=\"slow\"}}");
        assert!(server.metric(&series) > 1e7);
    }
    server.post("/models/unload", &json!({ "model": "slow" })).ok();
    until("both copies are gone", SOON, || (server.used_bytes() == 0).then_some(()));
    server.wait_for_status("slow", "unloaded");
    let evictions = server.pool()["evictions"].clone();
    let mut devices: Vec<&str> =
        evictions.as_array().unwrap().iter().map(|eviction| eviction["device"].as_str().unwrap()).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["cpu", "second"], "{evictions}");
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);
    // It comes back where it is best.
    server.complete(&asked("slow")).ok();
}

#[test]
fn a_second_device_evicts_within_its_own_memory() {
    let folder = tempfile::tempdir().unwrap();
    models(folder.path());
    let bytes = std::fs::metadata(folder.path().join("slow.gguf")).unwrap().len();
    // Room for one of them, and its keys and values; and energy is always saved there.
    let config = format!(
        "[scheduler]\nrouting = \"energy\"\nrouting_slack = 1000.0\n[devices.cpu]\nwatts_idle = 0.0\nwatts_max = 5000.0\n\
         [devices.second]\nkind = \"candle-cpu\"\nmemory = \"{}\"\nwatts_idle = 0.0\nwatts_max = 0.5\n",
        bytes * 3 / 2
    );
    let server = Options::with_models(models).config(&config).start();
    explore(&server, "slow");
    for model in ["other", "slow", "other"] {
        let answer = server.complete(&asked(model)).ok();
        assert_eq!(device(&answer), ("second", "least_energy"), "{answer}");
        assert_eq!(answer["dayfly"]["cold"], true, "the other one was evicted for it");
    }
}

#[test]
fn a_request_spills_where_the_queue_is_full_and_says_the_same() {
    let config = format!(
        "ctx_max = 2048\n[scheduler]\nrouting = \"energy\"\nrouting_slack = 1000.0\nsequences_per_model_max = 1\nqueue_max = 1\n\
         [devices.cpu]\nwatts_idle = 0.0\nwatts_max = 0.5\n{SECOND}watts_idle = 0.0\nwatts_max = 5000.0\n"
    );
    let server = Options::with_models_in(models_dir()).config(&config).start();
    let body = json!({ "model": "smollm2", "prompt": "The capital of France is", "max_tokens": 5, "temperature": 0 });
    let here = server.complete(&body).ok();
    assert_eq!(device(&here), ("cpu", "exploring"), "{here}");
    let there = server.complete(&body).ok();
    assert_eq!(device(&there), ("second", "exploring"), "{there}");
    assert_eq!(there["choices"][0]["text"], here["choices"][0]["text"]);
    let mut long = endless("smollm2");
    long["max_tokens"] = json!(1500);
    let mut running = server.stream(&long);
    running.chunk();
    let mut waiting = server.connect();
    let mut queued_body = long.clone();
    queued_body["stream"] = json!(true);
    waiting.send(post("/v1/completions", &queued_body));
    let queued = || (server.metric("dayfly_device_queued_requests{device=\"cpu\"}") == 1.0).then_some(());
    until("the queue is full", SOON, queued);
    let spilled = server.complete(&body).ok();
    assert_eq!(device(&spilled), ("second", "spilled"), "{spilled}");
    assert_eq!(candidate(&spilled, "cpu")["excluded"], "its queue is full");
    assert_eq!(spilled["choices"][0]["text"], here["choices"][0]["text"]);
    drop((running, waiting));
    until("the queue is empty again", SOON, || (server.metric("dayfly_queued_requests") == 0.0).then_some(()));
    let back = server.complete(&body).ok();
    assert_eq!(device(&back), ("cpu", "least_energy"), "{back}");
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);
}

/// Tries to start a server that must not start.
fn refused(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dayfly.toml");
    std::fs::write(&path, config).unwrap();
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&path)
        .env_clear()
        .env("HOME", folder.path())
        .output()
        .unwrap();
    assert!(!status.success(), "{config}");
    String::from_utf8(stderr).unwrap()
}

#[test]
fn what_cannot_be_is_refused_at_the_start() {
    let table = [
        ("[devices.cpu]\nmemory = \"1GiB\"", "memory_budget"),
        ("[devices.gpu]\nmemory = \"1GiB\"", "say its kind"),
        ("[devices.gpu]\nkind = \"cuda\"", "say its memory"),
        ("[devices.gpu]\nkind = \"tpu\"\nmemory = \"1GiB\"", "none of"),
        ("[devices.x]\nkind = \"candle-cpu\"\nmemory = \"9000TiB\"", "more than this machine has"),
        ("[scheduler]\nrouting = \"luck\"", "none of"),
        #[cfg(not(feature = "cuda"))]
        ("[devices.gpu]\nkind = \"cuda\"\nmemory = \"1GiB\"", "--features cuda"),
        #[cfg(not(feature = "metal"))]
        ("[devices.gpu]\nkind = \"metal\"\nmemory = \"1GiB\"", "--features metal"),
    ];
    for (config, reason) in table {
        let said = refused(config);
        assert!(said.contains(reason), "{config}: {said}");
    }
}
