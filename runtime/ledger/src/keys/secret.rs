//! The server's secret, and what keys become by it.
//!
//! A key is never stored, but HMAC-SHA256 of it under 32 random bytes that lie in a file of their own, which only its owner
//! may read. So a copy of the store tells nothing of the keys; and as nobody outside knows what a guess becomes, looking it up
//! may take as long as it likes: its time says nothing that helps the next guess.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::error::StoreFailure;
use crate::owner::give_to_folder_owner;

const SECRET_BYTES: usize = 32;
/// Bits of the mode that let others than the owner in.
const OF_OTHERS: u32 = 0o077;

/// What a key became.
pub type KeyHash = [u8; 32];

/// The server's secret.
#[derive(Clone)]
pub struct KeySecret([u8; SECRET_BYTES]);

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret")
    }
}

impl KeySecret {
    /// What `key` becomes.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let mut mac = <Hmac<Sha256>>::new_from_slice(&self.0).expect("HMAC takes secrets of any length");
        mac.update(key);
        mac.finalize().into_bytes().into()
    }

    /// The secret in the file at `path`, which nobody but its owner may read.
    pub(super) fn read(path: &Path) -> Result<Self, StoreFailure> {
        let file = File::open(path)?;
        if file.metadata()?.mode() & OF_OTHERS != 0 {
            return Err(StoreFailure::Unexpected("others may read the secret beside it: its mode has to be 0600"));
        }
        let mut bytes = Vec::with_capacity(SECRET_BYTES);
        file.take(SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let bytes = bytes.try_into().map_err(|_| StoreFailure::Unexpected("the secret beside it has not 32 bytes"))?;
        Ok(Self(bytes))
    }

    /// A new secret in a new file at `path`. Nobody else makes one meanwhile: the caller has the store's lock.
    pub(super) fn create(path: &Path) -> Result<Self, StoreFailure> {
        let bytes = random::<SECRET_BYTES>()?;
        // Whole or not at all, whenever this process dies.
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        // One that was left by a process that died; and whatever else is there is not written into.
        if let Err(error) = fs::remove_file(&draft)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        give_to_folder_owner(&file, path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self(bytes))
    }
}

/// Bytes that nobody can guess.
pub(super) fn random<const COUNT: usize>() -> Result<[u8; COUNT], StoreFailure> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
