//! What reaches the executor's thread, and where it parks.
//!
//! Bounded by what it carries: at most `queue_max` submissions, one answer per sequence that awaits room, and signals
//! of tickets, whose owners must have been let in before.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::feed::Feed;
use super::handle::Owner;
use super::queue::Place;
use super::room::Wanted;
use super::timing::Stopwatch;
use crate::budget::Reservation;
use crate::engine::Engine;
use crate::pool::{Lease, NoRoom};

/// In the order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SequenceId(pub(super) u64);

pub(super) enum Signal<E: Engine> {
    Submitted(Box<Entry<E>>),
    Cancel(SequenceId),
    /// The reader of a full stream took something.
    Drained(SequenceId),
    Room(SequenceId, RoomRequest, Result<Reservation, NoRoom>),
    /// End when the last sequence has ended.
    Drain,
    /// End now.
    Stop,
}

/// A submitted sequence and all that belongs to it.
pub(super) struct Entry<E: Engine> {
    pub(super) id: SequenceId,
    pub(super) lease: Lease<E::Model>,
    /// None while it is lent to a step.
    pub(super) sequence: Option<E::Sequence>,
    pub(super) owner: Owner,
    /// Until it steps for the first time.
    pub(super) place: Option<Place>,
    pub(super) feed: Feed<E>,
    pub(super) watch: Stopwatch,
    pub(super) deadline: Option<Instant>,
    /// While it awaits room.
    pub(super) asked: Option<Asked>,
}

/// A request for room that waits for its answer.
pub(super) struct Asked {
    pub(super) request: RoomRequest,
    pub(super) bytes: u64,
    /// Dropped with this: the answer is not wanted any more.
    pub(super) _wanted: Wanted,
}

/// Tells the answers to a sequence's requests apart: one that was preempted while it awaited room may ask again before the
/// first answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoomRequest(pub(super) u64);

pub(super) struct Inbox<E: Engine> {
    state: Mutex<State<E>>,
    filled: Condvar,
}

struct State<E: Engine> {
    signals: VecDeque<Signal<E>>,
    gate: Gate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// No more submissions.
    Draining,
    /// Nobody listens.
    Closed,
}

impl<E: Engine> Inbox<E> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { signals: VecDeque::new(), gate: Gate::Open }), filled: Condvar::new() }
    }

    /// Lets a submission in, unless the executor is ending.
    pub(super) fn submit(&self, entry: Box<Entry<E>>) -> Result<(), Box<Entry<E>>> {
        let mut state = self.lock();
        if state.gate != Gate::Open {
            return Err(entry);
        }
        state.signals.push_back(Signal::Submitted(entry));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Whatever arrives after the end has no one to go to, and is dropped.
    pub(super) fn send(&self, signal: Signal<E>) {
        let mut state = self.lock();
        if matches!(signal, Signal::Drain | Signal::Stop) && state.gate == Gate::Open {
            state.gate = Gate::Draining;
        }
        if state.gate == Gate::Closed {
            drop(state);
            drop(signal);
            return;
        }
        state.signals.push_back(signal);
        drop(state);
        self.filled.notify_one();
    }

    /// Moves all that came into `signals`, without waiting.
    pub(super) fn take(&self, signals: &mut VecDeque<Signal<E>>) {
        std::mem::swap(&mut self.lock().signals, signals);
    }

    /// Parks until something comes, or until `until`.
    pub(super) fn park(&self, until: Option<Instant>) {
        let mut state = self.lock();
        while state.signals.is_empty() {
            state = match until {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let rest = until.saturating_duration_since(Instant::now());
                    if rest.is_zero() {
                        return;
                    }
                    self.filled.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Nobody listens from now on. Returns what nobody has heard.
    pub(super) fn close(&self) -> VecDeque<Signal<E>> {
        let mut state = self.lock();
        state.gate = Gate::Closed;
        std::mem::take(&mut state.signals)
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Nothing of the caller's runs under the lock, so a poisoned one is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
