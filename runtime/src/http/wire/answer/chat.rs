//! The choices of a chat's answer.

use std::borrow::Cow;

use models::generation::{Output, ScoredToken};
use models::reading::Call;
use models::sampling::Logprob;
use models::tokenizer::Tokenizer;
use serde::Serialize;

use super::reader::{Part, Parts, Shown, ShownCall};
use super::{Choice, Scores, finish_name, sayable, token_name};

#[derive(Serialize)]
pub(super) struct StreamedChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta; 1]>,
}

/// A call that is streamed: all of it at once.
#[derive(Serialize)]
struct CallDelta {
    index: usize,
    #[serde(flatten)]
    call: CallShape,
}

/// A call in OpenAI's shape.
#[derive(Serialize)]
struct CallShape {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Serialize)]
struct Function {
    name: String,
    arguments: String,
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
    /// `null` where the answer is nothing but calls.
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallShape>,
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
    let delta = Delta { role: Some("assistant"), content: Some(Cow::Borrowed("")), ..Delta::default() };
    StreamedChoice { index: choice, delta, logprobs: None, finish_reason: None }
}

/// A piece of an answer.
pub(super) fn piece<'a>(output: &'a Output, scores: Scores, tokenizer: &'a Tokenizer) -> StreamedChoice<'a> {
    let text = output.span.text.as_str();
    StreamedChoice {
        index: output.choice,
        delta: Delta { content: Some(Cow::Borrowed(text)).filter(|text| !text.is_empty()), ..Delta::default() },
        logprobs: logprobs(&output.span.tokens, scores, tokenizer).filter(|logprobs| !logprobs.content.is_empty()),
        finish_reason: output.finish.map(finish_name),
    }
}

/// A piece of an answer in its parts. The tokens are those of the whole piece, and come with the first of them.
pub(super) fn parts<'a>(
    output: &'a Output,
    shown: Vec<Shown>,
    scores: Scores,
    tokenizer: &'a Tokenizer,
) -> Vec<StreamedChoice<'a>> {
    let mut logprobs = logprobs(&output.span.tokens, scores, tokenizer).filter(|logprobs| !logprobs.content.is_empty());
    let shown = if shown.is_empty() && logprobs.is_some() { vec![Shown::default()] } else { shown };
    let part = |Shown { part, finish }| StreamedChoice {
        index: output.choice,
        delta: part.map(delta).unwrap_or_default(),
        logprobs: logprobs.take(),
        finish_reason: finish,
    };
    shown.into_iter().map(part).collect()
}

fn delta(part: Part) -> Delta<'static> {
    match part {
        Part::Thought(text) => Delta { reasoning_content: Some(text), ..Delta::default() },
        Part::Text(text) => Delta { content: Some(Cow::Owned(text)), ..Delta::default() },
        Part::Call(call) => {
            let index = call.index;
            Delta { tool_calls: Some([CallDelta { index, call: CallShape::of(&call) }]), ..Delta::default() }
        }
    }
}

impl CallShape {
    fn of(ShownCall { id, call: Call { name, arguments }, .. }: &ShownCall) -> Self {
        let function = Function { name: name.clone(), arguments: arguments.clone() };
        Self { id: id.clone(), kind: "function", function }
    }
}

/// Whole answers, and each in its parts.
pub(super) fn whole<'a>(
    choices: &'a [Choice],
    parts: &'a [Parts],
    scores: Scores,
    tokenizer: &'a Tokenizer,
) -> Vec<WholeChoice<'a>> {
    let whole = |(index, (choice, parts)): (usize, (&'a Choice, &'a Parts))| WholeChoice {
        index,
        message: Message {
            role: "assistant",
            content: Some(parts.text.as_str()).filter(|text| parts.calls.is_empty() || !text.is_empty()),
            reasoning_content: &parts.thought,
            tool_calls: parts.calls.iter().map(CallShape::of).collect(),
            refusal: (),
        },
        logprobs: logprobs(&choice.span.tokens, scores, tokenizer),
        finish_reason: parts.finish,
    };
    choices.iter().zip(parts).enumerate().map(whole).collect()
}

fn logprobs<'a>(tokens: &[ScoredToken], scores: Scores, tokenizer: &'a Tokenizer) -> Option<Logprobs<'a>> {
    let Scores::Shown(names) = scores else { return None };
    let alternative = |token: &Logprob| Alternative {
        token: token_name(token.id, names, || tokenizer.text(token.id)),
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
