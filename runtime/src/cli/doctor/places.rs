//! Where models and the ledger are: file systems, what is free there, and whether this user may use them.

use std::fs;
use std::path::{Path, PathBuf};

use ledger::Reader;
use rustix::fs::{Access, access, statvfs};
use serde::Serialize;

use crate::config::Config;

/// A folder, or one that is to be made.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) state: FolderState,
    /// Of the nearest folder that is there, as the kernel names it; none where it does not tell.
    pub(super) file_system: Option<String>,
    /// What this user may still write.
    pub(super) free_bytes: Option<u64>,
}

/// What a folder's path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FolderState {
    Writable,
    /// Models in it are served; nothing is pulled into it.
    ReadOnly,
    /// It is made when it is needed.
    ToBeMade,
    /// It is not there, and cannot be made.
    CannotBeMade,
    Unreadable,
    NotAFolder,
}

/// The ledger's file.
#[derive(Debug, Serialize)]
pub(super) struct LedgerFile {
    pub(super) path: PathBuf,
    pub(super) state: LedgerState,
    /// With what is not yet in the file itself.
    pub(super) size_bytes: u64,
    /// Where it is.
    pub(super) folder: Place,
}

/// What becomes of opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LedgerState {
    /// The first server makes it.
    ToBeMade,
    /// It can be read.
    Readable,
    /// Why it cannot.
    Unreadable(String),
}

impl Place {
    /// Looks, and changes nothing.
    pub(super) fn look(path: &Path) -> Self {
        // A relative path is below the working directory, which has no name in it.
        fn named(folder: &Path) -> &Path {
            if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
        }
        let path = named(path);
        let there = path.ancestors().map(named).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let may = |folder: &Path, what: Access| access(folder, what).is_ok();
        let state = match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => FolderState::NotAFolder,
            Ok(_) if !may(path, Access::READ_OK | Access::EXEC_OK) => FolderState::Unreadable,
            Ok(_) if may(path, Access::WRITE_OK) => FolderState::Writable,
            Ok(_) => FolderState::ReadOnly,
            Err(_) if there.is_dir() && may(there, Access::WRITE_OK | Access::EXEC_OK) => FolderState::ToBeMade,
            Err(_) => FolderState::CannotBeMade,
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let file_system = fs::canonicalize(there).ok().and_then(|there| file_system(&mounts, &there));
        let free = statvfs(there).ok().map(|of| of.f_bavail.saturating_mul(of.f_frsize));
        Self { path: path.to_owned(), state, file_system, free_bytes: free }
    }
}

impl LedgerFile {
    /// Looks, and changes nothing.
    pub(super) fn look(config: &Config) -> Self {
        let path = config.ledger.clone();
        let state = match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => LedgerState::ToBeMade,
            Err(error) => LedgerState::Unreadable(error.to_string()),
            Ok(_) => match Reader::open(&path).and_then(|reader| reader.latest_unix_ms()) {
                Ok(_) => LedgerState::Readable,
                Err(error) => LedgerState::Unreadable(format!("{:#}", anyhow::Error::from(error))),
            },
        };
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let size_bytes = size(&path) + size(Path::new(&log));
        let folder = Place::look(path.parent().unwrap_or(Path::new("")));
        Self { path, state, size_bytes, folder }
    }
}

/// The kind of the file system that holds `path`, by what `/proc/self/mountinfo` says.
///
/// Source: proc_pid_mountinfo(5).
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (before, behind) = line.split_once(" - ")?;
        let point = unescaped(before.split(' ').nth(4)?);
        let depth = Path::new(&point).components().count();
        path.starts_with(&point).then_some((depth, behind.split(' ').next()?))
    });
    // Of several at one place the last hides the others.
    mounted.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind.to_owned())
}

/// With blanks that are written as numbers.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn relative_paths_are_below_the_working_directory() {
        assert_eq!(Place::look(Path::new("")).state, FolderState::Writable);
        assert_eq!(Place::look(Path::new("no-such-folder")).state, FolderState::ToBeMade);
    }

    #[test]
    fn a_path_is_on_the_innermost_file_system() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /srv/my\\040models ro shared:2 - nfs4 host:/m ro\n\
                      3 1 0:6 / /srv rw - xfs /dev/sdb rw\n";
        let kind = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(
            (kind("/home"), kind("/srv/x"), kind("/srv/my models/a")),
            ("ext4".into(), "xfs".into(), "nfs4".into())
        );
        assert_eq!(kind("/srvx"), "ext4", "a name that begins alike is another folder");
        assert_eq!(file_system("nonsense", Path::new("/")), None);
    }

    #[test]
    fn folders_are_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let state = |name: &str| Place::look(&folder.path().join(name)).state;
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(
            (state(""), state("a/b"), state("file")),
            (FolderState::Writable, FolderState::ToBeMade, FolderState::NotAFolder)
        );
        assert_eq!(state("file/below"), FolderState::CannotBeMade);
        let place = Place::look(folder.path());
        assert!(place.free_bytes.is_some() && place.file_system.is_some(), "{place:?}");
        // Whoever may everything may read this, too.
        let closed = folder.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        assert!(matches!(state("closed"), FolderState::Unreadable | FolderState::Writable));
    }
}
