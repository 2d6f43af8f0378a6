//! Files that change while they are served: rows 11 and 12.

use std::fs::{self, OpenOptions};

use loader::fixture::TinyModel;
use serde_json::{Value, json};

use crate::client::{text_of, until};
use crate::models::{endless, good, slow, write};
use crate::server::{SOON, Server};

#[test]
fn row_11_truncated_while_serving() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "cut", &slow());
        write(folder, "other", &slow());
    });
    let mut other = server.stream(&json!({
        "model": "other", "prompt": "hello", "max_tokens": 400, "ignore_eos": true
    }));
    let mut cut = server.stream(&endless("cut"));
    let id = cut.chunk()["id"].as_str().unwrap().to_owned();
    // Behind the header and half of the tensors: the pages of the others are gone.
    let path = server.models_dir().join("cut.gguf");
    let half = fs::metadata(&path).unwrap().len() / 2;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(half).unwrap();

    let mut rest = cut.rest();
    let last: Value = serde_json::from_str(&rest.pop().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "model_file_changed", "{last}");
    assert_eq!(last["error"]["type"], "server_error", "{last}");
    assert!(rest.iter().all(|data| data != "[DONE]" && !data.contains("\"error\"")));
    let record = server.settled(&id);
    assert_eq!(record["outcome"], "failed", "{record}");

    let again = json!({ "model": "cut", "prompt": "hello", "max_tokens": 1 });
    let response = server.complete(&again);
    response.refused(503, "service_unavailable_error", "model_quarantined");
    assert!(response.retry_after() >= 1);
    let chunks = other.finish();
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
    server.answers("good");
    server.settled_rows(3);

    // A whole file in its place is served at once.
    write(server.models_dir(), "cut", &slow());
    server.answers("cut");
}

#[test]
fn row_11_grown_or_rewritten_while_serving() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "grown", &slow());
    });
    let mut stream = server.stream(&endless("grown"));
    stream.chunk();
    let path = server.models_dir().join("grown.gguf");
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length + 4096).unwrap();
    let last: Value = serde_json::from_str(stream.rest().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "model_file_changed", "{last}");
    // Longer is no fault of its format: the next load takes the file as it is now.
    server.answers("grown");
    server.answers("good");
}

#[test]
fn row_12_replaced_by_rename_while_serving() {
    let (old, new) = (slow(), TinyModel { seed: 99, ..slow() });
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "swapped", &old);
        write(folder.parent().unwrap(), "next", &new);
        write(folder, "reference", &new);
    });
    let body = json!({
        "model": "swapped", "prompt": "hello", "max_tokens": 1500, "temperature": 0, "ignore_eos": true
    });
    let of_old = server.complete(&body).ok()["choices"][0]["text"].clone();

    let mut stream = server.stream(&body);
    let mut chunks = vec![stream.chunk()];
    let path = server.models_dir().join("swapped.gguf");
    fs::rename(server.models_dir().parent().unwrap().join("next.gguf"), &path).unwrap();
    assert_eq!(server.model("swapped")["leases"], 1, "replaced while it serves");
    chunks.extend(stream.finish());
    assert_eq!(json!(text_of(&chunks, 0)), of_old, "the old one serves on");

    server.post("/models/unload", &json!({ "model": "swapped" })).ok();
    server.wait_for_status("swapped", "unloaded");
    let mut of_reference = body.clone();
    of_reference["model"] = json!("reference");
    let expected = server.complete(&of_reference).ok()["choices"][0]["text"].clone();
    assert_ne!(expected, of_old);
    assert_eq!(server.complete(&body).ok()["choices"][0]["text"], expected, "the next load uses the new one");
    server.answers("good");
    server.settled_rows(5);
}

#[test]
fn a_descriptor_outlasts_the_server_and_a_spoilt_one_costs_nothing() {
    let server = Server::serving(good);
    let ask = json!({ "model": "good", "prompt": "hello", "max_tokens": 4, "temperature": 0 });
    let text = |server: &Server| server.complete(&ask).ok()["choices"][0]["text"].clone();
    let first = text(&server);
    // In the cache folder, as no other is said.
    let folder = server.home().join("cache/dayfly/descriptors");
    let kept = || -> Vec<std::path::PathBuf> {
        let files = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "tables")).collect()
    };
    let path = until("the descriptor is kept", SOON, || kept().pop());
    let mut spoilt = fs::read(&path).unwrap();
    let server = server.restart();
    assert_eq!(text(&server), first);
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 1;
    fs::write(&path, &spoilt).unwrap();
    let server = server.restart();
    assert_eq!(text(&server), first);
    until("the spoilt file is replaced", SOON, || (fs::read(&path).unwrap() != spoilt).then_some(()));
}
