//! An opened artifact: a validated header over a mapped file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mapping::{FileIdentity, MapError, MappedFile};

use crate::gguf::{self, FormatError, Header, TensorInfo, TensorType};

/// A model's file, opened once, read-only: named tensors that borrow the mapped bytes.
#[derive(Debug)]
pub struct Artifact {
    path: PathBuf,
    file: MappedFile,
    header: Arc<Header>,
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
    /// alignment, which a file may set to 1.
    pub bytes: &'a [u8],
}

/// Why an artifact could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there: not found.
    #[error("{path}: no such file")]
    NotFound {
        /// What was to be opened.
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
            Self::NotARegularFile { .. } | Self::LinkLeavesRoot { .. } | Self::Invalid { .. } => true,
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
            MapError::Io { source } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound { path },
                _ => Self::Io { path, source },
            },
        }
    }
}

impl Artifact {
    /// Maps the file at `path`, links followed, and validates its header. Tensor data is not read.
    ///
    /// # Errors
    /// Every [`OpenError`] but [`OpenError::LinkLeavesRoot`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::map(path, |_| None)
    }

    /// As [`Artifact::open`], without parsing if the file still is the version `identity` that `header` was read from.
    /// Compare [`Artifact::header`] with `Arc::ptr_eq` to see which one it was.
    ///
    /// # Errors
    /// As [`Artifact::open`].
    pub fn open_with_header(path: &Path, identity: FileIdentity, header: Arc<Header>) -> Result<Self, OpenError> {
        let known = |file: &MappedFile| {
            (file.identity() == identity && header.file_bytes() == identity.size_bytes).then_some(header)
        };
        Self::map(path, known)
    }

    fn map(path: &Path, known: impl FnOnce(&MappedFile) -> Option<Arc<Header>>) -> Result<Self, OpenError> {
        let file = MappedFile::open(path).map_err(|error| OpenError::of(path, error))?;
        let parsed = match known(&file) {
            Some(header) => Ok(header),
            None => gguf::parse(file.bytes()).map(Arc::new),
        };
        // A file that is cut or written meanwhile may look invalid, or worse, valid.
        file.verify_unchanged().map_err(|error| OpenError::of(path, error))?;
        let header = parsed.map_err(|source| OpenError::Invalid { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, header })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which version of the file is mapped.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.file.identity()
    }

    /// The validated header, which outlives the artifact if kept.
    #[must_use]
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// The mapped file: its poisoned flag, its residency, populating ahead.
    #[must_use]
    pub fn file(&self) -> &MappedFile {
        &self.file
    }

    /// The tensor called `name`, in constant time.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.header.tensor(name).map(|info| self.view(info))
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorView<'_>> {
        self.header.tensors().map(|info| self.view(info))
    }

    /// Where a tensor's bytes lie in the file: what [`MappedFile::populate`] takes.
    #[must_use]
    pub fn tensor_range(&self, name: &str) -> Option<Range<usize>> {
        self.header.tensor(name).map(range)
    }

    fn view<'a>(&'a self, info: TensorInfo<'a>) -> TensorView<'a> {
        TensorView { name: info.name, ty: info.ty, dims: info.dims, bytes: &self.file.bytes()[range(info)] }
    }
}

/// In the file, whose length the header was validated against.
fn range(info: TensorInfo<'_>) -> Range<usize> {
    let place = |offset: u64| usize::try_from(offset).expect("a mapped file's offsets fit in memory");
    place(info.offset)..place(info.offset + info.bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;
    use crate::fixture::{TinyModel, tiny_model};

    #[test]
    fn tensors_are_views_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        let writer = tiny_model(&TinyModel { ty: TensorType::Q8_0, ..TinyModel::default() });
        writer.write_to(&path).unwrap();
        let artifact = Artifact::open(&path).unwrap();
        let mapped = artifact.file().bytes().as_ptr_range();
        assert_eq!(artifact.tensors().len(), writer.tensors.len());
        for (written, view) in writer.tensors.iter().zip(artifact.tensors()) {
            assert_eq!((written.name.as_str(), &*written.dims, &*written.data), (view.name, view.dims, view.bytes));
            assert!(mapped.contains(&view.bytes.as_ptr()), "nothing was copied");
            assert_eq!(artifact.tensor(view.name).unwrap().bytes.as_ptr(), view.bytes.as_ptr());
            assert_eq!(&artifact.file().bytes()[artifact.tensor_range(view.name).unwrap()], view.bytes);
        }
        assert!(artifact.tensor("absent").is_none());
    }

    #[test]
    fn errors_tell_whose_fault_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = |name: &str| Artifact::open(&path(name)).unwrap_err();
        assert!(matches!(error("absent.gguf"), OpenError::NotFound { .. }));
        fs::write(path("empty.gguf"), b"").unwrap();
        let too_short = FormatError::TooShort { file_bytes: 0 };
        assert!(matches!(error("empty.gguf"), OpenError::Invalid { source, .. } if source == too_short));
        assert!(error("empty.gguf").is_load_fail());
        assert!(matches!(error("empty.gguf/below"), OpenError::NotFound { .. }));
        fs::write(path("text.gguf"), b"not a model").unwrap();
        assert!(error("text.gguf").is_load_fail());
        assert!(matches!(error(""), OpenError::NotARegularFile { .. }));
        assert!(matches!(error("name\0with.gguf"), OpenError::Io { .. }));
        assert!(!error("absent.gguf").is_load_fail());
    }

    #[test]
    fn a_kept_header_serves_the_same_version_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        tiny_model(&TinyModel::default()).write_to(&path).unwrap();
        let first = Artifact::open(&path).unwrap();
        let (identity, header) = (first.identity(), Arc::clone(first.header()));
        let again = Artifact::open_with_header(&path, identity, Arc::clone(&header)).unwrap();
        assert!(Arc::ptr_eq(again.header(), &header));

        tiny_model(&TinyModel { layers: 1, ..TinyModel::default() }).write_to(&path).unwrap();
        let replaced = Artifact::open_with_header(&path, identity, Arc::clone(&header)).unwrap();
        assert!(!Arc::ptr_eq(replaced.header(), &header));
        assert!(replaced.tensor("blk.1.attn_q.weight").is_none());
        assert!(first.tensor("blk.1.attn_q.weight").is_some(), "row 12: the old version serves on");
    }

    #[test]
    fn row_11_a_truncated_file_poisons_and_is_refused_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        tiny_model(&TinyModel { hidden: 256, ffn: 512, ..TinyModel::default() }).write_to(&path).unwrap();
        let artifact = Artifact::open(&path).unwrap();
        let length = artifact.header().data_offset();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let last = artifact.tensors().last().unwrap();
        assert!(last.bytes.iter().all(|byte| *byte == 0));
        assert!(artifact.file().is_poisoned());
        assert!(Artifact::open(&path).unwrap_err().is_load_fail());
    }
}
