//! Hyperparameters under an architecture's prefix, checked against the bounds of a working model.

use loader::gguf::{Header, ValueType};

use crate::ModelError;

/// The value that a key has where it changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Neutral {
    Zero,
    True,
    False,
    Number(f32),
}

/// The keys `PREFIX.…` of a header.
pub(super) struct Keys<'a> {
    header: &'a Header,
    prefix: &'static str,
}

impl<'a> Keys<'a> {
    pub(super) fn new(header: &'a Header, prefix: &'static str) -> Self {
        Self { header, prefix }
    }

    pub(super) fn header(&self) -> &'a Header {
        self.header
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// Refuses a key under the prefix that is in none of the lists.
    pub(super) fn only(&self, known: &[&[&str]]) -> Result<(), ModelError> {
        for key in self.header.keys() {
            let Some(name) = key.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('.')) else { continue };
            if !known.iter().any(|known| known.contains(&name)) {
                return Err(ModelError::UnsupportedKey { key: key.to_owned() });
            }
        }
        Ok(())
    }

    /// A count in 1 ..= `max`.
    pub(super) fn count(&self, key: &str, max: u32) -> Result<usize, ModelError> {
        self.optional_count(key, max)?.ok_or_else(|| self.missing(key))
    }

    /// A count in 1 ..= `max`, where the key is there.
    pub(super) fn optional_count(&self, key: &str, max: u32) -> Result<Option<usize>, ModelError> {
        match self.optional_size(key, max)? {
            Some(0) => Err(self.impossible(key, format!("0 is not in 1..={max}"))),
            value => Ok(value),
        }
    }

    /// A number in 0 ..= `max`, where the key is there.
    pub(super) fn optional_size(&self, key: &str, max: u32) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.header.u64(&self.full(key))? else { return Ok(None) };
        if value > u64::from(max) {
            return Err(self.impossible(key, format!("{value} is not in 0..={max}")));
        }
        Ok(Some(usize::try_from(value).expect("the bound fits every platform's usize")))
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, key: &str) -> Result<f32, ModelError> {
        self.optional_positive(key)?.ok_or_else(|| self.missing(key))
    }

    /// A finite number above zero, where the key is there.
    pub(super) fn optional_positive(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.header.f32(&self.full(key))? {
            Some(value) if !value.is_finite() || value <= 0.0 => {
                Err(self.impossible(key, format!("{value} is not above zero")))
            }
            value => Ok(value),
        }
    }

    /// A text, where the key is there.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        Ok(self.header.string(&self.full(key))?)
    }

    /// Bools, where the key is there and an array.
    pub(super) fn optional_bools(&self, key: &str) -> Result<Option<Vec<bool>>, ModelError> {
        let key = self.full(key);
        match self.header.value_type(&key) {
            Some(ValueType::Array(_)) => Ok(self.header.bools(&key)?),
            _ => Ok(None),
        }
    }

    /// Refuses a key whose value is not the one that changes nothing.
    pub(super) fn only_neutral(&self, (key, neutral): &(&str, Neutral)) -> Result<(), ModelError> {
        let name = self.full(key);
        let changes = match *neutral {
            Neutral::Zero => self.header.u64(&name)?.is_some_and(|value| value != 0),
            Neutral::True => self.header.bool(&name)? == Some(false),
            Neutral::False => self.header.bool(&name)? == Some(true),
            #[expect(clippy::float_cmp, reason = "a constant of the format, stored as it is")]
            Neutral::Number(neutral) => self.header.f32(&name)?.is_some_and(|value| value != neutral),
        };
        if changes { Err(self.unsupported(key)) } else { Ok(()) }
    }

    pub(super) fn missing(&self, key: &str) -> ModelError {
        ModelError::MissingKey { key: self.full(key) }
    }

    pub(super) fn unsupported(&self, key: &str) -> ModelError {
        ModelError::UnsupportedKey { key: self.full(key) }
    }

    pub(super) fn impossible(&self, key: &str, reason: String) -> ModelError {
        ModelError::ImpossibleValue { key: self.full(key), reason }
    }
}
