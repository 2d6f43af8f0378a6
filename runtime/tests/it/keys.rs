//! Stored keys: made and revoked beside a running server, scopes, models (row 27), and that they stand nowhere.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::client::{Response, request, until};
use crate::models::{good, quick, write};
use crate::server::{Options, SOON, Server};

fn both(folder: &Path) {
    good(folder);
    write(folder, "other", &quick());
}

/// `dayfly key …` on the store of this server.
pub(crate) fn key_command(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.args(["key", "--json"]).args(arguments).arg("--ledger").arg(server.ledger());
    command.env_clear().env("HOME", server.home()).output().unwrap()
}

/// Makes a key; what is printed of it.
pub(crate) fn create(server: &Server, arguments: &[&str]) -> Value {
    let output = key_command(server, &[&["create"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The header that shows a key.
pub(crate) fn bearer(key: &Value) -> String {
    format!("authorization: Bearer {}", key["key"].as_str().unwrap())
}

/// Sends JSON with this header.
pub(crate) fn send_as(server: &Server, header: &str, (method, path): (&str, &str), body: &Value) -> Response {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    server.send(&request(method, path, &["content-type: application/json", header], text.as_bytes()))
}

pub(crate) fn complete_as(server: &Server, header: &str, model: &str) -> Response {
    let body = json!({ "model": model, "prompt": "hello", "max_tokens": 1 });
    send_as(server, header, ("POST", "/v1/completions"), &body)
}

fn get_as(server: &Server, header: &str, path: &str) -> Response {
    send_as(server, header, ("GET", path), &Value::Null)
}

#[test]
fn a_key_works_from_its_creation_to_its_revocation() {
    let server = Server::serving(good);
    server.answers("good");
    let key = create(&server, &["--tenant", "acme", "--name", "laptop"]);
    let header = bearer(&key);
    // At once, and from then on nobody comes in without one.
    assert_eq!(complete_as(&server, &header, "good").ok()["dayfly"]["tenant"], "acme");
    let refused = complete_as(&server, "accept: */*", "good");
    refused.refused(401, "invalid_request_error", "invalid_api_key");
    let second = create(&server, &["--tenant", "acme"]);
    let id = key["id"].as_str().unwrap();
    assert!(key_command(&server, &["revoke", id]).status.success());
    let revoked = until("it is revoked", SOON, || {
        let response = complete_as(&server, &header, "good");
        (response.status != 200).then_some(response)
    });
    // Row 26: unknown, malformed, revoked, none.
    assert_eq!((revoked.status, revoked.text()), (401, refused.text()));
    let unknown = bearer(&json!({ "key": format!("dfk_{}", "0".repeat(48)) }));
    for header in [unknown.as_str(), "authorization: Bearer dfk_", "authorization: Basic dfk_", "x-api-key: x"] {
        let response = complete_as(&server, header, "good");
        assert_eq!((response.status, response.text()), (401, refused.text()), "{header}");
    }
    complete_as(&server, &bearer(&second), "good").ok();
    // With all keys revoked the door stays shut, also after a restart.
    assert!(key_command(&server, &["revoke", second["id"].as_str().unwrap()]).status.success());
    let server = server.restart();
    assert_eq!(complete_as(&server, "accept: */*", "good").text(), refused.text());
    assert_eq!(complete_as(&server, &bearer(&second), "good").text(), refused.text());

    let listed: Value = serde_json::from_slice(&key_command(&server, &["list"]).stdout).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["name"]), (&key["id"], &json!("laptop")));
    assert!(listed.as_array().unwrap().iter().all(|key| key["revoked_unix_ms"].is_i64()), "{listed}");
    assert_eq!(key_command(&server, &["revoke", "key_none"]).status.code(), Some(1));
}

#[test]
fn keys_stand_in_no_log_and_no_file() {
    let server = Options::with_models(good).flag("--memory-budget", "256MiB").start();
    let key = create(&server, &["--tenant", "acme"]);
    let header = bearer(&key);
    complete_as(&server, &header, "good").ok();
    complete_as(&server, &header, "none").refused_about(404, "model_not_found", "model");
    complete_as(&server, &format!("{header}x"), "good");
    let mut server = server;
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit(SOON).success());
    let digits = key["key"].as_str().unwrap().trim_start_matches("dfk_");
    assert!(!server.said().contains(digits), "{}", server.said());
    for file in std::fs::read_dir(server.home()).unwrap() {
        let path = file.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(digits.len()).any(|part| part == digits.as_bytes()), "{}", path.display());
    }
    let listed = key_command(&server, &["list"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(digits));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let used = listed[0]["last_used_unix_ms"].as_i64().unwrap();
    assert_eq!(used % 3_600_000, 0, "the hour of its use: {listed}");
}

#[test]
fn scopes_say_what_a_key_is_for() {
    let server = Server::serving(good);
    let of = |scopes: &[&str]| {
        let flags: Vec<&str> = scopes.iter().flat_map(|scope| ["--scope", scope]).collect();
        bearer(&create(&server, &[&["--tenant", scopes[0]], &flags[..]].concat()))
    };
    let (inference, read, admin) = (of(&["inference"]), of(&["read"]), of(&["admin", "inference", "read"]));
    let model = json!({ "model": "good" });
    let text = json!({ "model": "good", "name": "c", "text": "a text of more than thirty-two bytes, and so a block" });
    let cases: [(&str, &str, &Value, [u16; 3]); 8] = [
        ("GET", "/v1/models", &Value::Null, [403, 200, 200]),
        ("GET", "/metrics", &Value::Null, [403, 200, 200]),
        ("GET", "/v1/usage/none", &Value::Null, [403, 404, 404]),
        ("POST", "/models/load", &model, [403, 403, 200]),
        ("POST", "/models/pin", &model, [403, 403, 200]),
        ("POST", "/models/unpin", &model, [403, 403, 200]),
        ("POST", "/models/budget", &json!({ "memory_budget": "256MiB" }), [403, 403, 200]),
        ("POST", "/v1/contexts", &text, [403, 403, 200]),
    ];
    for (method, path, body, expected) in cases {
        let statuses = [&inference, &read, &admin].map(|header| send_as(&server, header, (method, path), body).status);
        assert_eq!(statuses, expected, "{method} {path}");
    }
    get_as(&server, &inference, "/v1/models").refused(403, "invalid_request_error", "insufficient_scope");
    complete_as(&server, &read, "good").refused(403, "invalid_request_error", "insufficient_scope");
    let answer = complete_as(&server, &inference, "good").ok();
    let receipt = format!("/v1/usage/{}", answer["id"].as_str().unwrap());
    assert_eq!(get_as(&server, &read, &receipt).status, 404, "another tenant's");
    assert_eq!(get_as(&server, &admin, &receipt).ok()["tenant"], "inference");
    // Figures of other tenants are theirs.
    let figures = |header: &str| get_as(&server, header, "/metrics").text();
    assert!(figures(&admin).contains("tenant=\"inference\"") && !figures(&read).contains("tenant=\"inference\""));
    assert!(figures(&read).contains("dayfly_pool_limit_bytes"));
    for wrong in [&["--scope", "root"][..], &["--model", ""], &["--budget", "5 EUR/day"], &["--budget", "5"]] {
        let output = key_command(&server, &[&["create", "--tenant", "x"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn row_27_a_model_that_a_tenant_may_not_use_does_not_exist() {
    let config = "[aliases]\nsecond = \"other\"\n[tenants.bound]\nmodels = [\"good\", \"x*\"]\n";
    let server = Options::with_models(both).config(config).start();
    let admin = bearer(&create(&server, &["--tenant", "all", "--scope", "admin", "--scope", "inference"]));
    let by_key = bearer(&create(&server, &["--tenant", "some", "--model", "goo*"]));
    let by_tenant = bearer(&create(&server, &["--tenant", "bound"]));
    let by_alias = bearer(&create(&server, &["--tenant", "some", "--model", "second"]));
    complete_as(&server, &by_alias, "other").ok();
    let context =
        json!({ "model": "other", "name": "c", "text": "a text of more than thirty-two bytes, and so a block" });
    send_as(&server, &admin, ("POST", "/v1/contexts"), &context).ok();
    for header in [&by_key, &by_tenant] {
        complete_as(&server, header, "good").ok();
        for name in ["other", "second", "other:latest"] {
            let bodies = [
                ("/v1/completions", json!({ "prompt": "x" })),
                ("/v1/completions", json!({ "prompt": "x", "cache": true, "temperature": 0, "seed": 1 })),
                ("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "x" }] })),
                ("/v1/embeddings", json!({ "input": "x" })),
                ("/v1/rerank", json!({ "query": "x", "documents": ["y"] })),
                ("/tokenize", json!({ "content": "x" })),
                ("/detokenize", json!({ "tokens": [5] })),
            ];
            for (path, mut body) in bodies {
                let told = |body: &Value| {
                    let response = send_as(&server, header, ("POST", path), body);
                    assert_eq!(response.status, 404, "{path} {response}");
                    response.text()
                };
                body["model"] = json!(name);
                let forbidden = told(&body);
                body["model"] = json!("none!");
                assert_eq!(forbidden.replace(name, "none!"), told(&body), "{path} {name}");
            }
            let one = get_as(&server, header, &format!("/v1/models/{name}"));
            let none = get_as(&server, header, "/v1/models/none!");
            assert_eq!((one.status, one.text().replace(name, "none!")), (404, none.text()));
        }
        for path in ["/v1/models", "/models", "/v1/contexts", "/metrics", "/api/tags"] {
            let listed = get_as(&server, header, path);
            assert_eq!(listed.status, 200, "{path}");
            let text = listed.text();
            let told = ["other", "second"].map(|name| [format!("\"{name}\""), format!("\"{name}:latest\"")]).concat();
            assert!(!told.iter().any(|name| text.contains(name.as_str())), "{path} {listed}");
        }
        assert_eq!(get_as(&server, header, "/v1/contexts/c").status, 404);
    }
    // Nor for who administers by a key that is for some models.
    let bound = bearer(&create(&server, &["--tenant", "ops", "--scope", "admin", "--model", "good"]));
    for path in ["/models/load", "/models/unload", "/models/pin", "/models/unpin"] {
        let forbidden = send_as(&server, &bound, ("POST", path), &json!({ "model": "other" }));
        forbidden.refused_about(404, "model_not_found", "model");
    }
}

#[test]
fn without_a_key_someone_is_anonymous_where_the_operator_says_so() {
    let served = Options::with_models(good).config("anonymous = \"served\"\n").start();
    complete_as(&served, "authorization: Bearer anything", "good").ok();
    let key = create(&served, &["--tenant", "acme"]);
    assert_eq!(complete_as(&served, "accept: */*", "good").ok()["dayfly"]["tenant"], "anonymous");
    assert_eq!(complete_as(&served, &bearer(&key), "good").ok()["dayfly"]["tenant"], "acme");
    for wrong in ["authorization: Bearer anything", "authorization: Basic x", "x-api-key:"] {
        assert_eq!(complete_as(&served, wrong, "good").status, 401, "{wrong}: a wrong key is no missing one");
    }
    let load = send_as(&served, "accept: */*", ("POST", "/models/load"), &json!({ "model": "good" }));
    load.refused(403, "invalid_request_error", "insufficient_scope");

    let refused = Options::with_models(good).config("anonymous = \"refused\"\n").start();
    assert_eq!(complete_as(&refused, "accept: */*", "good").status, 401);
    assert_eq!(refused.get("/livez").status, 200);
    let key = create(&refused, &["--tenant", "acme"]);
    complete_as(&refused, &bearer(&key), "good").ok();
}

#[test]
fn configured_and_stored_keys_stand_side_by_side() {
    use sha2::{Digest as _, Sha256};
    let hash: String = Sha256::digest("sk-admin").iter().map(|byte| format!("{byte:02x}")).collect();
    let config =
        format!("[[keys]]\ntenant = \"ops\"\nsha256 = \"{hash}\"\nscopes = [\"admin\"]\nmodels = [\"good\"]\n");
    let server = Options::with_models(both).config(&config).start();
    let configured = "authorization: Bearer sk-admin";
    let stored = bearer(&create(&server, &["--tenant", "acme"]));
    complete_as(&server, &stored, "other").ok();
    complete_as(&server, configured, "good").refused(403, "invalid_request_error", "insufficient_scope");
    send_as(&server, configured, ("POST", "/models/load"), &json!({ "model": "good" })).ok();
    send_as(&server, configured, ("POST", "/models/load"), &json!({ "model": "other" })).refused_about(
        404,
        "model_not_found",
        "model",
    );
    // A store that cannot be read lets nobody in by its keys, and by others still.
    std::fs::write(server.ledger().with_file_name("ledger.sqlite.keys"), "no store").unwrap();
    until("it is seen", SOON, || (complete_as(&server, &stored, "good").status == 503).then_some(()));
    complete_as(&server, &stored, "good").refused(503, "service_unavailable_error", "keys_unavailable");
    send_as(&server, configured, ("POST", "/models/load"), &json!({ "model": "good" })).ok();
}
