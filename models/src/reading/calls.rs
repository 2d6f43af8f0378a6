//! Calls of functions, in the formats that models were trained to write.

use serde_json::Value;

use super::{Call, CallFormat, Said, begun};

/// What begins a call.
pub(super) const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// Tells calls from text.
#[derive(Clone, Debug)]
pub(super) struct CallReader {
    format: CallFormat,
    /// Functions that may be called.
    names: Vec<String>,
    state: State,
    /// What is not decided yet.
    pending: String,
    /// Spaces before an opening tag: they are said if no call follows.
    gap: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing but spaces came.
    Beginning,
    /// Text that may hold tags.
    Saying,
    /// Behind an opening tag.
    Calling,
    /// Behind a call: spaces are none of the text.
    Called,
    /// JSON from the first character on: what it is, its end tells.
    Json,
    /// Text that holds no call.
    Plain,
}

impl CallReader {
    pub(super) fn new(format: CallFormat, names: Vec<String>) -> Self {
        let state = if format == CallFormat::Tagged { State::Saying } else { State::Beginning };
        Self { format, names, state, pending: String::new(), gap: String::new() }
    }

    pub(super) fn push(&mut self, text: &str, said: &mut Vec<Said>) {
        self.pending.push_str(text);
        loop {
            match self.state {
                State::Beginning => match self.pending.trim_start().chars().next() {
                    None => return,
                    Some('{' | '[') => self.state = State::Json,
                    Some(_) => self.state = State::Plain,
                },
                State::Saying => match self.pending.find(OPEN) {
                    Some(begin) => {
                        let text = self.pending[..begin].trim_end().len();
                        self.gap = self.pending[text..begin].to_owned();
                        say(self.pending[..text].to_owned(), said);
                        self.pending.drain(..begin + OPEN.len());
                        self.state = State::Calling;
                    }
                    None => {
                        // Spaces before a call are none of the text.
                        let held = begun(&self.pending, OPEN);
                        let sure = self.pending[..self.pending.len() - held].trim_end().len();
                        say(self.pending.drain(..sure).collect(), said);
                        return;
                    }
                },
                State::Calling => {
                    let Some(end) = self.pending.find(CLOSE) else { return };
                    let body: String = self.pending.drain(..end + CLOSE.len()).collect();
                    if self.call(&body[..end], said) {
                        self.state = State::Called;
                    } else {
                        self.state = State::Saying;
                        say(format!("{}{OPEN}{body}", self.gap), said);
                    }
                }
                State::Called => {
                    self.pending = self.pending.trim_start().to_owned();
                    if self.pending.is_empty() {
                        return;
                    }
                    self.state = State::Saying;
                }
                State::Json => return,
                State::Plain => {
                    say(std::mem::take(&mut self.pending), said);
                    return;
                }
            }
        }
    }

    pub(super) fn finish(&mut self, said: &mut Vec<Said>) {
        let rest = std::mem::take(&mut self.pending);
        match self.state {
            State::Calling if self.call(&rest, said) => {}
            State::Calling => say(format!("{}{OPEN}{rest}", self.gap), said),
            State::Json if self.call(&rest, said) => {}
            State::Called => {}
            State::Beginning | State::Saying | State::Json | State::Plain => say(rest, said),
        }
    }

    /// Says the calls that `text` is; whether it is nothing else.
    fn call(&self, text: &str, said: &mut Vec<Said>) -> bool {
        let Some(calls) = self.calls_of(text) else { return false };
        said.extend(calls.into_iter().map(Said::Call));
        true
    }

    /// One call, a list of them, or several with semicolons or spaces between them; none where anything else is there.
    fn calls_of(&self, text: &str) -> Option<Vec<Call>> {
        let mut calls = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            match values.next()?.ok()? {
                Value::Array(items) => {
                    for item in items {
                        calls.push(self.call_of(item)?);
                    }
                }
                value => calls.push(self.call_of(value)?),
            }
            rest = rest[values.byte_offset()..].trim_start_matches([' ', '\n', '\r', '\t', ';']);
        }
        (!calls.is_empty()).then_some(calls)
    }

    fn call_of(&self, value: Value) -> Option<Call> {
        let Value::Object(mut fields) = value else { return None };
        let Some(Value::String(name)) = fields.shift_remove("name") else { return None };
        if !self.names.contains(&name) {
            return None;
        }
        let (first, second) = match self.format {
            CallFormat::Llama3 => ("parameters", "arguments"),
            CallFormat::Tagged | CallFormat::Bare => ("arguments", "parameters"),
        };
        let arguments = fields.shift_remove(first).or_else(|| fields.shift_remove(second));
        let arguments = match arguments {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text,
            Some(arguments) => arguments.to_string(),
        };
        Some(Call { name, arguments })
    }
}

fn say(text: String, said: &mut Vec<Said>) {
    if !text.is_empty() {
        said.push(Said::Text(text));
    }
}
