//! Where a model's thoughts stand when its answer begins, which the end of the prompt tells.
//!
//! Deliberately absent: reading them (`reading`), and what holds behind them (`grammar`).

use serde_json::Value as Json;

use super::{ChatTemplate, Extras, Message, TemplateError, Turn, mark};

/// What begins a model's thoughts, in the families that show them.
pub(crate) const OPEN: &str = "<think>";
/// What ends them.
pub(crate) const CLOSE: &str = "</think>";

/// Thoughts, as an answer to a conversation begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Thoughts {
    /// The template knows none.
    Unknown,
    /// They are switched off, or the prompt has ended them.
    Off,
    /// The model begins them if it likes.
    Possible,
    /// The prompt has begun them.
    Begun,
}

impl ChatTemplate {
    /// Where thoughts stand at the end of a prompt that is made with `extras`.
    ///
    /// # Errors
    /// [`TemplateError`] when the template fails.
    pub fn thoughts(&self, extras: &Extras) -> Result<Thoughts, TemplateError> {
        if !self.knows_thinking() {
            return Ok(Thoughts::Unknown);
        }
        // What goes on with a message, or stands behind it, begins none.
        if extras.turn != Turn::Opened {
            return Ok(Thoughts::Off);
        }
        let message = Message { role: "user".to_owned(), content: "a".to_owned(), ..Message::default() };
        let mark = mark(&[], extras).ok_or(TemplateError::NoMark)?;
        let values = extras.without_tools();
        let prompt = self.render(&[message], &values, mark)?;
        let prompt = prompt.trim_end();
        let says = |name: &str, off: Json| extras.values.get(name) == Some(&off);
        let is_off = says("enable_thinking", false.into())
            || says("thinking", false.into())
            || says("reasoning_effort", "none".into());
        Ok(match () {
            () if prompt.ends_with(OPEN) => Thoughts::Begun,
            () if prompt.ends_with(CLOSE) || is_off => Thoughts::Off,
            () => Thoughts::Possible,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokenizer::Tokenizer;

    #[test]
    fn the_end_of_the_prompt_tells_where_thoughts_stand() {
        let writer = loader::fixture::tiny_model(&loader::fixture::TinyModel::default());
        let tokenizer = Tokenizer::from_header(&loader::gguf::parse(&writer.to_bytes()).unwrap()).unwrap();
        let with = |source: &str, values: Json| {
            let template = ChatTemplate::compile(source, &tokenizer).unwrap();
            let values = values.as_object().unwrap().clone();
            template.thoughts(&Extras { values, ..Extras::default() }).unwrap()
        };
        let closing = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}";
        let opening = "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}";
        let (on, off) = (json!({ "enable_thinking": true }), json!({ "enable_thinking": false }));
        assert_eq!(with("{{ messages }}", json!({})), Thoughts::Unknown);
        assert_eq!(with(closing, json!({})), Thoughts::Possible);
        assert_eq!(with(closing, on.clone()), Thoughts::Possible);
        assert_eq!(with(closing, off.clone()), Thoughts::Off);
        assert_eq!(with(opening, json!({})), Thoughts::Begun);
        assert_eq!(with(opening, on), Thoughts::Begun);
        assert_eq!(with(opening, off), Thoughts::Off);
        assert_eq!(with("{% if thinking %}<think>{% else %}a{% endif %}", json!({ "thinking": false })), Thoughts::Off);
        assert_eq!(
            with("{{ reasoning_effort }}{{ '<think>' }}a", json!({ "reasoning_effort": "none" })),
            Thoughts::Off
        );
        // The prompt has the last word.
        assert_eq!(with("{{ '<think>' }}", json!({ "enable_thinking": false })), Thoughts::Begun);
        assert_eq!(with("{{ '<think>a</think>' }}", json!({})), Thoughts::Off);
    }
}
