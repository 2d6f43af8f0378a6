//! The answer: one message of blocks, or the events that make it.
//!
//! A block begins with its first part: thoughts and text come piece by piece, a use of a tool whole. An answer that says nothing
//! has one empty block of text. A `signature` is the answer's id: it tells where the thoughts are from, and proves nothing.

use meter::Receipt;
use models::Descriptor;
use models::generation::{FinishReason, Output};
use models::reading::AnswerReader;
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::options::Display;
use crate::http::error::ApiError;
use crate::http::error::envelope::Envelope;
use crate::http::reading::Reading;
use crate::http::stream::{Dialect, push_named_event};
use crate::http::wire::Common;
use crate::http::wire::answer::{Choice, ChoiceReader, Part};

/// What the ids of uses begin with.
const USE_IDS: &str = "toolu";

/// The answer to one request.
pub(super) struct AnthropicAnswer {
    id: String,
    /// As the request names it.
    model: String,
    /// Tokens that it may have.
    tokens_max: Option<usize>,
    /// Texts that end it.
    stops: Vec<String>,
    reading: Reading,
    display: Display,
    reader: ChoiceReader,
    finish: Option<FinishReason>,
    /// Blocks that were streamed, the one that goes on included.
    blocks: usize,
    /// The one that goes on.
    open: Option<Open>,
}

/// What a block that may go on holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Thoughts,
    Text,
}

impl AnthropicAnswer {
    pub(super) fn new(id: String, request: &Common, (reading, display): (Reading, Display)) -> Self {
        Self {
            id,
            model: request.model.clone(),
            tokens_max: request.tokens_max,
            stops: request.stop.clone(),
            reading,
            display,
            reader: ChoiceReader::new(AnswerReader::plain(), USE_IDS),
            finish: None,
            blocks: 0,
            open: None,
        }
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

    /// Why it ended, with so many tokens, and by which text.
    fn stop(&self, finish: Option<FinishReason>, tokens: u64) -> (&'static str, Option<&str>) {
        match finish {
            Some(FinishReason::Length) if self.tokens_max.is_some_and(|most| tokens < most as u64) => {
                ("model_context_window_exceeded", None)
            }
            Some(FinishReason::Length) => ("max_tokens", None),
            Some(FinishReason::StopString(which)) => ("stop_sequence", self.stops.get(which).map(String::as_str)),
            Some(FinishReason::Stop) if self.reader.has_called() => ("tool_use", None),
            Some(FinishReason::Stop) | None => ("end_turn", None),
        }
    }

    /// A block with all that it holds.
    fn block(&self, part: Part) -> Value {
        match part {
            Part::Thought(thought) => {
                let shown = if self.display == Display::Shown { thought } else { String::new() };
                json!({ "type": "thinking", "thinking": shown, "signature": self.id })
            }
            Part::Text(text) => json!({ "type": "text", "text": text }),
            Part::Call(used) => json!({
                "type": "tool_use",
                "id": used.id,
                "name": used.call.name,
                "input": used.input(),
            }),
        }
    }

    /// Adds the events of a part: of the block that goes on, or of one of its own.
    fn push_part(&mut self, text: &mut String, part: Part) {
        match part {
            Part::Thought(thought) => {
                self.open(text, Open::Thoughts);
                if self.display == Display::Shown {
                    self.delta(text, &json!({ "type": "thinking_delta", "thinking": thought }));
                }
            }
            Part::Text(said) => {
                self.open(text, Open::Text);
                self.delta(text, &json!({ "type": "text_delta", "text": said }));
            }
            Part::Call(used) => {
                self.close(text);
                let mut block = self.block(Part::Call(used));
                let input = std::mem::replace(&mut block["input"], json!({})).to_string();
                self.start(text, &block);
                self.delta(text, &json!({ "type": "input_json_delta", "partial_json": input }));
                self.stop_block(text);
            }
        }
    }

    /// Begins a block, unless one of this kind goes on.
    fn open(&mut self, text: &mut String, kind: Open) {
        if self.open == Some(kind) {
            return;
        }
        self.close(text);
        let block = match kind {
            Open::Thoughts => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Open::Text => json!({ "type": "text", "text": "" }),
        };
        self.start(text, &block);
        self.open = Some(kind);
    }

    /// Ends the block that goes on.
    fn close(&mut self, text: &mut String) {
        match self.open.take() {
            None => return,
            Some(Open::Thoughts) => self.delta(text, &json!({ "type": "signature_delta", "signature": self.id })),
            Some(Open::Text) => {}
        }
        self.stop_block(text);
    }

    fn start(&mut self, text: &mut String, block: &Value) {
        push(text, &json!({ "type": "content_block_start", "index": self.blocks, "content_block": block }));
        self.blocks += 1;
    }

    /// Adds to the block that was begun last.
    fn delta(&self, text: &mut String, delta: &Value) {
        push(text, &json!({ "type": "content_block_delta", "index": self.blocks - 1, "delta": delta }));
    }

    fn stop_block(&self, text: &mut String) {
        push(text, &json!({ "type": "content_block_stop", "index": self.blocks - 1 }));
    }
}

impl Dialect for AnthropicAnswer {
    fn answers(&self) -> usize {
        1
    }

    fn prepare(&mut self, descriptor: &Descriptor) -> Result<(), ApiError> {
        self.reader = ChoiceReader::new(self.reading.reader(descriptor)?, USE_IDS);
        Ok(())
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
        push(&mut text, &json!({ "type": "ping" }));
        text
    }

    fn piece(&mut self, output: &Output, _tokenizer: &Tokenizer) -> String {
        self.finish = output.finish.or(self.finish);
        let mut text = String::new();
        for part in self.reader.parts(output) {
            self.push_part(&mut text, part);
        }
        text
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut text = String::new();
        if self.blocks == 0 {
            self.open(&mut text, Open::Text);
        }
        self.close(&mut text);
        let (reason, sequence) = self.stop(self.finish, receipt.tokens.completion);
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
        let mut parts = self.reader.all_parts(&span.text);
        if parts.is_empty() {
            parts.push(Part::Text(String::new()));
        }
        let blocks = parts.into_iter().map(|part| self.block(part)).collect();
        let mut told = self.message(&blocks, &usage(receipt));
        let (reason, sequence) = self.stop(*finish, receipt.tokens.completion);
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

#[cfg(test)]
mod tests {
    use models::reading::Call;
    use models::sampling::Sampling;

    use super::*;
    use crate::http::wire::answer::ShownCall;
    use crate::http::wire::{ChatOptions, Repeats};

    /// The events of these parts, each as its kind and what it adds.
    fn streamed(display: Display) -> Vec<(String, Value)> {
        let common = Common::plain("m".to_owned(), (Sampling::default(), Repeats::No));
        let reading = Reading::of(&common, &ChatOptions::default());
        let mut answer = AnthropicAnswer::new("msg_1".to_owned(), &common, (reading, display));
        let call = Call { name: "get".to_owned(), arguments: "[1]".to_owned() };
        let mut text = String::new();
        for part in [
            Part::Thought("h".to_owned()),
            Part::Thought("m".to_owned()),
            Part::Text("a".to_owned()),
            Part::Call(ShownCall { index: 0, id: "toolu_1".to_owned(), call }),
            Part::Text("b".to_owned()),
        ] {
            answer.push_part(&mut text, part);
        }
        answer.close(&mut text);
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let event = |line: &str| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let kind = event["type"].as_str().and_then(|kind| kind.strip_prefix("content_block_")).expect("a block's");
            let added = [&event["content_block"], &event["delta"]].into_iter().find(|added| !added.is_null());
            (format!("{kind} {}", event["index"]), added.cloned().unwrap_or_default())
        };
        events.map(event).collect()
    }

    #[test]
    fn blocks_begin_and_end_as_what_is_said_changes() {
        let block = |number: usize, block: Value, deltas: Vec<Value>| -> Vec<(String, Value)> {
            let deltas = deltas.into_iter().map(|delta| (format!("delta {number}"), delta));
            let start = [(format!("start {number}"), block)].into_iter();
            start.chain(deltas).chain([(format!("stop {number}"), Value::Null)]).collect()
        };
        let text = |text: &str| json!({ "type": "text", "text": text });
        let thought = |thought: &str| json!({ "type": "thinking_delta", "thinking": thought });
        let said = |text: &str| json!({ "type": "text_delta", "text": text });
        let signature = json!({ "type": "signature_delta", "signature": "msg_1" });
        let thinking = json!({ "type": "thinking", "thinking": "", "signature": "" });
        // What is no object stands in one.
        let input = json!({ "type": "input_json_delta", "partial_json": "{\"arguments\":[1]}" });
        let used = json!({ "type": "tool_use", "id": "toolu_1", "name": "get", "input": {} });
        let rest =
            [block(1, text(""), vec![said("a")]), block(2, used, vec![input]), block(3, text(""), vec![said("b")])]
                .concat();
        let shown = block(0, thinking.clone(), vec![thought("h"), thought("m"), signature.clone()]);
        assert_eq!(streamed(Display::Shown), [shown, rest.clone()].concat());
        let omitted = block(0, thinking, vec![signature]);
        assert_eq!(streamed(Display::Omitted), [omitted, rest].concat());
    }
}
