//! The budget while it changes.
//!
//! A larger one serves those who wait, at once. A smaller one grants nothing beyond it from that moment on; idle models go
//! until it holds, the least recently used first, what is kept for a chance alone goes where they do not suffice, busy ones as
//! their leases end, taking turns as for any other need (`turns`). Pinned models stay, so a budget that leaves too little
//! beside them is refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::BudgetRefused;
use super::event::EvictionCause;
use super::loader::ModelLoader;
use super::owner::Owner;
use super::victim::{Choice, Room, Standing, choose};

impl<L: ModelLoader> Owner<L> {
    pub(super) fn on_budget(&mut self, limit_bytes: u64) -> Result<(), BudgetRefused> {
        if self.closing {
            return Err(BudgetRefused::ShuttingDown);
        }
        let pinned_bytes_max = self.pinned_bytes_max(limit_bytes);
        if self.pinned_bytes > pinned_bytes_max {
            return Err(BudgetRefused::Pinned { pinned_bytes: self.pinned_bytes, pinned_bytes_max });
        }
        tracing::info!(before = self.budget.limit_bytes(), after = limit_bytes, "the budget changes");
        if self.budget.excess_bytes() == 0 {
            self.cut_at = Instant::now();
        }
        self.budget.set_limit(limit_bytes);
        self.admit_again();
        Ok(())
    }

    /// Evicts idle models until the budget holds again, or none is left.
    pub(super) fn shrink_to_budget(&mut self) {
        let excess_bytes = self.budget.excess_bytes();
        if excess_bytes == 0 {
            return;
        }
        let candidates = self.candidates(Instant::now(), Duration::ZERO);
        let room = Room { free: 0, ..self.room_now() };
        let victims = match choose(excess_bytes, room, &candidates) {
            Choice::Evict(victims) => victims,
            Choice::Wait => {
                self.loader.reclaim(excess_bytes);
                let idle = candidates.iter().filter(|candidate| candidate.standing != Standing::Busy);
                idle.map(|candidate| Arc::clone(&candidate.key)).collect()
            }
        };
        for victim in victims {
            self.evict(&victim, EvictionCause::BudgetCut);
        }
    }
}
