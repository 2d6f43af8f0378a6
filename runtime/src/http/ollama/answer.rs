//! What `generate`, `chat` and the embeddings answer.

use std::time::SystemTime;

use meter::Receipt;
use models::generation::{FinishReason, Output, Span};
use models::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::{Value, json};

use super::time_text;
use crate::http::error::ApiError;
use crate::http::error::envelope::Envelope;
use crate::http::scores::{Ids, scores};
use crate::http::stream::Dialect;
use crate::http::wire::Common;
use crate::http::wire::answer::Choice;

/// Where an answer's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// In `response`.
    Generate,
    /// In `message`.
    Chat,
}

/// The answer to one request.
pub(super) struct OllamaAnswer {
    shape: Shape,
    /// As the request names it.
    model: String,
    finish: Option<FinishReason>,
}

impl OllamaAnswer {
    pub(super) fn new(shape: Shape, request: &Common) -> Self {
        Self { shape, model: request.model.clone(), finish: None }
    }

    /// What there is to say of a model that was loaded or unloaded.
    pub(super) fn without_answer(&mut self, reason: &str) -> Value {
        let mut told = self.line(&Span::default(), None);
        told["done"] = json!(true);
        told["done_reason"] = json!(reason);
        told
    }

    /// A line that is not the last. Scores are told where a tokenizer is given, and only where they were asked for.
    fn line(&self, span: &Span, tokenizer: Option<&Tokenizer>) -> Value {
        let mut told = json!({ "model": self.model, "created_at": time_text(SystemTime::now()), "done": false });
        match self.shape {
            Shape::Generate => told["response"] = json!(span.text),
            Shape::Chat => told["message"] = json!({ "role": "assistant", "content": span.text }),
        }
        if let Some(tokenizer) = tokenizer.filter(|_| !span.tokens.is_empty()) {
            told["logprobs"] = json!(scores(&span.tokens, tokenizer, Ids::Untold));
        }
        told
    }

    fn settle(told: &mut Value, finish: Option<FinishReason>, receipt: &Receipt) {
        told["done"] = json!(true);
        told["done_reason"] = json!(match finish {
            Some(FinishReason::Length) => "length",
            Some(FinishReason::Stop | FinishReason::StopString(_)) | None => "stop",
        });
        told["total_duration"] = json!(receipt.times.wall_ns);
        told["load_duration"] = json!(receipt.times.load_wait_ns);
        told["prompt_eval_count"] = json!(receipt.tokens.prompt);
        told["prompt_eval_duration"] = json!(receipt.times.prefill_ns);
        told["eval_count"] = json!(receipt.tokens.completion);
        told["eval_duration"] = json!(receipt.times.decode_ns);
        told["dayfly"] = json!(receipt);
    }
}

impl Dialect for OllamaAnswer {
    fn answers(&self) -> usize {
        1
    }

    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String {
        self.finish = output.finish.or(self.finish);
        if output.span.is_empty() {
            return String::new();
        }
        json_line(&self.line(&output.span, Some(tokenizer)))
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut told = self.line(&Span::default(), None);
        Self::settle(&mut told, self.finish, receipt);
        json_line(&told)
    }

    fn failed(&mut self, error: &ApiError) -> String {
        json_line(&error.told(Envelope::Ollama))
    }

    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, tokenizer: &Tokenizer) -> String {
        let Choice { span, finish } = &choices[0];
        let mut told = self.line(span, Some(tokenizer));
        Self::settle(&mut told, *finish, receipt);
        told.to_string()
    }
}

/// A value on a line of its own.
pub(super) fn json_line(value: &Value) -> String {
    let mut line = value.to_string();
    line.push('\n');
    line
}

/// The body of `/api/embed`.
pub(super) fn embeddings(model: &str, rows: &[Vec<f32>], receipt: &Receipt) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        model: &'a str,
        embeddings: &'a [Vec<f32>],
        total_duration: meter::Nanos,
        load_duration: meter::Nanos,
        prompt_eval_count: u64,
        dayfly: &'a Receipt,
    }
    let body = Body {
        model,
        embeddings: rows,
        total_duration: receipt.times.wall_ns,
        load_duration: receipt.times.load_wait_ns,
        prompt_eval_count: receipt.tokens.prompt,
        dayfly: receipt,
    };
    serde_json::to_string(&body).expect("strings, numbers and maps with names are always JSON")
}

/// The body of `/api/embeddings`.
pub(super) fn embedding(row: &[f32], receipt: &Receipt) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        embedding: &'a [f32],
        dayfly: &'a Receipt,
    }
    let body = Body { embedding: row, dayfly: receipt };
    serde_json::to_string(&body).expect("strings, numbers and maps with names are always JSON")
}
