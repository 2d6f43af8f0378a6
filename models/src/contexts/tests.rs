//! Contexts come back from their files as they were written, or not at all.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use kernels::KvBytes;

use super::*;

const SHAPE: KvShape =
    KvShape { layers: 2, kv_heads: 1, head_dim: 20, block_positions: 7, precision: KvPrecision::F16 };

/// Bytes on a border of 64.
struct Lines {
    bytes: Vec<u8>,
    begin: usize,
}

impl KvBytes for Lines {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.begin..self.begin + SHAPE.block_bytes()]
    }
}

fn block(seed: u8) -> KvBlock {
    let bytes = vec![0; SHAPE.block_bytes() + 64];
    let begin = bytes.as_ptr().addr().next_multiple_of(64) - bytes.as_ptr().addr();
    let mut lines = Lines { bytes, begin };
    for (number, byte) in (0_u8..=250).cycle().zip(&mut lines.bytes[begin..]) {
        *byte = number.wrapping_mul(seed);
    }
    KvBlock::kept(SHAPE, Arc::new(lines)).unwrap()
}

struct Kept {
    folder: tempfile::TempDir,
    store: ContextStore,
    record: ContextRecord,
}

fn draft(id: &str) -> ContextDraft {
    let about = ContextAbout {
        id: id.to_owned(),
        name: "manual".to_owned(),
        model: "m".to_owned(),
        publisher: "acme".to_owned(),
        created_unix_s: 1_700_000_000,
        key: ContextKey::of_files([1, 2, 3, u64::MAX], u128::MAX - 1, Isa::Scalar, SHAPE),
    };
    let source =
        ContextSource::Messages(vec![Message { role: "system".into(), content: "é\n".into(), ..Message::default() }]);
    ContextDraft { about, tokens: (0..17).collect(), source }
}

fn kept() -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let store = ContextStore::at(folder.path().join("contexts"));
    let record = store.write(&draft("ctx_1"), &[block(3), block(5)]).unwrap().commit().unwrap();
    Kept { folder, store, record }
}

impl Kept {
    fn path(&self) -> PathBuf {
        self.folder.path().join("contexts/ctx_1.context")
    }

    fn overwrite(&self, at: u64, bytes: &[u8]) {
        OpenOptions::new().write(true).open(self.path()).unwrap().write_all_at(bytes, at).unwrap();
    }

    fn files(&self) -> usize {
        fs::read_dir(self.folder.path().join("contexts")).unwrap().count()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_written_comes_back_and_its_folder_is_private() {
    let kept = kept();
    let Kept { store, record, .. } = &kept;
    assert_eq!(store.list(), std::slice::from_ref(record));
    assert_eq!((record.blocks, record.tokens.len()), (2, 17));
    assert_eq!(record.file_bytes, fs::metadata(kept.path()).unwrap().len());
    assert_eq!(ContextStore::planned_bytes(&draft("ctx_1"), 2, SHAPE.block_bytes()).unwrap(), record.file_bytes);
    assert_eq!(store.source(record).unwrap(), draft("ctx_1").source);
    assert_eq!((mode(&kept.path()), mode(kept.path().parent().unwrap())), (0o600, 0o700));
    let mapped = store.map(record, SHAPE, None).unwrap();
    for (index, seed) in [(0, 3), (1, 5)] {
        assert_eq!(mapped.block(index).halves(), block(seed).halves());
    }
    mapped.verify_unchanged().unwrap();
    let held = mapped.block(1);
    drop(mapped);
    store.remove("ctx_1").unwrap();
    store.remove("ctx_1").unwrap();
    assert_eq!(held.halves(), block(5).halves(), "who has it mapped keeps it");
    assert!(store.list().is_empty());
    assert!(matches!(store.map(record, SHAPE, None), Err(ContextError::Damaged)));
    assert!(matches!(store.source(record), Err(ContextError::Damaged)));
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = ContextStore::at(folder.path().join("contexts"));
    assert!(store.list().is_empty());
    drop(store.write(&draft("ctx_1"), &[block(1)]).unwrap());
    assert_eq!(fs::read_dir(folder.path().join("contexts")).unwrap().count(), 0);
}

#[test]
fn a_changed_bit_anywhere_is_noticed_and_the_file_removed() {
    // Of the head, the description, the tokens.
    let tokens_at = 88 + serde_json::to_vec(&draft("ctx_1").about).unwrap().len() as u64;
    for at in [0, 9, 17, 40, 80, 90, tokens_at, tokens_at + 4 * 16] {
        let kept = kept();
        let byte = fs::read(kept.path()).unwrap()[usize::try_from(at).unwrap()];
        kept.overwrite(at, &[byte ^ 4]);
        let found = kept.store.list();
        // The version's own bits make it another version's file.
        let is_other_version = (8..16).contains(&at);
        assert_eq!((found.len(), kept.files()), (0, usize::from(is_other_version)), "at {at}");
        assert!(matches!(kept.store.map(&kept.record, SHAPE, None), Err(ContextError::Damaged)));
    }
    // Of the source: looked at when it is read.
    let other = kept();
    other.overwrite(tokens_at + 4 * 17, b"[");
    assert!(matches!(other.store.source(&other.record), Err(ContextError::Damaged)));
    // Of the blocks: looked at when it is first mapped.
    let kept = kept();
    let at = kept.record.file_bytes - 100;
    let byte = fs::read(kept.path()).unwrap()[usize::try_from(at).unwrap()];
    kept.overwrite(at, &[byte ^ 1]);
    assert_eq!(kept.store.list().len(), 1);
    assert!(matches!(kept.store.map(&kept.record, SHAPE, None), Err(ContextError::Damaged)));
}

#[test]
fn a_cut_file_is_noticed_before_it_is_mapped_and_after() {
    let kept = kept();
    let mapped = kept.store.map(&kept.record, SHAPE, None).unwrap();
    let file = OpenOptions::new().write(true).open(kept.path()).unwrap();
    file.set_len(kept.record.file_bytes - 1).unwrap();
    assert!(mapped.verify_unchanged().is_err());
    file.set_len(0).unwrap();
    assert!(mapped.block(0).halves().iter().all(|half| *half == 0), "what is gone reads as zeros");
    assert!(mapped.verify_unchanged().is_err());
    assert!(matches!(kept.store.map(&kept.record, SHAPE, None), Err(ContextError::Damaged)));
    assert!(kept.store.list().is_empty());
    assert_eq!(kept.files(), 0);
}

#[test]
fn bits_that_were_looked_at_are_not_looked_at_again() {
    let kept = kept();
    let verified = kept.store.map(&kept.record, SHAPE, None).unwrap().identity();
    assert!(kept.store.map(&kept.record, SHAPE, Some(verified)).is_ok());
    let other = loader::FileIdentity { inode: verified.inode + 1, ..verified };
    let at = kept.record.file_bytes - 100;
    kept.overwrite(at, b"other");
    assert!(matches!(kept.store.map(&kept.record, SHAPE, Some(other)), Err(ContextError::Damaged)));
}

#[test]
fn another_shape_or_name_is_no_answer() {
    let kept = kept();
    let wider = KvShape { head_dim: 36, ..SHAPE };
    assert!(matches!(kept.store.map(&kept.record, wider, None), Err(ContextError::Damaged)));
    fs::rename(kept.path(), kept.path().with_file_name("ctx_2.context")).unwrap();
    assert!(kept.store.list().is_empty(), "a file under another's name is damaged");
    assert_eq!(kept.files(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("contexts"), "a file").unwrap();
    let store = ContextStore::at(folder.path().join("contexts"));
    assert!(store.write(&draft("ctx_1"), &[block(1)]).is_err());
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let error = ContextStore::at(open).write(&draft("ctx_1"), &[block(1)]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn keys_tell_files_instructions_and_shapes_apart() {
    let of = |inode, fingerprint, isa, shape| ContextKey::of_files([1, inode, 3, 4], fingerprint, isa, shape);
    let key = of(2, 5, Isa::Avx2, SHAPE);
    assert_eq!(key, of(2, 5, Isa::Avx2, SHAPE));
    for other in [
        of(3, 5, Isa::Avx2, SHAPE),
        of(2, 6, Isa::Avx2, SHAPE),
        of(2, 5, Isa::Avx512, SHAPE),
        of(2, 5, Isa::Avx2, KvShape { precision: KvPrecision::Q8_0, ..SHAPE }),
        of(2, 5, Isa::Avx2, KvShape { layers: 3, ..SHAPE }),
    ] {
        assert_ne!(key, other);
    }
    assert!(key.is_of([1, 2, 3, 4], Isa::Avx2));
    assert!(!key.is_of([1, 3, 3, 4], Isa::Avx2) && !key.is_of([1, 2, 3, 4], Isa::Scalar));
}
