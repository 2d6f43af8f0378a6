//! Files and folders that are not ours to write, and a second process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ledger::{LedgerError, Reader};

use crate::support::{child, open, path_from_parent, reserve, settle, tell_parent};

#[test]
fn a_second_process_is_refused_and_a_reader_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    reserve(&ledger, "r").unwrap();
    let answer = |path: &Path| {
        let mut process = child("refusals::opens_what_its_parent_has_open", path);
        let lines: Vec<String> = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        process.wait().unwrap();
        lines.into_iter().find_map(|line| line.strip_prefix("answer ").map(str::to_owned)).unwrap()
    };
    assert_eq!(answer(&path), format!("another process uses the ledger {}; reads 1", path.display()));
    assert!(matches!(open(&path), Err(LedgerError::Locked { .. })), "nor may this process open it twice");
    drop(ledger);
    assert_eq!(answer(&path), "opened; reads 1");
}

#[test]
#[ignore = "a process that another test starts"]
fn opens_what_its_parent_has_open() {
    let path = path_from_parent();
    let opened = open(&path).map_or_else(|refusal| refusal.to_string(), |_| "opened".to_owned());
    let read = Reader::open(&path).unwrap().recent(10).unwrap().len();
    tell_parent(&format!("answer {opened}; reads {read}"));
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    drop(open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(connection);
    for result in [open(&path).map(drop), Reader::open(&path).map(drop)] {
        assert!(matches!(result, Err(LedgerError::SchemaTooNew { found: 99, supported: 5 })), "{result:?}");
    }
    let runs: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(runs, 1);
}

#[test]
fn what_is_not_a_ledger_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "dear diary, ".repeat(1000)).unwrap();
    let other = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE photos (name TEXT)").unwrap();
    let inner = folder.path().join("folder");
    fs::create_dir(&inner).unwrap();
    for path in [&text, &other, &inner] {
        let result = open(path).map(drop);
        assert!(matches!(result, Err(LedgerError::Corrupt { .. })), "{}: {result:?}", path.display());
        assert!(!result.unwrap_err().is_retryable());
    }
    assert_eq!(fs::read_to_string(&text).unwrap(), "dear diary, ".repeat(1000));
    let tables: i64 = rusqlite::Connection::open(&other)
        .unwrap()
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_folder_that_cannot_be_written_makes_the_ledger_unavailable() {
    // Not even the superuser creates a file in /proc or below a file.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [Path::new("/proc/self/ledger.sqlite"), &file.join("ledger.sqlite")] {
        let result = open(path).map(drop);
        assert!(matches!(result, Err(LedgerError::Unavailable { .. })), "{}: {result:?}", path.display());
    }
    // The superuser writes where the mode forbids it: for it, this opens.
    let sealed = folder.path().join("sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o500)).unwrap();
    let writable = fs::write(sealed.join("probe"), "").is_ok();
    assert_eq!(open(&sealed.join("ledger.sqlite")).is_ok(), writable);
}

#[test]
fn a_reader_of_nothing_is_refused_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    assert!(matches!(Reader::open(&path), Err(LedgerError::Unavailable { .. })));
    assert!(!path.exists());
}

#[test]
fn files_and_folders_are_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("state").join("dayfly");
    let path = inner.join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    reserve(&ledger, "r").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inner), mode(inner.parent().unwrap())), (0o700, 0o700));
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "ledger.sqlite.lock", "ledger.sqlite.head"]
    {
        assert_eq!(mode(&inner.join(name)), 0o600, "{name}");
    }
}

#[test]
fn rows_cannot_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    reserve(&ledger, "r").unwrap();
    settle(&ledger, "r").unwrap();
    drop(ledger);
    let connection = rusqlite::Connection::open(&path).unwrap();
    for change in
        ["UPDATE settlements SET energy_nj = 0", "DELETE FROM reservations", "UPDATE runs SET opened_unix_ms = 0"]
    {
        let refusal = connection.execute(change, []).unwrap_err().to_string();
        assert!(refusal.contains("never changed"), "{change}: {refusal}");
    }
}
