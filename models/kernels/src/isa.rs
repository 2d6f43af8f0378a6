//! Which instruction set computes: found once at start, or forced by name.

use std::fmt;

/// A family of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust: the oracle of the others, and what runs where they cannot.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C together.
    Avx2,
    /// AVX2's with AVX-VNNI, for products with several columns.
    AvxVnni,
    /// AVX2's with AVX-512 F, BW, VL and VNNI together, for products and attention.
    Avx512,
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
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::AvxVnni, Self::Avx512];

    /// The fastest one that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        Self::ALL.into_iter().rfind(|isa| isa.is_available()).expect("the portable one is always available")
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
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
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
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Self::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::AvxVnni | Self::Avx512 => false,
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
            Self::Unknown(name) => {
                let known = Isa::ALL.map(Isa::name).join(", ");
                write!(f, "no instruction set is called {name:?}; known are {known}")
            }
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
        for known in Isa::ALL {
            match Isa::from_name(known.name()) {
                Ok(isa) => assert!(isa == known && isa.is_available()),
                Err(error) => assert_eq!(error, IsaError::Unavailable(known)),
            }
        }
    }

    #[test]
    fn what_is_detected_is_available() {
        assert!(Isa::detect().is_available());
    }
}
