//! Requests that are wrong as bytes, and peers that are slow: rows 20, 21, 22, 25 and 44.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::client::{Connection, Response, post, request, until};
use crate::models::good;
use crate::server::{SOON, Server};

const BODY: &str = r#"{"model":"good","prompt":"hello","max_tokens":1}"#;
const JSON: &str = "content-type: application/json";
/// From a connection's start to the end of a head.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// From the end of a head to the end of the body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(20);

fn complete(server: &Server, headers: &[&str]) -> Response {
    server.send(&request("POST", "/v1/completions", headers, BODY.as_bytes()))
}

#[test]
fn row_20_content_types_and_codings() {
    let server = Server::serving(good);
    let wrong: &[&[&str]] = &[
        &[],
        &["content-type:"],
        &["content-type: text/plain"],
        &["content-type: application/x-www-form-urlencoded"],
        &["content-type: application/jsonp"],
        &["content-type: application/json; charset=latin-1"],
        &["content-type: multipart/form-data; boundary=x"],
        &[JSON, "content-encoding: gzip"],
        &[JSON, "content-encoding: identity"],
        &[JSON, "content-encoding: br, gzip"],
    ];
    for headers in wrong {
        let response = complete(&server, headers);
        assert_eq!(response.status, 415, "{headers:?}: {response}");
        response.refused(415, "invalid_request_error", "unsupported_media_type");
    }
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
    ] {
        complete(&server, &[&format!("content-type: {kind}")]).ok();
    }
    server.settled_rows(4);
}

#[test]
fn row_21_bodies_over_the_limit() {
    let server = Server::serving(good);
    let too_large = |response: &Response| {
        assert_eq!(response.status, 413, "{response}");
        response.refused(413, "invalid_request_error", "payload_too_large");
    };
    // Told in advance: refused without a byte of it.
    for length in ["16777217", "1000000000000", "9223372036854775807"] {
        let mut connection = server.connect();
        connection.send(request("POST", "/v1/completions", &[JSON, &format!("content-length: {length}")], b""));
        too_large(&connection.response());
    }
    // Not told: refused when it is too much, while it is still being sent.
    let mut connection = server.connect();
    connection.send(request("POST", "/v1/completions", &[JSON, "transfer-encoding: chunked"], b""));
    let chunk = [&b"10000\r\n"[..], &b" ".repeat(1 << 16), b"\r\n"].concat();
    let sent = (0..300).take_while(|_| connection.try_send(&chunk).is_ok()).count();
    match connection.try_response() {
        Ok(response) => too_large(&response),
        // The end of a connection whose peer still writes may overtake the answer.
        Err(error) => assert!(sent < 300, "all was taken, and then {error}"),
    }
    // As large as it may be.
    let mut padded = BODY.as_bytes().to_vec();
    padded.resize(16 << 20, b' ');
    server.post_bytes("/v1/completions", &padded).ok();
    server.answers("good");
    server.settled_rows(2);
}

#[test]
fn row_21_silence_and_slowness_end_by_deadline() {
    let server = Server::serving(good);
    let began = Instant::now();
    let patience = BODY_DEADLINE + SLACK;
    let mut silent = server.connect();
    let mut half_a_head = server.connect();
    half_a_head.send("POST /v1/completions HTTP/1.1\r\nhost: local");
    let mut idle = server.connect();
    assert_eq!(idle.ask(&request("GET", "/livez", &[], b"")).status, 200);
    let head = request("POST", "/v1/completions", &[JSON, "transfer-encoding: chunked"], b"");
    let mut endless = server.connect().patient(patience);
    endless.send(&head).send("2\r\n{\"\r\n");
    let mut short = server.connect().patient(patience);
    short.send(request("POST", "/v1/completions", &[JSON, "content-length: 1000"], b"")).send("{");

    for (what, connection) in [("silent", &mut silent), ("half a head", &mut half_a_head), ("idle", &mut idle)] {
        // Half a head may be told why (408) before the end.
        let is_ended = connection.is_closed_within(patience) || connection.is_closed_within(SOON);
        assert!(is_ended, "{what} is still open after {:?}", began.elapsed());
        let took = began.elapsed();
        assert!(took <= HEAD_DEADLINE + SLACK, "{what} took {took:?}");
    }
    for (what, connection) in [("a body without end", &mut endless), ("a short body", &mut short)] {
        let response = connection.response();
        assert_eq!(response.status, 408, "{what}: {response}");
        response.refused(408, "invalid_request_error", "request_timeout");
        assert!(connection.is_closed_within(SOON), "{what}: what may follow is no request");
        assert!(began.elapsed() <= BODY_DEADLINE + SLACK, "{what} took {:?}", began.elapsed());
    }
    assert!(began.elapsed() >= Duration::from_secs(10), "real deadlines passed");
    server.answers("good");
    server.settled_rows(1);
}

#[test]
fn row_21_a_byte_now_and_then_is_not_enough() {
    let server = Server::serving(good);
    let began = Instant::now();
    let mut connection = server.connect();
    let length = format!("content-length: {}", BODY.len());
    connection.send(request("POST", "/v1/completions", &[JSON, &length], b""));
    let mut dripping = connection.patient(Duration::from_secs(5));
    let mut bytes = BODY.as_bytes().iter();
    let answer = until("the body's deadline", BODY_DEADLINE + SLACK, || {
        // A byte for every time-out of the read, which is the pace.
        let byte = bytes.next().expect("the deadline comes before the last byte");
        match dripping.try_send([*byte]).and_then(|()| dripping.try_response()) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => None,
            answer => Some(answer),
        }
    });
    assert_eq!(answer.expect("an answer").status, 408);
    assert!(
        began.elapsed() >= BODY_DEADLINE.saturating_sub(Duration::from_secs(1)),
        "not before it: {:?}",
        began.elapsed()
    );
    server.answers("good");
}

#[test]
fn row_22_differing_lengths() {
    let server = Server::serving(good);
    let length = format!("content-length: {}", BODY.len());
    let wrong: &[&[&str]] = &[
        &[&length, "content-length: 5"],
        &["content-length: 5", &length],
        &["content-length: 5, 6"],
        &["content-length: -1"],
        &["content-length: +48"],
        &["content-length: 0x30"],
        &["content-length: 99999999999999999999"],
    ];
    for headers in wrong {
        let mut connection = server.connect();
        let head = request("POST", "/v1/completions", &[&[JSON], *headers].concat(), b"");
        connection.send(&head).try_send(BODY).unwrap_or_default();
        let response = connection.response();
        assert_eq!(response.status, 400, "{headers:?}: {response}");
        assert!(connection.is_closed_within(SOON), "{headers:?}");
    }
    server.answers("good");
    server.settled_rows(1);
}

#[test]
fn row_22_length_and_chunks_smuggle_nothing() {
    let server = Server::serving(good);
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let smuggled = request("GET", "/v1/models", &[], b"");
    for lengths in
        [&["content-length: 5", "transfer-encoding: chunked"], &["transfer-encoding: chunked", "content-length: 4"]]
    {
        let mut connection = server.connect();
        let head = request("POST", "/v1/completions", &[&[JSON], &lengths[..]].concat(), b"");
        connection.send([&head[..], chunked.as_bytes(), &smuggled].concat());
        let answer = connection.response();
        assert_eq!(answer.ok()["object"], "text_completion", "the body is what the chunks hold");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.is_closed_within(SOON), "nothing that follows is a request");
    }
    for coding in [
        "transfer-encoding: gzip",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: chunked\r\ntransfer-encoding: gzip",
    ] {
        let mut connection = server.connect();
        connection.send([&request("POST", "/v1/completions", &[JSON, coding], b"")[..], chunked.as_bytes()].concat());
        let answer = connection.response();
        assert!(matches!(answer.status, 400 | 501), "{coding}: {answer}");
        assert!(connection.is_closed_within(SOON), "{coding}");
    }
    server.settled_rows(2);
}

#[test]
fn row_22_too_many_headers_and_too_large_ones() {
    let server = Server::serving(good);
    let lines: Vec<String> = (0..101).map(|number| format!("x-{number}: y")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    // The harness adds Host.
    assert_eq!(server.send(&request("GET", "/livez", &lines[..99], b"")).status, 200, "100 lines");
    let refused = |request: &[u8]| {
        let mut connection = server.connect();
        // The end may come before all is sent.
        let _ = connection.try_send(request);
        let response = connection.response();
        assert_eq!(response.status, 431, "{response}");
        assert!(connection.is_closed_within(SOON));
    };
    refused(&request("GET", "/livez", &lines[..100], b""));
    refused(&request("GET", "/livez", &lines, b""));
    let long = format!("x-long: {}", "y".repeat(64 << 10));
    refused(&request("GET", "/livez", &[&long], b""));
    let name = format!("{}: y", "x".repeat(64 << 10));
    refused(&request("GET", "/livez", &[&name], b""));
    let many: Vec<String> = (0..64).map(|number| format!("x-{number}: {}", "y".repeat(1 << 10))).collect();
    refused(&request("GET", "/livez", &many.iter().map(String::as_str).collect::<Vec<_>>(), b""));
    let long = format!("x-long: {}", "y".repeat(16 << 10));
    assert_eq!(server.send(&request("GET", "/livez", &[&long], b"")).status, 200, "16 KiB are fine");
    server.answers("good");
}

#[test]
fn row_22_bytes_that_are_no_http() {
    let server = Server::serving(good);
    let bytes: &[&[u8]] = &[
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nname : value\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n folded: value\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n\0\0\0\0",
    ];
    for bytes in bytes {
        let mut connection = server.connect();
        connection.send(bytes);
        // Some are answered, some are not; none is taken for a request that is well.
        match connection.try_response() {
            Ok(response) => assert_eq!(response.status / 100, 4, "{bytes:?}: {response}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{bytes:?}: {error}"),
        }
    }
    server.answers("good");
    server.settled_rows(1);
}

#[test]
fn row_25_unknown_paths_and_wrong_methods() {
    let server = Server::serving(good);
    for path in [
        "/v1",
        "/v1/",
        "/v1/chat",
        "/v1/completions/x",
        "/v2/models",
        "/v1/%2Fmodels",
        "/V1/models",
        "/admin",
        "/%00",
        "/livez/x",
    ] {
        server.get(path).refused(404, "invalid_request_error", "not_found");
        server.post(path, &json!({})).refused(404, "invalid_request_error", "not_found");
    }
    let wrong = [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/completions", "POST"),
        ("DELETE", "/v1/models", "GET,HEAD"),
        ("POST", "/v1/models", "GET,HEAD"),
        ("POST", "/livez", "GET,HEAD"),
        ("POST", "/", "GET,HEAD"),
        ("GET", "/tokenize", "POST"),
        ("PATCH", "/detokenize", "POST"),
        ("POST", "/metrics", "GET,HEAD"),
        ("GET", "/models/unload", "POST"),
        ("DELETE", "/v1/usage/x", "GET,HEAD"),
        ("OPTIONS", "/v1/models", "GET,HEAD"),
        ("BREW", "/v1/models", "GET,HEAD"),
    ];
    for (method, path, allow) in wrong {
        let response = server.send(&request(method, path, &[], b""));
        assert_eq!(response.status, 405, "{method} {path}: {response}");
        response.refused(405, "invalid_request_error", "method_not_allowed");
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
    }
    server.answers("good");
}

#[test]
fn connections_are_kept_and_requests_may_follow_at_once() {
    let server = Server::serving(good);
    let mut connection = server.connect();
    for _ in 0..3 {
        connection.ask(&post("/v1/completions", &json!({ "model": "good", "prompt": "hello", "max_tokens": 1 }))).ok();
        connection.ask(&post("/v1/completions", &json!({ "model": "none", "prompt": "hello" })));
    }
    let two = [request("GET", "/livez", &[], b""), request("GET", "/v1/models", &[], b"")].concat();
    connection.send(two);
    assert_eq!(connection.response().text(), "ok\n");
    assert_eq!(connection.response().ok()["object"], "list");
}

#[test]
fn row_44_out_of_descriptors() {
    let server = Server::serving(good);
    server.answers("good");
    let mut open = server.connect();
    assert_eq!(open.ask(&request("GET", "/livez", &[], b"")).status, 200);
    let descriptors = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
    let used = fs::read_dir(&descriptors).unwrap().count() as u64;
    let few = Rlimit { current: Some(used + 4), maximum: Some(used + 4) };
    prlimit(Some(server.pid()), Resource::Nofile, few).unwrap();

    // The backlog takes them all; the server cannot.
    let mut crowd: Vec<Connection> = (0..40).map(|_| server.connect()).collect();
    until("it ran out", SOON, || server.said().contains("accept").then_some(()));
    assert_eq!(open.ask(&request("GET", "/livez", &[], b"")).status, 200, "who is in stays in");
    let served = crowd.iter_mut().take(2).map(|one| one.ask(&request("GET", "/livez", &[], b"")).status);
    assert!(served.eq([200, 200]), "those that found a descriptor are served");
    let warnings = server.said().matches("accept").count();
    assert!(warnings < 200, "it backs off: {warnings} attempts");

    drop(crowd);
    let began = Instant::now();
    assert_eq!(server.get("/livez").status, 200);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    server.answers("good");
    server.settled_rows(2);
}
