//! SHA-256 digests of files.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::source::SourceError;

/// A SHA-256 digest; written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From its 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(super) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// From hexadecimal digits that are part of the program.
    pub(super) const fn constant(text: &str) -> Self {
        const fn nibble(digit: u8) -> u8 {
            match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => panic!("not a hexadecimal digit"),
            }
        }
        let text = text.as_bytes();
        assert!(text.len() == 64);
        let mut bytes = [0; 32];
        let mut index = 0;
        while index < 32 {
            bytes[index] = nibble(text[2 * index]) << 4 | nibble(text[2 * index + 1]);
            index += 1;
        }
        Self(bytes)
    }
}

impl FromStr for Digest {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or(SourceError::BadDigest)?;
        Ok(Self(std::array::from_fn(|index| digits[2 * index] << 4 | digits[2 * index + 1])))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
