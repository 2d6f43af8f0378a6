//! Whoever asks, once it is known who that is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::permissions::{Allowance, ModelNames, Scope, Scopes};
use crate::config::ContextChoices;
use crate::http::record::RequestRecord;

/// What a request may, by the key that it came with.
#[derive(Debug)]
pub(crate) struct Access {
    /// Who is charged.
    pub(crate) tenant: Arc<str>,
    /// The key, where it has a name and bounds of its own.
    pub(crate) key: Option<KeyAccess>,
    pub(super) scopes: Scopes,
    /// The models that there are for it: each has to have one of a model's names.
    pub(super) models: Vec<ModelNames>,
    /// What its tenant may, by whatever keys.
    pub(super) of_tenant: Allowance,
    /// Further names of models, which the operator gave.
    pub(super) aliases: Arc<Aliases>,
}

/// A stored key, or a configured one that has an id.
#[derive(Debug)]
pub(crate) struct KeyAccess {
    pub(crate) id: Arc<str>,
    pub(super) allowance: Allowance,
    /// The hour of its last use that was noted, since 1970.
    pub(super) noted_hour: AtomicI64,
}

/// Whose rates and budgets: a key's own, or those of a tenant with all of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Key(Arc<str>),
    Tenant(Arc<str>),
}

/// Whoever asks, and what the one request is called that is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) access: Arc<Access>,
    /// The client's own name for it, by which a repeat is known as one.
    pub(crate) idempotency_key: Option<Arc<str>>,
    /// Where what becomes of it is noted for the log.
    pub(crate) record: Option<Arc<RequestRecord>>,
}

/// Further names of models, by their true names.
#[derive(Debug, Default)]
pub(crate) struct Aliases(BTreeMap<String, Vec<String>>);

impl Aliases {
    /// Of the operator's table, which has the true names by the further ones.
    pub(super) fn of(names: &BTreeMap<String, String>) -> Self {
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (alias, name) in names {
            aliases.entry(name.clone()).or_default().push(alias.clone());
        }
        Self(aliases)
    }
}

/// Whose contexts someone may replace and delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextAuthority {
    /// Its own.
    Own,
    /// Everyone's.
    All,
}

impl ContextAuthority {
    /// Whether `tenant` may replace or delete what `publisher` published.
    pub(crate) fn may_change(self, tenant: &str, publisher: &str) -> bool {
        self == Self::All || tenant == publisher
    }
}

impl Access {
    /// Someone who may everything.
    pub(crate) fn unbounded(tenant: &str) -> Arc<Self> {
        Arc::new(Self {
            tenant: tenant.into(),
            key: None,
            scopes: Scopes::ALL,
            models: Vec::new(),
            of_tenant: Allowance::default(),
            aliases: Arc::default(),
        })
    }

    /// Someone who reads and infers.
    #[cfg(test)]
    pub(crate) fn reading(tenant: &str) -> Self {
        Self { tenant: tenant.into(), ..Self::bounded(Allowance::default(), Allowance::default()) }
    }

    /// A key of the tenant `acme`, within these bounds.
    #[cfg(test)]
    pub(super) fn bounded(of_key: Allowance, of_tenant: Allowance) -> Self {
        let key = KeyAccess { id: "key_1".into(), allowance: of_key, noted_hour: AtomicI64::new(0) };
        Self {
            tenant: "acme".into(),
            key: Some(key),
            scopes: Scopes::default(),
            models: Vec::new(),
            of_tenant,
            aliases: Arc::default(),
        }
    }

    /// Whether it is for `scope`.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }

    /// Whether there is a model of this true name for it.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        let aliases = self.aliases.0.get(model).map(Vec::as_slice).unwrap_or_default();
        let names = || [model].into_iter().chain(aliases.iter().map(String::as_str));
        self.models.iter().all(|allowed| allowed.have_any(names()))
    }

    /// Whether it sees what is everyone's, and nobody's.
    pub(crate) fn sees_all(&self) -> bool {
        self.has(Scope::Admin)
    }

    /// Whether it sees what is `tenant`'s.
    pub(crate) fn sees(&self, tenant: &str) -> bool {
        self.sees_all() || *self.tenant == *tenant
    }

    /// The id of the key, where it has one.
    pub(crate) fn key_id(&self) -> Option<Arc<str>> {
        self.key.as_ref().map(|key| Arc::clone(&key.id))
    }

    /// Who takes part in what it takes, and what each may.
    pub(super) fn holders(&self) -> impl Iterator<Item = (Holder, &Allowance)> {
        let of_key = self.key.as_ref().map(|key| (Holder::Key(Arc::clone(&key.id)), &key.allowance));
        of_key.into_iter().chain([(Holder::Tenant(Arc::clone(&self.tenant)), &self.of_tenant)])
    }

    /// Whose contexts it may replace and delete; none where it may publish none.
    pub(crate) fn context_authority(&self, choices: &ContextChoices) -> Option<ContextAuthority> {
        if self.has(Scope::Admin) {
            return Some(ContextAuthority::All);
        }
        choices.may_publish(&self.tenant).then_some(ContextAuthority::Own)
    }

    /// Whether it is used in an hour in which it was not used before, as far as is noted.
    pub(super) fn is_first_use_in(&self, hour: i64) -> bool {
        self.key.as_ref().is_some_and(|key| key.noted_hour.swap(hour, Ordering::Relaxed) != hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(models: &[&[&str]]) -> Access {
        let names = |patterns: &&[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        let names = models.iter().map(|patterns| names(patterns).try_into().unwrap());
        let aliases = BTreeMap::from([("small".to_owned(), "SmolLM2-135M".to_owned())]);
        Access {
            tenant: "acme".into(),
            key: None,
            scopes: Scopes::default(),
            models: names.collect(),
            of_tenant: Allowance::default(),
            aliases: Arc::new(Aliases::of(&aliases)),
        }
    }

    #[test]
    fn a_model_is_allowed_by_any_of_its_names_and_by_key_and_tenant_both() {
        assert!(access(&[]).may_use("anything"));
        assert!(access(&[&["small"]]).may_use("SmolLM2-135M"));
        assert!(access(&[&["Smol*"]]).may_use("SmolLM2-135M"));
        assert!(!access(&[&["small"]]).may_use("gemma"));
        assert!(access(&[&["Smol*", "gemma"], &["*"]]).may_use("gemma"));
        assert!(!access(&[&["Smol*", "gemma"], &["Smol*"]]).may_use("gemma"));
    }

    #[test]
    fn a_tenant_sees_its_own_and_who_administers_all() {
        let mut access = access(&[]);
        let dir = std::path::PathBuf::new();
        let choices = ContextChoices::in_folder(dir, 0);
        assert!(access.sees("acme") && !access.sees("other"));
        assert_eq!(access.context_authority(&choices), None);
        access.scopes = Scopes::ALL;
        assert!(access.sees("acme") && access.sees("other"));
        assert_eq!(access.context_authority(&choices), Some(ContextAuthority::All));
        assert!(ContextAuthority::Own.may_change("acme", "acme") && !ContextAuthority::Own.may_change("acme", "other"));
    }
}
