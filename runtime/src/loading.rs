//! From a model's name to a mapped model: the catalog, the kept descriptors, and the pool's loader over both.
//!
//! A cold start maps the file and asks the system to bring its pages in; header, tokenizer and template of files that
//! were used lately are kept by file identity, so that the next cold start skips them. What is costly of them also lies
//! in a folder, for the first cold start of the next process; a thread of its own writes there, after the load.
//!
//! Invariants: a name from a request is looked up, never made into a path; a descriptor serves only the very file that
//! it was read from. Deliberately absent: who may stay (the pool decides).

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use kernels::{KvPrecision, KvShape};
use loader::catalog::{Catalog, CatalogError, Entry};
use loader::{Artifact, ArtifactIdentity, BringIn, Lock, MapError, OpenError};
use models::{BroughtIn, Descriptor, DescriptorStore, Model, ModelError, Origin, PageCache};
use rustix::time::{ClockId, clock_gettime};
use scheduler::{
    FaultKind, Identity, Inspection, KeepAlive, LoadFault, LoadSource, LoadStage, Loaded, ModelLoader, Progress,
    SourceLabel,
};

use crate::config::{Config, PagePolicy};
use crate::engine::ModelCosts;
use crate::limits::{DESCRIPTORS_KIB_MAX, DESCRIPTORS_WAITING_MAX, MODEL_COSTS_MAX, STRIKES_MAX};
use crate::metering::Metering;
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
    /// How long models stay that have a keep-alive of their own.
    keep_alives: BTreeMap<String, KeepAlive>,
    /// What is kept of their sequences' keys and values: by default, and of those that have it otherwise.
    kv_precision: KvPrecision,
    kv_precisions: BTreeMap<String, KvPrecision>,
    store: DescriptorStore,
    /// Descriptors that the store has not; it writes them when there is time.
    to_keep: SyncSender<Arc<Descriptor>>,
    prefixes: Arc<Prefixes>,
    /// What steps cost, by the files' version: known again when a model comes back.
    costs: moka::sync::Cache<ArtifactIdentity, ModelCosts>,
    metering: Arc<Metering>,
}

/// A model in memory, and what was computed with it for whoever begins alike.
pub(crate) struct LoadedModel {
    model: Model,
    prefixes: Arc<InstancePrefixes>,
    costs: ModelCosts,
    kv_precision: KvPrecision,
    /// Requests in a row that it computed no numbers for.
    strikes: AtomicU32,
}

impl LoadedModel {
    /// It computed no numbers for a request, which may be the request's fault, but not of several in a row.
    pub(crate) fn strike(&self) -> Trust {
        let strikes = self.strikes.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if strikes >= STRIKES_MAX { Trust::Lost } else { Trust::Kept }
    }

    /// It answered a request.
    pub(crate) fn did_well(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    /// Shape of the caches of its sequences; all of one load have the same, and so share pages.
    ///
    /// # Panics
    /// When it is an encoder, which keeps none.
    pub(crate) fn kv_shape(&self) -> KvShape {
        KvShape { precision: self.kv_precision, ..self.model.kv_shape() }
    }

    /// What was computed with it.
    pub(crate) fn prefixes(&self) -> &Arc<InstancePrefixes> {
        &self.prefixes
    }

    /// What its steps cost.
    pub(crate) fn costs(&self) -> &ModelCosts {
        &self.costs
    }
}

impl Deref for LoadedModel {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

/// Whether a model is trusted to compute for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Kept,
    Lost,
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
            Self::Open(_) | Self::Catalog(_) | Self::Lock(_) | Self::Replaced => FaultKind::Transient,
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
        let keep_alives = config.models.keep_alives.clone();
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
        }
    }

    /// All models that the directories hold. Blocks on the file system.
    pub(crate) fn list(&self) -> Vec<Entry> {
        self.catalog.list()
    }

    /// The entry that a request's name means. Blocks on the file system.
    pub(crate) fn entry(&self, name: &str) -> Result<Entry, LoadError> {
        self.catalog.resolve(name).map_err(|error| match error {
            CatalogError::NotFound { .. } => LoadError::NotFound(error),
            _ => LoadError::Catalog(error),
        })
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

    /// Descriptors kept and their memory in KiB.
    pub(crate) fn kept_descriptors(&self) -> (u64, u64) {
        self.descriptors.run_pending_tasks();
        (self.descriptors.entry_count(), self.descriptors.weighted_size())
    }
}

impl ModelLoader for Models {
    type Model = LoadedModel;
    type Error = LoadError;

    fn inspect(&self, name: &str) -> Result<Inspection, LoadError> {
        let entry = self.entry(name)?;
        // What is no file of its folder is refused before anything of it, or of what it leads to, is looked at.
        let identity = entry.identity().map_err(LoadError::Open)?;
        Ok(Inspection::new(Identity(identity.words()), identity.weights_bytes()))
    }

    fn keep_alive(&self, name: &str) -> Option<KeepAlive> {
        self.keep_alives.get(name).copied()
    }

    fn reclaim(&self, bytes: u64) -> u64 {
        self.prefixes.reclaim(bytes)
    }

    fn load(&self, name: &str, inspection: &Inspection, progress: &Progress) -> Result<Loaded<LoadedModel>, LoadError> {
        let before = thread_cpu_time();
        let (artifact, descriptor, origin) = self.open(&self.entry(name)?)?;
        if artifact.identity().weights_bytes() > inspection.weights_bytes {
            return Err(LoadError::Replaced);
        }
        let mut model = Model::new(artifact, descriptor);
        model.set_let_go(self.pages.let_go);
        progress.at(LoadStage::Weights, 0);
        // What is larger than its room stays in its file until it is used.
        let how = if inspection.is_paged() { BringIn::Lazy } else { self.pages.bring_in };
        let brought_in = model.bring_in(how, &mut |at| progress.at(LoadStage::Weights, at.done_bytes));
        if self.pages.lock == Lock::Locked {
            model.lock().map_err(LoadError::Lock)?;
        }
        self.keep(model.descriptor(), origin);
        self.metering.load_computed(name, thread_cpu_time().saturating_sub(before));
        let model = LoadedModel {
            costs: self.costs.get_with(model.artifact().identity().clone(), ModelCosts::default),
            prefixes: Arc::new(self.prefixes.instance()),
            strikes: AtomicU32::new(0),
            kv_precision: self.kv_precisions.get(name).copied().unwrap_or(self.kv_precision),
            model,
        };
        Ok(Loaded { model, source: load_source(&brought_in) })
    }
}

/// Where a load's bytes came from, as the pool tells it.
fn load_source(brought_in: &BroughtIn) -> LoadSource {
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
