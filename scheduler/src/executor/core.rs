//! The executor's thread: hears, decides by [`Turns`], steps; parks when there is nothing to do.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::feed::{Completion, Outcome, Space};
use super::handle::{ExecutorOptions, Shared};
use super::inbox::{Entry, SequenceId, Signal};
use super::room::{RoomAnswer, RoomSource};
use super::timing::Doing;
use super::turns::{Aside, Overrun, Turn, Turns, after};
use crate::budget::Reservation;
use crate::engine::{Engine, SequenceState, StepCost, StepOutcome};
use crate::panic;
use crate::pool::NoRoom;

pub(super) struct Core<E: Engine> {
    engine: E,
    room: Box<dyn RoomSource>,
    options: ExecutorOptions,
    shared: Arc<Shared<E>>,
    turns: Turns,
    entries: HashMap<SequenceId, Entry<E>>,
    signals: VecDeque<Signal<E>>,
    outcomes: Vec<StepOutcome<E::Output, E::Fault>>,
    ending: Ending,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    NotAsked,
    WhenEmpty,
    Now,
}

impl<E: Engine> Core<E> {
    pub(super) fn new(engine: E, room: Box<dyn RoomSource>, options: ExecutorOptions, shared: Arc<Shared<E>>) -> Self {
        Self {
            engine,
            room,
            options,
            shared,
            turns: Turns::new(options.started_per_model_max),
            entries: HashMap::new(),
            signals: VecDeque::new(),
            outcomes: Vec::new(),
            ending: Ending::NotAsked,
        }
    }

    /// Runs until it is told to end. Dropping `self`, by return or by panic, ends every stream that is left.
    pub(super) fn run(mut self) {
        loop {
            self.hear();
            if self.ending == Ending::Now {
                self.end_all();
            }
            self.end_overrun();
            if self.ending != Ending::NotAsked && self.entries.is_empty() {
                return;
            }
            match self.turns.next() {
                Some(turn) => self.step(turn),
                None => self.shared.inbox.park(self.turns.next_timer()),
            }
        }
    }

    fn hear(&mut self) {
        let mut signals = std::mem::take(&mut self.signals);
        self.shared.inbox.take(&mut signals);
        for signal in signals.drain(..) {
            match signal {
                Signal::Submitted(entry) => {
                    self.turns.enter(entry.id, entry.lease.name(), entry.deadline);
                    self.entries.insert(entry.id, *entry);
                }
                Signal::Cancel(id) => self.end(id, Outcome::Cancelled),
                Signal::Drained(id) => self.on_drained(id),
                Signal::Room(id, Ok(room)) => self.on_room(id, room),
                Signal::Room(id, Err(refusal)) => {
                    if self.turns.is_aside(id, Aside::AwaitingRoom) {
                        self.end(id, Outcome::NoRoom(refusal));
                    }
                }
                Signal::Drain => self.ending = if self.ending == Ending::Now { Ending::Now } else { Ending::WhenEmpty },
                Signal::Stop => self.ending = Ending::Now,
            }
        }
        self.signals = signals;
    }

    fn on_drained(&mut self, id: SequenceId) {
        if self.turns.is_aside(id, Aside::Stalled) {
            self.turns.resume(id, Aside::Stalled);
            self.entry(id).watch.turn_to(Doing::AwaitingTurn, Instant::now());
        }
    }

    /// Room that nobody awaits any more goes back by being dropped.
    fn on_room(&mut self, id: SequenceId, room: Reservation) {
        if !self.turns.is_aside(id, Aside::AwaitingRoom) {
            return;
        }
        let entry = self.entries.get_mut(&id).expect("a sequence that was set aside has an entry");
        entry.wanted = None;
        let granted = catch_unwind(AssertUnwindSafe(|| self.engine.grant(&mut entry.sequence, room)));
        if let Err(payload) = granted {
            return self.end(id, Outcome::EnginePanicked { message: panic::message(&*payload) });
        }
        self.turns.resume(id, Aside::AwaitingRoom);
        let space = self.entry(id).feed.space();
        self.go_on(id, space);
    }

    fn end_overrun(&mut self) {
        let now = Instant::now();
        while let Some((id, overrun)) = self.turns.overrun(now) {
            self.end(
                id,
                match overrun {
                    Overrun::Deadline => Outcome::DeadlinePassed,
                    Overrun::Aside(Aside::Stalled) => Outcome::StallLimit,
                    Overrun::Aside(Aside::AwaitingRoom) => Outcome::NoRoom(NoRoom::DeadlinePassed),
                },
            );
        }
    }

    fn end_all(&mut self) {
        let mut ids: Vec<_> = self.entries.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.end(id, Outcome::ShuttingDown);
        }
    }

    fn step(&mut self, turn: Turn) {
        let id = match turn {
            Turn::First(id) => {
                self.shared.leave_queue();
                id
            }
            Turn::Further(id) => id,
        };
        let entry = self.entries.get_mut(&id).expect("a sequence that has a turn has an entry");
        entry.watch.turn_to(Doing::Stepping, Instant::now());
        self.outcomes.clear();
        let (engine, outcomes) = (&mut self.engine, &mut self.outcomes);
        let Entry { lease, sequence, .. } = entry;
        let stepped = catch_unwind(AssertUnwindSafe(|| engine.step(lease.model(), &mut [sequence], outcomes)));
        let broken = match (stepped, self.outcomes.len()) {
            (Ok(cost), 1) => {
                let outcome = self.outcomes.pop().expect("its length was looked at");
                return self.book(id, cost, outcome);
            }
            (Ok(_), count) => format!("{count} outcomes for a batch of one sequence"),
            (Err(payload), _) => panic::message(&*payload),
        };
        entry.watch.charge_broken(Instant::now());
        self.end(id, Outcome::EnginePanicked { message: broken });
    }

    /// Books a step on its sequence, shows its output, and sees how it goes on.
    fn book(&mut self, id: SequenceId, cost: StepCost, outcome: StepOutcome<E::Output, E::Fault>) {
        let entry = self.entry(id);
        entry.watch.charge(outcome.phase, cost, outcome.tokens);
        let space = outcome.output.map_or(Space::Free, |output| entry.feed.push(output));
        match outcome.state {
            SequenceState::Continue => self.go_on(id, space),
            SequenceState::Finished => self.end(id, Outcome::Completed),
            SequenceState::Failed(fault) => self.end(id, Outcome::Failed(fault)),
            SequenceState::NeedsRoom { bytes } => self.ask_for_room(id, bytes),
        }
    }

    fn go_on(&mut self, id: SequenceId, space: Space) {
        let now = Instant::now();
        let doing = match space {
            Space::Free => Doing::AwaitingTurn,
            Space::Full => {
                self.turns.set_aside(id, Aside::Stalled, after(now, self.options.stall_max));
                Doing::Stalled
            }
        };
        self.entry(id).watch.turn_to(doing, now);
    }

    fn ask_for_room(&mut self, id: SequenceId, bytes: u64) {
        let now = Instant::now();
        let until = after(now, self.options.room_wait_max);
        self.turns.set_aside(id, Aside::AwaitingRoom, until);
        let inbox = Arc::clone(&self.shared.inbox);
        let (answer, wanted) = RoomAnswer::new(move |room| inbox.send(Signal::Room(id, room)));
        let entry = self.entry(id);
        entry.watch.turn_to(Doing::AwaitingRoom, now);
        entry.wanted = Some(wanted);
        let until = entry.deadline.map_or(until, |deadline| deadline.min(until));
        let model = Arc::clone(entry.lease.name());
        self.room.request(&model, bytes, until, answer);
    }

    /// The one way in which a sequence ends. One that has ended already stays as it was.
    fn end(&mut self, id: SequenceId, outcome: Outcome<E::Fault>) {
        if self.turns.is_queued(id) {
            self.shared.leave_queue();
        }
        self.turns.leave(id);
        let Some(entry) = self.entries.remove(&id) else { return };
        let timing = entry.watch.finish(Instant::now());
        if matches!(outcome, Outcome::Completed) {
            self.shared.note_computed(timing.computed());
        }
        let Entry { lease, sequence, feed, .. } = entry;
        feed.finish(Completion { outcome, lease, sequence, timing });
    }

    fn entry(&mut self, id: SequenceId) -> &mut Entry<E> {
        self.entries.get_mut(&id).expect("a sequence that is spoken of has an entry")
    }
}

impl<E: Engine> Drop for Core<E> {
    fn drop(&mut self) {
        // Entries that are still here were cut off by a panic: dropping them ends their streams.
        let unheard = self.shared.inbox.close();
        self.entries.clear();
        drop(unheard);
    }
}
