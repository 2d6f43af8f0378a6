//! The request: a conversation, its system prompt, and bounds.

use models::sampling::Sampling;
use models::template::Message;

use crate::http::error::ApiError;
use crate::http::wire::generation::{stops, tokens_max};
use crate::http::wire::{Common, Delivery, Fields, Node, parse_object, said, sampling};
use crate::limits::{MESSAGES_MAX, USER_BYTES_MAX};

/// A conversation to go on with.
#[derive(Debug)]
pub(super) struct MessagesRequest {
    pub(super) common: Common,
    /// Never empty; the system prompt comes first, if there is one.
    pub(super) messages: Vec<Message>,
}

/// A conversation whose tokens are counted.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) model: String,
    /// As it would be gone on with.
    pub(super) messages: Vec<Message>,
}

impl MessagesRequest {
    /// Reads a body of `/v1/messages`.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let tokens_max = tokens_max(&mut fields, "max_tokens", 1)?;
        let tokens_max = tokens_max.ok_or_else(|| ApiError::missing_field(fields.path("max_tokens")))?;
        let messages = conversation(&mut fields)?;
        let drawing = sampling::take_named(&mut fields, &["temperature", "top_k", "top_p"], Sampling::default())?;
        let common = Common {
            tokens_max: Some(tokens_max),
            stop: stops(&mut fields, "stop_sequences")?,
            delivery: Delivery::plain(fields.flag("stream")?.unwrap_or(false)),
            ..Common::plain(model, drawing)
        };
        take_harmless(&mut fields)?;
        take_unsupported(&mut fields)?;
        fields.finish()?;
        Ok(Self { common, messages })
    }
}

impl Counting {
    /// Reads a body of `/v1/messages/count_tokens`.
    ///
    /// # Errors
    /// As [`MessagesRequest::parse`].
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let messages = conversation(&mut fields)?;
        take_unsupported(&mut fields)?;
        fields.finish()?;
        Ok(Self { model, messages })
    }
}

/// Takes what changes no answer.
fn take_harmless(fields: &mut Fields) -> Result<(), ApiError> {
    if let Some(mut metadata) = fields.object("metadata")? {
        if metadata.text("user_id")?.is_some_and(|user| user.len() > USER_BYTES_MAX) {
            let why = format_args!("is longer than {USER_BYTES_MAX} bytes");
            return Err(ApiError::invalid_value(metadata.path("user_id"), why));
        }
        metadata.finish()?;
    }
    // Both are what every request has here.
    fields
        .only("service_tier", |node| matches!(node, Node::Text(tier) if tier == "auto" || tier == "standard_only"))?;
    fields.only("speed", |node| matches!(node, Node::Text(speed) if speed == "standard"))
}

/// What Anthropic does and this server does not do here, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    let is_none = |node: &Node| matches!(node, Node::List(items) if items.is_empty());
    fields.only("tools", is_none)?;
    let is_off = |mut fields: Fields, word: &str| -> Result<bool, ApiError> {
        Ok(fields.text("type")?.is_some_and(|kind| kind == word))
    };
    for (name, off) in [("tool_choice", "none"), ("thinking", "disabled")] {
        if let Some(choice) = fields.object(name)?
            && !is_off(choice, off)?
        {
            return Err(ApiError::unsupported_field(fields.path(name)));
        }
    }
    if let Some(output) = fields.object("output_config")? {
        output.finish()?;
    }
    fields.object("cache_control")?;
    Ok(())
}

/// Takes `system` and `messages`: what one speaker says in a row is one message.
fn conversation(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let system = match fields.take("system") {
        None => None,
        Some(node) => Some(text_of(node, &fields.path("system"))?).filter(|text| !text.is_empty()),
    };
    let path = fields.path("messages");
    let items = match fields.take("messages") {
        None => return Err(ApiError::missing_field(path)),
        Some(Node::List(items)) if !items.is_empty() => items,
        Some(Node::List(_)) => return Err(ApiError::invalid_value(path, "is empty")),
        Some(_) => return Err(ApiError::invalid_type(path, "an array of messages")),
    };
    if items.len() > MESSAGES_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {MESSAGES_MAX} messages")));
    }
    let mut messages: Vec<Message> = system.map(|text| said("system", text)).into_iter().collect();
    for (index, item) in items.into_iter().enumerate() {
        let message = message(item, &format!("{path}[{index}]"))?;
        match messages.last_mut().filter(|last| last.role == message.role) {
            Some(last) => {
                last.content.push('\n');
                last.content.push_str(&message.content);
            }
            None => messages.push(message),
        }
    }
    if messages.last().is_some_and(|last| last.role == "assistant") {
        let why = "ends with the assistant's words, which answers here do not go on from";
        return Err(ApiError::invalid_value(path, why));
    }
    Ok(messages)
}

fn message(item: Node, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(item, path)?;
    let role = fields.required_text("role")?;
    if !matches!(role.as_str(), "system" | "user" | "assistant") {
        return Err(ApiError::invalid_value(fields.path("role"), "must be `system`, `user` or `assistant`"));
    }
    let path = fields.path("content");
    let content = fields.take("content").ok_or_else(|| ApiError::missing_field(path.as_str()))?;
    fields.finish()?;
    Ok(said(&role, text_of(content, &path)?))
}

/// A string, or blocks of text, each of which begins a new line.
fn text_of(node: Node, path: &str) -> Result<String, ApiError> {
    let blocks = match node {
        Node::Text(text) => return Ok(text),
        Node::List(blocks) => blocks,
        _ => return Err(ApiError::invalid_type(path, "a string or an array of blocks")),
    };
    let texts: Result<Vec<String>, ApiError> =
        blocks.into_iter().enumerate().map(|(index, block)| block_text(block, &format!("{path}[{index}]"))).collect();
    Ok(texts?.join("\n"))
}

fn block_text(block: Node, path: &str) -> Result<String, ApiError> {
    let mut fields = Fields::of(block, path)?;
    if fields.required_text("type")? != "text" {
        return Err(ApiError::unsupported_content(path));
    }
    let text = fields.required_text("text")?;
    // What is alike is found again without being marked.
    fields.object("cache_control")?;
    fields.only("citations", |node| matches!(node, Node::List(items) if items.is_empty()))?;
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::{each_refused, refused};

    const MINIMUM: &str = r#""model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]"#;

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""tools":[{"name":"t"}]"#, "unsupported_parameter", "tools"),
            (r#""tool_choice":{"type":"auto"}"#, "unsupported_parameter", "tool_choice"),
            (r#""thinking":{"type":"enabled","budget_tokens":1024}"#, "unsupported_parameter", "thinking"),
            (r#""service_tier":"flex""#, "unsupported_parameter", "service_tier"),
            (r#""speed":"fast""#, "unsupported_parameter", "speed"),
            (r#""output_config":{"effort":"low"}"#, "unsupported_parameter", "output_config.effort"),
            (r#""temperature":3"#, "invalid_value", "temperature"),
            (r#""top_p":0"#, "invalid_value", "top_p"),
            (r#""min_p":0.1"#, "unsupported_parameter", "min_p"),
            (r#""stop_sequences":[""]"#, "invalid_value", "stop_sequences[0]"),
            (r#""stop":"x""#, "unsupported_parameter", "stop"),
            (r#""metadata":{"user_id":5}"#, "invalid_type", "metadata.user_id"),
            (r#""metadata":{"team":"a"}"#, "unsupported_parameter", "metadata.team"),
            (r#""system":5"#, "invalid_type", "system"),
            (r#""system":[{"type":"image"}]"#, "unsupported_content", "system[0]"),
        ];
        each_refused(MessagesRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn messages_that_are_none_are_refused() {
        let table = [
            (r#""messages":[]"#, "invalid_value", "messages"),
            (r#""messages":"hi""#, "invalid_type", "messages"),
            (r#""messages":[{"role":"robot","content":"a"}]"#, "invalid_value", "messages[0].role"),
            (r#""messages":[{"role":"user"}]"#, "missing_required_parameter", "messages[0].content"),
            (
                r#""messages":[{"role":"user","content":[{"type":"image"}]}]"#,
                "unsupported_content",
                "messages[0].content[0]",
            ),
            (
                r#""messages":[{"role":"user","content":[{"type":"tool_result"}]}]"#,
                "unsupported_content",
                "messages[0].content[0]",
            ),
            (
                r#""messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#,
                "invalid_value",
                "messages",
            ),
        ];
        each_refused(MessagesRequest::parse, r#""model":"m","max_tokens":1"#, &table);
        each_refused(Counting::parse, r#""model":"m""#, &table);
        let missing = |body: &str| refused(MessagesRequest::parse(body.as_bytes()));
        assert_eq!(missing(r#"{"model":"m"}"#), ("missing_required_parameter", Some("max_tokens".to_owned())));
        assert_eq!(
            missing(r#"{"model":"m","max_tokens":1}"#),
            ("missing_required_parameter", Some("messages".to_owned()))
        );
        let many = vec![r#"{"role":"user","content":"a"}"#; MESSAGES_MAX + 1].join(",");
        let many = format!(r#"{{"model":"m","max_tokens":1,"messages":[{many}]}}"#);
        assert_eq!(missing(&many), ("invalid_value", Some("messages".to_owned())));
    }

    #[test]
    fn a_conversation_is_read() {
        let request = MessagesRequest::parse(
            br#"{"model":"m","max_tokens":7,"stream":true,"temperature":0.5,"top_k":3,"stop_sequences":["x","y"],
                "system":[{"type":"text","text":"be","cache_control":{"type":"ephemeral"}},{"type":"text","text":"brief"}],
                "metadata":{"user_id":"u"},"service_tier":"auto","output_config":{"effort":null},"tools":[],"thinking":{"type":"disabled"},
                "messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"b"}]},
                    {"role":"assistant","content":"c"},{"role":"system","content":"now"},{"role":"user","content":"d"}]}"#,
        );
        let MessagesRequest { common, messages } = request.expect("all of it is supported");
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        let expected =
            [("system", "be\nbrief"), ("user", "a\nb"), ("assistant", "c"), ("system", "now"), ("user", "d")];
        assert_eq!(said, expected);
        assert_eq!((common.tokens_max, common.stop.len(), common.sampling.top_k), (Some(7), 2, 3));
        assert!(matches!(common.delivery, Delivery::Streamed { .. }));
    }
}
