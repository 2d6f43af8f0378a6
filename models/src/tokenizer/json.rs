//! What is looked at in a `tokenizer.json` before the `tokenizers` crate reads it, which trusts its files.
//!
//! Whether it is JSON throughout, down to the escapes in its strings: the crate panics where it is not. By how much
//! its normalizer and pre-tokenizer can lengthen a text: a chain of replacements, each of which doubles it, would take
//! all memory for a text of one letter. And whether its model names the id of an unknown token, which the crate keeps to
//! itself.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::ModelError;
use crate::limits::TEXT_GROWTH_MAX;

/// What was found in a file that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checks {
    /// Its model has an `unk_id`, as those of the kind Unigram do.
    pub(super) names_unknown_id: bool,
}

/// A `tokenizer.json`'s parts, of which three are looked into.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(rename = "added_tokens")]
    _added_tokens: Option<Checked>,
    #[serde(rename = "post_processor")]
    _post_processor: Option<Checked>,
    #[serde(rename = "decoder")]
    _decoder: Option<Checked>,
    #[serde(default)]
    model: Model,
}

/// A model, of which one field is kept.
#[derive(Default)]
struct Model {
    names_unknown_id: bool,
}

/// Refuses what is no JSON, and what lengthens texts beyond [`TEXT_GROWTH_MAX`].
pub(super) fn check(json: &[u8]) -> Result<Checks, ModelError> {
    let parts: Parts = serde_json::from_slice(json).map_err(|error| ModelError::TokenizerJson(error.into()))?;
    let growth = growth(&parts.normalizer).saturating_mul(growth(&parts.pre_tokenizer));
    if growth > TEXT_GROWTH_MAX {
        let what = format!("that may make texts more than {TEXT_GROWTH_MAX} times as long");
        return Err(ModelError::UnsupportedTokenizer { what });
    }
    Ok(Checks { names_unknown_id: parts.model.names_unknown_id })
}

/// How many bytes a step, and all in it, may make of one: an upper bound.
fn growth(step: &Value) -> u64 {
    let text = |key: &str| step.get(key).and_then(Value::as_str).map_or(0, |text| text.len() as u64);
    let own = match step.get("type").and_then(Value::as_str) {
        // Something of one byte at least gives way to it; between any two bytes, where the pattern is empty.
        Some("Replace") => 1 + text("content"),
        // It stands before each piece, and a piece has a byte at least.
        Some("Prepend") => 1 + text("prepend"),
        // A byte becomes a character of two at most.
        Some("ByteLevel") => 2,
        // A space becomes it, and it stands before each piece.
        Some("Metaspace") => 2 + text("replacement"),
        _ => 1,
    };
    let inside = ["normalizers", "pretokenizers"].into_iter().filter_map(|key| step.get(key)?.as_array()).flatten();
    inside.fold(own, |all, step| all.saturating_mul(growth(step)))
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Model;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a model's fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Model, A::Error> {
                let mut model = Model::default();
                while let Some(key) = fields.next_key::<String>()? {
                    match key.as_str() {
                        "unk_id" => model.names_unknown_id = !fields.next_value::<Value>()?.is_null(),
                        _ => _ = fields.next_value::<Checked>()?,
                    }
                }
                Ok(model)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A value that was read to its end and not kept.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(normalizer: &str, pre_tokenizer: &str) -> bool {
        let json = format!(r#"{{"normalizer":{normalizer},"pre_tokenizer":{pre_tokenizer},"model":{{}}}}"#);
        matches!(check(json.as_bytes()), Err(ModelError::UnsupportedTokenizer { .. }))
    }

    #[test]
    fn texts_may_grow_so_far() {
        let doubling = r#"{"type":"Replace","pattern":{"String":"a"},"content":"aa"}"#;
        let sequence =
            |steps: usize| format!(r#"{{"type":"Sequence","normalizers":[{}]}}"#, vec![doubling; steps].join(","));
        assert!(!is_refused("null", "null") && !is_refused(&sequence(3), "null"));
        assert!(
            is_refused(&sequence(40), "null")
                && is_refused(&format!(r#"{{"type":"Sequence","normalizers":[{}]}}"#, sequence(40)), "null")
        );
        let long = format!(r#"{{"type":"Replace","pattern":{{"String":"a"}},"content":"{}"}}"#, "a".repeat(1000));
        assert!(is_refused(&long, "null"));
        let levels = vec![r#"{"type":"ByteLevel"}"#; 40].join(",");
        assert!(is_refused("null", &format!(r#"{{"type":"Sequence","pretokenizers":[{levels}]}}"#)));
        // What Gemma and Llama 2 have.
        let spaces = r#"{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
            {"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"#;
        assert!(!is_refused(spaces, "null"));
        assert!(!is_refused(spaces, r#"{"type":"Metaspace","replacement":"▁"}"#));
    }
}
