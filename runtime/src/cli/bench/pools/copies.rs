//! Copies of models' files, so that nobody else maps what is measured.
//!
//! Pages of a mapped file are shared by all who map it, and a proportional set size divides them: a copy that is to be
//! one process' own must be another file. It is written byte by byte, since a link or a clone by the file system could
//! share. Deliberately absent: removal. The caller's temporary folder goes with what is in it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use loader::catalog::Entry;

use crate::cli::failure::Failure;
use crate::config::bytes_text;

/// Bytes that are copied at a time: in between, the user may have had enough.
const CHUNK_BYTES: usize = 8 << 20;
/// What must be left on the disk besides.
const LEFT_BYTES: u64 = 256 << 20;

/// A model to copy.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Source {
    /// What it is called, as are its copies.
    pub(in crate::cli) name: String,
    /// Bytes of its weights.
    pub(in crate::cli) size_bytes: u64,
    /// Paths within a models directory, and where they are copied from.
    files: Vec<(PathBuf, PathBuf)>,
}

impl Source {
    /// What the catalog knows of it.
    ///
    /// # Errors
    /// When its files are not there.
    pub(in crate::cli) fn of(entry: &Entry) -> Result<Self, Failure> {
        let files = entry.placed_files().map_err(|error| Failure::Failed(error.into()))?;
        let files = files.into_iter().map(|(place, path)| (place, path.to_owned())).collect();
        Ok(Self { name: entry.name.clone(), size_bytes: entry.size_bytes, files })
    }

    /// The same under another name. None of a model in several files, whose name is not its file's alone.
    pub(in crate::cli) fn renamed(&self, name: &str) -> Option<Self> {
        let [(place, from)] = &self.files[..] else { return None };
        let extension = place.extension()?.to_str()?;
        let files = vec![(PathBuf::from(format!("{name}.{extension}")), from.clone())];
        Some(Self { name: name.to_owned(), size_bytes: self.size_bytes, files })
    }

    /// Copies its files into a models directory.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub(in crate::cli) async fn copy_into(&self, models_dir: &Path) -> Result<(), Failure> {
        for (place, from) in &self.files {
            let to = models_dir.join(place);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            }
            copy(from, &to).await.with_context(|| format!("{} cannot be copied", from.display()))?;
        }
        Ok(())
    }
}

async fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = tokio::task::block_in_place(|| {
            let read = from.read(&mut chunk)?;
            to.write_all(&chunk[..read]).map(|()| read)
        })?;
        if read == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    // So that nothing is written back while something is measured.
    tokio::task::block_in_place(|| to.sync_all())
}

/// Checks that there is room for `bytes` of copies in `folder`.
///
/// # Errors
/// When there is not.
pub(in crate::cli) fn check_room(folder: &Path, bytes: u64) -> Result<(), Failure> {
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("{} cannot be looked at", folder.display()))?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free_bytes < bytes.saturating_add(LEFT_BYTES) {
        let (free, needed) = (bytes_text(free_bytes), bytes_text(bytes));
        return Err(Failure::Usage(anyhow::anyhow!(
            "copies of the models take {needed}, and {} has {free} free; choose another by --work-dir, or fewer tenants",
            folder.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_is_another_file_with_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("a.gguf");
        let bytes: Vec<u8> = (0..CHUNK_BYTES + 13).map(|index| u8::try_from(index % 251).unwrap()).collect();
        fs::write(&from, &bytes).unwrap();
        let files = vec![("sub/b.gguf".into(), from.clone())];
        let source = Source { name: "b".into(), size_bytes: 0, files };
        let models_dir = folder.path().join("models");
        source.copy_into(&models_dir).await.unwrap();
        let to = models_dir.join("sub/b.gguf");
        assert_eq!(fs::read(&to).unwrap(), bytes);
        let (one, other) = (fs::metadata(&from).unwrap(), fs::metadata(&to).unwrap());
        assert_ne!(one.ino(), other.ino());
        assert!(source.copy_into(&models_dir).await.is_err(), "nothing is overwritten");
    }

    #[test]
    fn there_must_be_room() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_room(folder.path(), 0).is_ok());
        let error = check_room(folder.path(), u64::MAX).unwrap_err();
        assert!(matches!(error, Failure::Usage(_)));
    }
}
