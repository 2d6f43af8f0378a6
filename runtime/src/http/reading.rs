//! How the text of a conversation's answers is read: as thoughts, words and calls, in the forms of the model's template.

use models::Descriptor;
use models::reading::{AnswerReader, Thinking};

use super::error::ApiError;
use super::wire::{ChatOptions, Common};
use crate::generate::template_error;

/// What decides how an answer is read.
pub(super) struct Reading {
    options: ChatOptions,
    thinking: Thinking,
}

impl Reading {
    /// Of answers to a conversation with these `options`.
    pub(super) fn of(common: &Common, options: &ChatOptions) -> Self {
        // What keeps to a grammar from its first token on has no room for thoughts.
        let is_constrained = common.constraint.is_some() || options.calls_are_forced();
        let thinking = if is_constrained { Thinking::Never } else { Thinking::AsModel };
        Self { options: options.clone(), thinking }
    }

    /// What reads the answers of a model.
    ///
    /// # Errors
    /// When the model's template, which did well with the conversation, fails without it.
    pub(super) fn reader(&self, descriptor: &Descriptor) -> Result<AnswerReader, ApiError> {
        let Some(template) = &descriptor.template else { return Ok(AnswerReader::plain()) };
        let extras = self.options.extras_for(template)?;
        AnswerReader::new(template, &extras, self.thinking).map_err(template_error)
    }
}
