//! Who pays for a step that several sequences shared, by what such steps cost.
//!
//! A step's cost is taken to be F + a · prefill tokens + b · decode tokens + c · key-value positions read. The four are
//! fitted to measured steps of one model on one machine with one number of threads; a sequence's share is its part of the
//! fixed cost, F ÷ n, and what its own work adds: the Shapley value of an affine cost, exactly. The shares are then scaled
//! so that they sum to what was measured. Sharing by tokens instead would be wrong for mixed steps: a prompt of 512
//! tokens beside seven decoders would carry 98.7 % of the fixed cost instead of an eighth.
//!
//! Where the fit cannot be trusted (few steps, columns that moved together, predictions that were off by more than 15 %
//! on average) a step is shared equally, and says so.
//!
//! Invariants: the parts sum to the cost exactly, whatever the input; equal work is given equal parts, up to one unit;
//! neither [`StepCosts::learn`] nor [`StepCosts::split`] allocates, but for what `parts` holds. Learning takes 2 to 4 µs, a
//! split 0.3 µs for eight sequences and 4 µs for 64 (AMD Zen 3). Deliberately absent: clocks, and steps themselves: the
//! window is kept as sums that forget.

mod fit;
mod rounding;
mod tally;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::fit::Fit;
use self::fit::{Features, Window};
use self::rounding::{split_by_shares, split_equally_into};
pub use self::tally::SplitTally;
use crate::limits::{FIT_ERROR_RATIO_MAX, PREDICTION_ERROR_RATIO_MAX};

/// What one sequence had done in a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct StepWork {
    /// Tokens of its prompt that were computed.
    pub prefill_tokens: u32,
    /// Tokens that were computed one after another.
    pub decode_tokens: u32,
    /// Positions of its key-value cache that were read, summed over its tokens.
    pub kv_positions: u64,
}

/// How a step was split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitMethod {
    /// The step worked for one sequence alone.
    WholeStep,
    /// By the affine rule.
    Affine {
        /// By how much the fit was off lately, on average: 0.03 is 3 %.
        fit_error_ratio: f64,
    },
    /// The same part to each sequence.
    Equal {
        /// Why not by the rule.
        reason: EqualReason,
    },
}

/// Why a step was split equally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EqualReason {
    /// Too few steps were measured.
    FewSteps,
    /// The steps measured do not tell apart what costs what, or did not have some of what this one does.
    Collinear,
    /// The fit is too far from what was measured.
    PoorFit,
}

/// What steps of one model cost on one device with one number of threads: a window of about 512 steps.
#[derive(Debug, Clone, Default)]
pub struct StepCosts {
    window: Window,
}

impl StepCosts {
    /// Nothing was measured yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Splits the `cost` of a step (nanoseconds of wall or processor time, or any other integer) among those who took part
    /// in it, by the present fit. `parts`, whatever it held, holds a part for each of `work` afterwards, in that order;
    /// they sum to `cost`, unless there is nobody: then the caller keeps it.
    pub fn split(&self, cost: u128, work: &[StepWork], parts: &mut Vec<u128>) -> SplitMethod {
        parts.clear();
        if let [_] = work {
            parts.push(cost);
            return SplitMethod::WholeStep;
        }
        match self.window.fit().and_then(|fit| self.usable(fit, work, FIT_ERROR_RATIO_MAX)) {
            Ok(fit) => {
                let fixed_ns = fit.fixed_ns / count(work);
                let share_of = |work: &StepWork| fixed_ns + fit.marginal_ns(work);
                if split_by_shares(cost, work.iter().map(share_of), parts) {
                    return SplitMethod::Affine { fit_error_ratio: fit.error_ratio };
                }
                split_equally_into(cost, work.len(), parts);
                SplitMethod::Equal { reason: EqualReason::PoorFit }
            }
            Err(reason) => {
                split_equally_into(cost, work.len(), parts);
                SplitMethod::Equal { reason }
            }
        }
    }

    /// Takes a measured step into the fit. One in which nobody took part, or that took less than a microsecond, says
    /// nothing and is left out.
    pub fn learn(&mut self, wall: Duration, work: &[StepWork]) {
        if !work.is_empty() {
            self.window.learn(wall, &Features::of(work));
        }
    }

    /// How long a step with this work will take; `None` where nothing can be said. Who plans by it is served by a fit that is
    /// too poor to split by: neighbours on the processors keep it so for as long as they are there, and without any
    /// prediction a step would have everyone in it. So is he by one of steps before the window's, where these are too much
    /// alike (as those are that were planned to take equally long), for as long as it predicts them.
    #[must_use]
    pub fn predict(&self, work: &[StepWork]) -> Option<Duration> {
        if work.is_empty() {
            return None;
        }
        let fit = self.window.latest_fit().ok()?;
        let fit = self.usable(fit, work, PREDICTION_ERROR_RATIO_MAX).ok()?;
        Duration::try_from_secs_f64(fit.predicted_ns(&Features::of(work)) / 1e9).ok()
    }

    /// The present fit, also one that is too poor to split by; `None` with too few steps, or collinear ones.
    #[must_use]
    pub fn fit(&self) -> Option<Fit> {
        self.window.fit().ok()
    }

    /// The `fit`, if it is no further off than `error_ratio_max` and steps were measured with all that `work` did.
    fn usable(&self, fit: Fit, work: &[StepWork], error_ratio_max: f64) -> Result<Fit, EqualReason> {
        if fit.error_ratio > error_ratio_max {
            return Err(EqualReason::PoorFit);
        }
        if !self.window.has_seen(&Features::of(work)) {
            return Err(EqualReason::Collinear);
        }
        Ok(fit)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2⁵³ sequences")]
fn count(work: &[StepWork]) -> f64 {
    work.len() as f64
}

#[cfg(test)]
mod tests;
