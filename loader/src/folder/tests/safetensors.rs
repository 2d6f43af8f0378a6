//! Headers of safetensors files, hostile and mutated.

use std::fs;

use super::super::safetensors::{Stored, parse};
use super::{llama, refused_for, written};
use crate::fixture::{Random, safetensors as file_of};
use crate::limits::SAFETENSORS_HEADER_BYTES_MAX;

/// A safetensors file of one header, whatever it says, with `data` zeros behind.
fn raw(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn row_9_hostile_headers_are_refused_at_once() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let length = |bytes: u64| bytes.to_le_bytes().to_vec();
    let long = vec![b' '; usize::try_from(SAFETENSORS_HEADER_BYTES_MAX).unwrap() + 1];
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![0; 3], "has 3 bytes"),
        (length(0), "JSON"),
        (length(1), "does not fit"),
        (length(u64::MAX), "does not fit"),
        ([length(100_000_001), vec![b' '; 64]].concat(), "does not fit"),
        ([length(long.len() as u64), long].concat(), "does not fit"),
        (raw("[]", 0), "tensors by name"),
        ([length(1), vec![0xff]].concat(), "not UTF-8"),
        (raw(r#"{"__metadata__":{"format":1}}"#, 0), "JSON"),
        (raw("{}", 1), "belong to no tensor"),
        (raw(&"[".repeat(10_000), 0), "tensors by name"),
        (raw(&format!("{{\"a\":{}", "[".repeat(10_000)), 0), "JSON"),
        (raw(&one("F32", "[2]", "[0,8]"), 9), "1 bytes at offset 8"),
        (raw(&one("F32", "[2]", "[1,9]"), 9), "1 bytes at offset 0"),
        (raw(&one("F32", "[2]", "[0,8]"), 7), "past the end"),
        (raw(&one("F32", "[2]", "[0,4]"), 4), "take 8"),
        (raw(&one("F32", "[2]", "[8,0]"), 8), "ends before it begins"),
        (raw(&one("F32", "[2]", "[0,18446744073709551615]"), 8), "take 8"),
        (raw(&one("F32", "[9223372036854775807,4]", "[0,8]"), 8), "overflow"),
        (raw(&one("F32", "[0]", "[0,0]"), 0), "dimensions above zero"),
        (raw(&one("F32", "[]", "[0,4]"), 4), "without dimensions"),
        (raw(&one("F32", "[1,1,1,1,1]", "[0,4]"), 4), "1 to 4 dimensions"),
        (raw(&one("F32", "[-1]", "[0,4]"), 4), "JSON"),
        (raw(&one("U8", "[4]", "[0,4]"), 4), "\"U8\", which is not supported"),
        (raw(&one("F8_E4M3", "[4]", "[0,4]"), 4), "not supported"),
        (raw(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}"#, 4), "JSON"),
        (raw(r#"{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4), "name of 0 bytes"),
    ];
    for (bytes, reason) in cases {
        let folder = written(&llama());
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        refused_for(folder.path(), "model.safetensors", reason);
    }
    let two = |first: &str, second: &str, offsets: &str| {
        raw(
            &format!(
                r#"{{"{first}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},
                    "{second}":{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}}}"#
            ),
            8,
        )
    };
    for (bytes, reason) in [
        (two("a", "b", "[0,4]"), "overlap"),
        (two("a", "b", "[2,6]"), "overlap"),
        (two("a", "a", "[4,8]"), "appears twice"),
        (two("lm_head.weight", "output.weight", "[4,8]"), "appears twice"),
    ] {
        let mut writer = llama();
        writer.set("tie_word_embeddings", false.into());
        let folder = written(&writer);
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        refused_for(folder.path(), "model.safetensors", reason);
    }
    let many: Vec<String> = (0..=crate::limits::TENSORS_MAX)
        .map(|index| format!("\"{index}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"))
        .collect();
    let folder = written(&llama());
    fs::write(folder.path().join("model.safetensors"), raw(&format!("{{{}}}", many.join(",")), 4)).unwrap();
    refused_for(folder.path(), "model.safetensors", "more than 65536 tensors");
}

/// Whatever this parser accepts the format's own library accepts, with the same tensors.
#[test]
fn what_is_accepted_is_what_the_library_reads() {
    let mut random = Random::new(6);
    let whole = file_of(&llama().tensors[..6]);
    let header_bytes = usize::try_from(u64::from_le_bytes(*whole.first_chunk().unwrap())).unwrap();
    let mut accepted = 0;
    for round in 0..4000 {
        let mut bytes = whole.clone();
        if round > 0 {
            for _ in 0..=random.below(2) {
                let place = 8 + random.below(header_bytes);
                bytes[place] = match random.below(3) {
                    0 => b"0123456789"[random.below(10)],
                    1 => random.bits().to_le_bytes()[0],
                    _ => bytes[8 + random.below(header_bytes)],
                };
            }
        }
        let theirs = ::safetensors::SafeTensors::deserialize(&bytes);
        let Ok(ours) = parse(&bytes) else { continue };
        accepted += 1;
        let theirs = theirs.unwrap();
        assert_eq!(theirs.len(), ours.len());
        for Stored { name, dims, offset, bytes: length, .. } in ours {
            let tensor = theirs.tensor(&name).unwrap();
            let start = usize::try_from(offset).unwrap();
            assert_eq!(tensor.data(), &bytes[start..start + usize::try_from(length).unwrap()]);
            assert!(tensor.shape().iter().rev().map(|dim| *dim as u64).eq(dims));
        }
    }
    assert!((100..3900).contains(&accepted), "{accepted}");
}
