//! The items of a response's output: what was thought, messages, and calls, while they come and once they are whole.

use serde_json::{Value, json};

use super::tools::Namespaces;
use crate::http::wire::answer::{Part, ShownCall};

/// How far an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemStatus {
    InProgress,
    Completed,
    Incomplete,
}

/// An item, with all of it that there is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// What the model thinks.
    Reasoning(String),
    /// What it says, and the scores of the answer's tokens, where they are shown.
    Message(String, Vec<Value>),
    /// What it calls, by the name that it has in its namespace, if it stands in one.
    Call(ShownCall, Option<String>),
}

impl ItemStatus {
    fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Item {
    pub(super) fn of(part: Part, namespaces: &Namespaces) -> Self {
        match part {
            Part::Thought(text) => Self::Reasoning(text),
            Part::Text(text) => Self::Message(text, Vec::new()),
            Part::Call(mut called) => match namespaces.of(&called.call.name) {
                Some((namespace, name)) => {
                    called.call.name = name.to_owned();
                    Self::Call(called, Some(namespace.to_owned()))
                }
                None => Self::Call(called, None),
            },
        }
    }

    /// Its id: the one of this number in the response of this id.
    pub(super) fn id(&self, response_id: &str, number: usize) -> String {
        let prefix = match self {
            Self::Reasoning(_) => "rs",
            Self::Message(..) => "msg",
            Self::Call(..) => "fc",
        };
        format!("{prefix}_{}_{number}", response_id.trim_start_matches("resp_"))
    }

    /// The item; its parts, or arguments, where it has come so far.
    pub(super) fn told(&self, id: &str, status: ItemStatus) -> Value {
        let parts = if status == ItemStatus::InProgress { json!([]) } else { json!([self.part()]) };
        match self {
            Self::Reasoning(_) => {
                json!({ "id": id, "type": "reasoning", "status": status.name(), "summary": [], "content": parts })
            }
            Self::Message(..) => json!({
                "id": id,
                "type": "message",
                "status": status.name(),
                "role": "assistant",
                "content": parts,
            }),
            Self::Call(called, namespace) => {
                let mut told = json!({
                    "id": id,
                    "type": "function_call",
                    "status": status.name(),
                    "call_id": called.id,
                    "name": called.call.name,
                    "arguments": if status == ItemStatus::InProgress { "" } else { &*called.call.arguments },
                });
                if let Some(namespace) = namespace {
                    told["namespace"] = json!(namespace);
                }
                told
            }
        }
    }

    /// The one part that thoughts and messages have.
    pub(super) fn part(&self) -> Value {
        match self {
            Self::Reasoning(text) => json!({ "type": "reasoning_text", "text": text }),
            Self::Message(text, scores) => {
                json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": scores })
            }
            Self::Call(..) => Value::Null,
        }
    }
}
