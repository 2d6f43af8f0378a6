//! How far a load is, told by the loader while it runs.
//!
//! Guarantees: stages and bytes only grow; a loader may report as often as it likes, and is heard when the stage changes
//! or a sixteenth of the bytes came in since it was heard last, so that a load is at most eighteen messages.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Parts of the bytes after which a report is passed on.
const PARTS: u64 = 16;

/// What a load is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoadStage {
    /// The artifact is opened, its header read, its tokenizer built.
    Header,
    /// Its weights are brought in.
    Weights,
}

impl LoadStage {
    /// For tables and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Weights => "weights",
        }
    }
}

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// What it is busy with.
    pub stage: LoadStage,
    /// Bytes of weights that were brought in.
    pub done_bytes: u64,
    /// Bytes of weights that it will bring in.
    pub total_bytes: u64,
}

impl LoadProgress {
    pub(super) fn begin(total_bytes: u64) -> Self {
        Self { stage: LoadStage::Header, done_bytes: 0, total_bytes }
    }
}

/// Where a loader says how far it is. It can be told from any thread of the loader.
pub struct Progress {
    told: Mutex<LoadProgress>,
    tell: Box<dyn Fn(LoadProgress) + Send + Sync>,
}

impl Progress {
    /// Passes reports on to `tell`, as the module's guarantees say.
    pub(super) fn new(total_bytes: u64, tell: impl Fn(LoadProgress) + Send + Sync + 'static) -> Self {
        Self { told: Mutex::new(LoadProgress::begin(total_bytes)), tell: Box::new(tell) }
    }

    /// The load is at `stage`, and `done_bytes` of its weights are in. What lies behind an earlier report is ignored.
    pub fn at(&self, stage: LoadStage, done_bytes: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let done_bytes = done_bytes.min(told.total_bytes);
        let part_bytes = told.total_bytes.div_ceil(PARTS).max(1);
        let is_next_stage = stage > told.stage && done_bytes >= told.done_bytes;
        let is_next_part = stage == told.stage && done_bytes.saturating_sub(told.done_bytes) >= part_bytes;
        if is_next_stage || is_next_part {
            *told = LoadProgress { stage, done_bytes, ..*told };
            (self.tell)(*told);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("told", &self.told).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// One of each stage, and one of each part of the bytes.
    const REPORTS_MAX: usize = 18;

    /// What is heard of `reports`.
    fn heard(total_bytes: u64, reports: impl IntoIterator<Item = (LoadStage, u64)>) -> Vec<(LoadStage, u64)> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        let progress = Progress::new(total_bytes, move |at| hearing.lock().unwrap().push((at.stage, at.done_bytes)));
        for (stage, done_bytes) in reports {
            progress.at(stage, done_bytes);
        }
        std::mem::take(&mut *heard.lock().unwrap())
    }

    #[test]
    fn a_report_for_every_byte_is_heard_sixteen_times_and_at_the_change_of_stage() {
        for total_bytes in [0, 1, 2, 15, 16, 17, 1_000, 4_099] {
            let bytes = heard(total_bytes, (0..=total_bytes).map(|done| (LoadStage::Weights, done)));
            assert_eq!(bytes.first(), Some(&(LoadStage::Weights, 0)));
            assert!(bytes.len() < REPORTS_MAX && bytes.is_sorted(), "{total_bytes}: {bytes:?}");
            if total_bytes.is_multiple_of(16) {
                assert_eq!(bytes.last(), Some(&(LoadStage::Weights, total_bytes)));
            }
        }
    }

    #[test]
    fn what_goes_back_is_ignored_and_what_goes_too_far_is_cut() {
        let reports = [
            (LoadStage::Header, 0),
            (LoadStage::Weights, 50),
            (LoadStage::Header, 90),
            (LoadStage::Weights, 40),
            (LoadStage::Weights, 400),
            (LoadStage::Weights, u64::MAX),
        ];
        assert_eq!(heard(100, reports), [(LoadStage::Weights, 50), (LoadStage::Weights, 100)]);
    }
}
