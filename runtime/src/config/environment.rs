//! The environment, looked at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use loader::pull::Token;

use super::quantity::{Choice, path};
use super::{ConfigError, Layer};
use crate::logging::LogFormat;
use crate::nearest::hint;

/// Every variable that is read, and what it says.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("DAYFLY_CONFIG", "the configuration file"),
    ("DAYFLY_LISTEN", "as listen"),
    ("DAYFLY_MODELS_DIRS", "as models_dirs, separated as in PATH"),
    ("DAYFLY_LEDGER", "as ledger"),
    ("DAYFLY_LEDGER_RETENTION", "as ledger_retention"),
    ("DAYFLY_DESCRIPTORS_DIR", "as descriptors_dir"),
    ("DAYFLY_MEMORY_BUDGET", "as memory_budget"),
    ("DAYFLY_CTX_MAX", "as ctx_max"),
    ("DAYFLY_THREADS", "as threads"),
    ("DAYFLY_ISA", "as isa"),
    ("DAYFLY_KEEP_ALIVE", "as keep_alive"),
    ("DAYFLY_LINKS", "as links"),
    ("DAYFLY_PULL", "as pull"),
    ("DAYFLY_HOSTS", "as hosts, separated by commas"),
    ("DAYFLY_ORIGINS", "as origins, separated by commas"),
    ("DAYFLY_SERVER", "as --server"),
    ("DAYFLY_API_KEY", "the key to present to a server"),
    ("HF_ENDPOINT", "as hf_endpoint: where the Hugging Face Hub is"),
    ("HF_TOKEN", "the access token to present to the Hugging Face Hub"),
    ("DAYFLY_EXIT_WHEN_IDLE", "as exit_when_idle"),
    ("DAYFLY_LOG", "as log: what to log, such as info or dayfly=debug"),
    ("DAYFLY_LOG_FORMAT", "how a server logs: text or json"),
];

/// The variables of this process that are dayfly's, `NO_COLOR`, and those of the Hugging Face Hub's own tools.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    values: BTreeMap<String, OsString>,
    no_color: bool,
    config_file: Option<PathBuf>,
    /// What a service manager tells, which is no choice of an operator's.
    manager: BTreeMap<String, OsString>,
}

impl Environment {
    /// What this process was given.
    pub(crate) fn of_process() -> Self {
        Self::of(std::env::vars_os())
    }

    pub(crate) fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            if value.is_empty() {
                // As good as unset, as https://no-color.org has it.
                continue;
            }
            if name == "NO_COLOR" {
                environment.no_color = true;
            } else if name == "DAYFLY_CONFIG" {
                environment.config_file = Some(value.into());
            } else if matches!(name.as_str(), "NOTIFY_SOCKET" | "WATCHDOG_USEC" | "WATCHDOG_PID") {
                environment.manager.insert(name, value);
            } else if name.starts_with("DAYFLY_") || matches!(name.as_str(), "HF_ENDPOINT" | "HF_TOKEN") {
                environment.values.insert(name, value);
            }
        }
        environment
    }

    /// Warns of variables that nothing reads, with those that were meant, as it seems.
    pub(super) fn warn_of_unknown(&self) {
        let known: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
        for name in self.unknown() {
            tracing::warn!("the environment variable {name} means nothing to dayfly{}", hint(name, &known));
        }
    }

    /// Variables that nothing reads: misspelt, or of another version.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        let known = |name: &&str| VARIABLES.iter().any(|(known, _)| known == name);
        self.values.keys().map(String::as_str).filter(move |name| !known(name))
    }

    /// The same without this variable.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.values.remove(name);
        self
    }

    /// The variable that chooses the configuration's `key`, if it is set.
    pub(super) fn variable_of(&self, key: &str) -> Option<&'static str> {
        let is_it = |meaning: &str| {
            meaning.strip_prefix("as ").and_then(|meaning| meaning.split([',', ':']).next()) == Some(key)
        };
        let (name, _) = VARIABLES.iter().find(|(_, meaning)| is_it(meaning))?;
        self.values.contains_key(*name).then_some(name)
    }

    /// `DAYFLY_CONFIG`.
    pub(super) fn config_file(&self) -> Option<&Path> {
        self.config_file.as_deref()
    }

    /// Whether output must be without colours.
    pub(crate) fn no_color(&self) -> bool {
        self.no_color
    }

    /// `DAYFLY_LOG`.
    pub(crate) fn log(&self) -> Option<&str> {
        self.values.get("DAYFLY_LOG")?.to_str()
    }

    /// `DAYFLY_LOG_FORMAT`.
    pub(crate) fn log_format(&self) -> Result<Option<Choice<LogFormat>>, ConfigError> {
        self.parsed("DAYFLY_LOG_FORMAT")
    }

    /// `NOTIFY_SOCKET`: where a service manager listens.
    pub(crate) fn notify_socket(&self) -> Option<&OsStr> {
        self.manager.get("NOTIFY_SOCKET").map(OsString::as_os_str)
    }

    /// `WATCHDOG_USEC`: how often the service manager wants to hear of this process.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        let number = |name: &str| self.manager.get(name)?.to_str()?.parse::<u64>().ok();
        let is_meant =
            !self.manager.contains_key("WATCHDOG_PID") || number("WATCHDOG_PID") == Some(std::process::id().into());
        number("WATCHDOG_USEC").filter(|&micros| is_meant && micros > 1).map(Duration::from_micros)
    }

    /// `DAYFLY_SERVER`.
    pub(crate) fn server(&self) -> Option<&str> {
        self.values.get("DAYFLY_SERVER")?.to_str()
    }

    /// `DAYFLY_API_KEY`. A variable and no flag, because the whole machine can read a process' flags.
    pub(crate) fn api_key(&self) -> Option<&str> {
        self.values.get("DAYFLY_API_KEY")?.to_str()
    }

    /// `HF_TOKEN`. A variable alone: a file's faulty line is shown, a flag is seen by the whole machine.
    pub(super) fn hf_token(&self) -> Result<Option<Token>, ConfigError> {
        self.parsed("HF_TOKEN")
    }

    /// What the variables choose.
    pub(super) fn layer(&self) -> Result<Layer, ConfigError> {
        let models_dirs = self.values.get("DAYFLY_MODELS_DIRS");
        Ok(Layer {
            listen: self.parsed("DAYFLY_LISTEN")?,
            models_dirs: models_dirs.map(|paths| std::env::split_paths(paths).collect()),
            ledger: self.read("DAYFLY_LEDGER", path)?,
            ledger_retention: self.parsed("DAYFLY_LEDGER_RETENTION")?,
            descriptors_dir: self.read("DAYFLY_DESCRIPTORS_DIR", path)?,
            memory_budget: self.parsed("DAYFLY_MEMORY_BUDGET")?,
            ctx_max: self.parsed("DAYFLY_CTX_MAX")?,
            threads: self.parsed("DAYFLY_THREADS")?,
            isa: self.parsed("DAYFLY_ISA")?,
            keep_alive: self.parsed("DAYFLY_KEEP_ALIVE")?,
            exit_when_idle: self.parsed("DAYFLY_EXIT_WHEN_IDLE")?,
            links: self.parsed("DAYFLY_LINKS")?,
            pull: self.parsed("DAYFLY_PULL")?,
            hf_endpoint: self.parsed("HF_ENDPOINT")?,
            hosts: self.read("DAYFLY_HOSTS", list)?,
            origins: self.read("DAYFLY_ORIGINS", list)?,
            ..Layer::default()
        })
    }

    fn parsed<T>(&self, name: &'static str) -> Result<Option<T>, ConfigError>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        self.read(name, str::parse)
    }

    fn read<T, E>(&self, name: &'static str, read: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, ConfigError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let text = value.to_str().ok_or(ConfigError::Variable { name, source: "it is no valid UTF-8".into() })?;
        read(text).map(Some).map_err(|source| ConfigError::Variable { name, source: Box::new(source) })
    }
}

/// Items that are separated by commas.
fn list<T: FromStr>(text: &str) -> Result<Vec<T>, T::Err> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::parse).collect()
}
