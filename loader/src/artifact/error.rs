//! Why an artifact could not be opened, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

use mapping::MapError;

use crate::folder::FolderError;
use crate::gguf::FormatError;

/// Why an artifact could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there: not found.
    #[error("{path}: no such file")]
    NotFound {
        /// What was to be opened.
        path: PathBuf,
    },
    /// One of the several files that make a model is not there: load-fail.
    #[error("{path}: this file of the model is missing")]
    MissingPart {
        /// The missing file.
        path: PathBuf,
    },
    /// A directory, FIFO or device: load-fail.
    #[error("{path}: not a regular file")]
    NotARegularFile {
        /// What was to be opened.
        path: PathBuf,
    },
    /// A link that leads out of its root, where that is not allowed: load-fail.
    #[error("{path}: links out of the models directory are not allowed")]
    LinkLeavesRoot {
        /// The link.
        path: PathBuf,
    },
    /// The file's content is invalid: load-fail.
    #[error("{path}: invalid file")]
    Invalid {
        /// What was to be opened.
        path: PathBuf,
        /// What is wrong, and where.
        source: FormatError,
    },
    /// A file of a folder of safetensors is invalid, or not supported: load-fail.
    #[error("{path}: not usable")]
    InvalidFolder {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong.
        source: FolderError,
    },
    /// The file changed while it was being read: try again.
    #[error("{path}: the file changed while it was opened")]
    Changed {
        /// What was to be opened.
        path: PathBuf,
    },
    /// The operating system refused: permissions, descriptors, the disk.
    #[error("{path}: could not be opened")]
    Io {
        /// What was to be opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// As many files are mapped as can be: try again when one has been let go.
    #[error("{path}: too many files are mapped already")]
    TooManyMappings {
        /// What was to be opened.
        path: PathBuf,
    },
}

impl OpenError {
    /// Whether the file itself is at fault, so that opening the same version again cannot help (a "load-fail").
    #[must_use]
    pub fn is_load_fail(&self) -> bool {
        match self {
            Self::MissingPart { .. }
            | Self::NotARegularFile { .. }
            | Self::LinkLeavesRoot { .. }
            | Self::Invalid { .. }
            | Self::InvalidFolder { .. } => true,
            Self::NotFound { .. } | Self::Changed { .. } | Self::Io { .. } | Self::TooManyMappings { .. } => false,
        }
    }

    /// What failing to map, or to look at, the file at `path` means.
    #[must_use]
    pub fn of(path: &Path, error: MapError) -> Self {
        let path = path.to_owned();
        match error {
            MapError::NotARegularFile => Self::NotARegularFile { path },
            MapError::Empty => Self::Invalid { path, source: FormatError::TooShort { file_bytes: 0 } },
            MapError::Changed => Self::Changed { path },
            MapError::TooManyMappings => Self::TooManyMappings { path },
            MapError::LockRefused { source, .. } => Self::Io { path, source },
            MapError::Io { source } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound { path },
                _ => Self::Io { path, source },
            },
        }
    }

    /// As [`OpenError::of`], for one of several files: that it is not there is the model's fault.
    pub(crate) fn of_part(path: &Path, error: MapError) -> Self {
        match Self::of(path, error) {
            Self::NotFound { path } => Self::MissingPart { path },
            other => other,
        }
    }
}
