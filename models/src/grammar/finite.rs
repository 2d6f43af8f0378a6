//! Whether a schema that refers to itself can be kept to at all: a text is finite, and `{"next": …}` in which another
//! `next` is required has no end.
//!
//! What has a finite text has one in which no reference stands within itself, so it is enough to follow each reference once
//! on the way from the root.
//!
//! Deliberately absent: everything else that a schema could contradict itself by, which compiling it tells.

use std::collections::HashSet;

use serde_json::Value;

use super::source::GrammarError;
use crate::limits::{SCHEMA_REFERENCES_MAX, SCHEMA_STEPS_MAX};

/// Refuses a schema that only endless texts would keep to.
///
/// # Errors
/// [`GrammarError::Endless`], and [`GrammarError::TooLarge`] where finding that out takes too long.
pub(super) fn check(schema: &Value) -> Result<(), GrammarError> {
    let mut search = Search { root: schema, within: Vec::new(), known: HashSet::new(), steps: 0 };
    if search.is_finite(schema)? { Ok(()) } else { Err(GrammarError::Endless) }
}

struct Search<'a> {
    root: &'a Value,
    /// References that are being followed.
    within: Vec<&'a str>,
    /// Those that were found to end.
    known: HashSet<&'a str>,
    steps: usize,
}

impl<'a> Search<'a> {
    fn is_finite(&mut self, schema: &'a Value) -> Result<bool, GrammarError> {
        self.steps += 1;
        if self.steps > SCHEMA_STEPS_MAX {
            return Err(GrammarError::TooLarge { max: SCHEMA_STEPS_MAX, unit: "parts, references followed" });
        }
        let Value::Object(entries) = schema else { return Ok(true) };
        if let Some(Value::String(reference)) = entries.get("$ref")
            && !self.follow(reference)?
        {
            return Ok(false);
        }
        if entries.contains_key("const") || entries.contains_key("enum") {
            return Ok(true);
        }
        if let Some(Value::Array(all)) = entries.get("allOf") {
            for part in all {
                if !self.is_finite(part)? {
                    return Ok(false);
                }
            }
        }
        for name in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = entries.get(name)
                && !self.is_any_finite(choices)?
            {
                return Ok(false);
            }
        }
        match entries.get("type") {
            Some(Value::String(kind)) => self.is_kind_finite(kind, schema),
            Some(Value::Array(kinds)) => {
                for kind in kinds.iter().filter_map(Value::as_str) {
                    if self.is_kind_finite(kind, schema)? {
                        return Ok(true);
                    }
                }
                Ok(kinds.is_empty())
            }
            // A number would do.
            _ => Ok(true),
        }
    }

    fn is_any_finite(&mut self, choices: &'a [Value]) -> Result<bool, GrammarError> {
        for choice in choices {
            if self.is_finite(choice)? {
                return Ok(true);
            }
        }
        Ok(choices.is_empty())
    }

    fn is_kind_finite(&mut self, kind: &str, schema: &'a Value) -> Result<bool, GrammarError> {
        match kind {
            "object" => {
                let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
                for name in required.filter_map(Value::as_str) {
                    let property = schema.get("properties").and_then(|properties| properties.get(name));
                    if let Some(property) = property
                        && !self.is_finite(property)?
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            "array" => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                let least = usize::try_from(least).unwrap_or(usize::MAX);
                let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let rest = schema.get("items").filter(|_| least > first.len());
                for item in first.iter().take(least).chain(rest) {
                    if !self.is_finite(item)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// Whether what stands at `reference` is finite. What does not stand in this schema is for its compiler to refuse.
    fn follow(&mut self, reference: &'a str) -> Result<bool, GrammarError> {
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
            return Ok(true);
        };
        if self.known.contains(reference) {
            return Ok(true);
        }
        if self.within.contains(&reference) {
            return Ok(false);
        }
        if self.within.len() == SCHEMA_REFERENCES_MAX {
            return Err(GrammarError::TooLarge { max: SCHEMA_REFERENCES_MAX, unit: "references within each other" });
        }
        self.within.push(reference);
        let is_finite = self.is_finite(target);
        self.within.pop();
        if let Ok(true) = is_finite {
            self.known.insert(reference);
        }
        is_finite
    }
}
