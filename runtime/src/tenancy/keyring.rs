//! From a key to whoever comes with it.
//!
//! Keys are configured (by SHA-256) or stored (by HMAC, [`ledger::keys`]). What is stored is kept in memory as of a generation
//! of the store, and looked at again at most [`KEYS_SEEN_WITHIN`] later: for so long a key that was revoked may still let
//! someone in. Nobody is taken for anonymous, and no key for unknown, before the store was looked at as it is now: a new key
//! works at once, and the first one shuts the door at once.
//!
//! Without any key, stored or configured, whoever comes to a server on the loopback is the tenant `anonymous` and may
//! everything. A store that has had a key asks for one, if all of its keys are revoked by now.
//!
//! Invariants: whoever is refused (no key, no form of one, an unknown or a revoked one) is refused after the same work: each
//! configured hash compared in constant time, one HMAC looked up twice, one look at the store in between. The look-up itself
//! takes as long as the HMAC's bits make it, which nobody without the secret can steer. Deliberately absent: keys
//! themselves, in memory or in a log.

mod budgets;
mod chosen;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ledger::LedgerError;
use ledger::keys::{KeyHash, KeySecret, KeyStore};
use sha2::{Digest as _, Sha256};

pub(crate) use self::budgets::BoundedBy;
use self::chosen::Chosen;
pub(crate) use self::chosen::Reconfigured;
use super::access::Access;
use crate::config::{Config, StoredKeys};
use crate::limits::KEYS_SEEN_WITHIN;

const ANONYMOUS: &str = "anonymous";
const MILLIS_PER_HOUR: i64 = 3_600_000;

/// All keys of one server.
pub(crate) struct Keyring {
    path: PathBuf,
    stored: Mutex<Stored>,
    /// One look at the store at a time answers all who came before it.
    looking: tokio::sync::Mutex<()>,
    /// Keys that were used since that was last noted, and when.
    used: Mutex<HashMap<Arc<str>, i64>>,
}

/// What a request shows of who sends it.
#[derive(Clone, Copy)]
pub(crate) enum Shown<'a> {
    /// No key at all.
    Nothing,
    /// A key, or what is taken for one.
    Key(&'a [u8]),
    /// That it was let in by a key before.
    Mark(KeyMark),
}

/// What a key is found again by. It is no key: nobody comes in by showing it.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyMark {
    sha256: [u8; 32],
    /// What it becomes in the store that there was.
    stored: Option<KeyHash>,
}

/// What was last seen of the store.
struct Stored {
    store: Option<Arc<KeyStore>>,
    generation: Option<i64>,
    keys: Arc<StoredAccess>,
    seen: Instant,
}

/// What is known of keys: of the stored ones, as they are bound by what is configured.
struct StoredAccess {
    chosen: Arc<Chosen>,
    secret: Option<KeySecret>,
    by_hash: HashMap<KeyHash, Arc<Access>>,
    has_any: StoredKeys,
}

impl Keyring {
    /// Of what is configured, and of the store beside the ledger if there is one. Blocks on the file system.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`] when it cannot be read.
    pub(crate) fn open(config: &Config) -> Result<Self, LedgerError> {
        let path = KeyStore::beside(&config.ledger);
        let seen = Instant::now();
        let (store, generation, keys) = Arc::new(Chosen::of(config)).look(&path, None)?;
        let stored = Mutex::new(Stored { store, generation, keys: Arc::new(keys), seen });
        let (looking, used) = (tokio::sync::Mutex::default(), Mutex::default());
        Ok(Self { path, stored, looking, used })
    }

    /// Whether the store has keys.
    pub(crate) fn stored_keys(&self) -> StoredKeys {
        self.stored().keys.has_any
    }

    /// What `key` is found again by, once it was let in.
    pub(crate) fn mark(&self, key: &[u8]) -> KeyMark {
        let stored = self.stored().keys.secret.as_ref().map(|secret| secret.hash(key));
        KeyMark { sha256: Sha256::digest(key).into(), stored }
    }

    /// Who shows this, if that may come in.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`] when it is not known, and the store cannot be read.
    pub(crate) async fn identify(self: &Arc<Self>, shown: Shown<'_>) -> Result<Option<Arc<Access>>, LedgerError> {
        let arrived = Instant::now();
        let sha256 = match shown {
            Shown::Nothing => Sha256::digest([]).into(),
            Shown::Key(key) => Sha256::digest(key).into(),
            Shown::Mark(mark) => mark.sha256,
        };
        let is_seen = |stored: &Stored| arrived.saturating_duration_since(stored.seen) <= KEYS_SEEN_WITHIN;
        let known = match self.keys_if(is_seen) {
            Some(keys) => Ok(keys),
            None => self.look_again(arrived).await,
        };
        let found = known.as_ref().ok().and_then(|keys| self.find_stored(keys, shown));
        let chosen = Arc::clone(&self.stored().keys.chosen);
        if let Some(found) = found.or_else(|| chosen.find(&sha256)) {
            return Ok(Some(found));
        }
        let keys = self.look_again(arrived).await?;
        Ok(self.find_stored(&keys, shown).or_else(|| keys.chosen.find_anonymous(keys.has_any, shown)))
    }

    /// Whose it is among the stored keys.
    fn find_stored(&self, keys: &StoredAccess, shown: Shown<'_>) -> Option<Arc<Access>> {
        let secret = keys.secret.as_ref()?;
        let hash = match shown {
            Shown::Nothing => secret.hash(&[]),
            Shown::Key(key) => secret.hash(key),
            Shown::Mark(mark) => mark.stored?,
        };
        let found = keys.by_hash.get(&hash)?;
        self.note_use(found);
        Some(Arc::clone(found))
    }

    fn keys_if(&self, is_wanted: impl Fn(&Stored) -> bool) -> Option<Arc<StoredAccess>> {
        let stored = self.stored();
        is_wanted(&stored).then(|| Arc::clone(&stored.keys))
    }

    /// What the store has, by a look at it that began after `arrived`.
    async fn look_again(self: &Arc<Self>, arrived: Instant) -> Result<Arc<StoredAccess>, LedgerError> {
        let _one_look = self.looking.lock().await;
        if let Some(keys) = self.keys_if(|stored| stored.seen > arrived) {
            return Ok(keys);
        }
        let keyring = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || keyring.look_now()).await;
        looked.unwrap_or(Err(LedgerError::Closed))
    }

    fn look_now(&self) -> Result<Arc<StoredAccess>, LedgerError> {
        loop {
            let seen = Instant::now();
            let (store, chosen) = {
                let stored = self.stored();
                (stored.store.clone(), Arc::clone(&stored.keys.chosen))
            };
            if let Some(store) = &store
                && let Some(generation) = store.generation()?
            {
                let mut stored = self.stored();
                if stored.generation == Some(generation) {
                    stored.seen = seen;
                    return Ok(Arc::clone(&stored.keys));
                }
            }
            let (store, generation, keys) = chosen.look(&self.path, store)?;
            let keys = Arc::new(keys);
            let mut stored = self.stored();
            // What is configured may have changed meanwhile: its bounds are not these.
            if Arc::ptr_eq(&stored.keys.chosen, &chosen) {
                *stored = Stored { store, generation, keys: Arc::clone(&keys), seen };
                return Ok(keys);
            }
        }
    }

    fn note_use(&self, access: &Access) {
        let hour = unix_hour();
        if let Some(key) = access.key.as_ref().filter(|_| access.is_first_use_in(hour)) {
            self.used().insert(Arc::clone(&key.id), hour * MILLIS_PER_HOUR);
        }
    }

    /// Writes down which keys were used in which hour. Blocks on the disk.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`]; it is then tried again.
    pub(crate) fn store_uses(&self) -> Result<(), LedgerError> {
        let Some(store) = self.stored().store.clone() else { return Ok(()) };
        let used = std::mem::take(&mut *self.used());
        if used.is_empty() {
            return Ok(());
        }
        let noted: Vec<(String, i64)> = used.iter().map(|(id, at)| (id.to_string(), *at)).collect();
        store.note_use(&noted).inspect_err(|_| {
            let mut later = self.used();
            used.into_iter().for_each(|(id, at)| _ = later.entry(id).or_insert(at));
        })
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> MutexGuard<'_, HashMap<Arc<str>, i64>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hours since 1970, by the wall clock: for display.
fn unix_hour() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() / 3600).unwrap_or(0)
}
