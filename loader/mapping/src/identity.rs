//! Which file is meant: opening without blocking, and telling one version of a file from the next.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::MapError;

/// One version of one file, as `stat` tells it apart.
///
/// A replacement by rename changes `inode`; a truncation or a write changes `size_bytes` or `modified_nanos`. A file
/// that was rewritten in place with its size and time put back is not noticed: artifacts are immutable by promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Last modification, nanoseconds since the epoch (negative before it).
    pub modified_nanos: i128,
}

impl FileIdentity {
    /// The identity that `metadata` describes.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified_nanos: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// The identity of the regular file at `path`, links followed, without opening it.
///
/// # Errors
/// [`MapError::NotARegularFile`] for anything else, [`MapError::Io`] when `stat` fails.
pub fn identity_of(path: &Path) -> Result<FileIdentity, MapError> {
    regular(&std::fs::metadata(path)?)
}

/// Opens the regular file at `path` read-only, links followed, never blocking.
///
/// The path is looked at before it is opened, because opening some devices (a tape, a watchdog) acts by itself, and the
/// descriptor again after, because the path may have been swapped in between: hence `O_NONBLOCK` (a FIFO without a
/// writer) and `O_NOCTTY` (a terminal) as well.
///
/// # Errors
/// [`MapError::NotARegularFile`] or [`MapError::Io`].
pub fn open_regular(path: &Path) -> Result<(File, FileIdentity), MapError> {
    identity_of(path)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let identity = regular(&file.metadata()?)?;
    Ok((file, identity))
}

fn regular(metadata: &Metadata) -> Result<FileIdentity, MapError> {
    if metadata.is_file() { Ok(FileIdentity::of(metadata)) } else { Err(MapError::NotARegularFile) }
}
