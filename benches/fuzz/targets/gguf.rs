//! A GGUF file: its header, and what an architecture, a tokenizer and a template make of it.

#![no_main]

use std::sync::OnceLock;

use fuzz::TemporaryFolder;
use libfuzzer_sys::fuzz_target;
use loader::Artifact;
use loader::gguf::{self, Header};
use models::Descriptor;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = gguf::parse(data) else { return };
    check(&header, data.len() as u64);
    if header.contains("general.architecture") {
        describe(data);
    }
});

/// What an accepted header promises.
fn check(header: &Header, file_bytes: u64) {
    assert_eq!(header.file_bytes(), file_bytes);
    assert_eq!(header.tensors().len(), header.tensor_count());
    for tensor in header.tensors() {
        let end = tensor.offset.checked_add(tensor.bytes).expect("ends do not wrap");
        assert!(tensor.offset >= header.data_offset() && end <= file_bytes, "{} lies in the file", tensor.name);
        assert_eq!(header.tensor(tensor.name).map(|found| found.offset), Some(tensor.offset), "names are of one");
    }
    for key in header.keys() {
        assert!(header.contains(key) && header.value_type(key).is_some());
    }
    // A header is at most a few times as large as what it was read from.
    assert!(header.memory_bytes() as u64 <= (1 << 20) + 64 * file_bytes);
}

/// The file as a model: whatever is wrong with it is an error.
fn describe(data: &[u8]) {
    static FOLDER: OnceLock<TemporaryFolder> = OnceLock::new();
    let path = FOLDER.get_or_init(TemporaryFolder::new).path().join("model.gguf");
    // A new file each time: one that is mapped is never written to.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, data).expect("the folder has room");
    if let Ok(artifact) = Artifact::open(&path)
        && let Ok(descriptor) = Descriptor::of(&artifact, None)
    {
        assert!(descriptor.tokenizer.len() <= descriptor.network.vocabulary(), "every token has a row");
    }
}
