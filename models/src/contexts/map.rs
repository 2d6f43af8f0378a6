//! A context's blocks where they are mapped.

use std::path::Path;
use std::sync::Arc;

use kernels::{KvBlock, KvBytes, KvShape};
use loader::{BringIn, FileIdentity, MapError, MappedFile};
use xxhash_rust::xxh3::xxh3_64;

use super::{ContextError, ContextRecord, layout};

/// The mapped blocks of a context. Clones are the same map, which ends with the last of them and of its blocks.
#[derive(Clone, Debug)]
pub struct MappedContext {
    file: Arc<MappedFile>,
    shape: KvShape,
    blocks: usize,
    begin: usize,
    stride_bytes: usize,
}

/// Where one block's bytes lie.
struct BlockBytes {
    file: Arc<MappedFile>,
    begin: usize,
    bytes: usize,
}

impl KvBytes for BlockBytes {
    fn bytes(&self) -> &[u8] {
        &self.file.bytes()[self.begin..self.begin + self.bytes]
    }
}

impl MappedContext {
    pub(super) fn open(
        path: &Path,
        record: &ContextRecord,
        (shape, verified): (KvShape, Option<FileIdentity>),
    ) -> Result<Self, ContextError> {
        let file = MappedFile::open(path).map_err(|error| match error {
            MapError::Io { source } if source.kind() == std::io::ErrorKind::NotFound => ContextError::Damaged,
            MapError::NotARegularFile | MapError::Empty | MapError::Changed => ContextError::Damaged,
            error => ContextError::Map(error),
        })?;
        let head = layout::head_of(file.bytes()).map_err(|_| ContextError::Damaged)?;
        let is_of_record = file.identity().size_bytes == record.file_bytes && head.blocks == record.blocks as u64;
        if !is_of_record || head.block_bytes != shape.block_bytes() as u64 {
            return Err(ContextError::Damaged);
        }
        let place = |at: u64| usize::try_from(at).expect("a mapped file's offsets fit in memory");
        let begin = place(head.blocks_at());
        // Best effort: what is not there comes when it is read.
        let _ = file.bring_in(begin..file.bytes().len(), BringIn::Populate);
        let is_known = verified == Some(file.identity());
        if !is_known && xxh3_64(&file.bytes()[begin..]) != head.blocks_digest {
            return Err(ContextError::Damaged);
        }
        // A file that was cut meanwhile reads as zeros, and its digest may have been right before.
        file.verify_unchanged().map_err(|_| ContextError::Damaged)?;
        let stride_bytes = place(head.stride_bytes());
        Ok(Self { file: Arc::new(file), shape, blocks: record.blocks, begin, stride_bytes })
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none of this number.
    #[must_use]
    pub fn block(&self, index: usize) -> KvBlock {
        assert!(index < self.blocks, "block {index} of {}", self.blocks);
        let begin = self.begin + index * self.stride_bytes;
        let bytes = BlockBytes { file: Arc::clone(&self.file), begin, bytes: self.shape.block_bytes() };
        KvBlock::kept(self.shape, Arc::new(bytes)).expect("lengths and borders were looked at when it was mapped")
    }

    /// The version of the file that is mapped.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.file.identity()
    }

    /// Whether the file still is what was mapped; what was computed from it otherwise is worthless.
    ///
    /// # Errors
    /// As [`MappedFile::verify_unchanged`].
    pub fn verify_unchanged(&self) -> Result<(), MapError> {
        self.file.verify_unchanged()
    }
}
