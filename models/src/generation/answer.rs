//! The text of one answer on its way out: whole characters only, nothing that may yet be a stop string.

use std::collections::VecDeque;

use super::stop::StopStrings;
use super::{Echo, GenerationRequest, Shown};
use crate::detokenizer::Detokenizer;
use crate::sampling::TokenLogprobs;
use crate::tokenizer::Tokenizer;

/// A token of an answer, where log-probabilities were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    /// The token.
    pub id: u32,
    /// Where its text begins in the answer's, in characters.
    pub offset_chars: usize,
    /// Its log-probability; none for the first token of a prompt, which nothing predicts.
    pub logprobs: Option<TokenLogprobs>,
}

/// A piece of text and the tokens that it is of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Whole characters.
    pub text: String,
    /// Empty unless log-probabilities were asked for.
    pub tokens: Vec<ScoredToken>,
}

impl Span {
    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty()
    }
}

#[derive(Debug)]
struct Waiting {
    token: ScoredToken,
    /// Where its text begins and ends in the answer's, in bytes.
    begin: usize,
    end: usize,
}

/// The open end of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    stop: StopStrings,
    scored: bool,
    prompt_scores: Vec<TokenLogprobs>,
    detokenizer: Detokenizer,
    /// Text that is not out yet, and how many bytes of the answer are.
    pending: String,
    shown: usize,
    /// Bytes of the answer in which nothing ends it: the echoed prompt, and what it has to have.
    unsearched: usize,
    /// Whether the stop string that ends it is a part of it.
    stop_shown: Shown,
    chars: usize,
    waiting: VecDeque<Waiting>,
}

impl Answer {
    pub(super) fn new(request: &GenerationRequest) -> Self {
        Self {
            stop: StopStrings::new(&request.stop),
            scored: request.logprobs.is_some(),
            prompt_scores: Vec::with_capacity(if request.echo == Echo::Prompt { 64 } else { 0 }),
            detokenizer: Detokenizer::default(),
            pending: String::new(),
            shown: 0,
            unsearched: 0,
            stop_shown: request.ending.shown,
            chars: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Starts over for another answer; the prompt's scores stay for further choices of the same prompt.
    pub(super) fn begin(&mut self, choice: usize) {
        if choice == 0 {
            self.prompt_scores.clear();
        }
        self.detokenizer = Detokenizer::default();
        self.pending.clear();
        self.waiting.clear();
        (self.shown, self.unsearched, self.chars) = (0, 0, 0);
    }

    pub(super) fn score_prompt_token(&mut self, logprobs: TokenLogprobs) {
        self.prompt_scores.push(logprobs);
    }

    /// Puts the prompt before the answer.
    pub(super) fn echo(&mut self, prompt: &[u32], tokenizer: &Tokenizer) {
        let begins = usize::from(tokenizer.added_bos().is_some() && tokenizer.added_bos() == prompt.first().copied());
        for (index, &id) in prompt.iter().enumerate() {
            let logprobs = index.checked_sub(1).and_then(|before| self.prompt_scores.get(before)).cloned();
            // The token that the model wants first is no text, and the space that comes along with it is not the prompt's.
            let bytes = match index.checked_sub(begins) {
                None => &[],
                Some(0) => tokenizer.first_bytes(id),
                Some(_) => tokenizer.bytes(id),
            };
            self.append(id, bytes, logprobs);
        }
        self.unsearched = self.shown + self.pending.len();
    }

    /// Takes a generated token that ends nothing, whatever its text is.
    pub(super) fn add(&mut self, id: u32, bytes: &[u8], logprobs: Option<TokenLogprobs>) {
        self.append(id, bytes, logprobs);
        self.unsearched = self.shown + self.pending.len();
    }

    /// Takes a generated token; tells which stop string is complete, if one is.
    pub(super) fn push(&mut self, id: u32, bytes: &[u8], logprobs: Option<TokenLogprobs>) -> Option<usize> {
        let before = self.pending.len();
        self.append(id, bytes, logprobs);
        let from = self.unsearched.saturating_sub(self.shown);
        let (begin, which) = self.stop.find(&self.pending, before, from)?;
        self.cut(match self.stop_shown {
            Shown::No => begin,
            Shown::Yes => begin + self.stop.bytes_of(which),
        });
        Some(which)
    }

    fn append(&mut self, id: u32, bytes: &[u8], logprobs: Option<TokenLogprobs>) {
        let before = self.pending.len();
        let token = ScoredToken { id, offset_chars: self.chars, logprobs };
        self.detokenizer.push(bytes, &mut self.pending);
        self.chars += self.pending[before..].chars().count();
        if self.scored {
            let (begin, end) = (self.shown + before, self.shown + self.pending.len());
            self.waiting.push_back(Waiting { token, begin, end });
        }
    }

    /// Ends the text at byte `cut` of what is pending; tokens that begin there or later go with it.
    fn cut(&mut self, cut: usize) {
        self.pending.truncate(cut);
        self.detokenizer = Detokenizer::default();
        let end = self.shown + cut;
        self.waiting.retain(|waiting| waiting.begin < end);
    }

    /// What can be shown now.
    pub(super) fn ready(&mut self) -> Span {
        let from = self.unsearched.saturating_sub(self.shown).min(self.pending.len());
        let held = self.stop.held_back(&self.pending[from..]);
        self.take(self.pending.len() - held)
    }

    /// Everything that is left.
    pub(super) fn finish(&mut self) -> Span {
        self.detokenizer.finish(&mut self.pending);
        let mut span = self.take(self.pending.len());
        span.tokens.extend(self.waiting.drain(..).map(|waiting| waiting.token));
        span
    }

    fn take(&mut self, bytes: usize) -> Span {
        let text: String = self.pending.drain(..bytes).collect();
        self.shown += bytes;
        let complete = self.waiting.iter().take_while(|waiting| waiting.end <= self.shown).count();
        // A token that has no text yet waits for the one that completes its character.
        let complete = if self.detokenizer.pending_bytes() > 0 && bytes == 0 { 0 } else { complete };
        Span { text, tokens: self.waiting.drain(..complete).map(|waiting| waiting.token).collect() }
    }
}
