//! Guesses at an answer's next tokens, and how good such guesses were so far.
//!
//! A guess is what followed the answer's last tokens when they stood in prompt or answer before (`lookup`), and, where that
//! runs into the end, the guess itself again: a text that repeats itself is guessed for as long as one likes.
//!
//! How likely a guess is right is learned from every token that is drawn while there is one, whether or not it was computed:
//! what would have been accepted is known for nothing. It is learned for matches of a few tokens, of some, and of many apart.
//!
//! Deliberately absent: how many of them are worth computing, which depends on what steps cost.

use super::lookup::{Lookup, Match};
use crate::limits::{DRAFT_TOKENS_MAX, MATCH_TOKENS_MAX};

/// Matches of fewer tokens than the first are one class, and so on.
const CLASSES: [usize; 4] = [3, 5, 9, MATCH_TOKENS_MAX + 1];
/// How often guesses of a class are right before any was seen, in a thousandth.
const PRESUMED_PERMILLE: [f32; CLASSES.len()] = [300.0, 500.0, 650.0, 800.0];
/// What one more token counts among those before.
const LATEST: f32 = 1.0 / 16.0;

/// The guess at what follows.
#[derive(Debug)]
pub(super) struct Drafts {
    lookup: Lookup,
    /// What follows, perhaps.
    tokens: Vec<u32>,
    class: usize,
    right_permille: [f32; CLASSES.len()],
}

impl Drafts {
    pub(super) fn new() -> Self {
        Self { lookup: Lookup::default(), tokens: Vec::new(), class: 0, right_permille: PRESUMED_PERMILLE }
    }

    /// The guess at hand.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Of a thousand tokens that were guessed as these are, how many were right; where those before them were.
    pub(super) fn right_permille(&self) -> u16 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
        let permille = self.right_permille[self.class] as u16;
        permille
    }

    /// The token after the first `index` of the guess is known; whether it was guessed.
    pub(super) fn is_right(&mut self, index: usize, token: u32) -> bool {
        let Some(&guessed) = self.tokens.get(index) else { return false };
        let was = if guessed == token { 1000.0 } else { 0.0 };
        let right = &mut self.right_permille[self.class];
        *right += (was - *right) * LATEST;
        guessed == token
    }

    /// Guesses at most `most` tokens after `text`, which is that of the guess before and more.
    pub(super) fn guess(&mut self, text: &[u32], most: usize) {
        self.tokens.clear();
        if most == 0 {
            return;
        }
        let Some(Match { next, tokens: alike }) = self.lookup.find(text) else { return };
        self.class = CLASSES.iter().position(|&below| alike < below).unwrap_or(0);
        let known = &text[next..];
        self.tokens.extend(known.iter().cycle().take(most.min(DRAFT_TOKENS_MAX)));
    }

    /// Another text begins.
    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.lookup.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_what_followed_and_goes_round_where_that_ends() {
        let mut drafts = Drafts::new();
        drafts.guess(&[1, 2, 3, 1, 2, 3, 1, 2], 5);
        assert_eq!(drafts.tokens(), [3, 1, 2, 3, 1]);
        drafts.guess(&[1, 2, 3, 1, 2, 3, 1, 2], 0);
        assert!(drafts.tokens().is_empty());
        drafts.guess(&[1, 2, 3, 1, 2, 3, 1, 2, 9], 5);
        assert!(drafts.tokens().is_empty(), "nothing followed 9 before");
        let text: Vec<u32> = (0..40).chain(0..4).collect();
        drafts.clear();
        drafts.guess(&text, usize::MAX);
        assert_eq!(drafts.tokens(), (4..).take(DRAFT_TOKENS_MAX).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_right_is_learned_for_each_kind_of_match() {
        let mut drafts = Drafts::new();
        let long: Vec<u32> = (0..20).chain(0..19).collect();
        for _ in 0..100 {
            drafts.clear();
            drafts.guess(&long, 4);
            assert!(drafts.is_right(0, 19));
        }
        assert!(drafts.right_permille() > 990, "{}", drafts.right_permille());
        for _ in 0..100 {
            drafts.clear();
            drafts.guess(&[1, 2, 3, 1, 2], 4);
            assert!(!drafts.is_right(0, 4));
        }
        assert!(drafts.right_permille() < 10, "{}", drafts.right_permille());
        drafts.clear();
        drafts.guess(&long, 4);
        assert!(drafts.right_permille() > 990, "of long matches nothing was learned meanwhile");
        assert!(!drafts.is_right(DRAFT_TOKENS_MAX, 19), "what was not guessed is no guess");
    }
}
