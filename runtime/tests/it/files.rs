//! Files that are no models, and names that are none: rows 1–7, 10, 13 and 15.
//!
//! A file that fails to load costs its own requests 503 `model_quarantined`, is remembered until it is replaced, and
//! costs no one else anything.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use loader::fixture::{FixtureTensor, FixtureValue, GgufWriter, TinyModel, tiny_model};
use loader::gguf::TensorType;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::models::{good, quick, write, write_file};
use crate::server::{Options, SOON, Server};

/// Memory that a hostile header may cost.
const COST_MAX_BYTES: u64 = 64 << 20;

fn ask(model: &str) -> Value {
    json!({ "model": model, "prompt": "hello", "max_tokens": 1 })
}

/// Each of these models fails to load as the table says, and the server goes on.
#[track_caller]
pub(crate) fn all_fail_to_load(server: &Server, names: &[String]) {
    assert!(!names.is_empty());
    for name in names {
        let began = Instant::now();
        let response = server.complete(&ask(name));
        assert!(began.elapsed() < SOON, "{name} took {:?}", began.elapsed());
        fails_to_load(name, &response);
        fails_to_load(name, &server.complete(&ask(name)));
        assert_eq!(server.status(name), "unloaded");
    }
    server.answers("good");
    server.settled_rows(1);
}

#[track_caller]
fn fails_to_load(name: &str, response: &crate::client::Response) {
    assert_eq!(response.status, 503, "{name}: {response}");
    let error = response.refused(503, "service_unavailable_error", "model_quarantined");
    assert_eq!(error["param"], "model", "{name}");
    assert!((1..=300).contains(&response.retry_after()), "{name}");
    let message = error["message"].as_str().unwrap();
    assert!(!message.contains("/tmp") && !message.contains(".gguf"), "a path is told: {message}");
}

/// Serves `good` and spoiled copies of it.
fn spoiled(variants: Vec<(&str, GgufWriter)>) {
    let names: Vec<String> = variants.iter().map(|(name, _)| (*name).to_owned()).collect();
    let server = Server::serving(|folder| {
        good(folder);
        for (name, writer) in &variants {
            write_file(folder, name, writer);
        }
    });
    all_fail_to_load(&server, &names);
    for name in &names {
        let series = format!("dayfly_model_loads_total{{model=\"{name}\",cause=\"failed\"}}");
        let loads = server.metric(&series);
        assert!((loads - 1.0).abs() < f64::EPSILON, "{name}: the second request looked inside again: {loads}");
    }
}

fn changed(change: impl FnOnce(&mut GgufWriter)) -> GgufWriter {
    let mut writer = tiny_model(&quick());
    change(&mut writer);
    writer
}

fn with_key(key: &str, value: FixtureValue) -> GgufWriter {
    changed(|writer| {
        writer.set(key, value);
    })
}

fn raw(type_id: u32, bytes: impl Into<Vec<u8>>) -> FixtureValue {
    FixtureValue::Raw { type_id, bytes: bytes.into() }
}

/// An array's head and what follows.
fn array(element_id: u32, count: u64, content: &[u8]) -> FixtureValue {
    raw(9, [&element_id.to_le_bytes()[..], &count.to_le_bytes(), content].concat())
}

fn unused_tensor(dims: &[u64], offset: Option<u64>) -> GgufWriter {
    changed(|writer| {
        let tensor = FixtureTensor::new("another", TensorType::F32, dims, vec![0; 64]);
        writer.push(FixtureTensor { offset, ..tensor });
    })
}

#[test]
fn row_01_bad_magic_and_version() {
    let short =
        [("empty", &b""[..]), ("three", b"GGU"), ("magic-alone", b"GGUF"), ("text", b"this is no model at all")];
    let mut names: Vec<String> = short.iter().map(|(name, _)| (*name).to_owned()).collect();
    let server = Server::serving(|folder| {
        good(folder);
        for (name, bytes) in short {
            fs::write(folder.join(format!("{name}.gguf")), bytes).unwrap();
        }
        for version in [0, 1, 4, 3_u32.swap_bytes()] {
            let name = format!("version-{version}");
            write_file(folder, &name, &changed(|writer| writer.version = version));
            names.push(name);
        }
        write_file(folder, "swapped", &changed(|writer| writer.magic = *b"FUGG"));
        write_file(folder, "other", &changed(|writer| writer.magic = *b"GGML"));
        names.extend(["swapped".to_owned(), "other".to_owned()]);
    });
    all_fail_to_load(&server, &names);
}

#[test]
fn row_02_bad_alignment() {
    let alignment = |value| with_key("general.alignment", value);
    spoiled(vec![
        ("zero", alignment(FixtureValue::U32(0))),
        ("three", alignment(FixtureValue::U32(3))),
        ("two-to-the-31", alignment(FixtureValue::U32(1 << 31))),
        ("wide", alignment(FixtureValue::U64(32))),
        ("text", alignment("32".into())),
        ("array", alignment(FixtureValue::I32s(vec![32]))),
    ]);
}

#[test]
fn row_03_counts_and_lengths_past_the_end() {
    let huge = (1_u64 << 63).to_le_bytes();
    spoiled(vec![
        ("tensors", changed(|writer| writer.tensor_count = Some(1 << 63))),
        ("keys", changed(|writer| writer.key_count = Some(1 << 63))),
        ("all-ones", changed(|writer| writer.tensor_count = Some(u64::MAX))),
        ("string", with_key("a", raw(8, huge))),
        ("string-past-the-end", with_key("a", raw(8, [&(1_u64 << 20).to_le_bytes()[..], b"x"].concat()))),
        ("array", with_key("a", array(4, 1 << 63, b""))),
        ("strings", with_key("a", array(8, 1, &huge))),
    ]);
}

#[test]
fn row_04_a_gibibyte_of_metadata_and_nested_arrays() {
    const GIB: u64 = 1 << 30;
    let nested: Vec<u8> =
        std::iter::repeat_n([&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat(), 10_000).flatten().collect();
    let names = ["bytes", "strings", "nested", "nested-deeper"].map(str::to_owned);
    let server = Server::serving(|folder| {
        good(folder);
        sparse(folder, "bytes", &array(0, GIB, b""), 2 * GIB);
        sparse(folder, "strings", &array(8, GIB / 8, b""), 2 * GIB);
        write_file(folder, "nested", &with_key("a", raw(9, nested.clone())));
        sparse(folder, "nested-deeper", &raw(9, nested.repeat(100)), GIB);
    });
    server.answers("good");
    let before = memory_bytes(&server, "VmRSS");
    for name in &names {
        fails_to_load(name, &server.complete(&ask(name)));
    }
    let peak = memory_bytes(&server, "VmHWM");
    let cost = peak.saturating_sub(before);
    assert!(cost <= COST_MAX_BYTES, "{cost} bytes more than before");
    server.answers("good");
    server.settled_rows(2);
}

/// A file whose only key holds `value`, continued with zeros that take no disk.
fn sparse(folder: &Path, name: &str, value: &FixtureValue, bytes: u64) {
    let mut writer = GgufWriter::new();
    writer.set("a", value.clone());
    let mut file = File::create(folder.join(format!("{name}.gguf"))).unwrap();
    file.write_all(&writer.header_bytes()).unwrap();
    file.set_len(bytes).unwrap();
}

fn memory_bytes(server: &Server, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn row_05_impossible_dimensions() {
    spoiled(vec![
        ("wraps", unused_tensor(&[1 << 32, 1 << 32], None)),
        ("wraps-to-16", unused_tensor(&[(1 << 62) + 4, 4], None)),
        ("zero", unused_tensor(&[0, 4], None)),
        ("five", unused_tensor(&[2, 2, 2, 2, 1], None)),
        ("none", unused_tensor(&[], None)),
        ("far-too-large", unused_tensor(&[u64::MAX], None)),
    ]);
}

#[test]
fn row_06_tensors_out_of_place_and_duplicates() {
    let double_key = changed(|writer| writer.keys.push(("general.name".to_owned(), "again".into())));
    let double_tensor = changed(|writer| {
        let again = writer.tensors[0].clone();
        writer.push(again);
    });
    spoiled(vec![
        ("past-the-end", unused_tensor(&[16], Some(1 << 40))),
        ("wraps", unused_tensor(&[16], Some(u64::MAX - 31))),
        ("overlapping", unused_tensor(&[16], Some(0))),
        (
            "unaligned",
            changed(|writer| {
                let tensor = FixtureTensor::new("another", TensorType::F32, &[15], vec![0; 64]);
                let end: usize = writer.tensors.iter().map(|tensor| tensor.data.len().next_multiple_of(32)).sum();
                writer.push(FixtureTensor { offset: Some(end as u64 + 4), ..tensor });
            }),
        ),
        ("double-key", double_key),
        ("double-tensor", double_tensor),
        (
            "cut",
            changed(|writer| {
                writer.tensors.last_mut().unwrap().data.clear();
            }),
        ),
    ]);
}

#[test]
fn row_07_impossible_shapes() {
    let number = |key: &str, value| with_key(key, FixtureValue::U32(value));
    spoiled(vec![
        ("no-heads", number("llama.attention.head_count", 0)),
        ("no-kv-heads", number("llama.attention.head_count_kv", 0)),
        ("kv-heads-do-not-divide", number("llama.attention.head_count_kv", 3)),
        ("blocks", number("llama.block_count", u32::MAX)),
        ("no-blocks", number("llama.block_count", 0)),
        ("one-block-more", number("llama.block_count", 3)),
        ("no-context", number("llama.context_length", 0)),
        ("wide", number("llama.embedding_length", u32::MAX)),
        ("heads-do-not-divide", number("llama.attention.head_count", 5)),
        (
            "short-vocabulary",
            with_key("tokenizer.ggml.tokens", FixtureValue::Strings(vec![b"a".to_vec(), b"b".to_vec()])),
        ),
        (
            "no-vocabulary",
            changed(|writer| {
                writer.remove("tokenizer.ggml.tokens");
            }),
        ),
        ("no-embedding", changed(|writer| writer.tensors.retain(|tensor| tensor.name != "token_embd.weight"))),
        ("architecture", with_key("general.architecture", "no such".into())),
    ]);
}

#[test]
fn a_file_that_failed_is_tried_again_when_it_was_replaced() {
    let server = Server::serving(|folder| {
        good(folder);
        write_file(folder, "mended", &changed(|writer| writer.version = 4));
    });
    fails_to_load("mended", &server.complete(&ask("mended")));
    write(server.models_dir(), "mended", &quick());
    server.answers("mended");
}

#[test]
fn tokenizing_by_a_file_that_is_no_model_is_refused_too() {
    let server = Server::serving(|folder| {
        good(folder);
        fs::write(folder.join("bad.gguf"), b"GGU").unwrap();
    });
    fails_to_load("bad", &server.post("/tokenize", &json!({ "model": "bad", "content": "a" })));
    fails_to_load("bad", &server.post("/detokenize", &json!({ "model": "bad", "tokens": [5] })));
    server.answers("good");
}

/// Models that are not files, or not in the folder.
fn odd_things(folder: &Path) -> Vec<String> {
    let outside = folder.parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    write(&outside, "elsewhere", &quick());
    mkfifoat(CWD, folder.join("fifo.gguf"), Mode::RUSR | Mode::WUSR).unwrap();
    fs::create_dir(folder.join("directory.gguf")).unwrap();
    symlink("/dev/zero", folder.join("zero.gguf")).unwrap();
    ["fifo", "directory", "zero"].map(str::to_owned).into()
}

#[test]
fn row_10_what_is_no_file_of_the_folder() {
    let mut names = Vec::new();
    let server = Server::serving(|folder| {
        good(folder);
        symlink("good.gguf", folder.join("inside.gguf")).unwrap();
        names = odd_things(folder);
        symlink("../outside/elsewhere.gguf", folder.join("link-out.gguf")).unwrap();
    });
    names.push("link-out".to_owned());
    all_fail_to_load(&server, &names);
    server.answers("inside");
}

#[test]
fn row_10_links_may_lead_out_where_a_setting_allows_it() {
    let mut names = Vec::new();
    let options = Options::with_models(|folder| {
        good(folder);
        names = odd_things(folder);
        symlink("../outside/elsewhere.gguf", folder.join("link-out.gguf")).unwrap();
    });
    let server = options.config("links = \"followed\"").start();
    all_fail_to_load(&server, &names);
    server.answers("link-out");
}

#[test]
fn row_10_links_to_nothing_and_in_circles() {
    let server = Server::serving(|folder| {
        good(folder);
        symlink("nowhere", folder.join("dangling.gguf")).unwrap();
        symlink("circle.gguf", folder.join("circle.gguf")).unwrap();
    });
    all_fail_to_load(&server, &["circle".to_owned(), "dangling".to_owned()]);
}

#[test]
fn row_13_deleted_then_asked_for_cold() {
    let server = Server::serving(|folder| {
        good(folder);
        write(folder, "gone", &TinyModel { seed: 2, ..quick() });
    });
    server.answers("gone");
    fs::remove_file(server.models_dir().join("gone.gguf")).unwrap();
    server.post("/models/unload", &json!({ "model": "gone:latest" })).ok();
    let response = crate::client::until("the model is gone", SOON, || {
        let response = server.complete(&ask("gone"));
        (response.status != 200).then_some(response)
    });
    response.refused_about(404, "model_not_found", "model");
    assert_eq!(server.get("/v1/models/gone").status, 404);
    server.answers("good");
}

#[test]
fn row_15_names_with_paths_in_them() {
    let server = Server::serving(|folder| {
        good(folder);
        fs::create_dir(folder.join("sub")).unwrap();
        write(&folder.join("sub"), "below", &quick());
        write(folder.parent().unwrap(), "above", &quick());
    });
    let absolute = server.models_dir().join("good").display().to_string();
    let names = [
        "../above",
        "../models/good",
        "./good",
        "sub/below",
        "sub/../good",
        "%2e%2e/above",
        "%2e/good",
        "..%2fabove",
        "good\0",
        "\0",
        "good.gguf",
        "/etc/passwd",
        "/dev/zero",
        &absolute,
        &format!("{absolute}.gguf"),
        "../nothing",
        "/nothing",
        " good",
        "good ",
        "GOOD",
        "file:good",
        "https://localhost/good.gguf",
        "..",
        ".",
        "~",
        "*",
        "g\u{307}ood",
    ];
    let shown = |name: &str, body: &str| body.replace(&json!(name).to_string().trim_matches('"').to_owned(), "NAME");
    let expected = shown("nothing", &server.complete(&ask("nothing")).text());
    for name in names {
        for path in ["/v1/completions", "/tokenize"] {
            let body = match path {
                "/tokenize" => json!({ "model": name, "content": "hello" }),
                _ => ask(name),
            };
            let response = server.post(path, &body);
            response.refused_about(404, "model_not_found", "model");
            assert_eq!(shown(name, &response.text()), expected, "{name:?} by {path}");
        }
    }
    for path in ["/v1/models/..%2fabove", "/v1/models/%2e%2e%2fmodels%2fgood", "/v1/models/good%00"] {
        server.get(path).refused_about(404, "model_not_found", "model");
    }
    // Folders are looked through, but a name is a file's stem wherever it lies.
    server.answers("below");
    server.answers("good");
}

#[test]
fn row_15_a_name_as_long_as_a_body() {
    let server = Server::serving(good);
    let began = Instant::now();
    let response = server.complete(&ask(&"a".repeat(1 << 20)));
    response.refused_about(404, "model_not_found", "model");
    assert!(response.body.len() < 4096 && began.elapsed() < Duration::from_secs(10));
    server.complete(&ask("")).refused_about(400, "invalid_value", "model");
}
