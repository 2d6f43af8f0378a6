//! Rows 4 and 9 of the table of faults: what the costliest headers cost. Alone in its process, because it reads its
//! memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use loader::limits::{
    CONFIG_BYTES_MAX, HEADER_BYTES_MAX, SAFETENSORS_HEADER_BYTES_MAX, STRINGS_MAX, TENSORS_MAX,
    TOKENIZER_CONFIG_BYTES_MAX,
};
use loader::{Artifact, OpenError};

const COST_MAX_BYTES: u64 = 64 << 20;
const GIB: u64 = 1 << 30;

/// Peak resident memory since `reset_peak`, or the current one.
fn memory_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// A sparse file of 2 GiB that begins with `header` and goes on with zeros.
fn sparse(folder: &Path, header: &[u8]) -> std::path::PathBuf {
    let path = folder.join("hostile.gguf");
    let mut file = File::create(&path).unwrap();
    file.write_all(header).unwrap();
    file.set_len(2 * GIB).unwrap();
    path
}

fn head(tensors: u64, keys: u64) -> Vec<u8> {
    [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
}

/// A key and the head of an array of `count` elements.
fn array(name: &str, element_id: u32, count: u64) -> Vec<u8> {
    let name_bytes = name.len() as u64;
    let length = name_bytes.to_le_bytes();
    [&length[..], name.as_bytes(), &9_u32.to_le_bytes(), &element_id.to_le_bytes(), &count.to_le_bytes()].concat()
}

fn open(path: &Path) -> (Result<Artifact, OpenError>, u64) {
    reset_peak();
    let before = memory_bytes("VmRSS");
    let started = Instant::now();
    let opened = Artifact::open(path);
    assert!(started.elapsed() < Duration::from_secs(5), "opening took {:?}", started.elapsed());
    (opened, memory_bytes("VmHWM").saturating_sub(before))
}

#[test]
fn the_costliest_headers_cost_less_than_64_mib() {
    row_4_gguf();
    row_9_safetensors();
}

fn row_4_gguf() {
    let folder = tempfile::tempdir().unwrap();
    let refused = [
        ("bytes", [head(0, 1), array("a", 0, GIB)].concat()),
        ("numbers", [head(0, 1), array("a", 10, GIB / 8)].concat()),
        ("empty strings", [head(0, 1), array("a", 8, GIB / 8)].concat()),
        ("just too many strings", [head(0, 1), array("a", 8, STRINGS_MAX + 1)].concat()),
        ("just too many bytes", [head(0, 1), array("a", 0, HEADER_BYTES_MAX)].concat()),
        ("tensors without names", head(TENSORS_MAX, 0)),
    ];
    for (what, header) in refused {
        let (opened, cost) = open(&sparse(folder.path(), &header));
        assert!(opened.as_ref().is_err_and(OpenError::is_load_fail), "{what}: {opened:?}");
        assert!(cost <= COST_MAX_BYTES, "{what}: {cost} bytes");
    }

    // As many strings, tensors and bytes as are accepted, then a tensor that is not.
    let strings = [array("a", 8, STRINGS_MAX), vec![0; 8 * usize::try_from(STRINGS_MAX).unwrap()]].concat();
    let tensors: Vec<u8> = (0..TENSORS_MAX)
        .flat_map(|number| {
            let name = format!("{number:05}");
            let ty_and_offset = [&24_u32.to_le_bytes()[..], &(number * 32).to_le_bytes()].concat();
            [&5_u64.to_le_bytes()[..], name.as_bytes(), &1_u32.to_le_bytes(), &1_u64.to_le_bytes(), &ty_and_offset]
                .concat()
        })
        .collect();
    let filled = head(0, 0).len() + strings.len() + tensors.len() + array("b", 0, 0).len();
    let rest = HEADER_BYTES_MAX - filled as u64;
    let bytes = [array("b", 0, rest), vec![1; usize::try_from(rest).unwrap()]].concat();
    let whole = [head(TENSORS_MAX, 2), strings, bytes, tensors].concat();
    assert_eq!(whole.len() as u64, HEADER_BYTES_MAX);
    let path = sparse(folder.path(), &whole);
    drop(whole);
    let (opened, cost) = open(&path);
    assert_eq!(opened.unwrap().header().tensor_count() as u64, TENSORS_MAX);
    println!("the largest accepted header costs {} MiB", cost >> 20);
    assert!(cost <= COST_MAX_BYTES, "the largest accepted header: {cost} bytes");
}

fn row_9_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let whole = |header: &str, data: usize| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    };
    let filled = |pattern: &str, bytes: u64| {
        let pattern = format!("{pattern},");
        let count = usize::try_from(bytes).unwrap() / pattern.len() - 4;
        pattern.repeat(count) + pattern.trim_end_matches(',')
    };
    let check = |what: &str, at_fault: &str| {
        let (opened, cost) = open(folder.path());
        match &opened {
            Err(OpenError::InvalidFolder { path, .. }) => assert!(path.ends_with(at_fault), "{what}: {opened:?}"),
            _ => panic!("{what}: {opened:?}"),
        }
        println!("{what}: {} MiB", cost >> 20);
        assert!(cost <= COST_MAX_BYTES, "{what}: {cost} bytes");
    };
    write("config.json", b"{}");
    write("tokenizer.json", b"{}");
    let all = SAFETENSORS_HEADER_BYTES_MAX;
    for (what, header, at_fault) in [
        ("a shape", format!(r#"{{"a":{{"dtype":"F32","shape":[{}]"#, filled("1", all)), "model.safetensors"),
        ("nested", "[".repeat(usize::try_from(all).unwrap()), "model.safetensors"),
        // Allowed, and nothing of it is kept.
        ("remarks", format!(r#"{{"__metadata__":{{{}}}}}"#, filled(r#""":"""#, all - 32)), "config.json"),
    ] {
        write("model.safetensors", &whole(&header, 0));
        check(what, at_fault);
    }
    // As many tensors as are accepted, in two shards with their index; then a configuration that is not.
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let name = |number: u64| format!("{number:05}{}", "n".repeat(60));
    let mut weight_map = Vec::new();
    for (shard, numbers) in [(1, 0..TENSORS_MAX / 2), (2, TENSORS_MAX / 2..TENSORS_MAX)] {
        let file = format!("model-0000{shard}-of-00002.safetensors");
        let one = |(place, number): (u64, u64)| {
            format!(r#""{}":{{"dtype":"I8","shape":[1],"data_offsets":[{place},{}]}}"#, name(number), place + 1)
        };
        let tensors: Vec<String> = (0..).zip(numbers.clone()).map(one).collect();
        write(&file, &whole(&format!("{{{}}}", tensors.join(",")), tensors.len()));
        weight_map.extend(numbers.map(|number| format!(r#""{}":"{file}""#, name(number))));
    }
    write("model.safetensors.index.json", format!(r#"{{"weight_map":{{{}}}}}"#, weight_map.join(",")).as_bytes());
    drop(weight_map);
    check("the largest accepted headers", "config.json");
    write("config.json", format!("{{\"a\":[{}]}}", filled(r#"{"":0}"#, CONFIG_BYTES_MAX - 8)).as_bytes());
    check("maps in the configuration", "config.json");
    let valid = r#"{"architectures":["LlamaForCausalLM"],"hidden_act":"silu","num_hidden_layers":1,"hidden_size":1,
        "num_attention_heads":1,"max_position_embeddings":1,"intermediate_size":1,"rms_norm_eps":1,"vocab_size":1}"#;
    write("config.json", valid.as_bytes());
    let numbers = format!("{{\"bos_token\":[{}]}}", filled("0", TOKENIZER_CONFIG_BYTES_MAX - 32));
    write("tokenizer_config.json", numbers.as_bytes());
    check("numbers for a token", "tokenizer_config.json");
}
