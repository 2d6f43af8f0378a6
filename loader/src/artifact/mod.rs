//! An opened artifact: a validated header over mapped files.

mod error;
mod files;
mod identity;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mapping::{BringIn, FileIdentity, LetGo, MapError, MappedFile};

pub use self::error::OpenError;
pub use self::files::ArtifactFiles;
pub(crate) use self::files::ShardName;
pub use self::identity::ArtifactIdentity;
use crate::folder::{self, FolderError, Text};
use crate::gguf::{self, FormatError, Header, TensorInfo, TensorType};

/// A model's files, opened once, read-only: named tensors that borrow the mapped bytes.
#[derive(Debug)]
pub struct Artifact {
    name: String,
    path: PathBuf,
    files: Vec<MappedFile>,
    /// `tokenizer.json` of a folder.
    tokenizer: Option<MappedFile>,
    identity: ArtifactIdentity,
    header: Arc<Header>,
}

/// Where bytes lie in an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of its files.
    pub file: usize,
    /// Which of that file's bytes.
    pub range: Range<usize>,
}

/// One tensor of an [`Artifact`].
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Name, such as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Element type.
    pub ty: TensorType,
    /// One to four dimensions in GGUF's order: `dims[0]` is the row's width.
    pub dims: &'a [u64],
    /// The mapped bytes, row-major, exactly as many as type and dimensions need. Aligned in the file to the header's
    /// alignment, which may be 1.
    pub bytes: &'a [u8],
}

impl Artifact {
    /// Maps the artifact at `path`, links followed, and validates its header. Tensor data is not read. Any shard of a
    /// split file opens all; a folder of safetensors opens as one.
    ///
    /// # Errors
    /// Every [`OpenError`] but [`OpenError::LinkLeavesRoot`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_files(&ArtifactFiles::at(path))
    }

    /// As [`Artifact::open`], where it is known which files make the artifact.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    pub fn open_files(files: &ArtifactFiles) -> Result<Self, OpenError> {
        Self::map(files, |_| None)
    }

    /// As [`Artifact::open_files`], without parsing if the files still are the version `identity` that `header` was read
    /// from. Compare [`Artifact::header`] with `Arc::ptr_eq` to see which one it was.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    pub fn open_with_header(
        files: &ArtifactFiles,
        identity: &ArtifactIdentity,
        header: Arc<Header>,
    ) -> Result<Self, OpenError> {
        Self::map(files, |found| (found == identity).then_some(header))
    }

    fn map(
        files: &ArtifactFiles,
        known: impl FnOnce(&ArtifactIdentity) -> Option<Arc<Header>>,
    ) -> Result<Self, OpenError> {
        let map = |path: &Path| MappedFile::open(path).map_err(|error| files.failed(path, error));
        let mapped: Vec<MappedFile> = files.weights.iter().map(|path| map(path)).collect::<Result<_, _>>()?;
        let tokenizer = files.texts.iter().find(|(text, _)| *text == Text::Tokenizer);
        let tokenizer = tokenizer.map(|(text, path)| Ok((map(path)?, *text, path))).transpose()?;
        let texts = folder::identities(&files.texts)?;
        let identity = ArtifactIdentity::new(mapped.iter().map(MappedFile::identity), &texts);
        let parsed = match known(&identity) {
            Some(header) => Ok(header),
            None if files.is_folder() => folder::read(files, &mapped, &texts).map(Arc::new),
            None => parse(files, &mapped).map(Arc::new),
        };
        // A file that is cut or written meanwhile may look invalid, or worse, valid.
        for (file, path) in mapped.iter().zip(&files.weights) {
            file.verify_unchanged().map_err(|error| OpenError::of(path, error))?;
        }
        if let Some((file, text, path)) = &tokenizer {
            check_tokenizer(file, *text, path, &texts)?;
        }
        // Files that were replaced one after another may be of two versions.
        if (files.are_several() || files.is_folder()) && files.identity()? != identity {
            return Err(OpenError::Changed { path: files.path.clone() });
        }
        let tokenizer = tokenizer.map(|(file, ..)| file);
        let header = parsed?;
        Ok(Self { name: files.name(), path: files.path.clone(), files: mapped, tokenizer, identity, header })
    }

    /// Where it was opened: the first of its files, or the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a catalog would call it: see [`ArtifactFiles::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which version of the files is mapped.
    #[must_use]
    pub fn identity(&self) -> &ArtifactIdentity {
        &self.identity
    }

    /// The validated header, which outlives the artifact if kept.
    #[must_use]
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// `tokenizer.json` of a folder of safetensors; GGUF files have their tokenizer in the header.
    #[must_use]
    pub fn tokenizer_json(&self) -> Option<&[u8]> {
        self.tokenizer.as_ref().map(MappedFile::bytes)
    }

    /// The mapped files with weights, in the order that [`Place::file`] counts.
    #[must_use]
    pub fn files(&self) -> &[MappedFile] {
        &self.files
    }

    /// The bytes at `place`, which this artifact gave.
    ///
    /// # Panics
    /// When it has no such place.
    #[must_use]
    pub fn bytes(&self, place: &Place) -> &[u8] {
        &self.files[place.file].bytes()[place.range.clone()]
    }

    /// The tensor called `name`, in constant time.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.header.tensor(name).map(|info| self.view(info))
    }

    /// All tensors, in the files' order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorView<'_>> {
        self.header.tensors().map(|info| self.view(info))
    }

    /// Where a tensor's bytes lie.
    #[must_use]
    pub fn tensor_place(&self, name: &str) -> Option<Place> {
        self.header.tensor(name).map(place)
    }

    /// Brings the pages at `place` into memory: see [`MappedFile::bring_in`].
    ///
    /// # Errors
    /// As [`MappedFile::bring_in`].
    pub fn bring_in(&self, place: Place, how: BringIn) -> Result<(), MapError> {
        self.files[place.file].bring_in(place.range, how)
    }

    /// Bytes at `place` that are in the page cache, where the system tells: see [`MappedFile::cached_bytes`].
    #[must_use]
    pub fn cached_bytes(&self, place: &Place) -> Option<u64> {
        self.files[place.file].cached_bytes(place.range.clone())
    }

    /// Keeps the files with weights in memory until this is dropped: see [`MappedFile::lock`].
    ///
    /// # Errors
    /// As [`MappedFile::lock`], for the first file that is refused. Those before it stay locked until this is dropped.
    pub fn lock(&self) -> Result<(), MapError> {
        self.files.iter().try_for_each(MappedFile::lock)
    }

    /// Chooses what becomes of the files' cached pages when this is dropped.
    pub fn set_let_go(&mut self, let_go: LetGo) {
        self.files.iter_mut().chain(&mut self.tokenizer).for_each(|file| file.set_let_go(let_go));
    }

    /// Whether every file still is what was mapped: see [`MappedFile::verify_unchanged`].
    ///
    /// # Errors
    /// As [`MappedFile::verify_unchanged`], for the first file that is not.
    pub fn verify_unchanged(&self) -> Result<(), MapError> {
        self.files.iter().try_for_each(MappedFile::verify_unchanged)
    }

    /// Whether some reading of any file met lost pages, or a change was noticed. Never goes back to false.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.files.iter().any(MappedFile::is_poisoned)
    }

    fn view<'a>(&'a self, info: TensorInfo<'a>) -> TensorView<'a> {
        TensorView { name: info.name, ty: info.ty, dims: info.dims, bytes: self.bytes(&place(info)) }
    }
}

/// In the files, whose lengths the header was validated against.
fn place(info: TensorInfo<'_>) -> Place {
    let place = |offset: u64| usize::try_from(offset).expect("a mapped file's offsets fit in memory");
    Place { file: info.file, range: place(info.offset)..place(info.offset + info.bytes) }
}

/// Refuses a `tokenizer.json` that is too large, or another one than was looked at.
fn check_tokenizer(file: &MappedFile, text: Text, path: &Path, texts: &[FileIdentity]) -> Result<(), OpenError> {
    let (bytes, limit) = (file.identity().size_bytes, text.bytes_max());
    if bytes > limit {
        let source = FolderError::TooLarge { bytes, limit };
        return Err(OpenError::InvalidFolder { path: path.to_owned(), source });
    }
    if !texts.contains(&file.identity()) {
        return Err(OpenError::Changed { path: path.to_owned() });
    }
    file.verify_unchanged().map_err(|error| OpenError::of(path, error))
}

/// The header of the mapped GGUF `files`.
fn parse(files: &ArtifactFiles, mapped: &[MappedFile]) -> Result<Header, OpenError> {
    let invalid = |number: usize| {
        let path = files.weights[number].clone();
        move |source: FormatError| OpenError::Invalid { path, source }
    };
    let parsed = |number: usize| gguf::parse(mapped[number].bytes()).map_err(invalid(number));
    let first = parsed(0)?;
    if !files.are_several() {
        gguf::check_whole(&first).map_err(invalid(0))?;
        return Ok(first);
    }
    let shards = u32::try_from(mapped.len()).expect("at most SHARDS_MAX");
    let mut join = gguf::Join::new(first, shards).map_err(invalid(0))?;
    for number in 1..mapped.len() {
        join.add(&parsed(number)?).map_err(invalid(number))?;
    }
    join.finish().map_err(invalid(0))
}
