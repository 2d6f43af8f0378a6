//! Busy models take turns when somebody has waited for room too long.
//!
//! Without this a model that is never idle would keep everyone else out until their deadlines. Once the first of a line has
//! waited for `busy_turn_max`, the models that stand in its way, as [`give_way`] chooses them, give way, unless all of
//! them together would not do: requests for them wait, until those who hold them have let go, they were evicted for the
//! first in line, and were loaded again in their own turn at the line's end. No lease is cut. If room comes up
//! otherwise, or the first in line leaves, they go on as if nothing had been.
//!
//! The choice is made anew after every message, from the state of that moment; none outlives its reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::event::{EvictionCause, LoadCause, PoolEventKind};
use super::loader::ModelLoader;
use super::message::{Coldness, Effect};
use super::owner::Owner;
use super::room::Need;
use super::slot::{Pin, Slot, State, Turn, Unload};
use super::victim::{Needed, Standing, give_way};

impl<L: ModelLoader> Owner<L> {
    /// Chooses who gives way to those of `needs` that have waited long enough, and ends the turns of those who need not
    /// any more. What stands before a need is given first, so it counts with it.
    ///
    /// Tells whether the line is another one now, since a turn that ended let a model be pinned.
    pub(super) fn take_turns(&mut self, needs: &[Need], now: Instant) -> Effect {
        let mut effect = Effect::None;
        self.look_again = self.next_change(needs, now);
        if needs.is_empty() && self.giving_way.is_empty() {
            return effect;
        }
        let mut chosen = BTreeMap::new();
        let mut bytes: u64 = 0;
        for need in needs {
            bytes = bytes.saturating_add(need.bytes);
            if now.saturating_duration_since(need.since) >= self.options.busy_turn_max {
                let needed = Needed { alone: need.bytes, in_all: bytes };
                for name in self.standing_in_the_way(needed, &need.cause, now) {
                    chosen.entry(name).or_insert_with(|| need.cause.clone());
                }
            }
        }
        for name in self.giving_way.clone() {
            if !chosen.contains_key(&name) && self.end_turn(&name) == Effect::OnLine {
                effect = Effect::OnLine;
            }
        }
        for (name, cause) in chosen {
            let before = std::mem::replace(&mut self.slot(&name).turn, Turn::GivesWay(cause.clone()));
            if before == Turn::Keeps {
                tracing::info!(model = &*name, %cause, "gives way");
                self.tell(&name, PoolEventKind::GivesWay { cause });
                self.giving_way.insert(name);
            }
        }
        effect
    }

    /// When time alone changes what can be done about `needs`.
    fn next_change(&self, needs: &[Need], now: Instant) -> Option<Instant> {
        if needs.is_empty() {
            return None;
        }
        let aged = needs.iter().filter_map(|need| need.since.checked_add(self.options.busy_turn_max));
        let grown = self.resident.iter().filter_map(|name| match &self.slots[name] {
            Slot { state: State::Resident { since, .. }, pin: Pin::NotPinned, .. } => {
                since.checked_add(self.options.residency_min)
            }
            _ => None,
        });
        aged.chain(grown).filter(|&at| at > now).min()
    }

    fn standing_in_the_way(&self, needed: Needed, cause: &EvictionCause, now: Instant) -> Vec<Arc<str>> {
        let mut candidates = self.candidates(now, self.options.residency_min);
        // A sequence does not wait for its own model to go.
        candidates.retain(|candidate| cause.for_model() != Some(&candidate.key));
        // What failed in use goes as soon as it can, if ever: nobody is to wait for that.
        candidates.retain(|candidate| self.slots[&candidate.key].unload != Unload::Faulty);
        for candidate in &mut candidates {
            // One that gives way and was let go already must not be handed out again for that.
            if self.giving_way.contains(&candidate.key) {
                candidate.standing = Standing::Busy;
            }
        }
        let with_excess = |bytes: u64| bytes.saturating_add(self.budget.excess_bytes());
        let needed = Needed { alone: with_excess(needed.alone), in_all: with_excess(needed.in_all) };
        give_way(needed, self.room_now(), &candidates)
    }

    /// The model stays: whoever waited for it has it now.
    fn end_turn(&mut self, name: &Arc<str>) -> Effect {
        self.giving_way.remove(name);
        let slot = self.slot(name);
        slot.turn = Turn::Keeps;
        let waiters = std::mem::take(&mut slot.waiters);
        self.lease_waiters -= waiters.len();
        self.tell(name, PoolEventKind::KeepsOn);
        let is_pinned = waiters.iter().any(|waiter| waiter.cause == LoadCause::Pin);
        for waiter in waiters {
            self.grant(name, waiter, Coldness::Warm);
        }
        if is_pinned { Effect::OnLine } else { Effect::None }
    }
}
