//! The latest receipts, at hand for whoever follows them: the ledger has all of them.
//!
//! Invariants: [`RECEIPTS_KEPT_MAX`] are kept, in the order in which the ledger took them, and numbered without a gap, so
//! that a follower who was overtaken knows by how many. Deliberately absent: what makes a receipt explain itself, which
//! `/v1/usage/{id}` gives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{LedgerError, Reader, UsageRecord};
use meter::receipt::{AnsweredFrom, ReceiptTimes, ReceiptTokens};
use meter::{Nanos, Outcome, Quality, Receipt};
use serde::Serialize;
use tokio::sync::watch;

use super::Metering;
use crate::limits::RECEIPTS_KEPT_MAX;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What a list shows of a receipt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Brief {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) model: String,
    /// When it came, by the wall clock, in milliseconds since 1970; of those of an earlier process, when it was reserved.
    pub(crate) began_unix_ms: i64,
    pub(crate) outcome: Outcome,
    pub(crate) cold: bool,
    pub(crate) answered_from: AnsweredFrom,
    pub(crate) tokens: ReceiptTokens,
    pub(crate) times: ReceiptTimes,
    pub(crate) cpu_ns: Nanos,
    pub(crate) byte_seconds: f64,
    pub(crate) joules: f64,
    pub(crate) energy_quality: Quality,
    pub(crate) relative_uncertainty: f64,
    /// None where a price is missing.
    pub(crate) cost: Option<f64>,
    pub(crate) currency: String,
}

/// The latest receipts of one server.
pub(crate) struct RecentReceipts {
    kept: Mutex<VecDeque<Arc<Brief>>>,
    /// How many there were.
    count: watch::Sender<u64>,
}

/// What has come since a follower last asked.
pub(crate) struct Since {
    /// Oldest first.
    pub(crate) briefs: Vec<Arc<Brief>>,
    /// Those that are not kept any more.
    pub(crate) overtaken: u64,
    /// From where to ask the next time.
    pub(crate) next: u64,
}

impl Metering {
    /// The latest receipts.
    pub(crate) fn recent(&self) -> &RecentReceipts {
        &self.recent
    }
}

impl RecentReceipts {
    /// The latest of a ledger. Blocks on the disk.
    ///
    /// # Errors
    /// What [`Reader::recent`] fails with.
    pub(crate) fn of_ledger(reader: &Reader) -> Result<Self, LedgerError> {
        let recent = Self::default();
        for UsageRecord { reserved_unix_ms, receipt, .. } in reader.recent(RECEIPTS_KEPT_MAX)?.into_iter().rev() {
            if let Some(receipt) = receipt {
                recent.push(Brief::of(&receipt, reserved_unix_ms));
            }
        }
        Ok(recent)
    }

    /// The ledger has taken a receipt, `now_unix_ms` by the wall clock.
    pub(crate) fn settled(&self, receipt: &Receipt, now_unix_ms: i64) {
        let wall_ms = i64::try_from(receipt.times.wall_ns.get() / NANOS_PER_MILLI).unwrap_or(i64::MAX);
        self.push(Brief::of(receipt, now_unix_ms.saturating_sub(wall_ms)));
    }

    /// What has come since the one of this number.
    pub(crate) fn since(&self, next: u64) -> Since {
        let kept = self.kept();
        let count = *self.count.borrow();
        let first = count - kept.len() as u64;
        let skipped = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let briefs = kept.iter().skip(skipped).cloned().collect();
        Since { briefs, overtaken: first.saturating_sub(next), next: count }
    }

    /// How many there were, as that changes.
    pub(crate) fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    fn push(&self, brief: Brief) {
        let mut kept = self.kept();
        if kept.len() == RECEIPTS_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::new(brief));
        self.count.send_modify(|count| *count += 1);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Brief>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for RecentReceipts {
    fn default() -> Self {
        Self { kept: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Brief {
    fn of(receipt: &Receipt, began_unix_ms: i64) -> Self {
        Self {
            id: receipt.id.clone(),
            tenant: receipt.tenant.clone(),
            model: receipt.model.clone(),
            began_unix_ms,
            outcome: receipt.outcome,
            cold: receipt.cold,
            answered_from: receipt.method.answered_from,
            tokens: receipt.tokens,
            times: receipt.times,
            cpu_ns: receipt.cpu.total_ns,
            byte_seconds: receipt.memory.byte_seconds,
            joules: receipt.energy.joules,
            energy_quality: receipt.energy.quality,
            relative_uncertainty: receipt.energy.relative_uncertainty,
            cost: receipt.cost.amount,
            currency: receipt.cost.currency.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::tests::receipt_of;

    #[test]
    fn who_is_overtaken_is_told_by_how_many() {
        let recent = RecentReceipts::default();
        let all = RECEIPTS_KEPT_MAX as u64 + 3;
        for number in 0..all {
            recent.settled(&receipt_of(&number.to_string(), "acme", 1), 0);
        }
        let Since { briefs, overtaken, next } = recent.since(1);
        assert_eq!((briefs.len(), overtaken, next), (RECEIPTS_KEPT_MAX, 2, all));
        assert_eq!((briefs[0].id.as_str(), briefs.last().unwrap().id.as_str()), ("3", "1002"));
        let Since { briefs, overtaken, .. } = recent.since(all - 1);
        assert_eq!((briefs.len(), overtaken), (1, 0));
        assert!(recent.since(all).briefs.is_empty());
    }
}
