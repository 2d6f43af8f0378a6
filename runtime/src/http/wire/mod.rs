//! What travels on the wire: bodies of requests read into what the crates below understand, and answers written.
//!
//! Invariants: a field that is not understood is refused by name, as is a value that cannot be honoured; nothing is
//! silently dropped but what changes no answer. Reading a body takes a bounded multiple of its bytes. A request that
//! was read can be computed, but for what only the model knows: vocabulary, context, chat template.
//!
//! [`json`] (bytes to bounded values) → [`fields`] (values taken by name; [`shapes`] that several bodies have) →
//! [`generation`] (what requests share), [`tools`], [`chat`], [`completion`], [`context`], [`embedding`], [`rerank`], [`score`],
//! [`tokenize`], [`load`]; [`answer`] is the way back.
//! Other interfaces read theirs with the same means in folders of their own, and make the same of them ([`plain`]).
//!
//! Deliberately absent: sockets, headers and content types (`http::guard`), and everything that needs a model.

pub(crate) mod answer;
mod chat;
mod completion;
pub(crate) mod constraint;
mod context;
mod delivery;
pub(crate) mod embedding;
mod ending;
mod fields;
pub(crate) mod generation;
pub(crate) mod inputs;
mod json;
pub(crate) mod keep_alive;
mod load;
mod plain;
#[cfg(test)]
pub(crate) mod refusal;
pub(crate) mod rerank;
pub(crate) mod restated;
pub(crate) mod samplers;
pub(crate) mod sampling;
pub(crate) mod score;
mod shapes;
mod tokenize;
pub(crate) mod tools;
pub(crate) mod unknown;
mod urgency;

pub(crate) use chat::{ChatRequest, messages_if_any, take_turn};
pub(crate) use completion::CompletionRequest;
pub(crate) use constraint::Constraint;
pub(crate) use context::ContextRequest;
pub(crate) use delivery::{Delivery, IncludeProgress, IncludeUsage};
pub(crate) use embedding::EmbeddingRequest;
pub(crate) use fields::Fields;
pub(crate) use generation::{CacheWish, Common, TokenNames};
pub(crate) use inputs::PromptInput;
pub(crate) use json::{Node, parse_object};
pub(crate) use load::LoadRequest;
pub(crate) use plain::{new_id, said};
pub(crate) use rerank::RerankRequest;
pub(crate) use sampling::Repeats;
pub(crate) use score::ScoreRequest;
pub(crate) use tokenize::{DetokenizeRequest, Subject, Telling, TokenizeRequest};
pub(crate) use tools::{
    ChatOptions, EFFORTS, ThinkingLevel, ThinkingWish, ToolChoice, conversation_bytes, shown_bytes_max,
};
pub(crate) use urgency::{Urgency, header_timeout};
