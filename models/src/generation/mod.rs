//! One request's way from prompt ids to text: which tokens the next step computes, and what its logits become.
//!
//! A request has one or more prompts and `choices` answers for each. Prompts run one after another; the answers of one
//! prompt share its cache entries: the sequence returns to the prompt's end and goes on from the same logits.
//!
//! Invariants: [`Generation::input`] never asks for a position twice; text that might become a stop string is kept back;
//! text and log-probabilities reach the client together, cut at the same place.
//!
//! Deliberately absent: the cache itself (whoever runs steps owns it) and batching.

mod answer;
mod stop;

use std::sync::Arc;

use crate::Descriptor;
use crate::limits::PREFILL_CHUNK_TOKENS;
use crate::sampling::{NonFiniteLogits, Sampler, Sampling, TokenLogprobs};
use answer::Answer;
pub use answer::{ScoredToken, Span};

/// What a request wants.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// Token ids of each prompt; none is empty.
    pub prompts: Vec<Vec<u32>>,
    /// Answers for each prompt.
    pub choices: usize,
    /// Tokens of an answer at most.
    pub tokens_max: Tokens,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end an answer and are not shown.
    pub stop: Vec<String>,
    /// What a token that ends a text does.
    pub end: End,
    /// Whether the prompt is part of the answer.
    pub echo: Echo,
    /// The alternatives to show for each token; `None` shows no log-probabilities.
    pub logprobs: Option<usize>,
    /// Positions that a sequence may have.
    pub context: usize,
}

/// A bound on an answer's length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tokens {
    /// As many tokens.
    AtMost(usize),
    /// What is left of the context.
    RestOfContext,
}

/// What a token that ends a text does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It ends the answer.
    Honoured,
    /// It is a token like any other.
    Ignored,
}

/// Whether the prompt is part of the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Echo {
    /// It comes first.
    Prompt,
    /// Only what was generated.
    Nothing,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// It reached the bound of its length.
    Length,
}

/// Which logits a step must bring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// None: more of the prompt follows.
    Nothing,
    /// Those of the last token.
    Last,
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
    /// Tokens generated, an ending one included.
    pub completion: u64,
}

/// The state of one request.
#[derive(Debug)]
pub struct Generation {
    request: GenerationRequest,
    descriptor: Arc<Descriptor>,
    /// The prompt and the choice that are at work.
    prompt: usize,
    choice: usize,
    /// Tokens of the prompt that are in the cache.
    computed: usize,
    /// Tokens of this answer so far.
    generated: usize,
    /// The last of them, not yet in the cache.
    next: [u32; 1],
    /// Logits after the prompt, kept while further choices need them.
    prompt_logits: Vec<f32>,
    sampler: Sampler,
    answer: Answer,
    counts: TokenCounts,
    /// A prompt token's log-probability was no number.
    is_broken: bool,
}

impl Generation {
    /// The start of a request.
    ///
    /// # Panics
    /// When a prompt is empty or does not fit the context, or there is none: whoever accepts requests checks that.
    #[must_use]
    pub fn new(request: GenerationRequest, descriptor: Arc<Descriptor>) -> Self {
        assert!(!request.prompts.is_empty() && request.choices > 0, "a request has at least one answer");
        let fits = |prompt: &Vec<u32>| !prompt.is_empty() && prompt.len() <= request.context;
        assert!(request.prompts.iter().all(fits), "each prompt has a token and fits the context");
        let sampler = Sampler::new(request.sampling.clone(), 0, &request.prompts[0]);
        let mut generation = Self {
            answer: Answer::new(&request),
            sampler,
            request,
            descriptor,
            prompt: 0,
            choice: 0,
            computed: 0,
            generated: 0,
            next: [0],
            prompt_logits: Vec::new(),
            counts: TokenCounts::default(),
            is_broken: false,
        };
        generation.begin_answer();
        generation
    }

    /// Tokens counted so far; the prompt's as they are computed.
    #[must_use]
    pub fn counts(&self) -> TokenCounts {
        self.counts
    }

    /// Tokens of the prompt at work; 0 after the last.
    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.request.prompts.get(self.prompt).map_or(0, Vec::len)
    }

    /// What the next step computes.
    #[must_use]
    pub fn input(&self) -> Input<'_> {
        let Some(prompt) = self.request.prompts.get(self.prompt) else { return Input::Done };
        if self.computed < prompt.len() && (self.choice == 0) {
            let end = prompt.len().min(self.computed + PREFILL_CHUNK_TOKENS);
            let wanted = if self.scores_prompt() {
                Wanted::Each
            } else if end == prompt.len() && self.bound() > 0 {
                Wanted::Last
            } else {
                Wanted::Nothing
            };
            return Input::Run { position: self.computed, tokens: &prompt[self.computed..end], wanted };
        }
        if self.generated == 0 {
            return Input::Reuse;
        }
        Input::Run { position: prompt.len() + self.generated - 1, tokens: &self.next, wanted: Wanted::Last }
    }

    /// Takes the logits of one token of a [`Wanted::Each`] step, in order: `index` counts from the step's first token.
    pub fn score(&mut self, index: usize, logits: &[f32]) {
        let prompt = &self.request.prompts[self.prompt];
        if let (Some(&token), Some(top)) = (prompt.get(self.computed + index + 1), self.request.logprobs) {
            let scored = TokenLogprobs::of(logits, token, top);
            self.is_broken |= scored.token.logprob.is_nan();
            self.answer.score_prompt_token(scored);
        }
    }

    /// Takes a step's result: the logits of its last token (\[vocabulary\]; empty where none were wanted). They are
    /// changed on the way. Appends what can be shown to `outputs`.
    ///
    /// # Errors
    /// [`NonFiniteLogits`] when no token can be drawn from them.
    pub fn absorb(&mut self, logits: &mut Vec<f32>, outputs: &mut Vec<Output>) -> Result<(), NonFiniteLogits> {
        if self.is_broken {
            return Err(NonFiniteLogits);
        }
        let prompt_tokens = self.request.prompts[self.prompt].len();
        if self.computed < prompt_tokens {
            let computed = prompt_tokens.min(self.computed + PREFILL_CHUNK_TOKENS);
            self.counts.prompt += (computed - self.computed) as u64;
            self.computed = computed;
            if computed < prompt_tokens {
                return Ok(());
            }
            if self.request.choices > 1 && self.bound() > 0 {
                self.prompt_logits.clone_from(logits);
            }
        } else if self.generated == 0 {
            logits.clone_from(&self.prompt_logits);
        }
        if self.generated == 0 && self.request.echo == Echo::Prompt {
            self.answer.echo(&self.request.prompts[self.prompt], &self.descriptor.tokenizer);
        }
        let finish = if self.bound() == 0 { Some(FinishReason::Length) } else { self.take_token(logits)? };
        let span = match finish {
            Some(_) => self.answer.finish(),
            None => self.answer.ready(),
        };
        let choice = self.prompt * self.request.choices + self.choice;
        if finish.is_some() || !span.is_empty() {
            outputs.push(Output { choice, span, finish });
        }
        if finish.is_some() {
            self.next_answer();
        }
        Ok(())
    }

    fn take_token(&mut self, logits: &mut [f32]) -> Result<Option<FinishReason>, NonFiniteLogits> {
        // Alternatives are of the distribution before sampling changes it; the token is known after.
        let before = self.request.logprobs.map(|_| logits.to_vec());
        let id = self.sampler.sample(logits)?;
        let logprobs = self.request.logprobs.zip(before).map(|(top, before)| TokenLogprobs::of(&before, id, top));
        self.next = [id];
        self.generated += 1;
        self.counts.completion += 1;
        let tokenizer = &self.descriptor.tokenizer;
        if self.request.end == End::Honoured && tokenizer.is_end(id) {
            return Ok(Some(FinishReason::Stop));
        }
        let bytes = if tokenizer.is_control(id) { &[] } else { tokenizer.bytes(id) };
        if self.answer.push(id, bytes, logprobs) {
            return Ok(Some(FinishReason::Stop));
        }
        Ok((self.generated >= self.bound()).then_some(FinishReason::Length))
    }

    /// Tokens that this answer may have.
    fn bound(&self) -> usize {
        let left = self.request.context - self.request.prompts[self.prompt].len();
        match self.request.tokens_max {
            Tokens::AtMost(tokens) => tokens.min(left),
            Tokens::RestOfContext => left,
        }
    }

    fn scores_prompt(&self) -> bool {
        self.request.echo == Echo::Prompt && self.request.logprobs.is_some()
    }

    fn next_answer(&mut self) {
        self.choice += 1;
        if self.choice == self.request.choices {
            self.choice = 0;
            self.prompt += 1;
            self.computed = 0;
            self.prompt_logits = Vec::new();
        }
        if self.prompt < self.request.prompts.len() {
            self.begin_answer();
        }
    }

    fn begin_answer(&mut self) {
        self.generated = 0;
        let number = (self.prompt * self.request.choices + self.choice) as u64;
        self.sampler = Sampler::new(self.request.sampling.clone(), number, &self.request.prompts[self.prompt]);
        self.answer.begin(self.choice);
        // Nothing of a prompt is computed where nothing of it is asked: no token to draw, none to score.
        if self.bound() == 0 && !self.scores_prompt() && self.choice == 0 {
            let prompt = &self.request.prompts[self.prompt];
            self.computed = prompt.len();
        }
    }
}
