//! Functions as requests offer them, and calls of them as conversations hold them.

use models::template::{Tool, ToolCall};

use super::super::Fields;
use super::super::constraint::bounded_json;
use super::super::json::Node;
use super::ToolChoice;
use crate::http::error::ApiError;
use crate::limits::{TOOL_CALLS_MAX, TOOL_NAME_CHARS_MAX, TOOLS_MAX};

/// A function that a request offers.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) tool: Tool,
    /// Whether its arguments are kept to their schema.
    pub(crate) is_strict: bool,
    /// Where its name stands in the body.
    pub(crate) name_path: String,
}

/// `tools`, each function once; `read` reads one as its interface has it.
pub(crate) fn offered(
    fields: &mut Fields,
    read: fn(Node, &str) -> Result<Offered, ApiError>,
) -> Result<Vec<Offered>, ApiError> {
    let path = fields.path("tools");
    let items = fields.list("tools", TOOLS_MAX, "an array of tools")?.unwrap_or_default();
    let mut tools: Vec<Offered> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        offer(&mut tools, read(item, &format!("{path}[{index}]"))?)?;
    }
    Ok(tools)
}

/// Adds a function to those that are offered.
pub(crate) fn offer(tools: &mut Vec<Offered>, offered: Offered) -> Result<(), ApiError> {
    if tools.len() == TOOLS_MAX {
        return Err(ApiError::invalid_value(offered.name_path, format_args!("is one of more than {TOOLS_MAX}")));
    }
    if tools.iter().any(|before| before.tool.name == offered.tool.name) {
        let why = format_args!("`{}` is offered twice", offered.tool.name);
        return Err(ApiError::invalid_value(offered.name_path, why));
    }
    tools.push(offered);
    Ok(())
}

/// `{"type": "function", "function": {…}}`.
pub(super) fn nested(item: Node, path: &str) -> Result<Offered, ApiError> {
    let mut fields = Fields::of(item, path)?;
    if fields.required_text("type")? != "function" {
        return Err(no_function(&fields));
    }
    let mut function = fields.required_object("function")?;
    fields.finish()?;
    let offered = function_of(&mut function, "parameters")?;
    function.finish()?;
    Ok(offered)
}

/// What is said of a tool that is none of the client's own.
pub(crate) fn no_function(fields: &Fields) -> ApiError {
    let why = "only functions can be offered, as this server runs no tools of its own: leave it out";
    ApiError::unsupported_value(fields.path("type"), why)
}

/// Takes what describes a function: its name, what it does, `strict`, and the schema of its arguments, called `schema`.
pub(crate) fn function_of(fields: &mut Fields, schema: &str) -> Result<Offered, ApiError> {
    let name_path = fields.path("name");
    let name = name(fields)?;
    let description = fields.text("description")?;
    let schema_path = fields.path(schema);
    let parameters = match fields.take(schema) {
        None => None,
        Some(node @ Node::Object(_)) => Some(bounded_json(node, &schema_path)?),
        Some(_) => return Err(ApiError::invalid_type(schema_path, "a JSON schema, which is an object")),
    };
    let is_strict = fields.flag("strict")?.unwrap_or(false);
    Ok(Offered { tool: Tool { name, description, parameters }, is_strict, name_path })
}

/// The name of a function, in the characters that every format of calls can say.
pub(crate) fn name(fields: &mut Fields) -> Result<String, ApiError> {
    let name = fields.required_text("name")?;
    let is_sayable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > TOOL_NAME_CHARS_MAX || !name.bytes().all(is_sayable) {
        let why = format_args!("must be 1 to {TOOL_NAME_CHARS_MAX} of a-z, A-Z, 0-9, `_`, `-` and `.`");
        return Err(ApiError::invalid_value(fields.path("name"), why));
    }
    Ok(name)
}

/// The function that `name` names, one of those that are offered.
pub(crate) fn named(fields: &mut Fields, offered: &[Offered]) -> Result<ToolChoice, ApiError> {
    let named = fields.required_text("name")?;
    if !offered.iter().any(|offered| offered.tool.name == named) {
        return Err(ApiError::invalid_value(fields.path("name"), "is none of `tools`"));
    }
    Ok(ToolChoice::Named(named))
}

/// `none`, `auto` or `required`; none where nothing may be called.
pub(crate) fn choice_of(word: &str, path: &str) -> Result<Option<ToolChoice>, ApiError> {
    match word {
        "none" => Ok(None),
        "auto" => Ok(Some(ToolChoice::Auto)),
        "required" => Ok(Some(ToolChoice::Required)),
        _ => Err(ApiError::invalid_value(path, "must be `none`, `auto`, `required` or a function")),
    }
}

/// Refuses a choice where there is nothing to choose from.
pub(crate) fn check_choice(
    choice: Option<ToolChoice>,
    offered: &[Offered],
    path: &str,
) -> Result<Option<ToolChoice>, ApiError> {
    if choice.is_some() && offered.is_empty() {
        return Err(ApiError::invalid_value(path, "is for requests with `tools`"));
    }
    Ok(choice)
}

/// `tool_choice`; none where nothing may be called.
pub(super) fn choice(fields: &mut Fields, offered: &[Offered]) -> Result<Option<ToolChoice>, ApiError> {
    let path = fields.path("tool_choice");
    let choice = match fields.take("tool_choice") {
        None => return Ok(Some(ToolChoice::Auto)),
        Some(Node::Text(text)) => choice_of(&text, &path)?,
        Some(node) => {
            let mut fields = Fields::of(node, &path)?;
            if fields.required_text("type")? != "function" {
                return Err(ApiError::unsupported_field(fields.path("type")));
            }
            let mut function = fields.required_object("function")?;
            fields.finish()?;
            let named = named(&mut function, offered)?;
            function.finish()?;
            Some(named)
        }
    };
    check_choice(choice, offered, &path)
}

/// The calls of an assistant's message; `read` reads the one of this number.
pub(crate) fn calls_by(
    fields: &mut Fields,
    read: impl Fn(Node, &str, usize) -> Result<ToolCall, ApiError>,
) -> Result<Vec<ToolCall>, ApiError> {
    let path = fields.path("tool_calls");
    let items = fields.list("tool_calls", TOOL_CALLS_MAX, "an array of calls")?.unwrap_or_default();
    items.into_iter().enumerate().map(|(index, item)| read(item, &format!("{path}[{index}]"), index)).collect()
}

/// The same, as OpenAI has them.
pub(in super::super) fn calls(fields: &mut Fields) -> Result<Vec<ToolCall>, ApiError> {
    calls_by(fields, |item, path, _| {
        let mut fields = Fields::of(item, path)?;
        if fields.text("type")?.is_some_and(|kind| kind != "function") {
            return Err(ApiError::unsupported_field(fields.path("type")));
        }
        // Streamed calls have it, and are sent back as they came.
        fields.integer::<u32>("index", 0..=i128::from(u32::MAX))?;
        let id = fields.required_text("id")?;
        let mut function = fields.required_object("function")?;
        fields.finish()?;
        let (name, arguments) = (function.required_text("name")?, function.required_text("arguments")?);
        function.finish()?;
        Ok(ToolCall { id, name, arguments })
    })
}
