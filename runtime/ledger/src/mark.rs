//! How far the chain was acknowledged, noted beside the ledger.
//!
//! SQLite takes a WAL up to its first frame that is not whole, which is right for the last commit of a process that died and
//! loses every later one if a frame in the middle is damaged. So the last link that was acknowledged is noted in a file
//! beside the ledger after each commit, `LINK DIGEST` in a line, and a ledger that ends before it, or has another row
//! there, is refused. To go on with what is left, whoever answers for it deletes that file.
//!
//! Invariants: what is noted is durable in the ledger already, so that a note never refuses what is whole, whenever the
//! power fails; a note that is missing, old or torn refuses nothing. Deliberately absent: waiting for the disk.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::LedgerError;
use crate::chain::{self, Digest, Head};
use crate::error::StoreFailure;
use crate::retention::Anchor;

/// The file in which heads are noted.
#[derive(Debug)]
pub(crate) struct HeadMark {
    file: File,
}

impl HeadMark {
    /// For the ledger at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside(path))?;
        Ok(Self { file })
    }

    /// Notes that everything up to `head` was committed.
    pub(crate) fn note(&self, head: &Head) {
        // One that cannot be written leaves the last one, which is true as well.
        let _ = self.file.write_all_at(line(head).as_bytes(), 0);
    }
}

/// Refuses a ledger that lacks what was noted.
pub(crate) fn check(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let Some((link, digest)) = fs::read_to_string(beside(path)).ok().and_then(|text| parsed(&text)) else {
        return Ok(());
    };
    if Anchor::latest(connection)?.is_some_and(|anchor| anchor.last_link >= link) {
        return Ok(());
    }
    let stored: Option<Digest> =
        connection.query_row("SELECT digest FROM chain WHERE link = ?1", [link], |row| row.get(0)).optional()?;
    let reason = match stored {
        Some(stored) if chain::hex(&stored) == digest => return Ok(()),
        Some(_) => "the row of the last link that was acknowledged is another one",
        None => "rows that were acknowledged are missing",
    };
    Err(LedgerError::corrupt(StoreFailure::Acknowledged { link, reason, noted_in: beside(path) }))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// Always as long, so that a shorter number leaves nothing of a longer one.
fn line(head: &Head) -> String {
    format!("{:020} {}\n", head.link, chain::hex(&head.digest))
}

/// The link and the digest's digits, of a line that is whole.
fn parsed(text: &str) -> Option<(i64, String)> {
    let (link, digest) = text.strip_suffix('\n')?.split_once(' ')?;
    let is_whole = link.len() == 20 && digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_whole { Some((link.parse().ok()?, digest.to_owned())) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_whole_says_nothing() {
        let whole = line(&Head { link: 7, digest: [0xab; 32] });
        assert_eq!(parsed(&whole), Some((7, "ab".repeat(32))));
        for cut in 0..whole.len() {
            assert_eq!(parsed(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(parsed(&whole.replace("ab", "xy")), None);
        assert_eq!(parsed(&format!("{whole}{whole}")), None);
    }
}
