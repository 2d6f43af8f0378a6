//! One request's way from prompt ids to text: which tokens the next step computes, and what its logits become.
//!
//! A request has one or more prompts and `choices` answers for each. Prompts run one after another; the answers of one
//! prompt share its cache entries: the sequence returns to the prompt's end and goes on from the same logits.
//!
//! What a step computes is whatever precedes the next token and is not in the cache. Whoever owns the cache may take it
//! away at any time ([`Generation::preempted`]), or fill it by other means ([`Generation::reuse`]); neither changes a token.
//!
//! Tokens that a step computes behind the next one are *drafts*: guesses ([`Generation::draft`]) at what will be drawn. Each
//! token is drawn from its own logits as if nothing had been guessed, penalties, bounds and random numbers included, for as
//! long as the token before it was guessed right. So a seed gives the very text that it gives without drafts, which is
//! exact for the distribution as well: a draft is accepted with the probability that the distribution has for it
//! (arXiv:2211.17192, for a draft that is a point mass).
//!
//! An answer that has to keep to a grammar is drawn from what that allows, drafts included: a guess that is not allowed is
//! never drawn, so that it is not accepted. It ends where nothing could follow.
//!
//! Invariants: [`Generation::input`] asks for a position again only after a preemption; a token is drawn, counted and shown
//! once; text that might become a stop string is kept back; text and log-probabilities reach the client together, cut at
//! the same place.
//!
//! Deliberately absent: the cache itself (whoever runs steps owns it) and batching.

mod answer;
mod drafts;
mod drawing;
mod lookup;
mod progress;
mod request;
mod step;
mod stop;

use std::sync::Arc;

use crate::Descriptor;
use crate::grammar::{Grammar, Matching};
use crate::sampling::{NonFiniteLogits, Sampler, TokenLogprobs};
use answer::Answer;
pub use answer::{ScoredToken, Span};
use drafts::Drafts;
use progress::Progress;
pub use request::{Echo, End, Ending, GenerationRequest, Shown, Tokens};
pub use step::{Draft, DrawError, FinishReason, Input, Output, TokenCounts, Wanted};

/// The state of one request.
#[derive(Debug)]
pub struct Generation {
    request: GenerationRequest,
    descriptor: Arc<Descriptor>,
    /// The prompt and the choice that are at work.
    prompt: usize,
    choice: usize,
    /// Their tokens.
    progress: Progress,
    /// Logits after the prompt, kept while further choices need them.
    prompt_logits: Vec<f32>,
    sampler: Sampler,
    /// How far the answer is in its grammar.
    matching: Option<Matching>,
    answer: Answer,
    counts: TokenCounts,
    /// None where nothing is guessed.
    drafts: Option<Drafts>,
    /// A prompt token's log-probability was no number.
    is_broken: bool,
}

impl Generation {
    /// The start of a request.
    ///
    /// # Panics
    /// When a prompt is empty or does not fit the context, or there is none, or when an answer with a grammar could not be
    /// ended, or is kept from ending: whoever accepts requests checks that.
    #[must_use]
    pub fn new(mut request: GenerationRequest, descriptor: Arc<Descriptor>) -> Self {
        assert!(!request.prompts.is_empty() && request.choices > 0, "a request has at least one answer");
        let fits = |prompt: &Vec<u32>| !prompt.is_empty() && prompt.len() <= request.context;
        assert!(request.prompts.iter().all(fits), "each prompt has a token and fits the context");
        let can_end = request.end == End::Honoured && request.ending.tokens_min == 0;
        assert!(request.grammar.is_none() || can_end, "what keeps to a grammar can end");
        let progress = Progress::of(std::mem::take(&mut request.prompts[0]));
        let sampler = Sampler::new(request.sampling.clone(), 0, progress.prompt());
        Self {
            answer: Answer::new(&request),
            sampler,
            matching: request.grammar.as_deref().map(Grammar::begin),
            request,
            descriptor,
            prompt: 0,
            choice: 0,
            progress,
            prompt_logits: Vec::new(),
            counts: TokenCounts::default(),
            drafts: None,
            is_broken: false,
        }
    }

    /// The same, with guesses at what follows.
    #[must_use]
    pub fn with_drafts(mut self) -> Self {
        self.drafts = Some(Drafts::new());
        self
    }

    /// Tokens counted so far; the prompt's as they are computed.
    #[must_use]
    pub fn counts(&self) -> TokenCounts {
        self.counts
    }

    /// Tokens of the prompt at work; 0 after the last.
    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.progress.prompt().len()
    }

    /// What the next step computes: at most `tokens_max` tokens.
    ///
    /// # Panics
    /// When `tokens_max` is 0.
    #[must_use]
    pub fn input(&self, tokens_max: usize) -> Input<'_> {
        assert!(tokens_max > 0, "a step has tokens");
        if self.is_done() {
            return Input::Done;
        }
        if self.needs_no_step() {
            return Input::Reuse;
        }
        let (position, tokens) = self.progress.missing(tokens_max);
        let end = position + tokens.len();
        let wanted = if self.scores_prompt() && end > self.progress.reached() {
            Wanted::Each
        } else if end == self.progress.tokens().len() && self.request.tokens_max != Tokens::PromptAlone {
            Wanted::Last
        } else {
            Wanted::Nothing
        };
        Input::Run { position, tokens, wanted }
    }

    /// Tokens that are left before the next one can be drawn: those of the prompt, and of the answer so far after a
    /// preemption, that are not in the cache; 0 when everything is done or the logits of an earlier step serve again.
    #[must_use]
    pub fn tokens_wanted(&self) -> usize {
        if self.is_done() || self.needs_no_step() { 0 } else { self.progress.missing(usize::MAX).1.len() }
    }

    /// What may follow the next token, where that is the only one left to compute and one of the answer: it can be computed
    /// in the same step, behind [`Self::input`]'s token, with the logits of all of them ([`Wanted::LastAnd`]).
    #[must_use]
    pub fn draft(&self) -> Option<Draft<'_>> {
        let drafts = self.drafts.as_ref().filter(|drafts| !drafts.tokens().is_empty())?;
        let is_decoding = self.progress.generated() > 0 && self.tokens_wanted() == 1;
        is_decoding.then(|| Draft { tokens: drafts.tokens(), right_permille: drafts.right_permille() })
    }

    /// Positions whose entries in the cache are of the text so far, from the first on. What a step wrote behind them is of
    /// drafts that were not accepted.
    #[must_use]
    pub fn held(&self) -> usize {
        self.progress.held()
    }

    /// The tokens that the cache must hold before the next one is drawn, from position 0 on: what it may be filled with
    /// by other means, and what a full block of it is of. Empty when nothing is left to compute, and while the logits of
    /// a prompt's own tokens are wanted.
    ///
    /// The cache goes back to the prompt's end for each further choice: of a request for several, no block that holds
    /// more than prompt may be shared.
    #[must_use]
    pub fn reusable(&self) -> &[u32] {
        if self.is_done() || self.asks_nothing() || self.scores_prompt() { &[] } else { self.progress.tokens() }
    }

    /// Takes the first `positions` of [`Self::reusable`] as being in the cache.
    ///
    /// # Panics
    /// When they are all there are (the last is always computed), or fewer than the cache holds already.
    pub fn reuse(&mut self, positions: usize) {
        assert!(positions < self.reusable().len(), "of what may be reused, the last token is computed");
        let new = self.progress.reuse(positions);
        self.counts.prompt += new;
        self.counts.cached += new;
    }

    /// The cache's entries are gone: everything before the next token will be computed again.
    pub fn preempted(&mut self) {
        self.progress.lose();
    }

    /// Takes the logits of one token of a [`Wanted::Each`] step, in order: `index` counts from the step's first token.
    pub fn score(&mut self, index: usize, logits: &[f32]) {
        let Some(top) = self.request.logprobs else { return };
        if let Some(token) = self.progress.first_followed_by(index) {
            let scored = TokenLogprobs::of(logits, token, top);
            self.is_broken |= scored.token.logprob.is_nan();
            self.answer.score_prompt_token(scored);
        }
    }

    /// Takes a step's result: how many tokens it computed, and the logits of the last of them (\[vocabulary\]; empty
    /// where none were wanted), which are changed on the way. Where drafts were computed behind it, they count among these,
    /// and there are logits of the token and of each of them: \[1 + drafts, vocabulary\]. Appends what can be shown to
    /// `outputs`: one piece at most.
    ///
    /// # Errors
    /// [`DrawError`] when no token can be drawn from them.
    ///
    /// # Panics
    /// When more was computed than [`Self::input`] and [`Self::draft`] have.
    pub fn absorb(&mut self, computed: usize, logits: &mut [f32], outputs: &mut Vec<Output>) -> Result<(), DrawError> {
        if self.is_broken {
            return Err(NonFiniteLogits.into());
        }
        if self.is_done() {
            return Ok(());
        }
        let finish = if self.asks_nothing() {
            self.begin_text();
            Some(FinishReason::Length)
        } else if self.needs_no_step() {
            self.begin_text();
            let is_last = self.choice + 1 == self.request.choices;
            let mut kept = if is_last { std::mem::take(&mut self.prompt_logits) } else { self.prompt_logits.clone() };
            self.take_token(&mut kept)?
        } else {
            let drafted = computed.saturating_sub(self.progress.missing(usize::MAX).1.len());
            let done = self.progress.compute(computed - drafted);
            self.counts.prompt += done.prompt;
            self.counts.recomputed += done.again;
            if !self.progress.is_complete() {
                return Ok(());
            }
            if self.progress.generated() == 0 {
                self.begin_text();
                if self.request.choices > 1 && self.bound() > 0 {
                    self.prompt_logits.extend_from_slice(logits);
                }
            }
            if self.bound() == 0 { Some(FinishReason::Length) } else { self.take_tokens(drafted, logits)? }
        };
        self.show(finish, outputs);
        if finish.is_some() {
            self.next_answer();
        } else if let Some(drafts) = &mut self.drafts {
            // One is drawn in any case: as many drafts as there are tokens left would be one too many.
            let left = bound(&self.request, self.progress.prompt().len()) - self.progress.generated();
            drafts.guess(self.progress.tokens(), left.saturating_sub(1));
        }
        Ok(())
    }

    /// What comes before the first token of an answer.
    fn begin_text(&mut self) {
        if self.request.echo == Echo::Prompt {
            self.answer.echo(self.progress.prompt(), &self.descriptor.tokenizer);
        }
    }

    fn show(&mut self, finish: Option<FinishReason>, outputs: &mut Vec<Output>) {
        let span = match finish {
            Some(_) => self.answer.finish(),
            None => self.answer.ready(),
        };
        if finish.is_some() || !span.is_empty() {
            outputs.push(Output { choice: self.number(), span, finish });
        }
    }

    fn is_done(&self) -> bool {
        self.prompt == self.request.prompts.len()
    }

    /// Whether the prompt's logits, which an earlier choice left, serve for the next token, or nothing is asked.
    fn needs_no_step(&self) -> bool {
        self.progress.generated() == 0 && (self.choice > 0 || self.asks_nothing())
    }

    /// Nothing of a prompt is computed where nothing of it is asked: no token to draw, none to score, nothing to keep.
    fn asks_nothing(&self) -> bool {
        let wants_prompt = self.scores_prompt() || self.request.tokens_max == Tokens::PromptAlone;
        self.bound() == 0 && (self.choice > 0 || !wants_prompt)
    }

    /// Tokens that this answer may have.
    fn bound(&self) -> usize {
        bound(&self.request, self.progress.prompt().len())
    }

    /// Whether logits of the prompt's own tokens are still wanted.
    fn scores_prompt(&self) -> bool {
        let is_asked = self.request.echo == Echo::Prompt && self.request.logprobs.is_some();
        is_asked && self.progress.reached() < self.progress.prompt().len()
    }

    /// The answer's number among all of the request.
    fn number(&self) -> usize {
        self.prompt * self.request.choices + self.choice
    }

    fn next_answer(&mut self) {
        self.choice += 1;
        if self.choice < self.request.choices {
            self.progress.return_to_prompt();
        } else {
            (self.choice, self.prompt) = (0, self.prompt + 1);
            self.prompt_logits = Vec::new();
            let prompt = self.request.prompts.get_mut(self.prompt).map(std::mem::take);
            self.progress = Progress::of(prompt.unwrap_or_default());
        }
        if !self.is_done() {
            let number = self.number() as u64;
            self.sampler = Sampler::new(self.request.sampling.clone(), number, self.progress.prompt());
            self.matching = self.request.grammar.as_deref().map(Grammar::begin);
            self.answer.begin(self.choice);
        }
        if let Some(drafts) = &mut self.drafts {
            drafts.clear();
        }
    }
}

/// Tokens that an answer to a prompt of so many may have.
fn bound(request: &GenerationRequest, prompt_tokens: usize) -> usize {
    let left = request.context - prompt_tokens;
    match request.tokens_max {
        Tokens::AtMost(tokens) => tokens.min(left),
        Tokens::RestOfContext => left,
        Tokens::PromptAlone => 0,
    }
}
