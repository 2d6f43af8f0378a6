//! Answers that keep to a grammar: a JSON schema, a regular expression, a context-free grammar in Lark's notation or in GBNF,
//! or calls of functions; from their first token on, or behind what the model thinks (`thoughtful`).
//!
//! The tokens of a model are made ready once ([`Vocabulary`], which takes long), a grammar is compiled for them
//! ([`Vocabulary::compile`]), and each answer goes through it by a [`Matching`] of its own: before a token is drawn it
//! says which are allowed, after that it is told which it was. The work is `llguidance`'s.
//!
//! Invariants: a token that is no text is never allowed, whatever a grammar names, but for those that end an answer, and those
//! only where the grammar may end. What compiles is bounded before (`source`) and while it is compiled, by counts and
//! not by time, so that the same grammar is always accepted or always refused. Nothing that one answer does is seen by
//! another: what is learned of a grammar while it is followed goes with the answer.
//!
//! Deliberately absent: forced tokens (the model is asked for each), and schemas behind addresses.

mod calls;
mod closed;
mod expression;
mod finite;
mod gbnf;
mod matching;
mod source;
#[cfg(test)]
mod tests;
mod thoughtful;

use std::fmt;
use std::sync::Arc;

use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory};

pub use calls::{CallNumber, Calls, Instead};
pub use gbnf::is_gbnf;
pub use matching::{Allowed, GrammarFault, Matching};
pub use source::{GrammarError, GrammarSource, quoted};
pub use thoughtful::Opening;

use crate::limits::{
    GRAMMAR_COMPILE_FUEL, GRAMMAR_MASK_FUEL, GRAMMAR_MASK_ITEMS_MAX, GRAMMAR_ROW_ITEMS_MAX, GRAMMAR_STATES_MAX,
    GRAMMAR_SYMBOLS_MAX,
};
use crate::tokenizer::Tokenizer;

/// What marks a word that is no text; `llguidance`'s.
const NO_TEXT: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// The tokens of a model, arranged for grammars.
pub struct Vocabulary {
    factory: ParserFactory,
    tokens: Arc<Tokens>,
    bytes: usize,
}

/// What is known of tokens beside their texts.
#[derive(Debug)]
struct Tokens {
    /// Those that are no text and end nothing.
    silent: SimpleVob,
    /// Those that end an answer.
    ends: Vec<u32>,
}

/// A grammar for one vocabulary.
pub struct Grammar {
    start: Matcher,
    tokens: Arc<Tokens>,
}

impl Vocabulary {
    /// Arranges the tokens. Takes some 100 ms for 49,152 of them.
    ///
    /// # Errors
    /// [`GrammarError::Vocabulary`] where they cannot be arranged.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        let size = u32::try_from(tokenizer.len()).expect("a vocabulary is far below 2^32");
        let ends: Vec<u32> = (0..size).filter(|&id| tokenizer.is_end(id)).collect();
        let is_silent = |id: u32| tokenizer.is_control(id) || tokenizer.is_end(id);
        // A number is no name that a grammar could call such a token by.
        let word = |id: u32| match is_silent(id) {
            true => [&[NO_TEXT][..], id.to_string().as_bytes()].concat(),
            false => tokenizer.bytes(id).to_vec(),
        };
        let words: Vec<Vec<u8>> = (0..size).map(word).collect();
        let bytes = words.iter().map(Vec::len).sum::<usize>() * VOCABULARY_BYTES_PER_BYTE;
        let mut trie = TokTrie::from(&TokRxInfo::new(size, ends.first().copied().unwrap_or(INVALID_TOKEN)), &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        let mut silent = trie.alloc_token_set();
        (0..size).filter(|&id| is_silent(id) && !tokenizer.is_end(id)).for_each(|id| silent.allow_token(id));
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
            .map_err(|error| GrammarError::Vocabulary(error.into()))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory, tokens: Arc::new(Tokens { silent, ends }), bytes })
    }

    /// Memory that it takes, in bytes: an estimate.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Compiles a grammar. Takes as long as the bounds let it: some 500 ms at worst.
    ///
    /// # Errors
    /// [`GrammarError`] when it is empty, too large, contradicts itself, or asks for what cannot be enforced.
    pub fn compile(&self, source: &GrammarSource) -> Result<Grammar, GrammarError> {
        source.check()?;
        self.compiled(source).map_err(|error| source.told(error))
    }

    fn compiled(&self, source: &GrammarSource) -> Result<Grammar, GrammarError> {
        let grammar = match source {
            GrammarSource::Behind(opening, held) => thoughtful::behind(*opening, grammar_of(held)?),
            held => TopLevelGrammar::from_grammar(grammar_of(held)?),
        };
        let parser = self.factory.create_parser(grammar);
        let mut start = Matcher::new(Ok(parser.map_err(|error| GrammarError::refused(&error))?));
        // What allows nothing at its very beginning would end each answer before it has begun.
        start.compute_mask().map_err(|error| GrammarError::refused(&error))?;
        let grammar = Grammar { start, tokens: Arc::clone(&self.tokens) };
        grammar.begin().allowed().map_err(|fault| GrammarError::refused(&fault))?;
        Ok(grammar)
    }
}

/// In `llguidance`'s own form. Thoughts stand before other grammars alone, and never within them.
fn grammar_of(source: &GrammarSource) -> Result<GrammarWithLexer, GrammarError> {
    Ok(match source {
        GrammarSource::JsonSchema(schema) => GrammarWithLexer::from_json_schema(source::with_options(schema)),
        GrammarSource::Regex(regex) => GrammarWithLexer::from_regex(regex),
        GrammarSource::Lark(lark) => GrammarWithLexer::from_lark(lark.clone()),
        GrammarSource::Gbnf(gbnf) => GrammarWithLexer::from_lark(gbnf::to_lark(gbnf)?),
        GrammarSource::Calls(calls) => GrammarWithLexer::from_lark(calls.lark()),
        GrammarSource::Behind(_, held) => grammar_of(held)?,
    })
}

/// What the arranged tokens take, for each byte of their texts: nodes of a tree of 8 bytes, in parts that overlap.
const VOCABULARY_BYTES_PER_BYTE: usize = 40;

fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: GRAMMAR_ROW_ITEMS_MAX,
        initial_lexer_fuel: GRAMMAR_COMPILE_FUEL,
        step_lexer_fuel: GRAMMAR_MASK_FUEL,
        step_max_items: GRAMMAR_MASK_ITEMS_MAX,
        max_lexer_states: GRAMMAR_STATES_MAX,
        max_grammar_size: GRAMMAR_SYMBOLS_MAX,
        precompute_large_lexemes: true,
        // They would hold what was generated.
        verbose_errors: false,
    }
}

impl Grammar {
    /// An answer's way through it, from the start.
    #[must_use]
    pub fn begin(&self) -> Matching {
        Matching::new(self.start.deep_clone(), Arc::clone(&self.tokens))
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}
