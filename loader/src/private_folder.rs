//! A folder of our own files that only this user writes to, and how a file comes to be there.
//!
//! Invariants: nothing is read from, or written to, a folder that others can write to; a file has its name only when it
//! is whole ([`NewFile::take_name`]). Deliberately absent: what the files hold, and which of them have to go.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::limits::UNNAMED_FILE_MAX;

/// What the names of files end in that have none yet.
const UNNAMED: &str = "part";

/// A folder that is made when the first file is.
#[derive(Clone, Debug)]
pub struct PrivateFolder {
    path: PathBuf,
}

/// A file on its way; without a name it goes when this is dropped.
#[derive(Debug)]
pub struct NewFile {
    folder: PathBuf,
    temporary: PathBuf,
    file: File,
    is_named: bool,
}

impl PrivateFolder {
    /// The folder at `path`. Nothing is looked at yet.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there, and nobody but this user (and root) can put files into it.
    #[must_use]
    pub fn is_private(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|folder| is_private_to(&folder, rustix::process::geteuid().as_raw()))
    }

    /// The regular file called `name`, to be read; `None` if there is none, or others can write to the folder.
    #[must_use]
    pub fn open(&self, name: &str) -> Option<File> {
        if !self.is_private() {
            return None;
        }
        mapping::open_regular(&self.path.join(name)).ok().map(|(file, _)| file)
    }

    /// A new file without a name, in the folder, which is made for its owner alone if it is not there.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::PermissionDenied`] where others can write to the folder.
    pub fn create(&self) -> io::Result<NewFile> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        if !self.is_private() {
            let reason = format!("{}: others can write to the folder", self.path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        // Processes of two containers may have one id: the time tells them apart.
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let temporary = self.path.join(format!(".{}-{number}-{nanos:x}.{UNNAMED}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(NewFile { folder: self.path.clone(), temporary, file, is_named: false })
    }
}

impl NewFile {
    /// What is written to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Calls it `name`, in the place of whatever was called so. What is synchronized of it is the caller's choice.
    ///
    /// # Errors
    /// What the system says: it is gone then.
    pub fn take_name(mut self, name: &str) -> io::Result<()> {
        fs::rename(&self.temporary, self.folder.join(name))?;
        self.is_named = true;
        Ok(())
    }

    /// As [`NewFile::take_name`], for a file whose name outlives a loss of power: contents are the caller's to
    /// synchronize before.
    ///
    /// # Errors
    /// As [`NewFile::take_name`].
    pub fn take_durable_name(self, name: &str) -> io::Result<()> {
        let folder = self.folder.clone();
        self.take_name(name)?;
        File::open(folder)?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Whether `path`, which was last written at `written`, never got a name because its writer died.
#[must_use]
pub fn is_abandoned(path: &Path, written: SystemTime, now: SystemTime) -> bool {
    let is_unnamed = path.extension().is_some_and(|extension| extension == UNNAMED);
    is_unnamed && now.duration_since(written).is_ok_and(|age| age > UNNAMED_FILE_MAX)
}

fn is_private_to(folder: &Metadata, user: u32) -> bool {
    folder.is_dir() && folder.permissions().mode() & 0o022 == 0 && folder.uid() == user
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
        let open = PrivateFolder::at(folder.path().to_owned());
        fs::write(folder.path().join("a"), "x").unwrap();
        assert!(open.open("a").is_none() && open.create().is_err());
    }

    #[test]
    fn a_file_without_a_name_goes_and_one_with_a_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let private = PrivateFolder::at(folder.path().join("new"));
        drop(private.create().unwrap());
        assert_eq!(fs::read_dir(private.path()).unwrap().count(), 0);
        let mut named = private.create().unwrap();
        named.file().write_all(b"whole").unwrap();
        named.take_durable_name("a").unwrap();
        assert_eq!(fs::read(private.path().join("a")).unwrap(), b"whole");
        assert!(private.open("a").is_some() && private.open("b").is_none());
        assert_eq!(fs::read_dir(private.path()).unwrap().count(), 1);
    }
}
