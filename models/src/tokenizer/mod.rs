//! Text to token ids and back, from a GGUF file's vocabulary or a `tokenizer.json`.
//!
//! Kinds of GGUF: byte-level byte-pair encoding (`gpt2`) with the pre-tokenizers that `split.rs` names, SentencePiece's
//! byte pairs (`llama`), WordPiece (`bert`). WordPiece and `tokenizer.json` are the `tokenizers` crate's work.
//!
//! The way of a text: user-defined tokens (and, in [`Special::Parsed`] text, control tokens) are found first; what is
//! between them is cut into pieces that no token crosses, and the symbols of each piece are merged.
//!
//! Invariants: control tokens come only from [`Special::Parsed`] text; [`Special::Plain`] text can never produce one,
//! whatever it spells. Joining the bytes of the ids of a text gives the text, but for what the model's own tokenizer
//! loses: a space before it where the vocabulary begins texts with one, bytes that no token spells, what WordPiece
//! evens out. Time is that of a sort of the text's longest piece, whatever it says.
//!
//! Deliberately absent, and refused by name: other kinds (`t5`, `rwkv`, …), and pre-tokenizers that are not known.

mod bpe;
mod bytes;
mod index;
mod json;
mod library;
mod make;
mod merge;
mod special;
mod split;
mod spm;
mod tables;
#[cfg(test)]
mod tests;
mod vocabulary;
mod words;

use std::collections::BTreeSet;

use crate::limits::TEXT_BYTES_MAX;
use bpe::Bpe;
use library::Library;
use merge::Merger;
use special::{Matcher, Piece};
use spm::Spm;
pub use tables::TABLES_LAYOUT;
use vocabulary::{Role, Vocabulary};

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
    /// The library refuses it.
    #[error("the text cannot be tokenized")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// Whether a text's first token has a space that is not the text's.
    spaced: bool,
}

/// How what is between special tokens becomes tokens.
#[derive(Debug)]
enum Kind {
    Bytes(Bpe),
    Spaces(Spm),
    Library(Box<Library>),
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
            Kind::Library(library) => library.memory_bytes(&self.vocabulary),
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

    /// The tokens that end a generation.
    pub fn ends(&self) -> impl Iterator<Item = u32> {
        self.ends.iter().copied()
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
    /// [`TokenizeError`] when the text is too long, or the library refuses it.
    pub fn encode(&self, text: &str, special: Special, start: Start) -> Result<Vec<u32>, TokenizeError> {
        self.encode_up_to(text, special, start, usize::MAX)
    }

    /// As [`Tokenizer::encode`], but gives up soon after there are more than `tokens_max` ids: more than as many then
    /// come back, and not those of the whole text.
    ///
    /// # Errors
    /// [`TokenizeError`] when the text is too long, or the library refuses it.
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
    /// [`TokenizeError`] when the text is too long, or the library refuses it.
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

    /// The bytes that `id` stands for at the very beginning of a text: without the space that the vocabulary puts
    /// there.
    #[must_use]
    pub fn first_bytes(&self, id: u32) -> &[u8] {
        let bytes = self.bytes(id);
        match bytes.strip_prefix(b" ") {
            Some(rest) if self.spaced && self.vocabulary.role(id) == Role::Text => rest,
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
            return self.encode_text(text, mark, Place::Beginning, out);
        };
        let mut place = Place::Beginning;
        for piece in matcher.pieces(text) {
            if out.is_full() {
                break;
            }
            match piece {
                Piece::Text(text) => {
                    self.encode_text(text, mark, place, out)?;
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
    fn encode_text(&self, text: &str, mark: Option<char>, place: Place, out: &mut Output) -> Result<(), TokenizeError> {
        let unmarked: String;
        let text = match mark {
            Some(mark) if text.contains(mark) => {
                unmarked = text.chars().filter(|&character| character != mark).collect();
                &unmarked
            }
            _ => text,
        };
        match &self.kind {
            _ if text.is_empty() => {}
            Kind::Bytes(bpe) => bpe.encode(text, &self.vocabulary, out),
            Kind::Spaces(spm) => spm.encode(text, place, &self.vocabulary, out),
            Kind::Library(library) => library.encode(text, out)?,
        }
        Ok(())
    }
}
