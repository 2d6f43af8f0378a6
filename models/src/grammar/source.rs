//! Grammars as a request writes them, and what is refused of them before anything is compiled.

use std::fmt;

use serde_json::{Value, json};

use super::calls::Calls;
use super::closed::closed;
use super::thoughtful::Opening;
use super::{expression, finite};
use crate::limits::{GRAMMAR_BYTES_MAX, GRAMMAR_NESTING_MAX, GRAMMAR_SPACES_MAX, SCHEMA_VALUES_MAX};

/// Where `llguidance` looks for its settings in a schema.
const OPTIONS: &str = "x-guidance";

/// What an answer has to keep to.
#[derive(Clone, Debug, PartialEq)]
pub enum GrammarSource {
    /// JSON that is valid by this schema, its properties in the schema's order, and no others where it does not say that
    /// there may be. Between its parts there may be spaces and line breaks, a few at a time.
    JsonSchema(Value),
    /// A text that the whole of this regular expression matches, in the syntax of Rust's `regex`.
    Regex(String),
    /// A text of this grammar in `llguidance`'s dialect of Lark, from `start` on.
    Lark(String),
    /// A text of this grammar in llama.cpp's notation, GBNF, from `root` on.
    Gbnf(String),
    /// Calls of functions.
    Calls(Box<Calls>),
    /// One of the others, behind thoughts.
    Behind(Opening, Box<GrammarSource>),
}

/// Why a grammar cannot be used. Each is the grammar's fault, but for the first.
#[derive(Debug, thiserror::Error)]
pub enum GrammarError {
    /// The model's tokens cannot be arranged.
    #[error("the model's vocabulary cannot be used with grammars")]
    Vocabulary(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It says nothing.
    #[error("it is empty")]
    Empty,
    /// It is longer, or has more parts, than is compiled.
    #[error("it has more than {max} {unit}")]
    TooLarge {
        /// The limit.
        max: usize,
        /// Of what.
        unit: &'static str,
    },
    /// It refers to itself in a way that no finite answer can keep to.
    #[error("it refers to itself without end")]
    Endless,
    /// In GBNF, where it is wrong or cannot be kept to.
    #[error("line {line}, column {column} of GBNF: {reason}")]
    Gbnf {
        /// From 1 on.
        line: usize,
        /// From 1 on, in characters.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A name that is not the client's to use.
    #[error("`{OPTIONS}` is not supported")]
    Options,
    /// It contradicts itself, or asks for what cannot be enforced.
    #[error("{reason}")]
    Refused {
        /// In `llguidance`'s words.
        reason: String,
    },
}

impl GrammarError {
    /// Whether the model is at fault, and no grammar of any request.
    #[must_use]
    pub fn is_of_the_model(&self) -> bool {
        matches!(self, Self::Vocabulary(_))
    }

    /// The reason alone.
    pub(super) fn refused(error: &impl fmt::Display) -> Self {
        Self::Refused { reason: reason(error) }
    }
}

/// The reason alone: behind it `llguidance` writes what it was at, on lines of their own. Where it caught a panic of its own,
/// that tells a client nothing.
pub(super) fn reason(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or_default();
    // A regular expression's is drawn over several lines, of which the last says what is wrong.
    let why = text.lines().find_map(|line| line.strip_prefix("error: ")).filter(|_| reason.ends_with("error:"));
    match why {
        _ if reason.starts_with("panic: ") => "it is more than can be compiled".to_owned(),
        Some(why) => format!("{reason} {why}"),
        None => reason.to_owned(),
    }
}

impl GrammarSource {
    /// Any JSON object.
    #[must_use]
    pub fn json_object() -> Self {
        Self::JsonSchema(json!({ "type": "object" }))
    }

    /// Text that tells it from every other, for digests.
    #[must_use]
    pub fn canonical(&self) -> (&'static str, String) {
        match self {
            Self::JsonSchema(schema) => ("json_schema", schema.to_string()),
            Self::Regex(regex) => ("regex", regex.clone()),
            Self::Lark(lark) => ("lark", lark.clone()),
            Self::Gbnf(gbnf) => ("gbnf", gbnf.clone()),
            Self::Calls(calls) => ("calls", calls.lark()),
            Self::Behind(opening, held) => {
                let (kind, text) = held.canonical();
                let opening = match opening {
                    Opening::Possible => "behind possible thoughts",
                    Opening::Begun => "behind thoughts",
                };
                (opening, format!("{kind}\n{text}"))
            }
        }
    }

    /// `error`, which says in which notation it was read where it could have been another.
    pub(super) fn told(&self, error: GrammarError) -> GrammarError {
        match (self, error) {
            (Self::Lark(_), GrammarError::Refused { reason }) => {
                GrammarError::Refused { reason: format!("read in Lark's notation: {reason}") }
            }
            // What our own reading refuses has its place in what the client wrote.
            (Self::Gbnf(_), GrammarError::Refused { reason }) => {
                GrammarError::Refused { reason: format!("translated to Lark's notation: {reason}") }
            }
            (Self::Behind(_, held), error) => held.told(error),
            (_, error) => error,
        }
    }

    /// Refuses what is too much to look at, and schemas that no finite text can keep to.
    pub(super) fn check(&self) -> Result<(), GrammarError> {
        match self {
            Self::JsonSchema(schema) => {
                if matches!(schema, Value::Object(entries) if entries.is_empty()) {
                    return Err(GrammarError::Empty);
                }
                if schema.get(OPTIONS).is_some() {
                    return Err(GrammarError::Options);
                }
                let mut bytes = 0;
                if values(schema, &mut bytes) > SCHEMA_VALUES_MAX {
                    return Err(GrammarError::TooLarge { max: SCHEMA_VALUES_MAX, unit: "values" });
                }
                check_bytes(bytes)?;
                expression::check_all(schema)?;
                finite::check(schema)
            }
            Self::Regex(text) | Self::Lark(text) | Self::Gbnf(text) => {
                if text.trim().is_empty() {
                    return Err(GrammarError::Empty);
                }
                check_bytes(text.len())?;
                // Brackets of GBNF are counted as it is read, which tells them from those in texts.
                if !matches!(self, Self::Gbnf(_)) && nesting(text) > GRAMMAR_NESTING_MAX {
                    return Err(GrammarError::TooLarge { max: GRAMMAR_NESTING_MAX, unit: "levels of brackets" });
                }
                if let Self::Regex(regex) = self {
                    expression::check(regex)?;
                }
                Ok(())
            }
            Self::Calls(calls) => calls.check(),
            Self::Behind(_, held) => held.check(),
        }
    }
}

fn check_bytes(bytes: usize) -> Result<(), GrammarError> {
    if bytes > GRAMMAR_BYTES_MAX {
        return Err(GrammarError::TooLarge { max: GRAMMAR_BYTES_MAX, unit: "bytes" });
    }
    Ok(())
}

/// How many values there are in `value`, itself included; `bytes` grows by those of its texts and names.
pub(super) fn values(value: &Value, bytes: &mut usize) -> usize {
    match value {
        Value::String(text) => {
            *bytes += text.len();
            1
        }
        Value::Array(items) => 1 + items.iter().map(|item| values(item, bytes)).sum::<usize>(),
        Value::Object(entries) => {
            *bytes += entries.keys().map(String::len).sum::<usize>();
            1 + entries.values().map(|item| values(item, bytes)).sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// How many brackets are open at once at most, those in texts included.
fn nesting(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// A schema with the settings that all schemas are compiled with: a model that puts out spaces again and again would
/// otherwise do so until its answer is cut.
pub(super) fn with_options(schema: &Value) -> Value {
    let mut schema = closed(schema);
    if let Value::Object(entries) = &mut schema {
        let spaces = format!(r"[\x20\x0A\x0D\x09]{{1,{GRAMMAR_SPACES_MAX}}}");
        entries.insert(OPTIONS.to_owned(), json!({ "whitespace_pattern": spaces }));
    }
    schema
}

/// A text as a literal of a Lark grammar.
#[must_use]
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
