//! `dayfly run`: where a question comes from, and how it ends.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::commands::{dayfly, home, json_of, ran, stderr, stdout};
use crate::keys::create;
use crate::models::{good, slow, write};
use crate::server::Server;

/// Runs the command with this on its standard input.
fn fed(command: &mut Command, text: &[u8]) -> std::process::Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who refuses before it has read does not read.
    let _ = child.stdin.take().unwrap().write_all(text);
    child.wait_with_output().unwrap()
}

#[test]
fn a_question_is_piped_in_with_a_dash_or_without_one() {
    let server = Server::serving(good);
    let url = format!("http://{}", server.address());
    let asked = |dash: &[&str], text: &[u8]| {
        let mut command = dayfly(server.home());
        command.args(["run", "good", "--server", &url, "--max-tokens", "2", "--json"]).args(dash);
        fed(&mut command, text)
    };
    for dash in [&["-"][..], &[]] {
        let told = json_of(&asked(dash, b"hello\n"));
        assert!(told["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{told}");
        let empty = asked(dash, b" \n");
        assert_eq!(empty.status.code(), Some(2));
        assert!(stderr(&empty).contains("stdin has no question"), "{}", stderr(&empty));
    }
    let no_text = asked(&[], b"\xff\xfe");
    assert_eq!(no_text.status.code(), Some(1), "{}", stderr(&no_text));
    server.settled_rows(2);
}

#[test]
fn what_a_server_refuses_is_told_apart_by_the_exit_status() {
    let server = Server::serving(good);
    let url = format!("http://{}", server.address());
    let asked = |flags: &[&str], key: Option<&str>| {
        let mut command = dayfly(server.home());
        command.args(["run", "good", "hello", "--server", &url]).args(flags);
        command.envs(key.map(|key| ("DAYFLY_API_KEY", key)));
        command.output().unwrap()
    };
    let wrong = asked(&["--temperature", "-1"], None);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("temperature"), "{}", stderr(&wrong));
    let key = create(&server, &["--tenant", "acme", "--scope", "read"]);
    let reader = key["key"].as_str();
    assert!(reader.is_some(), "{key}");
    for (key, word) in [(None, "DAYFLY_API_KEY"), (Some("wrong"), "DAYFLY_API_KEY"), (reader, "inference")] {
        let told = asked(&[], key);
        assert_eq!(told.status.code(), Some(5), "{}", stderr(&told));
        assert!(stderr(&told).contains(word) && !stderr(&told).contains("wrong"), "{}", stderr(&told));
    }
}

#[test]
fn a_signal_settles_what_was_asked_and_is_told_by_the_exit_status() {
    let home = home();
    write(&home.path().join("models"), "slow", &slow());
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut command = dayfly(home.path());
        command.args(["run", "slow", "on and on", "--complete", "--temperature", "0", "--max-tokens", "400"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        answers(&mut child);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{}", stderr(&ended));
        assert!(ended.stderr.is_empty(), "there is nothing to say: {}", stderr(&ended));
        let verified = json_of(&ran(home.path(), ["ledger", "verify", "--json"]));
        assert_eq!(verified["found"]["open_requests"], 0, "{verified}");
    }
    let rows = stdout(&ran(home.path(), ["export", "--format", "csv"]));
    assert_eq!(rows.matches(",cancelled,").count(), 2, "{rows}");
}

/// Waits for the first of an answer.
fn answers(child: &mut Child) {
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
}

#[test]
fn what_is_not_there_yet_is_told_in_words() {
    let home = home();
    for line in [&["usage"][..], &["savings"], &["export", "--format", "csv"], &["ledger", "verify"]] {
        let told = ran(home.path(), line);
        assert_eq!((told.status.code(), stdout(&told)), (Some(1), String::new()), "{line:?}");
        assert!(stderr(&told).contains("there is no ledger "), "{line:?}: {}", stderr(&told));
    }
    let pulled = ran(home.path(), ["pull", "smolm2"]);
    assert_eq!(pulled.status.code(), Some(2));
    assert!(stderr(&pulled).contains("did you mean smollm2?"), "{}", stderr(&pulled));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let help = dayfly(home.path()).arg("--help").stdout(full).output().unwrap();
    assert_eq!(help.status.code(), Some(1), "help that nobody can read is no success");
    assert!(stderr(&help).contains("stdout cannot be written"), "{}", stderr(&help));
}
