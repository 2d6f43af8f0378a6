//! What the simulation sees from outside: events, what clients say, and the workers' random times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Tally;
use crate::budget::Budget;
use crate::pool::slot::Pin;
use crate::pool::workers::{Job, Work, Workers};
use crate::pool::{EvictionCause, PoolEvent, PoolEventKind, PoolObserver};
use crate::testing::Random;

/// Clients that wait now: for which model since when, or for how many bytes.
#[derive(Clone, Default)]
pub(super) struct Waiting(pub(super) Arc<Mutex<Vec<(u64, Want)>>>);

#[derive(Clone)]
pub(super) enum Want {
    Model(String, Instant),
    Room(u64),
}

pub(super) struct WantEnds(Waiting, u64);

impl Waiting {
    pub(super) fn begin(&self, want: Want) -> WantEnds {
        let mut waiting = self.0.lock().unwrap();
        let id = waiting.last().map_or(0, |(id, _)| id + 1);
        waiting.push((id, want));
        WantEnds(self.clone(), id)
    }
}

impl Drop for WantEnds {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().retain(|(id, _)| *id != self.1);
    }
}

/// Watches every event, together with what clients say they use.
pub(super) struct Watch {
    budget: Arc<Budget>,
    pub(super) state: Mutex<Watched>,
}

pub(super) struct InMemory {
    pub(super) bytes: u64,
    pub(super) leases: usize,
    pub(super) since: Instant,
    pub(super) pin: Pin,
    pub(super) gives_way: bool,
}

#[derive(Default)]
pub(super) struct Watched {
    pub(super) in_use: BTreeMap<String, usize>,
    pub(super) loading: BTreeSet<String>,
    /// Models in memory.
    pub(super) loaded: BTreeMap<String, InMemory>,
    pub(super) leaving: usize,
    pub(super) tally: Tally,
}

impl Watched {
    fn in_memory(&mut self, name: &str) -> &mut InMemory {
        self.loaded.get_mut(name).expect("it is in memory")
    }
}

impl Watch {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, state: Mutex::default() }
    }

    pub(super) fn begin_use(&self, name: &str) {
        *self.state.lock().unwrap().in_use.entry(name.to_owned()).or_default() += 1;
    }

    pub(super) fn end_use(&self, name: &str) {
        *self.state.lock().unwrap().in_use.get_mut(name).expect("its use began") -= 1;
    }
}

impl PoolObserver for Watch {
    fn observe(&self, event: &PoolEvent) {
        let mut state = self.state.lock().unwrap();
        let name = event.model.to_string();
        match &event.kind {
            PoolEventKind::LoadStarted { .. } => {
                if self.budget.excess_bytes() > 0 {
                    state.tally.violations.push(format!("{name} loads beyond the budget"));
                }
                if !state.loading.insert(name.clone()) {
                    state.tally.violations.push(format!("{name} is loaded twice at once"));
                }
            }
            PoolEventKind::Loaded { bytes, waiters, .. } => {
                state.loading.remove(&name);
                state.loaded.insert(
                    name,
                    InMemory { bytes: *bytes, leases: 0, since: event.at, pin: Pin::NotPinned, gives_way: false },
                );
                state.tally.collated += usize::from(*waiters > 1);
            }
            PoolEventKind::LoadFailed { .. } => {
                state.loading.remove(&name);
            }
            PoolEventKind::Evicted { cause, .. } => {
                let model = state.loaded.remove(&name).expect("only a loaded model is evicted");
                if model.pin == Pin::Pinned && *cause != EvictionCause::Shutdown {
                    state.tally.violations.push(format!("{name} was evicted while it was pinned: {cause}"));
                }
                state.tally.evictions += 1;
                state.tally.cuts += usize::from(*cause == EvictionCause::BudgetCut);
                state.leaving += 1;
                if state.in_use.get(&name).is_some_and(|&users| users > 0) {
                    state.tally.violations.push(format!("{name} was evicted while in use"));
                }
            }
            PoolEventKind::Freed { .. } => state.leaving -= 1,
            PoolEventKind::Leased { leases } | PoolEventKind::Released { leases } => {
                state.in_memory(&name).leases = *leases;
            }
            PoolEventKind::Pinned => state.in_memory(&name).pin = Pin::Pinned,
            PoolEventKind::Unpinned => state.in_memory(&name).pin = Pin::NotPinned,
            PoolEventKind::GivesWay { .. } => {
                state.in_memory(&name).gives_way = true;
                state.tally.turns += 1;
            }
            PoolEventKind::KeepsOn => {
                state.in_memory(&name).gives_way = false;
                state.tally.turns_ended += 1;
            }
            PoolEventKind::Requested { .. }
            | PoolEventKind::AwaitingRoom { .. }
            | PoolEventKind::Dismissed { .. }
            | PoolEventKind::Quarantined { .. }
            | PoolEventKind::Progress(_)
            | PoolEventKind::Idle { .. } => {}
        }
    }
}

/// Each piece of work takes its own random time, then runs inline.
pub(super) struct RandomWorkers(pub(super) Mutex<Random>);

impl Workers for RandomWorkers {
    fn run(&self, work: Work, job: Job) {
        let longest = match work {
            Work::Inspect => 5,
            Work::Load => 200,
            Work::Dispose => 50,
        };
        let time = Duration::from_millis(self.0.lock().unwrap().below(longest));
        tokio::spawn(async move {
            sleep(time).await;
            job();
        });
    }
}
