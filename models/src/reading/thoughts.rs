//! Thoughts, which come first and between tags.

use super::{Said, begun};
use crate::template::thoughts::{CLOSE, OPEN};

/// Tells an answer's thoughts from the rest.
#[derive(Clone, Debug)]
pub(super) struct ThoughtReader {
    state: State,
    /// What is not decided yet.
    pending: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing but spaces came.
    Beginning,
    /// Thoughts begin: spaces are none.
    Opened,
    Thinking,
    /// The answer begins: spaces are none.
    Closed,
    Saying,
}

impl ThoughtReader {
    /// `is_thinking`: the prompt has the opening tag already.
    pub(super) fn new(is_thinking: bool) -> Self {
        Self { state: if is_thinking { State::Opened } else { State::Beginning }, pending: String::new() }
    }

    pub(super) fn push(&mut self, text: &str, said: &mut Vec<Said>) {
        self.pending.push_str(text);
        loop {
            match self.state {
                State::Beginning => {
                    let begin = self.pending.trim_start();
                    if let Some(rest) = begin.strip_prefix(OPEN) {
                        self.pending = rest.to_owned();
                        self.state = State::Opened;
                    } else if OPEN.starts_with(begin) {
                        return;
                    } else {
                        self.state = State::Saying;
                    }
                }
                State::Opened => {
                    // Some models open once more what the prompt has opened.
                    let begin = self.pending.trim_start();
                    if OPEN.starts_with(begin) && begin != OPEN {
                        return;
                    }
                    self.pending = begin.strip_prefix(OPEN).unwrap_or(begin).trim_start().to_owned();
                    if self.pending.is_empty() {
                        return;
                    }
                    self.state = State::Thinking;
                }
                State::Closed => {
                    self.pending = self.pending.trim_start().to_owned();
                    if self.pending.is_empty() {
                        return;
                    }
                    self.state = State::Saying;
                }
                State::Thinking => {
                    if let Some(end) = self.pending.find(CLOSE) {
                        let thought = self.pending[..end].trim_end().to_owned();
                        say(Said::Thought(thought), said);
                        self.pending.drain(..end + CLOSE.len());
                        self.state = State::Closed;
                    } else {
                        // Spaces before the tag are none of the thoughts.
                        let held = begun(&self.pending, CLOSE);
                        let sure = self.pending[..self.pending.len() - held].trim_end().len();
                        let thought: String = self.pending.drain(..sure).collect();
                        say(Said::Thought(thought), said);
                        return;
                    }
                }
                State::Saying => {
                    say(Said::Text(std::mem::take(&mut self.pending)), said);
                    return;
                }
            }
        }
    }

    pub(super) fn finish(&mut self, said: &mut Vec<Said>) {
        let rest = std::mem::take(&mut self.pending);
        match self.state {
            State::Opened | State::Thinking => say(Said::Thought(rest.trim_end().to_owned()), said),
            State::Beginning | State::Closed | State::Saying => say(Said::Text(rest), said),
        }
    }
}

fn say(part: Said, said: &mut Vec<Said>) {
    match &part {
        Said::Thought(text) | Said::Text(text) if text.is_empty() => {}
        _ => said.push(part),
    }
}
