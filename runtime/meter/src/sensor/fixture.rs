//! A machine's files, made for tests.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// A folder that stands for `/`.
pub(crate) struct Machine(TempDir);

impl Machine {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Writes each of `files`: a name below `folder` and what it holds, as the kernel does with a line's end.
    pub(crate) fn put(&self, folder: &str, files: &[(&str, &str)]) -> &Self {
        for (name, text) in files {
            let path = self.root().join(folder).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        self
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).unwrap();
    }

    /// A power zone that stands at that many microjoules of a range of 262,143,328,850.
    pub(crate) fn zone(&self, folder: &str, name: &str, energy_uj: u64) -> &Self {
        let energy = energy_uj.to_string();
        let files = [("name", name), ("energy_uj", &energy), ("max_energy_range_uj", "262143328850")];
        self.put(&format!("sys/class/powercap/{folder}"), &files)
    }
}
