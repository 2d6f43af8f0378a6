//! The ledger from outside: what is acknowledged is there, once, whatever happens to the process or the disk.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod conservation;
mod durability;
mod queries;
mod refusals;
mod support;
mod writing;
