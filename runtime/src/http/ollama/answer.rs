//! What `generate`, `chat` and the embeddings answer.

use std::time::SystemTime;

use meter::Receipt;
use models::Descriptor;
use models::generation::{FinishReason, Output, ScoredToken};
use models::reading::AnswerReader;
use models::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::{Value, json};

use super::time_text;
use crate::http::error::ApiError;
use crate::http::error::envelope::Envelope;
use crate::http::reading::Reading;
use crate::http::scores::{Ids, scores};
use crate::http::stream::Dialect;
use crate::http::wire::Common;
use crate::http::wire::answer::{Choice, ChoiceReader, Parts, ShownCall};

/// What the ids of calls begin with.
const CALL_IDS: &str = "call";

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
    /// How a conversation's answer is read; none where it is text alone.
    reading: Option<Reading>,
    reader: ChoiceReader,
    finish: Option<FinishReason>,
}

impl OllamaAnswer {
    pub(super) fn new(shape: Shape, request: &Common, reading: Option<Reading>) -> Self {
        let reader = ChoiceReader::new(AnswerReader::plain(), CALL_IDS);
        Self { shape, model: request.model.clone(), reading, reader, finish: None }
    }

    /// What there is to say of a model that was loaded or unloaded.
    pub(super) fn without_answer(&mut self, reason: &str) -> Value {
        let mut told = self.line(&Parts::default());
        told["done"] = json!(true);
        told["done_reason"] = json!(reason);
        told
    }

    /// A line that is not the last.
    fn line(&self, Parts { thought, text, calls, .. }: &Parts) -> Value {
        let mut told = json!({ "model": self.model, "created_at": time_text(SystemTime::now()), "done": false });
        let shown = match self.shape {
            Shape::Generate => {
                told["response"] = json!(text);
                &mut told
            }
            Shape::Chat => {
                told["message"] = json!({ "role": "assistant", "content": text });
                &mut told["message"]
            }
        };
        if !thought.is_empty() {
            shown["thinking"] = json!(thought);
        }
        if !calls.is_empty() {
            shown["tool_calls"] = calls.iter().map(call).collect();
        }
        told
    }

    /// Adds scores, where they were asked for.
    fn score(told: &mut Value, tokens: &[ScoredToken], tokenizer: &Tokenizer) {
        if !tokens.is_empty() {
            told["logprobs"] = json!(scores(tokens, tokenizer, Ids::Untold));
        }
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

    fn prepare(&mut self, descriptor: &Descriptor) -> Result<(), ApiError> {
        if let Some(reading) = &self.reading {
            self.reader = ChoiceReader::new(reading.reader(descriptor)?, CALL_IDS);
        }
        Ok(())
    }

    /// A line for each part that it shows. The scores are those of the whole piece, and come with the first of them.
    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String {
        self.finish = output.finish.or(self.finish);
        let mut shown: Vec<Parts> = self.reader.parts(output).into_iter().map(Parts::from).collect();
        let tokens = &output.span.tokens;
        if shown.is_empty() && !tokens.is_empty() {
            shown.push(Parts::default());
        }
        let mut lines = String::new();
        for (index, parts) in shown.iter().enumerate() {
            let mut told = self.line(parts);
            if index == 0 {
                Self::score(&mut told, tokens, tokenizer);
            }
            lines.push_str(&json_line(&told));
        }
        lines
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut told = self.line(&Parts::default());
        Self::settle(&mut told, self.finish, receipt);
        json_line(&told)
    }

    fn failed(&mut self, error: &ApiError) -> String {
        json_line(&error.told(Envelope::Ollama))
    }

    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, tokenizer: &Tokenizer) -> String {
        let choice = &choices[0];
        let mut told = self.line(&self.reader.clone().whole(choice));
        Self::score(&mut told, &choice.span.tokens, tokenizer);
        Self::settle(&mut told, choice.finish, receipt);
        told.to_string()
    }
}

/// A call; its arguments are an object, whatever the model wrote.
fn call(call: &ShownCall) -> Value {
    let function = json!({ "index": call.index, "name": call.call.name, "arguments": call.input() });
    json!({ "id": call.id, "function": function })
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
