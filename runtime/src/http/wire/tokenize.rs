//! `POST /tokenize` and `POST /detokenize`: the requests, as llama.cpp has them, with the model named.

use models::tokenizer::{Special, Start};

use super::json::Node;
use super::{Fields, parse_object};
use crate::http::error::ApiError;
use crate::limits::DETOKENIZE_TOKENS_MAX;

/// A text to encode.
#[derive(Clone, Debug)]
pub(crate) struct TokenizeRequest {
    /// The model whose tokens are wanted.
    pub(crate) model: String,
    /// The text.
    pub(crate) content: String,
    /// Whether the model's own first token comes first (`add_special`).
    pub(crate) start: Start,
    /// How special tokens in the text are read (`parse_special`).
    pub(crate) special: Special,
}

/// Tokens to decode.
#[derive(Clone, Debug)]
pub(crate) struct DetokenizeRequest {
    /// The model whose tokens they are.
    pub(crate) model: String,
    /// Their ids.
    pub(crate) tokens: Vec<u32>,
}

impl TokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let content = fields.required_text("content")?;
        let start = if fields.flag("add_special")?.unwrap_or(false) { Start::AsModel } else { Start::Bare };
        let special = special(&mut fields)?;
        fields.only_off("with_pieces")?;
        fields.finish()?;
        Ok(Self { model, content, start, special })
    }
}

impl DetokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let tokens = match fields.take("tokens").map(Node::with_ids) {
            None => return Err(ApiError::missing_field("tokens")),
            Some(Node::Ids(ids)) => ids,
            Some(Node::List(items)) if items.is_empty() => Vec::new(),
            Some(_) => return Err(ApiError::invalid_type("tokens", "an array of token ids")),
        };
        if tokens.len() > DETOKENIZE_TOKENS_MAX {
            let why = format!("has more than {DETOKENIZE_TOKENS_MAX} token ids");
            return Err(ApiError::invalid_value("tokens", why));
        }
        fields.finish()?;
        Ok(Self { model, tokens })
    }
}

/// `parse_special`, which is on unless switched off.
pub(super) fn special(fields: &mut Fields) -> Result<Special, ApiError> {
    Ok(if fields.flag("parse_special")?.unwrap_or(true) { Special::Parsed } else { Special::Plain })
}

#[cfg(test)]
mod tests {
    use models::tokenizer::{Special, Start};

    use super::{DetokenizeRequest, TokenizeRequest};
    use crate::http::wire::refusal::{each_refused, refused};
    use crate::limits::DETOKENIZE_TOKENS_MAX;

    #[test]
    fn row_19_texts_that_are_none_are_refused() {
        let table = [
            (r#""content":5"#, "invalid_type", "content"),
            (r#""content":["a",1]"#, "invalid_type", "content"),
            (r#""content":"a","add_special":1"#, "invalid_type", "add_special"),
            (r#""content":"a","parse_special":"no""#, "invalid_type", "parse_special"),
            (r#""content":"a","with_pieces":true"#, "unsupported_parameter", "with_pieces"),
            (r#""content":"a","tokens":[1]"#, "unsupported_parameter", "tokens"),
        ];
        each_refused(TokenizeRequest::parse, r#""model":"m""#, &table);
        let missing = |field: &str| ("missing_required_parameter", Some(field.to_owned()));
        assert_eq!(refused(TokenizeRequest::parse(br#"{"content":"a"}"#)), missing("model"));
        assert_eq!(refused(TokenizeRequest::parse(br#"{"model":"m"}"#)), missing("content"));
        assert_eq!(refused(DetokenizeRequest::parse(br#"{"model":"m"}"#)), missing("tokens"));
    }

    #[test]
    fn row_19_tokens_that_are_none_are_refused() {
        let table = [
            (r#""tokens":"a""#, "invalid_type", "tokens"),
            (r#""tokens":[-1]"#, "invalid_type", "tokens"),
            (r#""tokens":[1,4294967296]"#, "invalid_type", "tokens"),
            (r#""tokens":[1.5]"#, "invalid_type", "tokens"),
            (r#""tokens":[[1]]"#, "invalid_type", "tokens"),
            (r#""tokens":[1],"content":"a""#, "unsupported_parameter", "content"),
        ];
        each_refused(DetokenizeRequest::parse, r#""model":"m""#, &table);
        let many = format!("{{\"model\":\"m\",\"tokens\":[{}1]}}", "1,".repeat(DETOKENIZE_TOKENS_MAX));
        assert_eq!(refused(DetokenizeRequest::parse(many.as_bytes())), ("invalid_value", Some("tokens".to_owned())));
    }

    #[test]
    fn texts_and_tokens_are_read() {
        let request = TokenizeRequest::parse(br#"{"model":"m","content":""}"#).expect("an empty text is a text");
        assert_eq!((request.model.as_str(), request.content.as_str()), ("m", ""));
        assert_eq!((request.start, request.special), (Start::Bare, Special::Parsed));
        let request = TokenizeRequest::parse(
            br#"{"model":"m","content":"a","add_special":true,"parse_special":false,"with_pieces":false}"#,
        );
        let request = request.expect("all of it is supported");
        assert_eq!((request.start, request.special), (Start::AsModel, Special::Plain));
        let tokens = |list: &str| DetokenizeRequest::parse(format!("{{\"model\":\"m\",\"tokens\":{list}}}").as_bytes());
        assert_eq!(tokens("[1,2]").expect("ids").tokens, [1, 2]);
        assert!(tokens("[]").expect("none").tokens.is_empty());
    }
}
