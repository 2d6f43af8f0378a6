//! One server: its parts, put together once.

mod idle;
mod pulls;
mod reload;
mod upkeep;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use ledger::{Ledger, LedgerOptions};
use loader::catalog::Entry;
use loader::pull::Known;
use meter::Host;
use models::Descriptor;
use scheduler::{DrainOutcome, Instant};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub(crate) use self::reload::{Reload, ReloadOutcome};
use self::upkeep::{pin_configured, remove_old_rows, store_accounts, store_energy, store_key_uses};
use crate::activity::Activity;
use crate::config::{Config, PullPolicy};
use crate::contexts::Contexts;
use crate::devices::{Devices, Parts};
use crate::facts::FactsKept;
use crate::generate::load_failed;
use crate::grammars::Grammars;
use crate::http::Exit;
use crate::http::error::ApiError;
use crate::limits::{DRAIN_MAX, STALL_MAX};
use crate::live::{self, Live};
use crate::loading::{LoadError, LoadedModel, Models, untagged};
use crate::memory_budget::MemoryBudget;
use crate::metering::energy;
use crate::metering::{Metering, Prices, RecentReceipts, follow_residency};
use crate::pool_events::PoolEvents;
use crate::prefixes::Prefixes;
use crate::response_cache::ResponseCache;
use crate::tenancy::{Access, Admissions, Keyring, SignIns, Spending};

/// No file of a model is called so: names that begin with a dot are not looked at.
pub(crate) const NO_MODEL: &str = ".none";

/// A hold on a loaded model.
pub(crate) type Lease = scheduler::Lease<LoadedModel>;

/// What requests share.
pub(crate) struct App {
    /// What was chosen, as it is now: read by [`config`](Self::config).
    config: RwLock<Arc<Config>>,
    /// Who uses it, and when somebody last did.
    pub(crate) activity: Arc<Activity>,
    /// Who comes in.
    pub(crate) keyring: Arc<Keyring>,
    /// Who came in by one of its pages.
    pub(crate) sign_ins: SignIns,
    /// What every tenant has spent.
    pub(crate) spending: Arc<Spending>,
    /// Who may begin.
    pub(crate) admissions: Arc<Admissions>,
    pub(crate) models: Arc<Models>,
    /// What lists tell of them.
    pub(crate) facts: Arc<FactsKept>,
    pub(crate) devices: Devices,
    pub(crate) metering: Arc<Metering>,
    pub(crate) pool_events: Arc<PoolEvents>,
    pub(crate) memory_budget: Arc<MemoryBudget>,
    pub(crate) prefixes: Arc<Prefixes>,
    pub(crate) contexts: Arc<Contexts>,
    pub(crate) responses: ResponseCache,
    /// What the dashboard shows.
    pub(crate) live: Arc<Live>,
    pub(crate) grammars: Grammars,
    /// What the process held when it listened and had loaded nothing, in bytes; 0 where the system does not tell.
    pub(crate) process_bytes: u64,
    /// True once the server stops: whoever only listens leaves then.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Requests that are followed to their end, clients or not.
    pub(crate) requests: TaskTracker,
    /// One pull at a time.
    pulling: Arc<tokio::sync::Mutex<()>>,
    /// The same for what is asked for by name, which may take hours.
    bringing: Arc<tokio::sync::Mutex<()>>,
}

impl App {
    /// What was chosen, as it is now. A part of it may change while the server runs (`reload`): what belongs together is
    /// taken from one of these.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The name under which the pool knows what a request calls `name`: the one place where that is found out for a model
    /// that is to do something. One that `access` may not use is not there. Pulls a known model on first use.
    pub(crate) async fn true_name(
        self: &Arc<Self>,
        access: &Access,
        name: &str,
        deadline: Instant,
    ) -> Result<Arc<str>, ApiError> {
        let can_pull = |known: &&Known| self.config().pull == PullPolicy::OnFirstUse && access.may_use(known.stem());
        let known = Known::find(untagged(name)).filter(can_pull);
        match (self.entry(name).await, known) {
            (Ok(entry), _) if !access.may_use(&entry.name) => Err(self.forbidden(name).await),
            (Ok(entry), _) => Ok(entry.name.into()),
            (Err(LoadError::NotFound(_)), Some(known)) => {
                let pulled = tokio::time::timeout_at(deadline, self.pull(known)).await;
                pulled.unwrap_or_else(|_| Err(ApiError::deadline_passed()))
            }
            (Err(LoadError::NotFound(_)), None) => Err(ApiError::model_not_found(name)),
            (Err(error), _) => Err(load_failed(Arc::new(error))),
        }
    }

    /// What the pool calls the model that a request calls `name`, if its file is there.
    ///
    /// # Errors
    /// `model_not_found` where `access` may not use it.
    pub(crate) async fn known_name(self: &Arc<Self>, access: &Access, name: &str) -> Result<Option<String>, ApiError> {
        let known = self.entry(name).await.ok().map(|entry| entry.name);
        if access.may_use(known.as_deref().unwrap_or(name)) {
            return Ok(known);
        }
        Err(self.forbidden(name).await)
    }

    /// What is said of a model that the asker may not use, after as long as a name takes that is looked for and not there.
    async fn forbidden(self: &Arc<Self>, name: &str) -> ApiError {
        let _ = self.entry(NO_MODEL).await;
        ApiError::model_not_found(name)
    }

    async fn entry(self: &Arc<Self>, name: &str) -> Result<Entry, LoadError> {
        let (models, name) = (Arc::clone(&self.models), name.to_owned());
        let entry = tokio::task::spawn_blocking(move || models.entry(&name)).await;
        entry.unwrap_or_else(|error| Err(LoadError::Panicked(error.to_string())))
    }

    /// What the header of the model of this name says. Loads nothing.
    pub(crate) async fn descriptor(self: &Arc<Self>, model: &Arc<str>) -> Result<Arc<Descriptor>, ApiError> {
        let (models, name) = (Arc::clone(&self.models), Arc::clone(model));
        let described = tokio::task::spawn_blocking(move || models.descriptor(&name)).await;
        described.map_err(ApiError::internal)?.map_err(|error| match error {
            LoadError::NotFound(_) => ApiError::model_not_found(model),
            error => load_failed(Arc::new(error)),
        })
    }

    /// Positions that a sequence of this model may have.
    pub(crate) fn context_of(&self, descriptor: &Descriptor) -> usize {
        self.context_within(descriptor.context_length())
    }

    /// Positions that a sequence may have of a model that was trained for so many.
    pub(crate) fn context_within(&self, trained: usize) -> usize {
        self.config().context_max.map_or(trained, |max| max.min(trained))
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    accounts: JoinHandle<()>,
    /// Lets old rows of the ledger go.
    retention: JoinHandle<()>,
    /// Follows the energy that is taken.
    energy: JoinHandle<()>,
    /// Follows how much of the models is resident.
    residency: JoinHandle<()>,
    /// Looks at what is followed live.
    live: JoinHandle<()>,
    /// Follows the memory that there is, and pins what is configured.
    following: JoinHandle<((), ())>,
    /// Each device's.
    pools: Vec<JoinHandle<()>>,
    /// Told when the server has accepted its last connection because nobody used it.
    idle: oneshot::Receiver<()>,
}

/// How a server comes to be, beside what is configured.
#[derive(Default)]
pub(crate) struct Manner {
    /// A socket that is listened on already, instead of the configured address.
    pub(crate) passed: Option<std::net::TcpListener>,
    /// After how long without use it stops accepting by itself; `None` is never.
    pub(crate) exit_when_idle: Option<Duration>,
}

/// Starts a server, and returns when it listens.
///
/// # Errors
/// When the ledger cannot be opened, the address is taken, or a thread cannot be started.
pub(crate) async fn start(config: Config) -> anyhow::Result<Server> {
    start_as(config, Manner::default()).await
}

/// The same in this manner.
///
/// # Errors
/// Those of [`start`].
pub(crate) async fn start_as(mut config: Config, manner: Manner) -> anyhow::Result<Server> {
    config.listen = manner.passed.as_ref().map_or(Ok(config.listen), std::net::TcpListener::local_addr)?;
    let keyring = Arc::new(Keyring::open(&config)?);
    config.check_strangers(keyring.stored_keys())?;
    let host = crate::host::host(Path::new("/"), config.design_power);
    let (metering, spending) = open_metering(&config, &host)?;
    let prefixes = Prefixes::new(config.scheduler.prefix_cache_bytes_max);
    let contexts = Contexts::open(&config.contexts, config.isa, Arc::clone(&prefixes));
    let models = Arc::new(Models::new(&config, Arc::clone(&prefixes), Arc::clone(&metering)));
    let pool_events = Arc::new(PoolEvents::new(Arc::clone(&metering)));
    let parts =
        Parts { config: &config, models: &models, metering: &metering, events: &pool_events, prefixes: &prefixes };
    let (devices, pools) = Devices::start(&parts)?;
    let (asked_bytes, beside_bytes) = (config.memory_budget_asked, config.memory_beside_bytes);
    let memory_budget = Arc::new(MemoryBudget::new(asked_bytes, beside_bytes, devices.first().pool.clone()));
    let listener = listener(config.listen, manner.passed).await?;
    let address = listener.local_addr()?;
    let ((stopping, stop), (told, idle)) = (watch::channel(false), oneshot::channel());
    let app = Arc::new(App {
        responses: ResponseCache::new(config.response_cache.bytes_max),
        grammars: Grammars::new(),
        process_bytes: proportional_set_bytes().unwrap_or(0),
        config: RwLock::new(Arc::new(config)),
        activity: Activity::new(),
        keyring,
        sign_ins: SignIns::default(),
        admissions: Arc::new(Admissions::new(Arc::clone(&spending))),
        spending,
        live: Live::new(),
        models,
        facts: Arc::new(FactsKept::new()),
        devices,
        metering,
        pool_events,
        memory_budget: Arc::clone(&memory_budget),
        prefixes,
        contexts,
        stopping: stop.clone(),
        requests: TaskTracker::new(),
        pulling: Arc::default(),
        bringing: Arc::default(),
    });
    let exit = Exit { stop, when_idle: manner.exit_when_idle, told };
    let accepting = tokio::spawn(crate::http::serve(Arc::clone(&app), listener, exit));
    let stored = Arc::clone(&app);
    let accounts = tokio::spawn(async move {
        let metering = Arc::clone(&stored.metering);
        tokio::join!(store_accounts(stored), store_energy(metering));
    });
    let retention = tokio::spawn(remove_old_rows(Arc::clone(&app)));
    let pinning = pin_configured(Arc::clone(&app));
    let energy = tokio::spawn(energy::follow(Arc::clone(&app), host));
    let residency = tokio::spawn(follow_residency(Arc::clone(&app.metering)));
    let live = tokio::spawn(live::look(Arc::clone(&app)));
    let following = tokio::spawn(async move { tokio::join!(memory_budget.follow(), pinning) });
    Ok(Server {
        app,
        address,
        stopping,
        accepting,
        accounts,
        retention,
        energy,
        residency,
        live,
        following,
        pools,
        idle,
    })
}

/// The meter over the ledger of `config`, and what of its budgets is spent.
fn open_metering(config: &Config, host: &Host) -> anyhow::Result<(Arc<Metering>, Arc<Spending>)> {
    let ledger = Ledger::open(&config.ledger, LedgerOptions::default())
        .with_context(|| format!("the ledger {} cannot be opened", config.ledger.display()))?;
    if ledger.crashed_on_open() > 0 {
        tracing::warn!(requests = ledger.crashed_on_open(), "requests of an earlier process were settled as crashed");
    }
    let prices = Prices { devices: crate::devices::prices(config, host), carbon: config.carbon.clone() };
    let spending = Arc::new(Spending::of_ledger(ledger.reader()).context("the ledger cannot be read")?);
    let recent = RecentReceipts::of_ledger(ledger.reader()).context("the ledger cannot be read")?;
    Ok((Arc::new(Metering::new(ledger, prices, Arc::clone(&spending), recent)), spending))
}

/// What is listened on: what was passed, or else this address.
async fn listener(address: SocketAddr, passed: Option<std::net::TcpListener>) -> anyhow::Result<TcpListener> {
    let listener = match passed {
        Some(passed) => TcpListener::from_std(passed),
        None => TcpListener::bind(address).await,
    };
    listener.with_context(|| format!("{address} cannot be listened on"))
}

/// What this process holds of the machine's memory: pages that it shares count by their share.
fn proportional_set_bytes() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Completes when nobody has used it for as long as it was told, and it accepts nobody any more; never, where it was not
    /// told.
    pub(crate) async fn idle(&mut self) {
        if (&mut self.idle).await.is_err() {
            std::future::pending().await
        }
    }

    /// Ends it: no new connections, running requests to their end within [`DRAIN_MAX`], then everything is let go and
    /// the accounts are written.
    pub(crate) async fn stop(self) {
        let deadline = Instant::now() + DRAIN_MAX;
        let _ = self.stopping.send(true);
        self.following.abort();
        self.live.abort();
        let drained = self.app.devices.drain(deadline).await;
        if drained == DrainOutcome::Unfinished {
            tracing::warn!("requests were cut off by the drain's deadline");
        }
        self.app.devices.iter().for_each(|device| device.executor.stop());
        self.app.requests.close();
        let _ = tokio::time::timeout_at(deadline + STALL_MAX, self.app.requests.wait()).await;
        let _ = tokio::time::timeout_at(deadline + STALL_MAX, self.accepting).await;
        self.app.devices.iter().for_each(|device| device.pool.shutdown());
        let deadline = Instant::now() + DRAIN_MAX;
        for pool in self.pools {
            let _ = tokio::time::timeout_at(deadline, pool).await;
        }
        self.retention.abort();
        self.accounts.abort();
        self.energy.abort();
        self.residency.abort();
        if let Err(error) = self.app.metering.store_accounts().await {
            tracing::error!(error = &error as &dyn std::error::Error, "the last accounts are not written");
        }
        if let Err(error) = self.app.metering.store_energy().await {
            tracing::error!(error = &error as &dyn std::error::Error, "the last energy is not written");
        }
        store_key_uses(&self.app).await;
    }
}
