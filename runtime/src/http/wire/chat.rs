//! `POST /v1/chat/completions`: the request.

use models::limits::TOP_LOGPROBS_MAX;
use models::template::Message;

use super::generation::{Common, tokens_max};
use super::json::Node;
use super::{Fields, parse_object};
use crate::http::error::ApiError;
use crate::limits::MESSAGES_MAX;

/// A conversation to go on with.
#[derive(Clone, Debug)]
pub(crate) struct ChatRequest {
    /// What completions have too.
    pub(crate) common: Common,
    /// The conversation so far, never empty.
    pub(crate) messages: Vec<Message>,
}

impl ChatRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let messages = messages(&mut fields)?;
        let tokens_max = chat_tokens_max(&mut fields)?;
        let logprobs = logprobs(&mut fields)?;
        let common = Common::take(&mut fields, tokens_max, logprobs)?;
        take_unsupported(&mut fields)?;
        fields.finish()?;
        Ok(Self { common, messages })
    }
}

/// `max_completion_tokens`, or its older name `max_tokens`.
fn chat_tokens_max(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let new = tokens_max(fields, "max_completion_tokens", 1)?;
    let old = tokens_max(fields, "max_tokens", 1)?;
    if new.is_some() && old.is_some() && new != old {
        return Err(ApiError::invalid_value(fields.path("max_tokens"), "contradicts `max_completion_tokens`"));
    }
    Ok(new.or(old))
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let shown = fields.flag("logprobs")?.unwrap_or(false);
    let top: usize = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX as i128)?.unwrap_or(0);
    if top > 0 && !shown {
        return Err(ApiError::invalid_value(fields.path("top_logprobs"), "is for `logprobs: true` alone"));
    }
    Ok(shown.then_some(top))
}

/// What other servers do and this one does not (yet), in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    let empty = |node: &Node| matches!(node, Node::List(items) if items.is_empty());
    fields.only("tools", empty)?;
    fields.only("functions", empty)?;
    fields.only("tool_choice", |node| is_text(node, "none"))?;
    fields.only("function_call", |node| is_text(node, "none"))?;
    fields.only(
        "modalities",
        |node| matches!(node, Node::List(items) if items.len() == 1 && is_text(&items[0], "text")),
    )?;
    fields.flag("parallel_tool_calls")?;
    if let Some(mut format) = fields.object("response_format")? {
        format.only("type", |node| is_text(node, "text"))?;
        format.finish()?;
    }
    Ok(())
}

fn is_text(node: &Node, expected: &str) -> bool {
    matches!(node, Node::Text(text) if text == expected)
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let path = fields.path("messages");
    let items = match fields.take("messages") {
        None => return Err(ApiError::missing_field(path)),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, "an array of messages")),
    };
    if items.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    if items.len() > MESSAGES_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {MESSAGES_MAX} messages")));
    }
    items.into_iter().enumerate().map(|(index, item)| message(item, &format!("{path}[{index}]"))).collect()
}

fn message(item: Node, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(item, path)?;
    let role = role(&mut fields)?;
    let content = content(&mut fields)?;
    let name = fields.text("name")?;
    if role == "tool" {
        // Which call it answers is nothing that a template gets to see.
        fields.text("tool_call_id")?;
    }
    if role == "assistant" {
        fields.only("tool_calls", |node| matches!(node, Node::List(calls) if calls.is_empty()))?;
    }
    fields.finish()?;
    Ok(Message { role: role.to_owned(), content, name })
}

/// The role under the name that templates know.
fn role(fields: &mut Fields) -> Result<&'static str, ApiError> {
    match fields.required_text("role")?.as_str() {
        "system" | "developer" => Ok("system"),
        "user" => Ok("user"),
        "assistant" => Ok("assistant"),
        "tool" => Ok("tool"),
        _ => {
            let why = "must be `system`, `developer`, `user`, `assistant` or `tool`";
            Err(ApiError::invalid_value(fields.path("role"), why))
        }
    }
}

/// A string, or parts of text, each of which begins a new line, as llama.cpp and vLLM join them.
fn content(fields: &mut Fields) -> Result<String, ApiError> {
    let path = fields.path("content");
    let parts = match fields.take("content") {
        Some(Node::Text(text)) => return Ok(text),
        Some(Node::List(parts)) => parts,
        _ => return Err(ApiError::invalid_type(path, "a string or an array of parts")),
    };
    if parts.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    let texts: Result<Vec<String>, ApiError> =
        parts.into_iter().enumerate().map(|(index, item)| part(item, &format!("{path}[{index}]"))).collect();
    Ok(texts?.join("\n"))
}

fn part(item: Node, path: &str) -> Result<String, ApiError> {
    let mut fields = Fields::of(item, path)?;
    if fields.required_text("type")? != "text" {
        return Err(ApiError::unsupported_content(path));
    }
    let text = fields.required_text("text")?;
    fields.finish()?;
    Ok(text)
}
