//! Policy: which models are in memory, and which sequence computes next.
//!
//! Four parts, in the order in which a request meets them:
//!
//! 1. [`routing`]: of several devices, each with a pool and an executor of its own, one is chosen by what is known of them.
//! 2. [`pool`]: models come into a byte [`budget`] when a request needs them and leave when idle. One task owns
//!    every state; a request holds a [`Lease`] for as long as it uses a model.
//! 3. [`prefix`]: what was computed for one sequence serves others that begin alike.
//! 4. [`executor`]: one thread per device runs one step at a time, a batch of one model, through the [`engine`] seam; models
//!    and tenants get fair shares of it.
//!
//! All are generic: this crate knows neither files nor sockets nor arithmetic. What a model is comes from a
//! [`ModelLoader`], what a step does from an [`Engine`], and both have fakes that run the tests in paused time.
//!
//! Invariants: nothing is granted beyond the budget; a leased model is never evicted; bytes are given back when the model is
//! really dropped; every wait has a deadline; every submitted sequence ends in exactly one completion, though
//! its step may never return.

pub mod budget;
pub mod engine;
pub mod executor;
pub mod limits;
mod panic;
pub mod pool;
pub mod prefix;
pub mod routing;
#[cfg(test)]
mod testing;

pub use budget::{Budget, Reservation};
pub use engine::{Batching, Demand, Drafts, Engine, Member, Phase, SequenceState, StepCost, StepOutcome, StepWork};
pub use executor::{
    Completion, Cost, DrainOutcome, Event, Executor, ExecutorOptions, Outcome, Owner, Place, Priority, QueueFull,
    RequestTiming, RoomAnswer, RoomSource, SpawnError, Standing, StandingWatch, Submission, SubmitError, Ticket,
    Wanted, Whose,
};
pub use pool::{
    BreakEven, BudgetRefused, Dismissal, EvictionCause, EvictionRecord, FaultKind, Identity, Inspection, KeepAlive,
    Lease, LeaseError, LeaseOptions, LeaseResult, LoadCause, LoadFault, LoadOutcome, LoadProgress, LoadSource,
    LoadStage, Loaded, ModelLoader, ModelSnapshot, ModelState, NoRoom, Outlook, Oversize, Pool, PoolEvent,
    PoolEventKind, PoolObserver, PoolOptions, PoolSnapshot, Prices, Progress, ShuttingDown, SourceLabel, UnloadOutcome,
    UnpinOutcome,
};
pub use prefix::{Beginning, Insertion, ModelInstance, Page, PrefixCache, PrefixPlace, PrefixStatus, Reach, Scope};
/// The clock of every deadline in this crate; tests pause it.
pub use tokio::time::Instant;
