//! One version of an artifact: of all its files together.

use std::sync::Arc;

use mapping::FileIdentity;
use sha2::{Digest as _, Sha256};

/// Which version of each of an artifact's files is meant. Any of them changed is another version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArtifactIdentity {
    /// The files with weights, in order, then what else is read.
    files: Arc<[FileIdentity]>,
    /// How many of them hold weights.
    weights: usize,
}

impl ArtifactIdentity {
    /// Of the files with weights, in order, and then of those without.
    pub(super) fn new(weights: impl IntoIterator<Item = FileIdentity>, texts: &[FileIdentity]) -> Self {
        let mut files: Vec<FileIdentity> = weights.into_iter().collect();
        let weights = files.len();
        files.extend_from_slice(texts);
        Self { files: files.into(), weights }
    }

    /// Length of the files with weights, in bytes: what a map of them takes.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.files[..self.weights].iter().map(|file| file.size_bytes).fold(0, u64::saturating_add)
    }

    /// The same in a fixed size: a single file's numbers, or a SHA-256 over those of several.
    #[must_use]
    pub fn words(&self) -> [u64; 4] {
        let numbers = |file: &FileIdentity| {
            let modified = file.modified_nanos.to_le_bytes();
            let low = u64::from_le_bytes(*modified.first_chunk().expect("16 bytes begin with 8"));
            [file.device, file.inode, file.size_bytes, low]
        };
        if let [only] = &*self.files {
            return numbers(only);
        }
        let mut hasher = Sha256::new();
        self.files.iter().flat_map(numbers).for_each(|number| hasher.update(number.to_le_bytes()));
        let digest: [u8; 32] = hasher.finalize().into();
        std::array::from_fn(|word| {
            u64::from_le_bytes(*digest[8 * word..].first_chunk().expect("32 bytes are four times 8"))
        })
    }
}
