//! Folders, whole and broken. Rows are those of the table of faults.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

mod bert;
mod config;
mod safetensors;

use super::*;
use crate::artifact::Artifact;
use crate::fixture::{Architecture, FolderWriter, Output, TinyModel, tiny_model};
use crate::gguf::{Format, TensorType};

const DECODERS: [Architecture; 5] =
    [Architecture::Llama, Architecture::SmolLm3, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3];

fn tiny(architecture: Architecture) -> FolderWriter {
    let head_dim = (architecture == Architecture::Gemma3).then_some(32);
    let shape = TinyModel { architecture, head_dim, ..TinyModel::default() };
    FolderWriter::of(&mut tiny_model(&shape), TensorType::F32)
}

fn llama() -> FolderWriter {
    tiny(Architecture::Llama)
}

fn written(writer: &FolderWriter) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    writer.write_to(folder.path()).unwrap();
    folder
}

/// The error of a folder and the name of the file at fault.
fn refused(folder: &Path) -> (String, String) {
    let started = Instant::now();
    let error = Artifact::open(folder).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "{error} took {:?}", started.elapsed());
    assert!(error.is_load_fail(), "{error}");
    match error {
        OpenError::InvalidFolder { path, source } => {
            let source: &dyn std::error::Error = &source;
            let cause = source.source().map(ToString::to_string).unwrap_or_default();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), format!("{source}: {cause}"))
        }
        OpenError::MissingPart { path } => {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), "missing".to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused_for(folder: &Path, file: &str, reason: &str) {
    let (at_fault, message) = refused(folder);
    assert!(at_fault == file && message.contains(reason), "{at_fault}: {message}, expected {file}: {reason}");
}

#[test]
fn a_folder_reads_as_its_gguf_file_would() {
    for architecture in DECODERS {
        for output in [Output::Tied, Output::Separate] {
            let head_dim = Some(16);
            let mut file = tiny_model(&TinyModel { architecture, output, head_dim, ..TinyModel::default() });
            let folder = written(&FolderWriter::of(&mut file, TensorType::F32));
            let artifact = Artifact::open(folder.path()).unwrap();
            let header = artifact.header();
            assert_eq!(header.format(), Format::Safetensors);
            for (key, value) in file.keys.iter().filter(|(key, _)| key.starts_with(architecture.name())) {
                // What a folder does not say follows from the head's width.
                if !key.ends_with("rope.dimension_count") {
                    let (integer, float) = (header.u32(key).ok().flatten(), header.f32(key).ok().flatten());
                    let found = (integer.map(crate::fixture::FixtureValue::U32))
                        .or(float.map(crate::fixture::FixtureValue::F32));
                    assert_eq!(found.as_ref(), Some(value), "{key}");
                }
            }
            let mut names: Vec<&str> = artifact.tensors().map(|tensor| tensor.name).collect();
            let mut expected: Vec<&str> = file.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            names.sort_unstable();
            expected.sort_unstable();
            assert_eq!(names, expected);
            let mapped = artifact.files()[0].bytes().as_ptr_range();
            for tensor in &file.tensors {
                let view = artifact.tensor(&tensor.name).unwrap();
                assert_eq!((view.dims, view.ty.id()), (&*tensor.dims, tensor.type_id));
                assert!(mapped.contains(&view.bytes.as_ptr()), "nothing was copied");
            }
            assert_eq!(header.string("tokenizer.bos_token"), Ok(Some("<|im_start|>")));
            assert_eq!(header.string("tokenizer.eos_token"), Ok(Some("<|im_end|>")));
            assert_eq!(header.i32s("tokenizer.end_token_ids"), Ok(Some(vec![2, 0])));
            assert!(header.string("tokenizer.chat_template").unwrap().unwrap().contains("<|im_start|>"));
            assert!(artifact.tokenizer_json().unwrap().starts_with(b"{"));
        }
    }
}

#[test]
fn shards_of_safetensors_are_checked_with_their_index() {
    let mut writer = llama();
    writer.shards = 3;
    let folder = written(&writer);
    let artifact = Artifact::open(folder.path()).unwrap();
    assert_eq!((artifact.files().len(), artifact.tensors().len()), (3, writer.tensors.len()));
    let index = folder.path().join("model.safetensors.index.json");
    let whole: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut index_json = whole.clone();
        change(&mut index_json["weight_map"]);
        fs::write(&index, index_json.to_string()).unwrap();
        refused_for(folder.path(), "model.safetensors.index.json", "disagree");
    };
    with(&|map| map["model.norm.weight"] = "model-00001-of-00003.safetensors".into());
    with(&|map| map["model.norm.weight"] = "../../etc/passwd".into());
    with(&|map| map["another"] = "model-00001-of-00003.safetensors".into());
    with(&|map| drop(map.as_object_mut().unwrap().remove("model.norm.weight")));
    with(&|map| *map = json!({}));
    fs::write(&index, "{}").unwrap();
    refused_for(folder.path(), "model.safetensors.index.json", "disagree");
    fs::write(&index, whole.to_string() + "x").unwrap();
    refused_for(folder.path(), "model.safetensors.index.json", "JSON");
    fs::remove_file(&index).unwrap();
    refused_for(folder.path(), "model.safetensors.index.json", "missing");
    fs::write(&index, whole.to_string()).unwrap();
    for shard in 1..=3 {
        let name = format!("model-0000{shard}-of-00003.safetensors");
        let bytes = fs::read(folder.path().join(&name)).unwrap();
        fs::remove_file(folder.path().join(&name)).unwrap();
        refused_for(folder.path(), &name, "missing");
        fs::write(folder.path().join(&name), bytes).unwrap();
    }
    Artifact::open(folder.path()).unwrap();
}

#[test]
fn of_the_texts_only_two_must_be_there() {
    let folder = written(&llama());
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    refused_for(folder.path(), "tokenizer.json", "missing");
    let mut writer = llama();
    writer.texts.retain(|name, _| name == "tokenizer.json");
    let artifact = Artifact::open(written(&writer).path()).unwrap();
    assert_eq!(artifact.header().string("tokenizer.chat_template"), Ok(None));
    // From `config.json` then.
    assert_eq!(artifact.header().i32s("tokenizer.end_token_ids"), Ok(Some(vec![2])));
}

#[test]
fn rows_11_and_12_hold_for_every_file_of_a_folder() {
    let mut writer = llama();
    writer.shards = 2;
    let names = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "model.safetensors.index.json",
    ];
    for name in names {
        let folder = written(&writer);
        let first = Artifact::open(folder.path()).unwrap();
        let files = crate::ArtifactFiles::at(folder.path());
        assert_eq!(&files.identity().unwrap(), first.identity());
        let again = Artifact::open_with_header(&files, first.identity(), Arc::clone(first.header())).unwrap();
        assert!(Arc::ptr_eq(again.header(), first.header()));
        let (path, aside) = (folder.path().join(name), folder.path().join("aside"));
        fs::copy(&path, &aside).unwrap();
        fs::rename(&aside, &path).unwrap();
        let next = Artifact::open_with_header(&files, first.identity(), Arc::clone(first.header())).unwrap();
        assert!(!Arc::ptr_eq(next.header(), first.header()), "{name}");
        assert_ne!(next.identity().words(), first.identity().words(), "{name}");
        first.verify_unchanged().unwrap();

        OpenOptions::new().write(true).open(&path).unwrap().set_len(32).unwrap();
        assert_eq!(
            next.verify_unchanged().is_err(),
            path.extension().is_some_and(|end| end == "safetensors"),
            "{name}"
        );
        assert!(name == "tokenizer.json" || Artifact::open(folder.path()).unwrap_err().is_load_fail(), "{name}");
    }
    // A text that comes later is another version.
    let folder = written(&writer);
    let before = crate::ArtifactFiles::at(folder.path()).identity().unwrap();
    fs::write(folder.path().join("chat_template.jinja"), "{{ bos_token }}").unwrap();
    let artifact = Artifact::open(folder.path()).unwrap();
    assert_ne!(artifact.identity(), &before);
    assert_eq!(artifact.header().string("tokenizer.chat_template"), Ok(Some("{{ bos_token }}")));
}

#[test]
fn texts_are_bounded_and_checked() {
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("config.json", vec![b' '; 1 << 21], "the limit is 524288"),
        ("config.json", b"{".to_vec(), "JSON"),
        ("config.json", b"[1]".to_vec(), "JSON"),
        ("config.json", [b'['; 4096].to_vec(), "JSON"),
        ("tokenizer_config.json", vec![b' '; 5 << 20], "the limit is"),
        ("tokenizer_config.json", br#"{"chat_template": 5}"#.to_vec(), "JSON"),
        ("generation_config.json", br#"{"eos_token_id": "2"}"#.to_vec(), "\"eos_token_id\" is no token's id"),
        ("generation_config.json", br#"{"eos_token_id": -1}"#.to_vec(), "\"eos_token_id\" is no token's id"),
        ("chat_template.jinja", vec![0xff, 0xfe], "not UTF-8"),
    ];
    for (name, bytes, reason) in cases {
        let folder = written(&llama());
        fs::write(folder.path().join(name), bytes).unwrap();
        refused_for(folder.path(), name, reason);
    }
    let folder = written(&llama());
    let tokenizer = fs::File::create(folder.path().join("tokenizer.json")).unwrap();
    tokenizer.set_len(crate::limits::TOKENIZER_BYTES_MAX + 1).unwrap();
    refused_for(folder.path(), "tokenizer.json", "the limit is");
    let mut writer = llama();
    let named =
        json!({ "chat_template": [{ "name": "rag", "template": "a" }, { "name": "default", "template": "b" }] });
    writer.texts.insert("tokenizer_config.json".to_owned(), named.to_string().into_bytes());
    let artifact = Artifact::open(written(&writer).path()).unwrap();
    assert_eq!(artifact.header().string("tokenizer.chat_template"), Ok(Some("b")));
}
