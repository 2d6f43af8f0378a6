//! `input`: a text, or items, as messages.
//!
//! What an assistant thought, said and called in a row is one message, as templates have it.

use models::template::{Message, ToolCall};

use super::tools::Namespaces;
use crate::http::error::ApiError;
use crate::http::wire::{Fields, Node, said};
use crate::limits::{MESSAGES_MAX, TOOL_CALLS_MAX};

/// Takes `input`.
pub(super) fn input(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let path = fields.path("input");
    if let Some(Node::Text(text)) = fields.take_if("input", |node| matches!(node, Node::Text(_))) {
        return Ok(vec![said("user", text)]);
    }
    let items = fields.list("input", MESSAGES_MAX, "a string or an array of items")?;
    let items = items.ok_or_else(|| ApiError::missing_field(path.as_str()))?;
    if items.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    let mut messages: Vec<Message> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let message = message_of(item, &path)?;
        match messages.last_mut().filter(|last| goes_on(last, &message)) {
            Some(last) => append(last, message),
            None => messages.push(message),
        }
        if messages.last().is_some_and(|last| last.tool_calls.len() > TOOL_CALLS_MAX) {
            let why = format_args!("is one of more than {TOOL_CALLS_MAX} calls in a row");
            return Err(ApiError::invalid_value(path, why));
        }
    }
    Ok(messages)
}

/// Whether an assistant's message goes on with this: it thinks, then speaks, then calls.
fn goes_on(last: &Message, next: &Message) -> bool {
    let has_only_thought = last.content.is_empty() && last.tool_calls.is_empty();
    last.role == "assistant" && next.role == "assistant" && (has_only_thought || !next.tool_calls.is_empty())
}

fn append(last: &mut Message, next: Message) {
    last.content.push_str(&next.content);
    last.tool_calls.extend(next.tool_calls);
    if let Some(thought) = next.reasoning_content {
        let before = last.reasoning_content.get_or_insert_default();
        if !before.is_empty() {
            before.push('\n');
        }
        before.push_str(&thought);
    }
}

fn message_of(item: Node, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(item, path)?;
    // What an answer said of itself when it was given.
    for name in ["id", "status"] {
        fields.text(name)?;
    }
    let message = match fields.text("type")?.as_deref() {
        None | Some("message") => message(&mut fields)?,
        Some("reasoning") => reasoning(&mut fields)?,
        Some("function_call") => Message { tool_calls: vec![call(&mut fields)?], ..said("assistant", String::new()) },
        Some("function_call_output") => {
            let id = fields.required_text("call_id")?;
            let namespace = fields.text("namespace")?;
            let (name, content) = (fields.text("name")?, text_of(&mut fields, "output")?);
            let name = name.map(|name| known_as(namespace, name));
            take_caller(&mut fields)?;
            Message { name, tool_call_id: Some(id), ..said("tool", content) }
        }
        Some(_) => return Err(ApiError::unsupported_content(path)),
    };
    fields.finish()?;
    Ok(message)
}

fn message(fields: &mut Fields) -> Result<Message, ApiError> {
    let role = match fields.required_text("role")?.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        _ => {
            let why = "must be `system`, `developer`, `user` or `assistant`";
            return Err(ApiError::invalid_value(fields.path("role"), why));
        }
    };
    fields.text("phase")?;
    Ok(said(role, text_of(fields, "content")?))
}

/// What was thought, as it was told: in full, or else summed up.
fn reasoning(fields: &mut Fields) -> Result<Message, ApiError> {
    let summary = thoughts(fields, "summary", "summary_text")?;
    let content = thoughts(fields, "content", "reasoning_text")?;
    let thought = if content.is_empty() { summary } else { content };
    let thought = Some(thought).filter(|thought| !thought.is_empty());
    Ok(Message { reasoning_content: thought, ..said("assistant", String::new()) })
}

fn thoughts(fields: &mut Fields, name: &str, kind: &str) -> Result<String, ApiError> {
    let path = fields.path(name);
    let parts = fields.list(name, MESSAGES_MAX, "an array of parts")?.unwrap_or_default();
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let mut fields = Fields::of(part, &path)?;
        if fields.required_text("type")? != kind {
            return Err(ApiError::unsupported_content(path));
        }
        texts.push(fields.required_text("text")?);
        fields.finish()?;
    }
    Ok(texts.join("\n"))
}

fn call(fields: &mut Fields) -> Result<ToolCall, ApiError> {
    take_caller(fields)?;
    let (id, name) = (fields.required_text("call_id")?, fields.required_text("name")?);
    let name = known_as(fields.text("namespace")?, name);
    Ok(ToolCall { id, name, arguments: fields.required_text("arguments")? })
}

/// What the model knows a function as.
fn known_as(namespace: Option<String>, name: String) -> String {
    match namespace {
        Some(namespace) => Namespaces::known_as(&namespace, &name),
        None => name,
    }
}

/// Takes who called: there is nobody here but the model.
fn take_caller(fields: &mut Fields) -> Result<(), ApiError> {
    let Some(mut caller) = fields.object("caller")? else { return Ok(()) };
    caller.only_words("type", &["direct"])?;
    caller.finish()
}

/// A text, or parts of text, each of which begins a new line.
fn text_of(fields: &mut Fields, name: &str) -> Result<String, ApiError> {
    let path = fields.path(name);
    match fields.take(name) {
        Some(Node::Text(text)) => Ok(text),
        Some(Node::List(parts)) if !parts.is_empty() => {
            let part = |(index, part)| part_text(part, &format!("{path}[{index}]"));
            Ok(parts.into_iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        Some(Node::List(_)) => Err(ApiError::invalid_value(path, "is empty")),
        _ => Err(ApiError::invalid_type(path, "a string or an array of parts")),
    }
}

fn part_text(part: Node, path: &str) -> Result<String, ApiError> {
    let mut fields = Fields::of(part, path)?;
    if !matches!(fields.required_text("type")?.as_str(), "input_text" | "output_text") {
        return Err(ApiError::unsupported_content(path));
    }
    let text = fields.required_text("text")?;
    fields.only_empty("annotations")?;
    // An answer's own, sent back.
    fields.take("logprobs");
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::{each_refused, refused};

    fn parse(body: &[u8]) -> Result<Vec<Message>, ApiError> {
        let mut fields = parse_object(body)?;
        let messages = input(&mut fields)?;
        fields.finish()?;
        Ok(messages)
    }

    #[test]
    fn input_that_is_none_is_refused() {
        let table = [
            (r#""input":[]"#, "invalid_value", "input"),
            (r#""input":5"#, "invalid_type", "input"),
            (r#""input":["a"]"#, "invalid_type", "input[0]"),
            (r#""input":[{"role":"robot","content":"a"}]"#, "invalid_value", "input[0].role"),
            (r#""input":[{"type":"web_search_call"}]"#, "unsupported_content", "input[0]"),
            (r#""input":[{"type":"function_call","name":"f"}]"#, "missing_required_parameter", "input[0].call_id"),
            (
                r#""input":[{"type":"function_call","call_id":"c","name":"f","arguments":{}}]"#,
                "invalid_type",
                "input[0].arguments",
            ),
            (r#""input":[{"type":"function_call_output","call_id":"c"}]"#, "invalid_type", "input[0].output"),
            (
                r#""input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image"}]}]"#,
                "unsupported_content",
                "input[0].output[0]",
            ),
            (
                r#""input":[{"type":"reasoning","summary":[],"encrypted_content":"x"}]"#,
                "unsupported_parameter",
                "input[0].encrypted_content",
            ),
            (
                r#""input":[{"type":"reasoning","summary":[{"type":"reasoning_text","text":"a"}]}]"#,
                "unsupported_content",
                "input[0].summary[0]",
            ),
            (
                r#""input":[{"role":"user","content":[{"type":"input_image"}]}]"#,
                "unsupported_content",
                "input[0].content[0]",
            ),
            (r#""input":[{"role":"user","content":[]}]"#, "invalid_value", "input[0].content"),
            (r#""input":[{"role":"user"}]"#, "invalid_type", "input[0].content"),
        ];
        each_refused(parse, "", &table);
        assert_eq!(refused(parse(b"{}")), ("missing_required_parameter", Some("input".to_owned())));
        let refused_at = |item: &str, count: usize| {
            refused(parse(format!(r#"{{"input":[{}]}}"#, vec![item; count].join(",")).as_bytes()))
        };
        let said = r#"{"role":"user","content":"a"}"#;
        assert_eq!(refused_at(said, MESSAGES_MAX + 1), ("invalid_value", Some("input".to_owned())));
        let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":""}"#;
        let last = Some(format!("input[{TOOL_CALLS_MAX}]"));
        assert_eq!(refused_at(call, TOOL_CALLS_MAX + 1), ("invalid_value", last));
    }

    #[test]
    fn items_become_messages() {
        let messages = parse(
            br#"{"input":[{"role":"developer","content":"a"},
                {"type":"message","role":"user","content":[{"type":"input_text","text":"b"},{"type":"input_text","text":"c"}]},
                {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],
                    "content":[{"type":"reasoning_text","text":"hm"}],"encrypted_content":null},
                {"type":"message","role":"assistant","id":"msg_1","status":"completed",
                    "content":[{"type":"output_text","text":"d","annotations":[],"logprobs":[]}]},
                {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}","status":"completed"},
                {"type":"function_call","call_id":"c2","name":"g","namespace":"n","arguments":"{}","caller":{"type":"direct"}},
                {"type":"function_call_output","call_id":"c1","output":"4"},
                {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"5"}]},
                {"type":"reasoning","summary":[{"type":"summary_text","text":"s"}]},
                {"role":"assistant","content":"e"},{"role":"assistant","content":"f"},{"role":"user","content":"g"}]}"#,
        )
        .expect("all of it is supported");
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        let expected = [
            ("system", "a"),
            ("user", "b\nc"),
            ("assistant", "d"),
            ("tool", "4"),
            ("tool", "5"),
            ("assistant", "e"),
            ("assistant", "f"),
            ("user", "g"),
        ];
        assert_eq!(said, expected);
        let calls: Vec<_> = messages[2].tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str())).collect();
        assert_eq!(calls, [("c1", "f"), ("c2", "n.g")]);
        let thoughts = [2, 5].map(|index| messages[index].reasoning_content.as_deref());
        assert_eq!(thoughts, [Some("hm"), Some("s")]);
        assert_eq!(messages[4].tool_call_id.as_deref(), Some("c2"));
    }
}
