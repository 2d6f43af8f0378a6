//! Busy models take turns when somebody has waited for room too long.
//!
//! Without this a model that is never idle would keep everyone else out until their deadlines. Once the first in line has
//! waited for `busy_turn_max`, the models that stand in its way, as [`give_way`] chooses them, give way: requests for
//! them wait, until those who hold them have let go, they were evicted for the first in line, and were loaded again in
//! their own turn at the line's end. No lease is cut. If room comes up otherwise, or the first in line leaves, they go on
//! as if nothing had been.
//!
//! The choice is made anew after every message, from the state of that moment; none outlives its reason.

use std::sync::Arc;

use tokio::time::Instant;

use super::event::PoolEventKind;
use super::loader::ModelLoader;
use super::owner::{Coldness, Owner};
use super::room::Need;
use super::slot::{Pin, Slot, State, Turn};
use super::victim::{Room, Standing, give_way};

impl<L: ModelLoader> Owner<L> {
    /// Chooses who gives way to `first`, the first in line, and ends the turns of those who need not any more.
    pub(super) fn take_turns(&mut self, first: Option<&Need>, now: Instant) {
        self.look_again = first.and_then(|need| self.next_change(need, now));
        if first.is_none() && self.giving_way.is_empty() {
            return;
        }
        let chosen = match first {
            Some(need) if now.saturating_duration_since(need.since) >= self.options.busy_turn_max => {
                self.standing_in_the_way(need, now)
            }
            _ => Vec::new(),
        };
        for name in self.giving_way.clone() {
            if !chosen.contains(&name) {
                self.end_turn(&name);
            }
        }
        let Some(need) = first else { return };
        for name in chosen {
            let turn = Turn::GivesWay(need.cause.clone());
            let before = std::mem::replace(&mut self.slot(&name).turn, turn);
            if before == Turn::Keeps {
                tracing::info!(model = &*name, cause = %need.cause, "gives way");
                self.tell(&name, PoolEventKind::GivesWay { cause: need.cause.clone() });
                self.giving_way.insert(name);
            }
        }
    }

    /// When time alone changes what can be done about `need`.
    fn next_change(&self, need: &Need, now: Instant) -> Option<Instant> {
        let aged = need.since.checked_add(self.options.busy_turn_max);
        let grown = self.resident.iter().filter_map(|name| match &self.slots[name] {
            Slot { state: State::Resident { since, .. }, pin: Pin::NotPinned, .. } => {
                since.checked_add(self.options.residency_min)
            }
            _ => None,
        });
        aged.into_iter().chain(grown).filter(|&at| at > now).min()
    }

    fn standing_in_the_way(&self, need: &Need, now: Instant) -> Vec<Arc<str>> {
        let mut candidates = self.candidates(now, self.options.residency_min);
        // A sequence does not wait for its own model to go.
        candidates.retain(|candidate| need.cause.for_model() != Some(&candidate.key));
        for candidate in &mut candidates {
            // One that gives way and was let go already must not be handed out again for that.
            if self.giving_way.contains(&candidate.key) {
                candidate.standing = Standing::Busy;
            }
        }
        let needed = need.bytes.saturating_add(self.budget.excess_bytes());
        let room = Room { free: self.budget.free_bytes(), returning: self.leaving_bytes };
        give_way(needed, room, &candidates)
    }

    /// The model stays: whoever waited for it has it now.
    fn end_turn(&mut self, name: &Arc<str>) {
        self.giving_way.remove(name);
        let slot = self.slot(name);
        slot.turn = Turn::Keeps;
        let waiters = std::mem::take(&mut slot.waiters);
        self.lease_waiters -= waiters.len();
        self.tell(name, PoolEventKind::KeepsOn);
        for waiter in waiters {
            self.grant(name, waiter, Coldness::Warm);
        }
    }
}
