//! Who waits for room, and the one place where room is given.
//!
//! Running sequences come before models: they hold what they wait beside, and give it back when they finish. Within
//! each of the two, first come, first served, without overtaking.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::NoRoom;
use super::event::EvictionCause;
use super::loader::ModelLoader;
use super::owner::{Owner, WaiterId};
use super::slot::{Pin, Slot, State};
use super::victim::{Candidate, Choice, Room, choose};
use crate::budget::Reservation;

/// A sequence that waits for room.
pub(super) struct RoomWaiter {
    pub(super) model: Arc<str>,
    pub(super) bytes: u64,
    pub(super) id: WaiterId,
    pub(super) reply: oneshot::Sender<Result<Reservation, NoRoom>>,
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

    /// Gives room to those in line, until one must wait.
    pub(super) fn serve_room(&mut self) {
        self.shrink_to_budget();
        while let Some(waiter) = self.room.sequences.front() {
            let (bytes, cause) = (waiter.bytes, EvictionCause::KvPressure { for_model: Arc::clone(&waiter.model) });
            let Some(reservation) = self.reserve_or_evict(bytes, &cause) else { return };
            let waiter = self.room.sequences.pop_front().expect("it was looked at above");
            // Fails when nobody wants it any more, which gives the bytes back.
            let _ = waiter.reply.send(Ok(reservation));
        }
        while self.loads_running < self.options.loads_parallel_max.max(1)
            && let Some(model) = self.room.models.front()
        {
            let model = Arc::clone(model);
            let State::AwaitingRoom(inspection) = self.slots[&model].state else {
                unreachable!("only models that await room stand in line")
            };
            let cause = EvictionCause::ModelPressure { for_model: Arc::clone(&model) };
            let Some(reservation) = self.reserve_or_evict(inspection.weights_bytes, &cause) else { return };
            self.room.models.pop_front();
            self.start_load(&model, inspection, reservation);
        }
    }

    /// Checks and reserves in one step. When it does not fit, evicts what makes it fit later, if anything does.
    fn reserve_or_evict(&mut self, bytes: u64, cause: &EvictionCause) -> Option<Reservation> {
        if let Some(reservation) = self.budget.try_reserve(bytes) {
            return Some(reservation);
        }
        let needed = bytes.saturating_add(self.budget.excess_bytes());
        let room = Room { free: self.budget.free_bytes(), returning: self.leaving_bytes };
        if let Choice::Evict(victims) = choose(needed, room, &self.candidates()) {
            for victim in victims {
                self.evict(&victim, cause.clone());
            }
        }
        None
    }

    /// Models in memory that may have to go.
    pub(super) fn candidates(&self) -> Vec<Candidate<Arc<str>, Instant>> {
        let candidate = |name: &Arc<str>| match &self.slots[name] {
            Slot { state: State::Resident { model, idle, .. }, pin: Pin::NotPinned, .. } => {
                let idle_since = idle.map(|idle| idle.since);
                Some(Candidate { key: Arc::clone(name), bytes: model.bytes, idle_since })
            }
            _ => None,
        };
        self.resident.iter().filter_map(candidate).collect()
    }
}
