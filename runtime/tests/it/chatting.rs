//! `dayfly chat` from a pipe, and what is left of it.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::commands::{dayfly, stderr, stdout};
use crate::models::{good, slow, write};
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
        "until now: 1 answer,",
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
    assert_eq!(told.status.code(), Some(1), "who sent a file is told by the exit status");
    assert!(stderr(&told).contains("top_p"), "{}", stderr(&told));
    assert!(stderr(&told).ends_with("dayfly: 1 question not answered\n"), "{}", stderr(&told));
    assert_eq!(stdout(&told).lines().count(), 1);
    let unknown = chat(&server, &["--system", "x"], "");
    assert!(unknown.status.success() && stdout(&unknown).is_empty(), "an empty pipe asks nothing");
}

#[test]
fn a_conversation_goes_on_from_a_file_and_with_another_model() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "other", &slow());
    });
    let file = server.home().join("talk.json");
    let lines = |text: &str| text.replace("FILE", file.to_str().unwrap());
    let told = chat(&server, &["--json"], &lines("hello\n/model othr\n/model other\nagain\n/save FILE\n/save\n"));
    assert!(told.status.success(), "{}", stderr(&told));
    let answers: Vec<Value> = stdout(&told).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let models: Vec<&str> = answers.iter().map(|answer| answer["dayfly"]["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["good", "other"]);
    for word in ["did you mean other?", "4 messages saved", "it is used so: /save FILE"] {
        assert!(stderr(&told).contains(word), "{word}: {}", stderr(&told));
    }
    let loaded = chat(&server, &["--json"], &lines("/load FILE\nand again\n/load FILE.not\n"));
    assert!(loaded.status.success(), "{}", stderr(&loaded));
    let answer: Value = serde_json::from_str(stdout(&loaded).trim()).unwrap();
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens(&answer) > tokens(&answers[1]), "what was said before is behind it");
    for word in ["4 messages, had with other", "cannot be read"] {
        assert!(stderr(&loaded).contains(word), "{word}: {}", stderr(&loaded));
    }
}
