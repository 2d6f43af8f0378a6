//! One writing process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::LedgerError;

/// Held for as long as this lives; the kernel gives it back when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct ProcessLock {
    file: File,
}

impl Drop for ProcessLock {
    /// Closing alone would not do: a child that is just being started holds the file, too, until it runs its program.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Takes the lock of the ledger at `path`, on a file beside it that stays behind empty.
pub(crate) fn acquire(path: &Path) -> Result<ProcessLock, LedgerError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(name)?;
    match file.try_lock() {
        Ok(()) => Ok(ProcessLock { file }),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
