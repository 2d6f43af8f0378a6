//! Carbon of an amount of energy: kWh × PUE × the grid's intensity, location-based.
//!
//! Deliberately absent: embodied carbon, which no way of serving saves.

use crate::energy::Quality;
use crate::units::{Micrograms, Nanojoules};

/// Grams of CO₂ equivalent per kWh by place. Source: CodeCarbon's data for 2023.
const INTENSITIES: [(&str, u32); 9] = [
    ("World", 475),
    ("US", 369),
    ("DE", 381),
    ("FR", 56),
    ("SE", 41),
    ("GB", 238),
    ("PL", 662),
    ("IN", 713),
    ("CN", 582),
];

/// What a kWh emits where the machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarbonFactors {
    /// Grams of CO₂ equivalent per kWh.
    pub grams_per_kwh: u32,
    /// Power usage effectiveness in thousandths: 1000 adds nothing for the building.
    pub pue_thousandths: u32,
    /// Where the intensity is from.
    pub source: String,
    /// Whether the intensity was chosen for this machine or taken for granted.
    pub quality: Quality,
}

impl Default for CarbonFactors {
    /// The world's mean intensity and a PUE of 1: a machine that is not in a data centre has no more, and a
    /// saving computed from it is not flattered.
    fn default() -> Self {
        let (place, grams_per_kwh) = INTENSITIES[0];
        Self { grams_per_kwh, pue_thousandths: 1000, source: source_of(place), quality: Quality::Assumed }
    }
}

impl CarbonFactors {
    /// The factors of a place of the built-in table (`World`, `US`, `DE`, `FR`, `SE`, `GB`, `PL`, `IN`, `CN`, in any
    /// case) with a PUE of 1, or `None`.
    #[must_use]
    pub fn of_place(place: &str) -> Option<Self> {
        let (place, grams_per_kwh) = *INTENSITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(place))?;
        Some(Self { grams_per_kwh, pue_thousandths: 1000, source: source_of(place), quality: Quality::Modelled })
    }

    /// What `energy` emits.
    #[must_use]
    pub fn emissions(&self, energy: Nanojoules) -> Micrograms {
        let per_kwh = u128::from(self.grams_per_kwh) * u128::from(self.pue_thousandths);
        // nJ ÷ 3.6·10¹⁵ = kWh; × g × 10⁶ = µg; ÷ 1000 for the thousandths.
        Micrograms::saturating_from(
            u128::from(energy.get()).saturating_mul(per_kwh).saturating_mul(1000) / 3_600_000_000_000_000,
        )
    }
}

fn source_of(place: &str) -> String {
    format!("{place}, mean of 2023 (CodeCarbon), location-based")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilowatt_hour_emits_the_intensity() {
        let kwh = Nanojoules::new(3_600_000_000_000_000);
        assert_eq!(CarbonFactors::default().emissions(kwh), Micrograms::new(475_000_000));
        let french = CarbonFactors::of_place("fr").unwrap();
        assert_eq!(french.emissions(kwh).grams(), 56.0);
        let in_a_hall = CarbonFactors { pue_thousandths: 1500, ..french };
        assert_eq!(in_a_hall.emissions(kwh).grams(), 84.0);
    }

    #[test]
    fn unknown_places_have_no_factor() {
        assert_eq!(CarbonFactors::of_place("Atlantis"), None);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let dirtiest = CarbonFactors {
            grams_per_kwh: u32::MAX,
            pue_thousandths: u32::MAX,
            source: String::new(),
            quality: Quality::Assumed,
        };
        assert_eq!(dirtiest.emissions(Nanojoules::MAX), Micrograms::MAX);
    }
}
