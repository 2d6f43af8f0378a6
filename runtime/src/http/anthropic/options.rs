//! Tools and how they are to be used, thinking, and what an answer keeps to.
//!
//! A budget of thinking is the target that it is there, checked, and no bound: `max_tokens` bounds thoughts and answer together.

use models::grammar::CallNumber;
use models::template::Message;

use crate::http::error::ApiError;
use crate::http::wire::constraint::{self, Constraint};
use crate::http::wire::tools::functions::{check_choice, function_of, named, no_function, offered};
use crate::http::wire::tools::{Offered, call_number};
use crate::http::wire::{ChatOptions, Fields, Node, ThinkingLevel, ThinkingWish, ToolChoice};
use crate::limits::TOKENS_MAX;

/// The least budget there is.
pub(crate) const BUDGET_TOKENS_MIN: i64 = 1024;

/// Whether an answer shows what was thought.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Display {
    #[default]
    Shown,
    /// That there were thoughts, and not which.
    Omitted,
}

/// What a conversation has beside its messages.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) chat: ChatOptions,
    pub(super) display: Display,
    pub(super) constraint: Option<Constraint>,
}

impl Options {
    /// Takes the fields. `tokens_max` is of the answer, where there will be one: it goes on with the last of `messages` where
    /// that is the assistant's.
    pub(super) fn take(fields: &mut Fields, messages: &[Message], tokens_max: Option<usize>) -> Result<Self, ApiError> {
        let offered = offered(fields, tool)?;
        let (choice, number) = choice(fields, &offered)?;
        let mut chat = ChatOptions::offering(offered, choice, number);
        let (wish, display) = thinking(fields, tokens_max)?;
        chat.thinking.extend(wish);
        let mut constraint = None;
        if let Some(mut config) = fields.object("output_config")? {
            chat.thinking.extend(effort(&mut config)?);
            constraint = format(&mut config, "format")?;
            config.finish()?;
        }
        // As it was called at first.
        if let Some(older) = format(fields, "output_format")? {
            if constraint.is_some() {
                return Err(ApiError::invalid_value(
                    "output_format",
                    "an answer keeps to `output_config.format` already",
                ));
            }
            constraint = Some(older);
        }
        if let Some(last) = messages.last().filter(|last| last.role == "assistant") {
            chat.go_on_with(Some(last), "messages")?;
            if let Some(Constraint { param, .. }) = constraint {
                let why = "an answer that goes on with the assistant's words would keep to it without them";
                return Err(ApiError::invalid_value(param, why));
            }
        }
        Ok(Self { chat, display, constraint })
    }
}

fn tool(item: Node, path: &str) -> Result<Offered, ApiError> {
    const SCHEMA: &str = "input_schema";
    let mut fields = Fields::of(item, path)?;
    // The others are the service's own.
    if fields.text("type")?.is_some_and(|kind| kind != "custom") {
        return Err(no_function(&fields));
    }
    let offered = function_of(&mut fields, SCHEMA)?;
    if offered.tool.parameters.is_none() {
        return Err(ApiError::missing_field(fields.path(SCHEMA)));
    }
    // What is alike is found again without being marked, and a use is streamed whole in any case.
    fields.object("cache_control")?;
    fields.flag("eager_input_streaming")?;
    fields.only_empty("input_examples")?;
    fields.only_off("defer_loading")?;
    fields.only_listing("allowed_callers", "direct")?;
    fields.finish()?;
    Ok(offered)
}

/// Whether a tool is to be used, none where none may be, and how many times.
fn choice(fields: &mut Fields, offered: &[Offered]) -> Result<(Option<ToolChoice>, CallNumber), ApiError> {
    let path = fields.path("tool_choice");
    let Some(mut choice) = fields.object("tool_choice")? else {
        return Ok((Some(ToolChoice::Auto), CallNumber::Several));
    };
    let number = call_number(choice.flag("disable_parallel_tool_use")?.map(|is_disabled| !is_disabled));
    let chosen = match choice.required_text("type")?.as_str() {
        "auto" => Some(ToolChoice::Auto),
        "any" => Some(ToolChoice::Required),
        "tool" => Some(named(&mut choice, offered)?),
        "none" => None,
        _ => {
            let why = "must be `auto`, `any`, `tool` or `none`";
            return Err(ApiError::invalid_value(choice.path("type"), why));
        }
    };
    choice.finish()?;
    Ok((check_choice(chosen, offered, &path)?, number))
}

fn thinking(fields: &mut Fields, tokens_max: Option<usize>) -> Result<(Option<ThinkingWish>, Display), ApiError> {
    const NAME: &str = "thinking";
    let Some(mut thinking) = fields.object(NAME)? else { return Ok((None, Display::Shown)) };
    let level = match thinking.required_text("type")?.as_str() {
        "disabled" => Some(ThinkingLevel::Off),
        // As the model likes.
        "adaptive" => None,
        "enabled" => {
            let path = thinking.path("budget_tokens");
            let budget: Option<usize> =
                thinking.integer("budget_tokens", i128::from(BUDGET_TOKENS_MIN)..=i128::from(TOKENS_MAX))?;
            let budget = budget.ok_or_else(|| ApiError::missing_field(path.as_str()))?;
            if tokens_max.is_some_and(|tokens| budget >= tokens) {
                return Err(ApiError::invalid_value(path, "must be less than `max_tokens`"));
            }
            Some(ThinkingLevel::On)
        }
        _ => {
            let why = "must be `enabled`, `adaptive` or `disabled`";
            return Err(ApiError::invalid_value(thinking.path("type"), why));
        }
    };
    let display = match thinking.text("display")?.as_deref() {
        // Thoughts are told as they are: there is nobody to sum them up.
        None | Some("summarized") => Display::Shown,
        Some("omitted") => Display::Omitted,
        Some(_) => {
            return Err(ApiError::invalid_value(thinking.path("display"), "must be `summarized` or `omitted`"));
        }
    };
    thinking.finish()?;
    Ok((level.map(|level| ThinkingWish { level, param: NAME }), display))
}

/// `effort`, of which `high` is what is done anyway where a template has no word for it.
fn effort(config: &mut Fields) -> Result<Option<ThinkingWish>, ApiError> {
    const NAME: &str = "output_config.effort";
    match config.text("effort")? {
        None => Ok(None),
        Some(effort) if effort == "high" => Ok(Some(ThinkingWish { level: ThinkingLevel::High, param: NAME })),
        Some(effort) => ThinkingWish::effort(effort, NAME).map(Some),
    }
}

fn format(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let Some(mut format) = fields.object(name)? else { return Ok(None) };
    let kind = format.path("type");
    if format.required_text("type")? != "json_schema" {
        return Err(ApiError::unsupported_field(kind));
    }
    let missing = format.path("schema");
    let constraint = constraint::schema(&mut format, "schema")?.ok_or_else(|| ApiError::missing_field(missing))?;
    format.finish()?;
    Ok(Some(constraint))
}

#[cfg(test)]
mod tests {
    use models::grammar::GrammarSource;

    use super::*;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    const TOOL: &str = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;

    fn parse(body: &[u8]) -> Result<Options, ApiError> {
        let mut fields = parse_object(body)?;
        let options = Options::take(&mut fields, &[], Some(2048))?;
        fields.finish()?;
        Ok(options)
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let table = [
            (r#""tools":[{"name":"f"}]"#, "missing_required_parameter", "tools[0].input_schema"),
            (r#""tools":[{"input_schema":{}}]"#, "missing_required_parameter", "tools[0].name"),
            (
                r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#,
                "unsupported_parameter",
                "tools[0].type",
            ),
            (
                r#""tools":[{"name":"f","input_schema":{}},{"name":"f","input_schema":{}}]"#,
                "invalid_value",
                "tools[1].name",
            ),
            (
                r#""tools":[{"name":"f","input_schema":{},"input_examples":[{"a":1}]}]"#,
                "unsupported_parameter",
                "tools[0].input_examples",
            ),
            (
                r#""tools":[{"name":"f","input_schema":{},"allowed_callers":["code_execution_20260120"]}]"#,
                "unsupported_parameter",
                "tools[0].allowed_callers",
            ),
            (r#""tool_choice":{"type":"auto"}"#, "invalid_value", "tool_choice"),
            (r#""thinking":{"type":"enabled"}"#, "missing_required_parameter", "thinking.budget_tokens"),
            (r#""thinking":{"type":"enabled","budget_tokens":1000}"#, "invalid_value", "thinking.budget_tokens"),
            (r#""thinking":{"type":"enabled","budget_tokens":2048}"#, "invalid_value", "thinking.budget_tokens"),
            (r#""thinking":{"type":"hard"}"#, "invalid_value", "thinking.type"),
            (r#""thinking":{"type":"adaptive","display":"sung"}"#, "invalid_value", "thinking.display"),
            (
                r#""thinking":{"type":"disabled","budget_tokens":2000}"#,
                "unsupported_parameter",
                "thinking.budget_tokens",
            ),
            (r#""output_config":{"effort":"endless"}"#, "invalid_value", "output_config.effort"),
            (r#""output_config":{"format":{"type":"xml"}}"#, "unsupported_parameter", "output_config.format.type"),
            (
                r#""output_config":{"format":{"type":"json_schema"}}"#,
                "missing_required_parameter",
                "output_config.format.schema",
            ),
            (
                r#""output_format":{"type":"json_schema","schema":{}},"output_config":{"format":{"type":"json_schema","schema":{}}}"#,
                "invalid_value",
                "output_format",
            ),
        ];
        each_refused(parse, "", &table);
        let table = [
            (r#""tool_choice":{"type":"some"}"#, "invalid_value", "tool_choice.type"),
            (r#""tool_choice":{"type":"tool","name":"g"}"#, "invalid_value", "tool_choice.name"),
            (r#""tool_choice":{"type":"tool"}"#, "missing_required_parameter", "tool_choice.name"),
            (r#""tool_choice":{"type":"any","name":"f"}"#, "unsupported_parameter", "tool_choice.name"),
        ];
        each_refused(parse, TOOL, &table);
    }

    #[test]
    fn what_is_said_is_taken() {
        let parsed = |fields: &str| parse(format!("{{{fields}}}").as_bytes()).expect(fields);
        let with_tool = |choice: &str| parsed(&format!(r#"{TOOL},"tool_choice":{choice}"#)).chat;
        let chat = with_tool(r#"{"type":"any","disable_parallel_tool_use":true}"#);
        assert_eq!((chat.choice, chat.number), (ToolChoice::Required, CallNumber::One));
        assert_eq!(with_tool(r#"{"type":"tool","name":"f"}"#).choice, ToolChoice::Named("f".to_owned()));
        assert_eq!(with_tool(r#"{"type":"none"}"#).extras.tools, []);
        let strict = parsed(
            r#""tools":[{"type":"custom","name":"f","description":"d","strict":true,"input_schema":{"type":"object"},
                "cache_control":{"type":"ephemeral"},"eager_input_streaming":true,"allowed_callers":["direct"]}]"#,
        );
        assert_eq!((strict.chat.strict, strict.chat.choice), (vec!["f".to_owned()], ToolChoice::Auto));
        let thinking = parsed(r#""thinking":{"type":"enabled","budget_tokens":1024,"display":"omitted"}"#);
        let on = ThinkingWish { level: ThinkingLevel::On, param: "thinking" };
        assert_eq!((thinking.chat.thinking, thinking.display), (vec![on], Display::Omitted));
        let high = ThinkingWish { level: ThinkingLevel::High, param: "output_config.effort" };
        assert_eq!(parsed(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}"#).chat.thinking, [high]);
        let Some(Constraint { source: GrammarSource::JsonSchema(schema), param }) =
            parsed(r#""output_config":{"format":{"type":"json_schema","schema":{"type":"integer"}}}"#).constraint
        else {
            panic!("a schema")
        };
        assert_eq!((schema["type"].as_str(), param.as_str()), (Some("integer"), "output_config.format.schema"));
    }
}
