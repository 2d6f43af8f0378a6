//! The folder of tables: names, one rename for each file, and who has to go.

use std::fs::{self, DirEntry, File, FileTimes};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_128;

use super::TablesKey;
use crate::limits::{TABLES_BYTES_MAX, TABLES_FILES_MAX};
use crate::private_folder::{PrivateFolder, is_abandoned};

const EXTENSION: &str = "tables";

/// The file that `key` leads to, if there is one in a folder that only this user writes to.
pub(super) fn open(folder: &PrivateFolder, key: &TablesKey) -> Option<File> {
    folder.open(&name(key))
}

/// Makes the file one that was just used. Best effort.
pub(super) fn mark_used(file: &File) {
    let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
}

/// Has `fill` write the file of `key`, and makes room for it.
pub(super) fn write(
    folder: &PrivateFolder,
    key: &TablesKey,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut new = folder.create()?;
    fill(new.file())?;
    // Not synchronized: what a crash tears is noticed when it is read.
    new.take_name(&name(key))?;
    make_room(folder)
}

fn name(key: &TablesKey) -> String {
    let name = xxh3_128(bytemuck::cast_slice(&key.words));
    format!("{name:032x}.{EXTENSION}")
}

/// Removes what is beyond the limits, the longest unused first, and what writers that died have left.
fn make_room(folder: &PrivateFolder) -> io::Result<()> {
    let now = SystemTime::now();
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder.path())? {
        let entry: DirEntry = entry?;
        // A file that another process removed meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let (path, used) = (entry.path(), metadata.modified().unwrap_or(now));
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some(EXTENSION) if metadata.is_file() => kept.push((used, metadata.len(), path)),
            _ if is_abandoned(&path, used, now) => {
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
