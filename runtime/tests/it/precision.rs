//! What keys and values are kept as: by configuration, and what it changes.

use serde_json::{Value, json};

use crate::models::{FIRST_BYTE_ID, VOCABULARY, good, slow, write};
use crate::server::{Options, Server};

/// Of a page of `slow` in halves: 32 positions of 8 layers, a key and a value of 64 numbers in each.
const PAGE_BYTES: u64 = 32 * 8 * 2 * 64 * 2;

fn both(folder: &std::path::Path) {
    good(folder);
    write(folder, "slow", &slow());
}

fn serving(config: &str) -> Server {
    Options::with_models(both).config(config).start()
}

fn long(model: &str, tokens: u32) -> Value {
    let prompt: Vec<u32> = (0..tokens).map(|index| FIRST_BYTE_ID + (index * 7) % (VOCABULARY - 19)).collect();
    json!({ "model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0, "logprobs": 1, "ignore_eos": true })
}

/// Notes of an answer's receipt about keys and values.
fn notes(answer: &Value) -> Vec<String> {
    let notes = answer["dayfly"]["method"]["notes"].as_array().unwrap();
    let notes = notes.iter().filter_map(Value::as_str).filter(|note| note.starts_with("keys and values"));
    notes.map(str::to_owned).collect()
}

#[test]
fn bytes_take_seventeen_of_thirty_two_parts() {
    for (config, expected) in [("", PAGE_BYTES), ("[scheduler]\nkv_precision = \"q8_0\"\n", PAGE_BYTES * 17 / 32)] {
        let server = serving(config);
        server.complete(&long("slow", 100)).ok();
        let status = server.pool()["memory"]["prefix_cache"].clone();
        let (bytes, pages) = (status["bytes"].as_u64().unwrap(), status["pages"].as_u64().unwrap());
        assert_eq!((bytes, pages), (3 * expected, 3), "{config}");
    }
}

#[test]
fn a_budget_has_room_for_more() {
    // The weights, and what is not enough for 480 positions of halves.
    let room = |precision: &str| {
        let config = format!("[models.slow]\nkv_precision = \"{precision}\"\n");
        let weights = slow_bytes();
        let budget = weights + 480 * PAGE_BYTES / 32 * 3 / 4;
        Options::with_models(both).config(&config).flag("--memory-budget", &budget.to_string()).start()
    };
    room("f16").complete(&long("slow", 470)).refused(503, "service_unavailable_error", "model_too_large");
    let answer = room("q8_0").complete(&long("slow", 470)).ok();
    assert_eq!(answer["usage"]["prompt_tokens"], 470);
}

/// Length of the file of `slow`.
fn slow_bytes() -> u64 {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "slow", &slow());
    std::fs::metadata(folder.path().join("slow.gguf")).unwrap().len()
}

#[test]
fn a_model_can_have_its_own_and_says_so() {
    let server = serving("[scheduler]\nkv_precision = \"q8_0\"\n[models.slow]\nkv_precision = \"f16\"\n");
    assert_eq!(
        (&server.model("good")["kv_precision"], &server.model("slow")["kv_precision"]),
        (&json!("q8_0"), &json!("f16"))
    );
    let good = server.complete(&long("good", 40)).ok();
    assert_eq!(notes(&good), ["keys and values: kept as q8_0"]);
    assert_eq!(notes(&server.complete(&long("slow", 40)).ok()), ["keys and values: kept as f16"]);
    // In memory as well.
    assert_eq!(server.model("good")["kv_precision"], "q8_0");
}

#[test]
fn what_is_found_again_as_bytes_gives_the_same_answer() {
    let server = serving("[scheduler]\nkv_precision = \"q8_0\"\n");
    let first = server.complete(&long("slow", 100)).ok();
    let again = server.complete(&long("slow", 100)).ok();
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 96);
    assert_eq!(again["choices"], first["choices"], "to the last bit of each log-probability");
    // Alone and beside others.
    let mut streams: Vec<_> = (0..3).map(|_| server.stream(&crate::models::endless("slow"))).collect();
    streams.iter_mut().for_each(|stream| drop(stream.chunk()));
    assert_eq!(server.complete(&long("slow", 100)).ok()["choices"], first["choices"]);
}
