//! `[energy]`: what the operator knows of the machine that no file of the system tells.

use meter::Microwatts;
use serde::Deserialize;

use super::ConfigError;

/// More than any machine's processors are made for.
const DESIGN_WATTS_MAX: f64 = 100_000.0;

/// `[energy]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnergyTable {
    /// The thermal design power of all processors together, in W: what a sensor's figures are held against, and the model
    /// of a processor that is not known.
    design_watts: Option<f64>,
}

impl EnergyTable {
    /// The design power, if it is told.
    pub(super) fn design_power(self) -> Result<Option<Microwatts>, ConfigError> {
        let Some(watts) = self.design_watts else { return Ok(None) };
        if !(1.0..=DESIGN_WATTS_MAX).contains(&watts) {
            return Err(ConfigError::Energy { watts, max: DESIGN_WATTS_MAX });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 10⁶ and 10¹¹")]
        let microwatts = (watts * 1e6).round() as u64;
        Ok(Some(Microwatts::new(microwatts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<Microwatts>, ConfigError> {
        toml::from_str::<EnergyTable>(text).unwrap().design_power()
    }

    #[test]
    fn a_design_power_is_a_power() {
        assert_eq!(of("").unwrap(), None);
        assert_eq!(of("design_watts = 65").unwrap(), Some(Microwatts::new(65_000_000)));
        for text in ["design_watts = 0.0", "design_watts = -5", "design_watts = nan", "design_watts = 1e6"] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains("design_watts"), "{text}: {error}");
        }
        assert!(toml::from_str::<EnergyTable>("tdp = 65").is_err());
    }
}
