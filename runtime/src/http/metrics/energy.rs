//! Figures of energy: of settled requests, and of what devices took, whoever for.
//!
//! A card's energy may be within the host's, so that those of all devices are not to be added.

use std::sync::atomic::AtomicU64;

use meter::receipt::Receipt;
use meter::{EnergyAccounts, IntervalEnergy};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

type Joules = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    tenant: String,
    model: String,
    component: &'static str,
    source: String,
    quality: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabels {
    device: String,
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AccountLabels {
    device: String,
    account: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UnknownLabels {
    device: String,
}

/// The counters.
#[derive(Default)]
pub(super) struct EnergyMetrics {
    requests: Family<RequestLabels, Joules>,
    devices: Family<SourceLabels, Joules>,
    accounts: Family<AccountLabels, Joules>,
    unknown: Family<UnknownLabels, Counter>,
}

impl EnergyMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit("energy", "Energy of settled requests", Unit::Joules, self.requests.clone());
        let text = "Energy that was taken, whoever for: of the host, and of each card";
        registry.register_with_unit("device_energy", text, Unit::Joules, self.devices.clone());
        let text = "The same by who carries it";
        registry.register_with_unit("account_energy", text, Unit::Joules, self.accounts.clone());
        let text = "Readings between which it is not known what was taken";
        registry.register("device_energy_unknown_intervals", text, self.unknown.clone());
    }

    /// A request of the tenant with this label was settled.
    pub(super) fn settled(&self, tenant: &str, receipt: &Receipt) {
        let energy = &receipt.energy;
        let parts = [("active", energy.active_nj), ("load", energy.load_nj), ("residency", energy.residency_nj)];
        for (component, part) in parts {
            let labels = RequestLabels {
                tenant: tenant.to_owned(),
                model: receipt.model.clone(),
                component,
                source: energy.source.clone(),
                quality: energy.quality.name(),
            };
            self.requests.get_or_create(&labels).inc_by(part.joules());
        }
    }

    /// A device took energy, which `accounts` carry, or it is not known how much.
    pub(super) fn took(&self, device: &str, taken: &IntervalEnergy, accounts: Option<&EnergyAccounts>) {
        let device = device.to_owned();
        for (account, part) in accounts.iter().flat_map(|accounts| accounts.parts()) {
            let labels = AccountLabels { device: device.clone(), account };
            self.accounts.get_or_create(&labels).inc_by(part.joules());
        }
        // Told as 0 from the start, so that the first is seen.
        let unknown = u64::from(taken.energy.is_none());
        self.unknown.get_or_create(&UnknownLabels { device: device.clone() }).inc_by(unknown);
        let Some(energy) = taken.energy else { return };
        let labels = SourceLabels { device, source: taken.label.source.clone() };
        self.devices.get_or_create(&labels).inc_by(energy.joules());
    }
}
