//! Tables that are costly to make, kept in a folder between runs.
//!
//! What a header leads to (the hash tables of a tokenizer) takes tens of milliseconds to build and a few to read. Each
//! file holds the tables of one version of one artifact, flat and little-endian, so that each is read straight into the
//! memory it is used from; the layout is in `layout.rs`.
//!
//! They are read and not mapped: a map would take a descriptor and one of the guard's places for as long as a tokenizer
//! is kept, and what is checked would still be open to change afterwards.
//!
//! Invariants:
//! - A file answers only to the very key that it was written for: the artifact's identity, a fingerprint of what the
//!   tables were made of, and the layout of whoever made them. An identity may be weak (a file rewritten within one tick
//!   of the file system's clock, or with its time put back); the fingerprint is of the contents, so that no window is
//!   racy.
//! - A file that is torn, old, cut or changed in any bit is no file: nothing but `None` comes of it.
//! - A file appears by rename, whole. Nothing is kept in a folder that others can write to.
//! - Folders are bounded by [`limits`](crate::limits): the longest unused files go first.
//!
//! Deliberately absent: what the tables mean, and whether their numbers make sense together; who reads them checks.

mod folder;
mod layout;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::artifact::ArtifactIdentity;
use crate::private_folder::PrivateFolder;

/// What tables were made of, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablesKey {
    words: [u64; 7],
}

impl TablesKey {
    /// Tables of `layout`, a number that their maker raises with every change of what it makes, from `fingerprint`, that
    /// of all that they were made of, for the version `identity` of an artifact.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
    pub fn new(layout: u32, identity: &ArtifactIdentity, fingerprint: u128) -> Self {
        let [device, inode, size, modified] = identity.words();
        let halves = [fingerprint as u64, (fingerprint >> 64) as u64];
        Self { words: [u64::from(layout), device, inode, size, modified, halves[0], halves[1]] }
    }
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table<'a> {
    /// Of bytes.
    Bytes(Cow<'a, [u8]>),
    /// Of 32-bit words.
    Words(Cow<'a, [u32]>),
}

impl<'a> Table<'a> {
    /// A borrowed table of bytes.
    #[must_use]
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }

    /// A borrowed table of words.
    #[must_use]
    pub fn of_words(words: &'a [u32]) -> Self {
        Self::Words(Cow::Borrowed(words))
    }

    /// The bytes of a table of bytes.
    #[must_use]
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes.into_owned()),
            Self::Words(_) => None,
        }
    }

    /// The words of a table of words.
    #[must_use]
    pub fn into_words(self) -> Option<Vec<u32>> {
        match self {
            Self::Words(words) => Some(words.into_owned()),
            Self::Bytes(_) => None,
        }
    }
}

/// A folder with tables. `Sync`; several processes may share one.
#[derive(Clone, Debug)]
pub struct TableStore {
    folder: PrivateFolder,
}

impl TableStore {
    /// The tables in `folder`, which is made (for its owner alone) when the first are kept. Nothing is looked at yet.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder: PrivateFolder::at(folder) }
    }

    /// The tables kept for `key`, which are then the last to go; `None` if there are none that can be trusted.
    #[must_use]
    pub fn load(&self, key: &TablesKey) -> Option<Vec<Table<'static>>> {
        let file = folder::open(&self.folder, key)?;
        let tables = layout::read(&file, key)?;
        folder::mark_used(&file);
        Some(tables)
    }

    /// Keeps `tables` for `key`, in the place of what was kept for it.
    ///
    /// # Errors
    /// What the system says when the folder or file cannot be written: nothing is kept then, and nothing is lost. Also
    /// when the tables are larger than [`TABLES_FILE_BYTES_MAX`](crate::limits::TABLES_FILE_BYTES_MAX), or the folder is
    /// open to others.
    pub fn keep(&self, key: &TablesKey, tables: &[Table<'_>]) -> io::Result<()> {
        let head = layout::head(key, tables)?;
        folder::write(&self.folder, key, |file| layout::write(file, &head, tables))
    }
}
