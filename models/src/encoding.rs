//! One request to an encoder: which of its texts the next step computes, and what becomes of their vectors.
//!
//! Texts go by length, the longest first, so that those of one step are alike; a step takes as many as fit in
//! [`ENCODER_STEP_TOKENS`], and at least one.
//!
//! Invariants: each text is computed once; vectors come out in the order of the texts; a vector or
//! score that is no number ends the request.

use crate::limits::ENCODER_STEP_TOKENS;
use crate::plan::Finish;
use crate::tokenizer::{Special, Start, TokenizeError, Tokenizer};

/// A text, or a pair of them, as the tokens that an encoder sees, its first and last included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    tokens: Vec<u32>,
    /// Where the second text of a pair begins.
    second_from: usize,
}

impl Passage {
    /// Tokens as they are, all of the first type.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of_tokens(tokens: Vec<u32>) -> Self {
        assert!(!tokens.is_empty(), "a text has a token");
        Self { second_from: tokens.len(), tokens }
    }

    /// A pair: `[CLS] first [SEP] second [SEP]`, the second text and its end of the second type. `first` is what
    /// [`Start::AsModel`] makes of the first text, its ends included; what the second spells is no control token. Gives
    /// up soon after there are more than `tokens_max` tokens: more than as many then come back.
    ///
    /// # Errors
    /// [`TokenizeError`] when the second text is too long for any model, or the tokenizer's library refuses it.
    ///
    /// # Panics
    /// When `first` is empty.
    ///
    /// Source: arXiv:1810.04805.
    pub fn of_pair(
        first: &[u32],
        second: &str,
        tokenizer: &Tokenizer,
        tokens_max: usize,
    ) -> Result<Self, TokenizeError> {
        assert!(!first.is_empty(), "a text has a token");
        let rest = tokens_max.saturating_sub(first.len());
        let second = tokenizer.encode_up_to(second, Special::Plain, Start::Bare, rest)?;
        let tokens = first.iter().copied().chain(second).chain(tokenizer.added_eos()).collect();
        Ok(Self { tokens, second_from: first.len() })
    }

    /// All of its tokens.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Type of the token at `position`: 0 in the first text, 1 in the second.
    #[must_use]
    pub fn token_type(&self, position: usize) -> usize {
        usize::from(position >= self.second_from)
    }
}

/// A vector or score is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's vectors are not finite")]
pub struct NonFiniteVector;

/// The state of one request.
#[derive(Debug)]
pub struct Encoding {
    passages: Vec<Passage>,
    /// Numbers of the passages, the longest first.
    order: Vec<usize>,
    /// How many of them are computed.
    done: usize,
    finish: Finish,
    rows: Vec<Vec<f32>>,
    computed_tokens: u64,
}

impl Encoding {
    /// The start of a request to a model whose rows are finished so.
    #[must_use]
    pub fn new(passages: Vec<Passage>, finish: Finish) -> Self {
        let mut order: Vec<usize> = (0..passages.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(passages[index].tokens.len()));
        Self { order, done: 0, finish, rows: vec![Vec::new(); passages.len()], computed_tokens: 0, passages }
    }

    /// The texts of the next step: none when everything is done.
    #[must_use]
    pub fn batch(&self) -> Vec<&Passage> {
        self.order[self.done..self.batch_end()].iter().map(|&index| &self.passages[index]).collect()
    }

    /// Tokens of all texts.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.passages.iter().map(|passage| passage.tokens.len()).sum()
    }

    /// Tokens computed so far.
    #[must_use]
    pub fn computed_tokens(&self) -> u64 {
        self.computed_tokens
    }

    /// Whether every text is computed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done == self.order.len()
    }

    /// Takes what the model made of [`Encoding::batch`]: \[texts, width\].
    ///
    /// # Errors
    /// [`NonFiniteVector`] when one of the numbers is none.
    pub fn absorb(&mut self, rows: &[f32]) -> Result<(), NonFiniteVector> {
        let end = self.batch_end();
        let batch = &self.order[self.done..end];
        let tokens: usize = batch.iter().map(|&index| self.passages[index].tokens.len()).sum();
        self.computed_tokens += tokens as u64;
        let width = rows.len() / batch.len().max(1);
        for (&index, row) in batch.iter().zip(rows.chunks_exact(width.max(1))) {
            self.rows[index] = match self.finish {
                Finish::LengthOne => of_length_one(row),
                Finish::AsComputed => row.to_vec(),
            };
            if self.rows[index].iter().any(|x| !x.is_finite()) {
                return Err(NonFiniteVector);
            }
        }
        self.done = end;
        Ok(())
    }

    /// The vectors, or single scores, in the order of the texts. Those that were not computed are empty.
    #[must_use]
    pub fn into_rows(self) -> Vec<Vec<f32>> {
        self.rows
    }

    fn batch_end(&self) -> usize {
        let mut tokens = 0;
        let fits = |&&index: &&usize| {
            tokens += self.passages[index].tokens.len();
            tokens <= ENCODER_STEP_TOKENS
        };
        let count = self.order[self.done..].iter().take_while(fits).count();
        (self.done + count.max(1)).min(self.order.len())
    }
}

/// A vector scaled to a Euclidean length of one. Zeros stay zeros.
fn of_length_one(row: &[f32]) -> Vec<f32> {
    let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let length = squares.sqrt();
    if length == 0.0 {
        return row.to_vec();
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded to what vectors are of")]
    row.iter().map(|&x| (f64::from(x) / length) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(tokens: usize) -> Passage {
        Passage::of_tokens(vec![7; tokens])
    }

    #[test]
    fn steps_take_texts_by_length_within_their_bound() {
        let lengths = [3, 600, 200, 1, 300, 512, 2];
        let mut encoding = Encoding::new(lengths.map(passage).to_vec(), Finish::LengthOne);
        let mut steps = Vec::new();
        while !encoding.is_done() {
            let lengths: Vec<usize> = encoding.batch().iter().map(|passage| passage.tokens().len()).collect();
            let rows: Vec<f32> = lengths.iter().flat_map(|&length| [0.0, length as f32]).collect();
            encoding.absorb(&rows).unwrap();
            steps.push(lengths);
        }
        assert_eq!(steps, [vec![600], vec![512], vec![300, 200, 3, 2, 1]]);
        assert!(encoding.batch().is_empty());
        assert_eq!(encoding.computed_tokens(), 1618);
        assert_eq!(encoding.into_rows(), vec![vec![0.0, 1.0]; 7]);
    }

    #[test]
    fn vectors_come_back_in_the_order_of_the_texts_with_a_length_of_one() {
        let mut encoding = Encoding::new(vec![passage(1), passage(2), passage(3)], Finish::LengthOne);
        encoding.absorb(&[3.0, 4.0, 0.0, 0.0, -2e-30, 0.0]).unwrap();
        assert_eq!(encoding.into_rows(), [[-1.0, 0.0], [0.0, 0.0], [0.6, 0.8]]);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for spoiled in [f32::NAN, f32::INFINITY] {
            let mut encoding = Encoding::new(vec![passage(1)], Finish::AsComputed);
            assert_eq!(encoding.absorb(&[1.0, spoiled]), Err(NonFiniteVector));
        }
    }
}
