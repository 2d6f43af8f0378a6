//! Finds memory for a sequence that needs it: first what no sequence needs, then what the source of room gives, then what
//! others hold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{AT_HOME, Core};
use crate::budget::Reservation;
use crate::engine::Engine;
use crate::executor::feed::Outcome;
use crate::executor::inbox::{Asked, Entry, RoomRequest, SequenceId, Signal};
use crate::executor::preemption::{Holder, victim};
use crate::executor::room::RoomAnswer;
use crate::executor::roster::{Aside, after};
use crate::executor::timing::Doing;
use crate::panic;
use crate::pool::NoRoom;

impl<E: Engine> Core<E> {
    /// A sequence needs `bytes` before it goes on.
    pub(super) fn ask_for_room(&mut self, engine: &mut E, id: SequenceId, bytes: u64, now: Instant) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| engine.reclaim(bytes))) {
            return self.end(id, Outcome::EnginePanicked { message: panic::message(&*payload) });
        }
        let until = after(now, self.options.room_wait_max);
        self.roster.set_aside(id, Aside::AwaitingRoom, until);
        self.wait_patiently(id, now);
        self.room_request.0 += 1;
        let request = self.room_request;
        let inbox = Arc::clone(&self.shared.inbox);
        let (answer, wanted) = RoomAnswer::new(move |room| inbox.send(Signal::Room(id, request, room)));
        let entry = self.entry(id);
        entry.watch.turn_to(Doing::AwaitingRoom, now);
        entry.asked = Some(Asked { request, bytes, _wanted: wanted });
        let until = entry.deadline.map_or(until, |deadline| deadline.min(until));
        let model = Arc::clone(entry.lease.name());
        self.room.request(&model, bytes, until, answer);
    }

    /// Room that nobody awaits any more goes back by being dropped.
    pub(super) fn on_room(
        &mut self,
        engine: &mut E,
        id: SequenceId,
        request: RoomRequest,
        room: Result<Reservation, NoRoom>,
    ) {
        let is_hopeless = !self.others_hold_room(engine, id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.asked.take_if(|asked| asked.request == request).is_none() {
            return;
        }
        let room = match room {
            Ok(room) => room,
            // Its answer has begun: it waits on, as long as others hold memory that may come free.
            Err(NoRoom::DeadlinePassed | NoRoom::Overloaded { .. }) if entry.watch.was_preempted() && !is_hopeless => {
                return self.requeue(engine, id);
            }
            Err(refusal) => return self.end(id, Outcome::NoRoom(refusal)),
        };
        let sequence = entry.sequence.as_mut().expect(AT_HOME);
        let granted = catch_unwind(AssertUnwindSafe(|| engine.grant(sequence, room)));
        if let Err(payload) = granted {
            return self.end(id, Outcome::EnginePanicked { message: panic::message(&*payload) });
        }
        self.roster.resume(id, Aside::AwaitingRoom);
        let space = self.entry(id).feed.space();
        self.go_on(id, space, Instant::now());
    }

    /// Takes memory from others, one after another, until as much came free as `asker` awaits, or nobody is left who has
    /// to give way. It comes to the asker by the source of room; if another was quicker, this happens again.
    pub(super) fn make_others_give_way(&mut self, engine: &mut E, asker: SequenceId) {
        let now = Instant::now();
        let mut missing = self.entry(asker).asked.as_ref().map_or(0, |asked| asked.bytes);
        let mut spared = Vec::new();
        while missing > 0 {
            let Some(id) = self.victim(engine, asker, &spared, now) else { break };
            let freed = self.preempt(engine, id, now);
            if freed == 0 {
                spared.push(id);
            } else {
                self.roster.claim(asker);
            }
            missing = missing.saturating_sub(freed);
        }
        self.wait_patiently(asker, now);
    }

    fn wait_patiently(&mut self, asker: SequenceId, now: Instant) {
        const LEAST: Duration = Duration::from_millis(1);
        self.roster.lose_patience(asker, after(now, self.options.preempt_after.max(LEAST)));
    }

    fn victim(&self, engine: &E, asker: SequenceId, spared: &[SequenceId], now: Instant) -> Option<SequenceId> {
        let holders = self.entries.values().filter(|entry| !spared.contains(&entry.id));
        let holders = holders.filter(|entry| holds_room(engine, entry));
        let holders =
            holders.map(|entry| Holder { rank: self.roster.rank(entry.id, now), reader: self.roster.reader(entry.id) });
        victim(self.roster.rank(asker, now), holders)
    }

    /// Takes the memory of `id`; it will begin again. Returns the bytes that came free.
    fn preempt(&mut self, engine: &mut E, id: SequenceId, now: Instant) -> u64 {
        let sequence = self.entry(id).sequence.as_mut().expect(AT_HOME);
        let taken = catch_unwind(AssertUnwindSafe(|| {
            let before = engine.demand(sequence);
            let freed = engine.preempt(sequence);
            (freed, before, engine.demand(sequence))
        }));
        let (freed, before, after) = match taken {
            Ok(taken) => taken,
            Err(payload) => {
                // What it held came free with it, but nobody can say how much.
                self.end(id, Outcome::EnginePanicked { message: panic::message(&*payload) });
                return 0;
            }
        };
        if freed > 0 {
            self.entry(id).watch.preempt(after.tokens.saturating_sub(before.tokens));
            self.begin_again(id, now);
        }
        freed
    }

    /// A sequence that was preempted before has waited too long for room: it has an answer begun, so it does not end, but
    /// gives back what it holds and queues again.
    pub(super) fn requeue(&mut self, engine: &mut E, id: SequenceId) {
        let now = Instant::now();
        // One that holds something is preempted as others are; one that holds nothing only changes its place.
        if self.preempt(engine, id, now) == 0 && self.entries.contains_key(&id) {
            self.begin_again(id, now);
        }
    }

    fn others_hold_room(&self, engine: &E, id: SequenceId) -> bool {
        self.entries.values().filter(|entry| entry.id != id).any(|entry| holds_room(engine, entry))
    }

    fn begin_again(&mut self, id: SequenceId, now: Instant) {
        self.roster.take_history(id);
        let is_stalled = self.roster.is_aside(id, Aside::Stalled);
        let entry = self.entry(id);
        entry.asked = None;
        if !is_stalled {
            entry.watch.turn_to(Doing::AwaitingRoom, now);
        }
    }
}

/// Whether a sequence has memory to give back.
fn holds_room<E: Engine>(engine: &E, entry: &Entry<E>) -> bool {
    let sequence = entry.sequence.as_ref().expect(AT_HOME);
    catch_unwind(AssertUnwindSafe(|| engine.demand(sequence))).is_ok_and(|demand| demand.room_bytes > 0)
}
