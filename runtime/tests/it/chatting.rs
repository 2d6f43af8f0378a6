//! `dayfly chat` from a pipe, and what is left of it.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::commands::{dayfly, stderr, stdout};
use crate::models::good;
use crate::server::Server;

/// Types `lines` at a conversation with `model`.
fn chat(server: &Server, flags: &[&str], lines: &str) -> Output {
    let url = format!("http://{}", server.address());
    let mut child = dayfly(server.home())
        .args(["chat", "good", "--temperature", "0", "--max-tokens", "3", "--server", &url])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_conversation_from_a_pipe_has_answers_receipts_and_commands() {
    let server = Server::serving(good);
    let lines = "hello\n\"\"\"one\ntwo\"\"\"\n/set max_tokens 2\nthree\\\nfour\n/clear\nhello\n/bye\nnever asked\n";
    let told = chat(&server, &["--json"], lines);
    assert!(told.status.success(), "{}", stderr(&told));
    let answers: Vec<Value> = stdout(&told).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 4, "{}", stdout(&told));
    let tokens = |index: usize, name: &str| answers[index]["usage"][name].as_u64().unwrap();
    let prompts: Vec<u64> = (0..4).map(|index| tokens(index, "prompt_tokens")).collect();
    assert!(prompts[0] < prompts[1] && prompts[1] < prompts[2], "each message is behind those before: {prompts:?}");
    assert_eq!(prompts[3], prompts[0], "what was cleared is gone");
    assert!(tokens(0, "completion_tokens") <= 3 && tokens(2, "completion_tokens") <= 2);
    server.settled_rows(4);
}

#[test]
fn every_answer_has_a_receipt_unless_nobody_wants_it() {
    let server = Server::serving(good);
    let receipts = |output: &Output| stderr(output).lines().filter(|line| line.contains(" tokens/s, ")).count();
    let told = chat(&server, &[], "hello\n/hlep\n/receipt\n/set temprature 1\n/show\nagain\n");
    assert!(told.status.success(), "{}", stderr(&told));
    let said = stderr(&told);
    assert_eq!(receipts(&told), 2, "{said}");
    assert!(said.contains(" J ") && (said.contains("cold, ") || said.contains("warm, ")), "{said}");
    for word in [
        "did you mean /help?",
        "did you mean temperature?",
        "until now: 1 answers",
        "messages: 2",
        "top_p: 0.95, as nothing is set",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours where no terminal is: {said}");
    assert_eq!(receipts(&chat(&server, &["--quiet"], "hello\n")), 0);
    assert!(!server.home().join(".local/state/dayfly/chat_history").exists(), "pipes leave no history");
}

#[test]
fn a_refusal_ends_its_question_and_not_the_conversation() {
    let server = Server::serving(good);
    let told = chat(&server, &["--quiet", "--json"], "/set top_p 7\nhello\n/set top_p none\nhello\n");
    assert!(told.status.success(), "{}", stderr(&told));
    assert!(stderr(&told).contains("top_p"), "{}", stderr(&told));
    assert_eq!(stdout(&told).lines().count(), 1);
    let unknown = chat(&server, &["--system", "x"], "");
    assert!(unknown.status.success() && stdout(&unknown).is_empty(), "an empty pipe asks nothing");
}
