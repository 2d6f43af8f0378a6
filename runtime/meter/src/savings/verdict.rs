//! Saving, loss, or neither; and why a loss is one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Arm, Holding};
use crate::limits::SIGNIFICANCE_PERCENT;

/// What a difference amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Ephemeral serving took less.
    Saving,
    /// The arms are closer than the accuracy of the measurement, 5 % of the larger one.
    NoSignificantDifference,
    /// Ephemeral serving took more.
    Loss,
}

impl Verdict {
    /// What the difference between a baseline and what ephemeral serving took amounts to, in whatever both are counted.
    #[must_use]
    pub fn of(baseline: u64, ephemeral: u64) -> Self {
        let difference = u128::from(baseline.abs_diff(ephemeral));
        if difference * 100 <= u128::from(baseline.max(ephemeral)) * u128::from(SIGNIFICANCE_PERCENT) {
            Self::NoSignificantDifference
        } else if ephemeral < baseline {
            Self::Saving
        } else {
            Self::Loss
        }
    }
}

/// What made ephemeral serving lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// Models were hot, or they or their keys and values kept after the last request, for about as long as they would have
    /// been held anyway.
    AlwaysHot,
    /// Models were pinned, or resident for nobody in particular.
    HeldIdle,
    /// Loading again and again took more than unloading gave back.
    ReloadThrash,
}

impl LossCause {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::AlwaysHot => "serve this model persistently, or shorten its keep-alive",
            Self::HeldIdle => "unpin the model, or do not load it before it is asked for",
            Self::ReloadThrash => "lengthen the keep-alive, or raise the memory budget",
        }
    }
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Nominal money: memory and the processor time of loads.
    Cost,
    /// Memory over time, where a price is missing.
    Memory,
}

/// A verdict with its grounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Judged {
    /// What the difference amounts to.
    pub verdict: Verdict,
    /// What was compared.
    pub by: Measure,
    /// Why it is a loss, if it is.
    pub cause: Option<LossCause>,
    /// What to do about it.
    pub remedy: Option<String>,
}

pub(super) fn judge(baseline: &Arm, ephemeral: &Arm, held: &Holding) -> Judged {
    let (by, persistent, taken) = match (baseline.pico_units, ephemeral.pico_units) {
        (Some(persistent), Some(taken)) => (Measure::Cost, persistent.get(), taken.get()),
        _ => (Measure::Memory, baseline.kib_ms.get(), ephemeral.kib_ms.get()),
    };
    let verdict = Verdict::of(persistent, taken);
    let cause = (verdict == Verdict::Loss).then(|| cause(baseline, held));
    Judged { verdict, by, cause, remedy: cause.map(|cause| cause.remedy().to_owned()) }
}

/// The first of the ephemeral arm's parts, in the order in which they are least avoidable, that uses up the baseline.
fn cause(baseline: &Arm, held: &Holding) -> LossCause {
    let hot = held.active_kib_ms.saturating_add(held.keepalive_kib_ms).saturating_add(held.pages_kib_ms);
    let nearly = |kib_ms: u64| {
        u128::from(kib_ms) * 100 >= u128::from(baseline.kib_ms.get()) * u128::from(100 - SIGNIFICANCE_PERCENT)
    };
    let unasked = held.pinned_kib_ms.saturating_add(held.idle_kib_ms);
    if hot.get() > 0 && nearly(hot.get()) {
        LossCause::AlwaysHot
    } else if unasked.get() > 0 && nearly(hot.saturating_add(unasked).get()) {
        LossCause::HeldIdle
    } else {
        LossCause::ReloadThrash
    }
}
