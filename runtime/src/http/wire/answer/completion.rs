//! The choices of a completion's answer.

use std::fmt::Write as _;

use models::generation::{FinishReason, Output, ScoredToken, Span};
use models::sampling::TokenLogprobs;
use models::tokenizer::Tokenizer;
use serde::ser::{Serialize, Serializer};

use super::{Choice, Scores, TokenNames, finish_name, sayable, token_name};

#[derive(serde::Serialize)]
pub(super) struct TextChoice<'a> {
    text: &'a str,
    index: usize,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

/// Parallel lists with an entry for each token.
#[derive(serde::Serialize)]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<Top>>,
    text_offset: Vec<usize>,
}

/// Log-probabilities by the tokens' texts, likeliest first.
struct Top(Vec<(String, f32)>);

impl Serialize for Top {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(text, logprob)| (text, logprob)))
    }
}

impl Top {
    /// The alternatives, and the token itself where it is none of them: clients look it up there.
    fn of(logprobs: &TokenLogprobs, (names, tokenizer): (TokenNames, &Tokenizer)) -> Self {
        let mut top: Vec<(String, f32)> = Vec::with_capacity(logprobs.top.len() + 1);
        for token in logprobs.top.iter().chain([&logprobs.token]) {
            let text = token_name(token.id, names, || token_text(token.id, tokenizer));
            if top.iter().all(|(other, _)| *other != text) {
                top.push((text, sayable(token.logprob)));
            }
        }
        Self(top)
    }
}

/// A piece of an answer.
pub(super) fn piece<'a>(output: &'a Output, scores: Scores, tokenizer: &Tokenizer) -> TextChoice<'a> {
    let choice = choice(output.choice, (&output.span, output.finish), scores, tokenizer);
    TextChoice { logprobs: choice.logprobs.filter(|logprobs| !logprobs.tokens.is_empty()), ..choice }
}

/// Whole answers.
pub(super) fn whole<'a>(choices: &'a [Choice], scores: Scores, tokenizer: &Tokenizer) -> Vec<TextChoice<'a>> {
    let whole = |(index, whole): (usize, &'a Choice)| choice(index, (&whole.span, whole.finish), scores, tokenizer);
    choices.iter().enumerate().map(whole).collect()
}

fn choice<'a>(
    index: usize,
    (span, finish): (&'a Span, Option<FinishReason>),
    scores: Scores,
    tokenizer: &Tokenizer,
) -> TextChoice<'a> {
    let logprobs = match scores {
        Scores::Shown(names) => Some(logprobs(&span.tokens, (names, tokenizer))),
        Scores::Hidden => None,
    };
    TextChoice { text: &span.text, index, logprobs, finish_reason: finish.map(finish_name) }
}

fn logprobs(tokens: &[ScoredToken], (names, tokenizer): (TokenNames, &Tokenizer)) -> Logprobs {
    let scored = |token: &ScoredToken| token.logprobs.as_ref().map(|logprobs| sayable(logprobs.token.logprob));
    let top = |token: &ScoredToken| token.logprobs.as_ref().map(|logprobs| Top::of(logprobs, (names, tokenizer)));
    let name = |token: &ScoredToken| token_name(token.id, names, || token_text(token.id, tokenizer));
    Logprobs {
        tokens: tokens.iter().map(name).collect(),
        token_logprobs: tokens.iter().map(scored).collect(),
        top_logprobs: tokens.iter().map(top).collect(),
        text_offset: tokens.iter().map(|token| token.offset_chars).collect(),
    }
}

/// A token's text, or its bytes as OpenAI spells them where they are no text: a name that no other token has.
fn token_text(id: u32, tokenizer: &Tokenizer) -> String {
    let bytes = tokenizer.bytes(id);
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    bytes.iter().fold("bytes:".to_owned(), |mut text, byte| {
        write!(text, "\\x{byte:02x}").expect("a string takes all that is written");
        text
    })
}
