//! The choices of a chat's answer.

use models::generation::{Output, ScoredToken};
use models::sampling::Logprob;
use models::tokenizer::Tokenizer;
use serde::Serialize;

use super::{Choice, Scores, finish_name, sayable};

#[derive(Serialize)]
pub(super) struct StreamedChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct WholeChoice<'a> {
    index: usize,
    message: Message<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    /// Always `null`.
    refusal: (),
}

#[derive(Serialize)]
struct Logprobs<'a> {
    content: Vec<Scored<'a>>,
    /// Always `null`.
    refusal: (),
}

#[derive(Serialize)]
struct Scored<'a> {
    #[serde(flatten)]
    token: Alternative<'a>,
    top_logprobs: Vec<Alternative<'a>>,
}

#[derive(Serialize)]
struct Alternative<'a> {
    token: String,
    logprob: f32,
    bytes: &'a [u8],
}

/// The choice of a stream's first event.
pub(super) fn opening(choice: usize) -> StreamedChoice<'static> {
    let delta = Delta { role: Some("assistant"), content: Some("") };
    StreamedChoice { index: choice, delta, logprobs: None, finish_reason: None }
}

/// A piece of an answer.
pub(super) fn piece<'a>(output: &'a Output, scores: Scores, tokenizer: &'a Tokenizer) -> StreamedChoice<'a> {
    let text = output.span.text.as_str();
    StreamedChoice {
        index: output.choice,
        delta: Delta { role: None, content: Some(text).filter(|text| !text.is_empty()) },
        logprobs: logprobs(&output.span.tokens, scores, tokenizer).filter(|logprobs| !logprobs.content.is_empty()),
        finish_reason: output.finish.map(finish_name),
    }
}

/// Whole answers.
pub(super) fn whole<'a>(choices: &'a [Choice], scores: Scores, tokenizer: &'a Tokenizer) -> Vec<WholeChoice<'a>> {
    let whole = |(index, choice): (usize, &'a Choice)| WholeChoice {
        index,
        message: Message { role: "assistant", content: &choice.span.text, refusal: () },
        logprobs: logprobs(&choice.span.tokens, scores, tokenizer),
        finish_reason: choice.finish.map(finish_name),
    };
    choices.iter().enumerate().map(whole).collect()
}

fn logprobs<'a>(tokens: &[ScoredToken], scores: Scores, tokenizer: &'a Tokenizer) -> Option<Logprobs<'a>> {
    if scores == Scores::Hidden {
        return None;
    }
    let alternative = |token: &Logprob| Alternative {
        token: tokenizer.text(token.id),
        logprob: sayable(token.logprob),
        bytes: tokenizer.bytes(token.id),
    };
    // Every token of a chat's answer is scored: only an echoed prompt's first is not.
    let content = tokens.iter().filter_map(|token| token.logprobs.as_ref()).map(|logprobs| Scored {
        token: alternative(&logprobs.token),
        top_logprobs: logprobs.top.iter().map(alternative).collect(),
    });
    Some(Logprobs { content: content.collect(), refusal: () })
}
