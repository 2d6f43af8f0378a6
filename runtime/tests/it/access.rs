//! Who may speak: rows 26 and 28.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::client::{Response, request};
use crate::models::good;
use crate::server::{Options, Server};

const BODY: &str = r#"{"model":"good","prompt":"hello","max_tokens":1}"#;

fn with_keys() -> Server {
    let mut toml = String::new();
    for (tenant, key) in [("acme", "sk-acme"), ("acme", "sk-acme-2"), ("other", "sk-other")] {
        let hash: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        toml.push_str(&format!("[[keys]]\ntenant = \"{tenant}\"\nsha256 = \"{hash}\"\n"));
    }
    Options::with_models(good).config(&toml).start()
}

fn get(server: &Server, path: &str, headers: &[&str]) -> Response {
    server.send(&request("GET", path, headers, b""))
}

fn complete(server: &Server, headers: &[&str]) -> Response {
    let headers = [&["content-type: application/json"], headers].concat();
    server.send(&request("POST", "/v1/completions", &headers, BODY.as_bytes()))
}

#[test]
fn row_26_wrong_keys_are_all_alike() {
    let server = with_keys();
    let wrong: &[&[&str]] = &[
        &[],
        &["authorization: Bearer sk-unknown"],
        &["authorization: Bearer "],
        &["authorization: Bearer"],
        &["authorization:"],
        &["authorization: Basic c2stYWNtZTo="],
        &["authorization: sk-acme"],
        &["authorization: Bearer sk-acme sk-acme"],
        &["authorization: Bearer sk-acm"],
        &["authorization: Bearer sk-acme2"],
        &["authorization: Bearer SK-ACME"],
        &["authorization: Bearer \u{ff}\u{fe}"],
        &["x-api-key: sk-unknown"],
        &["x-api-key:"],
        &["cookie: key=sk-acme"],
    ];
    let expected = complete(&server, &[]);
    let error = expected.refused(401, "invalid_request_error", "invalid_api_key");
    assert!(error["param"].is_null());
    let names = |response: &Response| response.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for headers in wrong {
        let response = complete(&server, headers);
        assert_eq!((response.status, response.text()), (401, expected.text()), "{headers:?}");
        assert_eq!(names(&response), names(&expected), "{headers:?}");
    }
    for path in [
        "/v1/models",
        "/v1/models/good",
        "/models",
        "/metrics",
        "/v1/usage/cmpl-1",
        "/nothing",
        "/v1/live",
        "/v1/completions",
    ] {
        assert_eq!(get(&server, path, &[]).text(), expected.text(), "{path} is behind the keys");
    }
    let body = request("POST", "/models/unload", &["content-type: application/json"], br#"{"model":"good"}"#);
    assert_eq!(server.send(&body).status, 401);
    server.settled_rows(0);
}

#[test]
fn row_26_probes_are_open() {
    let server = with_keys();
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(&server, path, &[]).status, 200, "{path}");
        assert_eq!(get(&server, path, &["authorization: Bearer sk-unknown"]).status, 200, "{path}");
    }
}

#[test]
fn row_26_keys_are_tenants() {
    let server = with_keys();
    let keys = [
        ("authorization: Bearer sk-acme", "acme"),
        ("authorization: bearer sk-acme", "acme"),
        ("Authorization: BEARER  sk-acme-2", "acme"),
        ("x-api-key: sk-other", "other"),
        ("X-Api-Key: sk-acme", "acme"),
    ];
    let mut ids = Vec::new();
    for (header, tenant) in keys {
        let answer = complete(&server, &[header]).ok();
        assert_eq!(answer["dayfly"]["tenant"], tenant, "{header}");
        ids.push((answer["id"].as_str().unwrap().to_owned(), tenant));
    }
    // A tenant sees its own receipts; those of others are as good as none.
    for (id, tenant) in &ids {
        let path = format!("/v1/usage/{id}");
        for (key, asking) in [("sk-acme", "acme"), ("sk-acme-2", "acme"), ("sk-other", "other")] {
            let response = get(&server, &path, &[&format!("authorization: Bearer {key}")]);
            let expected = if asking == *tenant { 200 } else { 404 };
            assert_eq!(response.status, expected, "{asking} asks for {tenant}'s");
            if expected == 404 {
                let none = get(&server, "/v1/usage/cmpl-none", &[&format!("authorization: Bearer {key}")]);
                assert_eq!(response.text(), none.text());
            }
        }
    }
    let rows = server.settled_rows(5);
    let acme = rows.iter().filter(|row| row.tenant == "acme").count();
    assert_eq!(acme, 4);
}

#[test]
fn without_keys_everyone_on_the_loopback_is_anonymous() {
    let server = Server::serving(good);
    for header in ["authorization: Bearer whatever", "x-api-key: whatever", "authorization: Basic x", "accept: */*"] {
        assert_eq!(complete(&server, &[header]).ok()["dayfly"]["tenant"], "anonymous", "{header}");
    }
}

#[test]
fn strangers_need_keys() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["serve", "--listen", "0.0.0.0:0", "--ledger"])
        .arg(folder.path().join("ledger.sqlite"))
        .env_clear()
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("keys"), "{said}");
}

/// With a Host of its own instead of the harness' one.
fn with_host(host_lines: &str, more: &[&str]) -> Vec<u8> {
    let mut head = format!("GET /v1/models HTTP/1.1\r\n{host_lines}");
    for line in more {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

#[test]
fn row_28_foreign_hosts() {
    let server = Server::serving(good);
    let port = server.address().port();
    for host in [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "evil@localhost:1",
    ] {
        let response = server.send(&with_host(&format!("host: {host}\r\n"), &[]));
        assert!(matches!(response.status, 400 | 403), "{host}: {response}");
        if !host.contains('@') {
            response.refused(403, "invalid_request_error", "forbidden");
        }
    }
    for hosts in ["", "host: localhost\r\nhost: localhost\r\n", "host:\r\n"] {
        let response = server.send(&with_host(hosts, &[]));
        assert!(matches!(response.status, 400 | 403), "{hosts:?}: {response}");
    }
    let absolute = b"GET http://evil.example/v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    server.send(absolute).refused(403, "invalid_request_error", "forbidden");
    for host in ["localhost", "LocalHost", "127.0.0.1", "127.0.0.2", "[::1]"].map(str::to_owned) {
        for host in [format!("{host}:{port}"), host] {
            assert_eq!(server.send(&with_host(&format!("host: {host}\r\n"), &[])).status, 200, "{host}");
        }
    }
}

#[test]
fn row_28_foreign_origins_and_preflights() {
    let server = Server::serving(good);
    let port = server.address().port();
    let no_cors = |response: &Response| {
        assert!(
            response.headers.iter().all(|(name, _)| !name.starts_with("access-control-")),
            "{:?}",
            response.headers
        );
    };
    for origin in ["https://evil.example", "http://localhost:1", "null", "http://localhost.evil.example", "file://", ""]
    {
        for response in [
            complete(&server, &[&format!("origin: {origin}")]),
            get(&server, "/v1/models", &[&format!("origin: {origin}")]),
        ] {
            response.refused(403, "invalid_request_error", "forbidden");
            no_cors(&response);
        }
        let preflight = [&format!("origin: {origin}")[..], "access-control-request-method: POST"];
        let response = server.send(&request("OPTIONS", "/v1/completions", &preflight, b""));
        response.refused(403, "invalid_request_error", "forbidden");
        no_cors(&response);
    }
    let host = format!("host: localhost:{port}\r\n");
    let own = server.send(&with_host(&host, &[&format!("origin: http://localhost:{port}")]));
    assert_eq!(own.status, 200, "its own pages");
    no_cors(&own);
    server.settled_rows(0);
}

#[test]
fn row_28_configured_hosts_and_origins() {
    let options = Options::with_models(good);
    let server = options.config("hosts = [\"models.example\"]\norigins = [\"https://app.example\"]").start();
    for host in ["models.example", "Models.Example:8787", "localhost"] {
        assert_eq!(server.send(&with_host(&format!("host: {host}\r\n"), &[])).status, 200, "{host}");
    }
    assert_eq!(server.send(&with_host("host: other.example\r\n", &[])).status, 403);

    let answer = complete(&server, &["origin: https://app.example"]);
    answer.ok();
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let foreign = complete(&server, &["origin: https://evil.example"]);
    foreign.refused(403, "invalid_request_error", "forbidden");
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    assert_eq!(server.settled_rows(1)[0].tenant, json!("anonymous"));
}

#[test]
fn row_28_preflights_of_configured_origins() {
    let options = Options::with_models(good);
    let server = options.config("origins = [\"http://localhost:*\", \"chrome-extension://*\"]").start();
    let asks = |origin: &str, path: &str| {
        let origin = format!("origin: {origin}");
        let names = "access-control-request-headers: authorization, content-type, x-stainless-lang";
        let headers = [&origin[..], "access-control-request-method: POST", names];
        server.send(&request("OPTIONS", path, &headers, b""))
    };
    for path in ["/v1/completions", "/api/chat", "/openapi.json", "/health", "/nothing"] {
        let answer = asks("http://localhost:3000", path);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}: {answer}");
        for (name, value) in [
            ("access-control-allow-origin", "http://localhost:3000"),
            ("access-control-allow-methods", "GET, POST, DELETE"),
            ("access-control-allow-headers", "authorization, content-type, x-stainless-lang"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {name}");
        }
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            None,
            "a sign-in is of this server's pages alone"
        );
    }
    assert_eq!(asks("chrome-extension://abc", "/v1/models").status, 204);
    for origin in ["http://localhost", "http://localhost.evil.example:80", "https://localhost:3000", "null"] {
        asks(origin, "/v1/models").refused(403, "invalid_request_error", "forbidden");
    }
    for path in ["/openapi.json", "/health", "/v1/models", "/nothing"] {
        let answer = get(&server, path, &["origin: http://localhost:3000"]);
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"), "{path}: {answer}");
    }
    let probe = get(&server, "/health", &["origin: https://evil.example"]);
    assert_eq!((probe.status, probe.header("access-control-allow-origin")), (200, None));
    server.settled_rows(0);
}

#[test]
fn other_methods_are_told_which_there_are() {
    let server = Server::serving(good);
    for (path, allowed) in [("/v1/models", "GET,HEAD"), ("/v1/completions", "POST"), ("/v1/contexts", "GET,HEAD,POST")]
    {
        for method in ["OPTIONS", "PUT", "PATCH", "TRACE", "DELETE"] {
            let answer = server.send(&request(method, path, &[], b""));
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
        }
    }
}
