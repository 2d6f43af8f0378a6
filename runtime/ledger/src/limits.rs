//! The bounds of this crate, in one place.

use std::time::Duration;

/// Operations that may wait for the writer; one more is refused as overloaded.
pub const QUEUE_MAX: usize = 4096;

/// The most records that [`crate::Reader::recent`] returns.
pub const RECENT_MAX: usize = 1000;

/// Operations committed in one transaction at most.
pub(crate) const BATCH_MAX: usize = 512;

/// Prepared statements that a connection keeps; it has fewer.
pub(crate) const STATEMENTS_MAX: usize = 128;

/// How long a connection waits for another one's lock.
pub(crate) const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);

/// Checkpoints of one request; one more is refused.
pub const CHECKPOINTS_PER_REQUEST_MAX: u64 = 1024;

/// Bytes of an idempotency key; a longer one is refused by whoever takes it from a client.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Keys in a store, revoked ones among them.
pub const KEYS_MAX: usize = 10_000;

/// Links that retention removes in one transaction, between two commits of others.
pub(crate) const REMOVED_LINKS_MAX: i64 = 1024;

/// Rows of sums held in memory before they are stored: a commit touches fewer, unless it
/// adopts or checks a whole file. Each takes some 400 bytes.
pub(crate) const ROLLUPS_TOUCHED_MAX: usize = 1 << 16;

/// Faults of one sort that a verification tells, and faults of rows after which it ends.
pub(crate) const STORE_FAULTS_MAX: usize = 16;

/// Waits for loads that quantiles are of: the latest ones, 8 bytes each.
pub(crate) const WAITS_READ_MAX: usize = 1_000_000;

/// Everyone's latest waits for loads, among which one tenant's are looked for: a look-up of a reservation each.
pub(crate) const WAITS_LOOKED_THROUGH_MAX: usize = 100_000;
