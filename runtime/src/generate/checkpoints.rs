//! What a long request has used until now goes to the ledger from time to time: should the process die, it is charged for
//! that.
//!
//! Deliberately absent: checkpoints of encoders, which end before the first would be due; of a request, its part of keys and
//! values that others can find, and where its time went, both of which are known at its end alone.

use std::sync::Arc;
use std::time::Instant;

use meter::receipt::{AnsweredFrom, MeasuredCpu, MeasuredTimes};
use meter::{Measured, Outcome};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::drive::Drive;
use crate::app::Lease;
use crate::devices::Follow;
use crate::engine::Progress;
use crate::limits::CHECKPOINT_EVERY;

/// When a request's next checkpoint is due, and what it will say.
pub(super) struct Checkpoints {
    /// None where no checkpoints are made.
    progress: Option<Arc<Progress>>,
    weights_bytes: u64,
    kv_precision: Option<&'static str>,
    number: u64,
    due: Interval,
}

impl Checkpoints {
    pub(super) fn new(progress: Option<Arc<Progress>>, lease: &Lease) -> Self {
        let mut due = interval_at(tokio::time::Instant::now() + CHECKPOINT_EVERY, CHECKPOINT_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (weights_bytes, kv_precision) = (lease.weights_bytes(), lease.model().kv_precision_word());
        Self { progress, weights_bytes, kv_precision, number: 0, due }
    }

    /// Returns when one is due.
    pub(super) async fn due(&mut self) {
        if self.progress.is_none() {
            return std::future::pending().await;
        }
        self.due.tick().await;
    }
}

impl Drive {
    /// Writes down what the request has used; the ledger's answer is not waited for.
    pub(super) fn leave_checkpoint(&mut self) {
        let Checkpoints { progress: Some(progress), weights_bytes, kv_precision, number, .. } = &mut self.checkpoints
        else {
            return;
        };
        let Some(stay) = &self.stay else { return };
        let charge = stay.charge_so_far();
        let measured = Measured {
            id: self.id.clone(),
            tenant: self.tenant.to_string(),
            key_id: self.key_id.as_deref().map(str::to_owned),
            model: self.model.to_string(),
            cold: self.is_cold,
            outcome: Outcome::Crashed,
            answered_from: AnsweredFrom::Model,
            tokens: progress.tokens(),
            times: MeasuredTimes {
                load_wait: self.load_wait.into(),
                wall: Instant::now().saturating_duration_since(self.arrived).into(),
                ..MeasuredTimes::default()
            },
            cpu: MeasuredCpu { load: charge.load_cpu, ..progress.cpu() },
            memory: charge.memory(progress.kv(), *weights_bytes),
            busy: progress.busy(),
            kv_precision: *kv_precision,
            sharing: progress.method(),
            routing: self.follow.as_ref().map(Follow::routing),
        };
        self.app.metering.checkpoint((self.device, *number), measured);
        *number += 1;
    }
}
