//! Which files make an artifact: one, the shards of a split one, or those of a folder of safetensors.
//!
//! Shards are called as llama.cpp's gguf-split and `transformers` call them, `PREFIX-00001-of-00003.gguf`; all lie in one
//! folder.

use std::path::{Path, PathBuf};

use mapping::{FileIdentity, MappedFile, identity_of};

use super::{ArtifactIdentity, OpenError};
use crate::folder::{self, Text};
use crate::limits::{CATALOG_ENTRIES_MAX, SHARDS_MAX};

/// The paths of an artifact's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactFiles {
    /// What the artifact is called by: its first file, or the folder.
    pub(crate) path: PathBuf,
    /// Files with tensors, in order; never none.
    pub(crate) weights: Vec<PathBuf>,
    /// What those are called in their folder, whatever a link leads to.
    pub(crate) weight_names: Vec<String>,
    /// What else is read of a folder of safetensors; none of a GGUF file.
    pub(crate) texts: Vec<(Text, PathBuf)>,
}

impl ArtifactFiles {
    /// The files of the artifact at `path`: of a folder of safetensors, if it is one; otherwise judged by its name, all
    /// shards, if it is any shard of a split file.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        match Self::in_folder(path) {
            Some(files) => files,
            None => Self::gguf(path),
        }
    }

    /// The files of the GGUF file at `path`, judged by its name.
    pub(crate) fn gguf(path: &Path) -> Self {
        let weights = ShardName::of(path).map_or_else(|| vec![path.to_owned()], |shard| shard.paths(path));
        Self { path: weights[0].clone(), weights, weight_names: Vec::new(), texts: Vec::new() }
    }

    fn in_folder(path: &Path) -> Option<Self> {
        let entries = path.read_dir().ok()?.take(CATALOG_ENTRIES_MAX).filter_map(Result::ok);
        let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let mut files = folder::files(path, names.iter().map(String::as_str))?;
        files.keep_texts(|path| path.symlink_metadata().is_ok());
        Some(files)
    }

    /// Leaves out the texts that need not be there, where they are not.
    pub(crate) fn keep_texts(&mut self, is_there: impl Fn(&Path) -> bool) {
        let shards = self.weights.len();
        self.texts.retain(|(text, path)| text.is_required(shards) || is_there(path));
    }

    /// Whether there is more than one file, so that one may be missing.
    pub(crate) fn are_several(&self) -> bool {
        self.weights.len() > 1 || self.is_folder()
    }

    /// Whether they are a folder of safetensors.
    pub(crate) fn is_folder(&self) -> bool {
        !self.texts.is_empty()
    }

    /// Every path.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.weights.iter().chain(self.texts.iter().map(|(_, path)| path)).map(PathBuf::as_path)
    }

    /// Every file with the path, beside other models, where a catalog that finds it there calls the artifact `name`.
    pub(crate) fn placed_as(&self, name: &str) -> Vec<(PathBuf, &Path)> {
        let count = self.weights.len();
        let weights = self.weights.iter().enumerate().map(|(index, path)| match self.weight_names.get(index) {
            Some(own) => (Path::new(name).join(own), path.as_path()),
            None if count > 1 => (format!("{name}-{:05}-of-{count:05}.gguf", index + 1).into(), path.as_path()),
            None => (format!("{name}.gguf").into(), path.as_path()),
        });
        let texts = self.texts.iter().map(|(text, path)| (Path::new(name).join(text.path()), path.as_path()));
        weights.chain(texts).collect()
    }

    /// What a catalog would call the artifact: the folder's name, or the file's stem without a shard's number.
    #[must_use]
    pub fn name(&self) -> String {
        let stem = || self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match (self.is_folder(), ShardName::of(&self.path)) {
            (true, _) => folder::name(&self.path).unwrap_or_default().to_owned(),
            (false, Some(shard)) => shard.prefix.to_owned(),
            (false, None) => stem(),
        }
    }

    /// Which versions lie there now, without opening any.
    ///
    /// # Errors
    /// As [`Artifact::open`](super::Artifact::open), but for what the files hold.
    pub fn identity(&self) -> Result<ArtifactIdentity, OpenError> {
        let weights: Result<Vec<FileIdentity>, _> =
            self.weights.iter().map(|path| identity_of(path).map_err(|error| self.failed(path, error))).collect();
        Ok(ArtifactIdentity::new(weights?, &folder::identities(&self.texts)?))
    }

    /// As [`Entry::cached_bytes`](crate::catalog::Entry::cached_bytes).
    pub(crate) fn cached_bytes(&self) -> Option<u64> {
        self.weights.iter().try_fold(0_u64, |sum, path| {
            let file = MappedFile::open(path).ok()?;
            Some(sum.saturating_add(file.cached_bytes(0..file.bytes().len())?))
        })
    }

    /// What failing to map, or to look at, one of the files means.
    pub(super) fn failed(&self, path: &Path, error: mapping::MapError) -> OpenError {
        if self.are_several() { OpenError::of_part(path, error) } else { OpenError::of(path, error) }
    }
}

/// A file's name as that of a shard: PREFIX-NUMBER-of-COUNT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardName<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) number: u32,
    pub(crate) count: u32,
}

impl<'a> ShardName<'a> {
    /// The name of the file at `path`; `None` for one that is no shard.
    pub(crate) fn of(path: &'a Path) -> Option<Self> {
        Self::parse(path.file_stem()?.to_str()?)
    }

    /// `None` also where more shards are counted than are read: such a file is judged as if it stood alone.
    pub(crate) fn parse(stem: &'a str) -> Option<Self> {
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| match text.len() {
            5 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        let (number, count) = (digits(number)?, digits(count)?);
        let sound = !prefix.is_empty() && (1..=count).contains(&number) && count <= SHARDS_MAX;
        sound.then_some(Self { prefix, number, count })
    }

    /// The paths of all shards, where this is the name of the file at `path`.
    pub(crate) fn paths(&self, path: &Path) -> Vec<PathBuf> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let name = |number: u32| format!("{}-{number:05}-of-{:05}.{extension}", self.prefix, self.count);
        (1..=self.count).map(|number| path.with_file_name(name(number))).collect()
    }
}
