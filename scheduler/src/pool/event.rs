//! What the pool tells those who count, log and explain.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::break_even::BreakEven;
use super::loader::{FaultKind, Identity, LoadSource};
use super::progress::LoadProgress;

/// Hears every change of the pool, in order, from the pool's own task: it must return at once.
pub trait PoolObserver: Send + Sync + 'static {
    /// Called after the change that `event` tells of.
    fn observe(&self, event: &PoolEvent);
}

/// For a pool that nobody watches.
impl PoolObserver for () {
    fn observe(&self, _event: &PoolEvent) {}
}

/// One change of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEvent {
    /// Monotonic.
    pub at: Instant,
    /// The model that changed.
    pub model: Arc<str>,
    /// What changed.
    pub kind: PoolEventKind,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolEventKind {
    /// It is wanted and was not in memory: its artifact is looked at.
    Requested {
        /// By whom.
        cause: LoadCause,
    },
    /// It is known how large it is; it waits for room, or for its turn to load.
    AwaitingRoom {
        /// Bytes that it needs.
        bytes: u64,
    },
    /// It is absent again, and no load of it began.
    Dismissed {
        /// Why.
        reason: Dismissal,
    },
    /// Room is reserved and the load began.
    LoadStarted {
        /// Bytes reserved.
        bytes: u64,
        /// From the first request to here: inspection and the wait for room.
        waited: Duration,
        /// Who asked first.
        cause: LoadCause,
    },
    /// The load got on.
    Progress(LoadProgress),
    /// The model is in memory.
    Loaded {
        /// Of which artifact, as it was inspected: copies of one share its pages.
        identity: Identity,
        /// Bytes held.
        bytes: u64,
        /// From the reservation of its room to here.
        wall: Duration,
        /// Requests that waited for it.
        waiters: usize,
        /// Where its bytes came from.
        source: LoadSource,
        /// Who asked first.
        cause: LoadCause,
    },
    /// An inspection or a load failed.
    LoadFailed {
        /// What the pool does about it.
        fault: FaultKind,
        /// The loader's message.
        message: String,
        /// Requests that waited for it.
        waiters: usize,
    },
    /// It failed in use: no request gets it meanwhile, and it goes when those who hold it have let go.
    Quarantined {
        /// What whoever held it says.
        message: String,
        /// For how long.
        backoff: Duration,
    },
    /// A request holds it.
    Leased {
        /// Leases now, this one included.
        leases: usize,
    },
    /// A request let go of it.
    Released {
        /// Leases left.
        leases: usize,
    },
    /// Nobody holds it; it may be evicted from now on.
    Idle {
        /// When it will be evicted if nobody comes: `None` is never.
        expires_in: Option<Duration>,
        /// How that was chosen, when its keep-alive is automatic.
        break_even: Option<BreakEven>,
    },
    /// It stays until someone says otherwise.
    Pinned,
    /// It goes as any other from now on.
    Unpinned,
    /// Somebody has waited for its room too long: requests for it wait until it was evicted and loaded again.
    GivesWay {
        /// As which its eviction will be told.
        cause: EvictionCause,
    },
    /// It need not give way any more, and was not evicted.
    KeepsOn,
    /// It was chosen to go; no request gets it any more.
    Evicted {
        /// Bytes that will come back.
        bytes: u64,
        /// Why.
        cause: EvictionCause,
        /// How long nobody had held it.
        idle_for: Duration,
    },
    /// A copy is really gone, and its bytes are back. Another may have been loaded meanwhile.
    Freed {
        /// Of which artifact it was.
        identity: Identity,
        /// Bytes that came back.
        bytes: u64,
    },
}

/// Who wanted a model that was not in memory: of several, the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadCause {
    /// A request that uses it.
    Demand,
    /// Someone who wants it there.
    Explicit,
    /// Someone who wants it to stay.
    Pin,
}

impl LoadCause {
    /// For tables and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Explicit => "explicit",
            Self::Pin => "pin",
        }
    }
}

/// Why a model that was wanted did not begin to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dismissal {
    /// Everyone who waited for it left.
    Abandoned,
    /// It can never fit.
    TooLarge,
    /// Its artifact failed lately.
    Quarantined,
    /// The pool ends.
    Shutdown,
}

impl Dismissal {
    /// For tables and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::TooLarge => "too_large",
            Self::Quarantined => "quarantined",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Why a model was evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionCause {
    /// Its keep-alive ran out.
    IdleTimeout,
    /// Another model needed the room.
    ModelPressure {
        /// That model.
        for_model: Arc<str>,
    },
    /// A sequence's KV cache needed the room.
    KvPressure {
        /// The model of that sequence.
        for_model: Arc<str>,
    },
    /// The budget became smaller.
    BudgetCut,
    /// Someone asked for it.
    Requested,
    /// Its last request wanted it gone after use.
    KeepAliveZero,
    /// It failed in use.
    Quarantined,
    /// The pool ends.
    Shutdown,
}

impl EvictionCause {
    /// The model that needed the room.
    #[must_use]
    pub fn for_model(&self) -> Option<&Arc<str>> {
        match self {
            Self::ModelPressure { for_model } | Self::KvPressure { for_model } => Some(for_model),
            _ => None,
        }
    }
}

impl fmt::Display for EvictionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdleTimeout => f.write_str("idle time-out"),
            Self::ModelPressure { for_model } => write!(f, "memory for model {for_model}"),
            Self::KvPressure { for_model } => write!(f, "memory for a sequence of {for_model}"),
            Self::BudgetCut => f.write_str("smaller budget"),
            Self::Requested => f.write_str("requested"),
            Self::KeepAliveZero => f.write_str("keep-alive 0"),
            Self::Quarantined => f.write_str("failed in use"),
            Self::Shutdown => f.write_str("shutdown"),
        }
    }
}

/// An eviction, as a snapshot explains it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionRecord {
    /// When it was decided.
    pub at: Instant,
    /// Who went.
    pub model: Arc<str>,
    /// Its bytes.
    pub bytes: u64,
    /// Why, and for whom.
    pub cause: EvictionCause,
    /// How long nobody had held it.
    pub idle_for: Duration,
}
