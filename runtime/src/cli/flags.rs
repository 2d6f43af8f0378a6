//! Flags that several commands share, and how they become a configuration.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use kernels::Isa;
use loader::catalog::LinkPolicy;

use super::failure::Failure;
use super::output::Format;
use crate::config::{ByteSize, Choice, Config, Environment, IsaName, Layer, Named, PullPolicy, Source};
use crate::limits::BLOCKED_MAX;
use crate::logging::Log;
use crate::shutdown;

/// What help puts them under, behind a command's own.
const OF_ALL: &str = "Options of every command";

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Global {
    /// Read this configuration file
    #[arg(long, global = true, help_heading = OF_ALL, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true, help_heading = OF_ALL)]
    pub(super) json: bool,
    /// Ask the server at this address; a command that needs one otherwise tries the one at the configured address
    #[arg(long, global = true, help_heading = OF_ALL, value_name = "URL")]
    pub(super) server: Option<String>,
    /// Look for models here; repeat it for several directories
    #[arg(long = "models-dir", global = true, help_heading = OF_ALL, value_name = "DIR")]
    pub(super) models_dirs: Vec<PathBuf>,
    /// Do not fetch known models on first use
    #[arg(long, global = true, help_heading = OF_ALL)]
    pub(super) no_pull: bool,
}

/// Flags of every command that may start a server.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServerFlags {
    /// Memory for weights and key-value caches together, such as 700MiB
    #[arg(long, value_name = "SIZE")]
    pub(super) memory_budget: Option<ByteSize>,
    /// Positions that a sequence may have, whatever the model can
    #[arg(long, value_name = "TOKENS")]
    pub(super) ctx_max: Option<NonZeroUsize>,
    /// Threads that compute
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Instructions to use; the best that the processor has without it
    #[arg(long, value_name = "NAME", value_parser = isa())]
    pub(super) isa: Option<IsaName>,
    /// Where receipts are kept
    #[arg(long, value_name = "FILE")]
    pub(super) ledger: Option<PathBuf>,
    /// What links inside the models directories may do
    #[arg(long, value_name = "POLICY", value_parser = word::<LinkPolicy>())]
    pub(super) links: Option<Choice<LinkPolicy>>,
}

impl ServerFlags {
    /// The layer of these flags.
    pub(super) fn layer(&self) -> Layer {
        Layer {
            memory_budget: self.memory_budget,
            ctx_max: self.ctx_max,
            threads: self.threads,
            isa: self.isa,
            ledger: self.ledger.clone(),
            links: self.links,
            ..Layer::default()
        }
    }

    /// Whether any is given.
    pub(super) fn are_given(&self) -> bool {
        self.memory_budget.is_some()
            || self.ctx_max.is_some()
            || self.threads.is_some()
            || self.isa.is_some()
            || self.ledger.is_some()
            || self.links.is_some()
    }
}

/// What every command gets.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) global: Global,
    pub(super) environment: Environment,
    pub(super) log: Log,
}

impl Context {
    /// The layer of the flags that every command has.
    pub(super) fn layer(&self) -> Layer {
        let Global { models_dirs, no_pull, .. } = &self.global;
        Layer {
            models_dirs: (!models_dirs.is_empty()).then(|| models_dirs.clone()),
            pull: no_pull.then_some(Choice(PullPolicy::Never)),
            ..Layer::default()
        }
    }

    /// The configuration with the flags of a command on top.
    pub(super) fn config(&self, flags: Layer) -> Result<Config, Failure> {
        Ok(Config::load(self.with_global(flags), self.global.config.as_deref(), &self.environment)?)
    }

    /// Where the configuration is from, with the flags of a command on top.
    pub(super) fn source(&self, flags: Layer) -> Result<Source, Failure> {
        Ok(Source::find(self.with_global(flags), self.global.config.as_deref(), &self.environment)?)
    }

    fn with_global(&self, flags: Layer) -> Layer {
        let of_all = self.layer();
        Layer { models_dirs: of_all.models_dirs, pull: of_all.pull.or(flags.pull), ..flags }
    }

    /// What stdout carries.
    pub(super) fn format(&self) -> Format {
        if self.global.json { Format::Json } else { Format::Text }
    }

    /// The server that was named, by flag or variable.
    pub(super) fn server(&self) -> Option<&str> {
        self.global.server.as_deref().or(self.environment.server())
    }
}

/// Reads one of the words for a `T`, of which help and shells are told.
pub(super) fn word<T: Named + Send + Sync>() -> impl TypedValueParser<Value = Choice<T>> {
    let words = T::WORDS.iter().map(|(word, _)| *word);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Choice<T>>())
}

/// Reads the name of instructions, of which help and shells are told.
pub(super) fn isa() -> impl TypedValueParser<Value = IsaName> {
    PossibleValuesParser::new(Isa::ALL.map(Isa::name)).try_map(|name| name.parse::<IsaName>())
}

/// Completes when the command is to end before it is done: by SIGINT or SIGTERM. From then on the next one ends it at once.
pub(super) async fn interrupted() -> Failure {
    shutdown::requested().await.map_or_else(|error| Failure::Failed(error.into()), Failure::Interrupted)
}

/// Runs a command's asynchronous part on threads of its own. Work that blocks and was given up (a pull, a load) does not
/// hold up the end for long.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| anyhow::Error::new(error).context("no threads can be started"))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKED_MAX);
    done
}
