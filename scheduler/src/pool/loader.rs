//! What the pool asks of whoever turns a name into a model.

use std::error::Error;

use super::options::KeepAlive;
use super::progress::Progress;

/// Finds and loads models. Its methods block, and run on blocking threads, never on the pool's task.
pub trait ModelLoader: Send + Sync + 'static {
    /// A loaded model; dropping it gives its memory back to the machine, on a blocking thread.
    type Model: Send + Sync + 'static;
    /// Why a model cannot be had.
    type Error: LoadFault;

    /// Looks at the artifact behind `name` without loading it: cheap (a stat, a header), before every load.
    ///
    /// # Errors
    /// See [`FaultKind`].
    fn inspect(&self, name: &str) -> Result<Inspection, Self::Error>;

    /// How long `name` stays where no request says, if it has a keep-alive of its own. Called on the pool's task: must not
    /// block.
    fn keep_alive(&self, name: &str) -> Option<KeepAlive> {
        let _ = name;
        None
    }

    /// Gives back memory of the budget that is kept for a chance alone, such as keys and values that no sequence uses: at
    /// least `bytes`, if there is as much. Returns what came free. Called on the pool's task when no idle model can make
    /// the room that is needed: must not block.
    fn reclaim(&self, bytes: u64) -> u64 {
        let _ = bytes;
        0
    }

    /// Loads what `inspection` described; its `resident_bytes` are reserved already, and no more of the weights may be
    /// brought in than that.
    ///
    /// Room may have been waited for in between: a loader that meets another artifact than the one inspected refuses
    /// with a [`FaultKind::Transient`] fault unless the new one is no larger. It tells `progress` how far it is.
    ///
    /// # Errors
    /// See [`FaultKind`].
    fn load(
        &self,
        name: &str,
        inspection: &Inspection,
        progress: &Progress,
    ) -> Result<Loaded<Self::Model>, Self::Error>;
}

/// A model, and how it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded<M> {
    /// The model.
    pub model: M,
    /// Where its bytes came from.
    pub source: LoadSource,
}

/// Where the bytes of a load came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSource {
    /// In a word.
    pub label: SourceLabel,
    /// Of the weights, in the system's page cache before the load began; `None` where the system does not say.
    pub cached_bytes: Option<u64>,
    /// Faults of the load that waited for the disk; `None` where it did not wait for its bytes, or nobody counts.
    pub major_faults: Option<u64>,
}

impl LoadSource {
    /// Nothing was measured.
    pub const UNKNOWN: Self = Self { label: SourceLabel::Unknown, cached_bytes: None, major_faults: None };
}

/// Where the bytes of a load came from, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceLabel {
    /// The system's page cache had them.
    PageCacheWarm,
    /// They were read from the disk.
    PageCacheCold,
    /// The system does not say.
    Unknown,
}

impl SourceLabel {
    /// For tables and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PageCacheWarm => "page_cache_warm",
            Self::PageCacheCold => "page_cache_cold",
            Self::Unknown => "unknown",
        }
    }
}

/// What the pool must know of an artifact before it makes room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Equal for equal artifacts; a replaced file has another.
    pub identity: Identity,
    /// Bytes of the whole model.
    pub weights_bytes: u64,
    /// Of them, those that may be in memory at once: all, unless the model is larger than the budget and the pool was
    /// told to have such models paged. The pool decides; what an inspection says is ignored.
    pub resident_bytes: u64,
}

impl Inspection {
    /// An artifact of `weights_bytes` that is loaded whole.
    #[must_use]
    pub fn new(identity: Identity, weights_bytes: u64) -> Self {
        Self { identity, weights_bytes, resident_bytes: weights_bytes }
    }

    /// Not all of it may be in memory at once.
    #[must_use]
    pub fn is_paged(&self) -> bool {
        self.resident_bytes < self.weights_bytes
    }
}

/// Opaque: the loader's own idea of what makes two artifacts the same (device, inode, size, time of change).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub [u64; 4]);

/// A loader's error, as far as the pool cares.
pub trait LoadFault: Error + Send + Sync + 'static {
    /// What the pool does about it.
    fn kind(&self) -> FaultKind;

    /// The error that stands for a panic inside the loader. Its kind decides, as any other's, whether it is remembered.
    fn panicked(message: String) -> Self;
}

/// What a failed load means for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// There is no such artifact. Never remembered.
    NotFound,
    /// This artifact will not load. Remembered by identity, with back-off.
    Invalid,
    /// Another attempt may succeed. Not remembered.
    Transient,
}
