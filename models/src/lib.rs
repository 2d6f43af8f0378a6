//! Weights and tokens in, logits and text out.
//!
//! The way through this crate, in the order of a request:
//! [`descriptor`] (what a file's header says: plan, tokenizer, template) → [`model`] (the plan bound to mapped
//! weights) → [`template`] (messages to prompt) → [`tokenizer`] (text to ids) → [`generation`] (which tokens the next
//! step computes, and what its logits become) → [`executor`] (the arithmetic, over `kernels`) → [`sampling`] →
//! [`detokenizer`] and [`generation`]'s stop strings (ids to text that never breaks a character). An encoder has
//! [`encoding`] in the place of [`generation`]: texts in, vectors or scores out.
//!
//! An answer that has to keep to a schema or a grammar is held to it by [`grammar`], token by token.
//!
//! What was computed of a text that many begin with is kept in files by [`contexts`].
//!
//! An architecture file turns metadata into a [`plan::Network`]; two executors read that plan: [`executor`], which runs
//! requests on our kernels, and [`candle`], which runs them on any device that candle has; [`mod@reference`] is its ops over
//! weights that candle itself unpacked, which is the oracle.
//!
//! Invariants: weights are read where the file is mapped and never copied to the heap by [`executor`]; a key or tensor
//! that would change the maths and is not understood refuses the model by name.
//!
//! Deliberately absent: files (in `loader`), who runs when and on how much memory (in `scheduler`).

pub mod architecture;
pub mod candle;
pub mod contexts;
pub mod descriptor;
pub mod detokenizer;
pub mod encoding;
mod error;
pub mod executor;
pub mod generation;
pub mod grammar;
pub mod limits;
pub mod model;
pub mod perplexity;
pub mod plan;
pub mod reading;
pub mod reference;
pub mod residency;
pub mod sampling;
pub mod store;
pub mod template;
pub mod tokenizer;

pub use descriptor::Descriptor;
pub use error::ModelError;
pub use executor::Executor;
pub use model::Model;
pub use residency::{BroughtIn, PageCache, Progress};
pub use store::{DescriptorStore, Origin};
