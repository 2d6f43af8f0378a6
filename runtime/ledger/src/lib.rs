//! The durable record of what every request used.
//!
//! One SQLite file per runtime. A request is *reserved* before work is done for it, leaves *checkpoints* while it goes on for
//! long, and is *settled*, with its receipt, before its last byte is sent; memory that no request carries is stored as account
//! intervals, and what devices took in energy as intervals of their own. One thread writes, and commits everything that is
//! queued in one transaction; reads go by a connection of their own. Every row is linked to the one before it by a digest
//! (`chain`), sums by hour and day are kept beside the rows (`rollup`), old rows make way for anchors (`retention`), and all of
//! that can be checked ([`Reader::verify`]).
//!
//! Invariants: rows are appended and never changed, and deleted only where an anchor covers them (triggers refuse anything
//! else); a repeated operation is absorbed; a completion is called exactly once, and with `Ok` only after the commit is
//! durable; one process at a time writes; a ledger that lacks what was acknowledged is refused; whatever a dead process had
//! reserved is settled as crashed, at its last checkpoint, when the next one opens the file; the wall clock is stored for
//! display and says which hour a row counts in and how old it is, and orders nothing. Prompts and answers are never stored.
//!
//! Beside it, in a file of its own, is what keys there are ([`keys`]): they outlive a ledger that is moved away, and a
//! second process changes them while a server writes the ledger.
//!
//! Deliberately absent: async code. A [`Completion`] is called on the writer's thread and hands over to whatever waits.

mod chain;
mod entries;
mod error;
mod journal;
pub mod keys;
mod limits;
mod lock;
mod mark;
mod operation;
mod owner;
mod reader;
mod retention;
mod rollup;
mod rows;
mod run;
mod schema;
mod store;
mod verify;
mod walk;
mod writer;

pub use error::{ChainBreak, LedgerError, StoreFailure};
pub use limits::{CHECKPOINTS_PER_REQUEST_MAX, IDEMPOTENCY_KEY_BYTES_MAX, KEYS_MAX, QUEUE_MAX, RECENT_MAX};
pub use operation::{Checkpoint, Completion, Reservation, Settlement, wait};
pub use reader::{Reader, SavingsQuery, SeriesQuery, Since, Snapshot};
pub use rollup::Span;
pub use rows::{
    AccountTotal, EnergyTotal, KeyTotal, SettledRequest, TenantTotal, UsageBucket, UsageRecord, UsageState,
};
pub use store::{Ledger, LedgerOptions};
pub use verify::{Fault, Verification};
