//! The bounds of this crate, in one place.

use std::time::Duration;

/// Operations that may wait for the writer; one more is refused as overloaded.
pub const QUEUE_MAX: usize = 4096;

/// The most records that [`crate::Reader::recent`] returns.
pub const RECENT_MAX: usize = 1000;

/// Operations committed in one transaction at most.
pub(crate) const BATCH_MAX: usize = 512;

/// How long a connection waits for another one's lock.
pub(crate) const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
