//! From a model's name to a mapped model: the catalog and the kept descriptors. Each device's pool loads through it (`devices`).
//!
//! A cold start maps the file and asks the system to bring its pages in; header, tokenizer and template of files that
//! were used lately are kept by file identity, so that the next cold start skips them. What is costly of them also lies
//! in a folder, for the first cold start of the next process; a thread of its own writes there, after the load.
//!
//! Invariants: a name from a request is looked up, never made into a path; a descriptor serves only the very file that
//! it was read from. Deliberately absent: who may stay (the pool decides).

mod loaded;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kernels::{Isa, KvPrecision};
use loader::catalog::{Catalog, CatalogError, Entry};
use loader::{Artifact, ArtifactIdentity, MapError, OpenError};
use models::candle::CandleError;
use models::{BroughtIn, Descriptor, DescriptorStore, Model, ModelError, Origin, PageCache};
use rustix::time::{ClockId, clock_gettime};
use scheduler::{FaultKind, Identity, KeepAlive, LoadFault, LoadSource, SourceLabel};

pub(crate) use self::loaded::{Load, LoadedModel, Trust, context_key};
use crate::config::{Config, PagePolicy};
use crate::engine::ModelCosts;
use crate::limits::{DESCRIPTORS_KIB_MAX, DESCRIPTORS_WAITING_MAX, MODEL_COSTS_MAX};
use crate::metering::{Metering, Watch};
use crate::prefixes::{InstancePrefixes, Prefixes};

/// Models by name.
pub(crate) struct Models {
    catalog: Catalog,
    /// Chat templates that take the place of the files' own, by the models' names.
    chat_templates: BTreeMap<String, Arc<str>>,
    /// By the files' version, and the template that was chosen for their name.
    descriptors: moka::sync::Cache<(ArtifactIdentity, Option<Arc<str>>), Arc<Descriptor>>,
    /// How their pages come and go.
    pages: PagePolicy,
    /// How long they stay where no request says, which an operator may change.
    keep_alives: RwLock<KeepAlives>,
    /// What is kept of their sequences' keys and values: by default, and of those that have it otherwise.
    kv_precision: KvPrecision,
    kv_precisions: BTreeMap<String, KvPrecision>,
    store: DescriptorStore,
    /// Descriptors that the store has not; it writes them when there is time.
    to_keep: SyncSender<Arc<Descriptor>>,
    prefixes: Arc<Prefixes>,
    /// What steps cost, by the device and the files' version: known again when a model comes back.
    costs: moka::sync::Cache<(usize, ArtifactIdentity), ModelCosts>,
    metering: Arc<Metering>,
    /// Instructions that its models compute by.
    isa: Isa,
}

/// How long models stay.
struct KeepAlives {
    default: KeepAlive,
    /// Of those that have one of their own.
    own: BTreeMap<String, KeepAlive>,
}

impl KeepAlives {
    fn of(config: &Config) -> Self {
        Self { default: config.pool.keep_alive_default, own: config.models.keep_alives.clone() }
    }
}

/// Why a model cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// No such name, or its file is gone.
    #[error("the catalog has no such model")]
    NotFound(#[source] CatalogError),
    /// The models directories could not be looked through.
    #[error("the catalog cannot be read")]
    Catalog(#[source] CatalogError),
    /// The file cannot be opened or is invalid.
    #[error("the file cannot be opened")]
    Open(#[source] OpenError),
    /// The file is valid, but not a model that can be served.
    #[error("the model cannot be served")]
    Model(#[source] ModelError),
    /// The weights may not be locked into memory.
    #[error("the weights cannot be locked into memory")]
    Lock(#[source] MapError),
    /// Another file took its place and is larger than the room that was made.
    #[error("the file was replaced while it was loaded")]
    Replaced,
    /// The device could not take a copy of the weights.
    #[error("the device cannot take the model")]
    Device(#[source] CandleError),
    /// It was loaded, and a step of it never came back.
    #[error("a step of it did not return in time")]
    StepLost,
    /// It was loaded, and what it computes are no numbers, again and again.
    #[error("what it computes is not finite")]
    NotFinite,
    /// A bug.
    #[error("the load panicked: {0}")]
    Panicked(String),
}

impl LoadFault for LoadError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) | Self::Open(OpenError::NotFound { .. }) => FaultKind::NotFound,
            Self::Open(error) if error.is_load_fail() => FaultKind::Invalid,
            Self::Model(_) | Self::StepLost | Self::NotFinite | Self::Panicked(_) => FaultKind::Invalid,
            Self::Open(_) | Self::Catalog(_) | Self::Lock(_) | Self::Device(_) | Self::Replaced => FaultKind::Transient,
        }
    }

    fn panicked(message: String) -> Self {
        Self::Panicked(message)
    }
}

impl Models {
    pub(crate) fn new(config: &Config, prefixes: Arc<Prefixes>, metering: Arc<Metering>) -> Self {
        let descriptors = moka::sync::Cache::builder()
            .max_capacity(DESCRIPTORS_KIB_MAX)
            .weigher(|_, descriptor: &Arc<Descriptor>| {
                u32::try_from(descriptor.memory_bytes() / 1024).unwrap_or(u32::MAX)
            })
            .build();
        let (catalog, chat_templates) = (config.catalog(), config.chat_templates.clone());
        let store = DescriptorStore::at(config.descriptors_dir.clone());
        let (to_keep, waiting) = sync_channel(DESCRIPTORS_WAITING_MAX);
        spawn_keeper(store.clone(), waiting);
        let costs = moka::sync::Cache::new(MODEL_COSTS_MAX);
        let keep_alives = RwLock::new(KeepAlives::of(config));
        Self {
            catalog,
            chat_templates,
            descriptors,
            store,
            to_keep,
            pages: config.pages,
            keep_alives,
            kv_precision: config.scheduler.kv_precision,
            kv_precisions: config.models.kv_precisions.clone(),
            prefixes,
            costs,
            metering,
            isa: config.isa,
        }
    }

    /// All models that the directories hold. Blocks on the file system.
    pub(crate) fn list(&self) -> Vec<Entry> {
        self.catalog.list()
    }

    /// The entry that a request's name means, which may have a tag that says nothing. Blocks on the file system.
    pub(crate) fn entry(&self, name: &str) -> Result<Entry, LoadError> {
        let found = match self.catalog.resolve(name) {
            Err(CatalogError::NotFound { .. }) if untagged(name) != name => self.catalog.resolve(untagged(name)),
            found => found,
        };
        found.map_err(|error| match error {
            CatalogError::NotFound { .. } => LoadError::NotFound(error),
            _ => LoadError::Catalog(error),
        })
    }

    /// Deletes the files of the model of this true name. Blocks on the file system.
    pub(crate) fn remove(&self, name: &str) -> Result<(), CatalogError> {
        self.catalog.remove(name)
    }

    /// What a model's header says, without loading it. Blocks on the file system.
    pub(crate) fn descriptor(&self, name: &str) -> Result<Arc<Descriptor>, LoadError> {
        self.described(name).map(|(_, descriptor)| descriptor)
    }

    /// The same, and the entry that the name means. Of files whose descriptor is kept, none is opened.
    pub(crate) fn described(&self, name: &str) -> Result<(Entry, Arc<Descriptor>), LoadError> {
        let entry = self.entry(name)?;
        if let Some(known) = self.kept(&entry) {
            return Ok((entry, known));
        }
        let (_, descriptor, origin) = self.open(&entry)?;
        self.keep(&descriptor, origin);
        Ok((entry, descriptor))
    }

    /// The chat template that the operator chose for the model of this true name.
    pub(crate) fn chat_template(&self, model: &str) -> Option<&str> {
        self.chat_templates.get(model).map(AsRef::as_ref)
    }

    /// What is kept of the files as they are now.
    fn kept(&self, entry: &Entry) -> Option<Arc<Descriptor>> {
        let template = self.chat_templates.get(&entry.name).cloned();
        entry.identity().ok().and_then(|identity| self.descriptors.get(&(identity, template)))
    }

    /// Has what the store does not have written to it, soon. Where too many wait already, the next process builds it.
    fn keep(&self, descriptor: &Arc<Descriptor>, origin: Origin) {
        if origin == Origin::Built {
            let _ = self.to_keep.try_send(Arc::clone(descriptor));
        }
    }

    fn open(&self, entry: &Entry) -> Result<(Artifact, Arc<Descriptor>, Origin), LoadError> {
        let template = self.chat_templates.get(&entry.name);
        let known = self.kept(entry);
        let artifact = match &known {
            Some(known) => entry.open_with_header(known.identity(), Arc::clone(known.header())),
            None => entry.open(),
        };
        let artifact = artifact.map_err(LoadError::Open)?;
        if let Some(known) = known
            && known.identity() == artifact.identity()
        {
            return Ok((artifact, known, Origin::Kept));
        }
        let described = self.store.describe(&artifact, template.map(AsRef::as_ref));
        let (descriptor, origin) = described.map_err(LoadError::Model)?;
        let descriptor = Arc::new(descriptor);
        self.descriptors.insert((artifact.identity().clone(), template.cloned()), Arc::clone(&descriptor));
        Ok((artifact, descriptor, origin))
    }

    /// How long `name` stays where no request says.
    pub(crate) fn keep_alive(&self, name: &str) -> KeepAlive {
        let keep_alives = self.keep_alives.read().unwrap_or_else(PoisonError::into_inner);
        keep_alives.own.get(name).copied().unwrap_or(keep_alives.default)
    }

    /// Models that are brought in from now on stay for as long as `config` says.
    pub(crate) fn keep_as(&self, config: &Config) {
        *self.keep_alives.write().unwrap_or_else(PoisonError::into_inner) = KeepAlives::of(config);
    }

    /// Gives back memory of pages that no sequence uses.
    pub(crate) fn reclaim(&self, bytes: u64) -> u64 {
        self.prefixes.reclaim(bytes)
    }

    /// How the kernels keep keys and values of the model of this name.
    pub(crate) fn kv_precision(&self, name: &str) -> KvPrecision {
        self.kv_precisions.get(name).copied().unwrap_or(self.kv_precision)
    }

    /// Instructions that the kernels compute by.
    pub(crate) const fn isa(&self) -> Isa {
        self.isa
    }

    /// How pages of files come and go.
    pub(crate) fn pages(&self) -> PagePolicy {
        self.pages
    }

    /// The prefixes of a model that has just been loaded.
    pub(crate) fn instance(&self) -> InstancePrefixes {
        self.prefixes.instance()
    }

    /// What steps of the model of these files cost on the device of this number.
    pub(crate) fn costs(&self, device: usize, identity: &ArtifactIdentity) -> ModelCosts {
        self.costs.get_with((device, identity.clone()), ModelCosts::default)
    }

    /// A load of `name` on the device of this number: `load` is given what opens its files, and the processor time of all
    /// of it is told to the meter.
    pub(crate) fn metered_load<T>(
        &self,
        (device, name): (usize, &str),
        load: impl FnOnce(&dyn Fn() -> Result<Model, LoadError>) -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let before = thread_cpu_time();
        let open = || {
            let (artifact, descriptor, origin) = self.open(&self.entry(name)?)?;
            self.keep(&descriptor, origin);
            Ok(Model::new(artifact, descriptor))
        };
        let loaded = load(&open)?;
        self.metering.load_computed((device, name), thread_cpu_time().saturating_sub(before));
        Ok(loaded)
    }

    /// A load of `name` on the device of this number, of files that hold `artifact`: what of it is resident is charged. When it
    /// was mapped that was `bytes_before`, as far as that is known.
    pub(crate) fn watch(
        &self,
        (device, name): (usize, &str),
        artifact: Identity,
        (model, bytes_before): (&Arc<Model>, Option<u64>),
    ) -> Watch {
        self.metering.watch((device, name), artifact, (model, bytes_before))
    }

    /// Descriptors kept and their memory in KiB.
    pub(crate) fn kept_descriptors(&self) -> (u64, u64) {
        self.descriptors.run_pending_tasks();
        (self.descriptors.entry_count(), self.descriptors.weighted_size())
    }
}

/// Where a load's bytes came from, as the pool tells it.
pub(crate) fn load_source(brought_in: &BroughtIn) -> LoadSource {
    let label = match brought_in.page_cache() {
        PageCache::Warm => SourceLabel::PageCacheWarm,
        PageCache::Cold => SourceLabel::PageCacheCold,
        PageCache::Unknown => SourceLabel::Unknown,
    };
    let (cached_bytes, major_faults) = (brought_in.cached_bytes_before, brought_in.major_faults);
    LoadSource { label, cached_bytes, major_faults }
}

/// Starts the thread that writes descriptors to the store. It ends with the channel.
fn spawn_keeper(store: DescriptorStore, waiting: Receiver<Arc<Descriptor>>) {
    let keep = move || {
        for descriptor in waiting {
            if let Err(error) = store.keep(&descriptor) {
                tracing::debug!("a descriptor could not be kept for the next start: {error}");
            }
        }
    };
    let spawned = std::thread::Builder::new().name("descriptors".to_owned()).spawn(keep);
    if let Err(error) = spawned {
        tracing::debug!("descriptors are not kept for the next start: {error}");
    }
}

/// Processor time of the calling thread.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A model's name without the tag by which Ollama's clients call every model that has no other.
pub(crate) fn untagged(name: &str) -> &str {
    name.strip_suffix(":latest").filter(|name| !name.is_empty()).unwrap_or(name)
}
