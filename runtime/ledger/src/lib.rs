//! The durable record of what every request used.
//!
//! One SQLite file per runtime. A request is *reserved* before work is done for it and *settled*, with its receipt,
//! before its last byte is sent; memory that no request carries is stored as account intervals. One thread writes,
//! and commits everything that is queued in one transaction; reads go by a connection of their own.
//!
//! Invariants: rows are appended and never changed (triggers refuse it); a repeated operation is absorbed; a
//! completion is called exactly once, and with `Ok` only after the commit is durable; one process at a time writes;
//! whatever a dead process had reserved is settled as crashed when the next one opens the file; the wall clock is
//! stored for display and orders nothing. Prompts and answers are never stored.
//!
//! Deliberately absent: async code. A [`Completion`] is called on the writer's thread and hands over to whatever waits.

mod error;
mod limits;
mod lock;
mod operation;
mod reader;
mod rows;
mod schema;
mod store;
mod writer;

pub use error::{LedgerError, StoreFailure};
pub use limits::{QUEUE_MAX, RECENT_MAX};
pub use operation::{Completion, Reservation, Settlement, wait};
pub use reader::{Reader, SavingsQuery, Since};
pub use rows::{AccountTotal, TenantTotal, UsageRecord, UsageState};
pub use store::{Ledger, LedgerOptions};
