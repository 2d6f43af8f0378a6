//! What a folder says about special tokens and its chat template, beside `tokenizer.json`.

use serde::Deserialize;
use serde_json::Value;

use super::FolderError;
use super::text::{Text, Texts};
use crate::artifact::OpenError;
use crate::gguf::Assembly;

/// The texts of the tokens that begin and end a text, and the ids that end an answer: keys that GGUF files do not have,
/// because they name all tokens by ids.
const BOS_TEXT: &str = "tokenizer.bos_token";
const EOS_TEXT: &str = "tokenizer.eos_token";
const END_IDS: &str = "tokenizer.end_token_ids";
const TEMPLATE: &str = "tokenizer.chat_template";

/// Tokens that may end an answer; real models name fewer than ten.
const ENDS_MAX: usize = 256;

/// `tokenizer_config.json`; its other keys repeat what `tokenizer.json` says.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<TokenText>,
    eos_token: Option<TokenText>,
    chat_template: Option<Template>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenText {
    Text(String),
    Described { content: String },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Template {
    Only(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl TokenText {
    fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Described { content } => content,
        }
    }
}

/// Writes the keys of tokens; `config_ends` is `eos_token_id` of `config.json`.
pub(super) fn translate(texts: &Texts<'_>, config_ends: Option<Value>, out: &mut Assembly) -> Result<(), OpenError> {
    let described: TokenizerConfig = match texts.optional(Text::TokenizerConfig)? {
        Some(json) => {
            serde_json::from_slice(&json).map_err(|error| texts.invalid(Text::TokenizerConfig, error.into()))?
        }
        None => TokenizerConfig::default(),
    };
    for (key, token) in [(BOS_TEXT, &described.bos_token), (EOS_TEXT, &described.eos_token)] {
        if let Some(token) = token {
            out.text(key, token.as_str());
        }
    }
    let template = match (texts.optional(Text::ChatTemplate)?, described.chat_template) {
        (Some(own), _) => {
            let own = String::from_utf8(own);
            Some(own.map_err(|_| texts.invalid(Text::ChatTemplate, FolderError::NotUtf8))?)
        }
        (None, Some(Template::Only(template))) => Some(template),
        (None, Some(Template::Named(named))) => {
            named.into_iter().find(|one| one.name == "default").map(|one| one.template)
        }
        (None, None) => None,
    };
    if let Some(template) = template {
        out.text(TEMPLATE, &template);
    }
    let ends = match texts.optional(Text::GenerationConfig)? {
        Some(json) => {
            let failed = |error: serde_json::Error| texts.invalid(Text::GenerationConfig, error.into());
            let mut config: serde_json::Map<String, Value> = serde_json::from_slice(&json).map_err(failed)?;
            config.remove("eos_token_id").map(|ends| (Text::GenerationConfig, ends))
        }
        None => None,
    };
    let ends = ends.or(config_ends.map(|ends| (Text::Config, ends)));
    if let Some((text, ends)) = ends.filter(|(_, ends)| !ends.is_null()) {
        let ends = ids(ends).map_err(|error| texts.invalid(text, error))?;
        out.u32s(END_IDS, &ends);
    }
    Ok(())
}

/// One id or several.
fn ids(value: Value) -> Result<Vec<u32>, FolderError> {
    let values = match value {
        Value::Array(values) => values,
        one => vec![one],
    };
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = values.iter().map(id).collect();
    let expected = "token's id, or a short list of them";
    ids.filter(|ids| ids.len() <= ENDS_MAX)
        .ok_or_else(|| FolderError::WrongType { key: "eos_token_id".to_owned(), expected })
}
