//! What is charged of weights is what of their file is in memory, and what of loads is on no receipt is on an account.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use loader::catalog::{Catalog, CatalogOptions, LinkPolicy};
use loader::fixture::TinyModel;
use meter::{HeldAs, Nanos};
use rustix::fs::{Advice, fadvise};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::until;
use crate::models::{good, quick, write};
use crate::server::{Options, SOON, Server};

/// More than is read ahead of what is touched.
const UNTOUCHED_BYTES: usize = 96 << 20;

/// A model with so many bytes behind its tensors that no step reads, of which nothing is in memory.
fn mostly_untouched(folder: &Path) {
    write(folder, "m", &TinyModel { padding_bytes: UNTOUCHED_BYTES, ..quick() });
    let file = File::open(folder.join("m.gguf")).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

fn cached_bytes(models_dir: &Path) -> u64 {
    let (roots, links) = (vec![models_dir.to_owned()], LinkPolicy::Confined);
    let options = CatalogOptions { roots, aliases: BTreeMap::new(), links };
    let entry = Catalog::new(options).resolve("m").unwrap();
    entry.cached_bytes().expect("an owner is told")
}

/// A receipt's memory.
#[track_caller]
fn memory(server: &Server) -> Value {
    let body = json!({ "model": "m", "prompt": "hello", "max_tokens": 2, "temperature": 0 });
    let memory = server.complete(&body).ok()["dayfly"]["memory"].clone();
    assert_eq!(memory["quality"], "measured", "{memory}");
    memory
}

#[test]
fn what_is_charged_is_what_of_the_file_is_in_memory() {
    let server = Server::serving(mostly_untouched);
    let path = server.models_dir().join("m.gguf");
    let file_bytes = fs::metadata(&path).unwrap().len();
    let charged = || memory(&server)["weights_bytes"].as_u64().unwrap();
    let charged_as_seen = |expected: std::ops::RangeInclusive<u64>| {
        let (charged, seen) = (charged(), cached_bytes(server.models_dir()));
        (charged.abs_diff(seen) < 1024 && expected.contains(&seen)).then_some(())
    };
    // A file system in memory keeps all of it there.
    let touched_max = cached_bytes(server.models_dir()).max(file_bytes / 2);
    until("what was touched is charged", SOON, || charged_as_seen(0..=touched_max));
    assert_eq!(server.model("m")["weights_bytes"], file_bytes, "the budget counts the file");

    // Somebody reads all of it, of which the kernel may keep a page less.
    fs::read(&path).unwrap();
    let nearly_all = file_bytes / 10 * 9;
    until("all of it is charged", SOON, || charged_as_seen(nearly_all..=file_bytes));

    // What is mapped counts, and not what lies there now.
    write(server.models_dir(), "other", &quick());
    fs::rename(server.models_dir().join("other.gguf"), &path).unwrap();
    assert!(charged() >= nearly_all);
    assert_eq!(server.post("/models/unload", &json!({ "model": "m" })).ok()["success"], true);
    server.wait_for_status("m", "unloaded");
    let small = fs::metadata(&path).unwrap().len();
    assert!(charged() <= small);
    assert!(server.metric("dayfly_ledger_imbalance_total").abs() < f64::EPSILON);
}

/// The sum of a counter's series whose labels have this in them.
#[track_caller]
fn sum(server: &Server, name: &str, labels: &str) -> f64 {
    let response = server.get("/metrics");
    let of_series = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with('{') && rest.contains(labels))?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    response.text().lines().filter_map(of_series).sum()
}

const ACCOUNT_CPU: &str = "dayfly_account_cpu_seconds_total";

#[test]
fn processor_time_of_loads_that_no_request_waited_for_is_carried_by_who_asked() {
    let config = "keep_alive = \"1h\"\n[models.configured]\npinned = true\n";
    let mut server = Options::with_models(|folder| {
        good(folder);
        for name in ["asked", "pinned", "configured"] {
            write(folder, name, &TinyModel { seed: 7, ..quick() });
        }
    })
    .config(config)
    .start();
    server.wait_for_status("configured", "loaded");
    server.post("/models/load", &json!({ "model": "asked" })).ok();
    server.post("/models/pin", &json!({ "model": "pinned" })).ok();
    server.answers("good");
    server.settled_rows(1);
    let load_of = |tenant: &str, model: &str| {
        sum(&server, ACCOUNT_CPU, &format!("account=\"load\",tenant=\"{tenant}\",model=\"{model}\""))
    };
    assert!(load_of("anonymous", "asked") > 0.0);
    assert!(load_of("anonymous", "pinned") > 0.0);
    assert!(load_of("", "configured") > 0.0, "the operator's is nobody's");
    assert!(sum(&server, ACCOUNT_CPU, "model=\"good\"").abs() < f64::EPSILON, "its request carries that");

    // Steps and loads are on receipts and accounts, and with the runtime's own all that the process took is.
    let (requests, loads) =
        (sum(&server, "dayfly_request_cpu_seconds_total", ""), sum(&server, ACCOUNT_CPU, "\"load\""));
    let devices = sum(&server, "dayfly_device_cpu_seconds_total", "");
    assert!((requests + loads - devices).abs() < 1e-6, "{requests} + {loads}, and of devices {devices}");
    // The runtime's own is told one look late, so that no step or load that runs is ever taken for it.
    let told = |text: &str, name: &str| -> f64 {
        let of_series = |line: &str| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok();
        text.lines().filter_map(of_series).sum()
    };
    let process = told(&server.get("/metrics").text(), "dayfly_process_cpu_seconds_total");
    let response = server.get("/metrics");
    let text = response.text();
    let all = told(&text, "dayfly_request_cpu_seconds_total") + told(&text, ACCOUNT_CPU);
    assert!((all - process).abs() < 1e-6, "{all} of {process}");

    // And it is there when the process is gone.
    server.signal(Signal::TERM);
    assert!(server.exit(SOON).success());
    let totals = ledger::Reader::open(&server.ledger()).unwrap().account_totals().unwrap();
    let of_loads = totals.iter().filter(|total| total.held_as == Some(HeldAs::Load));
    let stored: Nanos = of_loads.clone().map(|total| total.cpu_ns).sum();
    assert!((stored.seconds() - loads).abs() < 1e-6, "{stored:?} of {loads}");
    let askers: Vec<_> = of_loads.map(|total| (&*total.model, total.account.name(), total.unpriced)).collect();
    assert_eq!(askers, [("asked", "keepalive", 0), ("configured", "load", 0), ("pinned", "keepalive", 0)]);
}

#[test]
fn memory_that_accounts_carry_is_told_by_what_it_is_held_as() {
    let server = Options::with_models(|folder| {
        good(folder);
        write(folder, "pinned", &quick());
    })
    .config("keep_alive = \"1h\"")
    .start();
    let prompt = "hello there and everywhere, for longer than one page of keys and values";
    server.complete(&json!({ "model": "good", "prompt": prompt, "max_tokens": 8, "ignore_eos": true })).ok();
    server.post("/models/pin", &json!({ "model": "pinned" })).ok();
    let held = |model: &str, state: &str| {
        let labels = format!("tenant=\"anonymous\",model=\"{model}\",state=\"{state}\"");
        sum(&server, "dayfly_resident_byte_seconds_total", &labels) > 0.0
    };
    until("accounts are stored", SOON, || held("good", "keepalive").then_some(()));
    assert!(held("good", "active") && held("good", "prefix"), "its request, and its pages after it");
    assert!(held("pinned", "pinned") && !held("pinned", "keepalive"));
}
