//! What a comparison is computed from: the ledger's rows, summed.

use serde::{Deserialize, Serialize};

use crate::units::{KibMillis, Nanos};

/// The ledger's sums over a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavingsInputs {
    /// How long the window is: the time that the runtime was up between the first event and the last, in
    /// milliseconds.
    pub window_ms: u64,
    /// Every model that was requested or resident.
    pub models: Vec<ModelUse>,
    /// Every tenant's use of every model.
    pub tenants: Vec<TenantUse>,
}

/// A model's use over a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUse {
    /// The model.
    pub model: String,
    /// What a copy of its weights holds: the resident bytes on its latest receipt; zero if nobody
    /// asked for it.
    pub weights_bytes: u64,
    /// Loads that no request waited for.
    pub load: KibMillis,
    /// Loaded for nobody in particular, and what no rule covers.
    pub idle: KibMillis,
}

/// A tenant's use of a model over a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantUse {
    /// The tenant.
    pub tenant: String,
    /// The model.
    pub model: String,
    /// Requests, however they ended.
    pub requests: u64,
    /// Requests that the model was loaded for.
    pub cold_requests: u64,
    /// Milliseconds from its first request to the end of its last one, while the runtime was up.
    pub span_ms: u64,
    /// Its requests' shares of the weights.
    pub active: KibMillis,
    /// Its requests' shares of loading.
    pub load: KibMillis,
    /// What was kept for it.
    pub keepalive: KibMillis,
    /// Processor time of its requests' loads.
    pub load_cpu: Nanos,
    /// Time that its requests waited for loads.
    pub load_wait: Nanos,
}
