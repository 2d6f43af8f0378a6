//! `dayfly claims`: claims tested over a tiny model, with figures that come from receipts.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::models::good;

fn claims(flags: &[&str]) -> (Output, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (models, temporary) = (folder.path().join("models"), folder.path().join("tmp"));
    fs::create_dir(&models).unwrap();
    fs::create_dir(&temporary).unwrap();
    good(&models);
    let told = Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["claims", "--quick", "--model", "good", "--threads", "1", "--memory-budget", "200MiB", "--no-pull"])
        .arg("--models-dir")
        .arg(&models)
        .args(flags)
        .env_clear()
        .env("HOME", folder.path())
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let left = fs::read_dir(&temporary).unwrap().count();
    (told, left)
}

fn positive(value: &Value) -> f64 {
    let value = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(value > 0.0, "{value}");
    value
}

#[test]
fn claims_are_judged_by_figures_that_are_measured() {
    let (told, left) = claims(&["--json", "--only", "1,5,6,9"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(left, 0, "something is left behind");
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&report["model"], &report["quick"]), (&json!("good"), &json!(true)));
    let all = report["claims"].as_array().unwrap();
    let numbers: Vec<u64> = all.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 5, 6, 9]);
    for one in all {
        for member in ["claim", "claimed", "measured", "quality", "verdict", "why", "how"] {
            assert!(one[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {one}");
        }
    }

    let [day, context, cold, prices] = &all[..] else { panic!("{all:?}") };
    let inputs = &day["inputs"];
    assert!(inputs["requests"].as_u64() > Some(1) && inputs["cold_requests"].as_u64() >= Some(1), "{inputs}");
    positive(&inputs["computed_cpu_seconds"]);
    positive(&inputs["process_bytes"]);
    let memory = positive(&inputs["weights"]["memory_share"]);
    assert!(memory < 1.0, "{memory}");
    // A longer keep-alive saves less, down to nothing.
    let shares: Vec<f64> =
        inputs["real_day"].as_array().unwrap().iter().map(|one| one["memory_share"].as_f64().unwrap()).collect();
    assert!(shares.is_sorted_by(|one, next| one > next) && shares.last() == Some(&0.0), "{shares:?}");

    let inputs = &context["inputs"];
    assert!(positive(&inputs["cached_share"]) < 1.0, "{inputs}");
    let tokens = inputs["prompt_tokens"].as_array().unwrap();
    assert_eq!(tokens[0], tokens[1], "as many tokens with the context as without");
    for pair in ["cost", "cpu_ms", "joules", "first_token_ms"] {
        let pair = inputs[pair].as_array().unwrap();
        assert!(positive(&pair[0]).to_bits() != positive(&pair[1]).to_bits(), "{pair:?} are one figure");
    }

    let warm = &cold["inputs"]["page_cache_warm"];
    assert_eq!(warm["first_token_ms"]["count"], 10, "{warm}");
    assert!(positive(&warm["first_token_ms"]["p50"]) <= positive(&warm["first_token_ms"]["p95"]));
    assert_eq!(prices["verdict"], "arithmetic slip");
}

#[test]
fn what_cannot_be_tested_is_refused() {
    let (told, left) = claims(&["--only", "10"]);
    assert_eq!((told.status.code(), left), (Some(2), 0));
    let (told, left) = claims(&["--only", "9", "--model", "none-such"]);
    assert_eq!((told.status.code(), left), (Some(2), 0), "the model is said twice");
}
