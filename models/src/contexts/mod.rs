//! Published contexts on disk: the keys and values of a text that was computed once, in a file that is mapped back.
//!
//! A folder holds one file for each context (`layout.rs`): what it is of, its tokens, its source (to compute it anew from)
//! and its full blocks as they lay in memory. The file is written by whoever computed them ([`ContextStore::write`]) and
//! mapped by whoever begins with its tokens ([`ContextStore::map`]); the blocks are read where they are mapped.
//!
//! Invariants: a file answers only for the very model, instructions and shape that its [`ContextKey`] names; one that is
//! torn, cut or changed in any bit that means something is no context, and is removed; a file appears by rename, whole and
//! synchronized. The source is looked at when it is read, the blocks when they are first mapped, all else when the folder
//! is read.
//!
//! Deliberately absent: which contexts are used, and for whom (the runtime keeps the index); a bound of the folder.

mod layout;
mod map;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use kernels::{Isa, KvBlock, KvPrecision, KvShape};
use loader::private_folder::{NewFile, PrivateFolder, is_abandoned};
use serde::{Deserialize, Serialize};

pub use self::map::MappedContext;
use crate::Descriptor;
use crate::limits::CONTEXT_FILES_READ_MAX;
use crate::template::Message;

/// What the names of context files end in.
const EXTENSION: &str = "context";

/// What keys and values were computed by: they are of use to nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextKey {
    words: [u64; 12],
}

impl ContextKey {
    /// Of blocks of `shape`, computed from the files that `descriptor` is of by instructions of `isa`: others round
    /// otherwise.
    #[must_use]
    pub fn new(descriptor: &Descriptor, isa: Isa, shape: KvShape) -> Self {
        Self::of_files(descriptor.identity().words(), descriptor.header().fingerprint(), isa, shape)
    }

    /// The same of files with this identity, whose header has this fingerprint.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
    pub fn of_files(identity_words: [u64; 4], fingerprint: u128, isa: Isa, shape: KvShape) -> Self {
        let [device, inode, size, modified] = identity_words;
        let KvShape { layers, kv_heads, head_dim, block_positions, precision } = shape;
        let [layers, kv_heads, head_dim, block_positions] =
            [layers, kv_heads, head_dim, block_positions].map(|size| size as u64);
        let precision = match precision {
            KvPrecision::F16 => 0,
            KvPrecision::Q8_0 => 1,
        };
        let halves = [fingerprint as u64, (fingerprint >> 64) as u64];
        let isa = number_of(isa);
        Self {
            words: [
                device,
                inode,
                size,
                modified,
                halves[0],
                halves[1],
                isa,
                layers,
                kv_heads,
                head_dim,
                block_positions,
                precision,
            ],
        }
    }

    /// Whether it is of this version of a model's files, by these instructions: what can be told without opening them.
    #[must_use]
    pub fn is_of(&self, identity_words: [u64; 4], isa: Isa) -> bool {
        self.words[..4] == identity_words && self.words[6] == number_of(isa)
    }
}

/// Stands in files: never given to another.
const fn number_of(isa: Isa) -> u64 {
    match isa {
        Isa::Scalar => 0,
        Isa::Avx2 => 1,
        Isa::AvxVnni => 2,
        Isa::Avx512 => 3,
    }
}

/// What a context is called and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextAbout {
    /// Never used twice.
    pub id: String,
    /// What its publisher calls it.
    pub name: String,
    /// The model's name.
    pub model: String,
    /// The tenant who published it.
    pub publisher: String,
    /// When, in seconds since 1970.
    pub created_unix_s: u64,
    /// What it was computed by.
    pub key: ContextKey,
}

/// What a context was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ContextSource {
    /// A text that prompts begin with.
    Text(String),
    /// Messages that conversations begin with.
    Messages(Vec<Message>),
}

/// A context that is in the folder: all of it but its source and its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRecord {
    /// What it is called and whose it is.
    pub about: ContextAbout,
    /// Its tokens, those behind the last full block included.
    pub tokens: Arc<[u32]>,
    /// Full blocks of keys and values.
    pub blocks: usize,
    /// Length of its file.
    pub file_bytes: u64,
}

/// A context that is to be written.
#[derive(Clone, Debug)]
pub struct ContextDraft {
    /// What it is called and whose it is.
    pub about: ContextAbout,
    /// Its tokens.
    pub tokens: Arc<[u32]>,
    /// What it was made of.
    pub source: ContextSource,
}

/// Why a context cannot be had from its file.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Its file is gone, torn, cut or changed: it has to be computed anew.
    #[error("the context's file is damaged or gone")]
    Damaged,
    /// It cannot be mapped now.
    #[error("the context's file cannot be mapped")]
    Map(#[source] loader::MapError),
}

/// A folder of contexts. `Sync`; several processes may share one.
#[derive(Clone, Debug)]
pub struct ContextStore {
    folder: PrivateFolder,
}

/// A context whose file is whole and synchronized, and has no name yet. Dropping it removes it.
#[derive(Debug)]
pub struct WrittenContext {
    file: NewFile,
    record: ContextRecord,
}

impl ContextStore {
    /// The contexts in `folder`, which is made (for its owner alone) when the first is written. Nothing is looked at yet.
    #[must_use]
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder: PrivateFolder::at(folder) }
    }

    /// All contexts that there are. Damaged files are removed, as is what writers that died have left; files of another
    /// version are left alone.
    #[must_use]
    pub fn list(&self) -> Vec<ContextRecord> {
        let mut records = Vec::new();
        if !self.folder.is_private() {
            return records;
        }
        let now = SystemTime::now();
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten().take(CONTEXT_FILES_READ_MAX) {
            let path = entry.path();
            let written = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(now);
            if is_abandoned(&path, written, now) {
                let _ = fs::remove_file(&path);
            }
            let Some(id) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(&format!(".{EXTENSION}")))
            else {
                continue;
            };
            match self.folder.open(&name(id)).map(|file| layout::read(&file)) {
                Some(Ok(record)) if record.about.id == id => records.push(record),
                Some(Ok(_) | Err(layout::Unread::Damaged)) => {
                    let _ = fs::remove_file(&path);
                }
                Some(Err(layout::Unread::OtherVersion)) | None => {}
            }
        }
        records
    }

    /// Length of the file that a context of so many `tokens` would have, and its full blocks of `block_bytes`.
    ///
    /// # Errors
    /// Never in practice: what is written is text.
    pub fn planned_bytes(draft: &ContextDraft, blocks: usize, block_bytes: usize) -> io::Result<u64> {
        Ok(layout::Parts::of(draft)?.head(blocks, block_bytes).file_bytes())
    }

    /// Writes a context: all but its name. Blocks are full ones, of one shape, from the first on.
    ///
    /// # Errors
    /// What the system says: a full disk, a folder that cannot be written or is open to others. Nothing is left then.
    pub fn write(&self, draft: &ContextDraft, blocks: &[KvBlock]) -> io::Result<WrittenContext> {
        let mut file = self.folder.create()?;
        let file_bytes = layout::write(file.file(), draft, blocks)?;
        file.file().sync_all()?;
        let record = ContextRecord {
            about: draft.about.clone(),
            tokens: Arc::clone(&draft.tokens),
            blocks: blocks.len(),
            file_bytes,
        };
        Ok(WrittenContext { file, record })
    }

    /// What a context was made of.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn source(&self, record: &ContextRecord) -> Result<ContextSource, ContextError> {
        let file = self.folder.open(&name(&record.about.id)).ok_or(ContextError::Damaged)?;
        layout::read_source(&file).ok_or(ContextError::Damaged)
    }

    /// Maps a context's blocks, of `shape`. All their bits are read, unless `verified` is the version of the file that they
    /// were read from before.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn map(
        &self,
        record: &ContextRecord,
        shape: KvShape,
        verified: Option<loader::FileIdentity>,
    ) -> Result<MappedContext, ContextError> {
        if !self.folder.is_private() {
            return Err(ContextError::Damaged);
        }
        MappedContext::open(&self.folder.path().join(name(&record.about.id)), record, (shape, verified))
    }

    /// Removes a context's file, if it is there. Whoever has it mapped keeps it.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.path().join(name(id))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl WrittenContext {
    /// Gives the file its name: from here on the context is there, also after a loss of power.
    ///
    /// # Errors
    /// What the system says: nothing is left then.
    pub fn commit(self) -> io::Result<ContextRecord> {
        self.file.take_durable_name(&name(&self.record.about.id))?;
        Ok(self.record)
    }
}

fn name(id: &str) -> String {
    format!("{id}.{EXTENSION}")
}
