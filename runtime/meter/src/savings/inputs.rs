//! What a comparison is computed from: the ledger's rows, summed.

use serde::{Deserialize, Serialize};

use crate::residency::HeldAs;
use crate::units::{KibMillis, Nanos};

/// The ledger's sums over a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavingsInputs {
    /// How long the window is: the time that the runtime was up between the first event and the last, in
    /// milliseconds.
    pub window_ms: u64,
    /// What a serving process holds beside models, in bytes; 0 where nobody has measured it.
    pub process_bytes: u64,
    /// How long requests waited for loads.
    pub waits: LoadWaits,
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
    /// What a copy of its weights holds: the most resident bytes on any receipt; zero if nobody asked for it. Pages come
    /// in as they are used, and a copy that is never unloaded keeps what one that is loaded anew lacks at first.
    pub weights_bytes: u64,
    /// Loads that no request waited for.
    pub load: KibMillis,
    /// Their processor time.
    pub load_cpu: Nanos,
    /// Pinned by the operator.
    pub pinned: KibMillis,
    /// Loaded for nobody in particular, and what no rule covers.
    pub idle: KibMillis,
    /// Keys and values that were kept for everyone: in the ephemeral arm alone.
    pub pages: KibMillis,
}

impl ModelUse {
    /// Adds what accounts carried of it for nobody in particular.
    pub fn carry(&mut self, held_as: HeldAs, kib_ms: KibMillis, load_cpu: Nanos) {
        let part = match held_as {
            HeldAs::Load => &mut self.load,
            HeldAs::Pinned => &mut self.pinned,
            HeldAs::Prefix | HeldAs::Context => &mut self.pages,
            HeldAs::Keepalive | HeldAs::Idle | HeldAs::Unmeasured => &mut self.idle,
        };
        *part = part.saturating_add(kib_ms);
        self.load_cpu = self.load_cpu.saturating_add(load_cpu);
    }
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
    /// Its requests' shares of loading, and loads that it asked for and no request waited for.
    pub load: KibMillis,
    /// What was kept for it: weights, or before the ledger told more of it whatever was.
    pub keepalive: KibMillis,
    /// What it pinned.
    pub pinned: KibMillis,
    /// Keys and values that were kept for it: in the ephemeral arm alone.
    pub pages: KibMillis,
    /// Processor time of all those loads.
    pub load_cpu: Nanos,
    /// Time that its requests waited for loads.
    pub load_wait: Nanos,
}

impl TenantUse {
    /// Adds what accounts carried of the model for it.
    pub fn carry(&mut self, held_as: HeldAs, kib_ms: KibMillis, load_cpu: Nanos) {
        let part = match held_as {
            HeldAs::Load => &mut self.load,
            HeldAs::Pinned => &mut self.pinned,
            HeldAs::Prefix | HeldAs::Context => &mut self.pages,
            HeldAs::Keepalive | HeldAs::Idle | HeldAs::Unmeasured => &mut self.keepalive,
        };
        *part = part.saturating_add(kib_ms);
        self.load_cpu = self.load_cpu.saturating_add(load_cpu);
    }
}

/// How long requests waited for loads: what ephemeral serving adds to their time to first token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LoadWaits {
    /// Requests that waited at all.
    pub requests: u64,
    /// Half of them waited no longer than this.
    pub p50_ns: Nanos,
    /// 95 of a hundred of them.
    pub p95_ns: Nanos,
    /// 99 of a hundred of them.
    pub p99_ns: Nanos,
    /// None of them waited longer.
    pub max_ns: Nanos,
    /// Whether these are of the latest waits, older ones than which were not looked at.
    #[serde(default)]
    pub older_left_out: bool,
}

impl LoadWaits {
    /// The quantiles of `waits`, in nanoseconds: each is one of them, by nearest rank.
    #[must_use]
    pub fn of(mut waits: Vec<u64>) -> Self {
        waits.sort_unstable();
        let rank = |percent: usize| {
            let place = (waits.len() * percent).div_ceil(100).saturating_sub(1);
            Nanos::new(waits.get(place).copied().unwrap_or(0))
        };
        let requests = u64::try_from(waits.len()).unwrap_or(u64::MAX);
        let [p50_ns, p95_ns, p99_ns, max_ns] = [50, 95, 99, 100].map(rank);
        Self { requests, p50_ns, p95_ns, p99_ns, max_ns, older_left_out: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_waits_that_were() {
        let of = |waits: Vec<u64>| {
            let LoadWaits { requests, p50_ns, p95_ns, p99_ns, max_ns, .. } = LoadWaits::of(waits);
            (requests, [p50_ns, p95_ns, p99_ns, max_ns].map(Nanos::get))
        };
        assert_eq!(of(vec![]), (0, [0; 4]));
        assert_eq!(of(vec![7]), (1, [7; 4]));
        assert_eq!(of(vec![9, 1]), (2, [1, 9, 9, 9]));
        assert_eq!(of((1..=200).rev().collect()), (200, [100, 190, 198, 200]));
    }
}
