//! The end of a server that nobody uses, the socket that outlives it, and what a service manager hears.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::client::{Connection, post, request, until};
use crate::models::{endless, good, slow, write};
use crate::server::{Options, SOON, Server};

/// More than any server here is unused before it ends.
const LONGER: Duration = Duration::from_millis(2500);

fn both(folder: &Path) {
    good(folder);
    write(folder, "slow", &slow());
}

fn ephemeral() -> Options {
    Options::with_models(both).flag("--exit-when-idle", "1s")
}

/// Looks at the server for longer than it would be there without a use.
fn probe_for_long(server: &Server) {
    let began = Instant::now();
    until("a while passes", SOON, || {
        for path in ["/livez", "/metrics"] {
            assert_eq!(server.get(path).status, 200, "{path}");
        }
        (began.elapsed() > LONGER).then_some(())
    });
}

#[test]
fn a_server_that_nobody_uses_ends_with_everything_settled() {
    let mut server = ephemeral().start();
    server.answers("good");
    // Whoever only looks is no use: neither a probe nor an open connection that asked something before.
    let mut kept = server.connect();
    assert_eq!(kept.ask(&request("GET", "/livez", &[], b"")).status, 200);
    assert_eq!(server.exit(SOON).code(), Some(0), "{}", server.said());
    assert!(kept.is_closed_within(SOON));
    server.settled_rows(1);
    let verified = ledger::Reader::open(&server.ledger()).unwrap().verify().unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

#[test]
fn probes_alone_keep_no_server() {
    let mut server = ephemeral().start();
    until("it has gone", SOON, || {
        let mut connection = Connection::try_open(server.address()).ok();
        let asked = connection.as_mut().map(|connection| connection.try_send(request("GET", "/readyz", &[], b"")));
        let answered = connection.is_some_and(|mut connection| connection.try_response().is_ok());
        (!answered || !matches!(asked, Some(Ok(())))).then_some(())
    });
    assert_eq!(server.exit(SOON).code(), Some(0), "{}", server.said());
}

#[test]
fn what_goes_on_and_what_is_pinned_keeps_it() {
    let mut server = ephemeral().start();
    let mut stream = server.stream(&endless("slow"));
    stream.chunk();
    probe_for_long(&server);
    stream.chunk();
    server.post("/models/pin", &json!({ "model": "good" })).ok();
    drop(stream);
    probe_for_long(&server);
    assert_eq!(server.status("good"), "loaded");
    server.post("/models/unpin", &json!({ "model": "good" })).ok();
    assert_eq!(server.exit(SOON).code(), Some(0), "{}", server.said());
    server.settled_rows(1);
}

#[test]
fn whoever_connects_meanwhile_is_served_by_the_next_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = ephemeral().passing(listener).start();
    assert_eq!(server.address(), address, "it listens on what was passed, whatever is configured");
    server.answers("good");
    assert_eq!(server.exit(SOON).code(), Some(0), "{}", server.said());

    let body = json!({ "model": "good", "prompt": "hello", "max_tokens": 2 });
    let mut waiting = Connection::open(address);
    waiting.send(post("/v1/completions", &body));
    let mut server = server.restart();
    assert_eq!(waiting.response().ok()["usage"]["prompt_tokens"], 1);
    assert_eq!(server.exit(SOON).code(), Some(0), "{}", server.said());
    server.settled_rows(2);
}

#[test]
fn what_cannot_be_listened_on_is_refused() {
    for (pass, reason) in [
        ("LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"", "2 sockets were passed"),
        ("exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "no TCP socket"),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", pass, "sh", env!("CARGO_BIN_EXE_dayfly"), "serve"]).env_clear().env("HOME", "/nonexistent");
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(reason), "{told}");
    }
}

#[test]
fn a_service_manager_hears_of_start_reload_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let hear = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(wanted) {
                return text;
            }
        }
    };
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let launcher = ["env", socket.as_str(), "WATCHDOG_USEC=200000"];
    let mut server = Options::with_models(good).launched_by(&launcher).start();
    let ready = hear("READY=1");
    assert!(ready.contains(&format!("STATUS=listening on http://{}", server.address())), "{ready}");
    hear("WATCHDOG=1");
    server.signal(Signal::HUP);
    let reloading = hear("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    hear("READY=1");
    server.signal(Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(server.exit(SOON).code(), Some(0), "{}", server.said());
}
