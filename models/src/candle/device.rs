//! The devices that candle computes on, as far as this build has them.

use std::fmt;

/// Where candle computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU: the one of this number.
    Cuda(usize),
    /// An Apple GPU: the one of this number.
    Metal(usize),
}

/// Why candle cannot compute.
#[derive(Debug, thiserror::Error)]
pub enum CandleError {
    /// This build has no such devices.
    #[error("this build has no {device} devices: build it with `--features {feature}`")]
    NotBuilt {
        /// What was asked for.
        device: &'static str,
        /// What brings it.
        feature: &'static str,
    },
    /// There is no such device, or its driver does not work.
    #[error("{device} cannot be used")]
    Unavailable {
        /// What was asked for.
        device: DeviceKind,
        /// What candle says.
        source: Box<candle_core::Error>,
    },
    /// Its threads cannot be started.
    #[error("no threads for candle")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// The weights could not be copied to it.
    #[error("the weights cannot be copied to the device")]
    Upload(#[source] Box<candle_core::Error>),
    /// A step failed: its memory is used up, or the device is gone.
    #[error("the device failed in a step")]
    Step(#[source] Box<candle_core::Error>),
}

/// A device that can be used; clones are the same.
#[derive(Clone)]
pub struct Device {
    kind: DeviceKind,
    pub(super) candle: candle_core::Device,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// [`CandleError::NotBuilt`] without the feature that it needs, [`CandleError::Unavailable`] where there is none.
    pub fn open(kind: DeviceKind) -> Result<Self, CandleError> {
        let opened = match kind {
            DeviceKind::Cpu => Ok(candle_core::Device::Cpu),
            DeviceKind::Cuda(_) if cfg!(not(feature = "cuda")) => {
                return Err(CandleError::NotBuilt { device: "CUDA", feature: "cuda" });
            }
            DeviceKind::Metal(_) if cfg!(not(feature = "metal")) => {
                return Err(CandleError::NotBuilt { device: "Metal", feature: "metal" });
            }
            DeviceKind::Cuda(number) => candle_core::Device::new_cuda(number),
            DeviceKind::Metal(number) => candle_core::Device::new_metal(number),
        };
        let candle = opened.map_err(|source| CandleError::Unavailable { device: kind, source: Box::new(source) })?;
        Ok(Self { kind, candle })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&self.kind).finish()
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("the processor"),
            Self::Cuda(number) => write!(f, "CUDA device {number}"),
            Self::Metal(number) => write!(f, "Metal device {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_built_is_refused_by_the_name_of_its_feature() {
        Device::open(DeviceKind::Cpu).unwrap();
        #[cfg(not(feature = "cuda"))]
        assert!(Device::open(DeviceKind::Cuda(0)).unwrap_err().to_string().contains("--features cuda"));
        #[cfg(not(feature = "metal"))]
        assert!(Device::open(DeviceKind::Metal(0)).unwrap_err().to_string().contains("--features metal"));
    }
}
