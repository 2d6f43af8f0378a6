//! How a request's cost was split, over all its steps: the method that most of it was split by.

use super::{EqualReason, SplitMethod};

/// Sums of a request's parts, by method.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SplitTally {
    whole: u128,
    affine: u128,
    /// By reason: few steps, collinear, poor fit.
    equal: [u128; 3],
    /// Σ part · error of what was split by the affine rule.
    errors: f64,
}

impl SplitTally {
    /// `part` of a step's cost was the request's, by `method`.
    pub fn add(&mut self, part: u128, method: SplitMethod) {
        let sum = match method {
            SplitMethod::WholeStep => &mut self.whole,
            SplitMethod::Affine { fit_error_ratio } => {
                self.errors += float(part) * fit_error_ratio;
                &mut self.affine
            }
            SplitMethod::Equal { reason } => &mut self.equal[reason as usize],
        };
        *sum = sum.saturating_add(part);
    }

    /// The method that most of the cost was split by; its fit error is the mean over that cost. Of equal sums the first in
    /// the order of [`SplitMethod`]; so without any cost it is [`SplitMethod::WholeStep`].
    #[must_use]
    pub fn method(&self) -> SplitMethod {
        let equal = self.equal.iter().fold(0, |sum: u128, &part| sum.saturating_add(part));
        if self.whole >= self.affine.max(equal) {
            SplitMethod::WholeStep
        } else if self.affine >= equal {
            SplitMethod::Affine { fit_error_ratio: self.errors / float(self.affine) }
        } else {
            let reasons = [EqualReason::FewSteps, EqualReason::Collinear, EqualReason::PoorFit];
            let largest = self.equal.iter().copied().max();
            let reason = reasons.into_iter().find(|&reason| Some(self.equal[reason as usize]) == largest);
            SplitMethod::Equal { reason: reason.expect("one of the three is the largest") }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "weights of a mean")]
fn float(part: u128) -> f64 {
    part as f64
}
