//! `dayfly bench pools`: three arms, really run over tiny models, one of which has a name that a page must not believe.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::models::{good, slow, write};

const OTHER: &str = "<b>other";

/// Runs it over the models `good` and [`OTHER`].
fn pools(folder: &Path, flags: &[&str]) -> Output {
    let models = folder.join("models");
    if !models.exists() {
        fs::create_dir(&models).unwrap();
        good(&models);
        write(&models, OTHER, &slow());
    }
    Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["bench", "pools", "good", OTHER, "--threads", "1", "--memory-budget", "200MiB", "--no-pull"])
        .arg("--models-dir")
        .arg(models)
        .args(flags)
        .env_clear()
        .env("HOME", folder)
        .output()
        .unwrap()
}

#[track_caller]
fn arm<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["arms"].as_array().unwrap().iter().find(|arm| arm["arm"] == name).unwrap()
}

#[test]
fn three_arms_do_the_same_work_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let html = folder.path().join("report.html");
    let mut flags = vec!["--json", "--tenants", "2", "--duration", "1", "--rate", "12", "--keep-alive", "0"];
    flags.extend(["--prompt-tokens", "8", "--completion-tokens", "4"]);
    flags.extend(["--work-dir", work.to_str().unwrap(), "--report", html.to_str().unwrap()]);
    let told = pools(folder.path(), &flags);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();

    let requests = report["workload"]["requests"].as_array().unwrap();
    let sum = |name: &str| requests.iter().map(|request| request[name].as_u64().unwrap()).sum::<u64>();
    assert!(requests.len() > 3, "{} requests", requests.len());
    for (name, processes) in [("ephemeral", 1), ("shared_persistent", 1), ("dedicated", 2)] {
        let arm = arm(&report, name);
        assert_eq!(arm["processes"], processes, "{name}");
        assert_eq!(arm["requests"]["completed"], requests.len(), "{name}: {}", arm["requests"]);
        assert_eq!(arm["tokens"]["prompt"], sum("prompt_tokens"), "{name}");
        assert_eq!(arm["tokens"]["completion"], sum("completion_tokens"), "{name}");
        assert_eq!(arm["ledger"]["requests"], requests.len(), "{name}");
        assert!(arm["memory"]["gb_hours"].as_f64().unwrap() > 0.0 && arm["cpu"]["seconds"].as_f64().unwrap() > 0.0);
        assert!(arm["pss_over_time"].as_array().unwrap().len() > 5, "{name}");
    }
    assert_eq!(report["same_answers"]["texts"], requests.len(), "{}", report["same_answers"]);
    assert!(arm(&report, "ephemeral")["requests"]["cold"].as_u64().unwrap() > 0);
    for name in ["shared_persistent", "dedicated"] {
        assert_eq!(arm(&report, name)["requests"]["cold"], 0, "{name}");
    }

    let predictions = report["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    for one in predictions {
        assert!(one["weights_gb_hours"].as_f64().unwrap() > 0.0 && one["overhead_gb_hours"].as_f64().unwrap() > 0.0);
        let ratio = one["ratio"].as_f64().unwrap();
        assert_eq!(one["within_10_percent"].as_bool().unwrap(), (ratio - 1.0).abs() <= 0.1, "{one}");
    }
    assert_eq!(report["measured_savings"].as_array().unwrap().len(), 2);
    assert_eq!(report["ledger_savings"]["tenants"].as_array().unwrap().len(), 2);

    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "copies are left");
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("<svg") && page.contains("shared persistent"), "{page}");
    assert!(page.contains("&lt;b&gt;other") && !page.contains("<b>") && !page.contains("<script"), "{page}");
    let beside: Value = serde_json::from_str(&fs::read_to_string(html.with_extension("json")).unwrap()).unwrap();
    assert_eq!(beside, report);
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let trace = folder.path().join("trace.csv");
    fs::write(&trace, "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\nnonsense\n")
        .unwrap();
    let trace = trace.to_str().unwrap();
    for (flags, expected) in [
        (vec!["--trace", trace], "line 3: it has not three columns"),
        (vec!["--rate", "0.0001", "--duration", "1"], "nobody asks anything"),
        (vec!["--rate", "100000", "--duration", "60"], "requests are asked for"),
        (vec!["--prompt-tokens", "4000", "--rate", "5"], "the model has 512 positions"),
        (vec!["good"], "asked for twice"),
    ] {
        let flags = [&["--work-dir", work.to_str().unwrap()], &flags[..]].concat();
        let told = pools(folder.path(), &flags);
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(expected), "{flags:?}: {said}");
        assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "{flags:?}");
    }
}
