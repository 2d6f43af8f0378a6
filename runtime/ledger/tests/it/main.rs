//! The ledger from outside: what is acknowledged is there, once, whatever happens to the process or the disk.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod arbitrary;
mod by_key;
mod conservation;
mod durability;
mod energy;
mod keys;
mod kill;
mod migrating;
mod queries;
mod refusals;
mod sums;
mod support;
mod torn;
mod verifying;
mod writing;
