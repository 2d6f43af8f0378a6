//! What is configured of keys and of those who come with them, which may change while the server runs.
//!
//! A change is prepared, which may fail, and then taken on in one step: whoever is identified is so by what was configured
//! before or by what is configured now. Requests that are let in already keep what they may.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use ledger::LedgerError;
use ledger::keys::{KeyHash, KeyRecord, KeyStore};
use meter::rate::RateCard;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::{ANONYMOUS, Keyring, MILLIS_PER_HOUR, Shown, Stored, StoredAccess};
use crate::config::{AnonymousPolicy, Config, StaticKey, StoredKeys, TenantBounds, is_of_this_machine};
use crate::tenancy::access::{Access, Aliases, KeyAccess};
use crate::tenancy::permissions::{ModelNames, Permissions, Scopes};

/// What an operator configured.
pub(super) struct Chosen {
    pub(super) bounds: Bounds,
    keys: Vec<([u8; 32], Arc<Access>)>,
    anonymous: AnonymousPolicy,
    /// Who comes without a key while there are no keys, and nobody but this machine comes.
    alone: Option<Arc<Access>>,
    /// Who comes without one otherwise.
    among_others: Arc<Access>,
}

/// What else bounds whoever comes with a key.
pub(super) struct Bounds {
    pub(super) of_tenants: BTreeMap<String, TenantBounds>,
    aliases: Arc<Aliases>,
    rates: RateCard,
}

/// What a keyring is to be from now on.
pub(crate) struct Reconfigured(Stored);

/// What a look at the store came to: the store, its generation, and its keys.
pub(super) type Looked = (Option<Arc<KeyStore>>, Option<i64>, StoredAccess);

impl Keyring {
    /// What this keyring would be with `config`. Changes nothing. Blocks on the file system.
    ///
    /// # Errors
    /// [`LedgerError::KeyStore`] when the store cannot be read.
    pub(crate) fn reconfigured(&self, config: &Config) -> Result<Reconfigured, LedgerError> {
        let (seen, store) = (Instant::now(), self.stored().store.clone());
        let (store, generation, keys) = Arc::new(Chosen::of(config)).look(&self.path, store)?;
        Ok(Reconfigured(Stored { store, generation, keys: Arc::new(keys), seen }))
    }

    /// Is that from now on.
    pub(crate) fn adopt(&self, Reconfigured(stored): Reconfigured) {
        *self.stored() = stored;
    }
}

impl Chosen {
    pub(super) fn of(config: &Config) -> Self {
        let bounds = Bounds {
            of_tenants: config.tenants.bounds.clone(),
            aliases: Arc::new(Aliases::of(&config.aliases)),
            rates: config.rates.clone(),
        };
        let without_key = |scopes| {
            let permissions = Permissions { scopes, ..Permissions::default() };
            Arc::new(bounds.access(ANONYMOUS, permissions, None))
        };
        Self {
            keys: config.keys.iter().map(|key| bounds.of_key(key)).collect(),
            anonymous: config.tenants.anonymous,
            alone: is_of_this_machine(config.listen.ip()).then(|| without_key(Scopes::ALL)),
            among_others: without_key(Scopes::default()),
            bounds,
        }
    }

    /// Who comes without any of the keys that there are.
    pub(super) fn find_anonymous(&self, stored: StoredKeys, shown: Shown<'_>) -> Option<Arc<Access>> {
        let has_keys = !self.keys.is_empty() || stored == StoredKeys::Some;
        match self.anonymous {
            AnonymousPolicy::Refused => None,
            AnonymousPolicy::Auto if has_keys => None,
            AnonymousPolicy::Auto => self.alone.clone(),
            // Who shows a key wants to come in by that one.
            AnonymousPolicy::Served if has_keys && !matches!(shown, Shown::Nothing) => None,
            AnonymousPolicy::Served if has_keys => Some(Arc::clone(&self.among_others)),
            AnonymousPolicy::Served => Some(self.alone.as_ref().unwrap_or(&self.among_others)).cloned(),
        }
    }

    /// All hashes are compared, so that the time tells nothing.
    pub(super) fn find(&self, sha256: &[u8; 32]) -> Option<Arc<Access>> {
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (index, (known, _)) in (0_u64..).zip(&self.keys) {
            let is_equal = known.ct_eq(sha256);
            place.conditional_assign(&index, is_equal);
            found |= is_equal;
        }
        let place = usize::try_from(place).ok().filter(|_| bool::from(found))?;
        self.keys.get(place).map(|(_, access)| Arc::clone(access))
    }

    /// What is in the store: in `store`, if that is still the one at `path`.
    pub(super) fn look(self: &Arc<Self>, path: &Path, store: Option<Arc<KeyStore>>) -> Result<Looked, LedgerError> {
        let generation = store.as_ref().map(|store| store.generation()).transpose()?.flatten();
        let store = match store.filter(|_| generation.is_some()) {
            Some(store) => Some(store),
            None => KeyStore::open(path)?.map(Arc::new),
        };
        let Some(store) = store else {
            let keys = StoredAccess {
                chosen: Arc::clone(self),
                secret: None,
                by_hash: HashMap::new(),
                has_any: StoredKeys::None,
            };
            return Ok((None, None, keys));
        };
        // Before the keys are read: a change in between is seen the next time.
        let generation = store.generation()?;
        let records = store.list()?;
        let has_any = if records.is_empty() { StoredKeys::None } else { StoredKeys::Some };
        let by_hash = records.into_iter().filter_map(|record| self.bounds.of_record(record)).collect();
        let keys = StoredAccess { chosen: Arc::clone(self), secret: Some(store.secret().clone()), by_hash, has_any };
        Ok((Some(store), generation, keys))
    }
}

impl Bounds {
    fn of_key(&self, key: &StaticKey) -> ([u8; 32], Arc<Access>) {
        let permissions = Permissions { scopes: key.scopes, models: key.models.clone(), ..Permissions::default() };
        let named = key.id.as_deref().map(|id| KeyAccess {
            id: id.into(),
            allowance: permissions.allowance.clone(),
            noted_hour: AtomicI64::new(0),
        });
        (key.sha256, Arc::new(self.access(&key.tenant, permissions, named)))
    }

    /// None where nobody comes in by it.
    fn of_record(&self, record: KeyRecord) -> Option<(KeyHash, Arc<Access>)> {
        let KeyRecord { id, tenant, hash, permissions, revoked_unix_ms: None, last_used_unix_ms, .. } = record else {
            return None;
        };
        let read = serde_json::from_str::<Permissions>(&permissions);
        let permissions = match read {
            Ok(permissions) => permissions,
            Err(error) => {
                tracing::warn!(id, "what the key may cannot be read, and it is not used: {error}");
                return None;
            }
        };
        if let Some(error) = permissions.allowance.budgets.iter().find_map(|budget| budget.check(&self.rates).err()) {
            tracing::warn!(id, "the key is not used: {error}");
            return None;
        }
        let noted_hour = AtomicI64::new(last_used_unix_ms.unwrap_or(i64::MIN).div_euclid(MILLIS_PER_HOUR));
        let key = KeyAccess { id: id.into(), allowance: permissions.allowance.clone(), noted_hour };
        Some((hash, Arc::new(self.access(&tenant, permissions, Some(key)))))
    }

    fn access(&self, tenant: &str, permissions: Permissions, key: Option<KeyAccess>) -> Access {
        let of_tenant = self.of_tenants.get(tenant).cloned().unwrap_or_default();
        let models = [permissions.models, of_tenant.models];
        Access {
            tenant: tenant.into(),
            key,
            scopes: permissions.scopes,
            models: models.into_iter().filter(|names: &ModelNames| !names.are_all()).collect(),
            of_tenant: of_tenant.allowance,
            aliases: Arc::clone(&self.aliases),
        }
    }
}
