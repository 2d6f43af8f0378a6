//! What real weights and tiny seeded ones must give, against engines that no one here wrote.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod batches;
mod candle;
mod drafts;
mod encoders;
mod formats;
mod generations;
mod goldens;
mod grammars;
mod minilm;
mod peer;
mod peer_encoders;
mod peer_models;
mod reference;
mod refusals;
mod requests;
mod stored;
mod support;
mod thoughts;
mod windows;
