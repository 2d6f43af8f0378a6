//! Text to token ids and back, from a GGUF file's vocabulary.
//!
//! Two kinds: byte-level byte-pair encoding (`gpt2`) with the pre-tokenizers that [`split`] names, and SentencePiece's
//! byte pairs (`llama`).
//!
//! The way of a text: user-defined tokens (and, in [`Special::Parsed`] text, control tokens) are found first; what is
//! between them is cut into pieces that no token crosses, and each piece's symbols [`merge`].
//!
//! Invariants: control tokens come only from [`Special::Parsed`] text; [`Special::Plain`] text can never produce one,
//! whatever it spells. Every id below [`Tokenizer::len`] has bytes; joining the bytes of the ids of a text gives the text
//! (a space before it aside, where the vocabulary begins texts with one). Time is that of a sort of the text's longest
//! piece, whatever it says.
//!
//! Deliberately absent, and refused by name: other kinds (`t5`, `rwkv`, …), and pre-tokenizers that are not known.

mod bpe;
mod bytes;
mod index;
mod merge;
mod special;
mod split;
mod spm;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::BTreeSet;

use loader::gguf::Header;

use crate::ModelError;
use crate::limits::TEXT_BYTES_MAX;
use bpe::Bpe;
use merge::Merger;
use special::{Matcher, Piece};
use split::PreTokenizer;
use spm::Spm;
use vocabulary::{Role, Spelling, Vocabulary};

/// How the text of control tokens is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Special {
    /// As the tokens: for prompts that an operator or a template wrote.
    Parsed,
    /// As text: for what a user wrote.
    Plain,
}

/// Whether the model's own first and last tokens are put around a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// Where the model asks for them.
    AsModel,
    /// Never.
    Bare,
}

/// A text could not be tokenized.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// It is longer than any that is tokenized.
    #[error("the text has {bytes} bytes, the limit is {TEXT_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Text to ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    kind: Kind,
    /// Finds what is a token in any text.
    user_defined: Option<Matcher>,
    /// Finds control tokens as well.
    special: Option<Matcher>,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
    ends: BTreeSet<u32>,
}

/// How what is between special tokens becomes tokens.
#[derive(Debug)]
enum Kind {
    Bytes(Bpe),
    Spaces(Spm),
}

/// Where a piece of text stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// First of all, or after a special token.
    Beginning,
    /// After other text.
    Inside,
}

/// Ids so far, how many are enough, and the memory that finding them takes.
#[derive(Debug)]
struct Output {
    ids: Vec<u32>,
    tokens_max: usize,
    merger: Merger,
}

impl Output {
    fn is_full(&self) -> bool {
        self.ids.len() > self.tokens_max
    }
}

impl Tokenizer {
    /// The tokenizer of a file.
    ///
    /// # Errors
    /// [`ModelError`] when its kind is not supported or its parts contradict each other.
    pub fn from_header(header: &Header) -> Result<Self, ModelError> {
        const MODEL: &str = "tokenizer.ggml.model";
        let model = header.string(MODEL)?.ok_or_else(|| ModelError::MissingKey { key: MODEL.to_owned() })?;
        match model {
            "gpt2" => Self::of_bytes(header),
            "llama" => Self::of_spaces(header),
            other => Err(unsupported(MODEL, other)),
        }
    }

    fn of_bytes(header: &Header) -> Result<Self, ModelError> {
        const PRE: &str = "tokenizer.ggml.pre";
        const SPACE: &str = "tokenizer.ggml.add_space_prefix";
        let name = header.string(PRE)?.ok_or_else(|| ModelError::MissingKey { key: PRE.to_owned() })?;
        let pre_tokenizer = PreTokenizer::named(name).ok_or_else(|| unsupported(PRE, name))?;
        if header.bool(SPACE)?.unwrap_or(false) {
            return Err(ModelError::UnsupportedKey { key: SPACE.to_owned() });
        }
        let vocabulary = Vocabulary::from_header(header, Spelling::Alphabet)?;
        let kind = Kind::Bytes(Bpe::new(header, &vocabulary, pre_tokenizer)?);
        let defaults = Defaults { bos: None, eos: None, adds_bos: pre_tokenizer.adds_bos() };
        Self::with(header, vocabulary, kind, defaults)
    }

    fn of_spaces(header: &Header) -> Result<Self, ModelError> {
        let vocabulary = Vocabulary::from_header(header, Spelling::Spaces)?;
        let kind = Kind::Spaces(Spm::new(header, &vocabulary)?);
        Self::with(header, vocabulary, kind, Defaults { bos: Some(1), eos: Some(2), adds_bos: true })
    }

    fn with(header: &Header, vocabulary: Vocabulary, kind: Kind, defaults: Defaults) -> Result<Self, ModelError> {
        let id = |key: &str| -> Result<Option<u32>, ModelError> {
            match header.u32(key)? {
                Some(id) if id as usize >= vocabulary.len() => {
                    Err(ModelError::ImpossibleValue { key: key.to_owned(), reason: format!("{id} is no token") })
                }
                found => Ok(found),
            }
        };
        let known = |id: &u32| (*id as usize) < vocabulary.len();
        let bos = id("tokenizer.ggml.bos_token_id")?.or(defaults.bos.filter(known));
        let eos = id("tokenizer.ggml.eos_token_id")?.or(defaults.eos.filter(known));
        let mut ends: BTreeSet<u32> = eos.into_iter().chain(vocabulary.ending().iter().copied()).collect();
        ends.extend(id("tokenizer.ggml.eot_token_id")?);
        ends.extend(id("tokenizer.ggml.eom_token_id")?);
        Ok(Self {
            user_defined: Matcher::new(&vocabulary, vocabulary.of_roles(&[Role::UserDefined]))?,
            special: Matcher::new(&vocabulary, vocabulary.of_roles(&[Role::UserDefined, Role::Control]))?,
            adds_bos: header.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(defaults.adds_bos),
            adds_eos: header.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
            kind,
            bos,
            eos,
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

    /// Memory that the tokenizer takes, in bytes, nearly: for caches that weigh.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let kind = match &self.kind {
            Kind::Bytes(bpe) => bpe.memory_bytes(),
            Kind::Spaces(spm) => spm.memory_bytes(),
        };
        let matchers = self.user_defined.iter().chain(&self.special).map(Matcher::memory_bytes).sum::<usize>();
        self.vocabulary.memory_bytes() + kind + matchers
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

    /// The token that [`Start::AsModel`] puts last, where the model asks for one.
    #[must_use]
    pub fn added_eos(&self) -> Option<u32> {
        self.eos.filter(|_| self.adds_eos)
    }

    /// Whether `id` ends a generation.
    #[must_use]
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// Whether `id` is a control token, which has no text of its own in an answer.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.vocabulary.role(id) == Role::Control
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

    /// Texts that [`Special::Parsed`] reads as control tokens.
    pub fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.texts(Role::Control)
    }

    /// Texts that are tokens of their own in any text.
    pub fn user_defined_texts(&self) -> impl Iterator<Item = &str> {
        self.texts(Role::UserDefined)
    }

    fn texts(&self, role: Role) -> impl Iterator<Item = &str> {
        let text = |id| std::str::from_utf8(self.bytes(id)).expect("special tokens are checked to be text");
        self.vocabulary.of_roles(&[role]).into_iter().map(text)
    }

    /// Token ids of `text`.
    ///
    /// # Errors
    /// [`TokenizeError`] when the text is too long.
    pub fn encode(&self, text: &str, special: Special, start: Start) -> Result<Vec<u32>, TokenizeError> {
        self.encode_up_to(text, special, start, usize::MAX)
    }

    /// As [`Tokenizer::encode`], but gives up soon after there are more than `tokens_max` ids: more than as many then
    /// come back, and not those of the whole text.
    ///
    /// # Errors
    /// [`TokenizeError`] when the text is too long.
    pub fn encode_up_to(
        &self,
        text: &str,
        special: Special,
        start: Start,
        tokens_max: usize,
    ) -> Result<Vec<u32>, TokenizeError> {
        let mut out = Output { ids: Vec::new(), tokens_max, merger: Merger::default() };
        if start == Start::AsModel {
            out.ids.extend(self.added_bos());
        }
        self.encode_pieces(text, special, None, &mut out)?;
        if start == Start::AsModel && !out.is_full() {
            out.ids.extend(self.added_eos());
        }
        Ok(out.ids)
    }

    /// Token ids of a text in which `mark` stands wherever a special token is not to be one: the marks are no part of
    /// the text. All else is as in [`Special::Parsed`] text. Gives up like [`Tokenizer::encode_up_to`].
    ///
    /// # Errors
    /// [`TokenizeError`] when the text is too long.
    pub fn encode_marked(&self, text: &str, mark: char, tokens_max: usize) -> Result<Vec<u32>, TokenizeError> {
        let mut out = Output { ids: Vec::new(), tokens_max, merger: Merger::default() };
        self.encode_pieces(text, Special::Parsed, Some(mark), &mut out)?;
        Ok(out.ids)
    }

    /// Text of `ids`, control tokens by their names, with U+FFFD for what is no whole character.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes = |(index, &id): (usize, &u32)| if index == 0 { self.first_bytes(id) } else { self.bytes(id) };
        let bytes: Vec<u8> = ids.iter().enumerate().flat_map(bytes).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that `id` stands for at the very beginning of a text: without the space that the vocabulary puts there.
    #[must_use]
    pub fn first_bytes(&self, id: u32) -> &[u8] {
        let bytes = self.bytes(id);
        let adds_space = matches!(&self.kind, Kind::Spaces(spm) if spm.adds_space);
        match bytes.strip_prefix(b" ") {
            Some(rest) if adds_space && self.vocabulary.role(id) == Role::Text => rest,
            _ => bytes,
        }
    }

    fn encode_pieces(
        &self,
        text: &str,
        special: Special,
        mark: Option<char>,
        out: &mut Output,
    ) -> Result<(), TokenizeError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenizeError::TooLong { bytes: text.len() });
        }
        let matcher = match special {
            Special::Parsed => &self.special,
            Special::Plain => &self.user_defined,
        };
        let Some(matcher) = matcher else {
            self.encode_text(text, mark, Place::Beginning, out);
            return Ok(());
        };
        let mut place = Place::Beginning;
        for piece in matcher.pieces(text) {
            if out.is_full() {
                break;
            }
            match piece {
                Piece::Text(text) => {
                    self.encode_text(text, mark, place, out);
                    place = Place::Inside;
                }
                Piece::Token(id) => {
                    out.ids.push(id);
                    place = Place::Beginning;
                }
            }
        }
        Ok(())
    }

    /// Encodes a text without special tokens.
    fn encode_text(&self, text: &str, mark: Option<char>, place: Place, out: &mut Output) {
        let unmarked: String;
        let text = match mark {
            Some(mark) if text.contains(mark) => {
                unmarked = text.chars().filter(|&character| character != mark).collect();
                &unmarked
            }
            _ => text,
        };
        if text.is_empty() {
            return;
        }
        match &self.kind {
            Kind::Bytes(bpe) => bpe.encode(text, &self.vocabulary, out),
            Kind::Spaces(spm) => spm.encode(text, place, &self.vocabulary, out),
        }
    }
}

/// What holds where a file does not say.
struct Defaults {
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
}

fn unsupported(key: &str, value: &str) -> ModelError {
    ModelError::UnsupportedTokenizer { what: format!("{key} `{}`", value.chars().take(64).collect::<String>()) }
}
