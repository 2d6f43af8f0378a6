//! The answer: a response of items, or the events that make it.

use std::time::{SystemTime, UNIX_EPOCH};

use meter::Receipt;
use models::Descriptor;
use models::generation::{FinishReason, Output};
use models::grammar::CallNumber;
use models::reading::AnswerReader;
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::events::Events;
use super::items::{Item, ItemStatus};
use super::request::Told;
use crate::http::error::ApiError;
use crate::http::reading::Reading;
use crate::http::scores::{Ids, scores};
use crate::http::stream::Dialect;
use crate::http::wire::Common;
use crate::http::wire::answer::{Choice, ChoiceReader};

/// What the ids of calls begin with.
const CALL_IDS: &str = "call";

/// The answer to one request.
pub(super) struct ResponseAnswer {
    id: String,
    created_unix_s: u64,
    common: Common,
    told: Told,
    reading: Reading,
    reader: ChoiceReader,
    finish: Option<FinishReason>,
    /// What was streamed.
    events: Events,
}

/// How far a response is.
#[derive(Clone, Copy)]
enum Status<'a> {
    InProgress,
    Ended { finish: Option<FinishReason>, receipt: &'a Receipt },
    Failed(&'a ApiError),
}

impl Status<'_> {
    /// As a response has it.
    fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Ended { finish: Some(FinishReason::Length), .. } => "incomplete",
            Self::Ended { .. } => "completed",
            Self::Failed(_) => "failed",
        }
    }
}

/// How far the last item of an answer got.
fn last_status(finish: Option<FinishReason>) -> ItemStatus {
    match finish {
        Some(FinishReason::Length) => ItemStatus::Incomplete,
        Some(FinishReason::Stop | FinishReason::StopString(_)) | None => ItemStatus::Completed,
    }
}

impl ResponseAnswer {
    pub(super) fn new(id: String, request: &Common, (told, reading): (Told, Reading)) -> Self {
        Self {
            events: Events::new(&id, told.tools.namespaces.clone()),
            id,
            created_unix_s: unix_s(),
            common: request.clone(),
            told,
            reading,
            reader: ChoiceReader::new(AnswerReader::plain(), CALL_IDS),
            finish: None,
        }
    }

    /// The response with this `output`.
    fn response(&self, status: Status<'_>, output: &Value) -> Value {
        let Told { instructions, metadata, names, format, effort, tools } = &self.told;
        let mut response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_unix_s,
            "completed_at": null,
            "status": status.name(),
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": instructions,
            "max_output_tokens": self.common.tokens_max,
            "max_tool_calls": null,
            "model": self.common.model,
            "output": output,
            "parallel_tool_calls": tools.number == CallNumber::Several,
            "previous_response_id": null,
            "presence_penalty": self.common.sampling.presence_penalty,
            "frequency_penalty": self.common.sampling.frequency_penalty,
            "reasoning": { "effort": effort, "summary": null },
            "service_tier": self.common.urgency.tier.map_or("default", |tier| tier.name()),
            "store": false,
            "temperature": self.common.sampling.temperature,
            "text": { "format": format },
            "tool_choice": tools.choice,
            "tools": tools.offered,
            "top_logprobs": self.common.logprobs.unwrap_or(0),
            "top_p": self.common.sampling.top_p,
            "truncation": "disabled",
            "usage": null,
            "user": names.user,
            "safety_identifier": names.safety_identifier,
            "prompt_cache_key": names.prompt_cache_key,
            "metadata": metadata,
        });
        match status {
            Status::InProgress => {}
            Status::Ended { finish, receipt } => {
                if finish == Some(FinishReason::Length) {
                    response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
                } else {
                    response["completed_at"] = json!(unix_s());
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
}

impl Dialect for ResponseAnswer {
    fn answers(&self) -> usize {
        1
    }

    fn prepare(&mut self, descriptor: &Descriptor) -> Result<(), ApiError> {
        self.reader = ChoiceReader::new(self.reading.reader(descriptor)?, CALL_IDS);
        Ok(())
    }

    fn begin(&mut self, _prompt_tokens: u64) -> String {
        let mut text = String::new();
        let response = self.response(Status::InProgress, &json!([]));
        self.events.push(&mut text, "response.created", json!({ "response": response }));
        self.events.push(&mut text, "response.in_progress", json!({ "response": response }));
        text
    }

    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String {
        let mut text = String::new();
        self.finish = output.finish.or(self.finish);
        let parts = self.reader.parts(output);
        self.events.piece(&mut text, parts, scores(&output.span.tokens, tokenizer, Ids::Untold));
        text
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut text = String::new();
        let status = Status::Ended { finish: self.finish, receipt };
        let output = self.events.end(&mut text, last_status(self.finish));
        let response = self.response(status, &output);
        let kind = format!("response.{}", status.name());
        self.events.push(&mut text, &kind, json!({ "response": response }));
        text
    }

    fn failed(&mut self, error: &ApiError) -> String {
        let mut text = String::new();
        let response = self.response(Status::Failed(error), &json!([]));
        self.events.push(&mut text, "response.failed", json!({ "response": response }));
        text
    }

    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, tokenizer: &Tokenizer) -> String {
        let Choice { span, finish } = &choices[0];
        let item = |part| Item::of(part, &self.told.tools.namespaces);
        let mut items: Vec<Item> = self.reader.all_parts(&span.text).into_iter().map(item).collect();
        if items.is_empty() {
            items.push(Item::Message(String::new(), Vec::new()));
        }
        if let Some(Item::Message(_, shown)) = items.iter_mut().find(|item| matches!(item, Item::Message(..))) {
            *shown = scores(&span.tokens, tokenizer, Ids::Untold);
        }
        let last = items.len() - 1;
        let told = |(number, item): (usize, &Item)| {
            // A call only comes when it is whole.
            let goes_on = number == last && !matches!(item, Item::Call(..));
            let status = if goes_on { last_status(*finish) } else { ItemStatus::Completed };
            item.told(&item.id(&self.id, number), status)
        };
        let output = items.iter().enumerate().map(told).collect();
        self.response(Status::Ended { finish: *finish, receipt }, &output).to_string()
    }
}

/// Seconds since 1970.
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
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
