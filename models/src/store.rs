//! Descriptors that outlast a restart: the costly part of each in a folder.
//!
//! What is kept is the tokenizer, as [tables](loader::tables). Header and template are read anew, which takes a few
//! milliseconds and keeps a file's validation where it was. Measured on two busy cores of an AMD EPYC (Zen 3), least and
//! median of 15: descriptor of gemma3-270m (262,144 tokens) built in 43 and 71 ms, out of the folder in 9 and 13, of
//! which its matchers of special tokens are 3 and its fingerprint is 1; of SmolLM2 28 and 49, 2.5 and 2.7. Their files
//! have 6.3 and 2.6 MB and are written in 5 and 2 ms.
//!
//! Invariants: the folder can be lost, full, read-only or wrong at any time, and costs nothing but time.
//! Deliberately absent: who decides when to write ([`DescriptorStore::keep`] belongs after the load that needed it).

use std::io;
use std::path::PathBuf;

use loader::gguf::Header;
use loader::tables::{TableStore, TablesKey};
use loader::{Artifact, ArtifactIdentity};

use crate::tokenizer::{TABLES_LAYOUT, Tokenizer};
use crate::{Descriptor, ModelError};

/// A folder with what descriptors are made of.
#[derive(Clone, Debug)]
pub struct DescriptorStore {
    tables: TableStore,
}

/// Where a descriptor's tokenizer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Out of the folder.
    Kept,
    /// From the file: it is worth keeping.
    Built,
}

impl DescriptorStore {
    /// The store in `folder`. Nothing is looked at yet.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { tables: TableStore::at(folder) }
    }

    /// As [`Descriptor::of`], with the tokenizer out of the folder if it is there.
    ///
    /// # Errors
    /// As [`Descriptor::of`]; never for anything in the folder.
    pub fn describe(&self, artifact: &Artifact, template: Option<&str>) -> Result<(Descriptor, Origin), ModelError> {
        let kept = || {
            let tables = self.tables.load(&key(artifact)?)?;
            Tokenizer::from_tables(artifact.header(), tables)
        };
        match kept() {
            Some(tokenizer) => Ok((Descriptor::with(artifact, tokenizer, template)?, Origin::Kept)),
            None => Ok((Descriptor::of(artifact, template)?, Origin::Built)),
        }
    }

    /// Keeps what is costly of `descriptor`, for the next time that a process makes it. Writes a file of up to many
    /// megabytes: not on a request's way. Of a tokenizer that the `tokenizers` crate runs nothing is kept.
    ///
    /// # Errors
    /// What the system says when the folder cannot be written; nothing is lost by it.
    pub fn keep(&self, descriptor: &Descriptor) -> io::Result<()> {
        match descriptor.tokenizer.tables() {
            Some(tables) => self.tables.keep(&key_of(descriptor.identity(), descriptor.header()), &tables),
            None => Ok(()),
        }
    }
}

/// The key of an artifact's tokenizer; `None` where it is not the header that has it.
fn key(artifact: &Artifact) -> Option<TablesKey> {
    artifact.tokenizer_json().is_none().then(|| key_of(artifact.identity(), artifact.header()))
}

fn key_of(identity: &ArtifactIdentity, header: &Header) -> TablesKey {
    TablesKey::new(TABLES_LAYOUT, identity, header.fingerprint())
}
