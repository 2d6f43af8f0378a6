//! What one tenant is told of the savings: its own figures, and nothing that others' use has any part in.
//!
//! Left out, because it cannot be told without the others: one shared copy of each model, whose cost is split over those who
//! use it; what was held for nobody in particular; what the process holds beside models; the page cache. What is left is
//! its own share of what was measured against a copy of each model of its own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::arms::{Arm, Comparison, Holding};
use super::{ColdStarts, ModelUse, SavingsInputs, report};
use crate::energy::EnergyModel;
use crate::rate::RateCard;

const NOTES: [&str; 4] = [
    "your own requests, and what was kept for you, keys and values included; the window is from the first of them to the last",
    "ephemeral memory is measured; a copy of your own is derived: each model that you used, as large as the largest that your \
     receipts tell, from your first request for it to the end of your last, without the process that would serve it",
    "left out, because others have part in it: copies that are shared, what was held for nobody, the serving process",
    "energy is modelled; money is nominal, by the rate card",
];

/// A tenant's own savings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TenantReport {
    /// Whose.
    pub tenant: String,
    /// From its first request to the last of it that was recorded, in milliseconds, while the runtime was up.
    pub window_ms: u64,
    /// The currency of all money.
    pub currency: String,
    /// The rate card that priced it.
    pub rate_card: String,
    /// The energy model.
    pub energy_source: String,
    /// ± this share of every energy figure.
    pub energy_relative_uncertainty: f64,
    /// What was measured.
    pub ephemeral: Arm,
    /// Where its memory went.
    pub held: Holding,
    /// Against a copy of each model of its own.
    pub dedicated: Comparison,
    /// What its own requests waited; the price of a waited second is that at which the saving against copies of its own
    /// vanishes.
    pub cold_starts: ColdStarts,
    /// Sentences for people.
    pub notes: Vec<String>,
}

/// Compares what `tenant` used with copies of its own. Of `inputs` what is not that tenant's is not looked at: they are to
/// be its own, window and waits included.
#[must_use]
pub fn report_of_tenant(inputs: SavingsInputs, tenant: &str, energy: &EnergyModel, rates: &RateCard) -> TenantReport {
    let mut own = SavingsInputs { process_bytes: 0, ..inputs };
    own.tenants.retain(|one| one.tenant == tenant);
    own.models.retain(|model| own.tenants.iter().any(|one| one.model == model.model));
    for model in &mut own.models {
        let (name, weights_bytes) = (std::mem::take(&mut model.model), model.weights_bytes);
        *model = ModelUse { model: name, weights_bytes, ..ModelUse::default() };
    }
    let whole = report(&own, energy, rates);
    let dedicated = whole.total.dedicated;
    let waited = whole.cold_starts.waited_ns.seconds();
    let break_even_per_second = dedicated.saved.cost.filter(|_| waited > 0.0).map(|saved| saved / waited);
    TenantReport {
        tenant: tenant.to_owned(),
        window_ms: whole.window_ms,
        currency: whole.currency,
        rate_card: whole.rate_card,
        energy_source: whole.energy_source,
        energy_relative_uncertainty: whole.energy_relative_uncertainty,
        ephemeral: whole.total.ephemeral,
        held: whole.total.held,
        dedicated,
        cold_starts: ColdStarts { break_even_per_second, ..whole.cold_starts },
        notes: NOTES.map(str::to_owned).to_vec(),
    }
}
