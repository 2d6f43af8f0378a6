//! What a chat has beside its messages: functions that may be called, and values for the model's template.

use models::grammar::CallNumber;
use models::template::{ChatTemplate, Extras, Message, Tool, ToolCall};
use serde_json::{Map, Value};

use super::Fields;
use super::constraint::bounded_json;
use super::json::Node;
use crate::http::error::ApiError;
use crate::limits::{TOOL_CALLS_MAX, TOOL_NAME_CHARS_MAX, TOOLS_MAX};

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
    /// How long the model is to think, in OpenAI's words.
    pub(crate) effort: Option<String>,
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
pub(crate) const EFFORTS: [&str; 5] = ["none", "minimal", "low", "medium", "high"];

impl ChatOptions {
    /// Takes the fields.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let offered = tools(fields)?;
        let strict = offered.iter().filter(|offered| offered.is_strict).map(|offered| offered.tool.name.clone());
        let strict = strict.collect();
        let mut tools: Vec<Tool> = offered.into_iter().map(|offered| offered.tool).collect();
        let choice = match choice(fields, &tools)? {
            Some(choice) => choice,
            // What may not be called is not shown either.
            None => {
                tools.clear();
                ToolChoice::Auto
            }
        };
        let number = match fields.flag("parallel_tool_calls")? {
            Some(false) => CallNumber::One,
            Some(true) | None => CallNumber::Several,
        };
        let extras = Extras { tools, values: values(fields)? };
        Ok(Self { extras, choice, number, strict, effort: effort(fields)? })
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
        let Some(effort) = &self.effort else { return Ok(extras) };
        let (name, value) = if template.source().contains("reasoning_effort") {
            ("reasoning_effort", Value::from(effort.as_str()))
        } else if template.source().contains("enable_thinking") {
            ("enable_thinking", Value::from(effort != "none"))
        } else {
            return Err(ApiError::unsupported_field("reasoning_effort"));
        };
        if extras.values.insert(name.to_owned(), value.clone()).is_some_and(|other| other != value) {
            let why = format_args!("contradicts `chat_template_kwargs.{name}`");
            return Err(ApiError::invalid_value("reasoning_effort", why));
        }
        Ok(extras)
    }
}

/// Whether `source` has `name` as a word of its own.
fn has_word(source: &str, name: &str) -> bool {
    let is_of_word = |one: char| one.is_alphanumeric() || one == '_';
    let stands_alone =
        |at: usize| !source[..at].ends_with(is_of_word) && !source[at + name.len()..].starts_with(is_of_word);
    !name.is_empty() && source.match_indices(name).any(|(at, _)| stands_alone(at))
}

struct Offered {
    tool: Tool,
    is_strict: bool,
}

fn tools(fields: &mut Fields) -> Result<Vec<Offered>, ApiError> {
    let path = fields.path("tools");
    let items = match fields.take("tools") {
        None => return Ok(Vec::new()),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, "an array of tools")),
    };
    if items.len() > TOOLS_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {TOOLS_MAX} tools")));
    }
    let mut tools: Vec<Offered> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let offered = tool(item, &format!("{path}[{index}]"))?;
        if tools.iter().any(|before| before.tool.name == offered.tool.name) {
            let why = format_args!("`{}` is offered twice", offered.tool.name);
            return Err(ApiError::invalid_value(format!("{path}[{index}].function.name"), why));
        }
        tools.push(offered);
    }
    Ok(tools)
}

fn tool(item: Node, path: &str) -> Result<Offered, ApiError> {
    let mut fields = Fields::of(item, path)?;
    if fields.required_text("type")? != "function" {
        return Err(ApiError::unsupported_field(fields.path("type")));
    }
    let missing = fields.path("function");
    let mut function = fields.object("function")?.ok_or_else(|| ApiError::missing_field(missing))?;
    fields.finish()?;
    let name = name(&mut function)?;
    let description = function.text("description")?;
    let parameters = function.path("parameters");
    let parameters = match function.take("parameters") {
        None => None,
        Some(node @ Node::Object(_)) => Some(bounded_json(node, &parameters)?),
        Some(_) => return Err(ApiError::invalid_type(parameters, "a JSON schema, which is an object")),
    };
    let is_strict = function.flag("strict")?.unwrap_or(false);
    function.finish()?;
    Ok(Offered { tool: Tool { name, description, parameters }, is_strict })
}

/// The name of a function, in the characters that every format of calls can say.
fn name(fields: &mut Fields) -> Result<String, ApiError> {
    let name = fields.required_text("name")?;
    let is_sayable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > TOOL_NAME_CHARS_MAX || !name.bytes().all(is_sayable) {
        let why = format_args!("must be 1 to {TOOL_NAME_CHARS_MAX} of a-z, A-Z, 0-9, `_`, `-` and `.`");
        return Err(ApiError::invalid_value(fields.path("name"), why));
    }
    Ok(name)
}

/// `tool_choice`; none where nothing may be called.
fn choice(fields: &mut Fields, tools: &[Tool]) -> Result<Option<ToolChoice>, ApiError> {
    let path = fields.path("tool_choice");
    let choice = match fields.take("tool_choice") {
        None => return Ok(Some(ToolChoice::Auto)),
        Some(Node::Text(text)) => match text.as_str() {
            "none" => return Ok(None),
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => {
                let why = "must be `none`, `auto`, `required` or a function";
                return Err(ApiError::invalid_value(path, why));
            }
        },
        Some(node) => {
            let mut fields = Fields::of(node, &path)?;
            if fields.required_text("type")? != "function" {
                return Err(ApiError::unsupported_field(fields.path("type")));
            }
            let missing = fields.path("function");
            let mut function = fields.object("function")?.ok_or_else(|| ApiError::missing_field(missing))?;
            fields.finish()?;
            let named = function.required_text("name")?;
            let path = function.path("name");
            function.finish()?;
            if !tools.iter().any(|tool| tool.name == named) {
                return Err(ApiError::invalid_value(path, "is none of `tools`"));
            }
            ToolChoice::Named(named)
        }
    };
    if tools.is_empty() {
        return Err(ApiError::invalid_value(path, "is for requests with `tools`"));
    }
    Ok(Some(choice))
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

fn effort(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let Some(effort) = fields.text("reasoning_effort")? else { return Ok(None) };
    if !EFFORTS.contains(&effort.as_str()) {
        let why = format_args!("must be one of {}", EFFORTS.join(", "));
        return Err(ApiError::invalid_value(fields.path("reasoning_effort"), why));
    }
    Ok(Some(effort))
}

/// The calls of an assistant's message.
pub(super) fn calls(fields: &mut Fields) -> Result<Vec<ToolCall>, ApiError> {
    let path = fields.path("tool_calls");
    let items = match fields.take("tool_calls") {
        None => return Ok(Vec::new()),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, "an array of calls")),
    };
    if items.len() > TOOL_CALLS_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {TOOL_CALLS_MAX} calls")));
    }
    items.into_iter().enumerate().map(|(index, item)| call(item, &format!("{path}[{index}]"))).collect()
}

fn call(item: Node, path: &str) -> Result<ToolCall, ApiError> {
    let mut fields = Fields::of(item, path)?;
    if fields.text("type")?.is_some_and(|kind| kind != "function") {
        return Err(ApiError::unsupported_field(fields.path("type")));
    }
    // Streamed calls have it, and are sent back as they came.
    fields.integer::<u32>("index", 0..=i128::from(u32::MAX))?;
    let id = fields.required_text("id")?;
    let missing = fields.path("function");
    let mut function = fields.object("function")?.ok_or_else(|| ApiError::missing_field(missing))?;
    fields.finish()?;
    let (name, arguments) = (function.required_text("name")?, function.required_text("arguments")?);
    function.finish()?;
    Ok(ToolCall { id, name, arguments })
}

/// Bytes of the texts of a conversation, as far as they become a prompt.
pub(crate) fn conversation_bytes(messages: &[Message], options: &ChatOptions) -> usize {
    let calls = |message: &Message| message.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>();
    let said = messages.iter().map(|message| message.content.len() + calls(message)).sum::<usize>();
    said + options.extras.tools.iter().map(|tool| tool.to_json().to_string().len()).sum::<usize>()
}

#[cfg(test)]
mod tests;
