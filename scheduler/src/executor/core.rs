//! What the executor's thread thinks: hears, chooses a step (`choice`), books what it did (`booking`), finds memory
//! (`memory`).
//!
//! It runs no step itself: whoever drives it does, between [`Core::next`] and [`Core::book`].

mod booking;
mod choice;
mod memory;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{Completion, Outcome};
use super::handle::{ExecutorOptions, Shared};
use super::inbox::{Entry, RoomRequest, SequenceId, Signal};
use super::room::RoomSource;
use super::roster::{Aside, History, Overrun, Roster};
use super::step::Step;
use super::timing::Doing;
use super::turns::Turns;
use crate::engine::Engine;
use crate::pool::NoRoom;

pub(super) struct Core<E: Engine> {
    room: Box<dyn RoomSource>,
    options: ExecutorOptions,
    shared: Arc<Shared<E>>,
    turns: Turns,
    roster: Roster,
    entries: HashMap<SequenceId, Entry<E>>,
    signals: VecDeque<Signal<E>>,
    /// Wall time of steps since a sequence was completed last.
    busy: Duration,
    /// Of the last request for room.
    room_request: RoomRequest,
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
            turns: Turns::new(options.model_weights.clone()),
            roster: Roster::new(options.started_per_model_max),
            options,
            shared,
            entries: HashMap::new(),
            signals: VecDeque::new(),
            busy: Duration::ZERO,
            room_request: RoomRequest(0),
            ending: Ending::NotAsked,
        }
    }

    /// Hears what came, ends what must end, and says what is next.
    pub(super) fn next(&mut self, engine: &mut E) -> Next<E> {
        self.hear(engine);
        if self.ending == Ending::Now {
            self.end_all();
        }
        self.deal_with_overrun(engine);
        let chosen = self.choose(engine);
        // Choosing can end sequences, too.
        if self.ending != Ending::NotAsked && self.entries.is_empty() {
            return Next::End;
        }
        chosen.map_or_else(|| Next::Park(self.roster.next_timer()), Next::Step)
    }

    fn hear(&mut self, engine: &mut E) {
        let mut signals = std::mem::take(&mut self.signals);
        self.shared.inbox.take(&mut signals);
        for signal in signals.drain(..) {
            match signal {
                Signal::Submitted(entry) => {
                    let (model, owner) = (entry.lease.name(), entry.owner.clone());
                    self.roster.enter(entry.id, model, owner, entry.watch.started(), entry.deadline);
                    self.entries.insert(entry.id, *entry);
                }
                Signal::Cancel(id) => self.end(id, Outcome::Cancelled),
                Signal::Drained(id) => self.on_drained(id),
                Signal::Room(id, request, room) => self.on_room(engine, id, request, room),
                Signal::Drain => self.ending = if self.ending == Ending::Now { Ending::Now } else { Ending::WhenEmpty },
                Signal::Stop => self.ending = Ending::Now,
            }
        }
        self.signals = signals;
    }

    fn on_drained(&mut self, id: SequenceId) {
        let doing = match self.roster.resume(id, Aside::Stalled) {
            Some(History::Kept) => Doing::AwaitingTurn,
            Some(History::Taken) => Doing::AwaitingRoom,
            None => return,
        };
        self.entry(id).watch.turn_to(doing, Instant::now());
    }

    fn deal_with_overrun(&mut self, engine: &mut E) {
        let now = Instant::now();
        while let Some((id, overrun)) = self.roster.overrun(now) {
            match overrun {
                Overrun::Deadline => self.end(id, Outcome::DeadlinePassed),
                Overrun::Aside(Aside::Stalled) => self.end(id, Outcome::StallLimit),
                Overrun::Aside(Aside::AwaitingRoom) if self.entry(id).watch.was_preempted() => self.requeue(engine, id),
                Overrun::Aside(Aside::AwaitingRoom) => self.end(id, Outcome::NoRoom(NoRoom::DeadlinePassed)),
                Overrun::Patience => self.make_others_give_way(engine, id),
            }
        }
    }

    /// Ends every sequence. None may be lent to a step.
    pub(super) fn end_all(&mut self) {
        let mut ids: Vec<_> = self.entries.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.end(id, Outcome::ShuttingDown);
        }
    }

    /// The one way in which a sequence ends. One that has ended already stays as it was.
    fn end(&mut self, id: SequenceId, outcome: Outcome<E::Fault>) {
        self.roster.leave(id);
        let Some(entry) = self.entries.remove(&id) else { return };
        let timing = entry.watch.finish(Instant::now());
        if matches!(outcome, Outcome::Completed) {
            self.shared.note_completed(std::mem::take(&mut self.busy));
        }
        let Entry { lease, sequence, feed, place, .. } = entry;
        drop(place);
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
