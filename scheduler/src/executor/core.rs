//! What the executor's thread thinks: hears, decides by [`Turns`], makes steps and books what they did.
//!
//! It runs no step itself: whoever drives it does, between [`Core::next`] and [`Core::book`].

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{Completion, Outcome, Space};
use super::handle::{ExecutorOptions, Shared};
use super::inbox::{Entry, SequenceId, Signal};
use super::room::{RoomAnswer, RoomSource};
use super::step::{Did, Lent, Ran, Step};
use super::timing::Doing;
use super::turns::{Aside, Overrun, Turn, Turns, after};
use crate::budget::Reservation;
use crate::engine::{Engine, SequenceState, StepOutcome};
use crate::panic;
use crate::pool::NoRoom;

/// Tokens that a step computes at most.
const STEP_TOKENS_MAX: u32 = 256;

pub(super) struct Core<E: Engine> {
    room: Box<dyn RoomSource>,
    options: ExecutorOptions,
    shared: Arc<Shared<E>>,
    turns: Turns,
    entries: HashMap<SequenceId, Entry<E>>,
    signals: VecDeque<Signal<E>>,
    /// Wall time of steps since a sequence was completed last.
    busy: Duration,
    ending: Ending,
}

/// What is to be done.
pub(super) enum Next<E: Engine> {
    /// Run it, then book it.
    Step(Step<E>),
    /// Nothing, until something comes, or until then.
    Park(Option<Instant>),
    /// It is over.
    End,
}

/// Entries are only looked at between steps.
const AT_HOME: &str = "a sequence is lent to a step only while that runs";

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    NotAsked,
    WhenEmpty,
    Now,
}

impl<E: Engine> Core<E> {
    pub(super) fn new(room: Box<dyn RoomSource>, options: ExecutorOptions, shared: Arc<Shared<E>>) -> Self {
        Self {
            room,
            options,
            shared,
            turns: Turns::new(options.started_per_model_max),
            entries: HashMap::new(),
            signals: VecDeque::new(),
            busy: Duration::ZERO,
            ending: Ending::NotAsked,
        }
    }

    /// Hears what came, ends what must end, and says what is next.
    pub(super) fn next(&mut self, engine: &mut E) -> Next<E> {
        self.hear(engine);
        if self.ending == Ending::Now {
            self.end_all();
        }
        self.end_overrun();
        if self.ending != Ending::NotAsked && self.entries.is_empty() {
            return Next::End;
        }
        match self.turns.next() {
            Some(turn) => Next::Step(self.step(turn)),
            None => Next::Park(self.turns.next_timer()),
        }
    }

    /// Waits until something comes, or until `until`.
    pub(super) fn park(&self, until: Option<Instant>) {
        self.shared.inbox.park(until);
    }

    fn hear(&mut self, engine: &mut E) {
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
                Signal::Room(id, Ok(room)) => self.on_room(engine, id, room),
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
    fn on_room(&mut self, engine: &mut E, id: SequenceId, room: Reservation) {
        if !self.turns.is_aside(id, Aside::AwaitingRoom) {
            return;
        }
        let entry = self.entries.get_mut(&id).expect("a sequence that was set aside has an entry");
        entry.wanted = None;
        let sequence = entry.sequence.as_mut().expect(AT_HOME);
        let granted = catch_unwind(AssertUnwindSafe(|| engine.grant(sequence, room)));
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

    fn step(&mut self, turn: Turn) -> Step<E> {
        let (Turn::First(id) | Turn::Further(id)) = turn;
        let entry = self.entry(id);
        if matches!(turn, Turn::First(_)) {
            entry.feed.begin();
            entry.place = None;
        }
        entry.watch.turn_to(Doing::Stepping, Instant::now());
        let sequence = entry.sequence.take().expect(AT_HOME);
        Step { lease: entry.lease.clone(), members: vec![Lent { id, sequence, tokens_max: STEP_TOKENS_MAX }] }
    }

    /// Takes back what a step was lent, and books what it did.
    pub(super) fn book(&mut self, ran: Ran<E>) {
        let Ran { members, did } = ran;
        let count = members.len();
        let ids: Vec<_> = members.iter().map(|lent| lent.id).collect();
        for Lent { id, sequence, .. } in members {
            self.entry(id).sequence = Some(sequence);
        }
        match did {
            Ok(Did { cost, outcomes }) => {
                self.busy += cost.wall;
                for (id, outcome) in ids.into_iter().zip(outcomes) {
                    self.book_one(id, outcome);
                }
            }
            Err(message) => {
                let now = Instant::now();
                for id in ids {
                    self.entry(id).watch.charge_broken(count, now);
                    self.end(id, Outcome::EnginePanicked { message: message.clone() });
                }
            }
        }
    }

    /// Books a step on one of its members, shows its output, and sees how it goes on.
    fn book_one(&mut self, id: SequenceId, outcome: StepOutcome<E::Output, E::Fault>) {
        let entry = self.entry(id);
        entry.watch.charge(outcome.phase, outcome.share, outcome.tokens);
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
        self.turns.leave(id);
        let Some(entry) = self.entries.remove(&id) else { return };
        let timing = entry.watch.finish(Instant::now());
        if matches!(outcome, Outcome::Completed) {
            self.shared.note_completed(std::mem::take(&mut self.busy));
        }
        let Entry { lease, sequence, feed, place, .. } = entry;
        drop(place);
        let sequence = sequence.expect(AT_HOME);
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
