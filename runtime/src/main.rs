//! `dayfly`: an ephemeral model-serving runtime.
//!
//! The one crate that knows all others. A request's way through its files: `http::accept` (sockets) → `http::guard`
//! (hosts, origins, keys) → `http::chat` and `http::completions` over `http::wire` (what is asked) → `generate` (lease,
//! sequence, settlement) → `loading` (catalog to mapped model) and `engine` (steps) → `metering` (receipt, ledger) →
//! `http::stream` (what is answered).

mod app;
mod cli;
mod client;
mod config;
mod engine;
mod generate;
mod http;
mod limits;
mod loading;
mod metering;
mod shutdown;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
