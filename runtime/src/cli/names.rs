//! Names of models, and what becomes of one that is none.

use loader::catalog::{Catalog, CatalogError};
use loader::pull::{KNOWN, Known};

use super::failure::Failure;
pub(super) use crate::nearest::hint;

/// Every name that a model can be asked for by: stems, aliases, and what can be pulled.
pub(super) fn of_catalog(catalog: &Catalog) -> Vec<String> {
    let entries: Vec<String> = catalog.list().into_iter().map(|entry| entry.name).collect();
    let aliases = catalog.aliases().iter().filter(|(_, stem)| entries.contains(stem)).map(|(alias, _)| alias.clone());
    let known = KNOWN.iter().map(|known| known.alias.to_owned());
    let mut names: Vec<String> = aliases.chain(known).collect();
    names.extend(entries);
    names.sort();
    names.dedup();
    names
}

/// Why `name` led to nothing, and what might.
pub(super) fn not_resolved(error: CatalogError, name: &str, catalog: &Catalog) -> Failure {
    match error {
        CatalogError::NotFound { .. } if Known::find(name).is_some() => {
            Failure::NotFound(anyhow::anyhow!("{error}; `dayfly pull {name}` fetches it"))
        }
        CatalogError::NotFound { .. } => {
            Failure::NotFound(anyhow::anyhow!("{error}{}", hint(name, &of_catalog(catalog))))
        }
        CatalogError::Unreadable { .. } | CatalogError::NotOurs { .. } | CatalogError::NotRemoved { .. } => {
            Failure::Failed(error.into())
        }
    }
}
