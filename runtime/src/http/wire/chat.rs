//! `POST /v1/chat/completions`: the request.

use models::limits::TOP_LOGPROBS_MAX;
use models::template::{Message, Turn};

use super::generation::{Common, tokens_max};
use super::json::Node;
use super::{ChatOptions, Fields, parse_object, tools};
use crate::http::error::ApiError;
use crate::limits::MESSAGES_MAX;

/// A conversation to go on with.
#[derive(Clone, Debug)]
pub(crate) struct ChatRequest {
    /// What completions have too.
    pub(crate) common: Common,
    /// The conversation so far, never empty.
    pub(crate) messages: Vec<Message>,
    /// Functions that may be called, and values for the template.
    pub(crate) options: ChatOptions,
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
        drop_choice_of_nothing(&mut fields);
        let mut options = ChatOptions::take(&mut fields)?;
        take_turn(&mut fields, &mut options, &messages)?;
        take_unsupported(&mut fields)?;
        fields.finish()?;
        Ok(Self { common, messages, options })
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

/// Takes where the answer to `messages` begins: vLLM's `add_generation_prompt` and `continue_final_message`.
pub(crate) fn take_turn(fields: &mut Fields, options: &mut ChatOptions, messages: &[Message]) -> Result<(), ApiError> {
    const CONTINUES: &str = "continue_final_message";
    let is_opened = fields.flag("add_generation_prompt")?;
    match (fields.flag(CONTINUES)?.unwrap_or(false), is_opened) {
        (true, Some(true)) => {
            Err(ApiError::invalid_value(fields.path(CONTINUES), "contradicts `add_generation_prompt`"))
        }
        (true, _) => options.go_on_with(messages.last(), &fields.path(CONTINUES)),
        (false, Some(false)) => options.begin_at(Turn::Unopened),
        (false, _) => Ok(()),
    }
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let shown = fields.flag("logprobs")?.unwrap_or(false);
    let top: usize = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX as i128)?.unwrap_or(0);
    if top > 0 && !shown {
        return Err(ApiError::invalid_value(fields.path("top_logprobs"), "is for `logprobs: true` alone"));
    }
    Ok(shown.then_some(top))
}

/// What other servers do and this one does not, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    for always in ["include_reasoning", "separate_reasoning", "stream_reasoning", "parse_tool_calls"] {
        fields.only_on(always)?;
    }
    fields.only_words("reasoning_format", &["auto", "deepseek"])?;
    fields.only_words("verbosity", &["medium"])?;
    fields.only_off("echo")?;
    fields.only_empty("documents")?;
    fields.only_empty("functions")?;
    fields.only_words("function_call", &["none"])?;
    fields.only_listing("modalities", "text")
}

/// Drops a choice among no functions, which clients send that may offer some: the model answers as it would.
fn drop_choice_of_nothing(fields: &mut Fields) {
    fields.take_if("tools", |node| matches!(node, Node::List(items) if items.is_empty()));
    if !fields.has("tools") {
        fields.take_if("tool_choice", |node| matches!(node, Node::Text(text) if text == "auto"));
    }
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    messages_if_any(fields)?.ok_or_else(|| ApiError::missing_field(fields.path("messages")))
}

/// `messages`, where they are there; then at least one.
pub(crate) fn messages_if_any(fields: &mut Fields) -> Result<Option<Vec<Message>>, ApiError> {
    let path = fields.path("messages");
    let Some(items) = fields.list("messages", MESSAGES_MAX, "an array of messages")? else { return Ok(None) };
    if items.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    let message = |(index, item)| message(item, &format!("{path}[{index}]"));
    items.into_iter().enumerate().map(message).collect::<Result<_, _>>().map(Some)
}

fn message(item: Node, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(item, path)?;
    let role = role(&mut fields)?;
    let (tool_calls, reasoning_content) = match role {
        "assistant" => (tools::calls(&mut fields)?, fields.text("reasoning_content")?),
        _ => (Vec::new(), None),
    };
    let tool_call_id = if role == "tool" { fields.text("tool_call_id")? } else { None };
    // Who calls need not say anything.
    let content = if tool_calls.is_empty() || fields.has("content") { content(&mut fields)? } else { String::new() };
    let name = fields.text("name")?;
    // As answers of services have it that look things up, sent back.
    fields.only("annotations", |node| matches!(node, Node::List(items) if items.is_empty()))?;
    fields.finish()?;
    Ok(Message { role: role.to_owned(), content, name, tool_calls, tool_call_id, reasoning_content })
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
    // What begins alike is found again without being marked.
    fields.object("cache_control")?;
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{ChatRequest, Turn};
    use crate::http::wire::refusal::{each_refused, refused};
    use crate::limits::MESSAGES_MAX;

    const MODEL: &str = r#""model":"m""#;
    const MINIMUM: &str = r#""model":"m","messages":[{"role":"user","content":"hi"}]"#;

    #[test]
    fn row_19_messages_that_are_none_are_refused() {
        let table = [
            (r#""messages":[]"#, "invalid_value", "messages"),
            (r#""messages":"hi""#, "invalid_type", "messages"),
            (r#""messages":[1,2]"#, "invalid_type", "messages"),
            (r#""messages":["hi"]"#, "invalid_type", "messages[0]"),
            (r#""messages":[{"content":"hi"}]"#, "missing_required_parameter", "messages[0].role"),
            (r#""messages":[{"role":5,"content":"hi"}]"#, "invalid_type", "messages[0].role"),
            (r#""messages":[{"role":"User","content":"hi"}]"#, "invalid_value", "messages[0].role"),
            (r#""messages":[{"role":"user"}]"#, "invalid_type", "messages[0].content"),
            (r#""messages":[{"role":"user","content":5}]"#, "invalid_type", "messages[0].content"),
            (r#""messages":[{"role":"user","content":[1]}]"#, "invalid_type", "messages[0].content"),
            (r#""messages":[{"role":"user","content":["a"]}]"#, "invalid_type", "messages[0].content[0]"),
            (r#""messages":[{"role":"user","content":[]}]"#, "invalid_value", "messages[0].content"),
            (r#""messages":[{"role":"assistant","content":null}]"#, "invalid_type", "messages[0].content"),
            (
                r#""messages":[{"role":"user","content":[{"type":"text"}]}]"#,
                "missing_required_parameter",
                "messages[0].content[0].text",
            ),
            (
                r#""messages":[{"role":"user","content":[{"type":"text","text":1}]}]"#,
                "invalid_type",
                "messages[0].content[0].text",
            ),
            (
                r#""messages":[{"role":"user","content":"a"},{"role":"robot","content":"b"}]"#,
                "invalid_value",
                "messages[1].role",
            ),
            (r#""messages":[{"role":"user","content":"a","weight":1}]"#, "unsupported_parameter", "messages[0].weight"),
            (
                r#""messages":[{"role":"assistant","content":"a","tool_calls":[{}]}]"#,
                "missing_required_parameter",
                "messages[0].tool_calls[0].id",
            ),
            (
                r#""messages":[{"role":"user","content":"a","tool_calls":[]}]"#,
                "unsupported_parameter",
                "messages[0].tool_calls",
            ),
            (
                r#""messages":[{"role":"assistant","content":null,"tool_calls":[]}]"#,
                "invalid_type",
                "messages[0].content",
            ),
        ];
        each_refused(ChatRequest::parse, MODEL, &table);
        let none = format!("{{{MODEL}}}");
        let missing = ("missing_required_parameter", Some("messages".to_owned()));
        assert_eq!(refused(ChatRequest::parse(none.as_bytes())), missing);
        let many = vec![r#"{"role":"user","content":"a"}"#; MESSAGES_MAX + 1].join(",");
        let many = format!("{{{MODEL},\"messages\":[{many}]}}");
        assert_eq!(refused(ChatRequest::parse(many.as_bytes())), ("invalid_value", Some("messages".to_owned())));
    }

    #[test]
    fn row_29_lengths_that_cannot_be_are_refused() {
        let table = [
            (r#""max_tokens":-1"#, "invalid_value", "max_tokens"),
            (r#""max_tokens":0"#, "invalid_value", "max_tokens"),
            (r#""max_tokens":9223372036854775808"#, "invalid_value", "max_tokens"),
            (r#""max_tokens":1.5"#, "invalid_type", "max_tokens"),
            (r#""max_completion_tokens":0"#, "invalid_value", "max_completion_tokens"),
            (r#""max_tokens":5,"max_completion_tokens":6"#, "invalid_value", "max_tokens"),
        ];
        each_refused(ChatRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn row_31_log_probabilities_that_nobody_shows_are_refused() {
        let table = [
            (r#""logprobs":true,"top_logprobs":10000"#, "invalid_value", "top_logprobs"),
            (r#""logprobs":true,"top_logprobs":-1"#, "invalid_value", "top_logprobs"),
            (r#""top_logprobs":5"#, "invalid_value", "top_logprobs"),
            (r#""logprobs":false,"top_logprobs":5"#, "invalid_value", "top_logprobs"),
            (r#""logprobs":5"#, "invalid_type", "logprobs"),
        ];
        each_refused(ChatRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn row_33_content_that_is_no_text_is_refused_whatever_its_scheme() {
        for url in ["http://127.0.0.1/a.png", "https://example.com", "file:///etc/passwd", "data:image/png;base64,AA=="]
        {
            let parts =
                format!(r#"[{{"type":"text","text":"a"}},{{"type":"image_url","image_url":{{"url":"{url}"}}}}]"#);
            let body = format!(r#"{{{MODEL},"messages":[{{"role":"user","content":{parts}}}]}}"#);
            let expected = ("unsupported_content", Some("messages[0].content[1]".to_owned()));
            assert_eq!(refused(ChatRequest::parse(body.as_bytes())), expected, "{url}");
        }
        for part in ["input_audio", "file", "refusal", "image_url"] {
            let body = format!(r#"{{{MODEL},"messages":[{{"role":"user","content":[{{"type":"{part}"}}]}}]}}"#);
            let expected = ("unsupported_content", Some("messages[0].content[0]".to_owned()));
            assert_eq!(refused(ChatRequest::parse(body.as_bytes())), expected, "{part}");
        }
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""functions":[{}]"#, "unsupported_parameter", "functions"),
            (r#""modalities":["text","audio"]"#, "unsupported_parameter", "modalities"),
            (r#""echo":true"#, "unsupported_parameter", "echo"),
            (r#""prompt":"a""#, "unsupported_parameter", "prompt"),
            (r#""best_of":1"#, "unsupported_parameter", "best_of"),
            (r#""include_reasoning":false"#, "unsupported_parameter", "include_reasoning"),
            (r#""reasoning_format":"none""#, "unsupported_parameter", "reasoning_format"),
            (r#""verbosity":"low""#, "unsupported_parameter", "verbosity"),
            (r#""documents":[{}]"#, "unsupported_parameter", "documents"),
            (r#""continue_final_message":true"#, "invalid_value", "continue_final_message"),
            (r#""add_generation_prompt":1"#, "invalid_type", "add_generation_prompt"),
        ];
        each_refused(ChatRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn an_answer_may_go_on_with_the_assistant_s_words() {
        let said = r#""model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Sure"}]"#;
        for (fields, turn) in [
            (r#""n":1"#, Turn::Opened),
            (r#""add_generation_prompt":true,"continue_final_message":false"#, Turn::Opened),
            (r#""add_generation_prompt":false"#, Turn::Unopened),
            (r#""continue_final_message":true"#, Turn::Continued),
            (r#""continue_final_message":true,"add_generation_prompt":false"#, Turn::Continued),
        ] {
            let request = ChatRequest::parse(format!("{{{said},{fields}}}").as_bytes()).expect(fields);
            assert_eq!(request.options.extras.turn, turn, "{fields}");
        }
        let table = [
            (
                r#""continue_final_message":true,"add_generation_prompt":true"#,
                "invalid_value",
                "continue_final_message",
            ),
            (r#""continue_final_message":true,"reasoning_effort":"high""#, "invalid_value", "reasoning_effort"),
            (r#""add_generation_prompt":false,"reasoning_effort":"high""#, "invalid_value", "reasoning_effort"),
        ];
        each_refused(ChatRequest::parse, said, &table);
        let called = r#""model":"m","messages":[{"role":"assistant","content":"a","tool_calls":[{"id":"c","type":"function",
            "function":{"name":"f","arguments":"{}"}}]}]"#;
        let table = [(r#""continue_final_message":true"#, "invalid_value", "continue_final_message")];
        each_refused(ChatRequest::parse, called, &table);
    }

    #[test]
    fn a_conversation_is_read() {
        let request = ChatRequest::parse(
            br#"{"model":"m","messages":[
                {"role":"developer","content":"be brief"},
                {"role":"user","name":"Ann",
                    "content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"}]},
                {"role":"assistant","content":"","tool_calls":null,"refusal":null,"annotations":[]},
                {"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"call_1","type":"function",
                    "index":0,"function":{"name":"add","arguments":"{}"}}]},
                {"role":"tool","content":"4","tool_call_id":"call_1"}],
                "max_completion_tokens":7,"max_tokens":7,"logprobs":true,"top_logprobs":20,
                "tools":[],"tool_choice":"none","parallel_tool_calls":true,"modalities":["text"],
                "response_format":{"type":"text"},"functions":null,"include_reasoning":true,"separate_reasoning":true,
                "reasoning_format":"auto","verbosity":"medium","echo":false,"documents":[]}"#,
        )
        .expect("all of it is supported");
        let messages: Vec<_> =
            request.messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        assert_eq!(
            messages,
            [("system", "be brief"), ("user", "a\nb"), ("assistant", ""), ("assistant", ""), ("tool", "4")]
        );
        let calls = &request.messages[3].tool_calls;
        assert_eq!(
            (calls[0].id.as_str(), calls[0].name.as_str(), calls[0].arguments.as_str()),
            ("call_1", "add", "{}")
        );
        assert_eq!(request.messages[3].reasoning_content.as_deref(), Some("hm"));
        assert_eq!(request.messages[4].tool_call_id.as_deref(), Some("call_1"));
        assert_eq!(request.messages[1].name.as_deref(), Some("Ann"));
        assert_eq!((request.common.tokens_max, request.common.logprobs), (Some(7), Some(20)));
    }

    #[test]
    fn a_choice_among_no_functions_is_none() {
        for fields in [r#""tool_choice":"auto""#, r#""tool_choice":"auto","tools":[]"#] {
            let request = ChatRequest::parse(format!("{{{fields},{MINIMUM}}}").as_bytes()).expect(fields);
            assert_eq!(request.options, super::ChatOptions::default(), "{fields}");
        }
        each_refused(ChatRequest::parse, MINIMUM, &[(r#""tool_choice":"required""#, "invalid_value", "tool_choice")]);
    }

    #[test]
    fn log_probabilities_are_shown_where_asked() {
        for (fields, expected) in [
            (r#""logprobs":true"#, Some(0)),
            (r#""logprobs":false"#, None),
            (r#""top_logprobs":0"#, None),
            (r#""max_tokens":null"#, None),
        ] {
            let request = ChatRequest::parse(format!("{{{fields},{MINIMUM}}}").as_bytes()).expect(fields);
            assert_eq!((request.common.logprobs, request.common.tokens_max), (expected, None), "{fields}");
        }
    }
}
