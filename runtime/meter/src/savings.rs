//! What ephemeral serving saved: the same requests, against servers that never unload.
//!
//! Three arms over the same trace: *shared persistent* keeps one copy of each model that was used for the whole
//! window (the headline); *dedicated* keeps a copy for each tenant from that tenant's first request to its last;
//! *ephemeral* is what the ledger holds, with keep-alive, idle and load charged against us. The first two are
//! computed from measured sizes and spans, the third is measured.
//!
//! Invariants: differences are signed, and never clipped or averaged away; the tenants' figures sum to the total of
//! each arm exactly. Deliberately absent: key-value blocks and the compute of prefill and decode, which are the same
//! in every arm; the persistent arms' own loads and process overhead, which are counted as nothing in their favour.

mod inputs;

pub use inputs::{ModelUse, SavingsInputs, TenantUse};
