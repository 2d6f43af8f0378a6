//! Which keys there are, whose, and what they may.
//!
//! One SQLite file beside the ledger, `LEDGER.keys`, and the secret that keys are hashed with, `LEDGER.keys.secret`. Any
//! number of processes may have it open: a command changes it while a server reads it, and the server finds out by the
//! store's [`generation`](KeyStore::generation).
//!
//! Invariants: a key is told once, by [`KeyStore::add`], and stands nowhere; a revoked key stays in the store, so that one
//! whose keys are all revoked is not taken for one that never had any; without its secret a store with keys is refused,
//! because none of them would be known again. Deliberately absent: what keys may (a text here, which the runtime writes and
//! reads), and what was spent by them, which the ledger's rows tell by their ids.

mod secret;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};

pub use self::secret::{KeyHash, KeySecret};
use crate::LedgerError;
use crate::chain::hex;
use crate::error::StoreFailure;
use crate::limits::KEYS_MAX;
use crate::owner::give_to_folder_owner;
use crate::store::{settle_plans, unix_millis};

/// What every key begins with, so that one that was published by mistake is recognized as a key.
pub const KEY_PREFIX: &str = "dfk_";
/// What the id of every stored key begins with.
pub const KEY_ID_PREFIX: &str = "key_";
/// 192 bits: nobody guesses one.
const KEY_BYTES: usize = 24;
const ID_BYTES: usize = 8;
/// `DAYK`.
const APPLICATION_ID: i64 = 0x4441_594B;
const SCHEMA: i64 = 1;

const TABLE: &str = "
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    permissions TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    revoked_unix_ms INTEGER,
    last_used_unix_ms INTEGER
) STRICT;
";
const COLUMNS: &str = "id, tenant, name, hash, permissions, created_unix_ms, revoked_unix_ms, last_used_unix_ms";

/// A key that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Who comes with it.
    pub tenant: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it may, in the runtime's own form.
    pub permissions: String,
}

/// A key that there is, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// What it is called by: no secret.
    pub id: String,
    /// Who comes with it.
    pub tenant: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it became by the secret.
    pub hash: KeyHash,
    /// What it may, in the runtime's own form.
    pub permissions: String,
    /// When it was made, in milliseconds since 1970 by the wall clock.
    pub created_unix_ms: i64,
    /// Since when nobody comes in with it.
    pub revoked_unix_ms: Option<i64>,
    /// When it was last used, as coarsely as it was told.
    pub last_used_unix_ms: Option<i64>,
}

/// What a revocation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The key was in use until now.
    Revoked,
    /// It was revoked before.
    Earlier,
    /// There is no such key.
    Unknown,
}

/// The store of keys.
#[derive(Debug)]
pub struct KeyStore {
    path: PathBuf,
    /// Device and number of the file that is open.
    file: (u64, u64),
    connection: Mutex<Connection>,
    secret: KeySecret,
}

impl KeyStore {
    /// Where the store of the ledger at `ledger` is.
    #[must_use]
    pub fn beside(ledger: &Path) -> PathBuf {
        suffixed(ledger, ".keys")
    }

    /// Opens the store at `path`, or nothing if there is none.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`].
    pub fn open(path: &Path) -> Result<Option<Self>, LedgerError> {
        match fs::metadata(path) {
            Ok(_) => Self::opened(path).map(Some).map_err(|source| unusable(path, source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(path, error)),
        }
    }

    /// Opens the store at `path`, creating it (mode 0600, and the folder's owner's) and its folders (0700) if they do not exist.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`].
    pub fn open_or_create(path: &Path) -> Result<Self, LedgerError> {
        let create = || {
            if let Some(folder) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            match OpenOptions::new().append(true).create_new(true).mode(0o600).open(path) {
                // One that fails leaves nothing that the next try takes for given.
                Ok(made) => give_to_folder_owner(&made, path).inspect_err(|_| _ = fs::remove_file(path))?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
            Self::opened(path)
        };
        create().map_err(|source| unusable(path, source))
    }

    fn opened(path: &Path) -> Result<Self, StoreFailure> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(StoreFailure::Unexpected("the path is not a regular file"));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        settle_plans(&connection)?;
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
        let secret = prepare(&mut connection, &suffixed(path, ".secret"))?;
        let file = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), file, connection: Mutex::new(connection), secret })
    }

    /// Makes a key, and tells it: nobody is told again.
    ///
    /// # Errors
    /// [`LedgerError::KeysFull`], or [`LedgerError::KeyStore`].
    pub fn add(&self, key: NewKey) -> Result<(KeyRecord, String), LedgerError> {
        let made = self.try_add(key).map_err(|source| self.unusable(source))?;
        made.ok_or(LedgerError::KeysFull { max: KEYS_MAX })
    }

    /// None where there is no room.
    fn try_add(&self, key: NewKey) -> Result<Option<(KeyRecord, String)>, StoreFailure> {
        let text = format!("{KEY_PREFIX}{}", hex(&secret::random::<KEY_BYTES>()?));
        let NewKey { tenant, name, permissions } = key;
        let record = KeyRecord {
            id: format!("{KEY_ID_PREFIX}{}", hex(&secret::random::<ID_BYTES>()?)),
            tenant,
            name,
            hash: self.secret.hash(text.as_bytes()),
            permissions,
            created_unix_ms: unix_millis(),
            revoked_unix_ms: None,
            last_used_unix_ms: None,
        };
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let count: i64 = transaction.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?;
        if usize::try_from(count).is_ok_and(|count| count >= KEYS_MAX) {
            // The one that is revoked for longest makes room.
            let sql = "DELETE FROM keys WHERE id = (SELECT id FROM keys WHERE revoked_unix_ms IS NOT NULL \
                       ORDER BY revoked_unix_ms LIMIT 1)";
            if transaction.execute(sql, [])? == 0 {
                return Ok(None);
            }
        }
        transaction.execute(
            &format!("INSERT INTO keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL)"),
            params![record.id, record.tenant, record.name, record.hash, record.permissions, record.created_unix_ms],
        )?;
        transaction.commit()?;
        Ok(Some((record, text)))
    }

    /// Lets nobody in with the key of this id any more.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`].
    pub fn revoke(&self, id: &str) -> Result<Revocation, LedgerError> {
        let connection = self.lock();
        let revoke = || {
            let sql = "UPDATE keys SET revoked_unix_ms = ?2 WHERE id = ?1 AND revoked_unix_ms IS NULL";
            if connection.execute(sql, params![id, unix_millis()])? > 0 {
                return Ok(Revocation::Revoked);
            }
            let found = connection.query_row("SELECT 1 FROM keys WHERE id = ?1", [id], |_| Ok(())).optional()?;
            Ok(found.map_or(Revocation::Unknown, |()| Revocation::Earlier))
        };
        revoke().map_err(|source: StoreFailure| self.unusable(source))
    }

    /// All keys, revoked ones too, in the order in which they were made.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`].
    pub fn list(&self) -> Result<Vec<KeyRecord>, LedgerError> {
        let connection = self.lock();
        let list = || -> Result<Vec<KeyRecord>, rusqlite::Error> {
            let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM keys ORDER BY rowid"))?;
            query.query_map([], record)?.collect()
        };
        list().map_err(|source| self.unusable(source))
    }

    /// Notes when keys were last used: ids, and milliseconds since 1970.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`].
    pub fn note_use(&self, used: &[(String, i64)]) -> Result<(), LedgerError> {
        let mut connection = self.lock();
        let mut note = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (id, unix_ms) in used {
                transaction
                    .prepare_cached("UPDATE keys SET last_used_unix_ms = ?2 WHERE id = ?1")?
                    .execute(params![id, unix_ms])?;
            }
            transaction.commit()
        };
        note().map_err(|source| self.unusable(source))
    }

    /// A number that is another one after another process, or another handle of this one, has changed something. None once
    /// the file is no longer where it was: then it has to be opened anew.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`].
    pub fn generation(&self) -> Result<Option<i64>, LedgerError> {
        let is_there = fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if !is_there {
            return Ok(None);
        }
        let connection = self.lock();
        let version = connection.query_row("PRAGMA data_version", [], |row| row.get(0));
        version.map(Some).map_err(|source| self.unusable(source))
    }

    /// What its keys are hashed with.
    #[must_use]
    pub const fn secret(&self) -> &KeySecret {
        &self.secret
    }

    fn unusable(&self, source: impl Into<StoreFailure>) -> LedgerError {
        unusable(&self.path, source)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in between leaves a transaction that is rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes sure that the file is a store of keys, making one of an empty file, and returns its secret, which is made with the
/// first.
fn prepare(connection: &mut Connection, secret: &Path) -> Result<KeySecret, StoreFailure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let integer = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (application, schema) = (integer("PRAGMA application_id")?, integer("PRAGMA user_version")?);
    if integer("SELECT count(*) FROM sqlite_schema")? == 0 && (application, schema) == (0, 0) {
        transaction.execute_batch(TABLE)?;
        transaction
            .execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA};"))?;
    } else if application != APPLICATION_ID {
        return Err(StoreFailure::Unexpected("the file is another program's database"));
    } else if schema != SCHEMA {
        return Err(StoreFailure::Unexpected("another version of the program wrote it"));
    }
    let has_keys = integer("SELECT count(*) FROM keys")? > 0;
    let secret = match KeySecret::read(secret) {
        Err(StoreFailure::Io(error)) if error.kind() == io::ErrorKind::NotFound && has_keys => {
            return Err(StoreFailure::Unexpected("the secret beside it is missing: none of its keys would be known"));
        }
        Err(StoreFailure::Io(error)) if error.kind() == io::ErrorKind::NotFound => KeySecret::create(secret)?,
        read => read?,
    };
    transaction.commit()?;
    Ok(secret)
}

fn record(row: &Row<'_>) -> Result<KeyRecord, rusqlite::Error> {
    Ok(KeyRecord {
        id: row.get(0)?,
        tenant: row.get(1)?,
        name: row.get(2)?,
        hash: row.get(3)?,
        permissions: row.get(4)?,
        created_unix_ms: row.get(5)?,
        revoked_unix_ms: row.get(6)?,
        last_used_unix_ms: row.get(7)?,
    })
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unusable(path: &Path, source: impl Into<StoreFailure>) -> LedgerError {
    LedgerError::KeyStore { path: path.to_owned(), source: Arc::new(source.into()) }
}
