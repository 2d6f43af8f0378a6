//! Pieces of a chat's answer as its parts: thoughts, text and calls.

use models::generation::{FinishReason, Output};
use models::reading::{AnswerReader, Call, Said};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Choice, finish_name};

/// Reads the pieces of one answer.
#[derive(Clone, Debug)]
pub(crate) struct ChoiceReader {
    reader: AnswerReader,
    /// What the ids of calls begin with.
    ids: &'static str,
    /// Calls so far.
    calls: usize,
}

/// What one chunk of a stream has to show.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shown {
    pub(super) part: Option<Part>,
    pub(super) finish: Option<&'static str>,
}

/// A part of an answer, ready to be shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// What the model thinks.
    Thought(String),
    /// What it says.
    Text(String),
    /// What it calls.
    Call(ShownCall),
}

/// A call, and what it is called by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShownCall {
    /// Its place among the answer's.
    pub(crate) index: usize,
    /// By which what it gave is sent back.
    pub(crate) id: String,
    /// The function and its arguments.
    pub(crate) call: Call,
}

/// A whole answer in its parts, those of a kind together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Parts {
    pub(crate) thought: String,
    pub(crate) text: String,
    pub(crate) calls: Vec<ShownCall>,
    pub(super) finish: Option<&'static str>,
}

impl Parts {
    /// An answer that is text alone.
    pub(super) fn of_text(choice: &Choice) -> Self {
        Self { text: choice.span.text.clone(), finish: choice.finish.map(finish_name), ..Self::default() }
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        match part {
            Part::Thought(thought) => Self { thought, ..Self::default() },
            Part::Text(text) => Self { text, ..Self::default() },
            Part::Call(call) => Self { calls: vec![call], ..Self::default() },
        }
    }
}

impl ShownCall {
    /// Its arguments as an object. What the model wrote instead of one stands in it under `arguments`.
    pub(crate) fn input(&self) -> Value {
        let arguments = &self.call.arguments;
        match serde_json::from_str(arguments) {
            Ok(Value::Object(input)) => Value::Object(input),
            Ok(other) => Value::Object(Map::from_iter([("arguments".to_owned(), other)])),
            Err(_) => Value::Object(Map::from_iter([("arguments".to_owned(), Value::from(arguments.as_str()))])),
        }
    }
}

impl ChoiceReader {
    /// Reads by `reader`; calls get ids that begin with `ids`.
    pub(crate) fn new(reader: AnswerReader, ids: &'static str) -> Self {
        Self { reader, ids, calls: 0 }
    }

    /// The parts that a piece has to show: none, while it may yet mean this or that.
    pub(crate) fn parts(&mut self, output: &Output) -> Vec<Part> {
        let mut said = self.reader.push(&output.span.text);
        if output.finish.is_some() {
            said.extend(self.reader.finish());
        }
        said.into_iter().map(|said| self.part(said)).collect()
    }

    /// The parts of a whole answer in their order, thoughts and texts as long as they get.
    pub(crate) fn all_parts(&mut self, text: &str) -> Vec<Part> {
        let mut said = self.reader.push(text);
        said.extend(self.reader.finish());
        let mut parts: Vec<Part> = Vec::new();
        for said in said {
            match (parts.last_mut(), self.part(said)) {
                (Some(Part::Thought(before)), Part::Thought(text)) | (Some(Part::Text(before)), Part::Text(text)) => {
                    before.push_str(&text);
                }
                (_, part) => parts.push(part),
            }
        }
        parts
    }

    /// Whether anything was called so far.
    pub(crate) fn has_called(&self) -> bool {
        self.calls > 0
    }

    /// A whole answer.
    pub(crate) fn whole(mut self, choice: &Choice) -> Parts {
        let mut parts = Parts::default();
        for part in self.all_parts(&choice.span.text) {
            match part {
                Part::Thought(text) => parts.thought.push_str(&text),
                Part::Text(text) => parts.text.push_str(&text),
                Part::Call(call) => parts.calls.push(call),
            }
        }
        parts.finish = choice.finish.map(|finish| self.finish(finish));
        parts
    }

    /// What the chunks of a piece have to show. The end comes with the last of them.
    pub(super) fn read(&mut self, output: &Output) -> Vec<Shown> {
        let parts = self.parts(output);
        let mut shown: Vec<Shown> = parts.into_iter().map(|part| Shown { part: Some(part), finish: None }).collect();
        if let Some(finish) = output.finish {
            let finish = Some(self.finish(finish));
            match shown.last_mut() {
                Some(last) => last.finish = finish,
                None => shown.push(Shown { part: None, finish }),
            }
        }
        shown
    }

    fn part(&mut self, said: Said) -> Part {
        match said {
            Said::Thought(text) => Part::Thought(text),
            Said::Text(text) => Part::Text(text),
            Said::Call(call) => {
                let index = self.calls;
                self.calls += 1;
                Part::Call(ShownCall { index, id: format!("{}_{}", self.ids, Uuid::now_v7().simple()), call })
            }
        }
    }

    fn finish(&self, finish: FinishReason) -> &'static str {
        match finish {
            FinishReason::Stop if self.has_called() => "tool_calls",
            FinishReason::Stop | FinishReason::StopString(_) | FinishReason::Length => finish_name(finish),
        }
    }
}
