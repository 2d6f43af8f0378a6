//! The tables of the configuration file that are about figures: carbon, rates.

use meter::carbon::CarbonFactors;
use meter::energy::Quality;
use meter::rate::RateCard;
use meter::units::PicoUnits;
use serde::Deserialize;

use super::ConfigError;

/// `[carbon]`: `place`, or `grams_per_kwh` with its `source`; and `pue`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CarbonTable {
    place: Option<String>,
    grams_per_kwh: Option<u32>,
    source: Option<String>,
    pue: Option<f64>,
}

/// `[rates]`: prices in units of `currency`. A price that is not there is not known, rather than 0.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateTable {
    name: Option<String>,
    currency: Option<String>,
    cpu_hour: Option<f64>,
    memory_gb_hour: Option<f64>,
    kilowatt_hour: Option<f64>,
    prompt_token: Option<f64>,
    cached_token: Option<f64>,
    completion_token: Option<f64>,
}

impl CarbonTable {
    /// The factors that the table chooses.
    pub(super) fn factors(self) -> Result<CarbonFactors, ConfigError> {
        let bad = |reason: String| ConfigError::Carbon { reason };
        let chosen = match (self.place, self.grams_per_kwh) {
            (Some(_), Some(_)) => return Err(bad("say either place or grams_per_kwh".into())),
            (Some(_), None) if self.source.is_some() => return Err(bad("a place has its own source".into())),
            (Some(place), None) => CarbonFactors::of_place(&place)
                .ok_or_else(|| bad(format!("the place {place:?} is not known; say grams_per_kwh and source")))?,
            (None, Some(grams_per_kwh)) => CarbonFactors {
                grams_per_kwh,
                source: self.source.unwrap_or_else(|| "configuration".into()),
                quality: Quality::Modelled,
                ..CarbonFactors::default()
            },
            (None, None) if self.source.is_some() => return Err(bad("a source needs its grams_per_kwh".into())),
            (None, None) => CarbonFactors::default(),
        };
        let Some(pue) = self.pue else { return Ok(chosen) };
        if !(1.0..=10.0).contains(&pue) {
            return Err(bad(format!("pue = {pue} is not between 1 and 10")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1000 and 10000")]
        let pue_thousandths = (pue * 1000.0).round() as u32;
        Ok(CarbonFactors { pue_thousandths, ..chosen })
    }
}

impl RateTable {
    /// The card that the table describes.
    pub(super) fn card(self) -> Result<RateCard, ConfigError> {
        let price = |name: &'static str, value: Option<f64>| match value {
            None => Ok(None),
            Some(value) => PicoUnits::from_units(value).map(Some).ok_or(ConfigError::Price { name, value }),
        };
        Ok(RateCard {
            name: self.name.unwrap_or_else(|| "configuration".into()),
            currency: self.currency.unwrap_or_else(|| "USD".into()),
            cpu_hour: price("cpu_hour", self.cpu_hour)?,
            device_hour: None,
            memory_gb_hour: price("memory_gb_hour", self.memory_gb_hour)?,
            kilowatt_hour: price("kilowatt_hour", self.kilowatt_hour)?,
            prompt_token: price("prompt_token", self.prompt_token)?,
            cached_token: price("cached_token", self.cached_token)?,
            completion_token: price("completion_token", self.completion_token)?,
        })
    }
}
