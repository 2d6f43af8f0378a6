//! The page, the stream that it lives on, and signing in for it.

use serde_json::{Value, json};

use crate::client::{Events, Response, request, until};
use crate::keys::{bearer, complete_as, create, key_command};
use crate::models::{good, quick, write};
use crate::server::{Options, SOON, Server};

/// What is told of at most.
const BUDGETS_MAX: usize = 256;
const MODELS_MAX: usize = 256;
const RECEIPTS_MAX: usize = 100;
/// Whoever one tenant has on the stream at most, and all together.
const FOLLOWERS_PER_TENANT_MAX: usize = 8;
const FOLLOWERS_MAX: usize = 32;
const SIGN_INS_PER_TENANT_MAX: usize = 16;

fn get(server: &Server, path: &str, headers: &[&str]) -> Response {
    server.send(&request("GET", path, headers, b""))
}

fn follow(server: &Server, headers: &[&str]) -> Events {
    let mut connection = server.connect();
    connection.send(request("GET", "/v1/live", headers, b""));
    connection.events()
}

/// The next event of this name, which comes with all others before it.
fn next(events: &mut Events, name: &str) -> Value {
    loop {
        let mut event = events.chunk();
        if event["event"] == name {
            return event["data"].take();
        }
    }
}

/// Signs in; the cookie as the browser sends it back.
fn sign_in(server: &Server, bearer: &str) -> String {
    let response = server.send(&request("POST", "/v1/sign-in", &[bearer, "origin: http://localhost"], b""));
    assert_eq!(response.status, 200, "{response}");
    let cookie = response.header("set-cookie").unwrap();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    format!("cookie: {}", cookie.split(';').next().unwrap())
}

#[test]
fn the_page_is_anybodys_and_runs_nothing_but_its_own() {
    let server = Server::serving(good);
    create(&server, &["--tenant", "acme"]);
    let page = server.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let text = page.text();
    let assets: Vec<&str> = text.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(
        assets.iter().any(|name| name.ends_with(".js")) && assets.iter().any(|name| name.ends_with(".css")),
        "{text}"
    );
    for path in assets.into_iter().chain(["/"]) {
        let file = server.get(path);
        assert_eq!((file.status, file.header("x-content-type-options")), (200, Some("nosniff")), "{path}");
        let policy = file.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        let is_asset = path != "/";
        assert_eq!(file.header("cache-control").unwrap().contains("immutable"), is_asset, "{path}");
        let tag = format!("if-none-match: {}", file.header("etag").unwrap());
        let again = get(&server, path, &[&tag]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(get(&server, path, &["if-none-match: \"other\""]).status, 200, "{path}");
        let packed = get(&server, path, &["accept-encoding: gzip, br"]);
        assert_eq!(
            (packed.header("content-encoding"), file.header("content-encoding")),
            (Some("gzip"), None),
            "{path}"
        );
        assert!(packed.body.len() < file.body.len() && packed.header("etag") != file.header("etag"), "{path}");
        assert!(packed.header("vary").unwrap().contains("accept-encoding"), "{path}");
        assert_eq!(get(&server, path, &["host: evil.example"]).status, 400, "two hosts: {path}");
    }
    for path in ["/assets/none.js", "/assets/..%2findex.html", "/assets/..%2f..%2fpackage.json"] {
        server.get(path).refused(404, "invalid_request_error", "not_found");
    }
    server.get("/assets").refused(401, "invalid_request_error", "invalid_api_key");
}

#[test]
fn the_stream_tells_everything_and_then_changes() {
    let server = Server::serving(good);
    let mut events = follow(&server, &[]);
    let hello = events.chunk();
    assert_eq!((&hello["event"], &hello["data"]["tenant"]), (&json!("hello"), &json!("anonymous")));
    assert_eq!(hello["data"]["scopes"], json!(["inference", "read", "admin"]));
    let pool = next(&mut events, "pool");
    assert_eq!(pool["data"][0]["status"]["value"], "unloaded", "{pool}");
    let receipts = next(&mut events, "receipts");
    assert_eq!((&receipts["first"], &receipts["data"]), (&json!(true), &json!([])));
    assert_eq!(next(&mut events, "tenants")["today"]["requests"], json!([]));
    assert_eq!(next(&mut events, "savings")["report"]["cold_starts"]["requests"], 0);
    let id = server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 2 })).ok()["id"].clone();
    let (mut loaded, mut told, mut summed) = (None, None, None);
    while loaded.is_none() || told.is_none() || summed.is_none() {
        let event = events.chunk();
        let data = &event["data"];
        match event["event"].as_str().unwrap() {
            "pool" if data["data"][0]["status"]["value"] == "loaded" => loaded = Some(data["data"][0].clone()),
            "receipts" => told = Some(data["data"][0].clone()),
            "tenants" if data["today"]["requests"] != json!([]) => summed = Some(data["today"]["requests"][0].clone()),
            _ => {}
        }
    }
    let (told, record) = (told.unwrap(), server.settled(id.as_str().unwrap()));
    assert_eq!((&told["id"], &told["cold"], &told["tenant"]), (&id, &json!(true), &json!("anonymous")));
    assert_eq!((&told["times"], &told["tokens"]), (&record["times"], &record["tokens"]));
    assert!(loaded.unwrap()["last_load_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(summed.unwrap()["requests"], 1);
    // Whoever comes later begins with what is so by then.
    let mut later = follow(&server, &[]);
    assert_eq!(next(&mut later, "receipts")["data"][0]["id"], id);
    get(&server, "/v1/live", &["origin: http://localhost:3000"]).refused(403, "invalid_request_error", "forbidden");
}

#[test]
fn a_tenant_follows_its_own_figures_and_who_administers_all() {
    let server = Options::with_models(good).config("[tenants.acme]\nbudgets = [\"1000 tokens/day\"]").start();
    let [acme, other, ops] = [["acme", "read"], ["other", "read"], ["ops", "admin"]].map(|[tenant, scope]| {
        bearer(&create(&server, &["--tenant", tenant, "--scope", scope, "--scope", "read", "--scope", "inference"]))
    });
    for header in [&acme, &other, &other] {
        assert_eq!(complete_as(&server, header, "good").status, 200);
    }
    server.settled_rows(3);
    for (header, own, tenants) in
        [(&acme, 1, vec!["acme"]), (&other, 2, vec!["other"]), (&ops, 3, vec!["acme", "other"])]
    {
        let mut events = follow(&server, &[header]);
        let text = until("the sums are there", SOON, || {
            let receipts = next(&mut events, "receipts");
            let sums = next(&mut events, "tenants");
            let savings = next(&mut events, "savings");
            assert_eq!(receipts["data"].as_array().unwrap().len(), own, "{receipts}");
            let counted =
                |of: &Value| of.as_array().unwrap().iter().map(|sum| sum["requests"].as_u64().unwrap()).sum::<u64>();
            assert_eq!(counted(&sums["today"]["requests"]), own as u64, "{sums}");
            assert_eq!(counted(&sums["days_30"]["requests"]), own as u64, "{sums}");
            // What others' use has a part in is for who administers.
            let [report, shared] = [&savings["report"], &savings["points"]["shared"]];
            assert_eq!((report.is_null(), shared.is_null()), (tenants.len() == 1, tenants.len() == 1), "{savings}");
            let expected = if tenants.contains(&"acme") { json!([["acme", 1000.0]]) } else { json!([]) };
            let budgets: Vec<Value> =
                sums["budgets"].as_array().unwrap().iter().map(|one| json!([one["tenant"], one["limit"]])).collect();
            assert_eq!(json!(budgets), expected);
            Some(format!("{receipts}{sums}{savings}"))
        });
        for name in ["acme", "other"] {
            assert_eq!(text.contains(&format!("\"{name}\"")), tenants.contains(&name), "{tenants:?}: {text}");
        }
    }
}

#[test]
fn followers_are_bounded_and_leave_their_places() {
    let server = Server::serving(good);
    let keys: Vec<String> = (0..=FOLLOWERS_MAX / FOLLOWERS_PER_TENANT_MAX)
        .map(|number| bearer(&create(&server, &["--tenant", &number.to_string()])))
        .collect();
    let mut followers = Vec::new();
    for key in &keys[1..] {
        for _ in 0..FOLLOWERS_PER_TENANT_MAX {
            let mut events = follow(&server, &[key]);
            events.chunk();
            followers.push(events);
        }
        if followers.len() < FOLLOWERS_MAX {
            let refused = get(&server, "/v1/live", &[key]);
            refused.refused(503, "service_unavailable_error", "server_is_overloaded");
        }
    }
    assert!(get(&server, "/v1/live", &[&keys[0]]).retry_after() > 0, "all places are taken");
    followers.pop();
    until("a place is free", SOON, || {
        let mut connection = server.connect();
        connection.send(request("GET", "/v1/live", &[&keys[0]], b""));
        let head = connection.try_head().unwrap();
        (head == 200).then_some(())
    });
}

#[test]
fn signing_in_stands_for_the_key_and_ends_with_it() {
    let server = Server::serving(good);
    let key = create(&server, &["--tenant", "acme", "--scope", "read", "--scope", "inference"]);
    let header = bearer(&key);
    let bad = server.send(&request("POST", "/v1/sign-in", &["authorization: Bearer sk-unknown"], b""));
    bad.refused(401, "invalid_request_error", "invalid_api_key");
    assert_eq!(bad.header("set-cookie"), None);
    let cookie = sign_in(&server, &header);
    assert!(!cookie.contains(key["key"].as_str().unwrap()));
    let mut events = follow(&server, &[&cookie]);
    let hello = next(&mut events, "hello");
    assert_eq!((&hello["tenant"], &hello["signed_in"]), (&json!("acme"), &json!(true)));
    assert_eq!(complete_as(&server, &cookie, "good").status, 403, "no page of this server asked");
    let ask = |headers: &[&str]| {
        let headers = [&["content-type: application/json"], headers].concat();
        server.send(&request(
            "POST",
            "/v1/completions",
            &headers,
            br#"{"model":"good","prompt":"hello","max_tokens":1}"#,
        ))
    };
    assert_eq!(ask(&[&cookie, "origin: http://localhost"]).ok()["dayfly"]["tenant"], "acme");
    assert_eq!(ask(&[&cookie, "origin: http://localhost:3000"]).status, 403);
    let load = request(
        "POST",
        "/models/load",
        &["content-type: application/json", &cookie, "origin: http://localhost"],
        br#"{"model":"good"}"#,
    );
    server.send(&load).refused(403, "invalid_request_error", "insufficient_scope");
    // Signed out, then in again, then without a key.
    let out = server.send(&request("DELETE", "/v1/sign-in", &[&cookie, "origin: http://localhost"], b""));
    assert_eq!((out.status, out.header("set-cookie").unwrap().contains("Max-Age=0")), (204, true));
    get(&server, "/v1/models", &[&cookie]).refused(401, "invalid_request_error", "invalid_api_key");
    let cookie = sign_in(&server, &header);
    assert_eq!(get(&server, "/v1/models", &[&cookie]).status, 200);
    let who = |cookie: &str| server.send(&request("GET", "/v1/sign-in", &[cookie], b"")).ok();
    assert_eq!(who(&cookie), json!({ "tenant": "acme", "scopes": ["inference", "read"], "signed_in": true }));
    assert!(key_command(&server, &["revoke", key["id"].as_str().unwrap()]).status.success());
    until("the key is revoked", SOON, || (get(&server, "/v1/models", &[&cookie]).status == 401).then_some(()));
    assert_eq!(who(&cookie), json!({ "tenant": null, "scopes": [], "signed_in": false }));
    assert!(!server.said().contains(cookie.split('=').nth(1).unwrap()), "the token is in the log");
}

#[test]
fn a_stream_ends_with_its_key_its_sign_in_and_the_time_without_keys() {
    let server = Server::serving(good);
    let mut anonymous = follow(&server, &[]);
    assert_eq!(next(&mut anonymous, "hello")["tenant"], "anonymous");
    let [key, other] = ["acme", "other"]
        .map(|tenant| create(&server, &["--tenant", tenant, "--scope", "read", "--scope", "inference"]));
    let header = bearer(&key);
    let cookie = sign_in(&server, &header);
    let [mut by_key, mut by_cookie] = [&header, &cookie].map(|shown| follow(&server, &[shown]));
    assert_eq!([&mut by_key, &mut by_cookie].map(|events| next(events, "hello")["tenant"].clone()), ["acme", "acme"]);
    assert_eq!(server.send(&request("DELETE", "/v1/sign-in", &[&cookie], b"")).status, 204);
    // What there is to tell is told to whoever may still hear it.
    assert_eq!(complete_as(&server, &header, "good").status, 200);
    anonymous.rest();
    by_cookie.rest();
    while next(&mut by_key, "receipts")["data"] == json!([]) {}
    assert!(key_command(&server, &["revoke", key["id"].as_str().unwrap()]).status.success());
    assert_eq!(complete_as(&server, &bearer(&other), "good").status, 200);
    by_key.rest();
}

#[test]
fn a_cookie_that_is_over_is_taken_away_and_shuts_nobody_out() {
    let server = Server::serving(good);
    let response = get(&server, "/v1/sign-in", &["cookie: dayfly_sign_in=of-another-server"]);
    assert!(response.header("set-cookie").unwrap().contains("Max-Age=0"), "{response}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let who = response.ok();
    assert_eq!((&who["tenant"], &who["signed_in"]), (&json!("anonymous"), &json!(false)));
    assert_eq!(get(&server, "/v1/sign-in", &[]).header("set-cookie"), None);
}

#[test]
fn a_tenants_oldest_sign_in_makes_way() {
    let server = Server::serving(good);
    let header = bearer(&create(&server, &["--tenant", "acme"]));
    let cookies: Vec<String> = (0..=SIGN_INS_PER_TENANT_MAX).map(|_| sign_in(&server, &header)).collect();
    assert_eq!(get(&server, "/v1/models", &[&cookies[0]]).status, 401);
    for cookie in &cookies[1..] {
        assert_eq!(get(&server, "/v1/models", &[cookie]).status, 200);
    }
}

#[test]
fn without_keys_there_is_nothing_to_sign_in_with() {
    let server = Server::serving(good);
    let response = server.send(&request("POST", "/v1/sign-in", &[], b""));
    response.refused(401, "invalid_request_error", "invalid_api_key");
}

#[test]
fn a_long_pool_is_told_in_part_and_what_is_in_memory_first() {
    let names: Vec<String> = (0..=MODELS_MAX).map(|number| format!("m{number:03}")).collect();
    let model = quick();
    let server = Server::serving(|folder| names.iter().for_each(|name| write(folder, name, &model)));
    let last = &names[MODELS_MAX];
    let mut events = follow(&server, &[]);
    let told = |pool: &Value| pool["data"].as_array().unwrap().iter().any(|model| model["id"] == *last);
    let pool = next(&mut events, "pool");
    assert_eq!((pool["data"].as_array().unwrap().len(), &pool["models_left_out"]), (MODELS_MAX, &json!(1)));
    assert!(!told(&pool));
    server.post("/models/load", &json!({ "model": last })).ok();
    while !told(&next(&mut events, "pool")) {}
    assert_eq!(server.pool()["data"].as_array().unwrap().len(), MODELS_MAX + 1, "whoever asks is told all");
}

#[test]
fn budgets_and_first_receipts_are_told_within_their_bounds() {
    const OF_TENANT_MAX: usize = 16;
    let budgets = vec!["\"1 J/day\""; OF_TENANT_MAX].join(", ");
    let tenants = 0..=BUDGETS_MAX / OF_TENANT_MAX;
    let config: String = tenants.map(|number| format!("[tenants.t{number}]\nbudgets = [{budgets}]\n")).collect();
    let server = Options::with_models(good).config(&config).start();
    for _ in 0..=RECEIPTS_MAX {
        server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 1 })).ok();
    }
    let mut events = follow(&server, &[]);
    assert_eq!(next(&mut events, "receipts")["data"].as_array().unwrap().len(), RECEIPTS_MAX);
    assert_eq!(next(&mut events, "tenants")["budgets"].as_array().unwrap().len(), BUDGETS_MAX);
    // The ledger has them for the next process.
    let server = server.restart();
    assert_eq!(next(&mut follow(&server, &[]), "receipts")["data"].as_array().unwrap().len(), RECEIPTS_MAX);
}
