//! The executor: one thread per device, one step at a time. A step is one batch of one model; sequences join and leave at
//! any step.
//!
//! ```text
//! enter → submit → queued → ready ⇄ stepping → done
//!                    ↑        ⇅
//!                    │   stalled (slow reader), awaiting room (KV growth)
//!                    └────────┴ preempted (its memory was taken)
//! ```
//!
//! What is next is decided in this order, each by a pure policy in a file of its own:
//! 1. `turns`: the model whose steps took least time for its weight;
//! 2. `admission`: which of its queued sequences may begin: by the tenant that has used least, its priorities, then age;
//! 3. `batch`: who steps: all that decode, and chunks of prompts beside them, under a budget of tokens and of time, which is
//!    short where tenants come and go (`visits`);
//! 4. `harm`: who is left out so that no tenant is slower than with a fair slice of time to itself;
//! 5. `speculation`: which drafts are computed beside the tokens of those who decode;
//! 6. `preemption`: when memory runs out, whose is taken.
//!
//! `fair` keeps the virtual times of models and tenants; `roster` knows where every sequence stands and when it must end;
//! `core` makes steps of it all and books what they did; `thread` runs them, parks when there is nothing to do, and replaces
//! an engine whose step does not return.
//!
//! What happens to a sequence that cannot step:
//! - Its reader is slow: it is set aside, its time counted as stall, and ended after `stall_max`. Others go on meanwhile;
//!   since it holds KV memory, it counts among the `started_per_model_max`, and is the first whose memory is taken.
//! - It needs room: what the engine can spare is reclaimed, and the source of room asked. It is set aside until the room
//!   comes, or for `room_wait_max` at most. Meanwhile sequences of its model that had begun go on (they free room by
//!   finishing) but none begins (it would need room itself). If room has not come after `preempt_after`, younger sequences
//!   and those of low priority give theirs up, the youngest of the lowest first, until as much is free.
//! - Its memory was taken: it goes back to the front of its tenant's queue and computes its history again later. Only its
//!   deadline ends it then, not a wait for room.
//!
//! Invariants: a step runs only for sequences whose readers have space for one more output; cancellations and deadlines
//! are looked at before every step and while queued or set aside, and a step is one token or one chunk; every sequence ends
//! in exactly one [`Completion`], which gives the lease and the sequence back; a panic in a step ends that batch's
//! sequences and nothing else; what all sequences were charged is what all steps cost.
//!
//! Deliberately absent: refusing early what will miss its deadline (nobody knows how long an answer will be), and sharing
//! memory between sequences (the engine's).

mod admission;
mod batch;
mod core;
mod fair;
mod feed;
mod handle;
mod harm;
mod inbox;
mod preemption;
mod queue;
mod room;
mod roster;
mod speculation;
mod step;
mod thread;
mod timing;
mod turns;
mod visits;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use feed::{Completion, Event, Outcome, Standing, StandingWatch, Ticket};
pub use handle::{DrainOutcome, Executor, ExecutorOptions, Owner, Priority, SpawnError, Submission, SubmitError};
pub use queue::{Place, QueueFull, Whose};
pub use room::{RoomAnswer, RoomSource, Wanted};
pub use timing::{Cost, RequestTiming};
