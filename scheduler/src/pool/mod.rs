//! The pool: any number of models in a byte budget, gone when idle.
//!
//! ```text
//! Absent → Inspecting → AwaitingRoom → Loading → Resident(leases) ⇄ Idle → Evicting → Absent
//! ```
//!
//! One task (`owner`) owns every state and handles one message at a time; [`Pool`] only sends it messages. Choosing who goes,
//! who gives way (`victim`) and how long a model is worth its memory (`break_even`) are pure functions. Whatever blocks
//! (inspecting, loading, dropping a model) runs on blocking threads (`workers`) and reports back.
//!
//! Invariants:
//! - Loads are single-flight: all requests for a model share one, which survives whoever began it.
//! - Room is checked and reserved in one step, before a load begins; a load in flight holds its bytes.
//! - A model is evicted only while nobody holds it, and a pinned one not even then; a lease is counted before it is
//!   handed out.
//! - Victims are chosen when room is needed, on the state of that moment; no choice outlives a wait.
//! - Bytes come back when the model is dropped. Until then it is Evicting, and counts.
//! - Room is given first to sequences that run (they finish, and free more), then to models, each in the order of
//!   their first request; whoever stands behind the first in line waits with it, so nobody is overtaken forever.
//! - Whoever is first in line for too long makes busy models give way (`turns`): requests for them wait, until they were
//!   evicted and loaded again. No lease is cut for that.
//! - Whoever can never fit is refused at once (`admission`), also when that changes while it waits.
//! - Every wait ends at its deadline.
//!
//! Deliberately absent: caches of parsed headers, which belong to the loader.

mod admission;
mod break_even;
mod error;
mod event;
mod handle;
mod history;
mod lease;
mod life;
mod loader;
mod message;
mod options;
mod owner;
mod pin;
mod progress;
mod quarantine;
mod resize;
mod room;
mod slot;
mod snapshot;
mod turns;
mod victim;
mod workers;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use break_even::{BreakEven, Prices};
pub use error::{BudgetRefused, LeaseError, NoRoom, ShuttingDown};
pub use event::{Dismissal, EvictionCause, EvictionRecord, LoadCause, PoolEvent, PoolEventKind, PoolObserver};
pub use handle::{LoadOutcome, Pool, UnloadOutcome, UnpinOutcome};
pub use lease::Lease;
pub use loader::{FaultKind, Identity, Inspection, LoadFault, LoadSource, Loaded, ModelLoader, SourceLabel};
pub use message::LeaseResult;
pub use options::{KeepAlive, LeaseOptions, Oversize, PoolOptions};
pub use progress::{LoadProgress, LoadStage, Progress};
pub use snapshot::{ModelSnapshot, ModelState, Outlook, PoolSnapshot};
