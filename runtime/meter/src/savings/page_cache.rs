//! What of unloaded models is in memory all the same, beside every saving.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::arms::{Comparison, Savings, signed};
use super::{SavingsReport, held_for};
use crate::energy::Quality;
use crate::units::KibMillis;

/// Pages of models' files that are not loaded: reclaimable at any time, charged to nobody, in no arm, and told beside every
/// saving. A fast cold start depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PageCache {
    /// What there is of them now.
    pub bytes: u64,
    /// What that would be over the time for which the models were not loaded, had it been as much all along.
    pub kib_ms: KibMillis,
    /// How that was come by: `bytes` is measured, and taken for granted of the past.
    pub quality: Quality,
    /// The share of the shared persistent arm's memory that is saved if it counts.
    pub shared_memory_share: Option<f64>,
    /// The same of the dedicated arm's.
    pub dedicated_memory_share: Option<f64>,
}

impl SavingsReport {
    /// Adds that so many bytes of models that are not loaded now are in the page cache.
    #[must_use]
    pub fn with_page_cache(self, bytes: u64) -> Self {
        let Savings { ephemeral, held, shared_persistent, dedicated } = &self.total;
        let weights = |kib_ms: KibMillis| kib_ms.saturating_sub(held.process_kib_ms);
        let unloaded = weights(shared_persistent.baseline.kib_ms).saturating_sub(weights(ephemeral.kib_ms));
        let kib_ms = held_for(bytes, self.window_ms).min(unloaded);
        let share = |comparison: &Comparison| {
            let taken = ephemeral.kib_ms.saturating_add(kib_ms).get();
            let baseline = comparison.baseline.kib_ms.get();
            (baseline > 0).then(|| signed(baseline, taken) as f64 / baseline as f64)
        };
        let page_cache = PageCache {
            bytes,
            kib_ms,
            quality: Quality::Assumed,
            shared_memory_share: share(shared_persistent),
            dedicated_memory_share: share(dedicated),
        };
        Self { page_cache: Some(page_cache), ..self }
    }
}
