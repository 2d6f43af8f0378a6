//! Read-only maps of immutable files, and a process that outlives their truncation.
//!
//! This is the only crate that maps memory. A [`MappedFile`] is a promise between two sides: whoever maintains the
//! file replaces it by rename and never writes into it, and we never write through the map. When the promise is
//! broken from outside (the file is truncated, its disk fails), reading the lost part raises SIGBUS; the guard (see
//! its module) turns that into zeros and a *poisoned* flag, so that it costs one model and not the process.
//!
//! Invariants:
//! - A path is inspected before it is opened and the descriptor again before it is mapped: FIFOs, devices and
//!   directories are refused, opening never blocks and never has a device's side effect.
//! - The bytes of a `MappedFile` stay mapped until it drops; nothing in it can be unmapped or moved earlier.
//! - Whoever computes from [`MappedFile::bytes`] asks [`MappedFile::is_poisoned`] *after* computing and before
//!   showing the result. A file cut inside a page reads zeros without any signal, so the same reader also asks
//!   [`MappedFile::verify_unchanged`] (one `fstat`, about a microsecond).
//!
//! How pages come, stay and go is an operator's choice: [`BringIn`], [`Lock`], [`LetGo`].
//!
//! Deliberately absent: writable or anonymous maps, mapping a part of a file, Windows.

#[cfg(not(unix))]
compile_error!("mapping needs a unix: it rests on mmap and SIGBUS");

mod file;
mod guard;
mod identity;
mod policy;
mod residency;

pub use file::MappedFile;
pub use guard::MAPPINGS_MAX;
pub use identity::{FileIdentity, identity_of, open_regular};
pub use policy::{BringIn, LetGo, Lock};
pub use residency::thread_major_faults;

use std::io;

/// Why a file could not be mapped, or may no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A directory, FIFO, socket or device: the file's fault, retrying does not help.
    #[error("not a regular file")]
    NotARegularFile,
    /// The file has no bytes: its fault; a writer that is not done looks like this too.
    #[error("the file is empty")]
    Empty,
    /// The operating system refused; the source tells whether the path exists at all.
    #[error("the file could not be opened or mapped")]
    Io {
        /// What the system said.
        #[from]
        source: io::Error,
    },
    /// The file is not what it was when it was mapped: drop the map and open it anew.
    #[error("the file changed while it was mapped")]
    Changed,
    /// The file may not be locked in memory: the operator's to mend, by the limit or by not asking for it.
    #[error("its {bytes} bytes cannot be locked in memory: RLIMIT_MEMLOCK {}", shown_limit(*.limit_bytes))]
    LockRefused {
        /// Length of the file.
        bytes: u64,
        /// What the limit is; `None` if there is none, or it is not known.
        limit_bytes: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// [`MAPPINGS_MAX`] files are mapped at once: retry when one has been let go.
    #[error("{MAPPINGS_MAX} files are mapped already")]
    TooManyMappings,
}

fn shown_limit(limit_bytes: Option<u64>) -> String {
    limit_bytes.map_or_else(|| "is not what refuses it".to_owned(), |bytes| format!("allows {bytes} for this process"))
}
