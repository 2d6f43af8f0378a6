//! How far one answer is: its tokens, and which of them are in the cache.

use std::ops::Range;

/// The tokens of a prompt and of the answer to it so far.
#[derive(Debug)]
pub(super) struct Progress {
    tokens: Vec<u32>,
    prompt: usize,
    /// How many of them, from the first on, are in the cache.
    held: usize,
    /// How many were ever: what lies below is counted, and scored if it had to be.
    reached: usize,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Done {
    /// Tokens of the prompt that it computed for the first time.
    pub(super) prompt: u64,
    /// Tokens that it computed again.
    pub(super) again: u64,
}

impl Progress {
    pub(super) fn of(prompt: Vec<u32>) -> Self {
        Self { prompt: prompt.len(), tokens: prompt, held: 0, reached: 0 }
    }

    pub(super) fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt]
    }

    /// The prompt and what was generated.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(super) fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// How many tokens the cache holds.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// How many tokens were ever in the cache.
    pub(super) fn reached(&self) -> usize {
        self.reached
    }

    /// Whether the cache holds all tokens.
    pub(super) fn is_complete(&self) -> bool {
        self.held == self.tokens.len()
    }

    /// The first tokens that the cache does not hold, at most `tokens_max`, and their position.
    pub(super) fn missing(&self, tokens_max: usize) -> (usize, &[u32]) {
        let missing = &self.tokens[self.held..];
        (self.held, &missing[..missing.len().min(tokens_max)])
    }

    /// The token that follows the one `index` places after what the cache holds: if that one is reached for the first
    /// time, and followed by one.
    pub(super) fn first_followed_by(&self, index: usize) -> Option<u32> {
        let position = self.held + index;
        self.tokens.get(position + 1).copied().filter(|_| position >= self.reached)
    }

    /// The cache holds `computed` tokens more.
    pub(super) fn compute(&mut self, computed: usize) -> Done {
        let step = self.held..self.held + computed;
        assert!(step.end <= self.tokens.len(), "a step computes what was asked for");
        let again = overlap(&step, 0..self.reached);
        Done { prompt: self.advance(step.end), again }
    }

    /// The cache holds the first `positions`; returns how many of the prompt's it reaches for the first time.
    pub(super) fn reuse(&mut self, positions: usize) -> u64 {
        assert!(positions >= self.held, "the cache holds as much already");
        self.advance(positions)
    }

    fn advance(&mut self, held: usize) -> u64 {
        self.held = held;
        let first_time = self.reached..self.reached.max(held);
        self.reached = first_time.end;
        overlap(&first_time, 0..self.prompt)
    }

    /// The cache holds nothing any more.
    pub(super) fn lose(&mut self) {
        self.held = 0;
    }

    pub(super) fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// Begins another answer to the same prompt.
    pub(super) fn return_to_prompt(&mut self) {
        self.tokens.truncate(self.prompt);
        (self.held, self.reached) = (self.held.min(self.prompt), self.reached.min(self.prompt));
    }
}

fn overlap(a: &Range<usize>, b: Range<usize>) -> u64 {
    a.end.min(b.end).saturating_sub(a.start.max(b.start)) as u64
}
