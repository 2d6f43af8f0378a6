//! What requests of other interfaces become: the same as ours, with everything unsaid that those cannot say.

use models::generation::{End, Ending, Shown};
use models::sampling::Sampling;
use models::template::Message;
use uuid::Uuid;

use super::{CacheWish, Common, Delivery, Repeats, TokenNames, Urgency};
use crate::config::Overlong;

impl Common {
    /// A request to `model` that says no more than how its tokens are drawn: one answer, whole, as long as it gets.
    pub(crate) fn plain(model: String, (sampling, repeats): (Sampling, Repeats)) -> Self {
        Self {
            model,
            choices: 1,
            tokens_max: None,
            sampling,
            constraint: None,
            stop: Vec::new(),
            end: End::Honoured,
            ending: Ending::default(),
            control_tokens: Shown::No,
            logprobs: None,
            token_names: TokenNames::Texts,
            delivery: Delivery::Whole,
            keep_alive: None,
            urgency: Urgency::default(),
            context: None,
            context_max: None,
            overlong: Overlong::default(),
            repeats,
            cache: CacheWish::Unsaid,
        }
    }
}

/// A message of a conversation. `role` is one that templates know.
pub(crate) fn said(role: &str, content: String) -> Message {
    Message { role: role.to_owned(), content, ..Message::default() }
}

/// An id for a request that comes now; its receipt is found by it.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}
