//! Published contexts: computed once, found by everyone, kept over unloads and restarts.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use loader::fixture::TinyModel;
use meter::Account;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::batching::{cached, complete_as, keys};
use crate::client::{Response, request, until};
use crate::models::{endless, good, quick, slow, write};
use crate::server::{Options, SOON, Server};
use crate::smollm2;

/// Positions of a page.
const PAGE: u64 = 32;

fn both(folder: &Path) {
    good(folder);
    write(folder, "slow", &slow());
}

/// A text of three pages and a bit, each byte a token of the quick model.
fn text() -> String {
    "0123456789 the quick brown fox jumps. ".repeat(3)
}

fn publish(server: &Server, body: &Value) -> Response {
    server.post("/v1/contexts", body)
}

fn manual() -> Value {
    json!({ "model": "good", "name": "manual", "text": text() })
}

fn delete(server: &Server, name: &str) -> Response {
    server.send(&request("DELETE", &format!("/v1/contexts/{name}"), &[], b""))
}

/// A completion behind the manual's text.
fn question(prompt: &str) -> Value {
    json!({ "model": "good", "prompt": prompt, "max_tokens": 8, "temperature": 0, "logprobs": 1, "ignore_eos": true })
}

fn behind(context: &str, prompt: &str) -> Value {
    let mut body = question(prompt);
    body["context"] = json!(context);
    body
}

/// What a server without contexts answers.
fn uncached(body: &Value) -> Value {
    let answer = Server::serving(both).complete(body).ok();
    assert_eq!(cached(&answer), 0);
    answer["choices"].clone()
}

fn contexts_dir(server: &Server) -> PathBuf {
    server.home().join("state/dayfly/contexts")
}

fn only_file(server: &Server) -> PathBuf {
    let mut files: Vec<PathBuf> =
        fs::read_dir(contexts_dir(server)).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn unload(server: &Server) {
    server.post("/models/unload", &json!({ "model": "good" })).ok();
    until("all is given back", SOON, || (server.used_bytes() == 0).then_some(()));
}

#[test]
fn a_context_is_computed_once_and_outlives_its_model_and_its_server() {
    let server = Server::serving(both);
    let published = publish(&server, &manual()).ok();
    let tokens = published["tokens"].as_u64().unwrap();
    let blocks = tokens / PAGE;
    assert!(blocks >= 2, "{published}");
    assert_eq!((&published["object"], &published["state"]), (&json!("context"), &json!("ready")));
    assert_eq!((published["blocks"].as_u64(), &published["model"]), (Some(blocks), &json!("good")));
    let receipt = &published["dayfly"];
    assert_eq!((&receipt["tokens"]["prompt"], &receipt["tokens"]["completion"]), (&json!(blocks * PAGE), &json!(0)));
    assert!(receipt["cpu"]["prefill_ns"].as_u64() > Some(0), "{receipt}");
    assert_eq!(server.settled(published["id"].as_str().unwrap())["tokens"]["prompt"], blocks * PAGE);

    // By name, and by beginning with its text.
    let expected = uncached(&question(&format!("{} why?", text())));
    let whole = server.complete(&question(&format!("{} why?", text()))).ok();
    assert_eq!(cached(&whole), blocks * PAGE, "{whole}");
    assert_eq!(whole["choices"], expected);
    let named = server.complete(&behind("manual", " why?")).ok();
    assert_eq!((cached(&named), named["usage"]["prompt_tokens"].as_u64() > Some(tokens)), (blocks * PAGE, true));
    let id = published["id"].as_str().unwrap();
    assert_eq!(server.complete(&behind(id, " why?")).ok()["choices"], named["choices"]);
    assert_eq!(server.metric("dayfly_context_maps"), 1.0);

    unload(&server);
    assert_eq!(server.metric("dayfly_contexts_mapped"), 0.0, "the map goes with the model");
    let again = server.complete(&behind("manual", " why?")).ok();
    assert_eq!((cached(&again), &again["choices"]), (blocks * PAGE, &named["choices"]));
    assert!(again["dayfly"]["tokens"]["cached"] == blocks * PAGE, "{again}");
    assert_eq!((server.metric("dayfly_context_maps"), server.metric("dayfly_ledger_imbalance_total")), (2.0, 0.0));

    let server = server.restart();
    let listed = server.get("/v1/contexts").ok();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["id"]), (1, &published["id"]));
    let again = server.complete(&question(&format!("{} why?", text()))).ok();
    assert_eq!((cached(&again), &again["choices"]), (blocks * PAGE, &expected));
    assert_eq!((server.metric("dayfly_contexts"), server.metric("dayfly_context_maps")), (1.0, 1.0));
}

#[test]
fn a_conversation_goes_on_from_its_messages() {
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>";
    let config = |folder: &Path| {
        good(folder);
        fs::write(folder.join("plain.jinja"), template).unwrap();
    };
    let options = Options::with_models(config);
    let server = options.config("[chat_templates]\ngood = \"models/plain.jinja\"\n").start();
    let system = json!({ "role": "system", "content": text() });
    let published = publish(&server, &json!({ "model": "good", "name": "rules", "messages": [system] })).ok();
    let blocks = published["blocks"].as_u64().unwrap();
    let user = json!({ "role": "user", "content": "and why?" });
    let mut body = json!({ "model": "good", "messages": [system, user], "max_tokens": 8, "temperature": 0 });
    body["logit_bias"] = crate::models::letters_only();
    let whole = server.chat(&body).ok();
    assert_eq!(cached(&whole), blocks * PAGE, "{whole}");
    body["messages"] = json!([user]);
    body["context"] = json!("rules");
    let named = server.chat(&body).ok();
    assert_eq!(named["choices"], whole["choices"]);
    assert!(cached(&named) >= blocks * PAGE, "what the request before computed is found as well: {named}");
    assert_eq!(named["usage"]["prompt_tokens"], whole["usage"]["prompt_tokens"]);
    publish(&server, &manual()).ok();
    body["context"] = json!("manual");
    server.chat(&body).refused_about(400, "invalid_value", "context");
}

#[test]
fn every_tenant_finds_it_and_those_publish_who_may() {
    let config = format!("[tenants.acme]\npublishes_contexts = true\n{}", keys(&["acme", "other"]));
    let server = Options::with_models(both).config(&config).start();
    let as_tenant = |tenant: &str, method: &str, path: &str, body: &Value| {
        let key = format!("authorization: Bearer {tenant}");
        let headers = ["content-type: application/json", &key];
        server.send(&request(method, path, &headers, body.to_string().as_bytes()))
    };
    as_tenant("other", "POST", "/v1/contexts", &manual()).refused(403, "invalid_request_error", "permission_denied");
    let published = as_tenant("acme", "POST", "/v1/contexts", &manual()).ok();
    assert_eq!(published["publisher"], "acme");
    let blocks = published["blocks"].as_u64().unwrap();
    let prompt = question(&format!("{} why?", text()));
    let other = complete_as(&server, "other", &prompt).ok();
    assert_eq!(cached(&other), blocks * PAGE);
    assert_eq!(other["choices"], uncached(&prompt));
    assert_eq!(as_tenant("other", "GET", "/v1/contexts/manual", &json!({})).ok()["name"], "manual");
    let refused = as_tenant("other", "DELETE", "/v1/contexts/manual", &json!({}));
    refused.refused(403, "invalid_request_error", "permission_denied");
    let deleted = as_tenant("acme", "DELETE", "/v1/contexts/manual", &json!({})).ok();
    assert_eq!((&deleted["deleted"], &deleted["id"]), (&json!(true), &published["id"]));
    let other = complete_as(&server, "other", &question(&format!("{} why else?", text()))).ok();
    assert_eq!(cached(&other), 0, "what was found of it is found no more");
    // What a tenant computes itself is its own.
    let other = complete_as(&server, "other", &question(&format!("{} why else?", text()))).ok();
    assert!(cached(&other) >= blocks * PAGE);
    assert_eq!(cached(&complete_as(&server, "acme", &question(&format!("{} why else?", text()))).ok()), 0);
    assert_eq!(fs::read_dir(contexts_dir(&server)).unwrap().count(), 0);
}

#[test]
fn what_is_wrong_with_a_context_is_told() {
    let server = Server::serving(both);
    let with = |name: &str, value: Value| {
        let mut body = manual();
        body[name] = value;
        body
    };
    publish(&server, &with("model", json!("none"))).refused_about(404, "model_not_found", "model");
    publish(&server, &with("text", json!("short"))).refused_about(400, "invalid_value", "text");
    publish(&server, &with("text", Value::Null)).refused_about(400, "missing_required_parameter", "text");
    publish(&server, &with("text", json!("a".repeat(100_000)))).refused_about(400, "context_length_exceeded", "text");
    publish(&server, &with("name", json!("a/b"))).refused_about(400, "invalid_value", "name");
    publish(&server, &with("stream", json!(true))).refused_about(400, "unsupported_parameter", "stream");
    server.complete(&behind("manual", "x")).refused_about(404, "context_not_found", "context");
    server.get("/v1/contexts/manual").refused_about(404, "context_not_found", "context");
    delete(&server, "manual").refused_about(404, "context_not_found", "context");
    publish(&server, &with("model", json!("slow"))).ok();
    server.complete(&behind("manual", "x")).refused_about(400, "invalid_value", "context");
    publish(&server, &manual()).ok();
    let ambiguous = server.get("/v1/contexts/manual");
    ambiguous.refused_about(409, "context_ambiguous", "context");
    let long = behind("manual", &"a".repeat(450));
    server.complete(&long).refused_about(400, "context_length_exceeded", "prompt");
}

#[test]
fn one_of_the_same_name_takes_its_place() {
    let server = Server::serving(both);
    let first = publish(&server, &manual()).ok();
    server.complete(&behind("manual", "x")).ok();
    let mut other = manual();
    other["text"] = json!(format!("other {}", text()));
    let second = publish(&server, &other).ok();
    assert_ne!(first["id"], second["id"]);
    let listed = server.get("/v1/contexts").ok();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["id"]), (1, &second["id"]));
    assert_eq!(cached(&server.complete(&question(&format!("{} why?", text()))).ok()), 0);
    let named = server.complete(&behind("manual", "x")).ok();
    assert_eq!(cached(&named), second["cached_tokens"].as_u64().unwrap());
    assert!(only_file(&server).ends_with(format!("{}.context", second["id"].as_str().unwrap())));
}

#[test]
fn no_more_is_kept_than_may_be() {
    let server = Options::with_models(both).config("[contexts]\ndisk_max = \"100KiB\"\n").start();
    let bytes = publish(&server, &manual()).ok()["bytes"].as_u64().unwrap();
    assert!((1..100 << 10).contains(&bytes));
    let mut more = manual();
    let mut refusals = 0;
    for number in 0..8 {
        more["name"] = json!(format!("n{number}"));
        let answer = publish(&server, &more);
        if answer.status == 507 {
            answer.refused(507, "service_unavailable_error", "contexts_full");
            refusals += 1;
        }
    }
    assert!(refusals > 0);
    publish(&server, &manual()).ok();
    assert!(server.metric("dayfly_contexts_bytes") <= f64::from(100 << 10));
    // A folder that nothing can be written to.
    let server = Options::with_models(both).config("[contexts]\ndir = \"/proc/nothing\"\n").start();
    publish(&server, &manual()).refused(503, "service_unavailable_error", "context_not_stored");
    server.settled_rows(1);
    assert_eq!(server.get("/v1/contexts").ok()["data"], json!([]));
}

#[test]
fn a_context_of_another_version_of_the_model_is_stale_until_it_is_computed_anew() {
    let server = Server::serving(both);
    let first = publish(&server, &manual()).ok();
    let other = TinyModel { seed: 99, ..quick() };
    write(server.models_dir(), "good", &other);
    unload(&server);
    assert_eq!(server.get("/v1/contexts/manual").ok()["state"], "stale");
    let named = server.complete(&behind("manual", " why?")).ok();
    assert_eq!(cached(&named), 0, "its text still stands before the prompt");
    assert!(named["usage"]["prompt_tokens"].as_u64() > first["tokens"].as_u64());
    let anew = publish(&server, &json!({ "model": "good", "name": "manual" })).ok();
    assert_eq!((&anew["state"], &anew["tokens"]), (&json!("ready"), &first["tokens"]));
    let again = server.complete(&behind("manual", " why?")).ok();
    assert_eq!((cached(&again), &again["choices"]), (anew["cached_tokens"].as_u64().unwrap(), &named["choices"]));
}

#[test]
fn a_file_that_is_cut_costs_those_that_read_it_and_is_forgotten() {
    let server = Server::serving(both);
    let mut body = manual();
    body["model"] = json!("slow");
    publish(&server, &body).ok();
    let mut reading = endless("slow");
    reading["context"] = json!("manual");
    let mut stream = server.stream(&reading);
    stream.chunk();
    OpenOptions::new().write(true).open(only_file(&server)).unwrap().set_len(100).unwrap();
    let rest = stream.rest();
    assert!(rest.last().unwrap().contains("model_file_changed"), "{rest:?}");
    until("it is forgotten", SOON, || (server.get("/v1/contexts").ok()["data"] == json!([])).then_some(()));
    let mut prompt = question(&format!("{} why?", text()));
    prompt["model"] = json!("slow");
    assert_eq!(cached(&server.complete(&prompt).ok()), 0);
    assert_eq!(server.metric("dayfly_ledger_imbalance_total"), 0.0);
    // One that is damaged while nobody reads it is never used.
    publish(&server, &manual()).ok();
    let path = only_file(&server);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(cached(&server.complete(&question(&format!("{} why?", text()))).ok()), 0);
    until("it is forgotten", SOON, || (server.get("/v1/contexts").ok()["data"] == json!([])).then_some(()));
}

#[test]
fn what_a_tenant_computed_before_does_not_hide_what_is_published() {
    let server = Server::serving(both);
    server.complete(&question(&text()[..60])).ok();
    let published = publish(&server, &manual()).ok();
    let blocks = published["blocks"].as_u64().unwrap();
    let answer = server.complete(&question(&format!("{} why?", text()))).ok();
    assert_eq!(cached(&answer), blocks * PAGE);
}

#[test]
fn while_nobody_holds_it_its_publisher_carries_it() {
    let config = format!("[tenants.acme]\npublishes_contexts = true\n{}", keys(&["acme", "other"]));
    let mut server = Options::with_models(both).config(&config).start();
    let mut published = manual();
    published["keep_alive"] = json!(0);
    let key = "authorization: Bearer acme";
    let headers = ["content-type: application/json", key];
    server.send(&request("POST", "/v1/contexts", &headers, published.to_string().as_bytes())).ok();
    let mut body = behind("manual", " why?");
    body["keep_alive"] = json!(-1);
    // Memory over time is told in whole milliseconds: a quick machine's short answer takes none.
    body["max_tokens"] = json!(128);
    body["ignore_eos"] = json!(true);
    let answer = complete_as(&server, "other", &body).ok();
    assert!(cached(&answer) > 0 && answer["dayfly"]["memory"]["kv_kib_ms"].as_u64() > Some(0), "{answer}");
    for _ in 0..3 {
        server.send(&request("GET", "/v1/contexts", &[key], b""));
    }
    server.signal(Signal::TERM);
    assert!(server.exit(SOON).success());
    let totals = ledger::Reader::open(&server.ledger()).unwrap().account_totals().unwrap();
    let carried = totals.iter().filter(|total| total.account == Account::Keepalive("acme".to_owned()));
    let kib_ms: u64 = carried.map(|total| total.kib_ms.get()).sum();
    assert!(kib_ms > 0, "{totals:?}");
}

#[test]
fn a_real_model_answers_from_a_context_as_without() {
    let text =
        "A mayfly is an insect that lives for a day, or a little longer. It has wings, and no mouth. ".repeat(12);
    let prompt = format!("{text}In short, a mayfly is");
    let body = json!({ "model": "smollm2", "prompt": prompt, "max_tokens": 12, "temperature": 0, "logprobs": 2 });
    let start = || Options::with_models_in(smollm2::models_dir()).config("ctx_max = 1024").start();
    let uncached = start().complete(&body).ok();
    assert_eq!(cached(&uncached), 0);
    let server = start();
    let published = publish(&server, &json!({ "model": "smollm2", "name": "mayfly", "text": text })).ok();
    let kept = published["cached_tokens"].as_u64().unwrap();
    assert!(kept >= 8 * PAGE, "{published}");
    let answer = server.complete(&body).ok();
    // The last token of the text may be another where a prompt goes on, and no more.
    assert!(cached(&answer) >= kept - PAGE, "{answer}");
    assert_eq!(answer["choices"], uncached["choices"]);
    let server = server.restart();
    let answer = server.complete(&body).ok();
    assert!(cached(&answer) >= kept - PAGE, "{answer}");
    assert_eq!((&answer["choices"], &answer["dayfly"]["cold"]), (&uncached["choices"], &json!(true)));
}

#[test]
fn without_a_prefix_cache_each_sequence_takes_its_pages_from_the_file() {
    let server = Options::with_models(both).config("[scheduler]\nprefix_cache = \"0\"\n").start();
    let blocks = publish(&server, &manual()).ok()["blocks"].as_u64().unwrap();
    let first = server.complete(&behind("manual", " why?")).ok();
    let second = server.complete(&behind("manual", " why?")).ok();
    assert_eq!((cached(&first), cached(&second)), (blocks * PAGE, blocks * PAGE));
    assert_eq!((&first["choices"], server.metric("dayfly_contexts_mapped")), (&second["choices"], 0.0));
    let mut several = behind("manual", " why?");
    several["n"] = json!(3);
    let several = server.complete(&several).ok();
    assert_eq!((cached(&several), &several["choices"][2]["text"]), (blocks * PAGE, &first["choices"][0]["text"]));
    unload(&server);
}
