//! What a step is asked for, and what comes of it.

#[cfg(doc)]
use super::Generation;
use super::answer::Span;
use crate::grammar::GrammarFault;
use crate::sampling::NonFiniteLogits;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinishReason {
    /// The model ended it, or its grammar lets nothing follow.
    Stop,
    /// The stop string with this index in the request did.
    StopString(usize),
    /// It reached the bound of its length.
    Length,
}

/// Why no token could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// The model computes nothing that can be drawn from.
    #[error(transparent)]
    NonFinite(#[from] NonFiniteLogits),
    /// The answer cannot keep to its grammar any further.
    #[error(transparent)]
    Grammar(#[from] GrammarFault),
}

/// Which logits a step must bring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// None: more of the prompt follows.
    Nothing,
    /// Those of the last token.
    Last,
    /// Those of the last token and of so many before it.
    LastAnd(usize),
    /// Those of every token.
    Each,
}

/// What the next step computes.
#[derive(Debug, Eq, PartialEq)]
pub enum Input<'a> {
    /// Run `tokens` at `position` (after dropping all positions from there on).
    Run {
        /// Position of the first of them.
        position: usize,
        /// The tokens.
        tokens: &'a [u32],
        /// The logits to bring back.
        wanted: Wanted,
    },
    /// Run nothing: the logits of an earlier step serve again.
    Reuse,
    /// Everything is done.
    Done,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Number of the answer: prompt × choices + choice.
    pub choice: usize,
    /// Text, possibly empty, and the tokens that it is of.
    pub span: Span,
    /// Set on an answer's last piece.
    pub finish: Option<FinishReason>,
}

/// Token counts of a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TokenCounts {
    /// Tokens of all prompts, each counted once.
    pub prompt: u64,
    /// Those of them that were in the cache already ([`Generation::reuse`]).
    pub cached: u64,
    /// Tokens generated, an ending one included.
    pub completion: u64,
    /// Tokens of prompts and answers that were computed again ([`Generation::preempted`]), each time they were.
    pub recomputed: u64,
    /// Drafts computed.
    pub drafted: u64,
    /// Those of them that were drawn then, a part of `completion`.
    pub accepted: u64,
}

/// A guess at what follows the next token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Draft<'a> {
    /// Tokens that may follow the one that is computed next; at least one.
    pub tokens: &'a [u32],
    /// How many of a thousand such guesses were right so far, each where those before it were.
    pub right_permille: u16,
}
