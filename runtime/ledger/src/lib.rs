//! runtime/ledger
