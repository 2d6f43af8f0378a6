//! Deleting a model's files, because somebody asks for it.
//!
//! Only what a models directory itself holds: of a link neither it nor what it leads to is deleted, since that is the
//! cache of another program, or no model's file at all. Of a folder the files go that make the model; what else lies there
//! stays, and the folder goes if nothing does. Whoever has the files mapped keeps what is mapped.

use std::fs;
use std::path::PathBuf;

use super::{Catalog, CatalogError, EntryKind};

impl Catalog {
    /// Deletes the files that `name` (a stem or an alias) means now.
    ///
    /// # Errors
    /// As [`Catalog::resolve`]; [`CatalogError::NotOurs`] when any of the files is a link or no file, and then none is
    /// deleted; [`CatalogError::NotRemoved`].
    pub fn remove(&self, name: &str) -> Result<(), CatalogError> {
        let entry = self.resolve(name)?;
        let scan = self.current(std::time::Instant::now());
        let Some(found) = scan.found.get(&entry.name) else {
            return Err(CatalogError::NotFound { name: entry.name });
        };
        let mut files = found.files.clone();
        files.keep_texts(|path| path.symlink_metadata().is_ok());
        let paths: Vec<PathBuf> = files.paths().map(PathBuf::from).collect();
        // Directories are true paths: a link anywhere on the way shows.
        let foreign = |path: &&PathBuf| {
            !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
                || !fs::canonicalize(path).is_ok_and(|true_path| true_path == **path)
        };
        if let Some(path) = paths.iter().filter(|path| path.symlink_metadata().is_ok()).find(foreign) {
            return Err(CatalogError::NotOurs { path: path.clone() });
        }
        if !matches!(entry.kind, EntryKind::File | EntryKind::Missing) {
            return Err(CatalogError::NotOurs { path: entry.path });
        }
        for path in paths {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(CatalogError::NotRemoved { path, source }),
            }
        }
        if files.is_folder() {
            // Fails when something else lies in it, which is then somebody's.
            let _ = fs::remove_dir(&files.path);
        }
        Ok(())
    }
}
