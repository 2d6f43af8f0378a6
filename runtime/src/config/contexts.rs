//! `[contexts]`: where published contexts are kept, how much of the disk they may take, and who publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::quantity::ByteSize;
use super::scheduler::TenantTable;

/// Bytes of all contexts on the disk, unless told otherwise.
const DISK_BYTES_MAX_DEFAULT: u64 = 4 << 30;

/// `[contexts]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextsTable {
    /// Their folder.
    dir: Option<PathBuf>,
    /// Bytes of all of them.
    disk_max: Option<ByteSize>,
}

/// What an operator chose of published contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextChoices {
    /// Their folder.
    pub(crate) dir: PathBuf,
    /// Bytes of all of them; while one replaces another, as many more as the replaced one has.
    pub(crate) disk_bytes_max: u64,
    /// Who publishes; `None` is everyone, where there are no keys.
    publishers: Option<BTreeSet<String>>,
}

impl ContextChoices {
    /// Those of a server without keys.
    #[cfg(test)]
    pub(crate) fn of_everyone(dir: PathBuf, disk_bytes_max: u64) -> Self {
        Self { dir, disk_bytes_max, publishers: None }
    }

    /// Whether `tenant` may publish contexts.
    pub(crate) fn may_publish(&self, tenant: &str) -> bool {
        self.publishers.as_ref().is_none_or(|publishers| publishers.contains(tenant))
    }

    /// Whether `tenant` may replace or delete what `publisher` published: its own, and where there are no keys all.
    pub(crate) fn may_change(&self, tenant: &str, publisher: &str) -> bool {
        self.publishers.is_none() || (self.may_publish(tenant) && tenant == publisher)
    }
}

/// Whether everyone is one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tenancy {
    /// There are no keys.
    Single,
    /// Keys tell tenants apart.
    Keyed,
}

impl ContextsTable {
    /// Relative paths of a file are relative to its folder.
    pub(super) fn relative_to(&mut self, folder: &Path) {
        if let Some(dir) = &mut self.dir {
            *dir = folder.join(&dir);
        }
    }

    /// The choices; `dir` is the folder unless one is named.
    pub(super) fn choices(
        self,
        dir: PathBuf,
        tenants: &BTreeMap<String, TenantTable>,
        tenancy: Tenancy,
    ) -> ContextChoices {
        let publishers = tenants.iter().filter(|(_, table)| table.publishes_contexts()).map(|(name, _)| name.clone());
        ContextChoices {
            dir: self.dir.unwrap_or(dir),
            disk_bytes_max: self.disk_max.map_or(DISK_BYTES_MAX_DEFAULT, |ByteSize(bytes)| bytes),
            publishers: match tenancy {
                Tenancy::Single => None,
                Tenancy::Keyed => Some(publishers.collect()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(table: &str, tenancy: Tenancy) -> ContextChoices {
        let tenants = toml::from_str("[a]\npublishes_contexts = true\n[b]\npublishes_contexts = false\n[c]").unwrap();
        let mut table: ContextsTable = toml::from_str(table).unwrap();
        table.relative_to(Path::new("/etc"));
        table.choices("/state".into(), &tenants, tenancy)
    }

    #[test]
    fn with_keys_those_publish_who_are_named() {
        let chosen = choices("", Tenancy::Keyed);
        assert_eq!((chosen.dir.as_path(), chosen.disk_bytes_max), (Path::new("/state"), 4 << 30));
        assert_eq!(["a", "b", "c", "d"].map(|tenant| chosen.may_publish(tenant)), [true, false, false, false]);
        assert!(chosen.may_change("a", "a") && !chosen.may_change("a", "z") && !chosen.may_change("b", "b"));
        let chosen = choices("dir = 'x'\ndisk_max = '1MiB'", Tenancy::Single);
        assert_eq!((chosen.dir.as_path(), chosen.disk_bytes_max), (Path::new("/etc/x"), 1 << 20));
        assert!(chosen.may_publish("anonymous") && chosen.may_change("anonymous", "a"));
        assert!(toml::from_str::<ContextsTable>("folder = 'x'").is_err());
    }
}
