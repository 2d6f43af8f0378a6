//! What devices have computed since the server began, for whoever splits energy by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meter::Nanos;

/// What one device has computed. Each figure alone is right; together they are of the same step or of two that follow one
/// another.
#[derive(Debug, Default)]
pub(crate) struct DeviceWork {
    busy_ns: AtomicU64,
    cpu_ns: AtomicU64,
}

impl DeviceWork {
    /// A step took `wall`, and `cpu` of the host's processors.
    pub(crate) fn stepped(&self, wall: Duration, cpu: Duration) {
        self.busy_ns.fetch_add(Nanos::from(wall).get(), Ordering::Relaxed);
        self.computed(cpu);
    }

    /// The host's processors worked for it, beside its steps.
    pub(super) fn computed(&self, cpu: Duration) {
        self.cpu_ns.fetch_add(Nanos::from(cpu).get(), Ordering::Relaxed);
    }

    /// The time for which it computed.
    pub(super) fn busy(&self) -> Nanos {
        Nanos::new(self.busy_ns.load(Ordering::Relaxed))
    }

    /// The time for which the host's processors worked for it, loads included.
    pub(super) fn cpu(&self) -> Nanos {
        Nanos::new(self.cpu_ns.load(Ordering::Relaxed))
    }
}
