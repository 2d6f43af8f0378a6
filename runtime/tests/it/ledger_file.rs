//! The ledger's file: when it cannot be written (row 41), and whether it is as it was written.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::models::good;
use crate::server::{Options, Server};

fn verify(ledger: &Path, flags: &[&str]) -> Output {
    let home = ledger.parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["ledger", "verify", "--ledger"])
        .arg(ledger)
        .args(flags)
        .env_clear()
        .env("HOME", home)
        .output()
        .unwrap()
}

fn found(ledger: &Path) -> Value {
    serde_json::from_slice(&verify(ledger, &["--json"]).stdout).unwrap()
}

/// A file that may not grow any more refuses writes as a full disk does.
#[test]
fn row_41_a_ledger_that_cannot_be_written_stops_all_output_until_it_can() {
    // 512-byte blocks; without the trap the first write beyond them would end the process.
    let limited = "trap '' XFSZ; ulimit -f 1200; exec \"$@\"";
    let options = Options::with_models(good).launched_by(&["sh", "-c", limited, "sh"]);
    let server = options.start();
    let mut answered = 0;
    let body = json!({ "model": "good", "prompt": "hello", "max_tokens": 2, "temperature": 0 });
    let refusal = loop {
        let response = server.complete(&body);
        if response.status != 200 {
            break response;
        }
        answered += 1;
        assert!(answered < 1000, "the ledger did not become full");
    };
    refusal.refused(503, "service_unavailable_error", "ledger_unavailable");
    assert!(answered > 0);
    // Streams, too, and again and again; nothing of an answer is in any of them.
    for _ in 0..3 {
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        let refused = server.complete(&streamed);
        refused.refused(503, "service_unavailable_error", "ledger_unavailable");
        assert!(!refused.text().contains("choices"), "{}", refused.text());
    }
    assert_eq!(server.get("/livez").status, 200, "the process lives");

    // With room, everything that was answered is there, and it goes on.
    let server = server.into_options().launched_by(&[]).start();
    server.answers("good");
    let reader = ledger::Reader::open(&server.ledger()).unwrap();
    let completed = reader.tenant_totals().unwrap()[0].completed;
    assert!((answered + 1..=answered + 2).contains(&completed), "{completed} completed of {answered} answered");
    assert_eq!(found(&server.ledger())["sound"], true);
}

/// What the disk says of it is no matter: its caller is told that nothing can be recorded now, and may try again.
#[test]
fn row_41_a_disk_that_is_full_read_only_or_broken_is_one_and_the_same() {
    use rusqlite::ffi;
    let failed = |code| ledger::LedgerError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    for code in
        [ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_READONLY, ffi::SQLITE_CANTOPEN]
    {
        let error = failed(code);
        assert!(matches!(error, ledger::LedgerError::Unavailable { .. }) && error.is_retryable(), "{code}: {error:?}");
    }
    for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
        assert!(!failed(code).is_retryable(), "{code}: what is damaged is not tried again");
    }
}

#[test]
fn a_ledger_is_verified_beside_its_server_and_a_change_is_told() {
    let server = Server::serving(good);
    server.answers("good");
    server.settled_rows(1);
    let told = verify(&server.ledger(), &[]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&told.stderr));
    assert!(text.contains("settlements") && text.contains("head: link "), "{text}");
    let before = found(&server.ledger());
    assert_eq!(before["found"]["rows"]["settlements"], 1, "{before}");
    assert_eq!(before["found"]["head_digest"].as_str().unwrap().len(), 64);

    // A copy, in which somebody has used less energy.
    let copy = server.home().join("copy.sqlite");
    let connection = rusqlite::Connection::open(server.ledger()).unwrap();
    connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    assert_eq!(verify(&copy, &[]).status.code(), Some(0));
    let connection = rusqlite::Connection::open(&copy).unwrap();
    connection
        .execute_batch("DROP TRIGGER settlements_refuse_UPDATE; UPDATE settlements SET energy_nj = energy_nj / 2")
        .unwrap();
    drop(connection);
    let told = verify(&copy, &[]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(text.contains("wrong: ") && text.contains("in settlements"), "{text}");
    assert_eq!(found(&copy)["sound"], false);
    assert_eq!(verify(&server.home().join("none.sqlite"), &[]).status.code(), Some(1));
}
