//! Why a sensor tells nothing.

use std::io;

/// Why a sensor tells nothing. None of it fails a request: the next rung of the ladder is used, and the reason is shown.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The machine has no such sensor. Nothing to do.
    #[error("{place} is not there")]
    Absent {
        /// What was looked for.
        place: String,
    },
    /// The sensor is there and this process may not read it. Do what `remedy` says, or live with a model.
    #[error("{place} is there and may not be read: {remedy}")]
    Denied {
        /// What was read.
        place: String,
        /// Who may.
        remedy: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The device behind the sensor is gone.
    #[error("{place} went away")]
    Vanished {
        /// What was read.
        place: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Reading failed otherwise.
    #[error("{place} cannot be read")]
    Unreadable {
        /// What was read.
        place: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The sensor told something that cannot be.
    #[error("{place} holds {text:?} and not {expected}")]
    Malformed {
        /// What was read.
        place: String,
        /// What it holds, cut.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// The battery is not what the machine runs on.
    #[error("{place} is not being drained: {status}")]
    NotDischarging {
        /// Which one.
        place: String,
        /// What it does instead.
        status: String,
    },
    /// There are several whole-machine meters: their sum may count the same energy twice.
    #[error("there are {count} wall meters, and nothing tells whether one includes the other")]
    Ambiguous {
        /// How many.
        count: usize,
    },
    /// The sensor is there and this program was built without what reads it.
    #[error("{place} is there, but this program was built without the feature `{feature}`")]
    NotBuilt {
        /// What is there.
        place: String,
        /// The feature of the build.
        feature: &'static str,
    },
    /// NVIDIA's library answered with an error.
    #[cfg(feature = "nvml")]
    #[error("{place} cannot be asked")]
    Nvml {
        /// What was asked.
        place: String,
        /// What the library said.
        #[source]
        source: nvml_wrapper::error::NvmlError,
    },
}

impl SensorError {
    /// The kind of failure, for labels.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "absent",
            Self::Denied { .. } => "denied",
            Self::Vanished { .. } => "vanished",
            Self::Unreadable { .. } => "unreadable",
            Self::Malformed { .. } => "malformed",
            Self::NotDischarging { .. } => "not_discharging",
            Self::Ambiguous { .. } => "ambiguous",
            Self::NotBuilt { .. } => "not_built",
            #[cfg(feature = "nvml")]
            Self::Nvml { .. } => "nvml",
        }
    }
}
