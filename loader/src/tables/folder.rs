//! The folder of tables: names, one rename for each file, and who has to go.

use std::fs::{self, DirBuilder, DirEntry, File, FileTimes, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_128;

use super::TablesKey;
use crate::limits::{TABLES_ABANDONED, TABLES_BYTES_MAX, TABLES_FILES_MAX};

const EXTENSION: &str = "tables";

/// The file that `key` leads to, if there is one in a folder that only this user writes to.
pub(super) fn open(folder: &Path, key: &TablesKey) -> Option<File> {
    if !is_private(folder).ok()? {
        return None;
    }
    mapping::open_regular(&path(folder, key)).ok().map(|(file, _)| file)
}

/// Makes the file one that was just used. Best effort.
pub(super) fn mark_used(file: &File) {
    let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
}

/// Has `fill` write the file of `key`, and makes room for it.
pub(super) fn write(folder: &Path, key: &TablesKey, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if !is_private(folder)? {
        let reason = format!("{}: others can write to the folder", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    // Processes of two containers may have one id: the time tells them apart.
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let temporary = folder.join(format!(".{}-{number}-{nanos:x}.part", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    // Not synchronized: what a crash tears is noticed when it is read.
    let written = fill(&mut file).and_then(|()| fs::rename(&temporary, path(folder, key)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| make_room(folder))
}

fn path(folder: &Path, key: &TablesKey) -> PathBuf {
    let name = xxh3_128(bytemuck::cast_slice(&key.words));
    folder.join(format!("{name:032x}.{EXTENSION}"))
}

/// Whether nobody but this user (and root) can put files into the folder.
fn is_private(folder: &Path) -> io::Result<bool> {
    Ok(is_private_to(&fs::metadata(folder)?, rustix::process::geteuid().as_raw()))
}

fn is_private_to(folder: &Metadata, user: u32) -> bool {
    folder.is_dir() && folder.permissions().mode() & 0o022 == 0 && folder.uid() == user
}

/// Removes what is beyond the limits, the longest unused first, and what writers that died have left.
fn make_room(folder: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry: DirEntry = entry?;
        // A file that another process removed meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let (path, used) = (entry.path(), metadata.modified().unwrap_or(now));
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some(EXTENSION) if metadata.is_file() => kept.push((used, metadata.len(), path)),
            Some("part") if now.duration_since(used).is_ok_and(|age| age > TABLES_ABANDONED) => {
                let _ = fs::remove_file(path);
            }
            _ => {}
        }
    }
    kept.sort_unstable();
    let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| *bytes).sum();
    let mut files = kept.len();
    for (_, length, path) in kept {
        if bytes <= TABLES_BYTES_MAX && files <= TABLES_FILES_MAX {
            break;
        }
        let _ = fs::remove_file(path);
        bytes -= length;
        files -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_someone_else_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let metadata = fs::metadata(folder.path()).unwrap();
        assert!(is_private_to(&metadata, metadata.uid()));
        assert!(!is_private_to(&metadata, metadata.uid() + 1));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_private_to(&fs::metadata(folder.path()).unwrap(), metadata.uid()));
    }
}
