//! Who waits for room, and the one place where room is given.
//!
//! Running sequences come before models: they hold what they wait beside, and give it back when they finish. Within
//! each of the two, first come, first served, without overtaking. Whoever is first for too long makes busy models take
//! turns (`turns`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::NoRoom;
use super::event::EvictionCause;
use super::loader::{Inspection, ModelLoader};
use super::message::{Effect, WaiterId};
use super::owner::Owner;
use super::slot::{Pin, Slot, State};
use super::victim::{Candidate, Choice, Room, Standing, choose};
use crate::budget::Reservation;

/// A sequence that waits for room.
pub(super) struct RoomWaiter {
    pub(super) model: Arc<str>,
    pub(super) bytes: u64,
    pub(super) id: WaiterId,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Result<Reservation, NoRoom>>,
}

/// What somebody in line waits for.
pub(super) struct Need {
    pub(super) bytes: u64,
    /// Of evictions for it.
    pub(super) cause: EvictionCause,
    /// It has been in line.
    pub(super) since: Instant,
}

/// Both lines.
#[derive(Default)]
pub(super) struct RoomQueue {
    pub(super) sequences: VecDeque<RoomWaiter>,
    /// Models in `AwaitingRoom`, each once, however many requests wait for it.
    pub(super) models: VecDeque<Arc<str>>,
}

impl<L: ModelLoader> Owner<L> {
    pub(super) fn on_room(&mut self, waiter: RoomWaiter) {
        let available_bytes = self.bytes_beside(&waiter.model);
        let refusal = if self.closing {
            NoRoom::ShuttingDown
        } else if waiter.bytes > available_bytes {
            NoRoom::TooLarge { needed_bytes: waiter.bytes, available_bytes }
        } else if self.waiters_in_all() >= self.options.waiters_max {
            NoRoom::Overloaded { retry_after: self.outgoing.retry_after.get() }
        } else {
            // One who left before its request came is not taken in; one who leaves later tells.
            if !waiter.reply.is_closed() {
                self.room.sequences.push_back(waiter);
            }
            return;
        };
        let _ = waiter.reply.send(Err(refusal));
    }

    /// Gives room to those in line, until one must wait; makes room for that one.
    pub(super) fn serve_room(&mut self) {
        self.shrink_to_budget();
        loop {
            if !self.closing {
                self.serve_lines();
            }
            if self.take_turns(&self.needs(), Instant::now()) == Effect::None {
                return;
            }
        }
    }

    fn serve_lines(&mut self) {
        while let Some(need) = self.first_sequence() {
            let Some(reservation) = self.reserve_or_evict(&need) else { return };
            let waiter = self.room.sequences.pop_front().expect("it was looked at above");
            // Fails when nobody wants it any more, which gives the bytes back.
            let _ = waiter.reply.send(Ok(reservation));
        }
        while let Some((model, inspection, need)) = self.first_model() {
            let Some(reservation) = self.reserve_or_evict(&need) else { return };
            self.room.models.pop_front();
            self.start_load(&model, inspection, reservation);
        }
    }

    /// What is waited for, in the order in which it is given: by the budget that was cut, and by the first of each line.
    fn needs(&self) -> Vec<Need> {
        let is_cut = !self.closing && self.budget.excess_bytes() > 0;
        let cut = is_cut.then_some(Need { bytes: 0, cause: EvictionCause::BudgetCut, since: self.cut_at });
        let model = self.first_model().map(|(_, _, need)| need);
        cut.into_iter().chain(self.first_sequence()).chain(model).collect()
    }

    fn first_sequence(&self) -> Option<Need> {
        let RoomWaiter { model, bytes, since, .. } = self.room.sequences.front()?;
        let cause = EvictionCause::KvPressure { for_model: Arc::clone(model) };
        Some(Need { bytes: *bytes, cause, since: *since })
    }

    /// The first model in line, unless others' loads are all that it waits for.
    fn first_model(&self) -> Option<(Arc<str>, Inspection, Need)> {
        if self.loads_running >= self.options.loads_parallel_max.max(1) {
            return None;
        }
        let model = self.room.models.front()?;
        let State::AwaitingRoom { inspection, since } = self.slots[model].state else {
            unreachable!("only models that await room stand in line")
        };
        let cause = EvictionCause::ModelPressure { for_model: Arc::clone(model) };
        Some((Arc::clone(model), inspection, Need { bytes: inspection.resident_bytes, cause, since }))
    }

    /// Checks and reserves in one step. When it does not fit, evicts what makes it fit later, if anything does.
    fn reserve_or_evict(&mut self, need: &Need) -> Option<Reservation> {
        if let Some(reservation) = self.budget.try_reserve(need.bytes) {
            return Some(reservation);
        }
        let victims = match self.choose_for(need) {
            Choice::Evict(victims) => victims,
            Choice::Wait if self.reclaim_for(need) == 0 => return None,
            Choice::Wait => match (self.budget.try_reserve(need.bytes), self.choose_for(need)) {
                (Some(reservation), _) => return Some(reservation),
                (None, Choice::Evict(victims)) => victims,
                (None, Choice::Wait) => return None,
            },
        };
        for victim in victims {
            self.evict(&victim, need.cause.clone());
        }
        None
    }

    fn choose_for(&self, need: &Need) -> Choice<Arc<str>> {
        let needed = need.bytes.saturating_add(self.budget.excess_bytes());
        choose(needed, self.room_now(), &self.candidates(Instant::now(), self.options.residency_min))
    }

    /// Takes back what is kept for a chance alone, as far as it is missing: idle models go first, since a byte of them
    /// comes back sooner than a byte of what was computed. Returns what came free.
    fn reclaim_for(&self, need: &Need) -> u64 {
        let needed = need.bytes.saturating_add(self.budget.excess_bytes());
        let missing = needed.saturating_sub(self.budget.free_bytes().saturating_add(self.leaving_bytes));
        if missing > 0 { self.loader.reclaim(missing) } else { 0 }
    }

    /// The budget as it is. What is neither a model's, in memory or on its way in or out, is the sequences'.
    pub(super) fn room_now(&self) -> Room {
        let resident = self.resident.iter().map(|name| self.slots[name].resident_bytes());
        let of_models = resident.fold(self.leaving_bytes + self.loading_bytes, u64::saturating_add);
        Room {
            free: self.budget.free_bytes(),
            returning: self.leaving_bytes,
            of_sequences: self.budget.used_bytes().saturating_sub(of_models),
        }
    }

    /// Models in memory that may have to go: those that are not pinned, and were there for `residency_min` by `now`.
    pub(super) fn candidates(&self, now: Instant, residency_min: Duration) -> Vec<Candidate<Arc<str>, Instant>> {
        let candidate = |name: &Arc<str>| match &self.slots[name] {
            Slot { state: State::Resident { model, since, idle, .. }, pin: Pin::NotPinned, .. }
                if now.saturating_duration_since(*since) >= residency_min =>
            {
                let standing = idle.map_or(Standing::Busy, |idle| Standing::IdleSince(idle.since));
                Some(Candidate { key: Arc::clone(name), bytes: model.bytes, resident_since: *since, standing })
            }
            _ => None,
        };
        self.resident.iter().filter_map(candidate).collect()
    }
}
