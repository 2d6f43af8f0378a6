//! When a server has nothing left to do and may end by itself.
//!
//! That nobody uses it (`activity`) is not enough: work that nobody waits for may go on, and an operator may have said
//! that a model stays. What only has a keep-alive, however long, keeps no server: it is brought in again when it is needed.

use std::sync::Arc;
use std::time::Duration;

use scheduler::ModelState;

use super::App;
use crate::limits::KEPT_LOOKED_AT_EVERY;

impl App {
    /// Completes when nobody has used the server for `span` and nothing keeps it. Whoever comes afterwards is not seen.
    pub(crate) async fn idle_for(self: &Arc<Self>, span: Duration) {
        loop {
            self.activity.idle_for(span).await;
            // Looking takes a moment, in which somebody may have come.
            if !self.is_kept().await && self.activity.is_idle_for(span) {
                return;
            }
            tokio::time::sleep(KEPT_LOOKED_AT_EVERY).await;
        }
    }

    /// Whether a model is pinned, on its way in or out, or held; a request is not settled, or waits; or a model is being
    /// fetched.
    async fn is_kept(&self) -> bool {
        let is_still = |state| matches!(state, ModelState::Absent | ModelState::Idle);
        let snapshots = self.devices.snapshots().await;
        let has_work = self.devices.queued() > 0 || self.devices.loading() > 0 || !self.requests.is_empty();
        let fetches = self.pulling.try_lock().is_err() || self.bringing.try_lock().is_err();
        has_work
            || fetches
            || snapshots.iter().any(|pool| pool.models.iter().any(|model| model.pinned || !is_still(model.state)))
    }
}
