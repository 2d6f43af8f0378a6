//! Models of several files: split GGUF and folders of safetensors, whole, broken and changing. Rows 6, 8, 9, 10 and 11.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::Path;

use loader::fixture::{FolderWriter, TinyModel, Weights, tiny_model, write_shards};
use loader::gguf::TensorType;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::files::all_fail_to_load;
use crate::models::{endless, good, quick, slow};
use crate::server::Server;

fn split(folder: &Path, name: &str, shape: &TinyModel) {
    write_shards(&tiny_model(shape).split(3), folder, name).unwrap();
}

fn safetensors(folder: &Path, name: &str, shape: &TinyModel) {
    let mut writer = FolderWriter::of(&mut tiny_model(shape), TensorType::BF16);
    writer.shards = 2;
    writer.write_to(&folder.join(name)).unwrap();
}

fn both(folder: &Path, suffix: &str, shape: &TinyModel) {
    split(folder, &format!("split-{suffix}"), shape);
    safetensors(folder, &format!("folder-{suffix}"), shape);
}

#[test]
fn models_of_several_files_are_served_by_one_name() {
    let server = Server::serving(|folder| {
        good(folder);
        both(folder, "a", &quick());
    });
    let listed = server.get("/v1/models").json();
    let mut names: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["folder-a", "good", "split-a"]);
    for name in names {
        server.answers(name);
    }
    let bytes = |paths: &[&str]| -> u64 {
        paths.iter().map(|path| fs::metadata(server.models_dir().join(path)).unwrap().len()).sum()
    };
    let weights = bytes(&["folder-a/model-00001-of-00002.safetensors", "folder-a/model-00002-of-00002.safetensors"]);
    let shards = bytes(&["split-a-00001-of-00003.gguf", "split-a-00002-of-00003.gguf", "split-a-00003-of-00003.gguf"]);
    let states = server.get("/models").json();
    for (name, bytes) in [("folder-a", weights), ("split-a", shards)] {
        let state = states["data"].as_array().unwrap().iter().find(|one| one["id"] == name).unwrap();
        assert_eq!((&state["size_bytes"], &state["weights_bytes"]), (&json!(bytes), &json!(bytes)), "{state}");
    }
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let body = json!({ "model": "folder-a", "messages": messages, "max_tokens": 2, "ignore_eos": true });
    assert_eq!(server.post("/v1/chat/completions", &body).status, 200, "a folder's template and tokens serve a chat");
}

#[test]
fn rows_6_9_and_10_a_part_that_is_broken_missing_or_no_file() {
    let names = ["no-shard", "odd-shard", "no-part", "no-tokenizer", "bad-header", "bad-key", "fifo", "link-out"];
    let server = Server::serving(|folder| {
        good(folder);
        let outside = folder.parent().unwrap().join("outside");
        safetensors(&outside, "m", &quick());
        split(folder, "no-shard", &quick());
        fs::remove_file(folder.join("no-shard-00002-of-00003.gguf")).unwrap();
        split(folder, "odd-shard", &quick());
        fs::copy(folder.join("odd-shard-00002-of-00003.gguf"), folder.join("odd-shard-00003-of-00003.gguf")).unwrap();
        for name in &names[2..] {
            safetensors(folder, name, &quick());
        }
        let within = |path: &str| folder.join(path);
        fs::remove_file(within("no-part/model-00002-of-00002.safetensors")).unwrap();
        fs::remove_file(within("no-tokenizer/tokenizer.json")).unwrap();
        fs::write(within("bad-header/model-00001-of-00002.safetensors"), [0xff; 64]).unwrap();
        fs::write(within("bad-key/config.json"), r#"{"architectures": ["LlamaForCausalLM"], "mystery": 1}"#).unwrap();
        fs::remove_file(within("fifo/generation_config.json")).unwrap();
        mkfifoat(CWD, within("fifo/generation_config.json"), Mode::RUSR | Mode::WUSR).unwrap();
        fs::remove_file(within("link-out/config.json")).unwrap();
        symlink("../../outside/m/config.json", within("link-out/config.json")).unwrap();
    });
    all_fail_to_load(&server, &names.map(str::to_owned));
    // What was missing comes: no replacement of what was there is needed.
    write_shards(&tiny_model(&quick()).split(3), server.models_dir(), "no-shard").unwrap();
    server.answers("no-shard");
}

#[test]
fn row_8_infinities_in_a_folder() {
    let server = Server::serving(|folder| {
        good(folder);
        both(folder, "nan", &TinyModel { weights: Weights::Nan, ..quick() });
    });
    for name in ["split-nan", "folder-nan"] {
        let response = server.complete(&json!({ "model": name, "prompt": "hello", "max_tokens": 1 }));
        response.refused(500, "server_error", "non_finite_logits");
    }
    server.answers("good");
}

#[test]
fn row_11_any_file_with_weights_truncated_while_serving() {
    let server = Server::serving(|folder| {
        good(folder);
        both(folder, "cut", &slow());
    });
    for (name, file) in
        [("split-cut", "split-cut-00003-of-00003.gguf"), ("folder-cut", "folder-cut/model-00002-of-00002.safetensors")]
    {
        let mut cut = server.stream(&endless(name));
        cut.chunk();
        OpenOptions::new().write(true).open(server.models_dir().join(file)).unwrap().set_len(4096).unwrap();
        let last: Value = serde_json::from_str(&cut.rest().pop().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "model_file_changed", "{last}");
        let again = server.complete(&json!({ "model": name, "prompt": "hello", "max_tokens": 1 }));
        again.refused(503, "service_unavailable_error", "model_quarantined");
    }
    server.answers("good");
}
