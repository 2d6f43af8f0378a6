//! Models that stay because someone said so.
//!
//! A pin begins when its model is handed to whoever asked for it, and ends by [`Pool::unpin`](super::Pool::unpin) or
//! with the pool: neither time nor pressure evicts a pinned model, and nobody can unload it. What is pinned is lost to
//! everyone else, so pins are bounded together, and whoever can never fit beside them is refused at once.

use std::sync::Arc;

use tokio::time::Instant;

use super::error::{LeaseError, ShuttingDown};
use super::event::{EvictionCause, LoadCause, PoolEventKind};
use super::handle::UnpinOutcome;
use super::loader::ModelLoader;
use super::owner::Owner;
use super::slot::{Pin, Slot, State, Unload};

impl<L: ModelLoader> Owner<L> {
    /// What pinned models may hold together of a budget of `limit_bytes`.
    pub(super) fn pinned_bytes_max(&self, limit_bytes: u64) -> u64 {
        let share = u128::from(limit_bytes) * u128::from(self.options.pinned_percent_max.min(100)) / 100;
        u64::try_from(share).expect("a share is no more than the whole")
    }

    /// Why `model`, which holds `bytes`, cannot be pinned beside those that are.
    pub(super) fn pin_refusal(&self, model: &Arc<str>, bytes: u64) -> Option<LeaseError<L::Error>> {
        let pinned_bytes = self.pinned_bytes_beside(model);
        let pinned_bytes_max = self.pinned_bytes_max(self.budget.limit_bytes());
        let is_too_large = pinned_bytes.saturating_add(bytes) > pinned_bytes_max;
        is_too_large.then_some(LeaseError::PinnedTooLarge { needed_bytes: bytes, pinned_bytes, pinned_bytes_max })
    }

    pub(super) fn pinned_bytes_beside(&self, model: &Arc<str>) -> u64 {
        let own = self.slots.get(model).filter(|slot| slot.pin == Pin::Pinned).map_or(0, Slot::resident_bytes);
        self.pinned_bytes - own
    }

    /// The model stays from now on. It is in memory.
    pub(super) fn pin(&mut self, model: &Arc<str>) {
        let slot = self.slot(model);
        slot.unload = Unload::NotAsked;
        if slot.pin == Pin::Pinned {
            return;
        }
        slot.pin = Pin::Pinned;
        self.pinned_bytes += slot.resident_bytes();
        self.tell(model, PoolEventKind::Pinned);
        self.admit_again();
    }

    pub(super) fn on_unpin(&mut self, model: &Arc<str>) -> Result<UnpinOutcome, ShuttingDown> {
        if self.closing {
            return Err(ShuttingDown);
        }
        if self.slots.get(model).is_none_or(|slot| slot.pin == Pin::NotPinned) {
            return Ok(UnpinOutcome::NotPinned);
        }
        self.unpin(model);
        Ok(UnpinOutcome::Unpinned)
    }

    /// The model goes as any other, from now on.
    pub(super) fn unpin(&mut self, name: &Arc<str>) {
        let now = Instant::now();
        let prices = self.options.prices;
        let slot = self.slot(name);
        slot.pin = Pin::NotPinned;
        let (keep_alive, bytes) = (slot.keep_alive, slot.resident_bytes());
        let State::Resident { idle: before, .. } = slot.state else { unreachable!("a pinned model is in memory") };
        let after = before.map(|idle| slot.idle(idle.since, now, prices));
        if let State::Resident { idle, .. } = &mut slot.state {
            *idle = after;
        }
        let (is_idle, expires) = (after.is_some(), after.and_then(|idle| idle.expires));
        self.expiries.extend(expires.map(|expires| (expires, Arc::clone(name))));
        self.pinned_bytes -= bytes;
        self.tell(name, PoolEventKind::Unpinned);
        if is_idle && keep_alive.is_after_use() {
            self.evict(name, EvictionCause::KeepAliveZero);
        } else if let Some(idle) = after {
            let expires_in = idle.expires.map(|expires| expires.saturating_duration_since(now));
            self.tell(name, PoolEventKind::Idle { expires_in, break_even: idle.break_even });
        }
        self.admit_again();
    }

    /// Refuses those who want to pin `model`, which needs `bytes`, when it cannot be.
    pub(super) fn refuse_pins(&mut self, model: &Arc<str>, bytes: u64) {
        let Some(refusal) = self.pin_refusal(model, bytes) else { return };
        let waiters = &mut self.slot(model).waiters;
        let refused: Vec<_> = waiters.extract_if(.., |waiter| waiter.cause == LoadCause::Pin).collect();
        self.lease_waiters -= refused.len();
        for waiter in refused {
            let _ = waiter.reply.send(Err(refusal.clone()));
        }
    }
}
