//! Where a pull writes: temporary names, the lock, and the one rename that makes a file appear.
//!
//! All temporary names start with a dot, which a catalog does not look at, and lie in the models directory, because a
//! rename must not cross file systems.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use mapping::{MapError, MappedFile};
use sha2::{Digest as _, Sha256};

use super::PullError;
use super::digest::Digest;
use super::flow::{Flow, Progress, Stage, Stopped};
use crate::gguf;
use crate::limits::LOCK_TIMEOUT;

/// How often a waiting pull asks whether it is cancelled.
pub(super) const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// What a finished part must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) sha256: Option<Digest>,
    pub(super) size_bytes: Option<u64>,
    pub(super) kind: Kind,
}

/// What kind of file a pull brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A GGUF file: its header is verified.
    Gguf,
    /// A part of a folder, which is verified as a whole.
    Part,
}

/// The paths of one file's pull.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    /// Where the file appears, whole.
    pub(super) target: PathBuf,
    /// What is there so far.
    pub(super) part: PathBuf,
    /// What `part` is a part of.
    pub(super) part_info: PathBuf,
    /// Downloaded packages.
    pub(super) staging: PathBuf,
    lock: PathBuf,
}

impl Place {
    pub(super) fn new(folder: &Path, file_name: &str) -> Self {
        let temporary = |kind: &str| folder.join(format!(".{file_name}.{kind}"));
        Self {
            folder: folder.into(),
            target: folder.join(file_name),
            part: temporary("part"),
            part_info: temporary("part-info"),
            staging: temporary("pieces"),
            lock: temporary("lock"),
        }
    }

    /// Whether the target is there already and hashes to `expected`.
    pub(super) fn holds(&self, expected: Digest, progress: &dyn Progress) -> Result<bool, PullError> {
        match mapping::open_regular(&self.target) {
            Ok((file, identity)) => Ok(digest_of(file, &self.target, identity.size_bytes, progress)? == expected),
            Err(MapError::Io { source }) if source.kind() != io::ErrorKind::NotFound => {
                Err(PullError::at(&self.target)(source))
            }
            // Nothing there, or something that a rename will refuse or replace.
            Err(_) => Ok(false),
        }
    }

    /// Waits until this process may pull this file.
    pub(super) fn lock(&self, progress: &dyn Progress) -> Result<Lock, PullError> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            let file = File::options().create(true).write(true).truncate(false).open(&self.lock);
            let file = acquire(file.map_err(PullError::at(&self.lock))?, deadline, progress)?
                .map_err(PullError::at(&self.lock))?;
            // The holder before us removed the file: a lock on a file without a name locks nothing.
            let held = file.metadata().map_err(PullError::at(&self.lock))?;
            if fs::metadata(&self.lock).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                return Ok(Lock { path: self.lock.clone(), _file: file });
            }
        }
    }

    /// Verifies the finished part and gives it its name.
    pub(super) fn install(&self, expected: Expected, progress: &dyn Progress) -> Result<(), PullError> {
        let file = File::open(&self.part).map_err(PullError::at(&self.part))?;
        let size_bytes = file.metadata().map_err(PullError::at(&self.part))?.len();
        if let Some(expected) = expected.size_bytes.filter(|expected| *expected != size_bytes) {
            return Err(PullError::WrongLength { expected, found: size_bytes });
        }
        let found = digest_of(file, &self.part, size_bytes, progress)?;
        if let Some(expected) = expected.sha256.filter(|expected| *expected != found) {
            return Err(PullError::WrongDigest { expected, found });
        }
        if expected.kind == Kind::Gguf {
            self.check_header()?;
        }
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(PullError::at(path));
        sync(&self.part)?;
        fs::rename(&self.part, &self.target).map_err(PullError::at(&self.target))?;
        sync(&self.folder)?;
        self.clear();
        tracing::info!(path = %self.target.display(), sha256 = %found, size_bytes, "pulled");
        Ok(())
    }

    fn check_header(&self) -> Result<(), PullError> {
        let mapped = MappedFile::open(&self.part).map_err(|error| match error {
            MapError::Empty => gguf::FormatError::TooShort { file_bytes: 0 }.into(),
            MapError::Io { source } => PullError::at(&self.part)(source),
            other => PullError::at(&self.part)(io::Error::other(other)),
        })?;
        gguf::parse(mapped.bytes())?;
        Ok(())
    }

    /// Removes everything temporary but the lock.
    pub(super) fn clear(&self) {
        // What is not there need not be removed, and what cannot be is hidden from every catalog.
        let _ = fs::remove_file(&self.part);
        let _ = fs::remove_file(&self.part_info);
        let _ = fs::remove_dir_all(&self.staging);
    }
}

fn digest_of(mut file: File, path: &Path, size_bytes: u64, progress: &dyn Progress) -> Result<Digest, PullError> {
    let mut hasher = Sha256::new();
    let total_bytes = Some(size_bytes);
    let mut flow = Flow { progress, stage: Stage::Verifying, done_bytes: 0, total_bytes, bytes_max: u64::MAX };
    match flow.pour(&mut file, &mut hasher) {
        Ok(()) => Ok(Digest::finish(hasher)),
        Err(Stopped::Reading(error) | Stopped::Writing(error)) => Err(PullError::at(path)(error)),
        Err(Stopped::Pull(error)) => Err(error),
    }
}

/// Locks `file`, waiting while others hold it. The inner error is the file system's.
fn acquire(file: File, deadline: Instant, progress: &dyn Progress) -> Result<io::Result<File>, PullError> {
    match file.try_lock() {
        Ok(()) => return Ok(Ok(file)),
        Err(TryLockError::Error(error)) => return Ok(Err(error)),
        Err(TryLockError::WouldBlock) => {}
    }
    // A blocked lock cannot be interrupted; if we stop waiting, the thread gives the lock back as soon as it gets it.
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let locked = file.lock().map(|()| file);
        let _ = sender.send(locked);
    });
    loop {
        progress.update(Stage::Waiting, 0, None);
        match receiver.recv_timeout(CANCEL_INTERVAL) {
            Ok(locked) => return Ok(locked),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(io::Error::other("the lock was lost"))),
            Err(RecvTimeoutError::Timeout) if progress.is_cancelled() => return Err(PullError::Cancelled),
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => return Err(PullError::Busy),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// The right to pull one file; given back on drop.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held: whoever waits on this file finds out that its name is gone and starts over.
        let _ = fs::remove_file(&self.path);
    }
}
