//! The request: instructions and input, as messages.

use std::collections::BTreeMap;

use models::generation::End;
use models::grammar::GrammarSource;
use models::limits::TOP_LOGPROBS_MAX;
use models::sampling::Sampling;
use models::template::Message;
use serde_json::{Value, json};

use super::input::input;
use super::tools::{self, ToldTools};
use crate::http::error::ApiError;
use crate::http::wire::constraint::{self, Constraint};
use crate::http::wire::generation::{ClientNames, take_names, tokens_max};
use crate::http::wire::{
    ChatOptions, Common, Delivery, Fields, Node, ThinkingWish, Urgency, keep_alive, parse_object, said, sampling,
};
use crate::limits::{INCLUDED_MAX, METADATA_MAX, USER_BYTES_MAX};

/// Something to answer.
#[derive(Debug)]
pub(super) struct ResponseRequest {
    pub(super) common: Common,
    /// Never empty; instructions come first, if there are any.
    pub(super) messages: Vec<Message>,
    /// Functions that may be called, and how much the model is to think.
    pub(super) options: ChatOptions,
    /// What the answer tells again.
    pub(super) told: Told,
}

/// What a request says that its answer says as well.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) instructions: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) names: ClientNames,
    /// `text.format`.
    pub(super) format: Value,
    /// `reasoning.effort`.
    pub(super) effort: Option<String>,
    pub(super) tools: ToldTools,
}

impl ResponseRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let instructions = fields.text("instructions")?;
        let system = instructions.clone().filter(|text| !text.is_empty()).map(|text| said("system", text));
        let messages: Vec<Message> = system.into_iter().chain(input(&mut fields)?).collect();
        let drawing = sampling::take_named(&mut fields, &["temperature", "top_p"], Sampling::default())?;
        let (constraint, format) = text(&mut fields)?;
        let common = Common {
            constraint,
            tokens_max: tokens_max(&mut fields, "max_output_tokens", 1)?,
            logprobs: logprobs(&mut fields)?,
            end: if fields.flag("ignore_eos")?.unwrap_or(false) { End::Ignored } else { End::Honoured },
            delivery: delivery(&mut fields)?,
            keep_alive: keep_alive::take(&mut fields)?,
            urgency: Urgency::take(&mut fields)?,
            ..Common::plain(model, drawing)
        };
        let (mut options, tools) = tools::take(&mut fields)?;
        let effort = reasoning(&mut fields)?;
        if let Some(effort) = &effort {
            options.thinking.push(ThinkingWish::effort(effort.clone(), "reasoning.effort")?);
        }
        let (metadata, names) = (metadata(&mut fields)?, take_names(&mut fields)?);
        take_unsupported(&mut fields)?;
        fields.finish()?;
        Ok(Self { common, messages, options, told: Told { instructions, metadata, names, format, effort, tools } })
    }
}

fn delivery(fields: &mut Fields) -> Result<Delivery, ApiError> {
    let is_streamed = fields.flag("stream")?.unwrap_or(false);
    if let Some(mut options) = fields.object("stream_options")? {
        options.only_off("include_obfuscation")?;
        options.finish()?;
    }
    Ok(Delivery::plain(is_streamed))
}

/// `top_logprobs`, and what `include` asks for. Reasoning is never encrypted: it is included as it is.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let path = fields.path("include");
    let top: Option<usize> = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX as i128)?;
    let items = match fields.take("include") {
        None => Vec::new(),
        Some(Node::List(items)) if items.len() <= INCLUDED_MAX => items,
        Some(Node::List(_)) => return Err(ApiError::invalid_value(path, format_args!("has more than {INCLUDED_MAX}"))),
        Some(_) => return Err(ApiError::invalid_type(path, "an array of strings")),
    };
    let mut is_included = false;
    for (index, item) in items.iter().enumerate() {
        match item {
            Node::Text(text) if text == "message.output_text.logprobs" => is_included = true,
            Node::Text(text) if text == "reasoning.encrypted_content" => {}
            _ => return Err(ApiError::unsupported_field(format!("{path}[{index}]"))),
        }
    }
    Ok(match top {
        Some(top) if top > 0 || is_included => Some(top),
        None if is_included => Some(0),
        Some(_) | None => None,
    })
}

fn metadata(fields: &mut Fields) -> Result<BTreeMap<String, String>, ApiError> {
    let path = fields.path("metadata");
    let entries = match fields.take("metadata") {
        None => return Ok(BTreeMap::new()),
        Some(Node::Object(entries)) if entries.len() <= METADATA_MAX => entries,
        Some(Node::Object(_)) => {
            return Err(ApiError::invalid_value(path, format_args!("has more than {METADATA_MAX} entries")));
        }
        Some(_) => return Err(ApiError::invalid_type(path, "an object of strings")),
    };
    let entry = |(name, value): (String, Node)| match value {
        Node::Text(text) if text.len() <= USER_BYTES_MAX => Ok((name, text)),
        Node::Text(_) => Err(ApiError::invalid_value(
            format!("{path}.{name}"),
            format_args!("is longer than {USER_BYTES_MAX} bytes"),
        )),
        _ => Err(ApiError::invalid_type(format!("{path}.{name}"), "a string")),
    };
    entries.into_iter().map(entry).collect()
}

/// `text`: what the answer keeps to, and how that is told again.
fn text(fields: &mut Fields) -> Result<(Option<Constraint>, Value), ApiError> {
    let Some(mut text) = fields.object("text")? else { return Ok((None, json!({ "type": "text" }))) };
    text.only_words("verbosity", &["medium"])?;
    let format = match text.object("format")? {
        None => (None, json!({ "type": "text" })),
        Some(format) => self::format(format)?,
    };
    text.finish()?;
    Ok(format)
}

fn format(mut format: Fields) -> Result<(Option<Constraint>, Value), ApiError> {
    let param = format.path("type");
    let kind = format.required_text("type")?;
    let taken = match kind.as_str() {
        "text" => (None, json!({ "type": kind })),
        "json_object" => (Some(Constraint { source: GrammarSource::json_object(), param }), json!({ "type": kind })),
        "json_schema" => {
            let (name, description) = (format.required_text("name")?, format.text("description")?);
            // Every schema is kept to strictly.
            let strict = format.flag("strict")?;
            let missing = format.path("schema");
            let constraint = constraint::schema(&mut format, "schema")?;
            let constraint = constraint.ok_or_else(|| ApiError::missing_field(missing))?;
            let schema = match &constraint.source {
                GrammarSource::JsonSchema(schema) => schema.clone(),
                _ => Value::Null,
            };
            let told = json!({
                "type": kind, "name": name, "description": description, "schema": schema, "strict": strict,
            });
            (Some(constraint), told)
        }
        _ => return Err(ApiError::unsupported_field(param)),
    };
    format.finish()?;
    Ok(taken)
}

/// `reasoning`. Thoughts are told as they are, which is the most detailed summary that there can be.
fn reasoning(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok(None) };
    let effort = reasoning.text("effort")?;
    for name in ["summary", "generate_summary"] {
        reasoning.only_words(name, &["auto", "detailed"])?;
    }
    reasoning.only_words("context", &["auto"])?;
    reasoning.finish()?;
    Ok(effort)
}

/// What OpenAI does and this server does not do here, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    for flag in ["store", "background"] {
        fields.only_off(flag)?;
    }
    // What a client tells of itself.
    fields.object("client_metadata")?;
    fields.only_words("truncation", &["disabled"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::{each_refused, refused};

    const MINIMUM: &str = r#""model":"m","input":"hi""#;

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""store":true"#, "unsupported_parameter", "store"),
            (r#""background":true"#, "unsupported_parameter", "background"),
            (r#""previous_response_id":"resp_1""#, "unsupported_parameter", "previous_response_id"),
            (r#""conversation":"conv_1""#, "unsupported_parameter", "conversation"),
            (r#""reasoning":{"effort":"endless"}"#, "invalid_value", "reasoning.effort"),
            (r#""reasoning":{"summary":"concise"}"#, "unsupported_parameter", "reasoning.summary"),
            (r#""text":{"format":{"type":"xml"}}"#, "unsupported_parameter", "text.format.type"),
            (r#""text":{"format":{"type":"json_schema"}}"#, "missing_required_parameter", "text.format.name"),
            (
                r#""text":{"format":{"type":"json_schema","name":"n"}}"#,
                "missing_required_parameter",
                "text.format.schema",
            ),
            (r#""text":{"verbosity":"low"}"#, "unsupported_parameter", "text.verbosity"),
            (r#""truncation":"auto""#, "unsupported_parameter", "truncation"),
            (r#""include":["file_search_call.results"]"#, "unsupported_parameter", "include[0]"),
            (r#""top_logprobs":21"#, "invalid_value", "top_logprobs"),
            (r#""max_output_tokens":0"#, "invalid_value", "max_output_tokens"),
            (r#""max_tokens":1"#, "unsupported_parameter", "max_tokens"),
            (r#""seed":1"#, "unsupported_parameter", "seed"),
            (r#""metadata":{"a":1}"#, "invalid_type", "metadata.a"),
            (
                r#""stream":true,"stream_options":{"include_obfuscation":true}"#,
                "unsupported_parameter",
                "stream_options.include_obfuscation",
            ),
        ];
        each_refused(ResponseRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn lists_that_are_told_again_are_bounded() {
        let many: Vec<String> = (0..=METADATA_MAX).map(|index| format!("\"k{index}\":\"v\"")).collect();
        let many = format!("{{{MINIMUM},\"metadata\":{{{}}}}}", many.join(","));
        assert_eq!(refused(ResponseRequest::parse(many.as_bytes())), ("invalid_value", Some("metadata".to_owned())));
        let many = format!("{{{MINIMUM},\"include\":[{}\"a\"]}}", "\"a\",".repeat(INCLUDED_MAX));
        assert_eq!(refused(ResponseRequest::parse(many.as_bytes())), ("invalid_value", Some("include".to_owned())));
    }

    #[test]
    fn what_is_said_is_taken() {
        let request = ResponseRequest::parse(
            br#"{"model":"m","instructions":"be brief","input":[{"role":"user","content":"e"}],
                "max_output_tokens":7,"store":false,"text":{"verbosity":"medium","format":{"type":"json_schema","name":"n",
                    "strict":true,"schema":{"type":"integer"}}},
                "reasoning":{"effort":"low","summary":"auto","context":"auto"},"client_metadata":{"turn":"1"},
                "include":["message.output_text.logprobs","reasoning.encrypted_content"],
                "metadata":{"a":"b"},"user":"u","stream":true,"keep_alive":"1m","truncation":"disabled"}"#,
        );
        let ResponseRequest { common, messages, options, told } = request.expect("all of it is supported");
        let said: Vec<_> = messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect();
        assert_eq!(said, [("system", "be brief"), ("user", "e")]);
        assert_eq!((common.tokens_max, common.logprobs), (Some(7), Some(0)));
        assert!(common.keep_alive.is_some() && matches!(common.delivery, Delivery::Streamed { .. }));
        assert_eq!((told.names.user.as_deref(), told.metadata["a"].as_str()), (Some("u"), "b"));
        let schema = json!({ "type": "integer" });
        let told_format =
            json!({ "type": "json_schema", "name": "n", "description": null, "schema": schema, "strict": true });
        assert_eq!((told.format, told.effort.as_deref(), options.thinking.len()), (told_format, Some("low"), 1));
        let constraint = common.constraint.expect("a schema");
        assert_eq!(
            (constraint.source, constraint.param.as_str()),
            (GrammarSource::JsonSchema(schema), "text.format.schema")
        );
        let object = format!(r#"{{{MINIMUM},"text":{{"format":{{"type":"json_object"}}}}}}"#);
        let object = ResponseRequest::parse(object.as_bytes()).expect("it is supported");
        assert_eq!(object.common.constraint.map(|constraint| constraint.source), Some(GrammarSource::json_object()));
    }
}
