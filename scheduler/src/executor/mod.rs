//! The executor: one thread per device, one step at a time.
//!
//! ```text
//! submit → queued → ready ⇄ stepping → done
//!                     ⇅
//!              stalled (slow reader), awaiting room (KV growth)
//! ```
//!
//! A pure policy (`turns`) says which sequence steps next and which are overdue; `core` makes steps of it and books what
//! they did; a thin `thread` runs them, and parks when there is nothing to do. Requests of one model run one after another in the order in which they came;
//! models take turns step by step.
//!
//! What happens to a sequence that cannot step:
//! - Its reader is slow: it is set aside, its time counted as stall, and ended after `stall_max`. Meanwhile the model's
//!   next sequence may start, so that a slow reader holds up nobody, up to `started_per_model_max` at once, since each
//!   holds KV memory. When the reader catches up, the older sequence goes on first.
//! - It needs room: it is set aside until the room comes, or for `room_wait_max` at most. Meanwhile sequences of its
//!   model that had begun go on (they free room by finishing) but none begins (it would need room itself).
//!
//! Invariants: a step runs only for a sequence whose reader has space for one more output; cancellations and deadlines
//! are looked at before every step and while queued or set aside; every sequence ends in exactly one [`Completion`],
//! which gives the lease and the sequence back; a panic in a step ends that batch's sequences and nothing else.
//!
//! Deliberately absent: batches of more than one sequence (the engine's seam is the slice), weights among models or
//! tenants, preemption, and a watchdog over a step that never returns.

mod core;
mod feed;
mod handle;
mod inbox;
mod queue;
mod room;
mod step;
mod thread;
mod timing;
mod turns;

#[cfg(test)]
mod tests;

pub use feed::{Completion, Event, Outcome, Standing, Ticket};
pub use handle::{DrainOutcome, Executor, ExecutorOptions, Owner, Priority, SpawnError, Submission, SubmitError};
pub use queue::{Place, QueueFull, Whose};
pub use room::{RoomAnswer, RoomSource, Wanted};
pub use timing::{Cost, RequestTiming};
