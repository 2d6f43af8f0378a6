//! What an answer's text means: what the model thought, what it says, and which functions it calls.
//!
//! Text comes in pieces and goes out as soon as it cannot mean something else. A call goes out when it is whole. The pieces
//! that come in make no difference to what goes out but for where its texts are cut, so that an answer that is streamed is the
//! answer that is given whole.
//!
//! Invariants: nothing that was said is lost but tags and the spaces around them; what looks like a call and is none (no JSON,
//! a function that nobody offered) is said.
//!
//! Deliberately absent: names for calls, and whether arguments fit their function.

mod calls;
#[cfg(test)]
mod tests;
mod thoughts;

use crate::template::{ChatTemplate, Extras, Thoughts};
use calls::CallReader;
use thoughts::ThoughtReader;

/// A part of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// What the model thinks.
    Thought(String),
    /// What it says.
    Text(String),
    /// A function that it calls.
    Call(Call),
}

/// A call of a function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// The function's name, one of those that were offered.
    pub name: String,
    /// Its arguments, in JSON, or whatever the model wrote instead.
    pub arguments: String,
}

/// How a model says that it calls a function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallFormat {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, anywhere and as often as it likes: Hermes, Qwen, and models
    /// that are told so because their template knows no tools.
    Tagged,
    /// `{"name": …, "parameters": {…}}` and nothing else: Llama 3.
    Llama3,
    /// `{"name": …, "arguments": {…}}`, or a list of them, and nothing else.
    Bare,
}

impl CallFormat {
    /// The format of the models that a template is for.
    #[must_use]
    pub fn of(template: &ChatTemplate) -> Self {
        let source = template.source();
        if source.contains(calls::OPEN) || !template.knows_tools() {
            Self::Tagged
        } else if source.contains("<|python_tag|>") || source.contains("ipython") {
            Self::Llama3
        } else {
            Self::Bare
        }
    }
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub struct AnswerReader {
    thoughts: Option<ThoughtReader>,
    calls: Option<CallReader>,
}

impl AnswerReader {
    /// Of answers to a conversation with `extras`, whose prompt ends with `thoughts`. What was switched off is read as
    /// thoughts all the same where a model has them.
    #[must_use]
    pub fn new(template: &ChatTemplate, extras: &Extras, thoughts: Thoughts) -> Self {
        let thoughts = match thoughts {
            Thoughts::Unknown => None,
            Thoughts::Off | Thoughts::Possible => Some(ThoughtReader::new(false)),
            Thoughts::Begun => Some(ThoughtReader::new(true)),
        };
        let names: Vec<String> = extras.tools.iter().map(|tool| tool.name.clone()).collect();
        let calls = (!names.is_empty()).then(|| CallReader::new(CallFormat::of(template), names));
        Self { thoughts, calls }
    }

    /// Of answers that are text and nothing else.
    #[must_use]
    pub fn plain() -> Self {
        Self { thoughts: None, calls: None }
    }

    /// Whether everything is said as it comes.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.thoughts.is_none() && self.calls.is_none()
    }

    /// Takes a piece of the text.
    pub fn push(&mut self, text: &str) -> Vec<Said> {
        let mut said = Vec::new();
        match &mut self.thoughts {
            Some(thoughts) => {
                let mut parts = Vec::new();
                thoughts.push(text, &mut parts);
                parts.into_iter().for_each(|part| read_calls(&mut self.calls, part, &mut said));
            }
            None => read_calls(&mut self.calls, Said::Text(text.to_owned()), &mut said),
        }
        said
    }

    /// Ends the answer.
    pub fn finish(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        if let Some(thoughts) = &mut self.thoughts {
            let mut parts = Vec::new();
            thoughts.finish(&mut parts);
            parts.into_iter().for_each(|part| read_calls(&mut self.calls, part, &mut said));
        }
        if let Some(calls) = &mut self.calls {
            calls.finish(&mut said);
        }
        said
    }
}

fn read_calls(calls: &mut Option<CallReader>, part: Said, said: &mut Vec<Said>) {
    match (part, calls) {
        (Said::Text(text), Some(calls)) => calls.push(&text, said),
        (Said::Text(text), None) if text.is_empty() => {}
        (part, _) => said.push(part),
    }
}

/// Bytes at the end of `text` that may be the beginning of `tag`.
fn begun(text: &str, tag: &str) -> usize {
    let most = text.len().min(tag.len() - 1);
    (1..=most).rev().find(|&bytes| tag.is_char_boundary(bytes) && text.ends_with(&tag[..bytes])).unwrap_or(0)
}
