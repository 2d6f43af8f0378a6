//! What an operator may choose, and from where: flags, then the environment (`DAYFLY_*`), then a TOML file, then
//! defaults. The only place that reads the environment (and `HF_*`, which the Hub's own tools read as well).
//!
//! Every source becomes a [`Layer`]; the first layer that has a value decides. Lists and tables are taken whole from one
//! layer, never merged.
//!
//! Invariants: an unknown key of the file is refused, an unknown `DAYFLY_*` variable warned about; whoever listens
//! beyond this machine has keys; the memory budget is never more than the machine, or its container, has.
//! Deliberately absent: what no operator needs to choose (see [`limits`](crate::limits)).

mod allowed_origin;
mod changes;
mod chat_templates;
mod check;
mod contexts;
mod devices;
mod energy;
mod environment;
mod error;
mod file;
mod http;
mod layer;
mod machine;
mod pool;
mod quantity;
mod response_cache;
mod savings;
mod scheduler;
mod source;
mod tables;
mod tenants;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::scheduler::{KeepAlive, PoolOptions};
use etcetera::BaseStrategy as _;
use kernels::{Isa, KvPrecision};
use loader::catalog::{Catalog, CatalogOptions, LinkPolicy};
use loader::pull::{Hub, KNOWN, Known};
use meter::Microwatts;
use meter::carbon::CarbonFactors;
use meter::rate::RateCard;

use self::allowed_origin::AllowedOrigin;
pub(crate) use self::changes::{Change, Effect, changes, with_live};
pub(crate) use self::check::Checked;
pub(crate) use self::contexts::ContextChoices;
pub(crate) use self::devices::{DeviceChoice, DeviceWay, HOST};
pub(crate) use self::environment::{Environment, VARIABLES};
pub(crate) use self::error::ConfigError;
use self::file::ConfigFile;
pub(crate) use self::file::{Fault, Faults};
pub(crate) use self::http::{Overlong, UnknownFields};
pub(crate) use self::layer::Layer;
pub(crate) use self::machine::Bounds;
use self::machine::Machine;
pub(crate) use self::pool::{ModelChoices, PagePolicy};
use self::quantity::Parsed;
pub(crate) use self::quantity::{ByteSize, Choice, IsaName, Named, Span, Stay, bytes_text, decimal, word_of};
pub(crate) use self::response_cache::ResponseCacheChoices;
pub(crate) use self::savings::MoneyChoices;
pub(crate) use self::scheduler::{SchedulerChoices, Speculation};
pub(crate) use self::source::Source;
pub(crate) use self::tenants::{AnonymousPolicy, TenantBounds, TenantChoices, check_tenant};
pub(crate) use self::told::{Origin, Setting};
use crate::limits::{EXIT_WHEN_IDLE_MIN, MEMORY_BUDGET_BYTES_MIN, RETENTION_MIN};
use crate::logging::LogDirectives;
use crate::tenancy::{ModelNames, Scopes};

/// Where a server listens, unless told otherwise.
pub(crate) const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
/// How long a model stays after its last answer, unless told otherwise.
const KEEP_ALIVE_DEFAULT: KeepAlive = KeepAlive::For(Duration::from_secs(300));

/// Everything that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Address and port of the server.
    pub(crate) listen: SocketAddr,
    /// After how long without use a server that was told to serve ends by itself; `None` is never.
    pub(crate) exit_when_idle: Option<Duration>,
    /// What is logged, where the environment does not say.
    pub(crate) log: Option<LogDirectives>,
    /// Models directories, the most important first; never empty. Pulls go to the first.
    pub(crate) models_dirs: Vec<PathBuf>,
    /// The ledger's file.
    pub(crate) ledger: PathBuf,
    /// How long rows of the ledger are kept; `None` is for ever. Their sums are.
    pub(crate) ledger_retention: Option<Duration>,
    /// Where tokenizers are kept between runs: a cache, which may be lost.
    pub(crate) descriptors_dir: PathBuf,
    /// What was typed in conversations at a terminal.
    pub(crate) chat_history: PathBuf,
    /// What was asked for, whatever there is; `None` is a share of what there is.
    pub(crate) memory_budget_asked: Option<u64>,
    /// Of the machine's memory, what other devices have.
    pub(crate) memory_beside_bytes: u64,
    /// What computes, `cpu` first.
    pub(crate) devices: Vec<DeviceChoice>,
    /// Positions of a sequence at most, whatever the model has; `None` leaves it to the model.
    pub(crate) context_max: Option<usize>,
    /// Threads that compute.
    pub(crate) threads: NonZeroUsize,
    /// Instructions that they use.
    pub(crate) isa: Isa,
    /// How models share the memory, and how long they stay where nobody says.
    pub(crate) pool: PoolOptions,
    /// What is kept of published contexts, and who publishes.
    pub(crate) contexts: ContextChoices,
    /// Who waits, who computes, and what is kept of what was computed.
    pub(crate) scheduler: SchedulerChoices,
    /// Answers that are given again, and to whom unasked.
    pub(crate) response_cache: ResponseCacheChoices,
    /// How the pages of models' files come and go.
    pub(crate) pages: PagePolicy,
    /// What single models have of their own.
    pub(crate) models: ModelChoices,
    /// What links inside the models directories may do.
    pub(crate) links: LinkPolicy,
    /// Further names for models; what can be pulled has its own.
    pub(crate) aliases: BTreeMap<String, String>,
    /// Sources of chat templates that take the place of the files' own, by the models' true names.
    pub(crate) chat_templates: BTreeMap<String, Arc<str>>,
    /// Who may come in, beside those whose keys are stored.
    pub(crate) keys: Vec<StaticKey>,
    /// Who comes in without a key, and what tenants may.
    pub(crate) tenants: TenantChoices,
    /// Names under which the server may be addressed, beside those of this machine.
    pub(crate) hosts: Vec<String>,
    /// Web pages of other origins that may use the server.
    pub(crate) origins: Vec<AllowedOrigin>,
    /// What becomes of a body's fields that mean nothing here.
    pub(crate) unknown_fields: UnknownFields,
    /// What becomes of requests whose answers may be longer than there is room for.
    pub(crate) overlong_answers: Overlong,
    /// Whether known models are fetched when they are first used.
    pub(crate) pull: PullPolicy,
    /// Where the Hugging Face Hub is, and the token to present to it.
    pub(crate) hub: Hub,
    /// The thermal design power of the processors together, where the operator tells it.
    pub(crate) design_power: Option<Microwatts>,
    /// What a kilowatt-hour emits here.
    pub(crate) carbon: CarbonFactors,
    /// What resources cost here.
    pub(crate) rates: RateCard,
    /// What the savings report says of money beside that.
    pub(crate) savings: MoneyChoices,
}

/// A key that is configured, by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaticKey {
    /// What receipts and sums call it, if they do.
    pub(crate) id: Option<String>,
    /// Who comes with it.
    pub(crate) tenant: String,
    /// SHA-256 of the key's bytes.
    pub(crate) sha256: [u8; 32],
    /// What it is for.
    pub(crate) scopes: Scopes,
    /// The models that there are for it.
    pub(crate) models: ModelNames,
}

/// Whether the store has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredKeys {
    /// It has none, and never had.
    None,
    /// It has, if only revoked ones.
    Some,
}

/// Whether known models are fetched when they are first used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    /// When a request first names them.
    #[default]
    OnFirstUse,
    /// Only where someone asks for just that: by `dayfly pull`, or `/api/pull`.
    Never,
}

/// Where things are by default.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    data: PathBuf,
    state: PathBuf,
    cache: PathBuf,
    config: PathBuf,
}

impl Folders {
    /// By the XDG base directory specification.
    fn of_user() -> Result<Self, ConfigError> {
        let base = etcetera::base_strategy::Xdg::new().map_err(ConfigError::NoHome)?;
        let state = base.state_dir().unwrap_or_else(|| base.data_dir());
        Ok(Self {
            data: base.data_dir().join("dayfly"),
            state: state.join("dayfly"),
            cache: base.cache_dir().join("dayfly"),
            config: base.config_dir().join("dayfly"),
        })
    }
}

impl Config {
    /// Puts flags, environment, file and defaults together. The file is `file`, or the environment's, or the one in the
    /// user's configuration folder if it is there.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn load(flags: Layer, file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let source = Source::find(flags, file, environment)?;
        source.config(&source.read()?.unwrap_or_default())
    }

    /// The first layer that has a value decides; then come the defaults.
    fn of(layers: [Layer; 3], folders: &Folders, machine: &Machine) -> Result<Self, ConfigError> {
        let chosen = layers.into_iter().reduce(Layer::or).unwrap_or_default();
        let keys = tenants::keys(chosen.keys.unwrap_or_default())?;
        let mut aliases = chosen.aliases.unwrap_or_default();
        // What an alias stands for may be told by the name that it is pulled by.
        for stem in aliases.values_mut() {
            if let Some(known) = Known::find(stem) {
                known.stem().clone_into(stem);
            }
        }
        for known in KNOWN {
            aliases.entry(known.alias.to_owned()).or_insert_with(|| known.stem().to_owned());
        }
        let chat_templates = chat_templates::sources(chosen.chat_templates.unwrap_or_default(), &aliases)?;
        let pool = chosen.pool.unwrap_or_default();
        let keep_alive = chosen.keep_alive.map_or(KEEP_ALIVE_DEFAULT, |Stay(keep_alive)| keep_alive);
        let rates = chosen.rates.map_or_else(|| Ok(RateCard::default()), tables::RateTable::card)?;
        let asked_bytes = chosen.memory_budget.map(|ByteSize(bytes)| bytes);
        let threads = chosen.threads.unwrap_or(machine.threads);
        let mut devices = devices::choices(chosen.devices.unwrap_or_default(), threads)?;
        let memory_beside_bytes = devices::host_bytes_beside_cpu(&devices);
        let memory_budget_bytes = machine.budget_beside(asked_bytes, memory_beside_bytes);
        if memory_beside_bytes > 0 && memory_budget_bytes < asked_bytes.unwrap_or(MEMORY_BUDGET_BYTES_MIN) {
            let reason = "what devices on the processor may take together is more than this machine has".to_owned();
            return Err(ConfigError::Device { name: devices[0].name.to_string(), reason });
        }
        devices[0].memory_bytes = memory_budget_bytes;
        if let Some(asked) = asked_bytes.filter(|&asked| asked > memory_budget_bytes) {
            tracing::warn!(asked, has = memory_budget_bytes, "the memory budget is cut to the memory that there is");
        }
        let tenants = chosen.tenants.unwrap_or_default();
        let anonymous = chosen.anonymous.map_or(AnonymousPolicy::default(), |Choice(policy)| policy);
        let contexts_dir = folders.state.join("contexts");
        let models = pool::choices(chosen.models.unwrap_or_default(), &aliases)?;
        let models_dirs = chosen.models_dirs.filter(|dirs| !dirs.is_empty());
        Ok(Self {
            listen: chosen.listen.unwrap_or(LISTEN_DEFAULT),
            exit_when_idle: chosen.exit_when_idle.map(idle_span).transpose()?,
            log: chosen.log.map(|Parsed(directives)| directives),
            models_dirs: models_dirs.unwrap_or_else(|| vec![folders.data.join("models")]),
            ledger: chosen.ledger.unwrap_or_else(|| folders.state.join("ledger.sqlite")),
            ledger_retention: chosen.ledger_retention.map(retention).transpose()?,
            chat_history: folders.state.join("chat_history"),
            memory_budget_asked: asked_bytes,
            memory_beside_bytes,
            devices,
            descriptors_dir: chosen.descriptors_dir.unwrap_or_else(|| folders.cache.join("descriptors")),
            context_max: chosen.ctx_max.map(NonZeroUsize::get),
            threads,
            isa: chosen.isa.map_or_else(Isa::detect, |IsaName(isa)| isa),
            contexts: chosen.contexts.unwrap_or_default().choices(contexts_dir, &tenants),
            response_cache: chosen.response_cache.unwrap_or_default().choices(&tenants),
            tenants: tenants::choices(anonymous, &tenants, &rates)?,
            scheduler: chosen.scheduler.unwrap_or_default().choices(memory_budget_bytes, tenants, &models)?,
            pages: pool.pages(),
            pool: pool.options(keep_alive, &rates)?,
            models,
            links: chosen.links.map_or(LinkPolicy::default(), |Choice(links)| links),
            aliases,
            chat_templates,
            keys,
            hosts: chosen.hosts.unwrap_or_default(),
            origins: chosen.origins.unwrap_or_default(),
            unknown_fields: chosen.http.unwrap_or_default().unknown_fields(),
            overlong_answers: chosen.http.unwrap_or_default().overlong_answers(),
            pull: chosen.pull.map_or(PullPolicy::default(), |Choice(pull)| pull),
            hub: chosen.hf_endpoint.map_or_else(Hub::default, |Parsed(endpoint)| Hub { endpoint, token: None }),
            design_power: chosen.energy.unwrap_or_default().design_power()?,
            carbon: chosen.carbon.map_or_else(|| Ok(CarbonFactors::default()), tables::CarbonTable::factors)?,
            savings: chosen.savings.unwrap_or_default().choices()?,
            rates,
        })
    }
}

impl Config {
    /// What the keys and values of a model's sequences are kept as.
    pub(crate) fn kv_precision(&self, model: &str) -> KvPrecision {
        self.models.kv_precisions.get(model).copied().unwrap_or(self.scheduler.kv_precision)
    }

    /// Makes sure that no stranger comes in unasked, given whether there are stored keys.
    ///
    /// # Errors
    /// [`ConfigError::KeysNeeded`].
    pub(crate) fn check_strangers(&self, stored: StoredKeys) -> Result<(), ConfigError> {
        let is_open = self.keys.is_empty() && stored == StoredKeys::None && !is_of_this_machine(self.listen.ip());
        if is_open && self.tenants.anonymous == AnonymousPolicy::Auto {
            return Err(ConfigError::KeysNeeded { listen: self.listen });
        }
        Ok(())
    }

    /// The models of the models directories, under their names and aliases.
    pub(crate) fn catalog(&self) -> Catalog {
        let (roots, aliases) = (self.models_dirs.clone(), self.aliases.clone());
        Catalog::new(CatalogOptions { roots, aliases, links: self.links })
    }
}

/// The budget in the memory that there is now, beside what other devices have of it: a container's may have changed. Reads a few short files of the system.
pub(crate) fn memory_budget_now(asked_bytes: Option<u64>, beside_bytes: u64) -> u64 {
    Machine::detect().budget_beside(asked_bytes, beside_bytes)
}

/// Whether nobody but this machine can connect to `address`.
pub(crate) fn is_of_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn retention(Span(retention): Span) -> Result<Duration, ConfigError> {
    if retention < RETENTION_MIN { Err(ConfigError::Retention) } else { Ok(retention) }
}

fn idle_span(Span(span): Span) -> Result<Duration, ConfigError> {
    if span < EXIT_WHEN_IDLE_MIN { Err(ConfigError::ExitWhenIdle) } else { Ok(span) }
}
