//! Answers in OpenAI's words: what `/v1/chat/completions` and `/v1/completions` send.
//!
//! A stream is events with one chunk each, and `[DONE]`; what fails after the first is an event with an error, and the
//! last.

use meter::Receipt;
use models::generation::Output;
use models::tokenizer::Tokenizer;
use serde_json::Value;

use super::error::ApiError;
use super::stream::{Dialect, push_event};
use super::wire::answer::{AnswerWriter, Choice, Usage};
use super::wire::{Common, Delivery, IncludeUsage};

/// One request's answers.
pub(super) struct OpenAi {
    writer: AnswerWriter,
    include_usage: IncludeUsage,
    /// Of each answer, whether anything of it was told.
    begun: Vec<bool>,
}

impl OpenAi {
    /// So many `answers` to `request`.
    pub(super) fn new(writer: AnswerWriter, request: &Common, answers: usize) -> Self {
        let include_usage = match request.delivery {
            Delivery::Whole => IncludeUsage::No,
            Delivery::Streamed { include_usage, .. } => include_usage,
        };
        Self { writer, include_usage, begun: vec![false; answers] }
    }
}

impl Dialect for OpenAi {
    fn answers(&self) -> usize {
        self.begun.len()
    }

    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String {
        let mut text = String::new();
        if let Some(begun) = self.begun.get_mut(output.choice)
            && !std::mem::replace(begun, true)
            && let Some(first) = self.writer.first_chunk(output.choice)
        {
            push_event(&mut text, &first);
        }
        push_event(&mut text, &self.writer.chunk(output, tokenizer));
        text
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut text = String::new();
        if self.include_usage == IncludeUsage::Yes {
            push_event(&mut text, &self.writer.usage_chunk(usage(receipt), &value(receipt)));
        }
        text.push_str("data: [DONE]\n\n");
        text
    }

    fn failed(&mut self, error: &ApiError) -> String {
        let mut text = String::new();
        push_event(&mut text, &error.envelope().to_string());
        text
    }

    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, tokenizer: &Tokenizer) -> String {
        self.writer.whole(choices, (usage(receipt), &value(receipt)), tokenizer)
    }
}

fn usage(receipt: &Receipt) -> Usage {
    let tokens = &receipt.tokens;
    Usage {
        prompt: tokens.prompt,
        cached: tokens.cached,
        completion: tokens.completion,
        drafted: tokens.drafted,
        accepted_draft: tokens.accepted_draft,
    }
}

fn value(receipt: &Receipt) -> Value {
    serde_json::to_value(receipt).unwrap_or(Value::Null)
}
