//! Tokens that stand in a text as they are, found before all else.
//!
//! Of texts that overlap the first is taken, and of those that begin together the longest.

use aho_corasick::{AhoCorasick, MatchKind};

use super::vocabulary::Vocabulary;
use crate::ModelError;

/// Finds the texts of some tokens.
#[derive(Debug)]
pub(super) struct Matcher {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Piece<'a> {
    /// Text between tokens, not empty.
    Text(&'a str),
    /// A token's text.
    Token(u32),
}

impl Matcher {
    /// One that finds `ids`, whose texts are not empty. `None` where there are none.
    pub(super) fn new(vocabulary: &Vocabulary, ids: Vec<u32>) -> Result<Option<Self>, ModelError> {
        if ids.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ids.iter().map(|&id| vocabulary.bytes(id)))
            .map_err(|error| ModelError::InconsistentTokenizer { reason: error.to_string() })?;
        Ok(Some(Self { automaton, ids }))
    }

    /// `text` in pieces, lazily.
    pub(super) fn pieces<'a>(&self, text: &'a str) -> impl Iterator<Item = Piece<'a>> {
        let mut begin = 0;
        let mut found = self.automaton.find_iter(text).map(Some).chain([None]);
        let mut waiting = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(token) = waiting.take() {
                    return Some(Piece::Token(token));
                }
                let found = found.next()?;
                let end = found.as_ref().map_or(text.len(), aho_corasick::Match::start);
                let before = &text[begin..end];
                if let Some(found) = found {
                    waiting = Some(self.ids[found.pattern().as_usize()]);
                    begin = found.end();
                }
                if !before.is_empty() {
                    return Some(Piece::Text(before));
                }
            }
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.automaton.memory_usage() + self.ids.len() * size_of::<u32>()
    }
}
