//! Byte-level byte-pair encoding: a piece's bytes join in the order of the vocabulary's merges.
//!
//! Source: Sennrich, Haddow and Birch, arXiv:1508.07909, over bytes as GPT-2 does; equal merges join from the left.
//!
//! The merges are kept as pairs of ids in one table, so that a joining step compares no text.

use loader::gguf::Header;
use loader::tables::Table;

use super::Output;
use super::index::TokenIndex;
use super::merge::{Join, Joins, Symbol};
use super::split::PreTokenizer;
use super::vocabulary::{Role, Vocabulary, inconsistent, push_from_alphabet, strings, text};
use crate::ModelError;
use crate::limits::{MERGES_MAX, TOKEN_PROBES_MAX};

const MERGES: &str = "tokenizer.ggml.merges";

/// What a vocabulary with merges needs beside its tokens.
#[derive(Debug)]
pub(super) struct Bpe {
    pairs: Pairs,
    byte_tokens: Box<[Option<u32>; 256]>,
    pre_tokenizer: &'static PreTokenizer,
    /// Tokens by their text, where a piece that is a token is not taken apart.
    whole: Option<TokenIndex>,
}

impl Bpe {
    pub(super) fn new(
        header: &Header,
        vocabulary: &Vocabulary,
        pre_tokenizer: &'static PreTokenizer,
    ) -> Result<Self, ModelError> {
        let index = index(vocabulary)?;
        let is_text = |id: &u32| vocabulary.role(*id) != Role::Control;
        let byte_tokens: Vec<Option<u32>> =
            (0..=u8::MAX).map(|byte| index.find(vocabulary, &[byte]).filter(is_text)).collect();
        Ok(Self {
            pairs: Pairs::new(header, vocabulary, &index)?,
            byte_tokens: byte_tokens.try_into().expect("one for each byte"),
            whole: pre_tokenizer.keeps_whole_tokens().then_some(index),
            pre_tokenizer,
        })
    }

    /// Appends the tokens of `text`. A byte that has no token is left out, as the models' own tokenizers do.
    pub(super) fn encode(&self, text: &str, vocabulary: &Vocabulary, out: &mut Output) {
        for piece in self.pre_tokenizer.pieces(text) {
            if out.is_full() {
                break;
            }
            self.encode_piece(piece.as_bytes(), vocabulary, out);
        }
    }

    fn encode_piece(&self, piece: &[u8], vocabulary: &Vocabulary, out: &mut Output) {
        let whole = self.whole.as_ref().and_then(|whole| whole.find(vocabulary, piece));
        if let Some(id) = whole.filter(|&id| vocabulary.role(id) != Role::Control) {
            out.ids.push(id);
            return;
        }
        out.merger.begin(piece.iter().map(|&byte| (1, self.byte_tokens[usize::from(byte)])));
        out.merger.run(piece, &self.pairs);
        out.ids.extend(out.merger.symbols().filter_map(|symbol| symbol.id));
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.pairs.words) + self.whole.as_ref().map_or(0, TokenIndex::memory_bytes)
    }
}

/// What is kept between runs.
impl Bpe {
    /// Pairs, tokens of bytes, tokens by their text (nothing where they are not needed).
    pub(super) fn push_tables<'a>(&'a self, tables: &mut Vec<Table<'a>>) {
        let byte_tokens = self.byte_tokens.iter().map(|id| id.unwrap_or(u32::MAX)).collect::<Vec<u32>>();
        tables.extend([Table::of_words(&self.pairs.words), Table::Words(byte_tokens.into())]);
        match &self.whole {
            Some(whole) => tables.push(whole.table()),
            None => tables.push(Table::of_words(&[])),
        }
    }

    /// From what [`Bpe::push_tables`] pushed, if it fits `vocabulary`.
    pub(super) fn from_tables(
        tables: &mut impl Iterator<Item = Table<'static>>,
        vocabulary: &Vocabulary,
        pre_tokenizer: &'static PreTokenizer,
    ) -> Option<Self> {
        let tokens = vocabulary.len();
        let pairs = Pairs::of_words(tables.next()?.into_words()?, tokens)?;
        let known = |id: u32| match id {
            u32::MAX => Some(None),
            id => ((id as usize) < tokens).then_some(Some(id)),
        };
        let byte_tokens: Vec<Option<u32>> =
            tables.next()?.into_words()?.into_iter().map(known).collect::<Option<_>>()?;
        let whole = tables.next()?.into_words()?;
        let whole = match pre_tokenizer.keeps_whole_tokens() {
            true => Some(TokenIndex::of_words(whole, vocabulary)?),
            false => whole.is_empty().then_some(None)?,
        };
        Some(Self { pairs, byte_tokens: byte_tokens.try_into().ok()?, pre_tokenizer, whole })
    }
}

/// Tokens by their bytes: where two have the same, an ordinary one.
fn index(vocabulary: &Vocabulary) -> Result<TokenIndex, ModelError> {
    let (ordinary, special): (Vec<_>, Vec<_>) = vocabulary.roles().partition(|(_, role)| *role == Role::Text);
    let ids: Vec<u32> = ordinary.into_iter().chain(special).map(|(id, _)| id).collect();
    vocabulary.index(&ids, |_, _| Ok(()))
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    left: u32,
    right: u32,
    rank: u32,
    id: u32,
}

/// Words of a slot: the fields of a [`Pair`].
const SLOT_WORDS: usize = 4;
/// The left of a slot without a pair.
const FREE: u32 = u32::MAX;

/// Merges by the ids that they join: a table with linear probing, at most half of it taken.
#[derive(Debug)]
struct Pairs {
    /// Whole slots, a power of two of them. Words, so that they are kept and read as they are.
    words: Box<[u32]>,
}

impl Pairs {
    fn new(header: &Header, vocabulary: &Vocabulary, index: &TokenIndex) -> Result<Self, ModelError> {
        let lines = strings(header, MERGES)?;
        if lines.len() > MERGES_MAX {
            return Err(inconsistent(format!("{} merges are more than {MERGES_MAX}", lines.len())));
        }
        let slots = (2 * lines.len()).next_power_of_two().max(2);
        let mut pairs = Self { words: [FREE, FREE, 0, 0].repeat(slots).into_boxed_slice() };
        let mut bytes = Vec::new();
        for (rank, line) in (0_u32..).zip(lines.iter()) {
            let no_pair = || inconsistent(format!("merge {rank} is no pair of tokens that make a token"));
            let line = text(line, rank)?;
            let space = line.bytes().skip(1).position(|byte| byte == b' ').ok_or_else(no_pair)? + 1;
            bytes.clear();
            push_from_alphabet(&line[..space], &mut bytes);
            let middle = bytes.len();
            push_from_alphabet(&line[space + 1..], &mut bytes);
            let find = |text: &[u8]| index.find(vocabulary, text).ok_or_else(no_pair);
            let (left, right, id) = (find(&bytes[..middle])?, find(&bytes[middle..])?, find(&bytes)?);
            // What steers the model is never made of text.
            if [left, right, id].iter().all(|&id| vocabulary.role(id) != Role::Control) {
                pairs.insert(Pair { left, right, rank, id })?;
            }
        }
        Ok(pairs)
    }

    /// Those whose slots are `words`, if they are a table of ids below `tokens`.
    fn of_words(words: Vec<u32>, tokens: usize) -> Option<Self> {
        let (slots, rest) = words.as_chunks::<SLOT_WORDS>();
        let is_token = |id: u32| (id as usize) < tokens;
        let sound = |&[left, right, _, id]: &[u32; SLOT_WORDS]| {
            left == FREE || (is_token(left) && is_token(right) && is_token(id))
        };
        let is_table = rest.is_empty() && slots.len() >= 2 && slots.len().is_power_of_two();
        (is_table && slots.iter().all(sound)).then(|| Self { words: words.into_boxed_slice() })
    }

    #[inline]
    fn slots(&self) -> &[[u32; SLOT_WORDS]] {
        self.words.as_chunks().0
    }

    /// Of equal pairs the first stays.
    fn insert(&mut self, pair: Pair) -> Result<(), ModelError> {
        let mut at = self.place(pair.left, pair.right);
        let slots = self.words.as_chunks_mut::<SLOT_WORDS>().0;
        for _ in 0..TOKEN_PROBES_MAX {
            let [left, right, ..] = slots[at];
            if left == FREE {
                slots[at] = [pair.left, pair.right, pair.rank, pair.id];
                return Ok(());
            }
            if (left, right) == (pair.left, pair.right) {
                return Ok(());
            }
            at = (at + 1) & (slots.len() - 1);
        }
        Err(inconsistent("too many merges share a hash".to_owned()))
    }

    #[inline]
    fn find(&self, left: u32, right: u32) -> Option<Join> {
        let mut at = self.place(left, right);
        let slots = self.slots();
        for _ in 0..TOKEN_PROBES_MAX {
            let [found_left, found_right, order, id] = slots[at];
            if (found_left, found_right) == (left, right) {
                return Some(Join { order, id });
            }
            if found_left == FREE {
                return None;
            }
            at = (at + 1) & (slots.len() - 1);
        }
        None
    }

    /// Multiplicative hashing. Source: Knuth, The Art of Computer Programming, volume 3, 6.4.
    #[inline]
    fn place(&self, left: u32, right: u32) -> usize {
        let key = u64::from(left) << 32 | u64::from(right);
        let product = (key ^ key >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let place = (product >> 32) as usize;
        place & (self.words.len() / SLOT_WORDS - 1)
    }
}

impl Joins for Pairs {
    #[inline]
    fn join(&self, left: Symbol, right: Symbol, _: &[u8]) -> Option<Join> {
        self.find(left.id?, right.id?)
    }
}
