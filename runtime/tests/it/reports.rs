//! Reports: sums as OpenAI tells them, savings, exports and replays, over HTTP and by the commands.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::batching::{complete_as, keys};
use crate::client::{Response, request, until};
use crate::keys::{bearer, create, send_as};
use crate::models::good;
use crate::server::{Options, SOON, Server};

const DAY: i64 = 86_400;

fn get_as(server: &Server, tenant: &str, path: &str) -> Response {
    server.send(&request("GET", path, &[&format!("authorization: Bearer {tenant}")], b""))
}

fn dayfly(server: &Server, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(arguments)
        .env_clear()
        .env("HOME", server.home())
        .env("DAYFLY_LEDGER", server.ledger())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn told(server: &Server, arguments: &[&str]) -> String {
    let output = dayfly(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn ask(tokens: u64) -> Value {
    json!({ "model": "good", "prompt": "hello there", "max_tokens": tokens, "temperature": 0, "ignore_eos": true })
}

/// Yesterday's midnight, so that no midnight comes between.
fn start() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    (i64::try_from(now).unwrap().div_euclid(DAY) - 1) * DAY
}

/// The sum of a field over all results of all buckets.
fn sum(page: &Value, pointer: &str) -> f64 {
    let buckets = page["data"].as_array().unwrap().iter();
    let results = buckets.flat_map(|bucket| bucket["results"].as_array().unwrap());
    results.map(|result| result.pointer(pointer).unwrap().as_f64().unwrap()).sum()
}

#[test]
fn usage_and_costs_are_told_as_openai_does_and_each_tenant_sees_its_own() {
    let server = Options::with_models(good).config(&keys(&["a", "b"])).start();
    let receipts: Vec<Value> = [("a", 3), ("a", 5), ("b", 7)]
        .into_iter()
        .map(|(tenant, tokens)| complete_as(&server, tenant, &ask(tokens)).ok()["dayfly"].clone())
        .collect();
    let path = format!("/v1/organization/usage/completions?start_time={}&limit=3", start());
    let page = get_as(&server, "a", &format!("{path}&group_by=project_id&group_by[]=model")).ok();
    assert_eq!((&page["object"], &page["has_more"]), (&json!("page"), &json!(false)));
    assert_eq!(page["data"][0]["start_time"], start());
    let results: Vec<&Value> =
        page["data"].as_array().unwrap().iter().flat_map(|bucket| bucket["results"].as_array().unwrap()).collect();
    assert!(results.iter().all(|one| one["project_id"] == "a" && one["model"] == "good"), "{page}");
    assert_eq!([sum(&page, "/num_model_requests"), sum(&page, "/output_tokens")], [2.0, 8.0]);
    let prompts = receipts[..2].iter().map(|receipt| receipt["tokens"]["prompt"].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum(&page, "/input_tokens"), prompts);
    let other = get_as(&server, "a", &format!("{path}&project_ids=b")).ok();
    assert!(other["data"].as_array().unwrap().iter().all(|bucket| bucket["results"] == json!([])), "{other}");

    let path = format!("/v1/organization/costs?start_time={}", start());
    let page = get_as(&server, "b", &format!("{path}&group_by=line_item")).ok();
    let requests = |page: &Value| {
        let buckets = page["data"].as_array().unwrap().iter();
        let results = buckets.flat_map(|bucket| bucket["results"].as_array().unwrap().clone());
        results.filter(|one| one["line_item"] == "requests").map(|one| one["amount"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(requests(&page), [json!({ "value": receipts[2]["cost"]["amount"], "currency": "usd" })]);

    for (path, param) in [
        ("/v1/organization/usage/completions", "start_time"),
        ("/v1/organization/usage/completions?start_time=1&bucket_width=1m", "bucket_width"),
        ("/v1/organization/usage/completions?start_time=1&group_by=user_id", "group_by"),
        ("/v1/organization/costs?start_time=1&bucket_width=1h", "bucket_width"),
        ("/v1/savings?baseline=none", "baseline"),
        ("/v1/savings?since=soon", "since"),
    ] {
        let error = get_as(&server, "a", path).json()["error"].clone();
        assert_eq!(error["param"], param, "{path}: {error}");
    }
    get_as(&server, "a", "/v1/usage?tenant=b").refused_about(400, "unsupported_parameter", "tenant");
}

#[test]
fn savings_are_of_the_ledger_and_who_administers_sees_all_of_it() {
    let everyone = keys(&["a", "b"]) + &keys(&["root"]) + "scopes = [\"admin\", \"read\"]\n";
    let server = Options::with_models(good).config(&everyone).start();
    for tenant in ["a", "b", "b"] {
        complete_as(&server, tenant, &ask(4)).ok();
    }
    let report = get_as(&server, "root", "/v1/savings?since=24h").ok();
    let tenants: Vec<&Value> = report["tenants"].as_array().unwrap().iter().map(|one| &one["tenant"]).collect();
    assert_eq!(tenants, ["a", "b"]);
    assert!(report["process_bytes"].as_u64().unwrap() > 1 << 20, "{report}");
    assert!(report["total"]["held"]["process_kib_ms"].as_u64() > Some(0));
    let shared = get_as(&server, "root", "/v1/savings?baseline=shared").ok();
    assert!(shared["total"]["dedicated"].is_null() && shared["total"]["shared_persistent"].is_object(), "{shared}");
    // The model's pages stay in the page cache when it is let go, and are told.
    let body = json!({ "model": "good" }).to_string();
    let headers = ["content-type: application/json", "authorization: Bearer root"];
    server.send(&request("POST", "/models/unload", &headers, body.as_bytes())).ok();
    let cached = until("it is let go", SOON, || {
        let report = get_as(&server, "root", "/v1/savings").ok();
        report["page_cache"]["bytes"].as_u64().filter(|bytes| *bytes > 0)
    });
    let size = server.models_dir().join("good.gguf").metadata().unwrap().len();
    assert!(cached <= size.next_multiple_of(4096), "{cached} of {size}");
}

/// What others do, before and after, changes nothing of it.
#[test]
fn a_tenants_savings_have_nothing_of_anothers() {
    // Each request loads the model, and waits for that.
    let server = Options::with_models(good).config(&("keep_alive = \"0\"\n".to_owned() + &keys(&["a", "b"]))).start();
    let serve = |tenant: &str| {
        complete_as(&server, tenant, &ask(4)).ok();
        until("it is let go", SOON, || {
            let models = get_as(&server, tenant, "/models").ok();
            (models["data"][0]["status"]["value"] == "unloaded").then_some(())
        });
    };
    let of_requests = |report: &Value| {
        let held = ["active_kib_ms", "load_kib_ms"].map(|part| report["held"][part].clone());
        (held, report["cold_starts"].clone(), report["dedicated"]["baseline"].clone())
    };
    let report = |tenant| get_as(&server, tenant, "/v1/savings?since=24h").ok();
    serve("b");
    let none = report("a");
    assert_eq!((&none["window_ms"], &none["cold_starts"]["requests"]), (&json!(0), &json!(0)), "{none}");
    serve("a");
    serve("b");
    let before = report("a");
    assert_eq!((&before["tenant"], &before["cold_starts"]["requests"]), (&json!("a"), &json!(1)), "{before}");
    assert_eq!(before["cold_starts"]["waits"]["requests"], 1);
    serve("b");
    assert_eq!(of_requests(&report("a")), of_requests(&before), "others' requests");
    assert_eq!(report("b")["cold_starts"]["requests"], 3);
    // Nor is there a place for what is everyone's.
    let members: Vec<&str> = before.as_object().unwrap().keys().map(String::as_str).collect();
    for absent in ["page_cache", "process_bytes", "tenants", "total", "shared_persistent", "money"] {
        assert!(!members.contains(&absent), "{absent}: {before}");
    }
    assert_eq!((&before["held"]["idle_kib_ms"], &before["held"]["process_kib_ms"]), (&json!(0), &json!(0)));
    let refused = get_as(&server, "a", "/v1/savings?baseline=shared");
    refused.refused_about(400, "invalid_value", "baseline");
    assert_eq!(of_requests(&get_as(&server, "a", "/v1/savings?baseline=dedicated").ok()), of_requests(&before));
}

#[test]
fn money_is_told_in_three_tiers() {
    let declared = "[savings]\nrealised_per_hour = -3600\nmachines_source = \"a list\"\n\
                    [[savings.machines]]\nname = \"large\"\nmemory = \"64GiB\"\nprice_per_hour = 2\n";
    let server = Options::with_models(good).config(declared).start();
    server.complete(&ask(4)).ok();
    let report = server.get("/v1/savings").ok();
    let money = &report["money"];
    assert_eq!(money["nominal"]["saved_shared_persistent"], report["total"]["shared_persistent"]["saved"]["cost"]);
    let capacity = &money["capacity"];
    assert_eq!((&capacity["ephemeral"]["machine"], &capacity["source"]), (&json!("large"), &json!("a list")));
    assert!(capacity["ephemeral"]["p99_bytes"].as_u64() > report["process_bytes"].as_u64(), "{report}");
    assert_eq!((&capacity["saved_dedicated"], &capacity["quality"]), (&json!(0.0), &json!("derived")));
    let seconds = report["window_ms"].as_f64().unwrap() / 1e3;
    let realised = money["realised"]["saved"].as_f64().unwrap();
    assert!((realised + seconds).abs() < 1e-6, "{realised} in {seconds} s");
    assert_eq!(money["realised"]["quality"], "assumed");
    let none = Server::serving(good).get("/v1/savings").ok();
    assert_eq!((&none["money"]["capacity"], &none["money"]["realised"]["saved"]), (&Value::Null, &json!(0.0)));
}

#[test]
fn a_configured_key_is_told_by_its_id_if_it_has_one() {
    let server = Options::with_models(good).config(&(keys(&["a"]) + "id = \"notebook\"\n" + &keys(&["b"]))).start();
    let key_of = |tenant: &str| complete_as(&server, tenant, &ask(1)).ok()["dayfly"]["key_id"].clone();
    assert_eq!([key_of("a"), key_of("b")], [json!("notebook"), Value::Null]);
    let usage = get_as(&server, "a", "/v1/usage").ok();
    assert_eq!(usage["data"][0]["keys"][0]["key_id"], "notebook", "{usage}");
}

#[test]
fn what_each_key_has_used_is_told_apart() {
    let server = Server::serving(good);
    let of_acme = [(); 2].map(|()| create(&server, &["--tenant", "acme"]));
    let other = create(&server, &["--tenant", "other"]);
    let complete = |key: &Value, tokens: u64| {
        send_as(&server, &bearer(key), ("POST", "/v1/completions"), &ask(tokens)).ok()["dayfly"].clone()
    };
    let receipt = complete(&of_acme[0], 3);
    assert_eq!((&receipt["tenant"], &receipt["key_id"]), (&json!("acme"), &of_acme[0]["id"]));
    complete(&of_acme[0], 4);
    complete(&of_acme[1], 5);
    complete(&other, 6);
    let get = |path: &str| send_as(&server, &bearer(&of_acme[0]), ("GET", path), &Value::Null).ok();
    let record = get(&format!("/v1/usage/{}", receipt["id"].as_str().unwrap()));
    assert_eq!(record["key_id"], of_acme[0]["id"]);

    let path = format!("/v1/organization/usage/completions?start_time={}&limit=3", start());
    let page = get(&format!("{path}&group_by=api_key_id"));
    let results =
        page["data"].as_array().unwrap().iter().flat_map(|bucket| bucket["results"].as_array().unwrap().clone());
    let mut by_key: Vec<(String, u64)> = results
        .map(|one| (one["api_key_id"].as_str().unwrap().to_owned(), one["output_tokens"].as_u64().unwrap()))
        .collect();
    by_key.sort_by_key(|(_, tokens)| *tokens);
    let id = |key: &Value| key["id"].as_str().unwrap().to_owned();
    assert_eq!(by_key, [(id(&of_acme[1]), 5), (id(&of_acme[0]), 7)], "of its own tenant");
    let page = get(&format!("{path}&api_key_ids={}", id(&of_acme[1])));
    assert_eq!([sum(&page, "/num_model_requests"), sum(&page, "/output_tokens")], [1.0, 5.0]);
    let usage = get("/v1/usage");
    let keys = usage["data"].as_array().unwrap().iter().flat_map(|bucket| bucket["keys"].as_array().unwrap().clone());
    assert!(keys.clone().count() == 2 && keys.clone().all(|key| key["tenant"] == "acme"), "{usage}");

    let text = told(&server, &["usage", "--by", "key"]);
    for (key, tokens) in [(&of_acme[0], "7"), (&of_acme[1], "5"), (&other, "6")] {
        let line = text.lines().find(|line| line.contains(&id(key))).unwrap_or_else(|| panic!("{key}: {text}"));
        assert!(line.split_whitespace().any(|cell| cell == tokens), "{line}");
    }
    let rows = told(&server, &["export", "--format", "csv"]);
    assert!(rows.lines().next().unwrap().ends_with(",key_id") && rows.contains(&id(&other)), "{rows}");
}

#[test]
fn the_commands_tell_what_the_ledger_holds() {
    let server = Server::serving(good);
    let receipts: Vec<Value> = (0..3).map(|_| server.complete(&ask(4)).ok()["dayfly"].clone()).collect();
    let money: u64 = receipts.iter().map(|receipt| receipt["cost"]["pico_units"].as_u64().unwrap()).sum();

    let usage = told(&server, &["usage"]);
    assert!(usage.contains("anonymous") && usage.contains("good"), "{usage}");
    let url = format!("http://{}", server.address());
    for arguments in [&["usage", "--json"][..], &["usage", "--json", "--server", &url]] {
        let usage: Value = serde_json::from_str(&told(&server, arguments)).unwrap();
        let requests =
            usage["data"].as_array().unwrap().iter().flat_map(|bucket| bucket["requests"].as_array().unwrap());
        assert_eq!(requests.map(|total| total["pico_units"].as_u64().unwrap()).sum::<u64>(), money, "{usage}");
    }
    let none: Value = serde_json::from_str(&told(&server, &["usage", "--json", "--tenant", "other"])).unwrap();
    assert_eq!(none["data"][0]["requests"], json!([]));

    let savings = told(&server, &["savings", "--baseline", "shared"]);
    assert!(savings.contains("one shared copy") && !savings.contains("a copy per tenant"), "{savings}");
    let report: Value = serde_json::from_str(&told(&server, &["savings", "--json", "--server", &url])).unwrap();
    assert_eq!(report["tenants"][0]["tenant"], "anonymous");
    let wrong = dayfly(&server, &["savings", "--since", "soon"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));

    let rows = told(&server, &["export", "--format", "csv"]);
    assert_eq!(rows.lines().count(), 4, "{rows}");
    assert!(rows.starts_with("id,tenant,model,outcome,") && rows.contains(",completed,"), "{rows}");
    let focus = told(&server, &["export", "--format", "focus"]);
    let header: Vec<&str> = focus.lines().next().unwrap().split(',').collect();
    let (cost, meter) = (place(&header, "BilledCost"), place(&header, "x_Meter"));
    let billed: f64 = focus
        .lines()
        .skip(1)
        .map(cells)
        .filter(|row| row[meter] == "cpu" || row[meter] == "memory")
        .map(|row| row[cost].parse::<f64>().unwrap())
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand pico-units")]
    let expected = money as f64 / 1e12;
    assert!((billed - expected).abs() < 1e-12, "{billed} of {expected}");
    assert_eq!(dayfly(&server, &["export", "--format", "csv", "--server", &url]).status.code(), Some(2));
}

/// A row's cells: none of them has a comma but in quotes.
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    for letter in row.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            letter => cells.last_mut().unwrap().push(letter),
        }
    }
    cells
}

fn place(header: &[&str], name: &str) -> usize {
    header.iter().position(|column| *column == name).unwrap()
}

#[test]
fn a_recorded_trace_is_replayed_under_other_policies() {
    let server = Options::with_models(good).config("keep_alive = \"0\"\n").start();
    for _ in 0..3 {
        server.complete(&ask(4)).ok();
        server.wait_for_status("good", "unloaded");
    }
    server.settled_rows(3);
    let trace = server.home().join("trace.jsonl");
    std::fs::write(&trace, told(&server, &["export", "--format", "json"])).unwrap();
    let replay = |trace: &str| {
        let policies = ["--policy", "keep_alive=0", "--policy", "keep_alive=-1", "--policy", "budget=1"];
        let answer = told(&server, &[&["replay", trace, "--json"], &policies[..]].concat());
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    let replayed = replay(trace.to_str().unwrap());
    let of =
        |name: &str| replayed["policies"].as_array().unwrap().iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    // The requests are milliseconds apart: one may find what another, whose load is taken to be an average one, still holds.
    let loads: Vec<u64> = of("loads").iter().map(|loads| loads.as_u64().unwrap()).collect();
    assert!((2..=3).contains(&loads[0]) && loads[1..] == [1, 0], "{replayed}");
    assert_eq!(of("refused"), [0, 0, 3]);
    assert_eq!(of("quality"), ["modelled"; 3]);
    assert_eq!(replay("-"), replayed, "the ledger's rows are the same trace");
    let text = told(&server, &["replay", "-", "--policy", "keep_alive=1h,pin=good", "--baseline", "dedicated"]);
    assert!(text.contains("a copy of each model for each tenant") && text.contains("keep_alive=1h,pin=good"), "{text}");
    for wrong in [&["replay", "-", "--policy", "ttl=1"][..], &["replay", "-", "--policy", "pin=none"], &["replay", "-"]]
    {
        assert_eq!(dayfly(&server, wrong).status.code(), Some(2), "{wrong:?}");
    }
    std::fs::write(&trace, "{}\n").unwrap();
    let wrong = dayfly(&server, &["replay", trace.to_str().unwrap(), "--policy", "keep_alive=0"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("line 1"), "{wrong:?}");
}
