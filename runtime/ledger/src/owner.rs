//! Whose the files beside a ledger are.
//!
//! An administrator makes keys for a server that runs as somebody else. What is made for it is its own, as the folder is: it
//! could not read a file of root's that nobody else may read, and would let nobody in.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

/// Gives `file`, which this process has made at `path`, to whom the folder belongs. Where that may not be (only root gives
/// files away), it stays the maker's.
pub(crate) fn give_to_folder_owner(file: &File, path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (owner, maker) = (fs::metadata(folder)?, file.metadata()?);
    if owner.uid() == maker.uid() {
        return Ok(());
    }
    match fchown(file, Some(owner.uid()), Some(owner.gid())) {
        // Not root, an owner that this namespace has no number for, or a file system without owners.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        given => given,
    }
}
