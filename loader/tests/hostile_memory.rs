//! Row 4 of the table of faults: what the costliest headers cost. Alone in its process, because it reads its memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use loader::limits::{HEADER_BYTES_MAX, STRINGS_MAX, TENSORS_MAX};
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
fn row_4_the_costliest_headers_cost_less_than_64_mib() {
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
