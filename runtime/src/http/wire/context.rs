//! `POST /v1/contexts`: what is published.

use models::contexts::ContextSource;
use scheduler::KeepAlive;

use super::chat::messages_if_any;
use super::{Fields, Urgency, keep_alive, parse_object};
use crate::http::error::ApiError;
use crate::limits::{CONTEXT_ID_PREFIX, CONTEXT_NAME_CHARS_MAX};

/// A context that someone wants published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextRequest {
    /// As the client calls it.
    pub(crate) model: String,
    /// What the context is to be called.
    pub(crate) name: String,
    /// What it is made of; `None` is what the context of this name was made of.
    pub(crate) source: Option<ContextSource>,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long it may take, and who goes first.
    pub(crate) urgency: Urgency,
}

impl ContextRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// Those of a request's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let (model, name) = (fields.model()?, name(&mut fields)?);
        let source = source(&mut fields)?;
        let (keep_alive, urgency) = (keep_alive::take(&mut fields)?, Urgency::take(&mut fields)?);
        fields.finish()?;
        Ok(Self { model, name, source, keep_alive, urgency })
    }
}

/// A name that is a part of a path as it stands, and no id.
fn name(fields: &mut Fields) -> Result<String, ApiError> {
    let name = fields.required_text("name")?;
    let refuse = |why| Err(ApiError::invalid_value(fields.path("name"), why));
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > CONTEXT_NAME_CHARS_MAX {
        return refuse(format!("must have 1 to {CONTEXT_NAME_CHARS_MAX} characters"));
    }
    if !name.chars().all(is_plain) || name.starts_with('.') {
        return refuse("must be of letters, digits, `-`, `_` and `.`, and not begin with `.`".to_owned());
    }
    if name.starts_with(CONTEXT_ID_PREFIX) {
        return refuse(format!("must not begin with `{CONTEXT_ID_PREFIX}`, which ids do"));
    }
    Ok(name)
}

fn source(fields: &mut Fields) -> Result<Option<ContextSource>, ApiError> {
    let (text, messages) = (fields.text("text")?, messages_if_any(fields)?);
    match (text, messages) {
        (Some(_), Some(_)) => Err(ApiError::invalid_value(fields.path("messages"), "cannot stand beside `text`")),
        (Some(text), None) if text.is_empty() => Err(ApiError::invalid_value(fields.path("text"), "is empty")),
        (Some(text), None) => Ok(Some(ContextSource::Text(text))),
        (None, messages) => Ok(messages.map(ContextSource::Messages)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::each_refused;

    #[test]
    fn what_is_asked_is_read() {
        let request = ContextRequest::parse(br#"{"model":"m","name":"a-b_c.1","text":"t","timeout":3}"#).unwrap();
        assert_eq!((request.model.as_str(), request.name.as_str()), ("m", "a-b_c.1"));
        assert_eq!(request.source, Some(ContextSource::Text("t".to_owned())));
        assert!(request.urgency.timeout.is_some() && request.keep_alive.is_none());
        let messages = br#"{"model":"m","name":"a","messages":[{"role":"developer","content":"x"}]}"#;
        let Some(ContextSource::Messages(messages)) = ContextRequest::parse(messages).unwrap().source else { panic!() };
        assert_eq!(messages[0].role, "system");
        assert_eq!(ContextRequest::parse(br#"{"model":"m","name":"a"}"#).unwrap().source, None);
    }

    #[test]
    fn row_19_what_is_no_context_is_refused() {
        let long = format!(r#""name":"{}""#, "x".repeat(CONTEXT_NAME_CHARS_MAX + 1));
        let table = [
            (r#""name":1"#, "invalid_type", "name"),
            (r#""name":"""#, "invalid_value", "name"),
            (r#""name":"../x""#, "invalid_value", "name"),
            (r#""name":".x""#, "invalid_value", "name"),
            (r#""name":"a b""#, "invalid_value", "name"),
            (r#""name":"ctx_1""#, "invalid_value", "name"),
            (&long, "invalid_value", "name"),
            (r#""name":"a","text":"""#, "invalid_value", "text"),
            (r#""name":"a","text":1"#, "invalid_type", "text"),
            (r#""name":"a","messages":[]"#, "invalid_value", "messages"),
            (r#""name":"a","text":"t","messages":[{"role":"user","content":"x"}]"#, "invalid_value", "messages"),
            (r#""name":"a","text":"t","stream":true"#, "unsupported_parameter", "stream"),
        ];
        each_refused(ContextRequest::parse, r#""model":"m""#, &table);
    }
}
