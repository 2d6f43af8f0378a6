//! Pulling a repository's folder of safetensors: gathered in a hidden folder, verified as a model, then renamed.
//!
//! A folder that is broken off goes on where it stopped; what an older version already has, by its digest, is linked and
//! not fetched again. A model that is served from the older version keeps its files until it is dropped.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::hub::{Commit, Listed};
use super::place::{Expected, Kind, Place};
use super::{Progress, PullError, Puller, Repository};
use crate::artifact::Artifact;
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
        remove_others(&place.staging, &wanted)?;
        if let Err(source) = Artifact::open(&place.staging) {
            let error = PullError::NotAFolder { source: Box::new(source) };
            place.clear();
            return Err(error);
        }
        install(&place)?;
        tracing::info!(path = %place.target.display(), files = wanted.len(), "pulled");
        Ok(place.target)
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

/// Leaves nothing of an earlier try in `staging` that this commit does not have.
fn remove_others(staging: &Path, wanted: &[Listed]) -> Result<(), PullError> {
    for entry in fs::read_dir(staging).map_err(PullError::at(staging))? {
        let entry = entry.map_err(PullError::at(staging))?;
        let (path, name) = (entry.path(), entry.file_name());
        let first = |file: &Listed| file.path.split('/').next().is_some_and(|first| *first == *name);
        if !wanted.iter().any(first) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(PullError::at(&path))?;
        }
    }
    Ok(())
}

/// Gives the gathered folder its name; one that has it makes room by a rename.
fn install(place: &Place) -> Result<(), PullError> {
    let aside = place.part.with_extension("old");
    let _ = fs::remove_dir_all(&aside);
    match fs::rename(&place.target, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(PullError::at(&place.target)(error)),
        _ => {}
    }
    fs::rename(&place.staging, &place.target).map_err(PullError::at(&place.target))?;
    // What cannot be removed is hidden from every catalog.
    let _ = fs::remove_dir_all(&aside);
    Ok(())
}
