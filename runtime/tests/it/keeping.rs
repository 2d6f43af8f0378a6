//! How long models stay, and which: by configuration, by request, and by what reloading costs.

use serde_json::{Value, json};

use crate::client::until;
use crate::models::{good, quick, write};
use crate::server::{Options, SOON};
use loader::fixture::TinyModel;

const MIB: usize = 1 << 20;

fn ask(model: &str) -> Value {
    json!({ "model": model, "prompt": "hello", "max_tokens": 2 })
}

fn two_models() -> Options {
    Options::with_models(|folder| {
        good(folder);
        write(folder, "other", &quick());
    })
}

#[test]
fn a_model_can_have_a_keep_alive_of_its_own() {
    let server = two_models().config("keep_alive = \"1h\"\n[models.other]\nkeep_alive = \"100ms\"").start();
    server.answers("good");
    server.answers("other");
    server.wait_for_status("other", "unloaded");
    assert_eq!(server.status("good"), "loaded");
    // A request that says something decides, here too.
    let mut body = ask("other");
    body["keep_alive"] = json!("1h");
    server.complete(&body).ok();
    assert!(server.model("other")["expires_in_seconds"].as_f64().unwrap() > 3000.0);
}

#[test]
fn configured_pins_are_there_from_the_start_and_outlast_their_keep_alive() {
    let server = two_models().config("keep_alive = \"50ms\"\n[models.good]\npinned = true").start();
    until("good is pinned", SOON, || (server.model("good")["pinned"] == true).then_some(()));
    server.answers("other");
    server.wait_for_status("other", "unloaded");
    assert_eq!((server.status("good"), &server.model("good")["loads"]), ("loaded".to_owned(), &json!(1)));
}

#[test]
fn an_automatic_keep_alive_says_why() {
    let server = two_models().config("keep_alive = \"auto\"").start();
    server.answers("good");
    let chosen =
        until("it is idle", SOON, || Some(server.model("good")).filter(|model| model["break_even"].is_object()));
    let (time_out, why) = (&chosen["expires_in_seconds"], &chosen["break_even"]);
    let seconds = |name: &str| why[name].as_f64().unwrap();
    assert!(time_out.as_f64().unwrap() <= seconds("time_out_seconds"), "{chosen}");
    assert!(seconds("time_out_seconds") <= seconds("break_even_seconds"), "{chosen}");
    let break_even = seconds("reload_cost") / seconds("holding_cost_per_second");
    assert!((seconds("break_even_seconds") / break_even - 1.0).abs() < 0.01, "{why}");
}

#[test]
fn where_memory_is_dear_an_automatic_keep_alive_is_short() {
    let dear = "keep_alive = \"auto\"\n[rates]\ncpu_hour = 0.000001\nmemory_gb_hour = 1000000.0";
    let server = two_models().config(dear).start();
    server.answers("good");
    server.wait_for_status("good", "unloaded");
    let evictions = server.pool()["evictions"].clone();
    assert_eq!(evictions[0]["cause"], "idle time-out", "{evictions}");
    // By request as well.
    let server = two_models().config("[rates]\ncpu_hour = 0.000001\nmemory_gb_hour = 1000000.0").start();
    let mut body = ask("good");
    body["keep_alive"] = json!("auto");
    server.complete(&body).ok();
    server.wait_for_status("good", "unloaded");
    assert!(server.metric("dayfly_ledger_imbalance_total").abs() < f64::EPSILON);
}

#[test]
fn a_model_larger_than_the_budget_can_be_paged() {
    let options = Options::with_models(|folder| {
        write(folder, "huge", &TinyModel { padding_bytes: 32 * MIB, ..quick() });
        good(folder);
    });
    let server = options.flag("--memory-budget", "16MiB").config("[pool]\noversize = \"page\"").start();
    server.answers("huge");
    let model = server.model("huge");
    assert_eq!(model["paged"], true);
    let limit = server.pool()["memory"]["limit_bytes"].as_u64().unwrap();
    assert!(model["weights_bytes"].as_u64().unwrap() < limit && server.used_bytes() <= limit, "{model}");
    server.answers("good");
    server.answers("huge");
}

#[test]
fn a_load_says_where_its_bytes_came_from_and_each_policy_serves() {
    let policies = [
        "",
        "bring_in = \"will-need\"\nlet_go = \"cold\"",
        "bring_in = \"lazy\"\nlet_go = \"dont-need\"",
        "lock = true",
    ];
    for policy in policies {
        let server = two_models().config(&format!("[pool]\n{policy}")).start();
        for _ in 0..2 {
            server.answers("good");
            let source = server.model("good")["last_load_source"].clone();
            let label = source["label"].as_str().unwrap();
            assert!(["page_cache_warm", "page_cache_cold"].contains(&label), "the file is ours: {policy}: {source}");
            assert!(source["cached_bytes"].is_u64(), "{source}");
            server.post("/models/unload", &json!({ "model": "good" })).ok();
            server.wait_for_status("good", "unloaded");
        }
    }
}

/// Runs what follows it without the right to lock memory; none where this process cannot give the right up.
fn without_right_to_lock() -> Option<&'static [&'static str]> {
    const BOUND_BY_THE_LIMIT: [&str; 3] = ["sh", "-c", "ulimit -l 0 && exec \"$0\" \"$@\""];
    const NO_LONGER_ABOVE_IT: [&str; 6] =
        ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "sh", "-c", BOUND_BY_THE_LIMIT[2]];
    if !rustix::process::geteuid().is_root() {
        return Some(&BOUND_BY_THE_LIMIT);
    }
    let tried = std::process::Command::new(NO_LONGER_ABOVE_IT[0]).args(&NO_LONGER_ABOVE_IT[1..]).arg("true").status();
    tried.is_ok_and(|status| status.success()).then_some(&NO_LONGER_ABOVE_IT)
}

#[test]
fn a_model_that_may_not_be_locked_is_refused_and_the_operator_told_why() {
    let Some(launcher) = without_right_to_lock() else {
        println!("skipped: root is above the limit, and setpriv (util-linux) cannot take that right away here");
        return;
    };
    let server = two_models().config("[pool]\nlock = true").launched_by(launcher).start();
    let refused = server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 2 }));
    refused.refused(503, "service_unavailable_error", "model_load_failed");
    let refused = server.post("/models/load", &json!({ "model": "good" }));
    refused.refused(503, "service_unavailable_error", "model_load_failed");
    assert!(server.said().contains("RLIMIT_MEMLOCK allows 0 for this process"));
    assert_eq!((server.used_bytes(), server.status("good")), (0, "unloaded".to_owned()));
}

#[test]
fn a_busy_model_takes_turns_with_who_waits() {
    let options = Options::with_models(|folder| {
        for name in ["a", "b"] {
            write(folder, name, &TinyModel { padding_bytes: 8 * MIB, ..quick() });
        }
    });
    let server = options.flag("--memory-budget", "12MiB").config("[pool]\nbusy_turn_max = \"100ms\"").start();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Two clients see to it that the model is never idle.
        let busy: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = 0;
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        server
                            .complete(&json!({ "model": "a", "prompt": "x", "max_tokens": 100, "ignore_eos": true }))
                            .ok();
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        until("a is busy", SOON, || (server.model("a")["leases"].as_u64() >= Some(1)).then_some(()));
        for _ in 0..3 {
            server.answers("b");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(busy.into_iter().all(|client| client.join().unwrap() > 0));
    });
}

#[test]
fn row_37_sixty_four_cold_models_at_once_with_room_for_two() {
    let names: Vec<String> = (0..64).map(|number| format!("model-{number:02}")).collect();
    let options = Options::with_models(|folder| {
        for name in names.iter().map(String::as_str).chain(["pinned"]) {
            write(folder, name, &TinyModel { padding_bytes: 8 * MIB, ..quick() });
        }
    });
    // Two models and the pinned one.
    let server = options.flag("--memory-budget", "27MiB").start();
    server.post("/models/pin", &json!({ "model": "pinned" })).ok();
    let barrier = std::sync::Barrier::new(2 * names.len());
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let server = &server;
        let barrier = &barrier;
        let clients: Vec<_> = names
            .iter()
            .chain(&names)
            .map(|name| {
                scope.spawn(move || {
                    let mut connection = server.connect();
                    barrier.wait();
                    let answer = connection.ask(&crate::client::post("/v1/completions", &ask(name)));
                    if answer.status != 200 {
                        answer.refused(503, "service_unavailable_error", "server_is_overloaded");
                    }
                    answer.status
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let answered = answers.iter().filter(|status| **status == 200).count();
    assert!(answered >= names.len(), "most are answered: {answered}");
    let loads: Vec<u64> = names.iter().filter_map(|name| server.model(name)["loads"].as_u64()).collect();
    assert!(loads.iter().all(|&loads| loads <= 2), "two askers, two loads at most: {loads:?}");
    assert!(loads.iter().sum::<u64>() <= answered as u64);
    assert_eq!((server.status("pinned"), &server.model("pinned")["loads"]), ("loaded".to_owned(), &json!(1)));
    let memory = &server.pool()["memory"];
    assert!(memory["used_bytes"].as_u64() <= memory["limit_bytes"].as_u64(), "{memory}");
    server.settled_rows(answered);
}
