//! `dayfly`: an ephemeral model-serving runtime.
//!
//! The one crate that knows all others. A request's way through its files: `http::accept` (sockets) → `http::guard`
//! (hosts, origins, keys) → `http::chat`, `http::completions`, `http::embeddings`, `http::rerank` and the folders of other
//! interfaces over `http::wire` (what is asked) → `generate`, and `embed` over it (lease, sequence, settlement) →
//! `loading` (catalog to mapped model) and `engine` (steps) → `metering` (receipt, ledger) → `http::stream` (what is
//! answered).

mod activity;
mod app;
mod cli;
mod client;
mod config;
mod contexts;
mod devices;
mod embed;
mod engine;
mod facts;
mod generate;
mod grammars;
mod host;
mod http;
mod limits;
mod live;
mod loading;
mod logging;
mod memory_budget;
mod metering;
mod nearest;
mod pool_events;
mod prefixes;
mod reports;
mod response_cache;
mod service;
mod shutdown;
mod tenancy;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
