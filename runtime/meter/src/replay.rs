//! A recorded trace under another policy: what it would have held, loaded and cost, without running it.
//!
//! Requests arrive when they arrived and hold their model for as long as they did; what changes is which models are in
//! memory then. A pool is played through: a model is loaded when the first request for it arrives, takes as long and as
//! much processor time as its recorded loads did on average, is let go when its keep-alive ends, and makes room when it is
//! the least recently used idle one. Who waits for room waits in the order of arrival. The memory is attributed by the
//! same code as on the live server ([`Residency`](crate::residency::Residency)), and compared by [`crate::savings`].
//!
//! Invariants: pure and deterministic; the accounts sum to what was held exactly; the budget is never exceeded; an
//! in-use or pinned model is never let go.
//!
//! Deliberately absent: what the policy does to the requests' own speed (batches, queues on the device), turns of busy
//! models, keep-alives that adapt themselves, several devices. All of a replay is modelled.

mod simulation;
mod trace;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

pub use self::trace::{RecordedModel, Trace, TraceRequest};
use crate::savings::SavingsInputs;

/// How models come and go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// How long a model stays after its last request; none is until its memory is needed.
    pub keep_alive: Option<Duration>,
    /// Bytes of weights at once; none is no limit.
    pub budget_bytes: Option<u64>,
    /// Models that are loaded at the beginning and stay.
    pub pinned: BTreeSet<String>,
}

/// What a trace comes to under a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Times that a model was loaded.
    pub loads: u64,
    /// Times that one was let go before the end.
    pub evictions: u64,
    /// Requests for models that are larger than the budget.
    pub refused: u64,
    /// The most bytes of weights at once.
    pub peak_bytes: u64,
    /// What the comparison is computed from.
    pub inputs: SavingsInputs,
}

/// Plays `trace` under `policy`.
#[must_use]
pub fn replay(trace: &Trace, policy: &Policy) -> Replayed {
    simulation::Simulation::new(trace, policy).run()
}

#[cfg(test)]
mod tests;
