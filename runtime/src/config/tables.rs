//! The tables of the configuration file: keys, carbon, rates.

use loader::pull::Digest;
use meter::carbon::CarbonFactors;
use meter::energy::Quality;
use meter::rate::RateCard;
use meter::units::PicoUnits;
use serde::Deserialize;

use super::{ConfigError, StaticKey};

/// Characters of a tenant's name.
const TENANT_CHARS_MAX: usize = 128;

/// `[[keys]]`: `tenant`, and `sha256` of the key in hexadecimal digits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyTable {
    pub(super) tenant: String,
    pub(super) sha256: String,
}

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

/// The keys of all tenants. A tenant may have several keys; a key is of one tenant.
pub(super) fn keys(tables: Vec<KeyTable>) -> Result<Vec<StaticKey>, ConfigError> {
    let mut keys: Vec<StaticKey> = Vec::with_capacity(tables.len());
    for KeyTable { tenant, sha256 } in tables {
        let refuse = |reason| Err(ConfigError::Key { tenant: tenant.chars().take(TENANT_CHARS_MAX).collect(), reason });
        if tenant.trim().is_empty() || tenant.chars().any(char::is_control) {
            return refuse("a tenant's name is plain text");
        }
        if tenant.chars().count() > TENANT_CHARS_MAX {
            return refuse("the tenant's name is too long");
        }
        let Some(sha256) = hash(&sha256) else {
            return refuse("sha256 must be the key's hash: 64 hexadecimal digits");
        };
        if keys.iter().any(|key| key.sha256 == sha256) {
            return refuse("the same key is there twice");
        }
        keys.push(StaticKey { tenant, sha256 });
    }
    Ok(keys)
}

fn hash(text: &str) -> Option<[u8; 32]> {
    // `Digest` says which texts are one; its bytes are its own.
    text.parse::<Digest>().ok()?;
    let digit = |index: usize| text.as_bytes().get(index).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(digit(2 * index)? << 4 | digit(2 * index + 1)?).ok()?;
    }
    Some(bytes)
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
