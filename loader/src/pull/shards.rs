//! Pulling a split file: its shards are gathered in a hidden folder, verified as one model, then put in place together.
//!
//! Invariant: the models directory never holds shards of two versions. The old ones are all taken away before the first new
//! one appears, so that whoever looks in between finds some of either and is told that a part is missing; whoever opened
//! some before and some after looks again when all are open (see [`Artifact`]). A model that is served from the old
//! shards keeps them until it is dropped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{remove_others, sync};
use super::hub::{Commit, Listed};
use super::place::{Expected, Kind, Place};
use super::{Progress, PullError, Puller};
use crate::artifact::Artifact;

/// What a split file's pull needs to know of its source.
pub(super) struct Shards<'a> {
    pub(super) commit: &'a Commit<'a>,
    /// In their order. A digest that the user stated stands in place of the Hub's.
    pub(super) listed: Vec<Listed>,
}

impl Puller {
    /// Pulls all `shards` into `models_dir`; the path of the first.
    pub(super) fn pull_shards(
        &self,
        shards: &Shards<'_>,
        models_dir: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, PullError> {
        let names: Vec<String> = shards.listed.iter().map(|shard| own_name(&shard.path)).collect();
        let place = Place::new(models_dir, &names[0]);
        fs::create_dir_all(models_dir).map_err(PullError::at(models_dir))?;
        if holds_all(models_dir, (&shards.listed, &names), progress)? {
            return Ok(place.target);
        }
        let _lock = place.lock(progress)?;
        if holds_all(models_dir, (&shards.listed, &names), progress)? {
            return Ok(place.target);
        }
        names.iter().try_for_each(|name| check_replaceable(&models_dir.join(name)))?;
        fs::create_dir_all(&place.staging).map_err(PullError::at(&place.staging))?;
        for (shard, name) in shards.listed.iter().zip(&names) {
            let (staged, kept) = (Place::new(&place.staging, name), Place::new(models_dir, name));
            if let Some(sha256) = shard.sha256
                && !staged.target.exists()
                && kept.holds(sha256, progress)?
            {
                fs::hard_link(&kept.target, &staged.target).map_err(PullError::at(&staged.target))?;
            }
            let expected = Expected { sha256: shard.sha256, size_bytes: Some(shard.size_bytes), kind: Kind::Gguf };
            let url = shards.commit.url(&shard.path)?;
            self.bring(&staged, expected, progress, &|staged| {
                self.fetch_url(&url, self.hub.token.as_ref(), staged, progress)
            })?;
        }
        remove_others(&place.staging, |found| names.iter().any(|name| **name == *found))?;
        if let Err(source) = Artifact::open(&place.staging.join(&names[0])) {
            let is_spoiled = source.is_load_fail();
            if is_spoiled {
                place.clear();
            }
            return Err(PullError::NotAFolder { source: Box::new(source) });
        }
        switch(&place, &names)?;
        tracing::info!(path = %place.target.display(), shards = names.len(), "pulled");
        Ok(place.target)
    }
}

fn own_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// Whether every shard is in its place and as it must be; those whose digest nobody knows are not.
fn holds_all(
    models_dir: &Path,
    (shards, names): (&[Listed], &[String]),
    progress: &dyn Progress,
) -> Result<bool, PullError> {
    for (shard, name) in shards.iter().zip(names) {
        let place = Place::new(models_dir, name);
        if !shard.sha256.map_or(Ok(false), |sha256| place.holds(sha256, progress))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses to replace a folder: it is not a pull's to remove.
fn check_replaceable(target: &Path) -> Result<(), PullError> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => Err(PullError::InTheWay { path: target.to_owned() }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PullError::at(target)(error)),
        _ => Ok(()),
    }
}

/// Takes the old shards away, then puts the gathered ones in their place. What fails is undone as far as possible.
fn switch(place: &Place, names: &[String]) -> Result<(), PullError> {
    sync(&place.staging)?;
    let aside = place.part.with_extension("old");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).map_err(PullError::at(&aside))?;
    let steps = [(&place.folder, &aside), (&place.staging, &place.folder)];
    for (step, (from, to)) in steps.into_iter().enumerate() {
        for name in names {
            match fs::rename(from.join(name), to.join(name)) {
                // There was no older version, or not all of it.
                Err(error) if step == 0 && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    for (from, to) in steps.into_iter().take(step + 1).rev() {
                        // What was not moved cannot be moved back.
                        names.iter().for_each(|name| drop(fs::rename(to.join(name), from.join(name))));
                    }
                    return Err(PullError::at(&to.join(name))(error));
                }
                Ok(()) => {}
            }
        }
    }
    sync(&place.folder)?;
    // What cannot be removed is hidden from every catalog.
    let _ = fs::remove_dir_all(&aside);
    place.clear();
    Ok(())
}
