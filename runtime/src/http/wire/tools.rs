//! What a chat has beside its messages: functions that may be called, and values for the model's template.

pub(crate) mod functions;
#[cfg(test)]
mod tests;
mod thinking;

use models::grammar::CallNumber;
use models::template::{ChatTemplate, Extras, Message, Turn};
use serde_json::{Map, Value};

use super::Fields;
use super::constraint::bounded_json;
use super::json::Node;
use crate::http::error::ApiError;
pub(crate) use functions::Offered;
pub(super) use functions::calls;
pub(crate) use thinking::{EFFORTS, ThinkingLevel, ThinkingWish};

/// What a chat has beside its messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ChatOptions {
    /// Functions that the model is told of, and values for its template.
    pub(crate) extras: Extras,
    /// Whether a function is to be called.
    pub(crate) choice: ToolChoice,
    /// How many calls an answer may have.
    pub(crate) number: CallNumber,
    /// Functions whose arguments are kept to their parameters even where nothing has to be called.
    pub(crate) strict: Vec<String>,
    /// How much the model is to think.
    pub(crate) thinking: Vec<ThinkingWish>,
}

/// Whether a function is to be called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// One of them.
    Required,
    /// This one.
    Named(String),
}

/// What this server gives every template.
const RESERVED: [&str; 8] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "bos_token",
    "eos_token",
    "raise_exception",
    "strftime_now",
];

impl ChatOptions {
    /// Takes the fields.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let offered = functions::offered(fields, functions::nested)?;
        let choice = functions::choice(fields, &offered)?;
        let number = call_number(fields.flag("parallel_tool_calls")?);
        let mut options = Self::offering(offered, choice, number);
        options.extras.values = values(fields)?;
        options.thinking = effort(fields)?;
        Ok(options)
    }

    /// Functions that are offered, and whether they are to be called; none where nothing may be, which is not shown then.
    pub(crate) fn offering(offered: Vec<Offered>, choice: Option<ToolChoice>, number: CallNumber) -> Self {
        let strict = offered.iter().filter(|offered| offered.is_strict).map(|offered| offered.tool.name.clone());
        let strict = strict.collect();
        let tools = offered.into_iter().map(|offered| offered.tool).collect();
        match choice {
            Some(choice) => {
                Self { extras: Extras { tools, ..Extras::default() }, choice, number, strict, ..Self::default() }
            }
            None => Self { number, strict, ..Self::default() },
        }
    }

    /// Has the answer go on with the `last` message, since `param` says so: with the assistant's words.
    ///
    /// # Errors
    /// `invalid_value` where it is no such message, or where there is to be a thought before those words.
    pub(crate) fn go_on_with(&mut self, last: Option<&Message>, param: &str) -> Result<(), ApiError> {
        if !last.is_some_and(|last| last.role == "assistant" && last.tool_calls.is_empty()) {
            let why = "an answer goes on with a last message of the assistant's that is words and no calls";
            return Err(ApiError::invalid_value(param, why));
        }
        self.begin_at(Turn::Continued)
    }

    /// Has the answer begin at `turn`, which the template does not open.
    ///
    /// # Errors
    /// `invalid_value` where there are to be thoughts first.
    pub(crate) fn begin_at(&mut self, turn: Turn) -> Result<(), ApiError> {
        if let Some(wish) = self.thinking.iter().find(|wish| wish.asks_to_think()) {
            let why = "an answer that the template does not open does not begin with thoughts";
            return Err(ApiError::invalid_value(wish.param, why));
        }
        self.extras.turn = turn;
        Ok(())
    }

    /// Whether an answer keeps to calls from its first token on.
    pub(crate) fn calls_are_forced(&self) -> bool {
        self.choice != ToolChoice::Auto
    }

    /// What `template` is given. A value that it does not look at would change nothing, and is refused.
    ///
    /// # Errors
    /// `invalid_value` or `unsupported_parameter`, about that value.
    pub(crate) fn extras_for(&self, template: &ChatTemplate) -> Result<Extras, ApiError> {
        let mut extras = self.extras.clone();
        if let Some(unknown) = extras.values.keys().find(|name| !has_word(template.source(), name)) {
            let why = "the model's chat template knows no such value";
            return Err(ApiError::invalid_value(format!("chat_template_kwargs.{unknown}"), why));
        }
        for wish in &self.thinking {
            let Some((name, value)) = wish.value_for(template)? else { continue };
            if extras.values.insert(name.to_owned(), value.clone()).is_some_and(|other| other != value) {
                return Err(ApiError::invalid_value(wish.param, format_args!("contradicts another value of `{name}`")));
            }
        }
        Ok(extras)
    }
}

/// `parallel_tool_calls`, or what asks for the same.
pub(crate) fn call_number(several: Option<bool>) -> CallNumber {
    match several {
        Some(false) => CallNumber::One,
        Some(true) | None => CallNumber::Several,
    }
}

/// Whether `source` has `name` as a word of its own.
fn has_word(source: &str, name: &str) -> bool {
    let is_of_word = |one: char| one.is_alphanumeric() || one == '_';
    let stands_alone =
        |at: usize| !source[..at].ends_with(is_of_word) && !source[at + name.len()..].starts_with(is_of_word);
    !name.is_empty() && source.match_indices(name).any(|(at, _)| stands_alone(at))
}

/// `chat_template_kwargs`.
fn values(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let path = fields.path("chat_template_kwargs");
    let values = match fields.take("chat_template_kwargs") {
        None => return Ok(Map::new()),
        Some(node @ Node::Object(_)) => bounded_json(node, &path)?,
        Some(_) => return Err(ApiError::invalid_type(path, "an object")),
    };
    let Value::Object(values) = values else { unreachable!("an object became one") };
    if let Some(reserved) = values.keys().find(|name| RESERVED.contains(&name.as_str())) {
        return Err(ApiError::unsupported_field(format!("{path}.{reserved}")));
    }
    Ok(values)
}

fn effort(fields: &mut Fields) -> Result<Vec<ThinkingWish>, ApiError> {
    const NAME: &str = "reasoning_effort";
    let Some(effort) = fields.text(NAME)? else { return Ok(Vec::new()) };
    Ok(vec![ThinkingWish::effort(effort, NAME)?])
}

/// Bytes of the texts of a conversation, as far as they become a prompt.
pub(crate) fn conversation_bytes(messages: &[Message], options: &ChatOptions) -> usize {
    let calls = |message: &Message| message.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>();
    let said = messages.iter().map(|message| message.content.len() + calls(message)).sum::<usize>();
    said + options.extras.tools.iter().map(|tool| tool.to_json().to_string().len()).sum::<usize>()
}

/// Bytes of all that a template may show of a conversation: its thoughts, names and own values as well.
pub(crate) fn shown_bytes_max(messages: &[Message], options: &ChatOptions) -> usize {
    let beside = |message: &Message| {
        let calls = message.tool_calls.iter().map(|call| call.id.len() + call.name.len()).sum::<usize>();
        let texts = [&message.name, &message.tool_call_id, &message.reasoning_content];
        calls + texts.into_iter().flatten().map(String::len).sum::<usize>()
    };
    let values = options.extras.values.values().map(|value| value.to_string().len()).sum::<usize>();
    conversation_bytes(messages, options) + values + messages.iter().map(beside).sum::<usize>()
}
