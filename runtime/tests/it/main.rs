//! The server from outside: the real binary, real sockets, models written for the occasion. Rows are those of the table
//! of faults.
//!
//! Every test has a server of its own and polls it with requests until a deadline; nothing sleeps. The harness:
//! [`server`] (the child process), [`client`] (bytes on sockets), [`models`] (files to serve).

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod access;
mod answers;
mod anthropic;
mod anthropic_tools;
mod asking;
mod base_urls;
mod batching;
mod cancellation;
mod chatting;
mod claims;
mod client;
mod commands;
mod configuration;
mod contexts;
mod dashboard;
mod described;
mod devices;
mod dialects;
mod drafts;
mod draining;
mod encoders;
mod endings;
mod energy;
mod faults;
mod fields;
mod files;
mod formats;
mod gbnf;
mod grammars;
mod idle;
mod keeping;
mod keys;
mod ledger_file;
mod lists;
mod llama_cpp;
mod load_test;
mod loads;
mod logs;
mod minilm;
mod models;
mod ollama;
mod ollama_tools;
mod openapi;
mod operations;
mod penalties;
mod pool;
mod pools;
mod precision;
mod quotas;
mod receipts;
mod reload;
mod removal;
mod reports;
mod residency;
mod response_cache;
mod responses;
mod responses_tools;
mod restated;
mod schemas;
mod scores;
mod scoring;
mod server;
mod smollm2;
mod sockets;
mod structure;
mod swaps;
mod texts;
mod thoughtful;
mod tools;
mod unknown_fields;
mod vllm;
