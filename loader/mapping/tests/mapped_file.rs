//! What a mapped file promises, against files that are cut, replaced, or no files at all.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mapping::{BringIn, FileIdentity, LetGo, MapError, MappedFile, identity_of, open_regular};

const PAGE_BYTES: usize = 64 << 10; // no page is larger where we run

/// Never zero.
fn pattern(index: usize) -> u8 {
    u8::try_from(1 + index % 251).unwrap()
}

fn file_of(folder: &Path, name: &str, pages: usize) -> PathBuf {
    let path = folder.join(name);
    let bytes: Vec<u8> = (0..pages * PAGE_BYTES).map(pattern).collect();
    fs::write(&path, bytes).unwrap();
    path
}

fn cut(path: &Path, bytes: usize) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes as u64).unwrap();
}

#[test]
fn bytes_are_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd");
    fs::write(&path, b"seven b").unwrap();
    let mapped = MappedFile::open(&path).unwrap();
    assert_eq!(mapped.bytes(), b"seven b");
    assert_eq!(mapped.identity(), identity_of(&path).unwrap());
    assert_eq!(mapped.identity().size_bytes, 7);
    assert!(!mapped.is_poisoned());
    mapped.verify_unchanged().unwrap();
}

#[test]
fn truncation_reads_zeros_and_poisons_that_map_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_of(folder.path(), "cut", 8);
    let neighbour = MappedFile::open(&file_of(folder.path(), "whole", 2)).unwrap();
    let mapped = MappedFile::open(&path).unwrap();
    cut(&path, 2 * PAGE_BYTES);

    assert_eq!(mapped.bytes()[PAGE_BYTES], pattern(PAGE_BYTES), "what is left is still read");
    assert!(!mapped.is_poisoned(), "nothing lost was read yet");
    assert!(mapped.bytes()[5 * PAGE_BYTES..].iter().all(|byte| *byte == 0));
    assert!(mapped.is_poisoned());
    assert!(mapped.bytes()[2 * PAGE_BYTES..].iter().all(|byte| *byte == 0), "pages in front of the first fault too");
    assert_eq!(mapped.bytes()[0], 1);
    assert!(matches!(mapped.verify_unchanged(), Err(MapError::Changed)));

    assert!(neighbour.bytes().iter().all(|byte| *byte != 0));
    assert!(!neighbour.is_poisoned());
    drop(mapped);
    let again = MappedFile::open(&path).unwrap();
    assert!(!again.is_poisoned(), "the slot of a poisoned map starts clean");
    assert_eq!(again.bytes().len(), 2 * PAGE_BYTES);
}

#[test]
fn many_threads_fault_at_once_while_others_map_and_unmap() {
    let folder = tempfile::tempdir().unwrap();
    let churned = file_of(folder.path(), "churned", 1);
    for round in 0..20 {
        let path = file_of(folder.path(), &format!("cut{round}"), 16);
        let mapped = MappedFile::open(&path).unwrap();
        let done = AtomicBool::new(false);
        cut(&path, PAGE_BYTES);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let other = MappedFile::open(&churned).unwrap();
                    assert!(!other.is_poisoned());
                }
            });
            let readers: Vec<_> = (0..4)
                .map(|start| {
                    let bytes = mapped.bytes();
                    scope.spawn(move || {
                        let pages = (0..15).map(|page| (page + start * 4) % 15 + 1);
                        pages.map(|page| u64::from(bytes[page * PAGE_BYTES])).sum::<u64>()
                    })
                })
                .collect();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), 0);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(mapped.is_poisoned());
    }
}

#[test]
fn a_cut_inside_a_page_raises_no_signal_but_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_of(folder.path(), "cut", 1);
    let mapped = MappedFile::open(&path).unwrap();
    cut(&path, 100);
    assert_eq!(mapped.bytes()[101], 0);
    assert!(!mapped.is_poisoned());
    assert!(matches!(mapped.verify_unchanged(), Err(MapError::Changed)));
    assert!(mapped.is_poisoned());
}

#[test]
fn populating_lost_pages_is_an_error_and_poisons() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_of(folder.path(), "cut", 4);
    let mapped = MappedFile::open(&path).unwrap();
    for how in [BringIn::Populate, BringIn::WillNeed, BringIn::Lazy] {
        mapped.bring_in(0..usize::MAX, how).unwrap();
        mapped.bring_in(10..10, how).unwrap();
        mapped.bring_in(usize::MAX - 1..usize::MAX, how).unwrap();
    }
    cut(&path, PAGE_BYTES);
    mapped.bring_in(PAGE_BYTES + 1..3 * PAGE_BYTES, BringIn::Lazy).unwrap();
    if cfg!(target_os = "linux") {
        assert!(matches!(mapped.bring_in(PAGE_BYTES + 1..3 * PAGE_BYTES, BringIn::Populate), Err(MapError::Changed)));
        assert!(mapped.is_poisoned());
    }
}

#[test]
fn cached_bytes_are_those_of_the_range() {
    let folder = tempfile::tempdir().unwrap();
    let mapped = MappedFile::open(&file_of(folder.path(), "own", 4)).unwrap();
    let cached = |range| mapped.cached_bytes(range).expect("an owner is told");
    // Just written, all of it is cached.
    assert_eq!(cached(0..usize::MAX), 4 * PAGE_BYTES as u64);
    assert_eq!(cached(PAGE_BYTES..3 * PAGE_BYTES), 2 * PAGE_BYTES as u64);
    assert_eq!((cached(5..5), cached(5..6), cached(usize::MAX - 1..usize::MAX)), (0, 1, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn cached_bytes_of_other_peoples_files_are_not_guessed() {
    // Readable by everyone, writable by none but root, to whom the truth is told.
    let mapped = MappedFile::open(Path::new("/proc/self/exe")).unwrap();
    let length = mapped.bytes().len() as u64;
    mapped.bring_in(0..usize::MAX, BringIn::Populate).unwrap();
    assert!(mapped.cached_bytes(0..usize::MAX).is_none_or(|bytes| bytes == length));
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_let_go_leaves_the_page_cache_by_a_setting() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = file_of(folder.path(), "model", 16);
    // Pages that are not written yet cannot be let go.
    File::open(&path).unwrap().sync_all().unwrap();
    let cached = || MappedFile::open(&path).unwrap().cached_bytes(0..usize::MAX).expect("an owner is told");
    let length = 16 * PAGE_BYTES as u64;
    for (let_go, left) in [(LetGo::Keep, length), (LetGo::Cold, length), (LetGo::DontNeed, 0)] {
        let mut mapped = MappedFile::open(&path).unwrap();
        mapped.bring_in(0..usize::MAX, BringIn::Populate).unwrap();
        mapped.set_let_go(let_go);
        drop(mapped);
        assert_eq!(cached(), left, "{let_go:?}");
    }
    // Another map of the same file holds its pages.
    let mut mapped = MappedFile::open(&path).unwrap();
    let other = MappedFile::open(&path).unwrap();
    other.bring_in(0..usize::MAX, BringIn::Populate).unwrap();
    mapped.set_let_go(LetGo::DontNeed);
    drop(mapped);
    assert_eq!(other.cached_bytes(0..usize::MAX), Some(length));
    assert!(other.bytes().iter().all(|byte| *byte != 0));
}

#[cfg(target_os = "linux")]
#[test]
fn locked_pages_are_counted_or_the_limit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mapped = MappedFile::open(&file_of(folder.path(), "model", 64)).unwrap();
    let locked_kib = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let before = locked_kib();
    match mapped.lock() {
        Ok(()) => {
            assert_eq!(locked_kib() - before, 64 * PAGE_BYTES / 1024);
            drop(mapped);
            assert_eq!(locked_kib(), before, "unmapping unlocks");
        }
        Err(error) => {
            assert!(matches!(error, MapError::LockRefused { bytes, .. } if bytes == 64 * PAGE_BYTES as u64), "{error}");
            assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
            assert_eq!(mapped.bytes()[0], 1);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn major_faults_are_counted() {
    assert!(mapping::thread_major_faults().is_some());
}

#[test]
fn a_replacement_by_rename_leaves_the_old_version_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_of(folder.path(), "model", 1);
    let old = MappedFile::open(&path).unwrap();
    let replacement = folder.path().join("new");
    fs::write(&replacement, b"new").unwrap();
    fs::rename(&replacement, &path).unwrap();
    assert_eq!(old.bytes()[0], 1);
    old.verify_unchanged().unwrap();
    assert_ne!(old.identity(), identity_of(&path).unwrap());
    assert_eq!(MappedFile::open(&path).unwrap().bytes(), b"new");
}

#[test]
fn every_part_of_the_identity_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_of(folder.path(), "model", 1);
    let before = identity_of(&path).unwrap();
    assert_eq!(before, open_regular(&path).unwrap().1);

    let set_time = |seconds, nanos| {
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        identity_of(&path).unwrap()
    };
    let dated = set_time(1_000_000_000, 500);
    assert_eq!(dated, FileIdentity { modified_nanos: 1_000_000_000_000_000_500, ..before });

    File::options().append(true).open(&path).unwrap().write_all(b"x").unwrap();
    assert_eq!(set_time(1_000_000_000, 500), FileIdentity { size_bytes: before.size_bytes + 1, ..dated });

    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    assert_ne!(identity_of(&copy).unwrap().inode, before.inode);
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let started = Instant::now();
    for path in [&fifo, &link, &socket, Path::new("/dev/zero"), folder.path()] {
        assert!(matches!(MappedFile::open(path), Err(MapError::NotARegularFile)), "{}", path.display());
        assert!(matches!(identity_of(path), Err(MapError::NotARegularFile)), "{}", path.display());
    }
    assert!(started.elapsed() < Duration::from_secs(5), "opening waited for a writer");

    let empty = folder.path().join("empty");
    fs::write(&empty, b"").unwrap();
    assert!(matches!(MappedFile::open(&empty), Err(MapError::Empty)));
    let Err(MapError::Io { source }) = MappedFile::open(&folder.path().join("absent")) else {
        panic!("opened nothing")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
}
