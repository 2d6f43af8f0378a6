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
        fields.only("with_pieces", |node| *node == Node::Bool(false))?;
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
        let tokens = match fields.take("tokens") {
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
