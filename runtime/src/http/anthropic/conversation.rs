//! `system` and `messages`: text, what the assistant thought and used, and what that gave.
//!
//! What one speaker says in a row is one message, blocks of text each a line. A result that `is_error` begins with `Error: `,
//! as templates know no other way to say so. What a `thinking` block's `signature` says is nobody's to check here.

use models::template::{Message, ToolCall};

use crate::http::error::ApiError;
use crate::http::wire::constraint::bounded_json;
use crate::http::wire::{Fields, Node, said};
use crate::limits::{MESSAGES_MAX, TOOL_CALLS_MAX};

/// What a message is made of.
enum Block {
    Text(String),
    Thought(String),
    Use(ToolCall),
    /// What a tool gave: a message of its own.
    Result(Message),
}

/// Takes `system` and `messages`.
pub(super) fn conversation(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let system = match fields.take("system") {
        None => None,
        Some(node) => Some(text_of(node, &fields.path("system"))?).filter(|text| !text.is_empty()),
    };
    let path = fields.path("messages");
    let items = fields.list("messages", MESSAGES_MAX, "an array of messages")?;
    let items = items.ok_or_else(|| ApiError::missing_field(path.as_str()))?;
    if items.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    let mut messages: Vec<Message> = system.map(|text| said("system", text)).into_iter().collect();
    for (index, item) in items.into_iter().enumerate() {
        for message in messages_of(item, &format!("{path}[{index}]"))? {
            match messages.last_mut().filter(|last| last.role == message.role && message.role != "tool") {
                Some(last) => append(last, message),
                None => messages.push(message),
            }
            if messages.len() > MESSAGES_MAX {
                let why = format_args!("has more than {MESSAGES_MAX} messages and results");
                return Err(ApiError::invalid_value(path, why));
            }
            if messages.last().is_some_and(|last| last.tool_calls.len() > TOOL_CALLS_MAX) {
                let why = format_args!("goes on with more than {TOOL_CALLS_MAX} uses");
                return Err(ApiError::invalid_value(format!("{path}[{index}]"), why));
            }
        }
    }
    Ok(messages)
}

fn append(last: &mut Message, message: Message) {
    add_line(&mut last.content, &message.content);
    last.tool_calls.extend(message.tool_calls);
    if let Some(thought) = message.reasoning_content {
        add_line(last.reasoning_content.get_or_insert_default(), &thought);
    }
}

fn add_line(text: &mut String, line: &str) {
    if !text.is_empty() && !line.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// What one message of the request becomes: results of tools are messages of their own.
fn messages_of(item: Node, path: &str) -> Result<Vec<Message>, ApiError> {
    let mut fields = Fields::of(item, path)?;
    let role = fields.required_text("role")?;
    if !matches!(role.as_str(), "system" | "user" | "assistant") {
        return Err(ApiError::invalid_value(fields.path("role"), "must be `system`, `user` or `assistant`"));
    }
    let path = fields.path("content");
    let content = fields.take("content").ok_or_else(|| ApiError::missing_field(path.as_str()))?;
    fields.finish()?;
    let blocks = match content {
        Node::Text(text) => return Ok(vec![said(&role, text)]),
        Node::List(blocks) => blocks,
        _ => return Err(ApiError::invalid_type(path, "a string or an array of blocks")),
    };
    let mut messages: Vec<Message> = Vec::new();
    for (index, item) in blocks.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let part = match block(item, &path, &role)? {
            Block::Text(text) => said(&role, text),
            Block::Thought(thought) => Message {
                reasoning_content: Some(thought).filter(|thought| !thought.is_empty()),
                ..said(&role, String::new())
            },
            Block::Use(call) => Message { tool_calls: vec![call], ..said(&role, String::new()) },
            Block::Result(message) => message,
        };
        match messages.last_mut().filter(|last| last.role == part.role && part.role != "tool") {
            Some(last) => append(last, part),
            None => messages.push(part),
        }
        if messages.last().is_some_and(|last| last.tool_calls.len() > TOOL_CALLS_MAX) {
            return Err(ApiError::invalid_value(path, format_args!("is one of more than {TOOL_CALLS_MAX} uses")));
        }
        if messages.len() > MESSAGES_MAX {
            return Err(ApiError::invalid_value(path, format_args!("is one of more than {MESSAGES_MAX} results")));
        }
    }
    if messages.is_empty() {
        messages.push(said(&role, String::new()));
    }
    Ok(messages)
}

fn block(item: Node, path: &str, role: &str) -> Result<Block, ApiError> {
    let mut fields = Fields::of(item, path)?;
    // What is alike is found again without being marked.
    fields.object("cache_control")?;
    let block = match (fields.required_text("type")?.as_str(), role) {
        ("text", _) => Block::Text(text(&mut fields)?),
        ("thinking", "assistant") => {
            fields.text("signature")?;
            Block::Thought(fields.required_text("thinking")?)
        }
        ("tool_use", "assistant") => Block::Use(tool_use(&mut fields)?),
        ("tool_result", "user") => Block::Result(tool_result(&mut fields)?),
        _ => return Err(ApiError::unsupported_content(path)),
    };
    fields.finish()?;
    Ok(block)
}

fn text(fields: &mut Fields) -> Result<String, ApiError> {
    fields.only_empty("citations")?;
    fields.required_text("text")
}

fn tool_use(fields: &mut Fields) -> Result<ToolCall, ApiError> {
    if let Some(mut caller) = fields.object("caller")? {
        caller.only_words("type", &["direct"])?;
        caller.finish()?;
    }
    let (id, name) = (fields.required_text("id")?, fields.required_text("name")?);
    let path = fields.path("input");
    match fields.take("input") {
        Some(node @ Node::Object(_)) => Ok(ToolCall { id, name, arguments: bounded_json(node, &path)?.to_string() }),
        Some(_) => Err(ApiError::invalid_type(path, "an object")),
        None => Err(ApiError::missing_field(path)),
    }
}

fn tool_result(fields: &mut Fields) -> Result<Message, ApiError> {
    let id = fields.required_text("tool_use_id")?;
    let content = match fields.take("content") {
        None => String::new(),
        Some(node) => text_of(node, &fields.path("content"))?,
    };
    let content = if fields.flag("is_error")?.unwrap_or(false) { format!("Error: {content}") } else { content };
    Ok(Message { tool_call_id: Some(id), ..said("tool", content) })
}

/// A string, or blocks of text.
fn text_of(node: Node, path: &str) -> Result<String, ApiError> {
    let blocks = match node {
        Node::Text(text) => return Ok(text),
        Node::List(blocks) => blocks,
        _ => return Err(ApiError::invalid_type(path, "a string or an array of blocks")),
    };
    let mut lines = Vec::with_capacity(blocks.len());
    for (index, item) in blocks.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        match block(item, &path, "system")? {
            Block::Text(text) => lines.push(text),
            Block::Thought(_) | Block::Use(_) | Block::Result(_) => return Err(ApiError::unsupported_content(path)),
        }
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::{each_refused, refused};

    fn parse(body: &[u8]) -> Result<Vec<Message>, ApiError> {
        let mut fields = parse_object(body)?;
        let messages = conversation(&mut fields)?;
        fields.finish()?;
        Ok(messages)
    }

    #[test]
    fn results_and_uses_are_bounded_however_they_are_spread() {
        let result = r#"{"type":"tool_result","tool_use_id":"a"}"#;
        let results = vec![result; MESSAGES_MAX + 1].join(",");
        let many = format!(r#"{{"messages":[{{"role":"user","content":[{results}]}}]}}"#);
        assert!(refused(parse(many.as_bytes())).0 == "invalid_value");
        let each = r#"{"type":"tool_use","id":"a","name":"b","input":{}}"#;
        let uses = vec![each; TOOL_CALLS_MAX].join(",");
        let message = format!(r#"{{"role":"assistant","content":[{uses}]}}"#);
        let asked = |messages: &str| format!(r#"{{"messages":[{messages},{{"role":"user","content":"a"}}]}}"#);
        assert!(parse(asked(&message).as_bytes()).is_ok());
        assert!(parse(asked(&format!("{message},{message}")).as_bytes()).is_err(), "they are one message");
    }

    #[test]
    fn messages_that_are_none_are_refused() {
        let blocks = |role: &str, block: &str| format!(r#""messages":[{{"role":"{role}","content":[{block}]}}]"#);
        let first = "messages[0].content[0]";
        for (role, block, code, param) in [
            ("user", r#"{"type":"image"}"#, "unsupported_content", first.to_owned()),
            ("user", r#"{"type":"tool_use"}"#, "unsupported_content", first.to_owned()),
            ("assistant", r#"{"type":"tool_result"}"#, "unsupported_content", first.to_owned()),
            ("assistant", r#"{"type":"redacted_thinking","data":"x"}"#, "unsupported_content", first.to_owned()),
            ("system", r#"{"type":"thinking","thinking":"a"}"#, "unsupported_content", first.to_owned()),
            ("user", r#"{"type":"tool_result"}"#, "missing_required_parameter", format!("{first}.tool_use_id")),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"a","content":[{"type":"image"}]}"#,
                "unsupported_content",
                format!("{first}.content[0]"),
            ),
            (
                "user",
                r#"{"type":"tool_result","tool_use_id":"a","is_error":"no"}"#,
                "invalid_type",
                format!("{first}.is_error"),
            ),
            (
                "assistant",
                r#"{"type":"tool_use","id":"a","name":"b"}"#,
                "missing_required_parameter",
                format!("{first}.input"),
            ),
            (
                "assistant",
                r#"{"type":"tool_use","id":"a","name":"b","input":"{}"}"#,
                "invalid_type",
                format!("{first}.input"),
            ),
            (
                "user",
                r#"{"type":"text","text":"a","citations":[{}]}"#,
                "unsupported_parameter",
                format!("{first}.citations"),
            ),
        ] {
            each_refused(parse, "", &[(&blocks(role, block), code, &param)]);
        }
        let table = [
            (r#""messages":[]"#, "invalid_value", "messages"),
            (r#""messages":"hi""#, "invalid_type", "messages"),
            (r#""messages":[{"role":"robot","content":"a"}]"#, "invalid_value", "messages[0].role"),
            (r#""messages":[{"role":"user"}]"#, "missing_required_parameter", "messages[0].content"),
            (r#""system":5,"messages":[]"#, "invalid_type", "system"),
            (r#""system":[{"type":"image"}],"messages":[]"#, "unsupported_content", "system[0]"),
        ];
        each_refused(parse, "", &table);
        assert_eq!(refused(parse(b"{}")), ("missing_required_parameter", Some("messages".to_owned())));
        let many = vec![r#"{"role":"user","content":"a"}"#; MESSAGES_MAX + 1].join(",");
        let many = format!(r#"{{"messages":[{many}]}}"#);
        assert_eq!(refused(parse(many.as_bytes())), ("invalid_value", Some("messages".to_owned())));
        let uses = vec![r#"{"type":"tool_use","id":"a","name":"b","input":{}}"#; TOOL_CALLS_MAX + 1].join(",");
        let uses = format!("{{{}}}", blocks("assistant", &uses));
        let param = format!("messages[0].content[{TOOL_CALLS_MAX}]");
        assert_eq!(refused(parse(uses.as_bytes())), ("invalid_value", Some(param)));
    }

    #[test]
    fn blocks_become_what_templates_know() {
        let messages = parse(
            br#"{"system":[{"type":"text","text":"be","cache_control":{"type":"ephemeral"}},{"type":"text","text":"brief"}],
                "messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"b"}]},
                    {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"c"},
                        {"type":"tool_use","id":"t1","name":"f","input":{"z":1,"a":2}}]},
                    {"role":"assistant","content":[{"type":"tool_use","id":"t2","name":"g","input":{},"caller":{"type":"direct"}}]},
                    {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"4"},
                        {"type":"tool_result","tool_use_id":"t2","is_error":true,
                            "content":[{"type":"text","text":"no"},{"type":"text","text":"way"}]},
                        {"type":"text","text":"d"}]}]}"#,
        )
        .expect("all of it is supported");
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        let expected = [
            ("system", "be\nbrief"),
            ("user", "a\nb"),
            ("assistant", "c"),
            ("tool", "4"),
            ("tool", "Error: no\nway"),
            ("user", "d"),
        ];
        assert_eq!(said, expected);
        let uses: Vec<_> =
            messages[2].tool_calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
        assert_eq!(uses, [("t1", r#"{"z":1,"a":2}"#), ("t2", "{}")]);
        assert_eq!(messages[2].reasoning_content.as_deref(), Some("hm"));
        assert_eq!(messages[4].tool_call_id.as_deref(), Some("t2"));
    }
}
