//! What a template is given of a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One message of a conversation.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, ….
    pub role: String,
    /// What is said.
    pub content: String,
    /// The speaker's name, where given.
    pub name: Option<String>,
    /// Functions that the assistant calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// What the assistant thought before it spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

/// A function that the assistant calls.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// By which a tool's message names it.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments, in JSON.
    pub arguments: String,
}

/// A function that the assistant may call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// A JSON schema of its arguments; none where it takes any.
    pub parameters: Option<Value>,
}

/// What a conversation has beside its messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// Functions that may be called.
    pub tools: Vec<Tool>,
    /// Values that the template reads by these names.
    pub values: Map<String, Value>,
    /// Where the answer begins.
    pub turn: Turn,
}

/// Where an answer to a conversation begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Turn {
    /// In a message of its own, which the template opens.
    #[default]
    Opened,
    /// Behind the last message, where nothing is opened.
    Unopened,
    /// In the last message, which it goes on with.
    Continued,
}

impl Extras {
    /// The same, where no function may be called.
    pub(super) fn without_tools(&self) -> Self {
        Self { tools: Vec::new(), ..self.clone() }
    }
}

impl Message {
    /// As templates read it, with each of its texts as `spelled` has it.
    pub(super) fn to_json(&self, spelled: &dyn Fn(&str) -> String) -> Value {
        let Self { role, content, name, tool_calls, tool_call_id, reasoning_content } = self;
        let mut fields = Map::new();
        fields.insert("role".to_owned(), json!(role));
        fields.insert("content".to_owned(), json!(spelled(content)));
        let optional = [("name", name), ("tool_call_id", tool_call_id), ("reasoning_content", reasoning_content)];
        for (field, text) in optional {
            if let Some(text) = text {
                fields.insert(field.to_owned(), json!(spelled(text)));
            }
        }
        if !tool_calls.is_empty() {
            let calls = tool_calls.iter().map(|call| call.to_json(spelled)).collect();
            fields.insert("tool_calls".to_owned(), Value::Array(calls));
        }
        Value::Object(fields)
    }

    /// Every text that a client wrote in it.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let calls = self.tool_calls.iter().flat_map(|call| [&call.id, &call.name, &call.arguments]);
        let optional = [&self.name, &self.tool_call_id, &self.reasoning_content].into_iter().flatten();
        [&self.content].into_iter().chain(optional).chain(calls).map(String::as_str)
    }
}

impl ToolCall {
    /// The arguments are an object where they can be, as the `transformers` library gives them to templates.
    fn to_json(&self, spelled: &dyn Fn(&str) -> String) -> Value {
        let arguments = match serde_json::from_str::<Value>(&self.arguments) {
            Ok(arguments @ Value::Object(_)) => spelled_json(&arguments, spelled),
            _ => json!(spelled(&self.arguments)),
        };
        let function = json!({ "name": spelled(&self.name), "arguments": arguments });
        json!({ "id": spelled(&self.id), "type": "function", "function": function })
    }
}

impl Tool {
    /// As templates read it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".to_owned(), json!(self.name));
        if let Some(description) = &self.description {
            function.insert("description".to_owned(), json!(description));
        }
        let any = || json!({ "type": "object", "properties": {} });
        function.insert("parameters".to_owned(), self.parameters.clone().unwrap_or_else(any));
        json!({ "type": "function", "function": function })
    }
}

/// `value` with each text and name in it as `spelled` has it.
pub(super) fn spelled_json(value: &Value, spelled: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => json!(spelled(text)),
        Value::Array(items) => items.iter().map(|item| spelled_json(item, spelled)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (spelled(name), spelled_json(field, spelled))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
