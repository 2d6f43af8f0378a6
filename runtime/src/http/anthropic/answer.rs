//! The answer: one message with one block of text, or the events that make it.

use meter::Receipt;
use models::generation::{FinishReason, Output};
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::http::error::ApiError;
use crate::http::error::envelope::Envelope;
use crate::http::stream::{Dialect, push_named_event};
use crate::http::wire::Common;
use crate::http::wire::answer::Choice;

/// The answer to one request.
pub(super) struct AnthropicAnswer {
    id: String,
    /// As the request names it.
    model: String,
    /// Texts that end it.
    stops: Vec<String>,
    finish: Option<FinishReason>,
}

impl AnthropicAnswer {
    pub(super) fn new(id: String, request: &Common) -> Self {
        Self { id, model: request.model.clone(), stops: request.stop.clone(), finish: None }
    }

    /// A message that holds `content` and has come to no end.
    fn message(&self, content: &Value, usage: &Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        })
    }

    /// Why it ended, and by which text.
    fn stop(&self, finish: Option<FinishReason>) -> (&'static str, Option<&str>) {
        match finish {
            Some(FinishReason::Length) => ("max_tokens", None),
            Some(FinishReason::StopString(which)) => ("stop_sequence", self.stops.get(which).map(String::as_str)),
            Some(FinishReason::Stop) | None => ("end_turn", None),
        }
    }
}

impl Dialect for AnthropicAnswer {
    fn answers(&self) -> usize {
        1
    }

    fn begin(&mut self, prompt_tokens: u64) -> String {
        let usage = json!({
            "input_tokens": prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        });
        let mut text = String::new();
        push(&mut text, &json!({ "type": "message_start", "message": self.message(&json!([]), &usage) }));
        let block = json!({ "type": "text", "text": "" });
        push(&mut text, &json!({ "type": "content_block_start", "index": 0, "content_block": block }));
        push(&mut text, &json!({ "type": "ping" }));
        text
    }

    fn piece(&mut self, output: &Output, _tokenizer: &Tokenizer) -> String {
        self.finish = output.finish.or(self.finish);
        let mut text = String::new();
        if !output.span.text.is_empty() {
            let delta = json!({ "type": "text_delta", "text": output.span.text });
            push(&mut text, &json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
        }
        text
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let (reason, sequence) = self.stop(self.finish);
        let mut text = String::new();
        push(&mut text, &json!({ "type": "content_block_stop", "index": 0 }));
        push(
            &mut text,
            &json!({
                "type": "message_delta",
                "delta": { "stop_reason": reason, "stop_sequence": sequence },
                "usage": usage(receipt),
                "dayfly": receipt,
            }),
        );
        push(&mut text, &json!({ "type": "message_stop" }));
        text
    }

    fn failed(&mut self, error: &ApiError) -> String {
        let mut text = String::new();
        push(&mut text, &error.told(Envelope::Anthropic));
        text
    }

    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, _tokenizer: &Tokenizer) -> String {
        let Choice { span, finish } = &choices[0];
        let mut told = self.message(&json!([{ "type": "text", "text": span.text }]), &usage(receipt));
        let (reason, sequence) = self.stop(*finish);
        told["stop_reason"] = json!(reason);
        told["stop_sequence"] = json!(sequence);
        told["dayfly"] = json!(receipt);
        told.to_string()
    }
}

/// Adds an event, which is called by its `type`.
fn push(text: &mut String, event: &Value) {
    push_named_event(text, event["type"].as_str().unwrap_or_default(), &event.to_string());
}

/// Tokens; those that were found computed are not among `input_tokens`.
fn usage(receipt: &Receipt) -> Value {
    let tokens = &receipt.tokens;
    json!({
        "input_tokens": tokens.prompt - tokens.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.completion,
    })
}
