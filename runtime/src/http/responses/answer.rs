//! The answer: a response with one message of one text, or the events that make it.

use std::time::{SystemTime, UNIX_EPOCH};

use meter::Receipt;
use models::generation::{FinishReason, Output, Span};
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::request::Told;
use crate::http::error::ApiError;
use crate::http::scores::{Ids, scores};
use crate::http::stream::{Dialect, push_named_event};
use crate::http::wire::Common;
use crate::http::wire::answer::Choice;

/// The answer to one request.
pub(super) struct ResponseAnswer {
    id: String,
    created_unix_s: u64,
    common: Common,
    told: Told,
    /// What was streamed.
    text: String,
    scores: Vec<Value>,
    finish: Option<FinishReason>,
    /// Events so far.
    sequence: u64,
}

/// How far a response is.
#[derive(Clone, Copy)]
enum Status<'a> {
    InProgress,
    Ended { finish: Option<FinishReason>, receipt: &'a Receipt },
    Failed(&'a ApiError),
}

impl Status<'_> {
    /// As a response, or a message of it, has it.
    fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Ended { finish: Some(FinishReason::Length), .. } => "incomplete",
            Self::Ended { .. } => "completed",
            Self::Failed(_) => "failed",
        }
    }
}

impl ResponseAnswer {
    pub(super) fn new(id: String, request: &Common, told: Told) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id,
            created_unix_s: since.as_secs(),
            common: request.clone(),
            told,
            text: String::new(),
            scores: Vec::new(),
            finish: None,
            sequence: 0,
        }
    }

    /// The response with this `output`.
    fn response(&self, status: Status<'_>, output: &Value) -> Value {
        let Told { instructions, metadata, user } = &self.told;
        let mut response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_unix_s,
            "status": status.name(),
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": instructions,
            "max_output_tokens": self.common.tokens_max,
            "model": self.common.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": { "effort": null, "summary": null },
            "service_tier": self.common.urgency.tier.map_or("default", |tier| tier.name()),
            "store": false,
            "temperature": self.common.sampling.temperature,
            "text": { "format": { "type": "text" } },
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": self.common.logprobs.unwrap_or(0),
            "top_p": self.common.sampling.top_p,
            "truncation": "disabled",
            "usage": null,
            "user": user,
            "metadata": metadata,
        });
        match status {
            Status::InProgress => {}
            Status::Ended { finish, receipt } => {
                if finish == Some(FinishReason::Length) {
                    response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
                }
                response["usage"] = usage(receipt);
                response["dayfly"] = json!(receipt);
            }
            Status::Failed(error) => {
                let told = &error.envelope()["error"];
                response["error"] = json!({ "code": told["code"], "message": told["message"] });
            }
        }
        response
    }

    /// The one message, with this `content`.
    fn message(&self, status: Status<'_>, content: &Value) -> Value {
        json!({
            "id": self.message_id(),
            "type": "message",
            "status": status.name(),
            "role": "assistant",
            "content": content,
        })
    }

    fn message_id(&self) -> String {
        format!("msg_{}", self.id.trim_start_matches("resp_"))
    }

    /// Adds an event, with its number and what it is about.
    fn push(&mut self, text: &mut String, kind: &str, mut event: Value) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        push_named_event(text, kind, &event.to_string());
    }

    /// An event about the message's text, beside what `of_it` says.
    fn about_text(&self, mut of_it: Value) -> Value {
        of_it["item_id"] = json!(self.message_id());
        of_it["output_index"] = json!(0);
        of_it["content_index"] = json!(0);
        of_it
    }
}

impl Dialect for ResponseAnswer {
    fn answers(&self) -> usize {
        1
    }

    fn begin(&mut self, _prompt_tokens: u64) -> String {
        let mut text = String::new();
        let response = self.response(Status::InProgress, &json!([]));
        self.push(&mut text, "response.created", json!({ "response": response }));
        self.push(&mut text, "response.in_progress", json!({ "response": response }));
        let item = self.message(Status::InProgress, &json!([]));
        self.push(&mut text, "response.output_item.added", json!({ "output_index": 0, "item": item }));
        let part = self.about_text(json!({ "part": text_part("", &[]) }));
        self.push(&mut text, "response.content_part.added", part);
        text
    }

    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String {
        let mut text = String::new();
        self.finish = output.finish.or(self.finish);
        let Span { text: piece, tokens } = &output.span;
        if output.span.is_empty() {
            return text;
        }
        let scores = scores(tokens, tokenizer, Ids::Untold);
        let delta = self.about_text(json!({ "delta": piece, "logprobs": scores }));
        self.push(&mut text, "response.output_text.delta", delta);
        self.text.push_str(piece);
        self.scores.extend(scores);
        text
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut text = String::new();
        let status = Status::Ended { finish: self.finish, receipt };
        let (answer, scores) = (std::mem::take(&mut self.text), std::mem::take(&mut self.scores));
        let done = self.about_text(json!({ "text": answer, "logprobs": scores }));
        self.push(&mut text, "response.output_text.done", done);
        let part = text_part(&answer, &scores);
        let done = self.about_text(json!({ "part": part }));
        self.push(&mut text, "response.content_part.done", done);
        let item = self.message(status, &json!([part]));
        self.push(&mut text, "response.output_item.done", json!({ "output_index": 0, "item": item }));
        let response = self.response(status, &json!([item]));
        let kind = format!("response.{}", status.name());
        self.push(&mut text, &kind, json!({ "response": response }));
        text
    }

    fn failed(&mut self, error: &ApiError) -> String {
        let mut text = String::new();
        let response = self.response(Status::Failed(error), &json!([]));
        self.push(&mut text, "response.failed", json!({ "response": response }));
        text
    }

    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, tokenizer: &Tokenizer) -> String {
        let Choice { span, finish } = &choices[0];
        let status = Status::Ended { finish: *finish, receipt };
        let part = text_part(&span.text, &scores(&span.tokens, tokenizer, Ids::Untold));
        self.response(status, &json!([self.message(status, &json!([part]))])).to_string()
    }
}

fn text_part(text: &str, scores: &[Value]) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": scores })
}

fn usage(receipt: &Receipt) -> Value {
    let tokens = &receipt.tokens;
    json!({
        "input_tokens": tokens.prompt,
        "input_tokens_details": { "cached_tokens": tokens.cached, "cache_write_tokens": 0 },
        "output_tokens": tokens.completion,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": tokens.total,
    })
}
