//! Who comes in: `[[keys]]`, `anonymous`, and `[tenants.NAME]`.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use ledger::keys::KEY_ID_PREFIX;
use loader::pull::Digest;
use meter::rate::RateCard;
use scheduler::Priority;
use serde::Deserialize;

use super::quantity::Choice;
use super::{ConfigError, StaticKey};
use crate::limits::TENANT_CHARS_MAX;
use crate::tenancy::{Allowance, Budgets, ModelNames, RequestRate, Scopes};

/// `[[keys]]`: `tenant`, `sha256` of the key in hexadecimal digits, and an `id` if what it spends is to be told apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyTable {
    /// What receipts and sums call it.
    id: Option<String>,
    pub(super) tenant: String,
    pub(super) sha256: String,
    /// What it is for.
    #[serde(default)]
    scopes: Scopes,
    /// The models that there are for it.
    #[serde(default)]
    models: ModelNames,
}

/// Whether someone without a key is the tenant `anonymous`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AnonymousPolicy {
    /// On the loopback, while there are no keys.
    #[default]
    Auto,
    /// Beside keys, and from elsewhere.
    Served,
    /// Never.
    Refused,
}

/// What one tenant may, whatever key it comes with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TenantBounds {
    /// The models that there are for it.
    pub(crate) models: ModelNames,
    /// How much, and how fast.
    pub(crate) allowance: Allowance,
}

/// What an operator chose of who comes in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TenantChoices {
    /// Who comes without a key.
    pub(crate) anonymous: AnonymousPolicy,
    /// Tenants that may not everything.
    pub(crate) bounds: BTreeMap<String, TenantBounds>,
}

/// `[tenants.NAME]`: one tenant's own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantTable {
    /// Its share against others'.
    pub(super) weight: Option<NonZeroU32>,
    /// How urgent its requests may be.
    pub(super) priority_max: Option<Choice<Priority>>,
    /// Whether it may publish contexts, which everyone shares.
    publishes_contexts: Option<bool>,
    /// Whether its requests use the response cache unasked.
    pub(super) response_cache: Option<bool>,
    /// The models that there are for it.
    models: Option<ModelNames>,
    /// Requests of all kinds in a second.
    requests_per_second: Option<RequestRate>,
    /// Tokens of prompts and answers in a minute.
    tokens_per_minute: Option<NonZeroU64>,
    /// What it may spend.
    budgets: Option<Budgets>,
}

impl TenantTable {
    /// Whether it may publish contexts.
    pub(super) fn publishes_contexts(&self) -> bool {
        self.publishes_contexts.unwrap_or(false)
    }

    fn bounds(&self) -> TenantBounds {
        let allowance = Allowance {
            requests_per_second: self.requests_per_second,
            tokens_per_minute: self.tokens_per_minute,
            budgets: self.budgets.clone().unwrap_or_default(),
        };
        TenantBounds { models: self.models.clone().unwrap_or_default(), allowance }
    }
}

/// What the tables say of who comes in, where money is `rates`'.
pub(super) fn choices(
    anonymous: AnonymousPolicy,
    tenants: &BTreeMap<String, TenantTable>,
    rates: &RateCard,
) -> Result<TenantChoices, ConfigError> {
    let mut bounds = BTreeMap::new();
    for (name, table) in tenants {
        let of_tenant = table.bounds();
        for budget in of_tenant.allowance.budgets.iter() {
            budget.check(rates).map_err(|source| ConfigError::Budget { tenant: name.clone(), source })?;
        }
        if of_tenant != TenantBounds::default() {
            bounds.insert(name.clone(), of_tenant);
        }
    }
    Ok(TenantChoices { anonymous, bounds })
}

/// The keys of all tenants. A tenant may have several keys; a key is of one tenant.
pub(super) fn keys(tables: Vec<KeyTable>) -> Result<Vec<StaticKey>, ConfigError> {
    let mut keys: Vec<StaticKey> = Vec::with_capacity(tables.len());
    for (index, KeyTable { id, tenant, sha256, scopes, models }) in tables.into_iter().enumerate() {
        let shown = || tenant.chars().take(TENANT_CHARS_MAX).collect();
        let refuse = |reason| Err(ConfigError::Key { index, tenant: shown(), reason });
        if let Err(reason) = check_tenant(&tenant) {
            return refuse(reason);
        }
        let Some(sha256) = hash(&sha256) else {
            return refuse("sha256 must be the key's hash: 64 hexadecimal digits");
        };
        if keys.iter().any(|key| key.sha256 == sha256) {
            return refuse("the same key is there twice");
        }
        if let Some(id) = &id {
            if check_tenant(id).is_err() || id.starts_with(KEY_ID_PREFIX) {
                return refuse("its id is plain text, and does not begin as those of stored keys do");
            }
            if keys.iter().any(|key| key.id.as_ref() == Some(id)) {
                return refuse("another key has the same id");
            }
        }
        keys.push(StaticKey { id, tenant, sha256, scopes, models });
    }
    Ok(keys)
}

/// Why a tenant cannot be called so.
///
/// # Errors
/// The reason.
pub(crate) fn check_tenant(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err("a tenant's name is plain text");
    }
    if name.chars().count() > TENANT_CHARS_MAX {
        return Err("the tenant's name is too long");
    }
    Ok(())
}

fn hash(text: &str) -> Option<[u8; 32]> {
    // `Digest` says which texts are one; its bytes are its own.
    text.parse::<Digest>().ok()?;
    let digit = |index: usize| text.as_bytes().get(index).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(digit(2 * index)? << 4 | digit(2 * index + 1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(tenants: &str) -> Result<TenantChoices, ConfigError> {
        choices(AnonymousPolicy::Auto, &toml::from_str(tenants).unwrap(), &RateCard::default())
    }

    #[test]
    fn a_tenant_is_bounded_by_what_its_table_says() {
        let chosen = chosen(
            "[a]\nweight = 2\n[b]\nmodels = ['smol*']\nrequests_per_second = 2\ntokens_per_minute = 600\n\
             budgets = ['1 USD/day', '9 J/hour']",
        );
        let chosen = chosen.unwrap();
        assert_eq!(chosen.bounds.keys().collect::<Vec<_>>(), ["b"]);
        let TenantBounds { models, allowance } = &chosen.bounds["b"];
        assert!(models.have_any(["smollm2"].into_iter()) && !models.have_any(["gemma"].into_iter()));
        assert_eq!(allowance.requests_per_second.map(RequestRate::per_second), Some(2.0));
        assert_eq!(allowance.tokens_per_minute.map(NonZeroU64::get), Some(600));
        assert_eq!(allowance.budgets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1 USD/day", "9 J/hour"]);
    }

    #[test]
    fn a_budget_that_cannot_be_kept_is_refused() {
        assert!(matches!(chosen("[a]\nbudgets = ['1 EUR/day']"), Err(ConfigError::Budget { .. })));
        for table in ["[a]\nbudgets = ['1 USD']", "[a]\nrequests_per_second = 0", "[a]\nbudget = ['1 USD/day']"] {
            assert!(toml::from_str::<BTreeMap<String, TenantTable>>(table).is_err(), "{table}");
        }
    }
}
