//! The server from outside: the real binary, real sockets, models written for the occasion. Rows are those of the table
//! of faults.
//!
//! Every test has a server of its own and polls it with requests until a deadline; nothing sleeps. The harness:
//! [`server`] (the child process), [`client`] (bytes on sockets), [`models`] (files to serve).

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod access;
mod answers;
mod anthropic;
mod batching;
mod cancellation;
mod claims;
mod client;
mod contexts;
mod dashboard;
mod devices;
mod dialects;
mod drafts;
mod draining;
mod encoders;
mod energy;
mod faults;
mod fields;
mod files;
mod formats;
mod grammars;
mod keeping;
mod keys;
mod ledger_file;
mod lists;
mod llama_cpp;
mod loads;
mod minilm;
mod models;
mod ollama;
mod pool;
mod pools;
mod precision;
mod quotas;
mod receipts;
mod reports;
mod residency;
mod response_cache;
mod responses;
mod restated;
mod schemas;
mod scoring;
mod server;
mod smollm2;
mod sockets;
mod structure;
mod swaps;
mod texts;
mod tools;
