//! What a request asks of a generation.

use std::sync::Arc;

use crate::grammar::Grammar;
use crate::sampling::Sampling;

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
    /// What each answer has to keep to, where it has to. Of a request that has one, tokens that end a text must be
    /// [`End::Honoured`].
    pub grammar: Option<Arc<Grammar>>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// What a token that ends a text does.
    pub end: End,
    /// What else ends an answer, and from when on. Of a request with a grammar nothing keeps an answer from ending.
    pub ending: Ending,
    /// Whether the text has the names of control tokens.
    pub control_tokens: Shown,
    /// Whether the prompt is part of the answer.
    pub echo: Echo,
    /// The alternatives to show for each token; `None` shows no log-probabilities.
    pub logprobs: Option<usize>,
    /// Positions that a sequence may have.
    pub context: usize,
}

impl GenerationRequest {
    /// One answer to each of `prompts`, drawn from what the model says, until a token that ends a text, `tokens_max` or the
    /// end of `context`; nothing else is asked for.
    #[must_use]
    pub fn plain(prompts: Vec<Vec<u32>>, tokens_max: Tokens, context: usize) -> Self {
        Self {
            prompts,
            choices: 1,
            tokens_max,
            sampling: Sampling::default(),
            grammar: None,
            stop: Vec::new(),
            end: End::Honoured,
            ending: Ending::default(),
            control_tokens: Shown::No,
            echo: Echo::Nothing,
            logprobs: None,
            context,
        }
    }
}

/// A bound on an answer's length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tokens {
    /// As many tokens.
    AtMost(usize),
    /// What is left of the context.
    RestOfContext,
    /// No answer: the prompt is computed for its keys and values alone.
    PromptAlone,
}

/// What a token that ends a text does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It ends the answer.
    Honoured,
    /// It is a token like any other.
    Ignored,
}

/// What ends an answer beside the texts and tokens that end it in any case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ending {
    /// Tokens that do, by their ids, which are in order.
    pub tokens: Vec<u32>,
    /// Tokens that an answer has before anything but its bound ends it.
    pub tokens_min: usize,
    /// Whether what ends it is shown: a stop string, or the text of a token.
    pub shown: Shown,
}

/// Whether what is otherwise left out of a text is a part of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Shown {
    /// It is left out.
    #[default]
    No,
    /// It is there.
    Yes,
}

/// Whether the prompt is part of the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Echo {
    /// It comes first.
    Prompt,
    /// Only what was generated.
    Nothing,
}
