//! Token ids by text: a hash table of four bytes a slot over texts that lie elsewhere.
//!
//! Building it costs one pass and no allocation per token, which is what keeps a vocabulary of 262,144 tokens off a cold
//! start's bill. A slot holds an id and 12 bits of its text's hash, so that nearly every comparison of texts is of equal
//! ones. Linear probing; at most half of the slots are taken.
//!
//! Invariants: a probe looks at no more than [`TOKEN_PROBES_MAX`] slots, because a file's maker chooses the texts: a
//! vocabulary that would need more is refused.

use loader::tables::Table;

use super::vocabulary::Vocabulary;
use crate::limits::{TOKEN_PROBES_MAX, VOCABULARY_MAX};

/// Bits of a slot that are the id.
const ID_BITS: u32 = VOCABULARY_MAX.trailing_zeros();
const ID_MASK: u32 = (1 << ID_BITS) - 1;
/// A slot without a token. Tags never have all bits set.
const FREE: u32 = u32::MAX;

/// Where texts are found by id.
pub(super) trait Texts {
    /// The text of `id`.
    fn bytes(&self, id: u32) -> &[u8];
}

/// Ids by text. The texts are handed in with every call and must be those that it was built over.
#[derive(Debug)]
pub(super) struct TokenIndex {
    slots: Box<[u32]>,
    /// Bytes of the longest text: longer ones are not looked for.
    longest: usize,
}

/// What became of a token that was put in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Inserted {
    /// It can be found.
    New,
    /// A token of the same text was there, and is still the one that is found.
    Same(u32),
    /// Too many texts meet at one place.
    Crowded,
}

impl TokenIndex {
    /// An index with room for `tokens` of them.
    pub(super) fn for_tokens(tokens: usize) -> Self {
        Self { slots: vec![FREE; (2 * tokens).next_power_of_two().max(2)].into_boxed_slice(), longest: 0 }
    }

    /// Makes `id` findable, which is below [`VOCABULARY_MAX`]; no more than `for_tokens` was told.
    pub(super) fn insert(&mut self, texts: &impl Texts, id: u32) -> Inserted {
        let text = texts.bytes(id);
        let (mut at, tag) = self.place(text);
        for _ in 0..TOKEN_PROBES_MAX {
            let slot = self.slots[at];
            if slot == FREE {
                self.slots[at] = tag << ID_BITS | id;
                self.longest = self.longest.max(text.len());
                return Inserted::New;
            }
            if slot >> ID_BITS == tag && texts.bytes(slot & ID_MASK) == text {
                return Inserted::Same(slot & ID_MASK);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        Inserted::Crowded
    }

    /// Brings the places of some tokens near, so that putting them in afterwards waits for memory once and not each time.
    pub(super) fn approach(&self, texts: &impl Texts, ids: &[u32]) {
        for &id in ids {
            std::hint::black_box(self.slots[self.place(texts.bytes(id)).0]);
        }
    }

    /// The token whose text is `text`.
    #[inline]
    pub(super) fn find(&self, texts: &impl Texts, text: &[u8]) -> Option<u32> {
        if text.len() > self.longest {
            return None;
        }
        let (mut at, tag) = self.place(text);
        for _ in 0..TOKEN_PROBES_MAX {
            let slot = self.slots[at];
            if slot == FREE {
                return None;
            }
            if slot >> ID_BITS == tag && texts.bytes(slot & ID_MASK) == text {
                return Some(slot & ID_MASK);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// What is kept between runs: the slots.
    pub(super) fn table(&self) -> Table<'_> {
        Table::of_words(&self.slots)
    }

    /// One whose slots are `words`, if they are a table of tokens of `vocabulary`.
    pub(super) fn of_words(words: Vec<u32>, vocabulary: &Vocabulary) -> Option<Self> {
        let tokens = vocabulary.len();
        let sound = |slot: &u32| *slot == FREE || ((slot & ID_MASK) as usize) < tokens;
        let is_table = words.len() >= 2 && words.len().is_power_of_two() && words.iter().all(sound);
        // No text that is longer than every token is one, whether or not the longest is in this table.
        is_table.then(|| Self { slots: words.into_boxed_slice(), longest: vocabulary.token_bytes_max() })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// First slot and tag of a text: different bits of its hash.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both are parts of a hash")]
    fn place(&self, text: &[u8]) -> (usize, u32) {
        let hash = hash(text);
        let tag = ((hash >> ID_BITS) as u32) >> ID_BITS;
        (hash as usize & (self.slots.len() - 1), tag.min((FREE >> ID_BITS) - 1))
    }
}

/// Eight bytes at a time, multiplied and folded: the scheme of wyhash (Wang Yi, 2019), shortened.
#[inline]
fn hash(text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR ^ 0xD1B5_4A32_D192_ED03);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a product")]
        let folded = product as u64 ^ (product >> 64) as u64;
        folded
    };
    let mut state = (text.len() as u64).wrapping_mul(FACTOR);
    let mut rest = text;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        state = fold(state, u64::from_le_bytes(*word));
        rest = after;
    }
    // What is left is read in at most two steps, which may overlap.
    let last = match (rest.first_chunk::<4>(), rest.last_chunk::<4>(), rest) {
        (Some(begin), Some(end), _) => {
            u64::from(u32::from_le_bytes(*begin)) << 32 | u64::from(u32::from_le_bytes(*end))
        }
        (.., [first, .., last]) => u64::from(*first) << 16 | u64::from(rest[rest.len() / 2]) << 8 | u64::from(*last),
        (.., [only]) => u64::from(*only),
        (.., []) => 0,
    };
    fold(state ^ FACTOR, last)
}

#[cfg(test)]
mod tests {
    use super::{Inserted, Texts, TokenIndex};

    impl Texts for Vec<Vec<u8>> {
        fn bytes(&self, id: u32) -> &[u8] {
            &self[id as usize]
        }
    }

    #[test]
    fn every_token_is_found_by_its_text_and_nothing_else_is() {
        let texts: Vec<Vec<u8>> =
            (0..20_000_u32).map(|id| format!("{id:x}").repeat(id as usize % 5).into_bytes()).collect();
        let mut index = TokenIndex::for_tokens(texts.len());
        for id in 0..20_000 {
            let inserted = index.insert(&texts, id);
            let first = (0..id).find(|&other| texts[other as usize] == texts[id as usize]);
            match inserted {
                Inserted::Same(same) => assert_eq!(first, Some(same)),
                other => assert_eq!((other, id % 5 == 0 && id > 0), (Inserted::New, false), "{id}"),
            }
        }
        for (id, text) in texts.iter().enumerate().filter(|(id, _)| id % 5 > 0) {
            let found = index.find(&texts, text).unwrap();
            assert_eq!(texts[found as usize], texts[id]);
            assert_eq!(index.find(&texts, &[text, &b"!"[..]].concat()), None);
        }
        assert_eq!(index.find(&texts, b""), Some(0));
    }

    #[test]
    fn the_last_id_of_the_largest_vocabulary_is_kept_apart_from_a_free_slot() {
        struct Same;
        impl Texts for Same {
            fn bytes(&self, _: u32) -> &[u8] {
                b"text"
            }
        }
        let last = u32::try_from(crate::limits::VOCABULARY_MAX - 1).unwrap();
        let mut index = TokenIndex::for_tokens(1);
        assert_eq!(index.insert(&Same, last), Inserted::New);
        assert_eq!(index.find(&Same, b"text"), Some(last));
    }
}
