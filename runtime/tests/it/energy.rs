//! Where energy is said to be from, and that all of it is carried.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::until;
use crate::models::good;
use crate::server::{SOON, Server};

/// What `dayfly doctor --json` says of sensors below `root`.
fn doctor(root: &Path) -> Value {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["doctor", "--json", "--root"])
        .arg(root)
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn rung<'a>(told: &'a Value, name: &str) -> &'a Value {
    let rungs = told["energy"][0]["rungs"].as_array().unwrap();
    let found = rungs.iter().find(|rung| rung["source"].as_str().unwrap().starts_with(name));
    found.unwrap_or_else(|| panic!("no {name} in {told}"))
}

#[test]
fn the_doctor_says_of_each_sensor_why_it_is_not_believed() {
    let root = tempfile::tempdir().unwrap();
    let zone = "sys/class/powercap/intel-rapl:0";
    put(root.path(), &format!("{zone}/name"), "package-0\n");
    put(root.path(), &format!("{zone}/max_energy_range_uj"), "262143328850\n");
    put(root.path(), &format!("{zone}/energy_uj"), "0\n");
    let told = doctor(root.path());
    let rapl = rung(&told, "RAPL packages");
    assert_eq!((&rapl["state"], &rapl["code"]), (&json!("refused"), &json!("stuck")), "{told}");
    assert!(rapl["reason"].as_str().unwrap().contains("package-0 stood still"), "{told}");
    let battery = rung(&told, "battery");
    assert_eq!((&battery["state"], &battery["code"]), (&json!("missing"), &json!("absent")), "{told}");
    let in_use = &told["energy"][0]["in_use"];
    assert_eq!(in_use["quality"], "modelled");
    assert!(in_use["relative_uncertainty"].as_f64().unwrap() >= 0.5, "{told}");
    let machine = &told["machine"];
    for fact in ["host_threads", "threads", "memory_budget_bytes", "host_memory_bytes", "usable_processors"] {
        assert!(machine[fact].as_u64().unwrap() > 0, "{fact}: {told}");
    }
    assert!(machine["isa_available"].as_array().unwrap().contains(&machine["isa"]), "{told}");
    assert_eq!(machine["memlock_is_unlimited"], machine["memlock_bytes"].is_null());
}

#[test]
fn a_server_tells_where_energy_is_from_and_counts_it_by_who_carries_it() {
    let mut server = Server::serving(good);
    let answer = server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 20 })).ok();
    let receipt = &answer["dayfly"];
    let (source, quality) =
        (receipt["energy"]["source"].as_str().unwrap(), receipt["energy"]["quality"].as_str().unwrap());
    let labels =
        format!("tenant=\"anonymous\",model=\"good\",component=\"active\",source=\"{source}\",quality=\"{quality}\"");
    let counted = server.metric(&format!("dayfly_energy_joules_total{{{labels}}}"));
    let active = receipt["energy"]["active_nj"].as_u64().unwrap() as f64 / 1e9;
    assert!((counted - active).abs() < 1e-9, "{counted} J counted, {active} J on the receipt");

    let told = until("the host's energy is read", SOON, || {
        let told = server.get("/v1/energy").ok();
        let source = told["sensors"][0]["in_use"]["source"].as_str()?.to_owned();
        let taken = server.metric(&format!("dayfly_device_energy_joules_total{{device=\"host\",source=\"{source}\"}}"));
        (taken > 0.0).then_some(told)
    });
    assert_eq!((&told["object"], &told["sensors"][0]["name"]), (&json!("energy"), &json!("host")), "{told}");
    assert!(!told["sensors"][0]["rungs"].as_array().unwrap().is_empty(), "{told}");
    until("requests carry some of it", SOON, || {
        server.answers("good");
        let carried = server.metric("dayfly_account_energy_joules_total{device=\"host\",account=\"requests\"}");
        (carried > 0.0).then_some(())
    });
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);

    let ledger = server.ledger();
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit(SOON).success());
    let totals = ledger::Reader::open(&ledger).unwrap().energy_totals().unwrap();
    assert!(totals.iter().any(|total| total.accounts.requests.get() > 0), "{totals:?}");
    for total in totals {
        assert_eq!(total.accounts.total(), total.energy_nj);
    }
}
