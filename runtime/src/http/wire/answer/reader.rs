//! Pieces of a chat's answer as its parts: thoughts, text and calls.

use models::generation::{FinishReason, Output};
use models::reading::{AnswerReader, Call, Said};
use uuid::Uuid;

use super::{Choice, finish_name};

/// Reads the pieces of one answer.
#[derive(Clone, Debug)]
pub(crate) struct ChoiceReader {
    reader: AnswerReader,
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
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Thought(String),
    Text(String),
    Call(ShownCall),
}

/// A call, and what it is called by.
#[derive(Debug, PartialEq)]
pub(super) struct ShownCall {
    /// Its place among the answer's.
    pub(super) index: usize,
    pub(super) id: String,
    pub(super) call: Call,
}

/// A whole answer in its parts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub(super) thought: String,
    pub(super) text: String,
    pub(super) calls: Vec<ShownCall>,
    pub(super) finish: Option<&'static str>,
}

impl Parts {
    /// An answer that is text alone.
    pub(super) fn of_text(choice: &Choice) -> Self {
        Self { text: choice.span.text.clone(), finish: choice.finish.map(finish_name), ..Self::default() }
    }
}

impl ChoiceReader {
    pub(super) fn new(reader: AnswerReader) -> Self {
        Self { reader, calls: 0 }
    }

    /// What a piece has to show: nothing, while it may yet mean this or that. The end comes with the last of it.
    pub(super) fn read(&mut self, output: &Output) -> Vec<Shown> {
        let mut said = self.reader.push(&output.span.text);
        if output.finish.is_some() {
            said.extend(self.reader.finish());
        }
        let mut shown: Vec<Shown> =
            said.into_iter().map(|said| Shown { part: Some(self.part(said)), finish: None }).collect();
        if let Some(finish) = output.finish {
            let finish = Some(self.finish(finish));
            match shown.last_mut() {
                Some(last) => last.finish = finish,
                None => shown.push(Shown { part: None, finish }),
            }
        }
        shown
    }

    /// A whole answer.
    pub(super) fn whole(mut self, choice: &Choice) -> Parts {
        let mut parts = Parts::default();
        let mut said = self.reader.push(&choice.span.text);
        said.extend(self.reader.finish());
        for said in said {
            match self.part(said) {
                Part::Thought(text) => parts.thought.push_str(&text),
                Part::Text(text) => parts.text.push_str(&text),
                Part::Call(call) => parts.calls.push(call),
            }
        }
        parts.finish = choice.finish.map(|finish| self.finish(finish));
        parts
    }

    fn part(&mut self, said: Said) -> Part {
        match said {
            Said::Thought(text) => Part::Thought(text),
            Said::Text(text) => Part::Text(text),
            Said::Call(call) => {
                let index = self.calls;
                self.calls += 1;
                Part::Call(ShownCall { index, id: format!("call_{}", Uuid::now_v7().simple()), call })
            }
        }
    }

    fn finish(&self, finish: FinishReason) -> &'static str {
        match finish {
            FinishReason::Stop if self.calls > 0 => "tool_calls",
            FinishReason::Stop | FinishReason::StopString(_) | FinishReason::Length => finish_name(finish),
        }
    }
}
