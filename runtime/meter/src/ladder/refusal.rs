//! Why a sensor is not believed.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::RungReport;
use crate::sensor::SensorError;
use crate::units::Microwatts;

/// Whether a sensor is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RungState {
    /// It is what figures are from.
    InUse,
    /// A better one is in use: it is not read.
    Spare,
    /// It is watched until work shows in it.
    Watched,
    /// It was not believed, and has to show more work than a new one.
    Refused,
    /// It is not there, or cannot be used by this program.
    Missing,
}

/// Why a sensor is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It did not move while the processors worked.
    Stuck {
        /// The domain that stood still.
        domain: String,
    },
    /// It moved, by less than can be.
    TooLow {
        /// The power it told.
        power: Microwatts,
        /// The least that is believed.
        min: Microwatts,
    },
    /// It moved, by more than can be.
    TooHigh {
        /// The power it told.
        power: Microwatts,
        /// The most that is believed.
        max: Microwatts,
    },
    /// It could not be read.
    Unread {
        /// The kind of failure, [`SensorError::code`].
        code: &'static str,
        /// The failure, with what is behind it.
        sentence: String,
    },
}

impl Refusal {
    pub(super) fn unread(error: &SensorError) -> Self {
        Self::Unread { code: error.code(), sentence: sentence(error) }
    }

    /// The reason in a word, for labels.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stuck { .. } => "stuck",
            Self::TooLow { .. } => "too_low",
            Self::TooHigh { .. } => "too_high",
            Self::Unread { code, .. } => code,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck { domain } => write!(out, "{domain} stood still while the device worked"),
            Self::TooLow { power, min } => {
                write!(out, "it told {} W under work, where {} W is the least possible", power.watts(), min.watts())
            }
            Self::TooHigh { power, max } => {
                write!(out, "it told {} W, where {} W is the most possible", power.watts(), max.watts())
            }
            Self::Unread { sentence, .. } => out.write_str(sentence),
        }
    }
}

impl RungReport {
    pub(super) fn missing(name: &str, error: &SensorError) -> Self {
        Self {
            source: name.to_owned(),
            state: RungState::Missing,
            code: error.code().to_owned(),
            reason: sentence(error),
        }
    }
}

/// The error and everything behind it.
fn sentence(error: &SensorError) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        sentence = format!("{sentence}: {error}");
        source = error.source();
    }
    sentence
}
