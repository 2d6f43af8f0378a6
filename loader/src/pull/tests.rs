//! Pulls without a network: local files, a stand-in for a server, and a stand-in for pip.

mod http;
mod hub;
mod pypi;
mod sources;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::fixture::{Random, TinyModel, tiny_model};

/// A valid model of a bit over 3 MiB, not compressible.
fn model() -> Vec<u8> {
    let mut bytes = tiny_model(&TinyModel::default()).to_bytes();
    let mut random = Random::new(3);
    bytes.extend((0..3 << 17).flat_map(|_| random.bits().to_le_bytes()));
    bytes
}

/// A models directory.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn request(&self, text: &str) -> PullRequest {
        PullRequest::parse(text, self.0.path()).unwrap()
    }

    /// Everything that lies there, hidden or not.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Cancels when so many bytes of a stage other than verifying are done.
struct CancelAt {
    bytes: u64,
    done: AtomicU64,
}

impl CancelAt {
    fn new(bytes: u64) -> Self {
        Self { bytes, done: AtomicU64::new(0) }
    }
}

impl Progress for CancelAt {
    fn update(&self, stage: Stage<'_>, done_bytes: u64, _total_bytes: Option<u64>) {
        if stage != Stage::Verifying {
            self.done.store(done_bytes, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.bytes
    }
}

#[test]
fn a_local_file_is_copied_and_verified() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let source = elsewhere.path("my model.gguf");
    fs::write(&source, model()).unwrap();
    let digest = Digest::of(&model());
    let plain = format!("file:{}", source.display());
    let encoded = format!("file://{}#sha256={digest}", source.display().to_string().replace(' ', "%20"));
    for text in [plain, encoded] {
        let heard = Heard::default();
        let path = pull(&folder.request(&text), &heard).unwrap();
        assert_eq!(path, folder.path("my model.gguf"));
        assert_eq!(fs::read(&path).unwrap(), model());
        assert_eq!(folder.names(), ["my model.gguf"]);
        let length = model().len() as u64;
        assert!(heard.0.into_inner().unwrap().contains(&("Verifying".into(), length, Some(length))));
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<(String, u64, Option<u64>)>>);

impl Progress for Heard {
    fn update(&self, stage: Stage<'_>, done_bytes: u64, total_bytes: Option<u64>) {
        self.0.lock().unwrap().push((format!("{stage:?}"), done_bytes, total_bytes));
    }
}

#[test]
fn a_wrong_digest_leaves_nothing_behind_and_the_old_file_alone() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let source = elsewhere.path("m.gguf");
    fs::write(&source, model()).unwrap();
    let text = format!("file:{}#sha256={}", source.display(), Digest::of(b"another"));
    let error = pull(&folder.request(&text), &Silent).unwrap_err();
    assert!(matches!(error, PullError::WrongDigest { found, .. } if found == Digest::of(&model())));
    assert_eq!(folder.names(), [""; 0]);
    fs::write(folder.path("m.gguf"), b"old").unwrap();
    pull(&folder.request(&text), &Silent).unwrap_err();
    assert_eq!(fs::read(folder.path("m.gguf")).unwrap(), b"old");
    assert_eq!(folder.names(), ["m.gguf"]);
}

#[test]
fn what_is_no_model_is_not_installed_even_without_a_digest() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    for content in [b"<html>please sign in</html>".as_slice(), b""] {
        let source = elsewhere.path("m.gguf");
        fs::write(&source, content).unwrap();
        let error = pull(&folder.request(&format!("file:{}", source.display())), &Silent).unwrap_err();
        assert!(matches!(error, PullError::NotAModel { .. }), "{error}");
        assert_eq!(folder.names(), [""; 0]);
    }
}

#[test]
fn a_file_that_is_there_is_not_fetched_again() {
    let folder = Folder::new();
    fs::write(folder.path("m.gguf"), model()).unwrap();
    let text = format!("file:/nowhere/m.gguf#sha256={}", Digest::of(&model()));
    assert_eq!(pull(&folder.request(&text), &Silent).unwrap(), folder.path("m.gguf"));
    let absent = pull(&folder.request("file:/nowhere/m.gguf"), &Silent).unwrap_err();
    assert!(matches!(absent, PullError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound));
}

#[test]
fn limits_devices_and_cancellation_leave_no_copy_behind() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let source = elsewhere.path("m.gguf");
    fs::write(&source, model()).unwrap();
    let request = folder.request(&format!("file:{}", source.display()));
    let puller = Puller { bytes_max: 1 << 20, ..Puller::default() };
    assert!(matches!(puller.pull(&request, &Silent), Err(PullError::TooLarge { limit: 1_048_576 })));
    assert!(matches!(pull(&request, &CancelAt::new(1 << 20)), Err(PullError::Cancelled)));
    let device = PullRequest { source: Source::File("/dev/zero".into()), ..request };
    assert!(pull(&device, &Silent).is_err());
    let link = elsewhere.path("zero.gguf");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    assert!(pull(&folder.request(&format!("file:{}", link.display())), &Silent).is_err());
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn one_pull_waits_for_another_and_can_be_cancelled_meanwhile() {
    struct Impatient(AtomicU64);
    impl Progress for Impatient {
        fn update(&self, stage: Stage<'_>, _done_bytes: u64, _total_bytes: Option<u64>) {
            if stage == Stage::Waiting {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) >= 2
        }
    }
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let source = elsewhere.path("m.gguf");
    fs::write(&source, model()).unwrap();
    let request = folder.request(&format!("file:{}", source.display()));
    let held = place::Place::new(folder.0.path(), "m.gguf").lock(&Silent).unwrap();
    assert!(matches!(pull(&request, &Impatient(AtomicU64::new(0))), Err(PullError::Cancelled)));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| pull(&request, &Silent).unwrap())).collect();
        drop(held);
        for pull in waiting {
            assert_eq!(pull.join().unwrap(), folder.path("m.gguf"));
        }
    });
    assert_eq!(folder.names(), ["m.gguf"]);
}

/// Writes a program.
fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
