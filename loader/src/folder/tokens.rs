//! What a folder says about special tokens and its chat template, beside `tokenizer.json`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
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

/// A token's text: as it is, or the `content` of an object. Nothing else is kept while it is read.
#[derive(Debug)]
struct TokenText(String);

/// A template: as it is, or the one called `default` of a list.
#[derive(Debug)]
struct Template(Option<String>);

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl<'de> Deserialize<'de> for TokenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Token;
        impl<'de> Visitor<'de> for Token {
            type Value = TokenText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token's text, or an object with its content")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenText, E> {
                Ok(TokenText(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TokenText, A::Error> {
                let mut content = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "content" => content = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                content.map(TokenText).ok_or_else(|| serde::de::Error::missing_field("content"))
            }
        }
        deserializer.deserialize_any(Token)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Templates;
        impl<'de> Visitor<'de> for Templates {
            type Value = Template;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a template, or a list of named ones")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Template, E> {
                Ok(Template(Some(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Template, A::Error> {
                let mut default = None;
                while let Some(NamedTemplate { name, template }) = sequence.next_element()? {
                    if name == "default" {
                        default.get_or_insert(template);
                    }
                }
                Ok(Template(default))
            }
        }
        deserializer.deserialize_any(Templates)
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
            out.text(key, &token.0);
        }
    }
    let template = match (texts.optional(Text::ChatTemplate)?, described.chat_template) {
        (Some(own), _) => {
            let own = String::from_utf8(own);
            Some(own.map_err(|_| texts.invalid(Text::ChatTemplate, FolderError::NotUtf8))?)
        }
        (None, described) => described.and_then(|Template(template)| template),
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
