//! What was saved in money, in three tiers: each is told as what it is, and none stands for another.
//!
//! Invariants: differences are signed; a tier that is not known is not there, and never 0. What is realised is 0 until the
//! operator declares something.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SavingsReport;
use super::arms::Savings;
use super::capacity::Capacity;
use crate::energy::Quality;
use crate::rate::RateCard;

/// The tiers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// The currency of all of them.
    pub currency: String,
    /// By the rate card.
    pub nominal: Nominal,
    /// By machines; none where no catalogue of them is configured.
    pub capacity: Option<Capacity>,
    /// What the operator declares.
    pub realised: Realised,
}

/// What is saved where memory costs what is held of it, and processor time what is used of it: no bill is like that unless
/// somebody else uses what is free.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Nominal {
    /// The rate card.
    pub rate_card: String,
    /// Against one shared copy of each model; none if a price is missing.
    pub saved_shared_persistent: Option<f64>,
    /// Against a copy for each tenant.
    pub saved_dedicated: Option<f64>,
    /// Measured use and derived baselines at assumed prices.
    pub quality: Quality,
}

/// What the operator says to pay less because of this way of serving. Nobody here can measure it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Realised {
    /// Declared for an hour; 0 unless something is declared, negative for more.
    pub per_hour: f64,
    /// The same for the report's window.
    pub saved: f64,
    /// Declared is assumed.
    pub quality: Quality,
}

impl Money {
    /// By the rate card alone.
    pub(super) fn nominal(total: &Savings, rates: &RateCard) -> Self {
        Self {
            currency: rates.currency.clone(),
            nominal: Nominal {
                rate_card: rates.name.clone(),
                saved_shared_persistent: total.shared_persistent.saved.cost,
                saved_dedicated: total.dedicated.saved.cost,
                quality: Quality::Derived,
            },
            capacity: None,
            realised: Realised { per_hour: 0.0, saved: 0.0, quality: Quality::Assumed },
        }
    }
}

impl SavingsReport {
    /// Adds what the operator declares to pay less in an hour, in units of the currency.
    #[must_use]
    pub fn with_realised(mut self, per_hour: f64) -> Self {
        const MILLIS_PER_HOUR: f64 = 3.6e6;
        let saved = per_hour * (self.window_ms as f64 / MILLIS_PER_HOUR);
        self.money.realised = Realised { per_hour, saved, quality: Quality::Assumed };
        self
    }

    /// Adds what machines would cost.
    #[must_use]
    pub fn with_capacity(mut self, capacity: Capacity) -> Self {
        self.money.capacity = Some(capacity);
        self
    }
}
