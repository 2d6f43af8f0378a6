//! Models of a device's power, for when no sensor is believed.
//!
//! [`EnergyModel`] is the host's where its processor is known; [`TdpCurve`] where it is not and its thermal design power
//! is; [`GpuPower`] is a card's. A device that no model knows has none: its energy is unknown.
//!
//! Deliberately absent: what the device does. The caller says how long it worked.

use std::time::Duration;

use crate::energy::{EnergyLabel, EnergyModel, Quality};
use crate::units::{Microwatts, Nanojoules, Nanos};

/// A model of a device's power.
pub trait PowerModel: Send {
    /// The energy of an interval in which the device worked for `busy`, which for a host is the sum over its processors.
    fn energy(&self, span: Duration, busy: Nanos) -> Nanojoules;

    /// The power at rest.
    fn base(&self) -> Microwatts;

    /// The model's name and how far to trust it.
    fn label(&self) -> EnergyLabel;
}

impl PowerModel for EnergyModel {
    fn energy(&self, span: Duration, busy: Nanos) -> Nanojoules {
        self.base().over(span).saturating_add(self.dynamic(busy))
    }

    fn base(&self) -> Microwatts {
        self.idle_power()
    }

    fn label(&self) -> EnergyLabel {
        Self::label(self)
    }
}

/// A host's power by how busy it is, as shares of its thermal design power: 12 % at rest, 32 % at a tenth, 75 % at a half
/// and 102 % fully busy, straight between.
///
/// Source: B. Davy, "Building an AWS EC2 Carbon Emissions Dataset", Teads, 2021: turbostat's package and memory power on
/// servers under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdpCurve {
    design_power: Microwatts,
    cores: u32,
}

/// Thousandths of use, and thousandths of the design power there.
const CURVE: [(u64, u64); 4] = [(0, 120), (100, 320), (500, 750), (1000, 1020)];

impl TdpCurve {
    /// One machine's curve is rarely closer to another's than this.
    pub const RELATIVE_UNCERTAINTY: f64 = 0.6;

    /// The curve of a host whose processors have `design_power` together and run `cores` threads.
    #[must_use]
    pub fn new(design_power: Microwatts, cores: u32) -> Self {
        Self { design_power, cores: cores.max(1) }
    }

    /// The power at a use of that many thousandths, 1000 at most.
    #[must_use]
    pub fn power(&self, use_thousandths: u64) -> Microwatts {
        let at = use_thousandths.min(1000);
        let segment = CURVE.windows(2).find(|segment| at <= segment[1].0);
        let Some([(from, low), (to, high)]) = segment.and_then(|segment| segment.first_chunk::<2>()) else {
            return self.design_power;
        };
        // Millionths of the design power.
        let share = low * 1000 + (high - low) * 1000 * (at - from) / (to - from);
        Microwatts::saturating_from(u128::from(self.design_power.get()) * u128::from(share) / 1_000_000)
    }
}

impl PowerModel for TdpCurve {
    fn energy(&self, span: Duration, busy: Nanos) -> Nanojoules {
        let available = span.as_nanos().saturating_mul(u128::from(self.cores));
        let used = (u128::from(busy.get()) * 1000).checked_div(available).unwrap_or(0);
        self.power(u64::try_from(used).unwrap_or(u64::MAX)).over(span)
    }

    fn base(&self) -> Microwatts {
        self.power(0)
    }

    fn label(&self) -> EnergyLabel {
        EnergyLabel {
            source: format!("curve over a thermal design power of {} W (Teads)", self.design_power.watts()),
            quality: Quality::Modelled,
            scope: "processors and memory, without the rest of the host".to_owned(),
            relative_uncertainty: Self::RELATIVE_UNCERTAINTY,
        }
    }
}

/// A graphics card's power at rest and fully busy.
///
/// Source: Cloud Carbon Footprint's coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuPower {
    name: &'static str,
    idle: Microwatts,
    max: Microwatts,
}

/// What names as NVML tells them have among their words; watts at rest and fully busy.
const CARDS: [(&str, u64, u64); 4] = [("T4", 8, 71), ("A10G", 18, 153), ("V100", 35, 306), ("A100", 46, 407)];

impl GpuPower {
    /// Published figures are rarely closer than this to a single card.
    pub const RELATIVE_UNCERTAINTY: f64 = 0.5;

    /// The figures of the card that calls itself `name` (`Tesla T4`, `NVIDIA A100-SXM4-40GB`), or `None`.
    #[must_use]
    pub fn of_card(name: &str) -> Option<Self> {
        let is_in = |model: &str| name.split([' ', '-']).any(|word| word == model);
        let (name, idle, max) = CARDS.into_iter().find(|(model, ..)| is_in(model))?;
        let watts = |watts: u64| Microwatts::new(watts * 1_000_000);
        Some(Self { name, idle: watts(idle), max: watts(max) })
    }
}

impl PowerModel for GpuPower {
    fn energy(&self, span: Duration, busy: Nanos) -> Nanojoules {
        let busy = Duration::from(busy).min(span);
        self.idle.over(span).saturating_add(self.max.saturating_sub(self.idle).over(busy))
    }

    fn base(&self) -> Microwatts {
        self.idle
    }

    fn label(&self) -> EnergyLabel {
        EnergyLabel {
            source: format!(
                "power at rest and under load (Cloud Carbon Footprint, {}: {} to {} W)",
                self.name,
                self.idle.watts(),
                self.max.watts()
            ),
            quality: Quality::Modelled,
            scope: "graphics card".to_owned(),
            relative_uncertainty: Self::RELATIVE_UNCERTAINTY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::CpuDescription;

    const SECOND: Duration = Duration::from_secs(1);

    fn joules(model: &dyn PowerModel, busy_millis: u64) -> f64 {
        model.energy(SECOND, Nanos::new(busy_millis * 1_000_000)).joules()
    }

    #[test]
    fn the_curve_goes_through_the_published_points() {
        let curve = TdpCurve::new(Microwatts::new(100_000_000), 2);
        for (busy_millis, watts) in [(0, 12.0), (100, 22.0), (200, 32.0), (1000, 75.0), (1500, 88.5), (2000, 102.0)] {
            assert_eq!(joules(&curve, busy_millis), watts, "{busy_millis}");
        }
        assert_eq!(joules(&curve, 9000), 102.0, "no busier than it can be");
        assert_eq!(curve.base().watts(), 12.0);
        assert_eq!(curve.energy(Duration::ZERO, Nanos::MAX), Nanojoules::ZERO);
        assert_eq!(curve.label().relative_uncertainty, 0.6);
        assert!(TdpCurve::new(Microwatts::MAX, 0).energy(Duration::MAX, Nanos::MAX) == Nanojoules::MAX);
    }

    #[test]
    fn a_known_processor_is_modelled_by_its_coefficients() {
        let cpu = CpuDescription { vendor: "AuthenticAMD".into(), family: 23, model: 1, ..CpuDescription::default() };
        let model = EnergyModel::new(&cpu, 4, 1 << 30);
        assert_eq!(joules(&model, 0), 4.0 * 0.847);
        assert_eq!(joules(&model, 4000), 4.0 * 2.604);
        assert_eq!(PowerModel::label(&model).quality, Quality::Modelled);
    }

    #[test]
    fn cards_are_told_by_their_names() {
        let card = |name: &str| GpuPower::of_card(name).map(|card| (card.idle.watts(), card.max.watts()));
        assert_eq!(card("Tesla T4"), Some((8.0, 71.0)));
        assert_eq!(card("NVIDIA A10G"), Some((18.0, 153.0)));
        assert_eq!(card("Tesla V100-SXM2-16GB"), Some((35.0, 306.0)));
        assert_eq!(card("NVIDIA A100-SXM4-40GB"), Some((46.0, 407.0)));
        assert_eq!(card("NVIDIA H200"), None);
        assert_eq!(card("NVIDIA T400 4GB"), None);
        let t4 = GpuPower::of_card("Tesla T4").unwrap();
        assert_eq!(joules(&t4, 500), 8.0 + 31.5);
        assert_eq!(joules(&t4, 5000), 71.0);
    }
}
