//! `dayfly key create`, `dayfly key list` and `dayfly key revoke`
//!
//! They change the store beside the ledger, whether a server runs or not; one that runs knows at once.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ledger::keys::{KeyRecord, KeyStore, NewKey, Revocation};
use serde_json::{Value, json};

use super::failure::Failure;
use super::flags::Context;
use super::output::{self, Column, Format, table};
use crate::config::{Config, Layer, check_tenant};
use crate::limits::TENANT_CHARS_MAX;
use crate::tenancy::{Allowance, Budget, Budgets, ModelNames, Permissions, RequestRate, Scope, Scopes};

/// Make, list and revoke the keys by which tenants come in, beside a running server or without one
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key and print it, this once; from then on the server asks everyone for one
#[derive(Args, Debug)]
pub(super) struct Create {
    /// Who comes with it, and is charged
    #[arg(long)]
    tenant: String,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// What it is for; repeat it for several. Inference and read, unless it is said
    #[arg(long = "scope", value_name = "SCOPE", value_parser = Scope::ALL.map(Scope::name))]
    scopes: Vec<String>,
    /// A model that there is for it, or a pattern with `*`; repeat it for several. All of them, unless it is said
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// How many requests it may make in a second, such as 5 or 0.5
    #[arg(long, value_name = "RATE")]
    requests_per_second: Option<RequestRate>,
    /// How many tokens its requests may have in a minute, prompts and answers together
    #[arg(long, value_name = "TOKENS")]
    tokens_per_minute: Option<NonZeroU64>,
    /// What may be spent by it, such as "5 USD/day" or "100000 tokens/hour"; repeat it for several
    #[arg(long = "budget", value_name = "AMOUNT/WINDOW")]
    budgets: Vec<Budget>,
    #[command(flatten)]
    place: Place,
}

/// List all keys, without the keys themselves
#[derive(Args, Debug)]
pub(super) struct List {
    /// This tenant's alone
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Let nobody in by a key any more
#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// The key's id
    id: String,
    #[command(flatten)]
    place: Place,
}

/// Which store.
#[derive(Args, Debug)]
struct Place {
    /// The ledger beside which they are, instead of the configured one
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

impl Place {
    fn config(&self, context: &Context) -> Result<Config, Failure> {
        context.config(Layer { ledger: self.ledger.clone(), ..Layer::default() })
    }
}

impl KeyCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(context),
            Self::List(list) => list.run(context),
            Self::Revoke(revoke) => revoke.run(context),
        }
    }
}

impl Create {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = self.place.config(context)?;
        let key = self.wanted(&config)?;
        let store = KeyStore::open_or_create(&KeyStore::beside(&config.ledger)).map_err(anyhow::Error::new)?;
        let (record, text) = store.add(key).map_err(anyhow::Error::new)?;
        if context.format() == Format::Json {
            let mut shown = described(&record);
            shown["key"] = json!(text);
            return output::print_json(&shown);
        }
        output::note(format_args!("{} is {}'s; it is not shown again:", record.id, record.tenant));
        output::print(text)
    }

    fn wanted(&self, config: &Config) -> Result<NewKey, Failure> {
        let usage = |error: anyhow::Error| Failure::Usage(error);
        check_tenant(&self.tenant).map_err(|reason| usage(anyhow::anyhow!(reason)))?;
        if self.name.as_ref().is_some_and(|name| !is_plain(name)) {
            return Err(usage(anyhow::anyhow!("a key's name is plain text of at most {TENANT_CHARS_MAX} characters")));
        }
        for budget in &self.budgets {
            budget.check(&config.rates).map_err(|error| usage(error.into()))?;
        }
        let scopes = match self.scopes.is_empty() {
            true => Scopes::default(),
            false => Scopes::try_from(self.scopes.clone()).map_err(|error| usage(error.into()))?,
        };
        let permissions = Permissions {
            scopes,
            models: ModelNames::try_from(self.models.clone()).map_err(|error| usage(error.into()))?,
            allowance: Allowance {
                requests_per_second: self.requests_per_second,
                tokens_per_minute: self.tokens_per_minute,
                budgets: Budgets::try_from(self.budgets.clone()).map_err(|error| usage(error.into()))?,
            },
        };
        let permissions = serde_json::to_string(&permissions).map_err(anyhow::Error::from)?;
        Ok(NewKey { tenant: self.tenant.clone(), name: self.name.clone(), permissions })
    }
}

impl List {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = self.place.config(context)?;
        let store = KeyStore::open(&KeyStore::beside(&config.ledger)).map_err(anyhow::Error::new)?;
        let mut keys = store.map(|store| store.list()).transpose().map_err(anyhow::Error::new)?.unwrap_or_default();
        keys.retain(|key| self.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant));
        if context.format() == Format::Json {
            return output::print_json(&keys.iter().map(described).collect::<Vec<_>>());
        }
        let columns = ["ID", "TENANT", "NAME", "SCOPES", "MODELS", "BOUNDS", "STATE", "LAST USED"].map(Column::Left);
        output::print(table(&columns, keys.iter().map(row)))
    }
}

impl Revoke {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = self.place.config(context)?;
        let store = KeyStore::open(&KeyStore::beside(&config.ledger)).map_err(anyhow::Error::new)?;
        let found = match store {
            Some(store) => store.revoke(&self.id).map_err(anyhow::Error::new)?,
            None => Revocation::Unknown,
        };
        let was = match found {
            Revocation::Revoked => "is revoked",
            Revocation::Earlier => "was revoked before",
            Revocation::Unknown => return Err(anyhow::anyhow!("there is no key {:?}", self.id).into()),
        };
        match context.format() {
            Format::Json => output::print_json(&json!({ "id": self.id, "revoked": true })),
            Format::Text => output::print(format_args!("{} {was}", self.id)),
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.trim().is_empty() && !name.chars().any(char::is_control) && name.chars().count() <= TENANT_CHARS_MAX
}

/// A key for programs: what the store says of it, but for its hash.
fn described(key: &KeyRecord) -> Value {
    let permissions: Value = serde_json::from_str(&key.permissions).unwrap_or(Value::Null);
    json!({
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "permissions": permissions,
        "created_unix_ms": key.created_unix_ms,
        "revoked_unix_ms": key.revoked_unix_ms,
        "last_used_unix_ms": key.last_used_unix_ms,
    })
}

/// A key for people.
fn row(key: &KeyRecord) -> Vec<String> {
    let (scopes, models, bounds) = match serde_json::from_str::<Permissions>(&key.permissions) {
        Ok(permissions) => {
            let Permissions { scopes, models, allowance } = permissions;
            (scopes.names().join(","), models.to_string(), bounds(&allowance))
        }
        Err(_) => ("?".to_owned(), "?".to_owned(), "of another version".to_owned()),
    };
    let state = if key.revoked_unix_ms.is_some() { "revoked" } else { "valid" };
    let last_used = key.last_used_unix_ms.and_then(chrono::DateTime::from_timestamp_millis);
    let last_used = last_used.map_or_else(|| "never".to_owned(), |at| at.format("%Y-%m-%d %H:00 UTC").to_string());
    let name = key.name.clone().unwrap_or_default();
    vec![key.id.clone(), key.tenant.clone(), name, scopes, models, bounds, state.to_owned(), last_used]
}

fn bounds(allowance: &Allowance) -> String {
    let rate = allowance.requests_per_second.map(|rate| format!("{} requests/s", rate.per_second()));
    let tokens = allowance.tokens_per_minute.map(|tokens| format!("{tokens} tokens/min"));
    let budgets = allowance.budgets.iter().map(ToString::to_string);
    rate.into_iter().chain(tokens).chain(budgets).collect::<Vec<_>>().join(", ")
}
