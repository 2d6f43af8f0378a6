//! All that the pool knows of one model.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::break_even::{BreakEven, Prices, choose_time_out};
use super::event::{EvictionCause, LoadCause};
use super::history::History;
use super::lease::Resident;
use super::loader::{Inspection, ModelLoader};
use super::message::{LeaseResult, WaiterId};
use super::options::KeepAlive;
use super::progress::LoadProgress;
use super::quarantine::Quarantine;
use super::snapshot::{ModelSnapshot, ModelState};

pub(super) struct Slot<L: ModelLoader> {
    pub(super) state: State<L::Model>,
    /// In the order in which they came. Empty unless the model is on its way, or gives way.
    pub(super) waiters: Vec<Waiter<L>>,
    /// Earlier copies of the model, not dropped yet.
    pub(super) leaving: Leaving,
    pub(super) keep_alive: KeepAlive,
    pub(super) unload: Unload,
    pub(super) pin: Pin,
    pub(super) turn: Turn,
    /// Of the copy in memory or on its way.
    pub(super) cause: LoadCause,
    pub(super) history: History,
    pub(super) quarantine: Option<Quarantine<L::Error>>,
}

/// A request that waits for the model.
pub(super) struct Waiter<L: ModelLoader> {
    pub(super) id: WaiterId,
    pub(super) since: Instant,
    pub(super) cause: LoadCause,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) reply: oneshot::Sender<LeaseResult<L>>,
}

pub(super) enum State<M> {
    Absent,
    Inspecting,
    AwaitingRoom { inspection: Inspection, since: Instant },
    Loading(Inspection, LoadProgress),
    Resident { model: Arc<Resident<M>>, since: Instant, leases: usize, idle: Option<Idle> },
}

/// Nobody holds the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) since: Instant,
    pub(super) expires: Option<Instant>,
    /// How that was chosen, when the pool chose.
    pub(super) break_even: Option<BreakEven>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leaving {
    pub(super) copies: usize,
    pub(super) bytes: u64,
}

/// Whether the model goes as soon as nobody holds it, whatever its keep-alive says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unload {
    NotAsked,
    WhenFree,
    /// Nobody did: it failed in use.
    Faulty,
}

/// Whether requests get the model while it is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Keeps,
    /// Not until it was evicted for this cause, or that is not needed any more.
    GivesWay(EvictionCause),
}

/// Whether someone asked for the model to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    NotPinned,
    Pinned,
}

impl<L: ModelLoader> Slot<L> {
    pub(super) fn new(keep_alive: KeepAlive, now: Instant) -> Self {
        Self {
            state: State::Absent,
            waiters: Vec::new(),
            leaving: Leaving::default(),
            keep_alive,
            unload: Unload::NotAsked,
            pin: Pin::NotPinned,
            turn: Turn::Keeps,
            cause: LoadCause::Demand,
            history: History::new(now),
            quarantine: None,
        }
    }

    /// Neither in memory nor on its way in or out.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent) && self.leaving.copies == 0 && self.waiters.is_empty()
    }

    /// Whether anything would be lost by forgetting it.
    pub(super) fn has_history(&self) -> bool {
        self.history.loads > 0 || self.quarantine.is_some()
    }

    /// The idleness of a model that nobody has held since `since`; its time-out counts from `now`.
    pub(super) fn idle(&mut self, since: Instant, now: Instant, prices: Prices) -> Idle {
        let bytes = self.resident_bytes();
        let (time_out, break_even) = match self.keep_alive {
            _ if self.pin == Pin::Pinned => (None, None),
            KeepAlive::Forever => (None, None),
            KeepAlive::For(time) => (Some(time), None),
            KeepAlive::DropAfterUse => (Some(Duration::ZERO), None),
            KeepAlive::Auto => {
                let reload = self.history.load_wall_mean;
                let break_even = choose_time_out(reload, bytes, self.history.gaps(), prices);
                (Some(break_even.time_out), Some(break_even))
            }
        };
        Idle { since, expires: time_out.and_then(|time| now.checked_add(time)), break_even }
    }

    /// In memory, and handed out to whoever asks.
    pub(super) fn is_at_hand(&self) -> bool {
        matches!(self.state, State::Resident { .. }) && self.turn == Turn::Keeps
    }

    /// Bytes of the copy in memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        if let State::Resident { model, .. } = &self.state { model.bytes } else { 0 }
    }

    /// Bytes that it holds or will hold, where that is known.
    pub(super) fn known_bytes(&self) -> Option<u64> {
        match &self.state {
            State::Absent | State::Inspecting => None,
            State::AwaitingRoom { inspection, .. } | State::Loading(inspection, _) => Some(inspection.resident_bytes),
            State::Resident { model, .. } => Some(model.bytes),
        }
    }

    /// It is, or will be, in memory in part.
    fn is_paged(&self) -> bool {
        match &self.state {
            State::Absent | State::Inspecting => false,
            State::AwaitingRoom { inspection, .. } | State::Loading(inspection, _) => inspection.is_paged(),
            State::Resident { model, .. } => model.is_paged,
        }
    }

    /// Those who hold it or wait for it.
    pub(super) fn users(&self) -> usize {
        let leases = if let State::Resident { leases, .. } = self.state { leases } else { 0 };
        leases + self.waiters.len()
    }

    pub(super) fn snapshot(&self, name: &Arc<str>, now: Instant) -> ModelSnapshot {
        let (state, weights_bytes) = match &self.state {
            State::Absent if self.leaving.copies > 0 => (ModelState::Evicting, self.leaving.bytes),
            State::Absent => (ModelState::Absent, 0),
            State::Inspecting => (ModelState::Inspecting, 0),
            State::AwaitingRoom { .. } => (ModelState::AwaitingRoom, 0),
            State::Loading(inspection, _) => (ModelState::Loading, inspection.resident_bytes),
            State::Resident { model, idle: None, .. } => (ModelState::Resident, model.bytes),
            State::Resident { model, idle: Some(_), .. } => (ModelState::Idle, model.bytes),
        };
        let (leases, idle) = match self.state {
            State::Resident { leases, idle, .. } => (leases, idle),
            _ => (0, None),
        };
        ModelSnapshot {
            name: Arc::clone(name),
            state,
            weights_bytes,
            leases,
            waiters: self.waiters.len(),
            keep_alive: self.keep_alive,
            break_even: idle.and_then(|idle| idle.break_even),
            idle_for: idle.map(|idle| now.duration_since(idle.since)),
            expires_in: idle.and_then(|idle| idle.expires).map(|expires| expires.saturating_duration_since(now)),
            progress: if let State::Loading(_, progress) = self.state { Some(progress) } else { None },
            loads: self.history.loads,
            last_load_wall: self.history.last_load_wall,
            last_load_source: self.history.last_load_source,
            quarantined_for: self.quarantine.as_ref().and_then(|quarantine| quarantine.rest(now)),
            paged: self.is_paged(),
            pinned: self.pin == Pin::Pinned,
            gives_way_for: if let Turn::GivesWay(cause) = &self.turn { Some(cause.clone()) } else { None },
            unload_pending: self.unload != Unload::NotAsked,
        }
    }
}
