//! Answers as bodies and events, in OpenAI's shapes.
//!
//! Invariants: every chunk of a stream carries the same head; where a stream ends with its usage, every chunk before
//! says `"usage": null`. The receipt, `dayfly`, stands wherever the usage does.
//!
//! Deliberately absent: the framing of events, and `[DONE]`.

mod chat;
mod collected;
mod completion;

use std::time::{SystemTime, UNIX_EPOCH};

use models::generation::{FinishReason, Output, Span};
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};
use uuid::Uuid;

use super::IncludeUsage;
pub(crate) use collected::{Collected, Whole};

/// What every part of an answer repeats.
#[derive(Clone, Debug)]
pub(crate) struct AnswerHead {
    /// `chatcmpl-…` or `cmpl-…`; the receipt is found by it.
    pub(crate) id: String,
    /// When the request came, in seconds since 1970.
    pub(crate) created_unix_s: u64,
    /// The model as the request names it.
    pub(crate) model: String,
}

/// How one request's answer is written.
#[derive(Clone, Debug)]
pub(crate) struct AnswerFormat {
    head: AnswerHead,
    shape: Shape,
    choices: usize,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Chat,
    Completion,
}

/// Token counts of an answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Usage {
    /// Tokens of all prompts, those found in a cache included.
    pub(crate) prompt: u64,
    /// Those of them that were found in a cache.
    pub(crate) cached: u64,
    /// Tokens generated.
    pub(crate) completion: u64,
}

impl AnswerHead {
    /// The head of a chat's answer to a request that comes now.
    pub(crate) fn chat(model: String) -> Self {
        Self::new("chatcmpl", model)
    }

    /// The head of a completion's answer to a request that comes now.
    pub(crate) fn completion(model: String) -> Self {
        Self::new("cmpl", model)
    }

    fn new(prefix: &str, model: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { id: format!("{prefix}-{}", Uuid::now_v7().simple()), created_unix_s: since.as_secs(), model }
    }
}

impl Usage {
    fn fields(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt.saturating_add(self.completion),
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }
}

impl AnswerFormat {
    /// A chat's answer, of so many choices.
    pub(crate) fn chat(head: AnswerHead, choices: usize) -> Self {
        Self { head, shape: Shape::Chat, choices }
    }

    /// A completion's answer, of so many choices: prompts × choices of each.
    pub(crate) fn completion(head: AnswerHead, choices: usize) -> Self {
        Self { head, shape: Shape::Completion, choices }
    }

    /// How many choices it has.
    pub(crate) fn choices(&self) -> usize {
        self.choices
    }

    /// The event that a choice begins with: the assistant's role. A completion begins with its text.
    pub(crate) fn first(&self, choice: usize, include_usage: IncludeUsage) -> Option<Value> {
        match self.shape {
            Shape::Chat => Some(self.event(chat::opening(choice), include_usage)),
            Shape::Completion => None,
        }
    }

    /// The events of a piece: what there is to show, then the choice's end, as OpenAI has them apart.
    pub(crate) fn chunks(&self, output: &Output, tokenizer: &Tokenizer, include_usage: IncludeUsage) -> Vec<Value> {
        let choice = |span: &Span, finish: Option<FinishReason>| match self.shape {
            Shape::Chat => chat::piece(output.choice, span, finish, tokenizer),
            Shape::Completion => completion::choice(output.choice, span, finish, tokenizer),
        };
        let mut events = Vec::with_capacity(2);
        if !output.span.is_empty() {
            events.push(self.event(choice(&output.span, None), include_usage));
        }
        if output.finish.is_some() {
            events.push(self.event(choice(&Span::default(), output.finish), include_usage));
        }
        events
    }

    /// The event that a stream with usage ends with: usage and receipt, and no choice.
    pub(crate) fn usage(&self, usage: Usage, receipt: &Value) -> Value {
        let mut event = self.part(self.streamed_object(), Vec::new());
        settle(&mut event, usage, receipt);
        event
    }

    /// The answer in one piece.
    pub(crate) fn whole(&self, collected: Collected, tokenizer: &Tokenizer, usage: Usage, receipt: &Value) -> Value {
        let wholes = collected.finish().into_iter().enumerate();
        let (object, choices) = match self.shape {
            Shape::Chat => {
                ("chat.completion", wholes.map(|(index, whole)| chat::whole(index, whole, tokenizer)).collect())
            }
            Shape::Completion => {
                let choice = |(index, Whole { span, finish })| completion::choice(index, &span, finish, tokenizer);
                ("text_completion", wholes.map(choice).collect())
            }
        };
        let mut answer = self.part(object, choices);
        settle(&mut answer, usage, receipt);
        answer
    }

    fn event(&self, choice: Value, include_usage: IncludeUsage) -> Value {
        let mut event = self.part(self.streamed_object(), vec![choice]);
        if include_usage == IncludeUsage::Yes {
            event["usage"] = Value::Null;
        }
        event
    }

    fn streamed_object(&self) -> &'static str {
        match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Completion => "text_completion",
        }
    }

    fn part(&self, object: &'static str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.head.id,
            "object": object,
            "created": self.head.created_unix_s,
            "model": self.head.model,
            "system_fingerprint": null,
            "choices": choices,
        })
    }
}

fn settle(part: &mut Value, usage: Usage, receipt: &Value) {
    part["usage"] = usage.fields();
    part["dayfly"] = receipt.clone();
}

fn finish_name(finish: Option<FinishReason>) -> Option<&'static str> {
    finish.map(|finish| match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    })
}

/// A log-probability as JSON can say it: what has no chance at all gets the number that OpenAI gives it.
fn sayable(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

#[cfg(test)]
mod tests;
