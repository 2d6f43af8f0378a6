//! What each arm's machine would cost: the smallest one of a catalogue that fits what the arm holds in 99 of 100 hours.
//!
//! What an arm holds in an hour is everything that it holds at any time of that hour, as if all at once: more than there ever
//! was where models took turns within the hour, so that a saving is not flattered; of a model that nobody asked for only its
//! mean is known, over the hour or a shorter window. Keys and values, which are the same in every arm, are in each by their
//! mean over the hour; what a process holds beside models is in each, for each of its processes.
//!
//! Deliberately absent: a catalogue. Prices of machines are the operator's to say, with where they are from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ModelUse, SavingsInputs};
use crate::energy::Quality;
use crate::units::{KibMillis, PicoUnits};

const MILLIS_PER_HOUR: u64 = 3_600_000;

/// A machine that can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    /// What it is called where it is sold.
    pub name: String,
    /// What of its memory can be used, in bytes.
    pub memory_bytes: u64,
    /// What an hour of it costs, in 10⁻¹² of the currency.
    pub per_hour: PicoUnits,
}

/// The machines that can be had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Catalogue {
    /// In any order.
    pub machines: Vec<Machine>,
    /// Where their prices are from.
    pub source: String,
}

/// What was held hour by hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldHours {
    /// The hours in which the runtime was up, in any order.
    pub hours: Vec<HeldHour>,
    /// What a copy for each tenant would have been held from and until.
    pub copies: Vec<CopySpan>,
}

/// An hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldHour {
    /// Its number since 1970.
    pub hour: i64,
    /// The models that were held in it at any time, with what was held of each.
    pub models: BTreeMap<String, KibMillis>,
    /// Keys and values.
    pub kv: KibMillis,
}

/// The hours from a tenant's first request for a model to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySpan {
    /// The tenant.
    pub tenant: String,
    /// The model.
    pub model: String,
    /// The hour of the first one.
    pub first_hour: i64,
    /// The hour of the last one.
    pub last_hour: i64,
}

/// The machines that the arms need, over the report's window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// Where the machines' prices are from.
    pub source: String,
    /// Hours that were looked at.
    pub hours: u64,
    /// For what was held.
    pub ephemeral: MachineChoice,
    /// For one copy of each model that was asked for.
    pub shared_persistent: MachineChoice,
    /// For a copy of each model, and a process, for each tenant.
    pub dedicated: MachineChoice,
    /// Against one shared copy, in units of the currency; negative for a loss, none where no machine fits one of the two.
    pub saved_shared_persistent: Option<f64>,
    /// Against a copy for each tenant.
    pub saved_dedicated: Option<f64>,
    /// Of what was held; the prices are the catalogue's.
    pub quality: Quality,
}

/// The smallest machine that fits an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineChoice {
    /// What the arm exceeds in no more than one of 100 hours.
    pub p99_bytes: u64,
    /// Its name; none where none is large enough.
    pub machine: Option<String>,
    /// What it costs for the window.
    pub pico_units: Option<PicoUnits>,
}

impl Catalogue {
    /// The machines that `inputs`, of which `held` is hour by hour, need.
    #[must_use]
    pub fn capacity(&self, inputs: &SavingsInputs, held: &HeldHours) -> Capacity {
        let sizes: BTreeMap<&str, u64> =
            inputs.models.iter().map(|ModelUse { model, weights_bytes, .. }| (&**model, *weights_bytes)).collect();
        let size = |model: &str| sizes.get(model).copied().unwrap_or(0);
        let used: BTreeSet<&str> = held.copies.iter().map(|copy| &*copy.model).collect();
        let of_all: u64 = used.iter().map(|model| size(model)).sum();
        let process = inputs.process_bytes;
        let [mut ephemeral, mut shared, mut dedicated] = [const { Vec::new() }; 3];
        for HeldHour { hour, models, kv } in &held.hours {
            let kv = mean_bytes(*kv, inputs.window_ms);
            // Of what nobody asked for the size is not known but by what was held.
            let loaded: u64 =
                models.iter().map(|(model, held)| size(model).max(mean_bytes(*held, inputs.window_ms))).sum();
            let on: Vec<&CopySpan> =
                held.copies.iter().filter(|copy| (copy.first_hour..=copy.last_hour).contains(hour)).collect();
            let processes = on.iter().map(|copy| &copy.tenant).collect::<BTreeSet<_>>().len() as u64;
            let copies: u64 = on.iter().map(|copy| size(&copy.model)).sum();
            ephemeral.push(kv.saturating_add(process).saturating_add(loaded));
            shared.push(kv.saturating_add(process).saturating_add(of_all));
            dedicated.push(kv.saturating_add(process.saturating_mul(processes)).saturating_add(copies));
        }
        let choose = |bytes| self.choose(p99(bytes), inputs.window_ms);
        let (ephemeral, shared_persistent, dedicated) = (choose(ephemeral), choose(shared), choose(dedicated));
        let saved = |baseline: &MachineChoice| Some(baseline.pico_units?.units() - ephemeral.pico_units?.units());
        Capacity {
            source: self.source.clone(),
            hours: held.hours.len() as u64,
            saved_shared_persistent: saved(&shared_persistent),
            saved_dedicated: saved(&dedicated),
            ephemeral,
            shared_persistent,
            dedicated,
            quality: Quality::Derived,
        }
    }

    /// The one with the least memory that is enough, and of several the cheapest.
    fn choose(&self, p99_bytes: u64, window_ms: u64) -> MachineChoice {
        let fitting = self.machines.iter().filter(|machine| machine.memory_bytes >= p99_bytes);
        let chosen = fitting.min_by_key(|machine| (machine.memory_bytes, machine.per_hour));
        let cost = |machine: &Machine| {
            let pico = u128::from(machine.per_hour.get()) * u128::from(window_ms) / u128::from(MILLIS_PER_HOUR);
            PicoUnits::saturating_from(pico)
        };
        MachineChoice { p99_bytes, machine: chosen.map(|machine| machine.name.clone()), pico_units: chosen.map(cost) }
    }
}

/// Of an hour, or of the window where that is shorter.
fn mean_bytes(held: KibMillis, window_ms: u64) -> u64 {
    let millis = window_ms.clamp(1, MILLIS_PER_HOUR);
    u64::try_from(u128::from(held.get()) * 1024 / u128::from(millis)).unwrap_or(u64::MAX)
}

/// By nearest rank; 0 of nothing.
fn p99(mut bytes: Vec<u64>) -> u64 {
    bytes.sort_unstable();
    bytes.get((bytes.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::TenantUse;
    use super::*;

    const GIB: u64 = 1 << 30;

    fn catalogue() -> Catalogue {
        let machine = |name: &str, gib: u64, per_hour: u64| Machine {
            name: name.into(),
            memory_bytes: gib * GIB,
            per_hour: PicoUnits::new(per_hour),
        };
        let machines = vec![machine("large", 8, 90), machine("dear", 2, 50), machine("small", 2, 30)];
        Catalogue { machines, source: "a list".into() }
    }

    fn inputs(window_ms: u64) -> SavingsInputs {
        let model = |model: &str| ModelUse { model: model.into(), weights_bytes: GIB, ..ModelUse::default() };
        let used = |tenant: &str, model: &str| TenantUse {
            tenant: tenant.into(),
            model: model.into(),
            requests: 1,
            ..TenantUse::default()
        };
        SavingsInputs {
            window_ms,
            process_bytes: GIB / 2,
            models: vec![model("m"), model("n")],
            tenants: vec![used("a", "m"), used("a", "n"), used("b", "m")],
            ..SavingsInputs::default()
        }
    }

    fn hours(count: i64, models: impl Fn(i64) -> Vec<&'static str>) -> HeldHours {
        let copy = |tenant: &str, model: &str, first_hour| CopySpan {
            tenant: tenant.into(),
            model: model.into(),
            first_hour,
            last_hour: count - 1,
        };
        let hour = |hour| {
            let models = models(hour).into_iter().map(|model| (model.to_owned(), KibMillis::new(1))).collect();
            HeldHour { hour, models, kv: KibMillis::ZERO }
        };
        HeldHours {
            hours: (0..count).map(hour).collect(),
            copies: vec![copy("a", "m", 0), copy("a", "n", 0), copy("b", "m", 0)],
        }
    }

    #[test]
    fn each_arm_has_the_smallest_machine_that_fits_99_of_100_hours() {
        // Both models in one hour of 200, which is less than a hundredth of them.
        let held = hours(200, |hour| if hour == 7 { vec!["m", "n"] } else { vec!["m"] });
        let capacity = catalogue().capacity(&inputs(10 * MILLIS_PER_HOUR), &held);
        assert_eq!((capacity.ephemeral.p99_bytes, capacity.ephemeral.machine.as_deref()), (GIB * 3 / 2, Some("small")));
        assert_eq!(capacity.ephemeral.pico_units, Some(PicoUnits::new(300)), "of two of a size the cheaper one");
        assert_eq!(capacity.shared_persistent.p99_bytes, GIB * 5 / 2);
        assert_eq!(capacity.dedicated.p99_bytes, 4 * GIB, "three copies and two processes");
        assert_eq!(capacity.dedicated.machine.as_deref(), Some("large"));
        assert!((capacity.saved_shared_persistent.unwrap() - 600e-12).abs() < 1e-18);
    }

    #[test]
    fn what_is_larger_than_every_machine_has_no_price_and_a_loss_is_one() {
        let mut larger = inputs(MILLIS_PER_HOUR);
        larger.process_bytes = 6 * GIB;
        // Two processes of the dedicated arm fit nothing.
        let capacity = catalogue().capacity(&larger, &hours(3, |_| vec!["m"]));
        assert_eq!((&capacity.dedicated.machine, capacity.saved_dedicated), (&None, None));
        assert_eq!(capacity.saved_shared_persistent, Some(0.0), "both need the large one");
        // A model that nobody asked for is held all the same: 5 GiB for the whole hour.
        let mut held = hours(1, |_| vec!["m"]);
        held.hours[0].models.insert("pinned".into(), KibMillis::new(5 * GIB / 1024 * MILLIS_PER_HOUR));
        held.copies.truncate(1);
        let capacity = catalogue().capacity(&inputs(MILLIS_PER_HOUR), &held);
        assert_eq!(capacity.ephemeral.p99_bytes, GIB * 13 / 2);
        assert!(capacity.saved_shared_persistent.unwrap() < 0.0);
    }

    #[test]
    fn nothing_held_needs_the_smallest_machine() {
        let capacity = catalogue().capacity(&SavingsInputs::default(), &HeldHours::default());
        assert_eq!((capacity.ephemeral.p99_bytes, capacity.ephemeral.machine.as_deref()), (0, Some("small")));
        assert_eq!(Catalogue::default().capacity(&inputs(1), &hours(1, |_| vec![])).saved_dedicated, None);
    }
}
