//! How large a regular expression is once its counts are written out.
//!
//! An expression is followed without going back, so that what other engines choke on by backtracking is harmless. Counts
//! within counts are not: each count is a state of its own.

use regex_syntax::hir::{Hir, HirKind};
use serde_json::Value;

use super::source::GrammarError;
use crate::limits::REGEX_SIZE_MAX;

/// Refuses an expression that is too large. What is none is for its compiler to refuse.
///
/// # Errors
/// [`GrammarError::TooLarge`].
pub(super) fn check(regex: &str) -> Result<(), GrammarError> {
    match regex_syntax::parse(regex) {
        Ok(hir) if size(&hir) > REGEX_SIZE_MAX as u64 => {
            Err(GrammarError::TooLarge { max: REGEX_SIZE_MAX, unit: "parts once its counts are written out" })
        }
        _ => Ok(()),
    }
}

/// Checks every expression of a schema.
///
/// # Errors
/// As [`check`].
pub(super) fn check_all(schema: &Value) -> Result<(), GrammarError> {
    match schema {
        Value::Array(items) => items.iter().try_for_each(check_all),
        Value::Object(entries) => entries.iter().try_for_each(|(name, value)| {
            match (name.as_str(), value) {
                ("pattern", Value::String(regex)) => check(regex)?,
                ("patternProperties", Value::Object(patterns)) => patterns.keys().try_for_each(|regex| check(regex))?,
                _ => {}
            }
            check_all(value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn size(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            u64::from(times).saturating_mul(size(&repetition.sub))
        }
        HirKind::Capture(capture) => size(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(0, |sum: u64, part| sum.saturating_add(size(part)))
        }
    }
}
