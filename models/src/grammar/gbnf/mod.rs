//! llama.cpp's notation of grammars, GBNF, as a grammar in Lark's.
//!
//! GBNF says which characters may follow each other. `llguidance` reads words, each as long as it can be, and rules over
//! them, so that a part of a grammar can only be a word where reading on never takes what belongs to the next one: of
//! `[a-z]* "z"` the first part would take the last letter. A part that cannot be a word is made of smaller ones (`words`), at
//! last of single characters, which are always right and cost more. What has no recursion is one word altogether.
//!
//! In this order: `parse` (text to `rules`), `positions` (which words stand beside and behind each other) over `automaton` (what
//! a word is made of), `words` (what is one), `lark` (rules to text).
//!
//! Invariants: what a translation accepts is what the grammar accepts, to the character; whatever cannot be translated is
//! refused with its line and column; work is bounded by counts.
//!
//! Deliberately absent: tokens by name or number (`<think>`, `<[7]>`), which are no text.
//!
//! Source of the notation: `grammars/README.md` and `src/llama-grammar.cpp` of github.com/ggml-org/llama.cpp.

mod automaton;
mod class;
mod lark;
mod parse;
mod positions;
mod rules;
mod words;

use super::source::GrammarError;

/// Whether a text begins as GBNF does, with a rule `name ::= …`: Lark's rules have one colon.
#[must_use]
pub fn is_gbnf(text: &str) -> bool {
    let is_said = |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//");
    let Some(rule) = text.lines().map(str::trim).find(is_said) else { return false };
    rule.trim_start_matches(parse::is_of_name).trim_start().starts_with("::=")
}

/// A grammar in GBNF as one in Lark's notation.
///
/// # Errors
/// [`GrammarError::Gbnf`] where it is wrong or cannot be translated, [`GrammarError::Endless`] and
/// [`GrammarError::TooLarge`].
pub(super) fn to_lark(text: &str) -> Result<String, GrammarError> {
    let rules = parse::parse(text)?.with_an_end()?;
    let words = words::words(&rules)?;
    Ok(lark::write(&rules, &words))
}
