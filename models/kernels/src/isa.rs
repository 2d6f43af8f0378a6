//! Which instruction set computes: found once at start, or forced by name.

use std::fmt;

/// A family of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust: the oracle of the others, and what runs where they cannot.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C together.
    Avx2,
}

/// Why an instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No kernels have this name; choose one of [`Isa::ALL`].
    Unknown(String),
    /// The processor lacks what the named kernels need; choose another.
    Unavailable(Isa),
}

impl Isa {
    /// Every instruction set that this crate knows, slowest first.
    pub const ALL: [Self; 2] = [Self::Scalar, Self::Avx2];

    /// The fastest one that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        if Self::Avx2.is_available() { Self::Avx2 } else { Self::Scalar }
    }

    /// The one called `name`.
    ///
    /// # Errors
    /// [`IsaError::Unknown`] when there is none, [`IsaError::Unavailable`] when this processor cannot run it.
    pub fn from_name(name: &str) -> Result<Self, IsaError> {
        let isa =
            Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| IsaError::Unknown(name.to_owned()))?;
        if isa.is_available() { Ok(isa) } else { Err(IsaError::Unavailable(isa)) }
    }

    /// Its name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
        }
    }

    /// Whether this processor has all that it needs.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "no instruction set is called {name:?}; known are scalar and avx2"),
            Self::Unavailable(isa) => write!(f, "this processor lacks what {isa} needs"),
        }
    }
}

impl std::error::Error for IsaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_sets() {
        assert_eq!(Isa::from_name("scalar"), Ok(Isa::Scalar));
        assert_eq!(Isa::from_name("avx1024"), Err(IsaError::Unknown("avx1024".to_owned())));
        match Isa::from_name("avx2") {
            Ok(isa) => assert!(isa == Isa::Avx2 && isa.is_available()),
            Err(error) => assert_eq!(error, IsaError::Unavailable(Isa::Avx2)),
        }
    }

    #[test]
    fn what_is_detected_is_available() {
        assert!(Isa::detect().is_available());
    }
}
