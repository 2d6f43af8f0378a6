//! The budget of the kernels' pool while the server runs: what was asked for, and never more than there is.
//!
//! An operator may change what is asked for; the machine, or the container around it, may change what there is, which is
//! looked at every [`MEMORY_LOOKED_AT_EVERY`]. What counts is the limit and not what is free at the moment: pages of
//! mapped files that the system keeps in its cache are given back when they are needed, and would otherwise make the
//! second load of a model look as if it had no room.
//!
//! Invariant: what was asked for last is what is followed; both change in one step. A change that the pool refuses,
//! because of what is pinned, is tried again at every look.

use scheduler::{BudgetRefused, Pool};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use crate::config::memory_budget_now;
use crate::devices::DeviceModels;
use crate::limits::MEMORY_LOOKED_AT_EVERY;

/// What was asked for last, and the pool that gets it.
pub(crate) struct MemoryBudget {
    asked_bytes: Mutex<Option<u64>>,
    /// Of the machine's memory, what other devices have.
    beside_bytes: u64,
    pool: Pool<DeviceModels>,
}

impl MemoryBudget {
    /// `None` asks for a share of what there is.
    pub(crate) fn new(asked_bytes: Option<u64>, beside_bytes: u64, pool: Pool<DeviceModels>) -> Self {
        Self { asked_bytes: Mutex::new(asked_bytes), beside_bytes, pool }
    }

    /// Asks for `asked_bytes` from now on; what of it the pool got.
    ///
    /// # Errors
    /// Those of [`Pool::set_budget`]; nothing changed then.
    pub(crate) async fn ask(&self, asked_bytes: u64) -> Result<u64, BudgetRefused> {
        let mut asked = self.asked_bytes.lock().await;
        let limit_bytes = look(Some(asked_bytes), self.beside_bytes).await?;
        self.pool.set_budget(limit_bytes).await?;
        *asked = Some(asked_bytes);
        tracing::info!(asked_bytes, limit_bytes, "the memory budget was changed");
        Ok(limit_bytes)
    }

    /// Follows the memory that there is, until the server ends.
    pub(crate) async fn follow(&self) {
        let mut looks = tokio::time::interval(MEMORY_LOOKED_AT_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned_of = None;
        loop {
            looks.tick().await;
            let asked = self.asked_bytes.lock().await;
            // The server ends.
            let Ok(limit_bytes) = look(*asked, self.beside_bytes).await else { return };
            if limit_bytes == self.pool.budget().limit_bytes() {
                continue;
            }
            match self.pool.set_budget(limit_bytes).await {
                Ok(()) => {
                    tracing::info!(limit_bytes, "the memory that there is has changed, and the budget with it");
                    warned_of = None;
                }
                Err(refused) if warned_of != Some(limit_bytes) => {
                    tracing::warn!(limit_bytes, error = &refused as &dyn std::error::Error, "the budget cannot follow");
                    warned_of = Some(limit_bytes);
                }
                Err(_) => {}
            }
        }
    }
}

/// The budget in the memory that there is now. The system's files are read where that holds nobody up: they are short, but
/// a file of a control group waits for whoever changes the group.
async fn look(asked_bytes: Option<u64>, beside_bytes: u64) -> Result<u64, BudgetRefused> {
    let looked = tokio::task::spawn_blocking(move || memory_budget_now(asked_bytes, beside_bytes)).await;
    looked.map_err(|died| match died.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => BudgetRefused::ShuttingDown,
    })
}
