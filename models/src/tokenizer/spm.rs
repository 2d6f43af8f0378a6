//! SentencePiece's byte-pair tokenizer, as llama.cpp runs it on GGUF vocabularies (`tokenizer.ggml.model` = `llama`).
//!
//! A text's characters join to the token with the best score first; a character that no token spells becomes the tokens
//! of its bytes. Source: Kudo and Richardson, arXiv:1808.06226; the order of joins is that of llama.cpp's
//! `llm_tokenizer_spm`.
//!
//! Spaces: `▁` in the vocabulary is a space here, on both sides, so a `▁` in a text means a space as well.
//!
//! Invariants: a text is cut into words where no token of the vocabulary can cross (before a space, unless a token has a
//! space after the byte that stands there), which changes no token and bounds the working memory. Control tokens and
//! tokens of bytes cannot be spelled.
//!
//! Deliberately absent: SentencePiece's unigram model and its normalization.

use loader::gguf::Header;
use loader::tables::Table;

use super::index::TokenIndex;
use super::merge::{Join, Joins, Symbol};
use super::vocabulary::{Role, SPACE, Vocabulary, inconsistent};
use super::{Output, Place};
use crate::ModelError;

const SCORES: &str = "tokenizer.ggml.scores";

/// What a vocabulary with scores needs beside its tokens.
#[derive(Debug)]
pub(super) struct Spm {
    index: TokenIndex,
    /// When a token is made: the order of falling scores.
    orders: Box<[u32]>,
    byte_tokens: Box<[u32; 256]>,
    /// Bytes that some token has before a space.
    before_space: Box<[bool; 256]>,
    pub(super) adds_space: bool,
}

impl Spm {
    pub(super) fn new(header: &Header, vocabulary: &Vocabulary) -> Result<Self, ModelError> {
        let adds_space = adds_space(header)?;
        std::thread::scope(|scope| {
            let orders = scope.spawn(|| orders(header, vocabulary));
            let spm = Self::without_orders(vocabulary, adds_space)?;
            Ok(Self { orders: orders.join().expect("reading numbers does not panic")?, ..spm })
        })
    }

    fn without_orders(vocabulary: &Vocabulary, adds_space: bool) -> Result<Self, ModelError> {
        let mut byte_tokens = [None; 256];
        let mut before_space = [false; 256];
        let mut joined = Vec::with_capacity(vocabulary.len());
        for (id, role) in vocabulary.roles() {
            let bytes = vocabulary.bytes(id);
            match role {
                Role::Byte => byte_tokens[usize::from(bytes[0])] = Some(id),
                Role::Control => {}
                // Written with real spaces, it is found in texts before they are cut, and nothing joins to it.
                Role::UserDefined if bytes.contains(&b' ') => {}
                Role::Text | Role::UserDefined => {
                    joined.push(id);
                    if bytes.get(1..).is_some_and(|rest| rest.contains(&b' ')) {
                        let spaces = (1..bytes.len()).filter(|&at| bytes[at] == b' ');
                        spaces.for_each(|space| before_space[usize::from(bytes[space - 1])] = true);
                    }
                }
            }
        }
        let index = vocabulary
            .index(&joined, |first, id| Err(inconsistent(format!("tokens {first} and {id} have the same text"))))?;
        before_space[usize::from(b' ')] = true;
        let byte_tokens = (0..=u8::MAX).zip(byte_tokens).map(|(byte, token)| {
            let token = token.or_else(|| index.find(vocabulary, &[byte]));
            token.ok_or_else(|| inconsistent(format!("no token stands for the byte {byte:#04x}")))
        });
        let byte_tokens: Vec<u32> = byte_tokens.collect::<Result<_, _>>()?;
        Ok(Self {
            byte_tokens: byte_tokens.try_into().expect("one for each byte"),
            orders: Box::default(),
            index,
            before_space: Box::new(before_space),
            adds_space,
        })
    }

    /// What is kept between runs: tokens by their text, orders, tokens of bytes, bytes before a space.
    pub(super) fn push_tables<'a>(&'a self, tables: &mut Vec<Table<'a>>) {
        let before_space: Vec<u8> = self.before_space.iter().map(|is_before| u8::from(*is_before)).collect();
        tables.extend([
            self.index.table(),
            Table::of_words(&self.orders),
            Table::of_words(&*self.byte_tokens),
            Table::Bytes(before_space.into()),
        ]);
    }

    /// From what [`Spm::push_tables`] pushed, if it fits `vocabulary`.
    pub(super) fn from_tables(
        tables: &mut impl Iterator<Item = Table<'static>>,
        header: &Header,
        vocabulary: &Vocabulary,
    ) -> Option<Self> {
        let index = TokenIndex::of_words(tables.next()?.into_words()?, vocabulary)?;
        let orders = tables.next()?.into_words()?.into_boxed_slice();
        let byte_tokens: [u32; 256] = tables.next()?.into_words()?.try_into().ok()?;
        let before_space: [u8; 256] = tables.next()?.into_bytes()?.try_into().ok()?;
        let fits = orders.len() == vocabulary.len()
            && byte_tokens.iter().all(|id| (*id as usize) < vocabulary.len())
            && before_space.iter().all(|byte| *byte <= 1);
        let adds_space = adds_space(header).ok()?;
        let before_space = Box::new(before_space.map(|byte| byte == 1));
        fits.then(|| Self { index, orders, byte_tokens: Box::new(byte_tokens), before_space, adds_space })
    }

    /// Appends the tokens of `text`, a space before it where the vocabulary wants one at a text's beginning.
    pub(super) fn encode(&self, text: &str, place: Place, vocabulary: &Vocabulary, out: &mut Output) {
        let mut word = String::new();
        if self.adds_space && place == Place::Beginning {
            word.push(' ');
        }
        let mut rest = text;
        while !rest.is_empty() && !out.is_full() {
            let (characters, after) = rest.split_at(self.word_bytes(rest));
            word.extend(characters.chars().map(|character| if is_space(character) { ' ' } else { character }));
            self.encode_word(&word, vocabulary, out);
            word.clear();
            rest = after;
        }
    }

    /// Length of the first word of `text`.
    fn word_bytes(&self, text: &str) -> usize {
        let bytes = text.as_bytes();
        let border = |&at: &usize| {
            let space = bytes[at] == b' ' || (bytes[at] == SPACE[0] && bytes[at..].starts_with(SPACE));
            space && !self.before_space[usize::from(bytes[at - 1])] && !bytes[..at].ends_with(SPACE)
        };
        (1..bytes.len()).find(border).unwrap_or(bytes.len())
    }

    fn encode_word(&self, word: &str, vocabulary: &Vocabulary, out: &mut Output) {
        let Output { merger, ids, .. } = out;
        merger.begin(word.chars().map(|character| (character.len_utf8(), None)));
        merger.run(word.as_bytes(), &Scored { spm: self, vocabulary });
        for symbol in merger.symbols() {
            let text = symbol.text(word.as_bytes());
            match symbol.id.or_else(|| self.index.find(vocabulary, text)) {
                Some(id) => ids.push(id),
                None => ids.extend(text.iter().map(|&byte| self.byte_tokens[usize::from(byte)])),
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + size_of_val(&*self.orders) + 256 * size_of::<u32>()
    }
}

fn adds_space(header: &Header) -> Result<bool, ModelError> {
    Ok(header.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true))
}

/// Which neighbours are a token together, and its score.
struct Scored<'a> {
    spm: &'a Spm,
    vocabulary: &'a Vocabulary,
}

impl Joins for Scored<'_> {
    #[inline]
    fn join(&self, _: Symbol, _: Symbol, both: &[u8]) -> Option<Join> {
        let id = self.spm.index.find(self.vocabulary, both)?;
        Some(Join { order: self.spm.orders[id as usize], id })
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '▁')
}

/// Scores as numbers that order alike, the best score first.
fn orders(header: &Header, vocabulary: &Vocabulary) -> Result<Box<[u32]>, ModelError> {
    let scores = header.f32s(SCORES)?.ok_or_else(|| ModelError::MissingKey { key: SCORES.to_owned() })?;
    if scores.len() != vocabulary.len() {
        return Err(inconsistent(format!("{} tokens with {} scores", vocabulary.len(), scores.len())));
    }
    if let Some(id) = scores.iter().position(|score| score.is_nan()) {
        return Err(inconsistent(format!("the score of token {id} is not a number")));
    }
    Ok(scores.into_iter().map(order).collect())
}

fn order(score: f32) -> u32 {
    // Adding zero makes both zeros one.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !rising
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn the_better_score_is_first() {
        let falling = [f32::INFINITY, 3.5, 1e-40, 0.0, -1e-40, -2.0, -1000.0, -255_504.0, f32::NEG_INFINITY];
        assert!(falling.windows(2).all(|pair| order(pair[0]) < order(pair[1])));
        assert_eq!(order(0.0), order(-0.0));
    }
}
