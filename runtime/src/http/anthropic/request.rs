//! The request: a conversation, its system prompt, and bounds.

use models::sampling::Sampling;
use models::template::Message;

use super::conversation::conversation;
use super::options::{Display, Options};
use crate::config::Overlong;
use crate::http::error::ApiError;
use crate::http::wire::generation::{stops, tokens_max};
use crate::http::wire::{ChatOptions, Common, Delivery, Fields, Node, parse_object, sampling};
use crate::limits::{CONTEXT_EDITS_MAX, USER_BYTES_MAX};

/// A conversation to go on with.
#[derive(Debug)]
pub(super) struct MessagesRequest {
    pub(super) common: Common,
    /// Never empty; the system prompt comes first, if there is one.
    pub(super) messages: Vec<Message>,
    /// Tools, and how much the model is to think.
    pub(super) options: ChatOptions,
    /// Whether that is shown.
    pub(super) display: Display,
}

/// A conversation whose tokens are counted.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) model: String,
    /// As it would be gone on with.
    pub(super) messages: Vec<Message>,
    /// What the model is told beside them.
    pub(super) options: ChatOptions,
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
        let Options { chat: options, display, constraint } = Options::take(&mut fields, &messages, Some(tokens_max))?;
        let drawing = sampling::take_named(&mut fields, &["temperature", "top_k", "top_p"], Sampling::default())?;
        let common = Common {
            tokens_max: Some(tokens_max),
            // Every request has to say a bound, and many say more than a small model has room for.
            overlong: Overlong::Cut,
            stop: stops(&mut fields, "stop_sequences")?,
            delivery: Delivery::plain(fields.flag("stream")?.unwrap_or(false)),
            constraint,
            ..Common::plain(model, drawing)
        };
        take_harmless(&mut fields)?;
        fields.finish()?;
        Ok(Self { common, messages, options, display })
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
        let Options { chat: options, .. } = Options::take(&mut fields, &messages, None)?;
        fields.object("cache_control")?;
        take_context_management(&mut fields)?;
        fields.finish()?;
        Ok(Self { model, messages, options })
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
    // What is alike is found again without being marked.
    fields.object("cache_control")?;
    take_context_management(fields)?;
    // Of which there are none.
    fields.only_empty("mcp_servers")?;
    // Both are what every request has here.
    fields.only_words("service_tier", &["auto", "standard_only"])?;
    fields.only_words("speed", &["standard"])
}

/// Takes what is to be cleared out of the conversation, as far as nothing is.
fn take_context_management(fields: &mut Fields) -> Result<(), ApiError> {
    let Some(mut management) = fields.object("context_management")? else { return Ok(()) };
    let path = management.path("edits");
    let edits = management.list("edits", CONTEXT_EDITS_MAX, "an array of edits")?.unwrap_or_default();
    for (index, edit) in edits.into_iter().enumerate() {
        let mut edit = Fields::of(edit, &format!("{path}[{index}]"))?;
        if edit.required_text("type")? != "clear_thinking_20251015" {
            let why = "nothing is cleared out of a conversation here: send it as it is to be";
            return Err(ApiError::unsupported_value(edit.path("type"), why));
        }
        let keep = edit.path("keep");
        let is_all = match edit.take("keep") {
            Some(Node::Text(word)) => word == "all",
            Some(node) => {
                let mut kept = Fields::of(node, &keep)?;
                let is_all = kept.required_text("type")? == "all";
                if is_all {
                    kept.finish()?;
                }
                is_all
            }
            // The last turn's.
            None => false,
        };
        if !is_all {
            return Err(ApiError::unsupported_value(keep, "thoughts that are sent are kept: must be `all`"));
        }
        edit.finish()?;
    }
    management.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::{each_refused, refused};

    const MINIMUM: &str = r#""model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]"#;

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""thinking":{"type":"enabled","budget_tokens":1024}"#, "invalid_value", "thinking.budget_tokens"),
            (r#""mcp_servers":[{}]"#, "unsupported_parameter", "mcp_servers"),
            (r#""service_tier":"flex""#, "unsupported_parameter", "service_tier"),
            (r#""speed":"fast""#, "unsupported_parameter", "speed"),
            (r#""output_config":{"speed":"low"}"#, "unsupported_parameter", "output_config.speed"),
            (r#""temperature":3"#, "invalid_value", "temperature"),
            (r#""top_p":0"#, "invalid_value", "top_p"),
            (r#""min_p":0.1"#, "unsupported_parameter", "min_p"),
            (r#""stop_sequences":[""]"#, "invalid_value", "stop_sequences[0]"),
            (r#""stop":"x""#, "unsupported_parameter", "stop"),
            (r#""metadata":{"user_id":5}"#, "invalid_type", "metadata.user_id"),
            (r#""metadata":{"team":"a"}"#, "unsupported_parameter", "metadata.team"),
            (
                r#""context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#,
                "unsupported_parameter",
                "context_management.edits[0].type",
            ),
            (
                r#""context_management":{"edits":[{"type":"clear_thinking_20251015"}]}"#,
                "unsupported_parameter",
                "context_management.edits[0].keep",
            ),
            (
                r#""context_management":{"edits":[{"type":"clear_thinking_20251015","keep":{"type":"thinking_turns","value":1}}]}"#,
                "unsupported_parameter",
                "context_management.edits[0].keep",
            ),
            (
                r#""context_management":{"edits":[{"type":"clear_thinking_20251015","keep":{"type":"all","value":1}}]}"#,
                "unsupported_parameter",
                "context_management.edits[0].keep.value",
            ),
            (r#""context_management":{"clear":1}"#, "unsupported_parameter", "context_management.clear"),
        ];
        each_refused(MessagesRequest::parse, MINIMUM, &table);
        let edits = [r#"{"type":"clear_thinking_20251015","keep":"all"}"#; CONTEXT_EDITS_MAX + 1].join(",");
        let many = format!(r#""context_management":{{"edits":[{edits}]}}"#);
        each_refused(MessagesRequest::parse, MINIMUM, &[(&many, "invalid_value", "context_management.edits")]);
    }

    #[test]
    fn what_has_to_be_there_is_missed() {
        let missing = |body: &str| refused(MessagesRequest::parse(body.as_bytes()));
        assert_eq!(missing(r#"{"model":"m"}"#), ("missing_required_parameter", Some("max_tokens".to_owned())));
        let none = ("missing_required_parameter", Some("messages".to_owned()));
        assert_eq!(missing(r#"{"model":"m","max_tokens":1}"#), none);
        assert_eq!(refused(Counting::parse(br#"{"model":"m"}"#)), none);
        each_refused(Counting::parse, r#""model":"m""#, &[(r#""messages":[]"#, "invalid_value", "messages")]);
        let rest = r#""model":"m","messages":[{"role":"user","content":"hi"}]"#;
        each_refused(Counting::parse, rest, &[(r#""max_tokens":1"#, "unsupported_parameter", "max_tokens")]);
    }

    #[test]
    fn a_request_is_read() {
        let request = MessagesRequest::parse(
            br#"{"model":"m","max_tokens":7,"stream":true,"temperature":0.5,"top_k":3,"stop_sequences":["x","y"],
                "system":"be brief","metadata":{"user_id":"u"},"service_tier":"auto","output_config":{"effort":null},"tools":[],
                "thinking":{"type":"disabled"},"mcp_servers":[],"cache_control":{"type":"ephemeral"},
                "context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"},
                    {"type":"clear_thinking_20251015","keep":{"type":"all"}}]},
                "messages":[{"role":"user","content":"a"},{"role":"assistant","content":"c"},{"role":"system","content":"now"},
                    {"role":"user","content":"d"}]}"#,
        );
        let MessagesRequest { common, messages, options, display } = request.expect("all of it is supported");
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        assert_eq!(said, [("system", "be brief"), ("user", "a"), ("assistant", "c"), ("system", "now"), ("user", "d")]);
        assert_eq!((common.tokens_max, common.stop.len(), common.sampling.top_k), (Some(7), 2, 3));
        assert!(matches!(common.delivery, Delivery::Streamed { .. }));
        assert_eq!((options.thinking.len(), display, common.constraint), (1, Display::Shown, None));
    }
}
