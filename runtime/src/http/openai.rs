//! Answers in OpenAI's words: what `/v1/chat/completions` and `/v1/completions` send.
//!
//! A stream is events with one chunk each, and `[DONE]`; what fails after the first is an event with an error, and the
//! last.

use meter::Receipt;
use models::Descriptor;
use models::generation::Output;
use models::tokenizer::Tokenizer;
use serde_json::Value;

use super::error::ApiError;
use super::reading::Reading;
use super::stream::{Dialect, push_event};
use super::wire::answer::{AnswerWriter, Choice, ChoiceReader, Usage};
use super::wire::{Common, Delivery, IncludeUsage};

/// One request's answers.
pub(super) struct OpenAi {
    writer: AnswerWriter,
    include_usage: IncludeUsage,
    /// Of each answer, whether anything of it was told.
    begun: Vec<bool>,
    /// How the text of a chat's answers is read; none where it is only text.
    reading: Option<Reading>,
    /// Of each answer, how far its text is read, where it may be more than text.
    readers: Vec<Option<ChoiceReader>>,
}

impl OpenAi {
    /// So many `answers` to `request`.
    pub(super) fn new(writer: AnswerWriter, request: &Common, answers: usize) -> Self {
        let include_usage = match request.delivery {
            Delivery::Whole => IncludeUsage::No,
            Delivery::Streamed { include_usage, .. } => include_usage,
        };
        Self { writer, include_usage, begun: vec![false; answers], reading: None, readers: vec![None; answers] }
    }

    /// The same, whose text may be thoughts and calls.
    pub(super) fn read_by(self, reading: Reading) -> Self {
        Self { reading: Some(reading), ..self }
    }
}

impl Dialect for OpenAi {
    fn answers(&self) -> usize {
        self.begun.len()
    }

    fn prepare(&mut self, descriptor: &Descriptor) -> Result<(), ApiError> {
        let Some(reading) = &self.reading else { return Ok(()) };
        let reader = reading.reader(descriptor)?;
        if !reader.is_plain() {
            self.writer.read_by(reader);
            self.readers.fill(self.writer.reader());
        }
        Ok(())
    }

    fn begin(&mut self, prompt_tokens: u64) -> String {
        self.writer.count_prompt(prompt_tokens);
        String::new()
    }

    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String {
        let mut text = String::new();
        if let Some(begun) = self.begun.get_mut(output.choice)
            && !std::mem::replace(begun, true)
            && let Some(first) = self.writer.first_chunk(output.choice)
        {
            push_event(&mut text, &first);
        }
        self.writer.count_piece(output);
        match self.readers.get_mut(output.choice).and_then(Option::as_mut) {
            // What may mean this or that is shown with what follows.
            Some(reader) => {
                let chunks = self.writer.read_chunks(output, reader, tokenizer);
                chunks.iter().for_each(|chunk| push_event(&mut text, chunk));
            }
            None => push_event(&mut text, &self.writer.chunk(output, tokenizer)),
        }
        text
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut text = String::new();
        if self.include_usage != IncludeUsage::No {
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
