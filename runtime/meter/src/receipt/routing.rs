//! How a request's device was chosen, as its receipt tells it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The choice, and what it was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Routing {
    /// What the operator wants most of: `latency`, `energy` or `cost`.
    pub policy: String,
    /// The device that was chosen.
    pub device: String,
    /// Why, in a word: `fastest`, `least_energy`, `least_cost`, `spilled`, `only_one`, `exploring`, `unmeasured` or
    /// `awaits_memory`.
    pub reason: String,
    /// Every device, in the order of the configuration.
    pub candidates: Vec<RoutedCandidate>,
}

/// What was known of one device. All figures are predictions, made before the request was queued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoutedCandidate {
    /// Its name.
    pub device: String,
    /// From the choice to the request's end, in milliseconds; null where nobody could tell.
    pub predicted_finish_ms: Option<f64>,
    /// Dynamic energy of its load and its steps, in joules; null where the watts are not known.
    pub predicted_joules: Option<f64>,
    /// Money for the device's time, in the rate card's currency; null where it has no price.
    pub predicted_cost: Option<f64>,
    /// Why it could not be chosen; absent where it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
}
