//! Where every sequence of one executor stands, and when it must end: told of events, asked for views.
//!
//! ```text
//! queued → ready ⇄ aside (stalled, awaiting room)
//!    ↑       │
//!    └───────┴ preempted: its memory was taken
//! ```
//!
//! No sequence of a model begins while one of that model awaits room; none of any model while one awaits room for which
//! others were preempted, or they would take it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admission::{Begun, Waiting, admit, aged};
use super::fair::{VirtualTime, VirtualTimes};
use super::handle::{Owner, Priority};
use super::inbox::SequenceId;
use super::preemption::{Rank, Reader};
use super::visits::Visits;
use crate::limits::{ABSENT_CREDIT_MAX, VISITS_LATELY};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Ready,
    Aside(Aside, Instant),
}

/// Why a sequence does not step for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aside {
    Stalled,
    AwaitingRoom,
}

/// Which of its limits a sequence has overrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Overrun {
    Deadline,
    Aside(Aside),
    /// Room has not come by itself for so long that others must give way.
    Patience,
}

/// What has become of the memory that a sequence's history held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    Kept,
    /// It was preempted, and has not begun again.
    Taken,
}

#[derive(Debug)]
struct Seat {
    model: Arc<str>,
    owner: Owner,
    state: State,
    submitted: Instant,
    deadline: Option<Instant>,
    /// While it awaits room: when others must give way.
    patience: Option<Instant>,
    begun: Begun,
    history: History,
    /// Number of its last step among all: those of one batch count in its order.
    stepped: u64,
}

/// The sequences of one model.
#[derive(Debug)]
struct Line {
    members: BTreeSet<SequenceId>,
    awaiting_room: usize,
    tenants: VirtualTimes<Arc<str>>,
}

/// A sequence that could be in its model's next step.
#[derive(Clone, Debug)]
pub(super) struct Steppable {
    pub(super) id: SequenceId,
    pub(super) owner: Owner,
    /// As it has aged.
    pub(super) priority: Priority,
    pub(super) stepped: u64,
}

/// All sequences of one executor.
#[derive(Debug)]
pub(super) struct Roster {
    started_per_model_max: usize,
    seats: HashMap<SequenceId, Seat>,
    lines: BTreeMap<Arc<str>, Line>,
    timers: BTreeSet<(Instant, SequenceId, Overrun)>,
    /// Those that await room for which others were preempted.
    claims: BTreeSet<SequenceId>,
    /// Of all sequences so far.
    steps: u64,
    visits: Visits,
}

impl Roster {
    pub(super) fn new(started_per_model_max: usize) -> Self {
        Self {
            started_per_model_max: started_per_model_max.max(1),
            seats: HashMap::new(),
            lines: BTreeMap::new(),
            timers: BTreeSet::new(),
            claims: BTreeSet::new(),
            steps: 0,
            visits: Visits::default(),
        }
    }

    /// A sequence joins its model's queue.
    pub(super) fn enter(
        &mut self,
        id: SequenceId,
        model: &Arc<str>,
        owner: Owner,
        submitted: Instant,
        deadline: Option<Instant>,
    ) {
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, id, Overrun::Deadline));
        }
        let line = self.lines.entry(Arc::clone(model)).or_insert_with(|| Line {
            members: BTreeSet::new(),
            awaiting_room: 0,
            tenants: VirtualTimes::new(ABSENT_CREDIT_MAX),
        });
        line.members.insert(id);
        let seat = Seat {
            model: Arc::clone(model),
            owner,
            state: State::Queued,
            submitted,
            deadline,
            patience: None,
            begun: Begun::No,
            history: History::Kept,
            stepped: 0,
        };
        self.seats.insert(id, seat);
    }

    /// A sequence is over.
    pub(super) fn leave(&mut self, id: SequenceId) {
        self.settle(id, State::Queued);
        let Some(seat) = self.seats.remove(&id) else { return };
        if let Some(deadline) = seat.deadline {
            self.timers.remove(&(deadline, id, Overrun::Deadline));
        }
        let line = self.lines.get_mut(&seat.model).expect("every seat is in a line");
        line.members.remove(&id);
        if line.members.is_empty() {
            self.lines.remove(&seat.model);
        }
    }

    /// Models that have something to step, by name.
    pub(super) fn ready_models(&self, now: Instant) -> Vec<Arc<str>> {
        let is_ready = |id: &SequenceId| self.seats[id].state == State::Ready;
        let can_step = |model: &Arc<str>, line: &Line| {
            line.members.iter().any(is_ready) || !self.admitted(model, line, now).is_empty()
        };
        self.lines.iter().filter(|(model, line)| can_step(model, line)).map(|(model, _)| Arc::clone(model)).collect()
    }

    /// The sequences of `model` that could be in a step now; their tenants are those present from now on.
    pub(super) fn steppable(&mut self, model: &Arc<str>, now: Instant) -> Vec<Steppable> {
        let Some(line) = self.lines.get(model) else { return Vec::new() };
        let ready = line.members.iter().copied().filter(|id| self.seats[id].state == State::Ready);
        let ids: Vec<_> = ready.chain(self.admitted(model, line, now)).collect();
        let steppable: Vec<_> = ids.into_iter().map(|id| self.steppable_one(id, now)).collect();
        let present: BTreeSet<_> = steppable.iter().map(|one| &one.owner.tenant).collect();
        let line = self.lines.get_mut(model).expect("it was looked at");
        line.tenants.meet(present.iter().copied());
        present.into_iter().for_each(|tenant| self.visits.note(tenant, now));
        steppable
    }

    /// Whether several tenants had something to step lately, of whatever model.
    pub(super) fn is_visited(&self, now: Instant) -> bool {
        self.visits.were_of_several(VISITS_LATELY, now)
    }

    fn steppable_one(&self, id: SequenceId, now: Instant) -> Steppable {
        let seat = &self.seats[&id];
        Steppable { id, owner: seat.owner.clone(), priority: seat.priority(now), stepped: seat.stepped }
    }

    /// The queued sequences of `model` that may begin, best first.
    fn admitted(&self, model: &Arc<str>, line: &Line, now: Instant) -> Vec<SequenceId> {
        if line.awaiting_room > 0 || !self.claims.is_empty() {
            return Vec::new();
        }
        let (mut waiting, mut started) = (Vec::new(), HashMap::new());
        for &id in &line.members {
            let seat = &self.seats[&id];
            debug_assert_eq!(&seat.model, model);
            let tenant = &*seat.owner.tenant;
            if seat.state == State::Queued {
                let (time, priority) = (line.tenants.time(&seat.owner.tenant), seat.priority(now));
                waiting.push(Waiting { id, tenant, time, priority, begun: seat.begun });
            } else if seat.history == History::Kept {
                *started.entry(tenant).or_default() += 1;
            }
        }
        admit(waiting, started, self.started_per_model_max)
    }

    /// The virtual time of a tenant in the line of `model`.
    pub(super) fn time(&self, model: &Arc<str>, tenant: &Arc<str>) -> VirtualTime {
        self.lines.get(model).map_or_else(VirtualTime::default, |line| line.tenants.time(tenant))
    }

    /// A step takes place, with these in it. Returns those of them that step for the first time.
    pub(super) fn step(&mut self, ids: impl Iterator<Item = SequenceId>) -> Vec<SequenceId> {
        let mut first = Vec::new();
        for id in ids {
            self.steps += 1;
            let number = self.steps;
            let seat = self.seat(id);
            (seat.state, seat.history, seat.stepped) = (State::Ready, History::Kept, number);
            if std::mem::replace(&mut seat.begun, Begun::Yes) == Begun::No {
                first.push(id);
            }
        }
        first
    }

    /// A step cost the tenant of `id` so much.
    pub(super) fn charge(&mut self, id: SequenceId, wall: Duration) {
        let seat = &self.seats[&id];
        let line = self.lines.get_mut(&seat.model).expect("every seat is in a line");
        line.tenants.charge(&seat.owner.tenant, wall, seat.owner.weight);
    }

    /// A started sequence does not step until it is resumed, or overruns `until`.
    pub(super) fn set_aside(&mut self, id: SequenceId, why: Aside, until: Instant) {
        self.settle(id, State::Aside(why, until));
    }

    /// A sequence that was set aside for `why` may step again, or queue again if its memory was taken. Anything else stays
    /// as it is. Returns what has become of its memory, if it was aside for `why`.
    pub(super) fn resume(&mut self, id: SequenceId, why: Aside) -> Option<History> {
        if !self.is_aside(id, why) {
            return None;
        }
        let history = self.seat(id).history;
        self.settle(id, if history == History::Taken { State::Queued } else { State::Ready });
        Some(history)
    }

    /// The memory of a sequence was taken: it begins again, before others of its tenant; if its reader is slow, not before it
    /// has caught up.
    pub(super) fn take_history(&mut self, id: SequenceId) {
        self.seat(id).history = History::Taken;
        if !self.is_aside(id, Aside::Stalled) {
            self.settle(id, State::Queued);
        }
    }

    /// One that awaits room makes others give way if it still does at `at`.
    pub(super) fn lose_patience(&mut self, id: SequenceId, at: Instant) {
        if let Some(before) = self.seat(id).patience.replace(at) {
            self.timers.remove(&(before, id, Overrun::Patience));
        }
        self.timers.insert((at, id, Overrun::Patience));
    }

    /// Somebody was preempted for `id`, which awaits room.
    pub(super) fn claim(&mut self, id: SequenceId) {
        self.claims.insert(id);
    }

    /// Whether `id` is set aside for `why`.
    pub(super) fn is_aside(&self, id: SequenceId, why: Aside) -> bool {
        matches!(self.seats.get(&id), Some(Seat { state: State::Aside(reason, _), .. }) if *reason == why)
    }

    /// Where `id` stands when memory is short.
    pub(super) fn rank(&self, id: SequenceId, now: Instant) -> Rank {
        Rank::new(id, self.seats[&id].priority(now))
    }

    /// Whether the reader of `id` keeps up.
    pub(super) fn reader(&self, id: SequenceId) -> Reader {
        if self.is_aside(id, Aside::Stalled) { Reader::Slow } else { Reader::Keeping }
    }

    /// A sequence that has overrun one of its limits at `now`, if any has.
    pub(super) fn overrun(&self, now: Instant) -> Option<(SequenceId, Overrun)> {
        self.timers.first().filter(|(at, ..)| *at <= now).map(|&(_, id, overrun)| (id, overrun))
    }

    /// When the next limit will be overrun.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, ..)| at)
    }

    /// The one way in which a sequence's state changes: what belonged to the one before is undone.
    fn settle(&mut self, id: SequenceId, state: State) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let line = self.lines.get_mut(&seat.model).expect("every seat is in a line");
        if let State::Aside(why, until) = std::mem::replace(&mut seat.state, state) {
            self.timers.remove(&(until, id, Overrun::Aside(why)));
            line.awaiting_room -= usize::from(why == Aside::AwaitingRoom);
        }
        if let Some(at) = seat.patience.take() {
            self.timers.remove(&(at, id, Overrun::Patience));
        }
        self.claims.remove(&id);
        if let State::Aside(why, until) = state {
            self.timers.insert((until, id, Overrun::Aside(why)));
            line.awaiting_room += usize::from(why == Aside::AwaitingRoom);
        }
    }

    fn seat(&mut self, id: SequenceId) -> &mut Seat {
        self.seats.get_mut(&id).expect("a sequence that is spoken of has a seat")
    }
}

impl Seat {
    fn priority(&self, now: Instant) -> Priority {
        aged(self.owner.priority, now.saturating_duration_since(self.submitted))
    }
}

/// A time after `now` that no clock reaches stands for never.
pub(super) fn after(now: Instant, time: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    now + time.min(NEVER)
}

#[cfg(test)]
mod tests;
