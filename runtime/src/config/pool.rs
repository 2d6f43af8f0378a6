//! `[pool]` and `[models.NAME]`: how models share the memory.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use kernels::KvPrecision;
use loader::{BringIn, LetGo, Lock};
use meter::rate::RateCard;
use scheduler::{KeepAlive, Oversize, PoolOptions, Prices};
use serde::Deserialize;

use super::ConfigError;
use super::quantity::{Choice, Span, Stay};
use crate::limits::LOADS_PARALLEL_MAX;

/// `[pool]`: who goes when, for whom.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolTable {
    /// How long the first in line waits before busy models take turns with it.
    busy_turn_max: Option<Span>,
    /// How long a model is safe from pressure after its load.
    residency_min: Option<Span>,
    /// The percentage of the budget that pinned models may hold.
    pinned_percent_max: Option<u8>,
    /// Loads at once.
    loads_parallel_max: Option<usize>,
    /// How long a request waits for room and load.
    load_wait_max: Option<Span>,
    /// What becomes of a model that is larger than the budget.
    oversize: Option<Choice<Oversize>>,
    /// How the pages of a model's files come in.
    bring_in: Option<Choice<BringIn>>,
    /// What becomes of them when it is evicted.
    let_go: Option<Choice<LetGo>>,
    /// Whether they are locked into memory.
    lock: Option<bool>,
}

/// How the pages of models' files come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PagePolicy {
    /// At a load.
    pub(crate) bring_in: BringIn,
    /// At an eviction.
    pub(crate) let_go: LetGo,
    /// In between.
    pub(crate) lock: Lock,
}

/// `[models.NAME]`: one model's own.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelTable {
    keep_alive: Option<Stay>,
    pinned: Option<bool>,
    /// Its share of the device's time against others'.
    weight: Option<NonZeroU32>,
    /// What its sequences' keys and values are kept as.
    kv_precision: Option<Choice<KvPrecision>>,
}

/// What was chosen for single models, by their true names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelChoices {
    /// How long they stay.
    pub(crate) keep_alives: BTreeMap<String, KeepAlive>,
    /// Those that are loaded at the start and stay, in order.
    pub(crate) pinned: Vec<String>,
    /// Shares of the device's time of those that have one of their own.
    pub(crate) weights: BTreeMap<String, NonZeroU32>,
    /// What the keys and values of their sequences are kept as, where it is not as of most.
    pub(crate) kv_precisions: BTreeMap<String, KvPrecision>,
}

impl PoolTable {
    /// How the pages of models' files come and go.
    pub(super) fn pages(self) -> PagePolicy {
        PagePolicy {
            bring_in: self.bring_in.map_or(BringIn::default(), |Choice(bring_in)| bring_in),
            let_go: self.let_go.map_or(LetGo::default(), |Choice(let_go)| let_go),
            lock: if self.lock == Some(true) { Lock::Locked } else { Lock::Unlocked },
        }
    }

    /// The pool's options, where models stay for `keep_alive`, and memory and time cost what `rates` say.
    pub(super) fn options(self, keep_alive: KeepAlive, rates: &RateCard) -> Result<PoolOptions, ConfigError> {
        let default = PoolOptions::default();
        let span = |chosen: Option<Span>, default: Duration| chosen.map_or(default, |Span(duration)| duration);
        let pinned_percent_max = self.pinned_percent_max.unwrap_or(default.pinned_percent_max);
        if pinned_percent_max > 100 {
            return Err(ConfigError::Pool { reason: "pinned_percent_max is at most 100" });
        }
        let loads_parallel_max = self.loads_parallel_max.unwrap_or(default.loads_parallel_max);
        if !(1..=LOADS_PARALLEL_MAX).contains(&loads_parallel_max) {
            return Err(ConfigError::Pool { reason: "loads_parallel_max is at least 1, and a number of threads" });
        }
        if self.load_wait_max.is_some_and(|Span(wait)| wait.is_zero()) {
            return Err(ConfigError::Pool { reason: "load_wait_max = 0 would refuse every request" });
        }
        let oversize = self.oversize.map_or(default.oversize, |Choice(oversize)| oversize);
        if oversize == Oversize::Page && self.lock == Some(true) {
            return Err(ConfigError::Pool {
                reason: "what is locked cannot be paged: choose lock or oversize = \"page\"",
            });
        }
        Ok(PoolOptions {
            oversize,
            keep_alive_default: keep_alive,
            busy_turn_max: span(self.busy_turn_max, default.busy_turn_max),
            residency_min: span(self.residency_min, default.residency_min),
            load_wait_max: span(self.load_wait_max, default.load_wait_max),
            pinned_percent_max,
            loads_parallel_max,
            prices: prices(rates).unwrap_or(default.prices),
            ..default
        })
    }
}

/// What holding memory costs beside what loading it again does; `None` where the card does not price both.
fn prices(rates: &RateCard) -> Option<Prices> {
    Some(Prices::hourly(rates.cpu_hour?.get(), rates.memory_gb_hour?.get()))
}

/// The choices of all tables, by true names.
pub(super) fn choices(
    tables: BTreeMap<String, ModelTable>,
    aliases: &BTreeMap<String, String>,
) -> Result<ModelChoices, ConfigError> {
    let mut choices = ModelChoices::default();
    let mut seen = std::collections::BTreeSet::new();
    for (name, ModelTable { keep_alive, pinned, weight, kv_precision }) in tables {
        let model = aliases.get(&name).unwrap_or(&name).clone();
        if !seen.insert(model.clone()) {
            return Err(ConfigError::ModelTwice { model: name });
        }
        if let Some(Stay(keep_alive)) = keep_alive {
            choices.keep_alives.insert(model.clone(), keep_alive);
        }
        if let Some(weight) = weight {
            choices.weights.insert(model.clone(), weight);
        }
        if let Some(Choice(kv_precision)) = kv_precision {
            choices.kv_precisions.insert(model.clone(), kv_precision);
        }
        if pinned == Some(true) {
            choices.pinned.push(model);
        }
    }
    Ok(choices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_a_processor_is_weighed_against_its_gigabytes() {
        let ratio = |rates: &RateCard| {
            prices(rates).map(|Prices { byte_second, load_second }| load_second as f64 / byte_second as f64)
        };
        // 0.031611 per hour over 0.004237 per GB and hour.
        let bytes = ratio(&RateCard::default()).unwrap();
        assert!((bytes / 1e9 - 7.4607).abs() < 1e-3, "{bytes}");
        assert_eq!(ratio(&RateCard { cpu_hour: None, ..RateCard::default() }), None);
    }
}
