//! The fit itself: non-negative least squares on normal equations that forget.
//!
//! A step of y nanoseconds enters with the weight 1 ÷ max(y, predicted)², so that what is least is the relative error, on
//! which the bound is, and one step that the machine held up moves next to nothing. There are four unknowns, so the best
//! non-negative solution is found exactly, as the best of those of the sixteen subsets that are non-negative (C. L. Lawson
//! and R. J. Hanson, "Solving Least Squares Problems", 1974, chapter 23).
//!
//! A column that was always zero in the window stands for nothing, and is left out; the others must each have at least a
//! thousandth of their square to themselves, beside what the others explain (1 ÷ its variance inflation factor), or the
//! window tells nothing about who costs what.

use std::time::Duration;

use super::{EqualReason, StepWork};
use crate::limits::{COLLINEARITY_MIN, STEP_WALL_MIN, STEPS_MIN, STEPS_WINDOW};

const UNKNOWNS: usize = 4;
type Vector = [f64; UNKNOWNS];
type Matrix = [Vector; UNKNOWNS];

/// What a step costs: fixed, and by the work done in it; in nanoseconds, none of them negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// For any step.
    pub fixed_ns: f64,
    /// For a token of a prompt.
    pub prefill_token_ns: f64,
    /// For a token that is generated.
    pub decode_token_ns: f64,
    /// For a position of the key-value cache that is read.
    pub kv_position_ns: f64,
    /// By how much steps were off what was predicted of them just before they were measured: |predicted − measured| ÷
    /// measured, at most 1 each, on average over the window.
    pub error_ratio: f64,
}

impl Fit {
    fn of(unknowns: Vector, error_ratio: f64) -> Self {
        let [fixed_ns, prefill_token_ns, decode_token_ns, kv_position_ns] = unknowns;
        Self { fixed_ns, prefill_token_ns, decode_token_ns, kv_position_ns, error_ratio }
    }

    /// What a sequence's own work adds to a step.
    pub(super) fn marginal_ns(&self, work: &StepWork) -> f64 {
        self.prefill_token_ns * f64::from(work.prefill_tokens)
            + self.decode_token_ns * f64::from(work.decode_tokens)
            + self.kv_position_ns * float(work.kv_positions)
    }

    pub(super) fn predicted_ns(&self, features: &Features) -> f64 {
        let unknowns = [self.fixed_ns, self.prefill_token_ns, self.decode_token_ns, self.kv_position_ns];
        dot(&unknowns, &features.0)
    }
}

/// A step's columns: 1, its prefill tokens, its decode tokens, its key-value positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Features(Vector);

impl Features {
    pub(super) fn of(work: &[StepWork]) -> Self {
        let mut sums = [1.0, 0.0, 0.0, 0.0];
        for one in work {
            sums[1] += f64::from(one.prefill_tokens);
            sums[2] += f64::from(one.decode_tokens);
            sums[3] += float(one.kv_positions);
        }
        Self(sums)
    }
}

/// Measured steps as weighted sums, each worth a little less with every step after it.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Σ weight · column · column.
    gram: Matrix,
    /// Σ weight · column · wall.
    moments: Vector,
    steps: u64,
    /// Σ of errors and of their weights.
    errors: [f64; 2],
    /// Of the latest step at which the columns were told apart.
    unknowns: Option<Vector>,
    /// Whether they are now, and why not.
    told_apart: Result<(), EqualReason>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            gram: Matrix::default(),
            moments: Vector::default(),
            steps: 0,
            errors: [0.0; 2],
            unknowns: None,
            told_apart: Err(EqualReason::FewSteps),
        }
    }
}

impl Window {
    pub(super) fn learn(&mut self, wall: Duration, features: &Features) {
        if wall < STEP_WALL_MIN {
            return;
        }
        let wall_ns = wall.as_secs_f64() * 1e9;
        let predicted_ns = self.unknowns.map_or(0.0, |unknowns| dot(&unknowns, &features.0));
        if self.unknowns.is_some() {
            let error = ((predicted_ns - wall_ns).abs() / wall_ns).min(1.0);
            self.errors = [self.errors[0] * kept() + error, self.errors[1] * kept() + 1.0];
        }
        let weight = wall_ns.max(predicted_ns).powi(-2);
        for (row, &left) in features.0.iter().enumerate() {
            for (column, &right) in features.0.iter().enumerate() {
                self.gram[row][column] = self.gram[row][column] * kept() + weight * left * right;
            }
            self.moments[row] = self.moments[row] * kept() + weight * left * wall_ns;
        }
        self.steps = self.steps.saturating_add(1);
        // The first half of the steps that a fit needs are fitted, the others predicted too.
        let solved = match self.steps >= STEPS_MIN / 2 {
            true => solve(&self.gram, &self.moments),
            false => Err(EqualReason::FewSteps),
        };
        self.unknowns = solved.ok().or(self.unknowns);
        self.told_apart = solved.map(|_| ());
    }

    /// What the window's steps cost.
    pub(super) fn fit(&self) -> Result<Fit, EqualReason> {
        if self.steps >= STEPS_MIN {
            self.told_apart?;
        }
        self.latest_fit()
    }

    /// The same, or where they are too much alike what those before cost: who plans by it made them so.
    pub(super) fn latest_fit(&self) -> Result<Fit, EqualReason> {
        if self.steps < STEPS_MIN {
            return Err(EqualReason::FewSteps);
        }
        let unknowns = self.unknowns.ok_or(EqualReason::Collinear)?;
        let [error, predictions] = self.errors;
        // Until lately it was collinear: nothing was predicted that could tell how good it is.
        if predictions < 1.0 {
            return Err(EqualReason::FewSteps);
        }
        Ok(Fit::of(unknowns, error / predictions))
    }

    /// Whether the window holds steps with each kind of work that these have.
    pub(super) fn has_seen(&self, features: &Features) -> bool {
        (0..UNKNOWNS).all(|column| features.0[column] == 0.0 || self.gram[column][column] > 0.0)
    }
}

/// What of a sum is left when a step is added.
fn kept() -> f64 {
    1.0 - 1.0 / STEPS_WINDOW
}

/// The non-negative unknowns that explain the sums best.
fn solve(gram: &Matrix, moments: &Vector) -> Result<Vector, EqualReason> {
    // Every column is scaled to length 1. What does not count at the window's other end is no column.
    let mut scale = Vector::default();
    let mut seen = 0_usize;
    for column in 0..UNKNOWNS {
        let square = gram[column][column];
        if square > 0.0 && square.is_finite() {
            scale[column] = square.sqrt().recip();
            seen |= 1 << column;
        }
    }
    let mut scaled = Matrix::default();
    let mut aims = Vector::default();
    for row in 0..UNKNOWNS {
        aims[row] = moments[row] * scale[row];
        for column in 0..UNKNOWNS {
            scaled[row][column] = gram[row][column] * scale[row] * scale[column];
        }
    }
    if !is_told_apart(&scaled, seen) {
        return Err(EqualReason::Collinear);
    }
    let mut best = (f64::INFINITY, Vector::default());
    for subset in (1..1_usize << UNKNOWNS).filter(|subset| subset & !seen == 0) {
        let Some(found) = solve_subset(&scaled, &aims, subset) else { continue };
        // At a subset's own solution x, the squared error is a constant − aims · x.
        let distance = -dot(&aims, &found);
        if found.iter().all(|&unknown| unknown >= 0.0) && distance < best.0 {
            best = (distance, found);
        }
    }
    let (distance, mut unknowns) = best;
    unknowns.iter_mut().zip(scale).for_each(|(unknown, scale)| *unknown *= scale);
    if distance.is_finite() && unknowns.iter().all(|unknown| unknown.is_finite()) {
        Ok(unknowns)
    } else {
        Err(EqualReason::Collinear)
    }
}

/// Whether each of the `seen` columns has enough to itself: the reciprocal of the inverse's diagonal.
fn is_told_apart(scaled: &Matrix, seen: usize) -> bool {
    columns_of(seen).all(|column| {
        let mut unit = Vector::default();
        unit[column] = 1.0;
        let inflation = solve_subset(scaled, &unit, seen).map_or(f64::INFINITY, |solution| solution[column]);
        inflation > 0.0 && inflation.recip() >= COLLINEARITY_MIN
    })
}

/// Solves the equations of the columns in `subset` (a bit each) by Cholesky's factorisation; the other unknowns are 0. `None`
/// if they are not independent.
fn solve_subset(matrix: &Matrix, aims: &Vector, subset: usize) -> Option<Vector> {
    let mut lower = Matrix::default();
    for row in columns_of(subset) {
        for column in columns_of(subset).take_while(|&column| column <= row) {
            let known: f64 = (0..column).map(|before| lower[row][before] * lower[column][before]).sum();
            let rest = matrix[row][column] - known;
            if row == column {
                if rest.is_nan() || rest <= f64::EPSILON {
                    return None;
                }
                lower[row][row] = rest.sqrt();
            } else {
                lower[row][column] = rest / lower[column][column];
            }
        }
    }
    let mut solution = Vector::default();
    for row in columns_of(subset) {
        let known: f64 = (0..row).map(|before| lower[row][before] * solution[before]).sum();
        solution[row] = (aims[row] - known) / lower[row][row];
    }
    for row in columns_of(subset).rev() {
        let known: f64 = (row + 1..UNKNOWNS).map(|after| lower[after][row] * solution[after]).sum();
        solution[row] = (solution[row] - known) / lower[row][row];
    }
    Some(solution)
}

fn columns_of(subset: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..UNKNOWNS).filter(move |column| subset >> column & 1 == 1)
}

fn dot(left: &Vector, right: &Vector) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[expect(clippy::cast_precision_loss, reason = "positions are measured against an error of percents")]
fn float(positions: u64) -> f64 {
    positions as f64
}
