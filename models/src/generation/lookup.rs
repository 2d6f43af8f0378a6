//! Where in a text its last tokens stood before: what followed them there is a guess at what follows now.
//!
//! For each of a few lengths there is a table from the hash of as many tokens to the place where they stood last. A slot
//! may have been taken by other tokens with the same hash, so what it says is compared with the text, and nothing is ever
//! found that is not there. The longest of those lengths wins.
//!
//! Bounds: a token costs a slot of each table, which grow with the text up to [`LOOKUP_SLOTS_MAX`] slots of 4 bytes; of a
//! longer text, what stood long ago is forgotten. Finding takes a look at each table.
//!
//! Source: A. Saxena, "Prompt Lookup Decoding", 2023 (github.com/apoorvumang/prompt-lookup-decoding).

use crate::limits::{LOOKUP_SLOTS_MAX, MATCH_TOKENS_MAX};

/// Tokens that are looked for, longest first. One token alone stands too often before something else.
const LENGTHS: [usize; 3] = [4, 3, 2];
/// Slots of a table at first.
const SLOTS_MIN: usize = 256;

/// The tables of one text.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// By hash: how many tokens there were when these stood last; 0 where none did.
    tables: [Vec<u32>; LENGTHS.len()],
    /// Tokens whose places are known.
    known: usize,
}

/// An earlier place of a text's last tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// The index of the token that followed.
    pub(super) next: usize,
    /// How many tokens before it are the text's last, as far as that was looked at.
    pub(super) tokens: usize,
}

impl Lookup {
    /// Forgets the text.
    pub(super) fn clear(&mut self) {
        self.tables.iter_mut().for_each(|table| table.fill(0));
        self.known = 0;
    }

    /// Where the last of `tokens` stood before. The text is that of the call before and more, or another after
    /// [`Self::clear`].
    pub(super) fn find(&mut self, tokens: &[u32]) -> Option<Match> {
        self.know(tokens);
        let found = LENGTHS.iter().zip(&self.tables).find_map(|(&length, table)| {
            let last = tokens.len().checked_sub(length).map(|begin| &tokens[begin..])?;
            let next = table[slot(last, table.len())] as usize;
            (next >= length && tokens[next - length..next] == *last).then_some(next)
        });
        found.map(|next| {
            let alike = tokens[..next].iter().rev().zip(tokens.iter().rev()).take(MATCH_TOKENS_MAX);
            Match { next, tokens: alike.take_while(|(before, last)| before == last).count() }
        })
    }

    /// Takes down the places of all that lies before the last token, whose own place is looked for.
    fn know(&mut self, tokens: &[u32]) {
        let slots = (4 * tokens.len()).next_power_of_two().clamp(SLOTS_MIN, LOOKUP_SLOTS_MAX);
        if self.tables[0].len() < slots {
            self.tables.iter_mut().for_each(|table| {
                table.clear();
                table.resize(slots, 0);
            });
            self.known = 0;
        }
        let end = tokens.len().saturating_sub(1);
        for (&length, table) in LENGTHS.iter().zip(&mut self.tables) {
            for after in (self.known + 1).max(length)..=end {
                let place = slot(&tokens[after - length..after], table.len());
                table[place] = u32::try_from(after).unwrap_or(0);
            }
        }
        self.known = self.known.max(end);
    }
}

/// The slot of some tokens among as many as a power of two.
fn slot(tokens: &[u32], slots: usize) -> usize {
    // Multiplication by 2⁶⁴ ÷ the golden ratio carries every bit into the highest (D. E. Knuth, TAOCP 3, 6.4).
    let hash = tokens
        .iter()
        .fold(0, |hash: u64, &token| (hash.rotate_left(23) ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    usize::try_from(hash >> 32).expect("32 bits") & (slots - 1)
}

#[cfg(test)]
mod tests {
    use loader::fixture::Random;

    use super::*;

    fn text(random: &mut Random, tokens: usize, vocabulary: usize) -> Vec<u32> {
        (0..tokens).map(|_| u32::try_from(random.below(vocabulary)).unwrap()).collect()
    }

    /// The last place before the end where the longest of the lengths stood.
    fn searched(tokens: &[u32]) -> Option<usize> {
        LENGTHS.iter().find_map(|&length| {
            let last = &tokens[tokens.len().checked_sub(length)?..];
            (length..tokens.len()).rev().find(|&next| tokens[next - length..next] == *last)
        })
    }

    #[test]
    fn what_is_found_is_what_a_search_finds() {
        let mut random = Random::new(11);
        let (mut found, mut hidden) = (0, 0);
        for _ in 0..200 {
            let vocabulary = 2 + random.below(30);
            let tokens = text(&mut random, 90, vocabulary);
            let mut lookup = Lookup::default();
            let mut end = 1 + random.below(20);
            while end < tokens.len() {
                let place = lookup.find(&tokens[..end]);
                if let Some(Match { next, tokens: alike }) = place {
                    found += 1;
                    assert!((2..=MATCH_TOKENS_MAX).contains(&alike) && next < end);
                    assert_eq!(tokens[next - alike..next], tokens[end - alike..end]);
                } else {
                    // A slot that was taken by other tokens hides a place.
                    hidden += usize::from(searched(&tokens[..end]).is_some());
                }
                end += 1 + random.below(4);
            }
        }
        assert!(found > 1000 && hidden * 20 < found, "{found} found, {hidden} hidden");
    }

    #[test]
    fn the_longest_match_wins_and_of_these_the_last() {
        let mut lookup = Lookup::default();
        let tokens = [1, 2, 3, 4, 50, 9, 2, 3, 4, 60, 9, 1, 2, 3, 4];
        assert_eq!(lookup.find(&tokens), Some(Match { next: 4, tokens: 4 }));
        let tokens = [7, 8, 50, 7, 8, 60, 7, 8];
        lookup.clear();
        assert_eq!(lookup.find(&tokens), Some(Match { next: 5, tokens: 2 }));
        assert_eq!(lookup.find(&tokens[..1]), None);
        assert_eq!(Lookup::default().find(&[]), None);
    }

    #[test]
    fn a_text_that_repeats_itself_is_found_at_its_end() {
        let tokens = [5; 40];
        assert_eq!(Lookup::default().find(&tokens), Some(Match { next: 39, tokens: MATCH_TOKENS_MAX }));
    }

    #[test]
    fn memory_is_bounded_however_long_the_text_is() {
        let mut random = Random::new(3);
        let mut tokens = text(&mut random, 2 * LOOKUP_SLOTS_MAX, 50_000);
        let repeated = tokens[tokens.len() - 300..tokens.len() - 200].to_vec();
        tokens.extend(repeated);
        let mut lookup = Lookup::default();
        let found = lookup.find(&tokens).expect("it stood there lately");
        assert_eq!(found, Match { next: tokens.len() - 300, tokens: MATCH_TOKENS_MAX });
        assert!(lookup.tables.iter().all(|table| table.len() == LOOKUP_SLOTS_MAX));
    }
}
