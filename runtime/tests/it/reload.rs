//! The configuration file, changed beside a running server.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{request, until};
use crate::models::{endless, good, slow, write};
use crate::server::{Options, SOON, Server};

fn reloads(server: &Server, result: &str) -> f64 {
    server.metric(&format!("dayfly_config_reloads_total{{result=\"{result}\"}}"))
}

#[track_caller]
fn wait_for_reloads(server: &Server, result: &str, count: f64) {
    until(&format!("{count} {result}"), SOON, || (reloads(server, result) >= count).then_some(()));
}

/// Waits until the log has a line with all of this: it is read by a thread of the test's.
#[track_caller]
fn wait_for_line(server: &Server, parts: &[&str]) {
    until(&format!("a line with {parts:?}"), SOON, || {
        assert_eq!(server.get("/livez").status, 200);
        server.said().lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    });
}

fn complete(server: &Server) -> Value {
    server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 2, "ignore_eos": true })).ok()
}

#[test]
fn a_file_that_is_put_in_place_is_read_and_requests_go_on() {
    let server = Options::with_models(|folder| {
        good(folder);
        write(folder, "slow", &slow());
    });
    let server = server.config("[rates]\ncompletion_token = 1.0\n").start();
    let cost = |answer: &Value| answer["dayfly"]["cost"]["parts"].to_string();
    let before = complete(&server);
    assert!(before["dayfly"]["cost"]["rate_card"] == "configuration", "{before}");
    let mut stream = server.stream(&endless("slow"));
    stream.chunk();

    let changed = "completion_token = 3.0\nname = \"dearer\"\n[tenants.anonymous]\nmodels = [\"goo*\"]\n\
                   tokens_per_minute = 1000000\n";
    // The key stands in the table that the file ends in.
    let text = std::fs::read_to_string(server.home().join("dayfly.toml")).unwrap();
    std::fs::write(server.home().join("next"), text.replace("completion_token = 1.0", changed)).unwrap();
    std::fs::rename(server.home().join("next"), server.home().join("dayfly.toml")).unwrap();
    wait_for_reloads(&server, "applied", 1.0);
    let after = complete(&server);
    assert_eq!(after["dayfly"]["cost"]["rate_card"], "dearer", "{after}");
    assert_ne!(cost(&before), cost(&after));
    // A model that the tenant may not use any more is not there for the next request, and is for the one that runs.
    server.complete(&json!({ "model": "slow", "prompt": "x" })).refused_about(404, "model_not_found", "model");
    stream.chunk();
    drop(stream);
    assert_eq!(server.metric("dayfly_config_last_reload_successful"), 1.0);
    wait_for_line(&server, &["rates.completion_token: 1.0 -> 3.0"]);
    wait_for_line(&server, &["tenants.anonymous.models: nothing -> [\"goo*\"]"]);
}

#[test]
fn a_file_that_is_not_valid_changes_nothing_and_is_told_of_once() {
    let server = Server::serving(good);
    complete(&server);
    server.configure("[tenants.anonymous]\nmodels = [\"none\"]\nmodles = 1\n");
    wait_for_reloads(&server, "invalid", 1.0);
    assert_eq!(server.metric("dayfly_config_last_reload_successful"), 0.0);
    complete(&server);
    // Valid in itself, and not with what else there is: nothing of it counts.
    server.configure("keep_alive = \"1h\"\n[tenants.anonymous]\nmodels = [\"none\"]\nbudgets = [\"1 EUR/day\"]\n");
    wait_for_reloads(&server, "invalid", 2.0);
    complete(&server);
    wait_for_line(&server, &["the configuration was not changed", "EUR"]);
    let told = || server.said().matches("the configuration was not changed").count();
    assert_eq!(told(), 2, "{}", server.said());
    server.configure("[tenants.anonymous]\nmodels = [\"none\"]\n");
    wait_for_reloads(&server, "applied", 1.0);
    assert_eq!(server.metric("dayfly_config_last_reload_successful"), 1.0);
    server.complete(&json!({ "model": "good", "prompt": "x" })).refused_about(404, "model_not_found", "model");
    assert_eq!((told(), reloads(&server, "invalid")), (2, 2.0), "each of them was read once");
}

#[test]
fn a_hangup_reads_at_once_and_what_needs_a_restart_is_named_and_left() {
    let server = Options::with_models(good).config("[pool]\npinned_percent_max = 80\n").start();
    server.signal(Signal::HUP);
    wait_for_reloads(&server, "unchanged", 1.0);
    let text = std::fs::read_to_string(server.home().join("dayfly.toml")).unwrap();
    let text = text.replace("= 80", "= 70\nload_wait_max = \"9s\"").replace("threads = 1", "threads = 2");
    std::fs::write(server.home().join("dayfly.toml"), format!("keep_alive = \"7m\"\n{text}")).unwrap();
    server.signal(Signal::HUP);
    wait_for_reloads(&server, "applied", 1.0);
    for key in ["pool.pinned_percent_max", "pool.load_wait_max", "threads"] {
        wait_for_line(&server, &["from the next start on", key]);
    }
    wait_for_line(&server, &["keep_alive: nothing -> \"7m\""]);
    // The model that is brought in now stays for as long.
    complete(&server);
    let kept = server.get("/api/ps").ok();
    let expires = chrono::DateTime::parse_from_rfc3339(kept["models"][0]["expires_at"].as_str().unwrap()).unwrap();
    let minutes = (expires.to_utc() - chrono::Utc::now()).num_seconds();
    assert!((390..=421).contains(&minutes), "{minutes} s of 7 minutes: {kept}");
}

#[test]
fn keys_change_without_their_hashes_in_the_log() {
    let server = Server::serving(good);
    complete(&server);
    // printf %s secret | sha256sum
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let shows = |header: &str| server.send(&request("GET", "/v1/models", &[header], b"")).status;
    server.configure(&format!("[[keys]]\ntenant = \"acme\"\nsha256 = \"{hash}\"\n"));
    until("a key is asked for", SOON, || (shows("accept: */*") == 401).then_some(()));
    assert_eq!(shows("authorization: Bearer secret"), 200);
    server.configure("");
    until("it is not any more", SOON, || (shows("accept: */*") == 200).then_some(()));
    wait_for_line(&server, &["keys: changed"]);
    let said = server.said();
    assert!(said.contains("keys: changed") && !said.contains(&hash[..16]), "{said}");
}

#[test]
fn what_is_logged_changes() {
    let server = Server::serving(good);
    let lines = || {
        assert_eq!(server.get("/livez").status, 200);
        server.said().matches("route=\"/v1/completions\"").count()
    };
    complete(&server);
    until("its line", SOON, || (lines() == 1).then_some(()));
    server.configure("log = \"warn\"\n");
    wait_for_reloads(&server, "applied", 1.0);
    complete(&server);
    server.configure("log = \"info\"\n");
    wait_for_reloads(&server, "applied", 2.0);
    complete(&server);
    until("a line", SOON, || (lines() > 1).then_some(()));
    assert_eq!(lines(), 2, "one of three was not wanted:\n{}", server.said());
}

#[test]
fn a_file_that_is_gone_opens_no_door() {
    // In the user's configuration folder, where nobody has to have one.
    const AT_ITS_USUAL_PLACE: &str = r#"mkdir -p "$XDG_CONFIG_HOME/dayfly"; mv "$7" "$XDG_CONFIG_HOME/dayfly/config.toml"
        binary=$1; shift 7; exec "$binary" serve --no-pull --listen 127.0.0.1:0 "$@""#;

    // printf %s secret | sha256sum
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let keys = format!("[[keys]]\ntenant = \"acme\"\nsha256 = \"{hash}\"\nscopes = [\"read\", \"admin\"]\n");
    let options = Options::with_models(good).config(&keys);
    let server = options.launched_by(&["sh", "-c", AT_ITS_USUAL_PLACE, "sh"]).start();
    let key = "authorization: Bearer secret";
    let asked = |path: &str, header: &str| server.send(&request("GET", path, &[header], b""));
    assert_eq!(asked("/v1/models", "accept: */*").status, 401);
    let file = server.home().join("config/dayfly/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    server.signal(Signal::HUP);
    let invalid = "dayfly_config_reloads_total{result=\"invalid\"} 1";
    until("it is missed", SOON, || asked("/metrics", key).text().contains(invalid).then_some(()));
    assert_eq!(asked("/v1/models", "accept: */*").status, 401, "whoever has no key stays outside");
    std::fs::write(&file, format!("keep_alive = \"7m\"\n{text}")).unwrap();
    let applied = "dayfly_config_reloads_total{result=\"applied\"} 1";
    until("another is read", SOON, || asked("/metrics", key).text().contains(applied).then_some(()));
    assert!(server.said().contains("it is gone; what it said goes on"), "{}", server.said());
}
