//! How much a model is to think: what requests say of it, as values that its template looks at.

use models::template::ChatTemplate;
use serde_json::Value;

use crate::http::error::ApiError;

/// What a request says of how much the model is to think.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ThinkingWish {
    pub(crate) level: ThinkingLevel,
    /// The field that says so.
    pub(crate) param: &'static str,
}

/// How much.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ThinkingLevel {
    /// Not at all.
    Off,
    /// As it does where it does.
    On,
    /// Much, where the template has words for how much; otherwise as it does.
    High,
    /// So much, in a word; `none` is not at all.
    Effort(String),
}

/// Words for an effort.
pub(crate) const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

impl ThinkingWish {
    /// An effort, in one of the words for it.
    pub(crate) fn effort(effort: String, param: &'static str) -> Result<Self, ApiError> {
        if !EFFORTS.contains(&effort.as_str()) {
            return Err(ApiError::invalid_value(param, format_args!("must be one of {}", EFFORTS.join(", "))));
        }
        Ok(Self { level: ThinkingLevel::Effort(effort), param })
    }

    /// Whether there are to be thoughts.
    pub(crate) fn asks_to_think(&self) -> bool {
        match &self.level {
            // It is what is done anyway.
            ThinkingLevel::Off | ThinkingLevel::High => false,
            ThinkingLevel::On => true,
            ThinkingLevel::Effort(effort) => effort != "none",
        }
    }

    /// What `template` is given for it: nothing where it does so by itself.
    ///
    /// # Errors
    /// `unsupported_parameter` where it would change nothing.
    pub(super) fn value_for(&self, template: &ChatTemplate) -> Result<Option<(&'static str, Value)>, ApiError> {
        let knows = |name: &str| super::has_word(template.source(), name);
        // Some call their switch as messages call what was thought: it is one where it is asked for.
        let switch = match () {
            () if knows("enable_thinking") => Some("enable_thinking"),
            () if ["if thinking", "if not thinking"].into_iter().any(knows) => Some("thinking"),
            () => None,
        };
        let is_off = !self.asks_to_think();
        match &self.level {
            ThinkingLevel::High => Ok(knows("reasoning_effort").then(|| ("reasoning_effort", Value::from("high")))),
            ThinkingLevel::Effort(effort) if knows("reasoning_effort") => {
                Ok(Some(("reasoning_effort", Value::from(effort.as_str()))))
            }
            _ if switch.is_some() => Ok(switch.map(|switch| (switch, Value::from(!is_off)))),
            ThinkingLevel::On if template.knows_thinking() || knows("reasoning_effort") => Ok(None),
            _ if is_off && !template.knows_thinking() && !knows("reasoning_effort") => Ok(None),
            _ => Err(ApiError::unsupported_field(self.param)),
        }
    }
}

#[cfg(test)]
mod tests {
    use models::tokenizer::Tokenizer;
    use serde_json::json;

    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let writer = loader::fixture::tiny_model(&loader::fixture::TinyModel::default());
        let header = loader::gguf::parse(&writer.to_bytes()).expect("a header");
        ChatTemplate::compile(source, &Tokenizer::from_header(&header).expect("a tokenizer")).expect("a template")
    }

    #[test]
    fn a_template_is_told_what_it_looks_at_and_the_rest_is_refused() {
        let switch = template("{% if enable_thinking %}<think>{% endif %}");
        let effort = template("{{ reasoning_effort }}");
        let always = template("{{ messages }}<think>");
        let never = template("{{ messages }}");
        let other_switch = template(
            "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{% if thinking %}<think>{% endif %}",
        );
        let told = |level: ThinkingLevel, template: &ChatTemplate| {
            let wish = ThinkingWish { level, param: "think" };
            wish.value_for(template).map_err(|error| error.code())
        };
        let is_on = |on: bool| Ok(Some(("enable_thinking", json!(on))));
        let refused = Err("unsupported_parameter");
        let word = |word: &str| ThinkingLevel::Effort(word.to_owned());
        for (level, expected) in [
            (ThinkingLevel::On, [is_on(true), Ok(None), Ok(None), refused.clone()]),
            (ThinkingLevel::Off, [is_on(false), refused.clone(), refused.clone(), Ok(None)]),
            (
                word("low"),
                [is_on(true), Ok(Some(("reasoning_effort", json!("low")))), refused.clone(), refused.clone()],
            ),
            (word("none"), [is_on(false), Ok(Some(("reasoning_effort", json!("none")))), refused.clone(), Ok(None)]),
        ] {
            let each = [&switch, &effort, &always, &never].map(|template| told(level.clone(), template));
            assert_eq!(each, expected, "{level:?}");
        }
        let is_thinking = |on: bool| Ok(Some(("thinking", json!(on))));
        assert_eq!(told(ThinkingLevel::On, &other_switch), is_thinking(true));
        assert_eq!(told(ThinkingLevel::Off, &other_switch), is_thinking(false));
        assert_eq!(told(ThinkingLevel::High, &effort), Ok(Some(("reasoning_effort", json!("high")))));
        assert_eq!(told(ThinkingLevel::High, &never), Ok(None));
        assert!(ThinkingWish::effort("endless".to_owned(), "think").is_err());
    }
}
