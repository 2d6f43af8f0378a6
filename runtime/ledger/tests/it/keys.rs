//! The store of keys.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use ledger::LedgerError;
use ledger::keys::{KEY_PREFIX, KeyStore, NewKey, Revocation};

use crate::support::folder;

fn wanted(tenant: &str) -> NewKey {
    NewKey { tenant: tenant.into(), name: None, permissions: "{}".into() }
}

fn secret_of(path: &Path) -> PathBuf {
    path.with_file_name("ledger.sqlite.keys.secret")
}

#[test]
fn a_key_is_told_once_and_known_by_its_hash_alone() {
    let folder = folder();
    let path = KeyStore::beside(&folder.path().join("ledger.sqlite"));
    assert!(KeyStore::open(&path).unwrap().is_none());
    let store = KeyStore::open_or_create(&path).unwrap();
    let (record, key) = store.add(wanted("acme")).unwrap();
    let (other, other_key) = store.add(wanted("acme")).unwrap();
    assert!(key.starts_with(KEY_PREFIX) && key.len() == KEY_PREFIX.len() + 48, "{key}");
    assert!(key != other_key && record.id != other.id && record.hash != other.hash);
    drop(store);

    let store = KeyStore::open(&path).unwrap().unwrap();
    assert_eq!(store.list().unwrap(), [record.clone(), other]);
    assert_eq!(store.secret().hash(key.as_bytes()), record.hash);
    let digits = &key[KEY_PREFIX.len()..];
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let bytes = fs::read(file.path()).unwrap();
        assert!(!bytes.windows(digits.len()).any(|part| part == digits.as_bytes()), "{:?}", file.path());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
    // Another server has another secret.
    let elsewhere = KeyStore::open_or_create(&folder.path().join("other.keys")).unwrap();
    assert_ne!(elsewhere.secret().hash(key.as_bytes()), record.hash);
    assert_eq!(format!("{:?}", store.secret()), "KeySecret");
}

#[test]
fn what_another_process_changes_is_another_generation() {
    let folder = folder();
    let path = folder.path().join("keys");
    let (server, command) = (KeyStore::open_or_create(&path).unwrap(), KeyStore::open_or_create(&path).unwrap());
    let first = server.generation().unwrap();
    assert_eq!(server.generation().unwrap(), first);
    let (record, _) = command.add(wanted("acme")).unwrap();
    let second = server.generation().unwrap();
    assert_ne!(second, first);
    assert_eq!(command.revoke(&record.id).unwrap(), Revocation::Revoked);
    let third = server.generation().unwrap();
    assert_ne!(third, second);
    assert_eq!(command.revoke(&record.id).unwrap(), Revocation::Earlier);
    assert_eq!(command.revoke("key_0").unwrap(), Revocation::Unknown);
    assert!(server.list().unwrap()[0].revoked_unix_ms.is_some());
    server.note_use(&[(record.id, 7)]).unwrap();
    assert_eq!(server.generation().unwrap(), third, "its own changes are known to it");
    assert_eq!(command.list().unwrap()[0].last_used_unix_ms, Some(7));
    fs::remove_file(&path).unwrap();
    KeyStore::open_or_create(&path).unwrap();
    assert_eq!(server.generation().unwrap(), None, "another file is there");
}

#[test]
fn a_store_that_cannot_be_trusted_is_refused() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite.keys");
    KeyStore::open_or_create(&path).unwrap().add(wanted("acme")).unwrap();
    let refused = |reason: &str| {
        let error = KeyStore::open(&path).unwrap_err();
        let LedgerError::KeyStore { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(reason), "{source}");
    };
    let secret = secret_of(&path);
    fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
    refused("0600");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let bytes = fs::read(&secret).unwrap();
    fs::write(&secret, &bytes[..31]).unwrap();
    refused("32 bytes");
    fs::remove_file(&secret).unwrap();
    refused("missing");
    assert!(!secret.exists(), "no other secret takes its place");
    fs::write(&secret, &bytes).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(KeyStore::open(&path).unwrap().unwrap().list().unwrap().len(), 1);

    fs::write(&path, b"no database, but as long as one would be".repeat(100)).unwrap();
    refused("not a database");
    let connection = rusqlite::Connection::open(folder.path().join("other")).unwrap();
    connection.execute_batch("CREATE TABLE mine (x)").unwrap();
    drop(connection);
    fs::rename(folder.path().join("other"), &path).unwrap();
    refused("another program's");
}

#[test]
fn a_full_store_lets_go_of_revoked_keys_alone() {
    let folder = folder();
    let path = folder.path().join("keys");
    let store = KeyStore::open_or_create(&path).unwrap();
    let (first, _) = store.add(wanted("acme")).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1) \
                INSERT INTO keys (id, tenant, hash, permissions, created_unix_ms) \
                SELECT 'key_' || i, 'x', randomblob(32), '{}', 0 FROM n";
    connection.execute(fill, [ledger::KEYS_MAX as i64]).unwrap();
    assert!(matches!(store.add(wanted("late")), Err(LedgerError::KeysFull { .. })));
    store.revoke(&first.id).unwrap();
    let (late, _) = store.add(wanted("late")).unwrap();
    let keys = store.list().unwrap();
    assert_eq!(keys.len(), ledger::KEYS_MAX);
    assert!(keys.contains(&late) && keys.iter().all(|key| key.id != first.id));
}

/// The administrator makes keys for a server that runs as somebody else. Only root can give files away: for others there is
/// nothing to give.
#[test]
fn what_root_makes_beside_another_s_ledger_is_that_user_s() {
    const SOMEBODY: u32 = 12_345;

    let folder = folder();
    let given = chown(folder.path(), Some(SOMEBODY), Some(SOMEBODY));
    let owner = if given.is_ok() { SOMEBODY } else { folder.path().metadata().unwrap().uid() };
    let path = folder.path().join("ledger.keys");
    // Of a process that died; and not to be written into.
    let other = folder.path().join("other");
    fs::write(&other, "left alone").unwrap();
    std::os::unix::fs::symlink(&other, folder.path().join("ledger.keys.secret.new")).unwrap();
    KeyStore::open_or_create(&path).unwrap().add(wanted("acme")).unwrap();
    for name in ["ledger.keys", "ledger.keys.secret"] {
        let metadata = folder.path().join(name).metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (owner, 0o600), "{name}");
    }
    assert_eq!(fs::read_to_string(&other).unwrap(), "left alone");
}
