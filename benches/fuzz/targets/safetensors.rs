//! A folder of safetensors, one file of which is what came: the first byte says which. The others are a valid model's.

#![no_main]

use std::sync::OnceLock;

use fuzz::{TemporaryFolder, folder};
use libfuzzer_sys::fuzz_target;
use loader::Artifact;
use models::Descriptor;

const FILES: [&str; 4] = ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"];

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    static FOLDERS: [OnceLock<TemporaryFolder>; FILES.len()] = [const { OnceLock::new() }; FILES.len()];
    let choice = usize::from(choice) % FILES.len();
    let place = FOLDERS[choice].get_or_init(|| {
        let place = TemporaryFolder::new();
        folder().write_to(place.path()).expect("the folder can be written");
        place
    });
    let path = place.path().join(FILES[choice]);
    // A new file each time: one that is mapped is never written to.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, data).expect("the folder has room");
    let Ok(artifact) = Artifact::open(place.path()) else { return };
    for tensor in artifact.tensors() {
        let inside = artifact.files().iter().any(|file| file.bytes().as_ptr_range().contains(&tensor.bytes.as_ptr()));
        assert!(inside || tensor.bytes.is_empty(), "{} lies in a file", tensor.name);
    }
    if let Ok(descriptor) = Descriptor::of(&artifact, None) {
        assert!(descriptor.tokenizer.len() <= descriptor.network.vocabulary(), "every token has a row");
    }
});
