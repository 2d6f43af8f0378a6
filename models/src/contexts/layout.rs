//! How a context lies in its file.
//!
//! A head of eleven 64-bit little-endian words, then the parts one behind the other:
//!
//! | word | what |
//! |---|---|
//! | 0, 1 | `dayflyKV`, and the version of this layout |
//! | 2, 3, 4 | bytes of the description, number of tokens, bytes of the source |
//! | 5, 6 | number of blocks, bytes of one |
//! | 7, 8, 9 | XXH3 of description and tokens, of the source, of the blocks with what lies between them |
//! | 10 | XXH3 of the words before |
//!
//! The description is JSON, tokens are 32-bit words, the source is JSON. Blocks begin on the next page, each on a border of
//! 64 bytes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use kernels::KvBlock;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{ContextDraft, ContextRecord, ContextSource};
use crate::limits::{CONTEXT_ABOUT_BYTES_MAX, CONTEXT_MAX, CONTEXT_SOURCE_BYTES_MAX};

const MAGIC: u64 = u64::from_le_bytes(*b"dayflyKV");
const VERSION: u64 = 1;
const WORDS: usize = 11;
const HEAD_BYTES: u64 = 8 * WORDS as u64;
/// Where blocks may begin in a file that is mapped anywhere.
const PAGE_BYTES: u64 = 4096;
/// Where each block begins in memory.
const BORDER_BYTES: u64 = BORDER.len() as u64;
/// What lies between blocks, and less than one border.
const BORDER: [u8; 64] = [0; 64];

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not what was written.
    Damaged,
    /// Another version of this program wrote it.
    OtherVersion,
}

/// What a file's head says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    about_bytes: u64,
    tokens: u64,
    source_bytes: u64,
    pub(super) blocks: u64,
    pub(super) block_bytes: u64,
    digests: [u64; 2],
    pub(super) blocks_digest: u64,
}

/// What is written before the blocks.
pub(super) struct Parts<'a> {
    about: Vec<u8>,
    tokens: &'a [u32],
    source: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(draft: &'a ContextDraft) -> io::Result<Self> {
        let (about, source) = (serde_json::to_vec(&draft.about)?, serde_json::to_vec(&draft.source)?);
        Ok(Self { about, tokens: &draft.tokens, source })
    }

    /// The head but for the blocks' digest.
    pub(super) fn head(&self, blocks: usize, block_bytes: usize) -> Head {
        let mut described = Xxh3::new();
        described.update(&self.about);
        described.update(bytemuck::cast_slice(self.tokens));
        Head {
            about_bytes: self.about.len() as u64,
            tokens: self.tokens.len() as u64,
            source_bytes: self.source.len() as u64,
            blocks: blocks as u64,
            block_bytes: block_bytes as u64,
            digests: [described.digest(), xxh3_64(&self.source)],
            blocks_digest: 0,
        }
    }
}

impl Head {
    fn words(&self) -> [u64; WORDS] {
        let Self { about_bytes, tokens, source_bytes, blocks, block_bytes, digests, blocks_digest } = *self;
        let mut words = [
            MAGIC,
            VERSION,
            about_bytes,
            tokens,
            source_bytes,
            blocks,
            block_bytes,
            digests[0],
            digests[1],
            blocks_digest,
            0,
        ];
        words[WORDS - 1] = xxh3_64(bytemuck::cast_slice(&words[..WORDS - 1]));
        words
    }

    /// The head of a file of `file_bytes`.
    fn of(words: [u64; WORDS], file_bytes: u64) -> Result<Self, Unread> {
        if words[0] == MAGIC && words[1] != VERSION {
            return Err(Unread::OtherVersion);
        }
        let [
            magic,
            _,
            about_bytes,
            tokens,
            source_bytes,
            blocks,
            block_bytes,
            described,
            source,
            blocks_digest,
            digest,
        ] = words;
        let head = Self {
            about_bytes,
            tokens,
            source_bytes,
            blocks,
            block_bytes,
            digests: [described, source],
            blocks_digest,
        };
        let is_whole = magic == MAGIC && digest == xxh3_64(bytemuck::cast_slice(&words[..WORDS - 1]));
        let is_bounded = about_bytes <= CONTEXT_ABOUT_BYTES_MAX
            && tokens <= u64::from(CONTEXT_MAX)
            && source_bytes <= CONTEXT_SOURCE_BYTES_MAX
            && blocks <= tokens
            && block_bytes <= u64::from(u32::MAX);
        if is_whole && is_bounded && head.file_bytes() == file_bytes { Ok(head) } else { Err(Unread::Damaged) }
    }

    fn source_at(&self) -> u64 {
        HEAD_BYTES + self.about_bytes + 4 * self.tokens
    }

    /// Where the blocks begin in the file.
    pub(super) fn blocks_at(&self) -> u64 {
        (self.source_at() + self.source_bytes).next_multiple_of(PAGE_BYTES)
    }

    /// From one block's beginning to the next one's.
    pub(super) fn stride_bytes(&self) -> u64 {
        self.block_bytes.next_multiple_of(BORDER_BYTES)
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.blocks_at() + self.blocks * self.stride_bytes()
    }
}

/// Writes a whole file, its head last. Returns its length.
pub(super) fn write(file: &mut File, draft: &ContextDraft, blocks: &[KvBlock]) -> io::Result<u64> {
    let parts = Parts::of(draft)?;
    let block_bytes = blocks.first().map_or(0, |block| size_of_val(block.halves()));
    let mut head = parts.head(blocks.len(), block_bytes);
    file.seek(SeekFrom::Start(HEAD_BYTES))?;
    file.write_all(&parts.about)?;
    file.write_all(bytemuck::cast_slice(parts.tokens))?;
    file.write_all(&parts.source)?;
    file.seek(SeekFrom::Start(head.blocks_at()))?;
    let between = &BORDER[..usize::try_from(head.stride_bytes() - head.block_bytes).expect("less than a border")];
    let mut digest = Xxh3::new();
    for block in blocks {
        for bytes in [bytemuck::cast_slice(block.halves()), between] {
            digest.update(bytes);
            file.write_all(bytes)?;
        }
    }
    head.blocks_digest = digest.digest();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(bytemuck::cast_slice(&head.words()))?;
    Ok(head.file_bytes())
}

/// What a file says before its source. No more memory is taken than the file is long.
pub(super) fn read(file: &File) -> Result<ContextRecord, Unread> {
    let head = read_head(file)?;
    let about = read_part(file, HEAD_BYTES, head.about_bytes).ok_or(Unread::Damaged)?;
    let mut tokens = vec![0_u32; usize::try_from(head.tokens).map_err(|_| Unread::Damaged)?];
    let mut reader = file;
    reader.read_exact(bytemuck::cast_slice_mut(&mut tokens)).map_err(|_| Unread::Damaged)?;
    let mut digest = Xxh3::new();
    digest.update(&about);
    digest.update(bytemuck::cast_slice(&tokens));
    if digest.digest() != head.digests[0] {
        return Err(Unread::Damaged);
    }
    let about = serde_json::from_slice(&about).map_err(|_| Unread::Damaged)?;
    let blocks = usize::try_from(head.blocks).map_err(|_| Unread::Damaged)?;
    Ok(ContextRecord { about, tokens: Arc::from(tokens), blocks, file_bytes: head.file_bytes() })
}

/// The source, if it is what was written.
pub(super) fn read_source(file: &File) -> Option<ContextSource> {
    let head = read_head(file).ok()?;
    let source = read_part(file, head.source_at(), head.source_bytes)?;
    if xxh3_64(&source) != head.digests[1] {
        return None;
    }
    serde_json::from_slice(&source).ok()
}

/// The head of the file whose first bytes these are.
pub(super) fn head_of(bytes: &[u8]) -> Result<Head, Unread> {
    let first: &[u8; 8 * WORDS] = bytes.first_chunk().ok_or(Unread::Damaged)?;
    let mut words = [0; WORDS];
    bytemuck::cast_slice_mut(&mut words).copy_from_slice(first);
    Head::of(words, bytes.len() as u64)
}

fn read_head(mut file: &File) -> Result<Head, Unread> {
    let file_bytes = file.metadata().map_err(|_| Unread::Damaged)?.len();
    let mut words = [0; WORDS];
    file.seek(SeekFrom::Start(0)).map_err(|_| Unread::Damaged)?;
    file.read_exact(bytemuck::cast_slice_mut(&mut words)).map_err(|_| Unread::Damaged)?;
    Head::of(words, file_bytes)
}

/// `bytes`, which the head bounds by the file's length.
fn read_part(mut file: &File, at: u64, bytes: u64) -> Option<Vec<u8>> {
    let mut part = vec![0; usize::try_from(bytes).ok()?];
    file.seek(SeekFrom::Start(at)).ok()?;
    file.read_exact(&mut part).ok()?;
    Some(part)
}
