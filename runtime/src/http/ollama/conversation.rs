//! A conversation, and the functions that may be called in it.

use models::grammar::CallNumber;
use models::template::{Message, ToolCall};

use crate::http::error::ApiError;
use crate::http::wire::constraint::bounded_json;
use crate::http::wire::tools::functions::{calls_by, function_of, offered};
use crate::http::wire::tools::{Offered, ToolChoice};
use crate::http::wire::{ChatOptions, Fields, Node};
use crate::limits::MESSAGES_MAX;

/// Takes `messages`; none where there are none.
pub(super) fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let path = fields.path("messages");
    let items = fields.list("messages", MESSAGES_MAX, "an array of messages")?.unwrap_or_default();
    items.into_iter().enumerate().map(|(index, item)| message(item, &format!("{path}[{index}]"))).collect()
}

fn message(item: Node, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(item, path)?;
    let role = fields.required_text("role")?.to_ascii_lowercase();
    let mut message = match role.as_str() {
        "system" | "user" => Message::default(),
        "assistant" => Message {
            tool_calls: calls_by(&mut fields, call)?,
            reasoning_content: fields.text("thinking")?.filter(|thought| !thought.is_empty()),
            ..Message::default()
        },
        "tool" => Message {
            name: fields.text("tool_name")?.filter(|name| !name.is_empty()),
            tool_call_id: fields.text("tool_call_id")?.filter(|id| !id.is_empty()),
            ..Message::default()
        },
        _ => {
            let why = "must be `system`, `user`, `assistant` or `tool`";
            return Err(ApiError::invalid_value(fields.path("role"), why));
        }
    };
    message.content = fields.text("content")?.unwrap_or_default();
    message.role = role;
    match fields.take("images") {
        Some(Node::List(images)) if images.is_empty() => {}
        Some(_) => return Err(ApiError::unsupported_content(fields.path("images"))),
        None => {}
    }
    for name in ["tool_calls", "thinking", "tool_name", "tool_call_id"] {
        fields.only_empty(name)?;
    }
    fields.finish()?;
    Ok(message)
}

/// A call, whose arguments are an object. One that has no id is called by its number.
fn call(item: Node, path: &str, number: usize) -> Result<ToolCall, ApiError> {
    let mut fields = Fields::of(item, path)?;
    fields.only_words("type", &["function"])?;
    let id = fields.text("id")?.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{number}"));
    let mut function = fields.required_object("function")?;
    fields.finish()?;
    function.integer::<u32>("index", 0..=i128::from(u32::MAX))?;
    let name = function.required_text("name")?;
    let arguments_path = function.path("arguments");
    let arguments = match function.take("arguments") {
        None => "{}".to_owned(),
        Some(node @ Node::Object(_)) => bounded_json(node, &arguments_path)?.to_string(),
        Some(_) => return Err(ApiError::invalid_type(arguments_path, "an object")),
    };
    function.finish()?;
    Ok(ToolCall { id, name, arguments })
}

/// Takes `tools`: the model may call them, and need not.
pub(super) fn options(fields: &mut Fields) -> Result<ChatOptions, ApiError> {
    let offered = offered(fields, tool)?;
    Ok(ChatOptions::offering(offered, Some(ToolChoice::Auto), CallNumber::Several))
}

fn tool(item: Node, path: &str) -> Result<Offered, ApiError> {
    let mut fields = Fields::of(item, path)?;
    fields.only_words("type", &["function"])?;
    let mut function = fields.required_object("function")?;
    fields.finish()?;
    let offered = function_of(&mut function, "parameters")?;
    function.finish()?;
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    fn parse(body: &[u8]) -> Result<(Vec<Message>, ChatOptions), ApiError> {
        let mut fields = parse_object(body)?;
        let read = (messages(&mut fields)?, options(&mut fields)?);
        fields.finish()?;
        Ok(read)
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        let calls = |call: &str| format!(r#""messages":[{{"role":"assistant","tool_calls":[{call}]}}]"#);
        let (nothing, text) = (calls("{}"), calls(r#"{"function":{"name":"f","arguments":"{}"}}"#));
        let table = [
            (r#""messages":[{"role":"robot","content":"a"}]"#, "invalid_value", "messages[0].role"),
            (r#""messages":[{"role":"user","content":["a"]}]"#, "invalid_type", "messages[0].content"),
            (r#""messages":[{"role":"user","images":["A"]}]"#, "unsupported_content", "messages[0].images"),
            (r#""messages":[{"role":"user","tool_name":"f"}]"#, "unsupported_parameter", "messages[0].tool_name"),
            (&nothing, "missing_required_parameter", "messages[0].tool_calls[0].function"),
            (&text, "invalid_type", "messages[0].tool_calls[0].function.arguments"),
            (r#""messages":{}"#, "invalid_type", "messages"),
            (r#""tools":[{}]"#, "missing_required_parameter", "tools[0].function"),
            (r#""tools":[{"type":"web_search"}]"#, "unsupported_parameter", "tools[0].type"),
            (r#""tools":{}"#, "invalid_type", "tools"),
            (r#""tool_choice":"auto""#, "unsupported_parameter", "tool_choice"),
        ];
        each_refused(parse, "", &table);
    }

    #[test]
    fn a_conversation_with_calls_is_read() {
        let (messages, options) = parse(
            br#"{"messages":[{"role":"USER","content":"a","images":[],"tool_calls":[],"thinking":""},
                {"role":"assistant","content":"","thinking":"hm","tool_calls":[{"function":{"name":"f","arguments":{"z":1,"a":[]}}},
                    {"id":"c","type":"function","function":{"index":1,"name":"g"}}]},
                {"role":"tool","content":"4","tool_name":"f","tool_call_id":"call_0"}],
                "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}]}"#,
        )
        .expect("all of it is supported");
        assert_eq!((messages[0].role.as_str(), messages[1].reasoning_content.as_deref()), ("user", Some("hm")));
        let calls: Vec<_> = messages[1]
            .tool_calls
            .iter()
            .map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str()))
            .collect();
        assert_eq!(calls, [("call_0", "f", r#"{"z":1,"a":[]}"#), ("c", "g", "{}")]);
        let answered = &messages[2];
        assert_eq!((answered.name.as_deref(), answered.tool_call_id.as_deref()), (Some("f"), Some("call_0")));
        assert_eq!((options.extras.tools.len(), options.choice), (1, ToolChoice::Auto));
    }
}
