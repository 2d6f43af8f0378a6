//! Why there is no usable configuration.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Faults;
use crate::limits::CONFIG_BYTES_MAX;
use crate::tenancy::BudgetError;

/// Why there is no usable configuration. Always the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("{path}: the configuration file cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is larger than any real one.
    #[error("{path}: a configuration file has at most {CONFIG_BYTES_MAX} bytes")]
    TooLarge { path: PathBuf },
    /// The file is no TOML, or has a key or value that is not known.
    #[error("the configuration file is not valid\n{0}")]
    Invalid(Faults),
    /// A variable has a value that it cannot have.
    #[error("the environment variable {name} is not valid")]
    Variable { name: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// Nobody is at home: there are no folders for data and state.
    #[error("no home folder is known; say --models-dir and --ledger")]
    NoHome(#[source] etcetera::HomeDirError),
    /// Strangers could come in.
    #[error(
        "listening on {listen} needs keys, because others than this machine can reach it: make one by `dayfly key create`"
    )]
    KeysNeeded { listen: SocketAddr },
    /// A tenant's key cannot be used.
    #[error("the key of tenant {tenant:?} cannot be used: {reason}")]
    Key { index: usize, tenant: String, reason: &'static str },
    /// What a tenant may spend cannot be told.
    #[error("[tenants.{tenant:?}] is not valid")]
    Budget { tenant: String, source: BudgetError },
    /// A price is negative, not a number, or beyond what an account can hold.
    #[error("the price {name} = {value} is not between 0 and 18 million")]
    Price { name: &'static str, value: f64 },
    /// A model's chat template cannot be had.
    #[error("the chat template of {model:?} cannot be used: {reason}")]
    ChatTemplate { model: String, reason: String },
    /// The pool's table has a value that it cannot have.
    #[error("[pool] is not valid: {reason}")]
    Pool { reason: &'static str },
    /// The scheduler's table has a value that it cannot have.
    #[error("[scheduler] is not valid: {reason}")]
    Scheduler { reason: &'static str },
    /// A device's table cannot be used.
    #[error("[devices.{name}] is not valid: {reason}")]
    Device { name: String, reason: String },
    /// Two tables are about one model.
    #[error("[models.{model:?}]: the model has a table already, under another of its names")]
    ModelTwice { model: String },
    /// Rows of the ledger would go before their requests have ended.
    #[error("ledger_retention is less than a day")]
    Retention,
    /// It would end before anybody could use it.
    #[error("exit_when_idle is less than a second")]
    ExitWhenIdle,
    /// No machine has that design power.
    #[error("[energy] is not valid: design_watts = {watts} is not between 1 and {max}")]
    Energy { watts: f64, max: f64 },
    /// The savings' table has something that cannot be told.
    #[error("[savings] is not valid: {reason}")]
    Savings { reason: String },
    /// The carbon table does not say what a kWh emits.
    #[error("[carbon] is not valid: {reason}")]
    Carbon { reason: String },
}

impl ConfigError {
    /// The key of the file that it is about, with the tables that it is in; empty for what no key is to blame for. The last may
    /// be none: then it is the table's.
    pub(super) fn keys(&self) -> Vec<String> {
        // Reasons begin with the key that they are about, where it is one.
        fn first_word(reason: &str) -> &str {
            reason.split(' ').next().unwrap_or_default()
        }
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect();
        match self {
            Self::KeysNeeded { .. } => keys(&["listen"]),
            Self::Key { index, .. } => keys(&["keys", &index.to_string()]),
            Self::Budget { tenant, .. } => keys(&["tenants", tenant, "budgets"]),
            Self::Price { name, .. } => keys(&["rates", name]),
            Self::ChatTemplate { model, .. } => keys(&["chat_templates", model]),
            Self::Pool { reason } => keys(&["pool", first_word(reason)]),
            Self::Scheduler { reason } => keys(&["scheduler", first_word(reason)]),
            Self::Device { name, reason } => keys(&["devices", name, first_word(reason)]),
            Self::ModelTwice { model } => keys(&["models", model]),
            Self::Retention => keys(&["ledger_retention"]),
            Self::ExitWhenIdle => keys(&["exit_when_idle"]),
            Self::Energy { .. } => keys(&["energy", "design_watts"]),
            Self::Savings { reason } => keys(&["savings", first_word(reason)]),
            Self::Carbon { reason } => keys(&["carbon", first_word(reason)]),
            Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::Invalid(_)
            | Self::Variable { .. }
            | Self::NoHome(_) => Vec::new(),
        }
    }
}
