//! Thoughts before what keeps to a grammar: any text up to the tag that ends them, spaces, and only then the grammar.
//!
//! What a tag is made of makes no difference: it is found in the text, be it one token, several, or the beginning of a token
//! that goes on behind it. Thoughts cannot end the answer, but a bound on its tokens can.
//!
//! Where the model may begin its thoughts or not, an answer that begins as they do is one with thoughts, whatever else its
//! grammar would make of the tag. Spaces behind the thoughts are of neither, so that an answer cannot begin with any there.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};

use super::source::{GrammarSource, quoted};
use crate::limits::GRAMMAR_SPACES_MAX;
use crate::template::Thoughts;
use crate::template::thoughts::{CLOSE, OPEN};

/// Whether thoughts come first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// If the model begins them.
    Possible,
    /// The prompt has begun them.
    Begun,
}

impl Opening {
    /// That of an answer whose prompt ends with `thoughts`; none where the grammar holds from the first token on.
    #[must_use]
    pub fn of(thoughts: Thoughts) -> Option<Self> {
        match thoughts {
            Thoughts::Unknown | Thoughts::Off => None,
            Thoughts::Possible => Some(Self::Possible),
            Thoughts::Begun => Some(Self::Begun),
        }
    }
}

impl GrammarSource {
    /// The same behind thoughts.
    #[must_use]
    pub fn behind(self, opening: Opening) -> Self {
        Self::Behind(opening, Box::new(self))
    }
}

/// `held` behind thoughts.
pub(super) fn behind(opening: Opening, mut held: GrammarWithLexer) -> TopLevelGrammar {
    let thoughts = match opening {
        Opening::Possible => "(open rest)?",
        Opening::Begun => "rest",
    };
    // A name that the grammar itself does not call another by.
    let lark = held.lark_grammar.as_deref().unwrap_or_default();
    let longest = lark.split(|character| character != '_').map(str::len).max().unwrap_or(0);
    let name = format!("held{}", "_".repeat(longest + 1));
    // Lazy: they end with the first tag.
    let lark = format!(
        "start: {thoughts} @{name}\n\
         open[lazy]: {open}\n\
         rest: body SPACES?\n\
         body[lazy]: /(?s:.*)/ {close}\n\
         SPACES: /[ \\t\\r\\n]{{1,{GRAMMAR_SPACES_MAX}}}/\n",
        open = quoted(OPEN),
        close = quoted(CLOSE),
    );
    held.name = Some(name);
    TopLevelGrammar { grammars: vec![GrammarWithLexer::from_lark(lark), held], max_tokens: None }
}
