//! What chats and completions have in common.

use models::generation::End;
use models::limits::{CHOICES_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX};
use models::sampling::Sampling;
use scheduler::KeepAlive;

use super::json::Node;
use super::{Fields, keep_alive, sampling};
use crate::http::error::ApiError;
use crate::limits::{TOKENS_MAX, USER_BYTES_MAX};

/// The fields that chats and completions share.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// The model as the request names it.
    pub(crate) model: String,
    /// Answers for each prompt, at least 1.
    pub(crate) choices: usize,
    /// Tokens of an answer at most; `None` is what is left of the context.
    pub(crate) tokens_max: Option<usize>,
    /// How tokens are drawn.
    pub(crate) sampling: Sampling,
    /// Texts that end an answer; none is empty.
    pub(crate) stop: Vec<String>,
    /// What a token that ends a text does.
    pub(crate) end: End,
    /// Alternatives to show for each token; `None` shows no log-probabilities.
    pub(crate) logprobs: Option<usize>,
    /// In one piece or as it comes.
    pub(crate) delivery: Delivery,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// How the answer comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// In one piece.
    Whole,
    /// As server-sent events.
    Streamed {
        /// Whether the last of them is the usage.
        include_usage: IncludeUsage,
    },
}

/// Whether a stream ends with its usage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IncludeUsage {
    /// A chunk of its own, after the last choice's end.
    Yes,
    /// No chunk.
    No,
}

impl Common {
    /// Takes what both kinds share. `tokens_max` and `logprobs`, which they spell differently, are the caller's.
    pub(super) fn take(
        fields: &mut Fields,
        tokens_max: Option<usize>,
        logprobs: Option<usize>,
    ) -> Result<Self, ApiError> {
        take_harmless(fields)?;
        Ok(Self {
            model: fields.model()?,
            choices: fields.integer("n", 1..=CHOICES_MAX as i128)?.unwrap_or(1),
            tokens_max,
            sampling: sampling::take(fields)?,
            stop: stop(fields)?,
            end: if fields.flag("ignore_eos")?.unwrap_or(false) { End::Ignored } else { End::Honoured },
            logprobs,
            delivery: delivery(fields)?,
            keep_alive: keep_alive::take(fields)?,
        })
    }

    /// Checks what only the model's vocabulary, of this many tokens, can tell.
    ///
    /// # Errors
    /// `invalid_value` when `logit_bias` names a token that is not in it.
    pub(crate) fn check_vocabulary(&self, tokens: usize) -> Result<(), ApiError> {
        match self.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= tokens) {
            None => Ok(()),
            Some((id, _)) => Err(ApiError::invalid_value("logit_bias", format_args!("names {id}, which is no token"))),
        }
    }
}

/// A bound on an answer's tokens.
pub(super) fn tokens_max(fields: &mut Fields, name: &str, least: usize) -> Result<Option<usize>, ApiError> {
    fields.integer(name, least as i128..=i128::from(TOKENS_MAX))
}

/// Fields that change no answer, checked and dropped.
fn take_harmless(fields: &mut Fields) -> Result<(), ApiError> {
    for name in ["user", "safety_identifier", "prompt_cache_key"] {
        if fields.text(name)?.is_some_and(|text| text.len() > USER_BYTES_MAX) {
            let why = format!("is longer than {USER_BYTES_MAX} bytes");
            return Err(ApiError::invalid_value(fields.path(name), why));
        }
    }
    fields.object("metadata")?;
    fields.only("store", |node| *node == Node::Bool(false))?;
    fields.only("service_tier", |node| matches!(node, Node::Text(tier) if tier == "auto" || tier == "default"))
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let path = fields.path("stop");
    let items = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Node::Text(text)) => return Ok(vec![stop_string(Node::Text(text), path)?]),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, "a string or an array of strings")),
    };
    if items.len() > STOP_STRINGS_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {STOP_STRINGS_MAX} strings")));
    }
    items.into_iter().enumerate().map(|(index, item)| stop_string(item, format!("{path}[{index}]"))).collect()
}

fn stop_string(node: Node, path: String) -> Result<String, ApiError> {
    match node {
        Node::Text(text) if text.is_empty() => Err(ApiError::invalid_value(path, "is empty")),
        Node::Text(text) if text.len() > STOP_STRING_BYTES_MAX => {
            Err(ApiError::invalid_value(path, format_args!("is longer than {STOP_STRING_BYTES_MAX} bytes")))
        }
        Node::Text(text) => Ok(text),
        _ => Err(ApiError::invalid_type(path, "a string")),
    }
}

fn delivery(fields: &mut Fields) -> Result<Delivery, ApiError> {
    let streamed = fields.flag("stream")?.unwrap_or(false);
    let Some(mut options) = fields.object("stream_options")? else {
        return Ok(if streamed { Delivery::Streamed { include_usage: IncludeUsage::No } } else { Delivery::Whole });
    };
    let include_usage = options.flag("include_usage")?.unwrap_or(false);
    options.finish()?;
    if !streamed {
        return Err(ApiError::invalid_value(fields.path("stream_options"), "is for `stream: true` alone"));
    }
    Ok(Delivery::Streamed { include_usage: if include_usage { IncludeUsage::Yes } else { IncludeUsage::No } })
}
