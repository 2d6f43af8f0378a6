//! `[response_cache]`, and `response_cache` of `[tenants.NAME]`: answers that are given again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::quantity::ByteSize;
use super::tenants::TenantTable;

/// Memory of answers that are kept, unless told otherwise.
const BYTES_MAX_DEFAULT: u64 = 64 << 20;

/// `[response_cache]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseCacheTable {
    /// Memory of answers that are kept; 0 keeps none.
    memory: Option<ByteSize>,
}

/// What an operator chose of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseCacheChoices {
    /// Memory of answers that are kept, beside the memory budget; 0 keeps none.
    pub(crate) bytes_max: u64,
    /// Who uses it without asking.
    pub(crate) tenants: BTreeSet<String>,
}

impl ResponseCacheChoices {
    /// Whether requests of `tenant` that say nothing use it.
    pub(crate) fn is_default_for(&self, tenant: &str) -> bool {
        self.tenants.contains(tenant)
    }
}

impl ResponseCacheTable {
    /// The choices of the tables.
    pub(super) fn choices(self, tenants: &BTreeMap<String, TenantTable>) -> ResponseCacheChoices {
        let uses = |(name, table): (&String, &TenantTable)| (table.response_cache == Some(true)).then(|| name.clone());
        ResponseCacheChoices {
            bytes_max: self.memory.map_or(BYTES_MAX_DEFAULT, |ByteSize(bytes)| bytes),
            tenants: tenants.iter().filter_map(uses).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_it_unasked_unless_told() {
        let tenants = toml::from_str("[a]\nresponse_cache = true\n[b]\nresponse_cache = false\n[c]").unwrap();
        let chosen = ResponseCacheTable::default().choices(&tenants);
        assert_eq!(chosen.bytes_max, 64 << 20);
        assert_eq!(["a", "b", "c", "d"].map(|name| chosen.is_default_for(name)), [true, false, false, false]);
        let table: ResponseCacheTable = toml::from_str("memory = '1MiB'").unwrap();
        assert_eq!(table.choices(&BTreeMap::new()), ResponseCacheChoices { bytes_max: 1 << 20, tenants: [].into() });
        assert!(toml::from_str::<ResponseCacheTable>("size = '1MiB'").is_err());
    }
}
