//! Views, faults and versions, on real files.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use super::*;
use crate::fixture::{FixtureValue, GgufWriter, Output, TinyModel, tiny_model, write_shards};
use crate::limits::SHARDS_MAX;

#[test]
fn tensors_are_views_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let writer = tiny_model(&TinyModel { ty: TensorType::Q8_0, ..TinyModel::default() });
    writer.write_to(&path).unwrap();
    let artifact = Artifact::open(&path).unwrap();
    let mapped = artifact.files()[0].bytes().as_ptr_range();
    assert_eq!(artifact.tensors().len(), writer.tensors.len());
    for (written, view) in writer.tensors.iter().zip(artifact.tensors()) {
        assert_eq!((written.name.as_str(), &*written.dims, &*written.data), (view.name, view.dims, view.bytes));
        assert!(mapped.contains(&view.bytes.as_ptr()), "nothing was copied");
        assert_eq!(artifact.tensor(view.name).unwrap().bytes.as_ptr(), view.bytes.as_ptr());
        assert_eq!(artifact.bytes(&artifact.tensor_place(view.name).unwrap()), view.bytes);
    }
    assert!(artifact.tensor("absent").is_none());
}

#[test]
fn errors_tell_whose_fault_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let error = |name: &str| Artifact::open(&path(name)).unwrap_err();
    assert!(matches!(error("absent.gguf"), OpenError::NotFound { .. }));
    fs::write(path("empty.gguf"), b"").unwrap();
    let too_short = FormatError::TooShort { file_bytes: 0 };
    assert!(matches!(error("empty.gguf"), OpenError::Invalid { source, .. } if source == too_short));
    assert!(error("empty.gguf").is_load_fail());
    assert!(matches!(error("empty.gguf/below"), OpenError::NotFound { .. }));
    fs::write(path("text.gguf"), b"not a model").unwrap();
    assert!(error("text.gguf").is_load_fail());
    assert!(matches!(error(""), OpenError::NotARegularFile { .. }));
    assert!(matches!(error("name\0with.gguf"), OpenError::Io { .. }));
    assert!(!error("absent.gguf").is_load_fail());
}

#[test]
fn a_kept_header_serves_the_same_version_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    tiny_model(&TinyModel::default()).write_to(&path).unwrap();
    let first = Artifact::open(&path).unwrap();
    let (identity, header) = (first.identity(), Arc::clone(first.header()));
    let files = ArtifactFiles::at(&path);
    let again = Artifact::open_with_header(&files, identity, Arc::clone(&header)).unwrap();
    assert!(Arc::ptr_eq(again.header(), &header));

    tiny_model(&TinyModel { layers: 1, ..TinyModel::default() }).write_to(&path).unwrap();
    let replaced = Artifact::open_with_header(&files, identity, Arc::clone(&header)).unwrap();
    assert!(!Arc::ptr_eq(replaced.header(), &header));
    assert!(replaced.tensor("blk.1.attn_q.weight").is_none());
    assert!(first.tensor("blk.1.attn_q.weight").is_some(), "row 12: the old version serves on");
}

#[test]
fn row_11_a_truncated_file_poisons_and_is_refused_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    tiny_model(&TinyModel { hidden: 256, ffn: 512, ..TinyModel::default() }).write_to(&path).unwrap();
    let artifact = Artifact::open(&path).unwrap();
    let length = artifact.header().data_offset();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
    let last = artifact.tensors().last().unwrap();
    assert!(last.bytes.iter().all(|byte| *byte == 0));
    assert!(artifact.is_poisoned());
    assert!(Artifact::open(&path).unwrap_err().is_load_fail());
}

/// A tiny model in three files, changed before it is written.
fn split(folder: &Path, change: impl FnOnce(&mut [GgufWriter])) -> Vec<PathBuf> {
    let mut shards = tiny_model(&TinyModel::default()).split(3);
    change(&mut shards);
    write_shards(&shards, folder, "m").unwrap()
}

fn refusal(change: impl FnOnce(&mut [GgufWriter])) -> (String, FormatError) {
    let folder = tempfile::tempdir().unwrap();
    let error = Artifact::open(&split(folder.path(), change)[0]).unwrap_err();
    assert!(error.is_load_fail());
    match error {
        OpenError::Invalid { path, source } => (path.file_name().unwrap().to_str().unwrap().to_owned(), source),
        other => panic!("{other}"),
    }
}

#[test]
fn shards_are_one_artifact_whichever_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let whole = tiny_model(&TinyModel::default());
    let paths = split(folder.path(), |_| {});
    for path in &paths {
        let artifact = Artifact::open(path).unwrap();
        assert_eq!((artifact.path(), artifact.name()), (&*paths[0], "m"));
        assert_eq!(artifact.header().string("general.architecture"), Ok(Some("llama")));
        assert_eq!(artifact.tensors().len(), whole.tensors.len());
        for (written, view) in whole.tensors.iter().zip(artifact.tensors()) {
            assert_eq!((written.name.as_str(), &*written.dims, &*written.data), (view.name, view.dims, view.bytes));
            let place = artifact.tensor_place(view.name).unwrap();
            let file = artifact.files()[place.file].bytes().as_ptr_range();
            assert!(file.contains(&view.bytes.as_ptr()), "nothing was copied");
            artifact.bring_in(place, BringIn::Populate).unwrap();
        }
        let bytes: u64 = paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert_eq!((artifact.identity().weights_bytes(), artifact.header().file_bytes()), (bytes, bytes));
        assert_eq!(artifact.identity(), &ArtifactFiles::at(path).identity().unwrap());
        artifact.verify_unchanged().unwrap();
    }
}

#[test]
fn a_first_shard_may_hold_no_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let paths = split(folder.path(), |shards| {
        let tensors = std::mem::take(&mut shards[0].tensors);
        shards[1].tensors.splice(..0, tensors);
    });
    assert_eq!(Artifact::open(&paths[0]).unwrap().tensors().len(), 20);
}

#[test]
fn row_6_shards_that_contradict_each_other_are_refused_by_the_one_that_does() {
    let set = |shard: usize, key: &'static str, value: u32| {
        refusal(move |shards| {
            shards[shard].set(key, FixtureValue::U32(value));
        })
    };
    let mismatch = |key, found, expected| FormatError::ShardMismatch { key, found, expected };
    let name = |number: usize| format!("m-0000{number}-of-00003.gguf");
    assert_eq!(set(0, "split.no", 1), (name(1), mismatch("split.no", 1, 0)));
    assert_eq!(set(2, "split.no", 1), (name(3), mismatch("split.no", 1, 2)));
    assert_eq!(set(1, "split.count", 2), (name(2), mismatch("split.count", 2, 3)));
    assert_eq!(set(1, "split.tensors.count", 19), (name(2), mismatch("split.tensors.count", 19, 20)));
    let all = |count: u32| {
        refusal(move |shards| {
            for shard in shards {
                shard.set("split.tensors.count", FixtureValue::U32(count));
            }
        })
    };
    assert_eq!(all(21), (name(1), mismatch("split.tensors.count", 21, 20)));
    assert_eq!(all(19), (name(3), mismatch("split.tensors.count", 19, 20)));
    assert!(matches!(all(u32::MAX).1, FormatError::CountTooLarge { .. }));
    let unnamed = refusal(|shards| {
        shards[1].remove("split.no");
    });
    assert_eq!(unnamed, (name(2), FormatError::ShardKeyMissing { key: "split.no" }));
    let twice = refusal(|shards| {
        let first = shards[0].tensors[0].clone();
        shards[2].tensors[0] = first;
    });
    assert_eq!(twice, (name(3), FormatError::DuplicateTensor { tensor: "token_embd.weight".into() }));
    let past_end = refusal(|shards| shards[1].tensors[0].offset = Some(1 << 40));
    assert!(matches!(past_end, (shard, FormatError::TensorPastEnd { .. }) if shard == name(2)));
    let alone = refusal(|shards| shards[0].keys.clear());
    assert_eq!(alone, (name(1), FormatError::ShardKeyMissing { key: "split.tensors.count" }));
}

#[test]
fn a_shard_by_another_name_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let paths = split(folder.path(), |_| {});
    let renamed = folder.path().join("renamed.gguf");
    fs::copy(&paths[0], &renamed).unwrap();
    let error = Artifact::open(&renamed).unwrap_err();
    let expected = FormatError::ShardMismatch { key: "split.count", found: 3, expected: 1 };
    assert!(matches!(&error, OpenError::Invalid { source, .. } if *source == expected), "{error}");
}

#[test]
fn so_many_shards_are_one_artifact_and_one_more_is_none() {
    // Two tensors a shard.
    let shape = TinyModel { layers: 28, hidden: 32, ffn: 32, output: Output::Separate, ..TinyModel::default() };
    let whole = tiny_model(&shape);
    let folder = tempfile::tempdir().unwrap();
    let most = usize::try_from(SHARDS_MAX).unwrap();
    assert!((2 * most - 1..=2 * most).contains(&whole.tensors.len()), "{}", whole.tensors.len());
    let paths = write_shards(&whole.split(most), folder.path(), "most").unwrap();
    assert_eq!(Artifact::open(&paths[0]).unwrap().files().len(), most);
    let paths = write_shards(&whole.split(most + 1), folder.path(), "more").unwrap();
    let error = Artifact::open(&paths[0]).unwrap_err();
    let OpenError::Invalid { source, .. } = &error else { panic!("{error}") };
    assert_eq!(*source, FormatError::ShardMismatch { key: "split.count", found: 129, expected: 1 });
    assert_eq!(crate::artifact::ShardName::parse("more-00001-of-00129"), None, "it is no shard's name");
}

#[test]
fn a_missing_shard_is_named() {
    for missing in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let paths = split(folder.path(), |_| {});
        fs::remove_file(&paths[missing]).unwrap();
        let error = Artifact::open(&paths[0]).unwrap_err();
        assert!(error.is_load_fail() && error.to_string().contains(paths[missing].to_str().unwrap()), "{error}");
        assert!(matches!(ArtifactFiles::at(&paths[0]).identity(), Err(OpenError::MissingPart { .. })));
    }
}

#[test]
fn rows_11_and_12_hold_for_every_shard() {
    for changed in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let paths = split(folder.path(), |_| {});
        let files = ArtifactFiles::at(&paths[0]);
        let first = Artifact::open(&paths[0]).unwrap();
        let again = Artifact::open_with_header(&files, first.identity(), Arc::clone(first.header())).unwrap();
        assert!(Arc::ptr_eq(again.header(), first.header()));

        let replaced = folder.path().join("replaced");
        fs::copy(&paths[changed], &replaced).unwrap();
        fs::rename(replaced, &paths[changed]).unwrap();
        first.verify_unchanged().unwrap();
        let next = Artifact::open_with_header(&files, first.identity(), Arc::clone(first.header())).unwrap();
        assert!(next.identity() != first.identity() && !Arc::ptr_eq(next.header(), first.header()));
        assert_ne!(next.identity().words(), first.identity().words());

        OpenOptions::new().write(true).open(&paths[changed]).unwrap().set_len(64).unwrap();
        assert!(next.verify_unchanged().is_err() && next.is_poisoned());
        assert!(!first.is_poisoned() && first.verify_unchanged().is_ok(), "row 12: the old version serves on");
    }
}
