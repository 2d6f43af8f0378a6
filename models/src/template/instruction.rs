//! Tools for templates that know none: what can be called stands in the system message, in words.
//!
//! Calls and what they gave are said in the words of the family that most models have seen (Hermes, Qwen): between
//! `<tool_call>` and `</tool_call>`, and between `<tool_response>` and `</tool_response>` in a user's message.

use serde_json::{Value, json};

use super::{Message, Tool, ToolCall};

/// `messages` with nothing in them but system, user and assistant, and what they say.
pub(super) fn spelled_out(messages: &[Message], tools: &[Tool]) -> Vec<Message> {
    let mut said: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let mut answers_follow = false;
    for message in messages {
        match (message.role.as_str(), said.last_mut()) {
            // Several answers are one message: many templates want roles to alternate.
            ("tool", Some(before)) if answers_follow => {
                before.content.push('\n');
                before.content.push_str(&response(message));
            }
            ("tool", _) => {
                said.push(Message { role: "user".to_owned(), content: response(message), ..Message::default() })
            }
            _ => {
                let calls = message.tool_calls.iter().map(call);
                let parts = [message.content.clone()].into_iter().filter(|content| !content.is_empty()).chain(calls);
                let content = parts.collect::<Vec<_>>().join("\n");
                said.push(Message { content, tool_calls: Vec::new(), ..message.clone() });
            }
        }
        answers_follow = message.role == "tool";
    }
    if !tools.is_empty() {
        instruct(&mut said, &instruction(tools));
    }
    said
}

fn instruct(messages: &mut Vec<Message>, instruction: &str) {
    match messages.first_mut() {
        Some(first) if first.role == "system" => first.content = format!("{}\n\n{instruction}", first.content),
        _ => {
            let content = instruction.to_owned();
            messages.insert(0, Message { role: "system".to_owned(), content, ..Message::default() });
        }
    }
}

fn instruction(tools: &[Tool]) -> String {
    let listed = tools.iter().map(|tool| tool.to_json().to_string()).collect::<Vec<_>>().join("\n");
    format!(
        "You may call functions to help with what the user asks. These are the functions, each with a JSON schema of its \
         arguments:\n<tools>\n{listed}\n</tools>\nTo call one, write a JSON object with its name and its arguments between \
         tags:\n<tool_call>\n{{\"name\": <name>, \"arguments\": <arguments>}}\n</tool_call>"
    )
}

fn call(call: &ToolCall) -> String {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| Value::String(call.arguments.clone()));
    format!("<tool_call>\n{}\n</tool_call>", json!({ "name": call.name, "arguments": arguments }))
}

fn response(message: &Message) -> String {
    format!("<tool_response>\n{}\n</tool_response>", message.content)
}
