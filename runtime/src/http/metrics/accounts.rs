//! Figures of memory and processor time by who carries them: receipts, and the accounts of what is on no receipt.
//!
//! Processor time of requests and of accounts together is the process's at the look before, but for requests that are not
//! settled yet. What is nobody's in particular has an empty tenant.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use meter::receipt::Receipt;
use meter::{AccountInterval, Nanos};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

type Seconds = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabels {
    tenant: String,
    model: String,
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MemoryLabels {
    tenant: String,
    model: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AccountLabels {
    account: &'static str,
    tenant: String,
    model: String,
}

/// The counters.
#[derive(Default)]
pub(super) struct AccountMetrics {
    cpu: Family<PhaseLabels, Seconds>,
    account_cpu: Family<AccountLabels, Seconds>,
    /// What the runtime seemed to have taken when that was last looked at, in seconds: what ran then may be in it.
    seemed: Mutex<f64>,
    memory: Family<MemoryLabels, Seconds>,
}

impl AccountMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let text = "Processor time of settled requests";
        registry.register_with_unit("request_cpu", text, Unit::Seconds, self.cpu.clone());
        let text = "Processor time on no receipt: of loads that no request waited for, and the runtime's own";
        registry.register_with_unit("account_cpu", text, Unit::Seconds, self.account_cpu.clone());
        let unit = Unit::Other("byte_seconds".to_owned());
        let text = "Memory over time, of settled requests and of what accounts carry";
        registry.register_with_unit("resident", text, unit, self.memory.clone());
    }

    /// A request of the tenant with this label was settled.
    pub(super) fn settled(&self, tenant: &str, receipt: &Receipt) {
        let model = &receipt.model;
        let cpu =
            [("prefill", receipt.cpu.prefill_ns), ("decode", receipt.cpu.decode_ns), ("load", receipt.cpu.load_ns)];
        for (phase, time) in cpu {
            let labels = PhaseLabels { tenant: tenant.to_owned(), model: model.clone(), phase };
            self.cpu.get_or_create(&labels).inc_by(seconds(time));
        }
        let memory = [
            ("active", receipt.memory.weights_kib_ms),
            ("load", receipt.memory.load_kib_ms),
            ("kv", receipt.memory.kv_kib_ms),
        ];
        for (state, held) in memory {
            let labels = MemoryLabels { tenant: tenant.to_owned(), model: model.clone(), state };
            self.memory.get_or_create(&labels).inc_by(held.byte_seconds());
        }
    }

    /// An account carried memory for the tenant with this label, or for nobody.
    pub(super) fn held(&self, tenant: Option<String>, held: &AccountInterval) {
        let (tenant, model) = (tenant.unwrap_or_default(), held.model.clone());
        let labels = MemoryLabels { tenant, model, state: held.held_as.name() };
        self.memory.get_or_create(&labels).inc_by(held.kib_ms.byte_seconds());
    }

    /// An account carries processor time, for the tenant with this label or for nobody.
    pub(super) fn carried(&self, account: &'static str, (tenant, model): (Option<String>, &str), time: Nanos) {
        let labels = AccountLabels { account, tenant: tenant.unwrap_or_default(), model: model.to_owned() };
        self.account_cpu.get_or_create(&labels).inc_by(seconds(time));
    }

    /// The process has taken `process` until now, and its devices' steps and loads `devices` of that, as far as they have
    /// ended: the runtime's own is the less of two looks, so it is told one look late.
    pub(super) fn look_at(&self, process: Nanos, devices: Nanos) {
        let labels = AccountLabels { account: "runtime", tenant: String::new(), model: String::new() };
        let counter = self.account_cpu.get_or_create(&labels);
        let seems = seconds(process.saturating_sub(devices));
        let mut seemed = self.seemed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::replace(&mut *seemed, seems).min(seems);
        counter.inc_by((known - counter.get()).max(0.0));
    }
}

fn seconds(time: Nanos) -> f64 {
    Duration::from(time).as_secs_f64()
}
