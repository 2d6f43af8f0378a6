//! Which device a request goes to.
//!
//! A pure function of what is known of each device at one moment: whether the model fits it, when it would be done,
//! what that would take of energy and money. Every candidate's figures come back with the choice, so that a receipt can
//! explain it. All figures are predictions; what came of them is the caller's to record.
//!
//! In this order:
//! 1. A device with an obstacle is passed over. If nothing but want of memory stands in the way of any, the request
//!    waits for memory where the policy would have sent it.
//! 2. Of the others, one that nobody can predict yet is tried while it may be explored: the first so many requests.
//! 3. [`Policy::Latency`] takes the one that is done first. [`Policy::Energy`] and [`Policy::Cost`] take the one that
//!    needs least among those that are done within a given multiple of the time that the first one takes.
//! 4. Of equals, the first in the order of the configuration.
//!
//! Invariants: a device with a lasting obstacle is never chosen, and one with a passing obstacle not while another is
//! free; a slower device is never chosen for being slower under [`Policy::Latency`]. Deliberately absent: clocks, locks,
//! and where the figures come from ([`Backlog`] keeps one of them).

mod backlog;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::backlog::{Backlog, Expected, Share};

/// What the operator wants most of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Answers that are done early.
    #[default]
    Latency,
    /// Little energy.
    Energy,
    /// Little money.
    Cost,
}

impl Policy {
    /// For receipts and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Energy => "energy",
            Self::Cost => "cost",
        }
    }
}

/// The rule by which one of several is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// What counts.
    pub policy: Policy,
    /// How many times as long as with the fastest device an answer may take to save energy or money; at least 1.
    pub slack: f64,
}

/// One device, as far as one request is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub device: Arc<str>,
    /// Why it cannot be chosen now.
    pub obstacle: Option<Obstacle>,
    /// How long the model takes to be there; zero where it is in memory.
    pub load: Duration,
    /// What others' work adds to this request's time.
    pub ahead: Duration,
    /// The request's own work there.
    pub work: Work,
    /// Watts that it draws for being busy, beside what it draws anyway; `None` where nobody knows.
    pub busy_watts: Option<f64>,
    /// Money for a busy second, in units of the operator's currency; `None` where there is no price.
    pub busy_second_cost: Option<f64>,
}

/// How long a request computes on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So long, alone.
    Predicted(Duration),
    /// Nothing like it was measured there.
    Unknown(Exploration),
}

/// Whether a device that nobody can predict is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exploration {
    /// It has not been tried often enough.
    Open,
    /// It was tried, and nothing was learned yet.
    Done,
}

/// Why a device cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The model can never fit its memory.
    #[error("the model needs {needed_bytes} bytes, and it may have {limit_bytes}")]
    TooLarge {
        /// What the model needs there.
        needed_bytes: u64,
        /// What it may have.
        limit_bytes: u64,
    },
    /// It has ended.
    #[error("it has ended")]
    Ended,
    /// What is computed there is nobody's but the request's, and it is to be everyone's.
    #[error("it shares nothing of what it computes")]
    SharesNothing,
    /// Its queue has no place for this tenant.
    #[error("its queue is full")]
    QueueFull,
    /// Its memory is in use, for now.
    #[error("its memory is in use: {available_bytes} of {needed_bytes} bytes can be had")]
    MemoryFull {
        /// What the model needs there.
        needed_bytes: u64,
        /// What is free, or held by models that nobody uses.
        available_bytes: u64,
    },
}

impl Obstacle {
    /// Whether it goes away by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::QueueFull | Self::MemoryFull { .. })
    }
}

/// What would become of a request on one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// From now to its end.
    pub finish: Duration,
    /// The part of it that it keeps the device busy for: its load and its own work.
    pub busy: Duration,
    /// Joules of that; `None` where nobody knows the watts.
    pub joules: Option<f64>,
    /// Money for it; `None` where there is no price.
    pub cost: Option<f64>,
}

/// What was chosen, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which of the candidates.
    pub index: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a device was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No other has none but passing obstacles.
    OnlyOne,
    /// It is done first.
    Fastest,
    /// It needs least energy in the time allowed.
    LeastEnergy,
    /// It needs least money in the time allowed.
    LeastCost,
    /// The policy's choice has no queue or memory left.
    Spilled,
    /// Nobody knows how fast it is: this request finds out.
    Exploring,
    /// Nobody knows how fast any of them is.
    Unmeasured,
    /// No device has memory now: it waits on the one that the policy likes best.
    AwaitsMemory,
}

impl Reason {
    /// For receipts and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnlyOne => "only_one",
            Self::Fastest => "fastest",
            Self::LeastEnergy => "least_energy",
            Self::LeastCost => "least_cost",
            Self::Spilled => "spilled",
            Self::Exploring => "exploring",
            Self::Unmeasured => "unmeasured",
            Self::AwaitsMemory => "awaits_memory",
        }
    }
}

impl Candidate {
    /// What would become of the request here; `None` where nobody can tell.
    #[must_use]
    pub fn prediction(&self) -> Option<Prediction> {
        let Work::Predicted(work) = self.work else { return None };
        let busy = self.load.saturating_add(work);
        let seconds = busy.as_secs_f64();
        Some(Prediction {
            finish: busy.saturating_add(self.ahead),
            busy,
            joules: self.busy_watts.map(|watts| watts * seconds),
            cost: self.busy_second_cost.map(|cost| cost * seconds),
        })
    }

    fn is_explorable(&self) -> bool {
        self.work == Work::Unknown(Exploration::Open)
    }
}

/// Chooses among `candidates`, which stand in the order of the configuration; `None` when each has an obstacle that no
/// wait for memory removes.
#[must_use]
pub fn choose(rule: Rule, candidates: &[Candidate]) -> Option<Choice> {
    let indices = |is_eligible: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        (0..candidates.len()).filter(|&index| is_eligible(&candidates[index])).collect()
    };
    let possible = indices(&|candidate| candidate.obstacle.as_ref().is_none_or(Obstacle::is_passing));
    let free = indices(&|candidate| candidate.obstacle.is_none());
    if free.is_empty() {
        let waits = |candidate: &Candidate| matches!(candidate.obstacle, Some(Obstacle::MemoryFull { .. }));
        let (index, _) = best(rule, candidates, &indices(&waits))?;
        return Some(Choice { index, reason: Reason::AwaitsMemory });
    }
    let (index, reason) = best(rule, candidates, &free)?;
    let reason = match best(rule, candidates, &possible) {
        _ if possible.len() == 1 => Reason::OnlyOne,
        Some((wished, _)) if wished != index => Reason::Spilled,
        _ => reason,
    };
    Some(Choice { index, reason })
}

/// The best of those of `candidates` that stand at `indices`, by the rule alone.
fn best(rule: Rule, candidates: &[Candidate], indices: &[usize]) -> Option<(usize, Reason)> {
    if let Some(&index) = indices.iter().find(|&&index| candidates[index].is_explorable()) {
        return Some((index, Reason::Exploring));
    }
    let known: Vec<(usize, Prediction)> =
        indices.iter().filter_map(|&index| Some((index, candidates[index].prediction()?))).collect();
    let Some(fastest) = known.iter().map(|(_, prediction)| prediction.finish).min() else {
        return indices.first().map(|&index| (index, Reason::Unmeasured));
    };
    let need = |prediction: &Prediction| match rule.policy {
        Policy::Latency => Some(prediction.finish.as_secs_f64()),
        Policy::Energy => prediction.joules,
        Policy::Cost => prediction.cost,
    };
    let time_max = fastest.as_secs_f64() * rule.slack.max(1.0);
    let in_time = known
        .iter()
        .filter(|(_, prediction)| rule.policy == Policy::Latency || prediction.finish.as_secs_f64() <= time_max);
    // What is not known is more than anything that is.
    let key = |prediction: &Prediction| (need(prediction).unwrap_or(f64::INFINITY), prediction.finish);
    let least = in_time.min_by(|(_, a), (_, b)| {
        let (a, b) = (key(a), key(b));
        a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
    });
    let reason = match rule.policy {
        Policy::Latency => Reason::Fastest,
        Policy::Energy => Reason::LeastEnergy,
        Policy::Cost => Reason::LeastCost,
    };
    least.map(|&(index, _)| (index, reason))
}
