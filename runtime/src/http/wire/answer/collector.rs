//! Pieces of answers folded into whole ones.

use models::generation::{FinishReason, Output, Span};

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    /// Its text, and its tokens where log-probabilities were asked for.
    pub(crate) span: Span,
    /// Why it ended; none while it goes on.
    pub(crate) finish: Option<FinishReason>,
}

/// The answers of a request, as far as they have come.
#[derive(Debug)]
pub(crate) struct Collector {
    choices: Vec<Choice>,
}

impl Collector {
    /// Room for so many answers, prompts × choices of each.
    pub(crate) fn new(choices: usize) -> Self {
        Self { choices: vec![Choice::default(); choices] }
    }

    /// Takes a piece.
    ///
    /// # Panics
    /// When the piece is of an answer past the number given.
    pub(crate) fn push(&mut self, output: Output) {
        let choice = &mut self.choices[output.choice];
        choice.span.text.push_str(&output.span.text);
        choice.span.tokens.extend(output.span.tokens);
        choice.finish = output.finish.or(choice.finish);
    }

    /// The choices in order.
    pub(crate) fn finish(self) -> Vec<Choice> {
        self.choices
    }
}

#[cfg(test)]
mod tests {
    use models::generation::{FinishReason, Output, ScoredToken, Span};

    use super::Collector;

    #[test]
    fn pieces_of_several_choices_come_together_in_order() {
        let token = |id| ScoredToken { id, offset_chars: 0, logprobs: None };
        let piece = |choice, text: &str, id, finish| Output {
            choice,
            span: Span { text: text.to_owned(), tokens: vec![token(id)] },
            finish,
        };
        let mut collector = Collector::new(2);
        collector.push(piece(0, "on", 1, None));
        collector.push(piece(1, "two", 2, Some(FinishReason::Length)));
        collector.push(piece(0, "e", 3, Some(FinishReason::Stop)));
        let choices = collector.finish();
        assert_eq!((choices[0].span.text.as_str(), choices[0].finish), ("one", Some(FinishReason::Stop)));
        assert_eq!(choices[0].span.tokens, [token(1), token(3)]);
        assert_eq!((choices[1].span.text.as_str(), choices[1].finish), ("two", Some(FinishReason::Length)));
    }
}
