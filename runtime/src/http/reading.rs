//! How the text of a conversation's answers is read: as thoughts, words and calls, in the forms of the model's template.

use models::Descriptor;
use models::reading::AnswerReader;
use models::template::Thoughts;

use super::error::ApiError;
use super::wire::{ChatOptions, Common};
use crate::generate::template_error;

/// What decides how an answer is read.
pub(super) struct Reading {
    options: ChatOptions,
    /// Whether all of it keeps to something, but for thoughts before it.
    is_held: bool,
}

impl Reading {
    /// Of answers to a conversation with these `options`.
    pub(super) fn of(common: &Common, options: &ChatOptions) -> Self {
        let is_held = common.constraint.is_some() || options.calls_are_forced();
        Self { options: options.clone(), is_held }
    }

    /// What reads the answers of a model.
    ///
    /// # Errors
    /// When the model's template, which did well with the conversation, fails without it.
    pub(super) fn reader(&self, descriptor: &Descriptor) -> Result<AnswerReader, ApiError> {
        let Some(template) = &descriptor.template else { return Ok(AnswerReader::plain()) };
        let extras = self.options.extras_for(template)?;
        let thoughts = match template.thoughts(&extras).map_err(template_error)? {
            // Nothing that looks like thoughts is any: it keeps to what was asked for from its first token on.
            Thoughts::Off if self.is_held => Thoughts::Unknown,
            thoughts => thoughts,
        };
        Ok(AnswerReader::new(template, &extras, thoughts))
    }
}
