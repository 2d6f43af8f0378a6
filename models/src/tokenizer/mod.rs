//! Text to token ids and back, from a GGUF file's vocabulary.
//!
//! Invariants: control tokens come only from [`Special::Parsed`] text; [`Special::Plain`] text can never produce one,
//! whatever it spells. Every id below [`Tokenizer::len`] has bytes; joining the bytes of the ids of a text gives the text.
//!
//! The merging itself is the `tokenizers` crate's. Here is what GGUF adds: the byte alphabet, special tokens and which
//! of them end a text.
//!
//! Deliberately absent, and refused by name: SentencePiece, WordPiece, pre-tokenizers other than `smollm`.

mod bytes;
mod vocabulary;

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use loader::gguf::Header;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::{Model as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

use crate::ModelError;
use crate::limits::ENCODE_WINDOW_BYTES;
use vocabulary::Vocabulary;

/// How the text of special tokens is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Special {
    /// As the tokens: for prompts that an operator or a template wrote.
    Parsed,
    /// As text: for what a user wrote.
    Plain,
}

/// Whether the model's own first token is put before a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// Where the model asks for it.
    AsModel,
    /// Never.
    Bare,
}

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    bpe: BPE,
    digits: Digits,
    byte_level: ByteLevel,
    special: Option<SpecialMatcher>,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    ends: BTreeSet<u32>,
}

struct SpecialMatcher {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.len()).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// A text could not be tokenized: the library's own reason.
#[derive(Debug, thiserror::Error)]
#[error("the text cannot be tokenized")]
pub struct TokenizeError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Tokenizer {
    /// The tokenizer of a file.
    ///
    /// # Errors
    /// [`ModelError`] when its kind is not supported or its parts contradict each other.
    pub fn from_header(header: &Header) -> Result<Self, ModelError> {
        only(header, "tokenizer.ggml.model", "gpt2")?;
        only(header, "tokenizer.ggml.pre", "smollm")?;
        if header.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(false) {
            return Err(ModelError::UnsupportedKey { key: "tokenizer.ggml.add_space_prefix".to_owned() });
        }
        let vocabulary = Vocabulary::from_header(header)?;
        let bpe = vocabulary.bpe(header)?;
        let special = SpecialMatcher::new(&vocabulary)?;
        let id = |key: &str| -> Result<Option<u32>, ModelError> {
            match header.u32(key)? {
                Some(id) if id as usize >= vocabulary.len() => {
                    Err(ModelError::ImpossibleValue { key: key.to_owned(), reason: format!("{id} is no token") })
                }
                found => Ok(found),
            }
        };
        let (bos, eos) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
        let mut ends: BTreeSet<u32> = eos.into_iter().collect();
        ends.extend(id("tokenizer.ggml.eot_token_id")?);
        ends.extend(vocabulary.ends_by_name());
        Ok(Self {
            bpe,
            digits: Digits::new(true),
            byte_level: ByteLevel::new(false, false, true),
            special,
            bos,
            eos,
            adds_bos: header.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
            ends,
            vocabulary,
        })
    }

    /// Entries of the vocabulary.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether there is no entry at all (never, for a tokenizer that was made).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the tokenizer takes, in bytes: an estimate for the cache that keeps it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.vocabulary.memory_bytes()
    }

    /// Bytes of the longest token: `text.len() / token_bytes_max()` ids is the least that a text can take.
    #[must_use]
    pub fn token_bytes_max(&self) -> usize {
        self.vocabulary.token_bytes_max()
    }

    /// The token that begins a text, where the model has one.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text, where the model has one.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that [`Start::AsModel`] puts first, where the model asks for one.
    #[must_use]
    pub fn added_bos(&self) -> Option<u32> {
        self.bos.filter(|_| self.adds_bos)
    }

    /// Whether `id` ends a generation.
    #[must_use]
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// Whether `id` is a control token, which has no text of its own in an answer.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.vocabulary.is_control(id)
    }

    /// The bytes that `id` stands for; a control token's are its name. Empty for an id past the vocabulary.
    #[must_use]
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.vocabulary.bytes(id)
    }

    /// A token's text, with U+FFFD where its bytes are no whole characters.
    #[must_use]
    pub fn text(&self, id: u32) -> String {
        String::from_utf8_lossy(self.bytes(id)).into_owned()
    }

    /// Texts of all special tokens.
    pub fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.vocabulary.special().map(|(text, _)| text)
    }

    /// Token ids of `text`.
    ///
    /// # Errors
    /// [`TokenizeError`] when the library refuses the text.
    pub fn encode(&self, text: &str, special: Special, start: Start) -> Result<Vec<u32>, TokenizeError> {
        self.encode_up_to(text, special, start, usize::MAX)
    }

    /// As [`Tokenizer::encode`], but gives up soon after there are more than `tokens_max` ids: more than as many then
    /// come back, and not those of the whole text.
    ///
    /// # Errors
    /// [`TokenizeError`] when the library refuses the text.
    pub fn encode_up_to(
        &self,
        text: &str,
        special: Special,
        start: Start,
        tokens_max: usize,
    ) -> Result<Vec<u32>, TokenizeError> {
        let mut ids: Vec<u32> = match start {
            Start::AsModel => self.added_bos().into_iter().collect(),
            Start::Bare => Vec::new(),
        };
        match (&self.special, special) {
            (Some(matcher), Special::Parsed) => {
                let mut rest = 0;
                for found in matcher.automaton.find_iter(text) {
                    self.encode_plain(&text[rest..found.start()], &mut ids, tokens_max)?;
                    ids.push(matcher.ids[found.pattern().as_usize()]);
                    rest = found.end();
                }
                self.encode_plain(&text[rest..], &mut ids, tokens_max)?;
            }
            _ => self.encode_plain(text, &mut ids, tokens_max)?,
        }
        Ok(ids)
    }

    /// Text of `ids`, control tokens by their names, with U+FFFD for what is no whole character.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Encodes window by window: the library keeps many bytes for each byte of a text that it works on.
    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>, tokens_max: usize) -> Result<(), TokenizeError> {
        let mut rest = text;
        while !rest.is_empty() && ids.len() <= tokens_max {
            let (window, after) = rest.split_at(window_bytes(rest));
            self.encode_window(window, ids)?;
            rest = after;
        }
        Ok(())
    }

    fn encode_window(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizeError> {
        let mut pieces = PreTokenizedString::from(text);
        self.digits.pre_tokenize(&mut pieces).map_err(TokenizeError)?;
        self.byte_level.pre_tokenize(&mut pieces).map_err(TokenizeError)?;
        pieces.tokenize(|piece| self.bpe.tokenize(piece.get())).map_err(TokenizeError)?;
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        ids.extend(splits.iter().filter_map(|(_, _, tokens)| tokens.as_ref()).flatten().map(|token| token.id));
        Ok(())
    }
}

/// Length of the first window of `text`: up to the first border after [`ENCODE_WINDOW_BYTES`] that no token can cross.
///
/// No piece that the pre-tokenizer makes holds whitespace after something else, and each digit is a piece of its own.
fn window_bytes(text: &str) -> usize {
    let mut before: Option<char> = None;
    for (index, character) in text.char_indices() {
        if index >= ENCODE_WINDOW_BYTES
            && let Some(before) = before
            && ((!before.is_whitespace() && character.is_whitespace()) || before.is_numeric() || character.is_numeric())
        {
            return index;
        }
        before = Some(character);
    }
    text.len()
}

impl SpecialMatcher {
    fn new(vocabulary: &Vocabulary) -> Result<Option<Self>, ModelError> {
        let (texts, ids): (Vec<&str>, Vec<u32>) = vocabulary.special().filter(|(text, _)| !text.is_empty()).unzip();
        if texts.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(aho_corasick::MatchKind::LeftmostLongest)
            .build(&texts)
            .map_err(|error| ModelError::InconsistentTokenizer { reason: error.to_string() })?;
        Ok(Some(Self { automaton, ids }))
    }
}

fn only(header: &Header, key: &str, value: &str) -> Result<(), ModelError> {
    match header.string(key)? {
        Some(found) if found == value => Ok(()),
        Some(found) => Err(ModelError::UnsupportedTokenizer {
            what: format!("{key} `{}`", found.chars().take(64).collect::<String>()),
        }),
        None => Err(ModelError::MissingKey { key: key.to_owned() }),
    }
}
