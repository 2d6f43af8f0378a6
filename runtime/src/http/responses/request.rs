//! The request: instructions and input, as messages.

use std::collections::BTreeMap;

use models::limits::TOP_LOGPROBS_MAX;
use models::sampling::Sampling;
use models::template::Message;

use crate::http::error::ApiError;
use crate::http::wire::generation::{take_user, tokens_max};
use crate::http::wire::{Common, Delivery, Fields, Node, Urgency, keep_alive, parse_object, said, samplers, sampling};
use crate::limits::{INCLUDED_MAX, MESSAGES_MAX, METADATA_MAX, USER_BYTES_MAX};

/// Something to answer.
#[derive(Debug)]
pub(super) struct ResponseRequest {
    pub(super) common: Common,
    /// Never empty; instructions come first, if there are any.
    pub(super) messages: Vec<Message>,
    /// What the answer tells again.
    pub(super) told: Told,
}

/// What a request says that its answer says as well.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) instructions: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) user: Option<String>,
}

impl ResponseRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let instructions = fields.text("instructions")?;
        let system = instructions.clone().filter(|text| !text.is_empty()).map(|text| said("system", text));
        let messages: Vec<Message> = system.into_iter().chain(input(&mut fields)?).collect();
        let drawing = sampling::take_named(&mut fields, &["temperature", "top_p"], Sampling::default())?;
        let common = Common {
            tokens_max: tokens_max(&mut fields, "max_output_tokens", 1)?,
            logprobs: logprobs(&mut fields)?,
            delivery: delivery(&mut fields)?,
            keep_alive: keep_alive::take(&mut fields)?,
            urgency: Urgency::take(&mut fields)?,
            ..Common::plain(model, drawing)
        };
        let (metadata, user) = (metadata(&mut fields)?, take_user(&mut fields)?);
        take_unsupported(&mut fields)?;
        fields.finish()?;
        Ok(Self { common, messages, told: Told { instructions, metadata, user } })
    }
}

fn delivery(fields: &mut Fields) -> Result<Delivery, ApiError> {
    let is_streamed = fields.flag("stream")?.unwrap_or(false);
    if let Some(mut options) = fields.object("stream_options")? {
        options.only("include_obfuscation", |node| *node == Node::Bool(false))?;
        options.finish()?;
    }
    Ok(Delivery::plain(is_streamed))
}

/// `top_logprobs`, and what `include` asks for. There is no reasoning, encrypted or not, to include.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let path = fields.path("include");
    let top: Option<usize> = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX as i128)?;
    let items = match fields.take("include") {
        None => Vec::new(),
        Some(Node::List(items)) if items.len() <= INCLUDED_MAX => items,
        Some(Node::List(_)) => return Err(ApiError::invalid_value(path, format_args!("has more than {INCLUDED_MAX}"))),
        Some(_) => return Err(ApiError::invalid_type(path, "an array of strings")),
    };
    let mut is_included = false;
    for (index, item) in items.iter().enumerate() {
        match item {
            Node::Text(text) if text == "message.output_text.logprobs" => is_included = true,
            Node::Text(text) if text == "reasoning.encrypted_content" => {}
            _ => return Err(ApiError::unsupported_field(format!("{path}[{index}]"))),
        }
    }
    Ok(match top {
        Some(top) if top > 0 || is_included => Some(top),
        None if is_included => Some(0),
        Some(_) | None => None,
    })
}

fn metadata(fields: &mut Fields) -> Result<BTreeMap<String, String>, ApiError> {
    let path = fields.path("metadata");
    let entries = match fields.take("metadata") {
        None => return Ok(BTreeMap::new()),
        Some(Node::Object(entries)) if entries.len() <= METADATA_MAX => entries,
        Some(Node::Object(_)) => {
            return Err(ApiError::invalid_value(path, format_args!("has more than {METADATA_MAX} entries")));
        }
        Some(_) => return Err(ApiError::invalid_type(path, "an object of strings")),
    };
    let entry = |(name, value): (String, Node)| match value {
        Node::Text(text) if text.len() <= USER_BYTES_MAX => Ok((name, text)),
        Node::Text(_) => Err(ApiError::invalid_value(
            format!("{path}.{name}"),
            format_args!("is longer than {USER_BYTES_MAX} bytes"),
        )),
        _ => Err(ApiError::invalid_type(format!("{path}.{name}"), "a string")),
    };
    entries.into_iter().map(entry).collect()
}

/// What OpenAI does and this server does not do here, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    fields.only("tools", |node| matches!(node, Node::List(items) if items.is_empty()))?;
    // Without tools they all mean the same.
    fields.only("tool_choice", |node| matches!(node, Node::Text(text) if text == "none" || text == "auto"))?;
    fields.flag("parallel_tool_calls")?;
    fields.only("max_tool_calls", |node| samplers::is_number(node, 0))?;
    for flag in ["store", "background"] {
        fields.only(flag, |node| *node == Node::Bool(false))?;
    }
    fields.only("truncation", |node| matches!(node, Node::Text(text) if text == "disabled"))?;
    if let Some(reasoning) = fields.object("reasoning")? {
        reasoning.finish()?;
    }
    if let Some(mut text) = fields.object("text")? {
        if let Some(mut format) = text.object("format")? {
            format.only("type", |node| matches!(node, Node::Text(text) if text == "text"))?;
            format.finish()?;
        }
        text.only("verbosity", |node| matches!(node, Node::Text(text) if text == "medium"))?;
        text.finish()?;
    }
    Ok(())
}

/// `input`: a text, or items.
fn input(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let path = fields.path("input");
    let items = match fields.take("input") {
        None => return Err(ApiError::missing_field(path)),
        Some(Node::Text(text)) => return Ok(vec![said("user", text)]),
        Some(Node::List(items)) if !items.is_empty() => items,
        Some(Node::List(_)) => return Err(ApiError::invalid_value(path, "is empty")),
        Some(_) => return Err(ApiError::invalid_type(path, "a string or an array of items")),
    };
    if items.len() > MESSAGES_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {MESSAGES_MAX} items")));
    }
    items.into_iter().enumerate().map(|(index, item)| message(item, &format!("{path}[{index}]"))).collect()
}

fn message(item: Node, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(item, path)?;
    if fields.text("type")?.is_some_and(|kind| kind != "message") {
        return Err(ApiError::unsupported_content(path));
    }
    let role = match fields.required_text("role")?.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        _ => {
            let why = "must be `system`, `developer`, `user` or `assistant`";
            return Err(ApiError::invalid_value(fields.path("role"), why));
        }
    };
    // What an answer said of itself when it was given.
    for name in ["id", "status", "phase"] {
        fields.text(name)?;
    }
    let content_path = fields.path("content");
    let content = match fields.take("content") {
        Some(Node::Text(text)) => text,
        Some(Node::List(parts)) if !parts.is_empty() => {
            let part = |(index, part)| part_text(part, &format!("{content_path}[{index}]"));
            parts.into_iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?.join("\n")
        }
        Some(Node::List(_)) => return Err(ApiError::invalid_value(content_path, "is empty")),
        _ => return Err(ApiError::invalid_type(content_path, "a string or an array of parts")),
    };
    fields.finish()?;
    Ok(said(role, content))
}

fn part_text(part: Node, path: &str) -> Result<String, ApiError> {
    let mut fields = Fields::of(part, path)?;
    if !matches!(fields.required_text("type")?.as_str(), "input_text" | "output_text") {
        return Err(ApiError::unsupported_content(path));
    }
    let text = fields.required_text("text")?;
    fields.only("annotations", |node| matches!(node, Node::List(items) if items.is_empty()))?;
    // An answer's own, sent back.
    fields.take("logprobs");
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::{each_refused, refused};

    const MINIMUM: &str = r#""model":"m","input":"hi""#;

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""store":true"#, "unsupported_parameter", "store"),
            (r#""background":true"#, "unsupported_parameter", "background"),
            (r#""previous_response_id":"resp_1""#, "unsupported_parameter", "previous_response_id"),
            (r#""conversation":"conv_1""#, "unsupported_parameter", "conversation"),
            (r#""tools":[{"type":"function"}]"#, "unsupported_parameter", "tools"),
            (r#""tool_choice":"required""#, "unsupported_parameter", "tool_choice"),
            (r#""reasoning":{"effort":"low"}"#, "unsupported_parameter", "reasoning.effort"),
            (r#""text":{"format":{"type":"json_object"}}"#, "unsupported_parameter", "text.format.type"),
            (r#""text":{"verbosity":"low"}"#, "unsupported_parameter", "text.verbosity"),
            (r#""truncation":"auto""#, "unsupported_parameter", "truncation"),
            (r#""include":["file_search_call.results"]"#, "unsupported_parameter", "include[0]"),
            (r#""top_logprobs":21"#, "invalid_value", "top_logprobs"),
            (r#""max_output_tokens":0"#, "invalid_value", "max_output_tokens"),
            (r#""max_tokens":1"#, "unsupported_parameter", "max_tokens"),
            (r#""seed":1"#, "unsupported_parameter", "seed"),
            (r#""metadata":{"a":1}"#, "invalid_type", "metadata.a"),
            (
                r#""stream":true,"stream_options":{"include_obfuscation":true}"#,
                "unsupported_parameter",
                "stream_options.include_obfuscation",
            ),
        ];
        each_refused(ResponseRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn input_that_is_none_is_refused() {
        let table = [
            (r#""input":[]"#, "invalid_value", "input"),
            (r#""input":5"#, "invalid_type", "input"),
            (r#""input":["a"]"#, "invalid_type", "input[0]"),
            (r#""input":[{"role":"robot","content":"a"}]"#, "invalid_value", "input[0].role"),
            (r#""input":[{"type":"function_call","name":"f"}]"#, "unsupported_content", "input[0]"),
            (
                r#""input":[{"role":"user","content":[{"type":"input_image"}]}]"#,
                "unsupported_content",
                "input[0].content[0]",
            ),
            (r#""input":[{"role":"user","content":[]}]"#, "invalid_value", "input[0].content"),
            (r#""input":[{"role":"user"}]"#, "invalid_type", "input[0].content"),
        ];
        each_refused(ResponseRequest::parse, r#""model":"m""#, &table);
        let missing = ("missing_required_parameter", Some("input".to_owned()));
        assert_eq!(refused(ResponseRequest::parse(br#"{"model":"m"}"#)), missing);
        let many: Vec<String> = (0..=METADATA_MAX).map(|index| format!("\"k{index}\":\"v\"")).collect();
        let many = format!("{{{MINIMUM},\"metadata\":{{{}}}}}", many.join(","));
        assert_eq!(refused(ResponseRequest::parse(many.as_bytes())), ("invalid_value", Some("metadata".to_owned())));
        let many = format!("{{{MINIMUM},\"include\":[{}\"a\"]}}", "\"a\",".repeat(INCLUDED_MAX));
        assert_eq!(refused(ResponseRequest::parse(many.as_bytes())), ("invalid_value", Some("include".to_owned())));
        let many = vec![r#"{"role":"user","content":"a"}"#; MESSAGES_MAX + 1].join(",");
        let many = format!(r#"{{"model":"m","input":[{many}]}}"#);
        assert_eq!(refused(ResponseRequest::parse(many.as_bytes())), ("invalid_value", Some("input".to_owned())));
    }

    #[test]
    fn items_become_messages() {
        let request = ResponseRequest::parse(
            br#"{"model":"m","instructions":"be brief","input":[{"role":"developer","content":"a"},
                {"type":"message","role":"user","content":[{"type":"input_text","text":"b"},{"type":"input_text","text":"c"}]},
                {"type":"message","role":"assistant","id":"msg_1","status":"completed",
                    "content":[{"type":"output_text","text":"d","annotations":[],"logprobs":[]}]},
                {"role":"user","content":"e"}],
                "max_output_tokens":7,"store":false,"tools":[],"tool_choice":"auto","text":{"format":{"type":"text"}},
                "reasoning":{"effort":null},"include":["message.output_text.logprobs"],"metadata":{"a":"b"},"user":"u",
                "stream":true,"keep_alive":"1m","truncation":"disabled"}"#,
        );
        let ResponseRequest { common, messages, told } = request.expect("all of it is supported");
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        let expected = [("system", "be brief"), ("system", "a"), ("user", "b\nc"), ("assistant", "d"), ("user", "e")];
        assert_eq!(said, expected);
        assert_eq!((common.tokens_max, common.logprobs), (Some(7), Some(0)));
        assert!(common.keep_alive.is_some() && matches!(common.delivery, Delivery::Streamed { .. }));
        assert_eq!((told.user.as_deref(), told.metadata["a"].as_str()), (Some("u"), "b"));
    }
}
