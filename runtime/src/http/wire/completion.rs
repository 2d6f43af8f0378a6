//! `POST /v1/completions`: the request.

use models::generation::Echo;
use models::limits::{PROMPTS_MAX, TOP_LOGPROBS_MAX};
use models::tokenizer::Special;

use super::generation::{Common, tokens_max};
use super::json::Node;
use super::{Fields, parse_object};
use crate::http::error::ApiError;

/// Texts to go on with.
#[derive(Clone, Debug)]
pub(crate) struct CompletionRequest {
    /// What chats have too.
    pub(crate) common: Common,
    /// At least one.
    pub(crate) prompts: Vec<PromptInput>,
    /// Whether each prompt is part of its answers.
    pub(crate) echo: Echo,
    /// How special tokens in prompts of text are read.
    pub(crate) special: Special,
}

/// A prompt as the client sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PromptInput {
    /// Text, possibly empty.
    Text(String),
    /// Token ids, at least one, used as they are.
    Ids(Vec<u32>),
}

impl CompletionRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let prompts = prompts(&mut fields)?;
        let echo = if fields.flag("echo")?.unwrap_or(false) { Echo::Prompt } else { Echo::Nothing };
        let special = super::tokenize::special(&mut fields)?;
        let tokens_max = tokens_max(&mut fields, "max_tokens", 0)?;
        if tokens_max == Some(0) && echo == Echo::Nothing {
            return Err(ApiError::invalid_value(fields.path("max_tokens"), "may be 0 with `echo: true` alone"));
        }
        let logprobs = fields.integer("logprobs", 0..=TOP_LOGPROBS_MAX as i128)?;
        let common = Common::take(&mut fields, tokens_max, logprobs)?;
        take_unsupported(&mut fields, common.choices)?;
        fields.finish()?;
        Ok(Self { common, prompts, echo, special })
    }
}

/// What other servers do and this one does not, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields, choices: usize) -> Result<(), ApiError> {
    if let Some(best_of) = fields.integer::<usize>("best_of", 1..=i128::from(u32::MAX))?
        && best_of != choices
    {
        return Err(ApiError::unsupported_field(fields.path("best_of")));
    }
    fields.only("suffix", |node| matches!(node, Node::Text(text) if text.is_empty()))
}

/// A text, a list of ids, or a list of either.
fn prompts(fields: &mut Fields) -> Result<Vec<PromptInput>, ApiError> {
    const EXPECTED: &str = "a string, an array of token ids, or an array of either";
    let path = fields.path("prompt");
    let items = match fields.take("prompt") {
        None => return Err(ApiError::missing_field(path)),
        Some(Node::Text(text)) => return Ok(vec![PromptInput::Text(text)]),
        Some(Node::Ids(ids)) => return Ok(vec![PromptInput::Ids(ids)]),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, EXPECTED)),
    };
    if items.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    if items.len() > PROMPTS_MAX && !items.iter().any(is_number) {
        return Err(ApiError::invalid_value(path, format_args!("has more than {PROMPTS_MAX} prompts")));
    }
    items.into_iter().enumerate().map(|(index, item)| prompt(item, format!("{path}[{index}]"))).collect()
}

fn is_number(node: &Node) -> bool {
    matches!(node, Node::Integer(_) | Node::Float(_))
}

fn prompt(item: Node, path: String) -> Result<PromptInput, ApiError> {
    match item {
        Node::Text(text) => Ok(PromptInput::Text(text)),
        Node::Ids(ids) => Ok(PromptInput::Ids(ids)),
        Node::List(items) if items.is_empty() => Err(ApiError::invalid_value(path, "is empty")),
        Node::Integer(id) if u32::try_from(id).is_err() => Err(ApiError::invalid_value(path, "is no token id")),
        Node::List(_) => Err(ApiError::invalid_type(path, "an array of token ids")),
        _ => Err(ApiError::invalid_type(path, "a string or an array of token ids")),
    }
}
