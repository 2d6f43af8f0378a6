//! A model that was let go is gone: memory, descriptors and threads come back. Alone in its process, because it reads what
//! the process holds.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::Path;
use std::sync::Arc;

use loader::fixture::{TinyModel, tiny_model};
use loader::gguf::TensorType;
use loader::{Artifact, ArtifactFiles, BringIn, LetGo};
use models::{Descriptor, Model, PageCache};
use procfs::process::Process;

const CYCLES: usize = 200;

fn held() -> (u64, usize, i64) {
    let process = Process::myself().unwrap();
    let rollup = process.smaps_rollup().unwrap();
    let pss = rollup.memory_map_rollup.iter().next().unwrap().extension.map["Pss"];
    (pss, process.fd_count().unwrap(), process.stat().unwrap().num_threads)
}

fn cycle(path: &Path, kept: &Arc<Descriptor>, let_go: LetGo) {
    let files = ArtifactFiles::at(path);
    let artifact = Artifact::open_with_header(&files, kept.identity(), Arc::clone(kept.header())).unwrap();
    let mut model = Model::new(artifact, Arc::clone(kept));
    model.set_let_go(let_go);
    let mut last = None;
    let brought = model.bring_in(BringIn::Populate, &mut |progress| last = Some(progress));
    let last = last.unwrap();
    assert_eq!((last.done_bytes, last.bytes), (brought.bytes, brought.bytes));
    if let_go == LetGo::Keep {
        assert_eq!(brought.page_cache(), PageCache::Warm, "{brought:?}");
    }
}

#[test]
fn what_was_let_go_is_not_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let shape = TinyModel { ty: TensorType::F32, hidden: 256, ffn: 512, ..TinyModel::default() };
    tiny_model(&shape).write_to(&path).unwrap();
    let file_bytes = path.metadata().unwrap().len();
    assert!(file_bytes > 1 << 20, "large enough to be seen: {file_bytes}");
    let kept = Arc::new(Descriptor::of(&Artifact::open(&path).unwrap(), None).unwrap());
    for let_go in [LetGo::Keep, LetGo::Cold, LetGo::DontNeed] {
        // The first cycles bring in code and the allocator's own.
        (0..5).for_each(|_| cycle(&path, &kept, let_go));
        let (pss, descriptors, threads) = held();
        (0..CYCLES).for_each(|_| cycle(&path, &kept, let_go));
        let after = held();
        assert!(after.0 <= pss + pss / 50 + (256 << 10), "{let_go:?}: {pss} bytes became {}", after.0);
        assert_eq!((after.1, after.2), (descriptors, threads), "{let_go:?}");
    }
}
