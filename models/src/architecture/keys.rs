//! Hyperparameters under an architecture's prefix, checked against the bounds of a working model.

use loader::gguf::Header;

use crate::ModelError;

/// The keys `PREFIX.…` of a header.
pub(crate) struct Keys<'a> {
    header: &'a Header,
    prefix: &'static str,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(header: &'a Header, prefix: &'static str) -> Self {
        Self { header, prefix }
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// Refuses a key under the prefix that is not in `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ModelError> {
        for key in self.header.keys() {
            let Some(name) = key.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('.')) else { continue };
            if !known.contains(&name) {
                return Err(ModelError::UnsupportedKey { key: key.to_owned() });
            }
        }
        Ok(())
    }

    /// A count in 1 ..= `max`.
    pub(crate) fn count(&self, key: &str, max: u32) -> Result<usize, ModelError> {
        self.optional_count(key, max)?.ok_or_else(|| ModelError::MissingKey { key: self.full(key) })
    }

    /// A count in 1 ..= `max`, where the key is there.
    pub(crate) fn optional_count(&self, key: &str, max: u32) -> Result<Option<usize>, ModelError> {
        let key = self.full(key);
        let Some(value) = self.header.u64(&key)? else { return Ok(None) };
        if value == 0 || value > u64::from(max) {
            return Err(ModelError::ImpossibleValue { key, reason: format!("{value} is not in 1..={max}") });
        }
        Ok(Some(usize::try_from(value).expect("the bound fits every platform's usize")))
    }

    /// A finite number above zero, where the key is there.
    pub(crate) fn optional_positive(&self, key: &str) -> Result<Option<f32>, ModelError> {
        let key = self.full(key);
        let Some(value) = self.header.f32(&key)? else { return Ok(None) };
        if !value.is_finite() || value <= 0.0 {
            return Err(ModelError::ImpossibleValue { key, reason: format!("{value} is not above zero") });
        }
        Ok(Some(value))
    }

    /// Refuses a text key unless its value is `allowed` or absent.
    pub(crate) fn only_value(&self, key: &str, allowed: &str) -> Result<(), ModelError> {
        let key = self.full(key);
        match self.header.string(&key)? {
            None => Ok(()),
            Some(value) if value == allowed => Ok(()),
            Some(_) => Err(ModelError::UnsupportedKey { key }),
        }
    }

    pub(crate) fn impossible(&self, key: &str, reason: String) -> ModelError {
        ModelError::ImpossibleValue { key: self.full(key), reason }
    }
}
