//! WordPiece out of a `tokenizer.json`, read straight into what it is made of.
//!
//! The crate's own reader takes a vocabulary apart several times over, which is most of what a small encoder's cold start
//! would wait for. What is read here are files exactly as BERT's tokenizers write them; any other, and any that says more,
//! is left to the crate.
//!
//! Invariants: what is made here is what the crate would make of the same file.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::library::WORD_CHARS_MAX;
use crate::limits::VOCABULARY_MAX;

/// A WordPiece tokenizer's parts.
pub(super) struct Words {
    pub(super) tokenizer: tokenizers::Tokenizer,
    /// Tokens in order of ids, and whether each is a control token. An id without a token has an empty one.
    pub(super) tokens: Vec<(String, bool)>,
    /// The tokens before and after a text.
    pub(super) around: (u32, u32),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: IgnoredAny,
    /// Switched off wherever a tokenizer is read.
    #[serde(rename = "truncation")]
    _truncation: IgnoredAny,
    #[serde(rename = "padding")]
    _padding: IgnoredAny,
    added_tokens: Vec<Added>,
    normalizer: Normalizer,
    pre_tokenizer: Typed,
    post_processor: Template,
    decoder: Decoder,
    model: Model,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    id: u32,
    content: String,
    special: bool,
    #[serde(rename = "single_word")]
    _single_word: IgnoredAny,
    #[serde(rename = "lstrip")]
    _lstrip: IgnoredAny,
    #[serde(rename = "rstrip")]
    _rstrip: IgnoredAny,
    #[serde(rename = "normalized")]
    _normalized: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Normalizer {
    #[serde(rename = "type")]
    kind: String,
    clean_text: bool,
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    lowercase: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    #[serde(rename = "type")]
    kind: String,
    single: Vec<Part>,
    #[serde(rename = "pair")]
    _pair: IgnoredAny,
    #[serde(rename = "special_tokens")]
    _special_tokens: IgnoredAny,
}

#[derive(Deserialize)]
enum Part {
    SpecialToken { id: String },
    Sequence { id: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decoder {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "prefix")]
    _prefix: IgnoredAny,
    #[serde(rename = "cleanup")]
    _cleanup: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    vocab: Entries,
}

/// Tokens with their ids, in the order of the file.
struct Entries(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("tokens with their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Entries(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl Words {
    /// What `json` describes, if it is one of these files.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        // Others are not read twice.
        if !std::str::from_utf8(json).ok()?.contains("\"WordPiece\"") {
            return None;
        }
        let file: File = serde_json::from_slice(json).ok()?;
        let is_berts = file.model.kind == "WordPiece"
            && file.normalizer.kind == "BertNormalizer"
            && file.pre_tokenizer.kind == "BertPreTokenizer"
            && file.post_processor.kind == "TemplateProcessing"
            && file.decoder.kind == "WordPiece"
            && file.model.max_input_chars_per_word <= WORD_CHARS_MAX
            && file.added_tokens.iter().all(|added| added.special);
        if !is_berts {
            return None;
        }
        let [Part::SpecialToken { id: first }, Part::Sequence { id: text }, Part::SpecialToken { id: last }] =
            &file.post_processor.single[..]
        else {
            return None;
        };
        let tokens = tokens(&file)?;
        let id_of = |name: &str| file.added_tokens.iter().find(|added| added.content == name).map(|added| added.id);
        let around = (id_of(first)?, id_of(last)?);
        (text == "A").then_some(())?;
        Some(Self { tokens, around, tokenizer: tokenizer(file)? })
    }
}

/// The tokens in order of their ids; each id and token once.
fn tokens(file: &File) -> Option<Vec<(String, bool)>> {
    let entries = &file.model.vocab.0;
    let last = entries.iter().map(|(_, id)| *id).max()?;
    let count = (last as usize).checked_add(1).filter(|count| *count <= VOCABULARY_MAX && *count == entries.len())?;
    let mut tokens: Vec<Option<(String, bool)>> = vec![None; count];
    for (token, id) in entries {
        let place = &mut tokens[*id as usize];
        place.is_none().then_some(())?;
        *place = Some((token.clone(), false));
    }
    for added in &file.added_tokens {
        let (token, is_control) = tokens.get_mut(added.id as usize)?.as_mut()?;
        (*token == added.content).then_some(())?;
        *is_control = true;
    }
    tokens.into_iter().collect()
}

fn tokenizer(file: File) -> Option<tokenizers::Tokenizer> {
    let Model { unk_token, continuing_subword_prefix, max_input_chars_per_word, vocab, .. } = file.model;
    let entries = vocab.0.len();
    let vocab: Vocab = vocab.0.into_iter().collect();
    // A token that is given twice has the crate's reader decide, and one that is missing.
    (vocab.len() == entries && vocab.contains_key(&unk_token)).then_some(())?;
    let model = WordPiece::builder()
        .vocab(vocab)
        .unk_token(unk_token)
        .continuing_subword_prefix(continuing_subword_prefix)
        .max_input_chars_per_word(max_input_chars_per_word)
        .build()
        .ok()?;
    let Normalizer { clean_text, handle_chinese_chars, strip_accents, lowercase, .. } = file.normalizer;
    let normalizer = BertNormalizer::new(clean_text, handle_chinese_chars, strip_accents, lowercase);
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer)).ok()?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    Some(tokenizer)
}
