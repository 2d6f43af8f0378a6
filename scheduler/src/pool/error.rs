//! Why a request gets no model, or a sequence no room.

use std::sync::Arc;
use std::time::Duration;

use super::loader::LoadFault;

/// Why there is no lease. Each says whose fault it is by what the caller can do next.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError<E: LoadFault> {
    /// The client's: no such model. Asking again helps only after it was put there.
    #[error("no such model")]
    NotFound(#[source] Arc<E>),
    /// The artifact's: it does not load. Retry after the back-off, or at once when the artifact was replaced.
    #[error("the model does not load")]
    Quarantined {
        /// What its last load said.
        source: Arc<E>,
        /// The rest of the back-off.
        retry_after: Duration,
    },
    /// The machine's: this load failed, another may succeed.
    #[error("the load failed")]
    LoadFailed(#[source] Arc<E>),
    /// The operator's: the model can never fit. Nothing was evicted for it.
    #[error("the model needs {needed_bytes} bytes, the budget has {limit_bytes}, of which {pinned_bytes} are pinned")]
    TooLarge {
        /// Bytes of the model.
        needed_bytes: u64,
        /// Bytes of the whole budget.
        limit_bytes: u64,
        /// Of them, held by models that stay.
        pinned_bytes: u64,
    },
    /// The operator's: with this model, too little of the budget would be left to those that come and go.
    #[error("the model needs {needed_bytes} bytes to be pinned beside {pinned_bytes}, and {pinned_bytes_max} may be")]
    PinnedTooLarge {
        /// Bytes of the model.
        needed_bytes: u64,
        /// Bytes of those that are pinned.
        pinned_bytes: u64,
        /// Bytes that pinned models may hold together.
        pinned_bytes_max: u64,
    },
    /// Nobody's: too many wait, or no room came up in time. Retry later.
    #[error("no room for the model now")]
    Overloaded {
        /// An estimate from the loads measured so far.
        retry_after: Duration,
    },
    /// The request's own deadline passed while it waited.
    #[error("the deadline passed before the model was loaded")]
    DeadlinePassed,
    /// The process ends.
    #[error("the pool is shutting down")]
    ShuttingDown,
}

// Written by hand: a derive would ask for `E: Clone`, which the `Arc` makes needless.
impl<E: LoadFault> Clone for LeaseError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::NotFound(source) => Self::NotFound(Arc::clone(source)),
            Self::Quarantined { source, retry_after } => {
                Self::Quarantined { source: Arc::clone(source), retry_after: *retry_after }
            }
            Self::LoadFailed(source) => Self::LoadFailed(Arc::clone(source)),
            &Self::TooLarge { needed_bytes, limit_bytes, pinned_bytes } => {
                Self::TooLarge { needed_bytes, limit_bytes, pinned_bytes }
            }
            &Self::PinnedTooLarge { needed_bytes, pinned_bytes, pinned_bytes_max } => {
                Self::PinnedTooLarge { needed_bytes, pinned_bytes, pinned_bytes_max }
            }
            Self::Overloaded { retry_after } => Self::Overloaded { retry_after: *retry_after },
            Self::DeadlinePassed => Self::DeadlinePassed,
            Self::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Why a sequence's memory cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// It can never fit beside its own model's weights and what is pinned. Nothing was evicted for it.
    #[error("{needed_bytes} bytes are needed, the budget leaves at most {available_bytes}")]
    TooLarge {
        /// Bytes asked for.
        needed_bytes: u64,
        /// Bytes of the budget without the model's weights and other pinned models.
        available_bytes: u64,
    },
    /// Too many wait already. Retry later.
    #[error("too many wait for room")]
    Overloaded {
        /// An estimate from the loads measured so far.
        retry_after: Duration,
    },
    /// No room came up in time.
    #[error("the deadline passed before there was room")]
    DeadlinePassed,
    /// The process ends.
    #[error("the pool is shutting down")]
    ShuttingDown,
}

/// Why the budget does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetRefused {
    /// The operator's: models are pinned that would leave too little of it. Unpin some first.
    #[error("{pinned_bytes} bytes are pinned, and of that budget {pinned_bytes_max} may be")]
    Pinned {
        /// Bytes of pinned models.
        pinned_bytes: u64,
        /// Bytes that pinned models could hold together.
        pinned_bytes_max: u64,
    },
    /// The process ends.
    #[error("the pool is shutting down")]
    ShuttingDown,
}

/// The pool takes no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pool is shutting down")]
pub struct ShuttingDown;
