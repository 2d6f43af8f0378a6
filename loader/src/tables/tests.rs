//! Tables come back as they were kept, or not at all.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use super::*;
use crate::artifact::ArtifactFiles;
use crate::limits::{TABLES_FILES_MAX, UNNAMED_FILE_MAX};

struct Kept {
    folder: tempfile::TempDir,
    store: TableStore,
    key: TablesKey,
}

/// A key of a file in a new folder, and a store that is not there yet.
fn empty() -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, "any").unwrap();
    let key = TablesKey::new(1, &ArtifactFiles::at(&path).identity().unwrap(), 7 << 64 | 5);
    Kept { store: TableStore::at(folder.path().join("cache/tables")), folder, key }
}

fn tables() -> Vec<Table<'static>> {
    let words: Vec<u32> = (0..100_u32).map(|number| number.wrapping_mul(0x9E37_79B9)).collect();
    vec![
        Table::Bytes((0..=u8::MAX).collect::<Vec<u8>>().into()),
        Table::Words(words.into()),
        Table::Words(Vec::new().into()),
        Table::Bytes(vec![1].into()),
    ]
}

impl Kept {
    fn filled() -> Self {
        let kept = empty();
        kept.store.keep(&kept.key, &tables()).unwrap();
        assert_eq!(kept.store.load(&kept.key), Some(tables()));
        kept
    }

    fn only_file(&self) -> PathBuf {
        let mut files = fs::read_dir(self.store.folder.path()).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }
}

#[test]
fn what_was_kept_comes_back_and_its_folder_is_private() {
    let kept = empty();
    assert_eq!(kept.store.load(&kept.key), None);
    kept.store.keep(&kept.key, &tables()).unwrap();
    assert_eq!(kept.store.load(&kept.key), Some(tables()));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(kept.store.folder.path()), mode(&kept.only_file())), (0o700, 0o600));
    // Again, in the place of the first.
    kept.store.keep(&kept.key, &tables()[..1]).unwrap();
    assert_eq!(kept.store.load(&kept.key), Some(tables()[..1].to_vec()));
    kept.only_file();
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let kept = Kept::filled();
    let path = kept.only_file();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            fs::write(&path, changed).unwrap();
            assert_eq!(kept.store.load(&kept.key), None, "bit {bit} of byte {at}");
        }
    }
    kept.store.keep(&kept.key, &tables()).unwrap();
    assert_eq!(kept.store.load(&kept.key), Some(tables()), "what is wrong is replaced");
}

#[test]
fn a_torn_file_is_none() {
    let kept = Kept::filled();
    let path = kept.only_file();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(kept.store.load(&kept.key), None, "{length} bytes");
        // As a crash of the system leaves it: the length is there, and the rest is not.
        fs::write(&path, [&whole[..length], &vec![0; whole.len() - length]].concat()).unwrap();
        let last_are_zeros = whole[length..].iter().all(|byte| *byte == 0);
        assert!(last_are_zeros || kept.store.load(&kept.key).is_none(), "{length} bytes and zeros");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(kept.store.load(&kept.key), None);
}

#[test]
fn a_file_answers_to_its_own_key_alone() {
    let kept = Kept::filled();
    let path = kept.only_file();
    for word in 0..7 {
        let mut other = kept.key;
        other.words[word] ^= 1;
        assert_eq!(kept.store.load(&other), None);
        // Even where its name would lead to it.
        fs::copy(&path, folder_path(&kept, &other)).unwrap();
        assert_eq!(kept.store.load(&other), None, "word {word}");
    }
}

fn folder_path(kept: &Kept, key: &TablesKey) -> PathBuf {
    let aside = TableStore::at(kept.folder.path().join("aside"));
    aside.keep(key, &[]).unwrap();
    let name = fs::read_dir(aside.folder.path()).unwrap().next().unwrap().unwrap().file_name();
    fs::remove_dir_all(aside.folder.path()).unwrap();
    kept.store.folder.path().join(name)
}

#[test]
fn nothing_is_kept_where_others_can_write_or_nobody_can() {
    let kept = Kept::filled();
    fs::set_permissions(kept.store.folder.path(), Permissions::from_mode(0o770)).unwrap();
    assert_eq!(kept.store.load(&kept.key), None);
    assert!(kept.store.keep(&kept.key, &tables()).is_err());
    let file = kept.folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let nowhere = TableStore::at(file.join("below"));
    assert!(nowhere.keep(&kept.key, &tables()).is_err());
    assert_eq!(nowhere.load(&kept.key), None);
    // What stands at the name is no file.
    let kept = Kept::filled();
    let path = kept.only_file();
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(kept.store.load(&kept.key), None);
}

#[test]
fn the_longest_unused_go_first() {
    let kept = Kept::filled();
    let age = |path: &std::path::Path, age: Duration| {
        let times = FileTimes::new().set_modified(SystemTime::now() - age);
        File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    };
    let first = kept.only_file();
    for number in 0..TABLES_FILES_MAX {
        let path = kept.store.folder.path().join(format!("{number:032x}.tables"));
        fs::write(&path, "x").unwrap();
        age(&path, Duration::from_secs(60 + number as u64));
    }
    let abandoned = kept.store.folder.path().join(".1-1.part");
    fs::write(&abandoned, "x").unwrap();
    age(&abandoned, UNNAMED_FILE_MAX + Duration::from_secs(60));
    age(&first, Duration::from_secs(1 << 20));
    assert_eq!(kept.store.load(&kept.key), Some(tables()), "used just now, it is the last to go");
    let mut other = kept.key;
    other.words[0] = 2;
    kept.store.keep(&other, &tables()).unwrap();
    let left = fs::read_dir(kept.store.folder.path()).unwrap().count();
    assert_eq!(left, TABLES_FILES_MAX);
    assert!(first.exists() && !abandoned.exists());
    assert_eq!(kept.store.load(&other), Some(tables()));
    let longest_unused = kept.store.folder.path().join(format!("{:032x}.tables", TABLES_FILES_MAX - 1));
    assert!(!longest_unused.exists());
}

#[test]
fn what_is_too_large_is_not_kept() {
    let kept = empty();
    let many = vec![Table::of_bytes(b""); crate::limits::TABLES_MAX + 1];
    assert!(kept.store.keep(&kept.key, &many).is_err());
    assert!(!kept.store.folder.path().exists());
}
