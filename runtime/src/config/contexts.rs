//! `[contexts]`: where published contexts are kept, how much of the disk they may take, and who publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::quantity::ByteSize;
use super::tenants::TenantTable;

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
    /// Who publishes, beside those who administer.
    publishers: BTreeSet<String>,
}

impl ContextChoices {
    /// Those of a server where nobody is named.
    #[cfg(test)]
    pub(crate) fn in_folder(dir: PathBuf, disk_bytes_max: u64) -> Self {
        Self { dir, disk_bytes_max, publishers: BTreeSet::new() }
    }

    /// Whether `tenant` may publish contexts, and replace or delete its own.
    pub(crate) fn may_publish(&self, tenant: &str) -> bool {
        self.publishers.contains(tenant)
    }
}

impl ContextsTable {
    /// Relative paths of a file are relative to its folder.
    pub(super) fn relative_to(&mut self, folder: &Path) {
        if let Some(dir) = &mut self.dir {
            *dir = folder.join(&dir);
        }
    }

    /// The choices; `dir` is the folder unless one is named.
    pub(super) fn choices(self, dir: PathBuf, tenants: &BTreeMap<String, TenantTable>) -> ContextChoices {
        let publishers = tenants.iter().filter(|(_, table)| table.publishes_contexts()).map(|(name, _)| name.clone());
        ContextChoices {
            dir: self.dir.unwrap_or(dir),
            disk_bytes_max: self.disk_max.map_or(DISK_BYTES_MAX_DEFAULT, |ByteSize(bytes)| bytes),
            publishers: publishers.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(table: &str) -> ContextChoices {
        let tenants = toml::from_str("[a]\npublishes_contexts = true\n[b]\npublishes_contexts = false\n[c]").unwrap();
        let mut table: ContextsTable = toml::from_str(table).unwrap();
        table.relative_to(Path::new("/etc"));
        table.choices("/state".into(), &tenants)
    }

    #[test]
    fn those_publish_who_are_named() {
        let chosen = choices("");
        assert_eq!((chosen.dir.as_path(), chosen.disk_bytes_max), (Path::new("/state"), 4 << 30));
        assert_eq!(["a", "b", "c", "d"].map(|tenant| chosen.may_publish(tenant)), [true, false, false, false]);
        let chosen = choices("dir = 'x'\ndisk_max = '1MiB'");
        assert_eq!((chosen.dir.as_path(), chosen.disk_bytes_max), (Path::new("/etc/x"), 1 << 20));
        assert!(toml::from_str::<ContextsTable>("folder = 'x'").is_err());
    }
}
