//! `POST /v1/completions`: the request.

use models::generation::Echo;
use models::limits::{PROMPTS_MAX, TOP_LOGPROBS_MAX};
use models::tokenizer::Special;

use super::generation::{Common, tokens_max};
use super::inputs::{self, PromptInput};
use super::{Delivery, Fields, IncludeUsage, parse_object};
use crate::http::error::ApiError;

/// Texts to go on with.
#[derive(Clone, Debug)]
pub(crate) struct CompletionRequest {
    /// What chats have too.
    pub(crate) common: Common,
    /// At least one.
    pub(crate) prompts: Vec<PromptInput>,
    /// Whether each prompt is part of its answers.
    pub(crate) echo: Echo,
    /// How special tokens in prompts of text are read.
    pub(crate) special: Special,
}

impl CompletionRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let prompts = inputs::take(&mut fields, "prompt", PROMPTS_MAX)?;
        let echo = if fields.flag("echo")?.unwrap_or(false) { Echo::Prompt } else { Echo::Nothing };
        let special = super::tokenize::special(&mut fields)?;
        let tokens_max = tokens_max(&mut fields, "max_tokens", 0)?;
        if tokens_max == Some(0) && echo == Echo::Nothing {
            return Err(ApiError::invalid_value(fields.path("max_tokens"), "may be 0 with `echo: true` alone"));
        }
        let logprobs = fields.integer("logprobs", 0..=TOP_LOGPROBS_MAX as i128)?;
        let common = Common::take(&mut fields, tokens_max, logprobs)?;
        if echo == Echo::Prompt
            && let Delivery::Streamed { include_usage: IncludeUsage::Continuous, .. } = common.delivery
        {
            return Err(ApiError::unsupported_field("stream_options.continuous_usage_stats"));
        }
        take_unsupported(&mut fields, common.choices)?;
        fields.finish()?;
        Ok(Self { common, prompts, echo, special })
    }
}

/// What other servers do and this one does not, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields, choices: usize) -> Result<(), ApiError> {
    if let Some(best_of) = fields.integer::<usize>("best_of", 1..=i128::from(u32::MAX))?
        && best_of != choices
    {
        return Err(ApiError::unsupported_field(fields.path("best_of")));
    }
    fields.only_on("add_generation_prompt")?;
    fields.only_off("continue_final_message")?;
    fields.only_empty("suffix")
}

#[cfg(test)]
mod tests {
    use models::generation::Echo;
    use models::tokenizer::Special;

    use super::{CompletionRequest, PromptInput};
    use crate::http::wire::refusal::{each_refused, refused};

    const MODEL: &str = r#""model":"m""#;
    const MINIMUM: &str = r#""model":"m","prompt":"a""#;

    #[test]
    fn row_19_prompts_that_are_none_are_refused() {
        let table = [
            (r#""prompt":5"#, "invalid_type", "prompt"),
            (r#""prompt":{}"#, "invalid_type", "prompt"),
            (r#""prompt":[]"#, "invalid_value", "prompt"),
            (r#""prompt":[[]]"#, "invalid_value", "prompt[0]"),
            (r#""prompt":[[1],[]]"#, "invalid_value", "prompt[1]"),
            (r#""prompt":[-1]"#, "invalid_value", "prompt[0]"),
            (r#""prompt":[1,4294967296]"#, "invalid_type", "prompt[0]"),
            (r#""prompt":[4294967296]"#, "invalid_value", "prompt[0]"),
            (r#""prompt":[1.5]"#, "invalid_type", "prompt[0]"),
            (r#""prompt":["a",1]"#, "invalid_type", "prompt[1]"),
            (r#""prompt":["a",null]"#, "invalid_type", "prompt[1]"),
            (r#""prompt":[[1,"a"]]"#, "invalid_type", "prompt[0]"),
            (r#""prompt":[[[1]]]"#, "invalid_type", "prompt[0]"),
        ];
        each_refused(CompletionRequest::parse, MODEL, &table);
        let none = format!("{{{MODEL}}}");
        let missing = ("missing_required_parameter", Some("prompt".to_owned()));
        assert_eq!(refused(CompletionRequest::parse(none.as_bytes())), missing);
        let many = format!("{{{MODEL},\"prompt\":[{}[1]]}}", "[1],".repeat(256));
        assert_eq!(refused(CompletionRequest::parse(many.as_bytes())), ("invalid_value", Some("prompt".to_owned())));
    }

    #[test]
    fn row_29_lengths_that_cannot_be_are_refused() {
        let table = [
            (r#""max_tokens":-1"#, "invalid_value", "max_tokens"),
            (r#""max_tokens":9223372036854775808"#, "invalid_value", "max_tokens"),
            (r#""max_tokens":0"#, "invalid_value", "max_tokens"),
            (r#""max_tokens":0,"echo":false"#, "invalid_value", "max_tokens"),
            (r#""best_of":0"#, "invalid_value", "best_of"),
        ];
        each_refused(CompletionRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn row_31_log_probabilities_that_nobody_shows_are_refused() {
        let table = [
            (r#""logprobs":10000"#, "invalid_value", "logprobs"),
            (r#""logprobs":21"#, "invalid_value", "logprobs"),
            (r#""logprobs":-1"#, "invalid_value", "logprobs"),
            (r#""logprobs":true"#, "invalid_type", "logprobs"),
        ];
        each_refused(CompletionRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""suffix":"b""#, "unsupported_parameter", "suffix"),
            (r#""best_of":2"#, "unsupported_parameter", "best_of"),
            (
                r#""echo":true,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}"#,
                "unsupported_parameter",
                "stream_options.continuous_usage_stats",
            ),
            (r#""add_generation_prompt":false"#, "unsupported_parameter", "add_generation_prompt"),
            (r#""continue_final_message":true"#, "unsupported_parameter", "continue_final_message"),
            (r#""best_of":2,"n":3"#, "unsupported_parameter", "best_of"),
            (r#""top_logprobs":1"#, "unsupported_parameter", "top_logprobs"),
            (r#""max_completion_tokens":1"#, "unsupported_parameter", "max_completion_tokens"),
            (r#""messages":[]"#, "unsupported_parameter", "messages"),
            (r#""n_predict":1"#, "unsupported_parameter", "n_predict"),
        ];
        each_refused(CompletionRequest::parse, MINIMUM, &table);
    }

    #[test]
    fn prompts_are_read_in_every_form() {
        let text = |text: &str| PromptInput::Text(text.to_owned());
        let table = [
            (r#""a""#, vec![text("a")]),
            (r#""""#, vec![text("")]),
            (r#"["a","b"]"#, vec![text("a"), text("b")]),
            ("[1,2,3]", vec![PromptInput::Ids(vec![1, 2, 3])]),
            ("[[1],[2,3]]", vec![PromptInput::Ids(vec![1]), PromptInput::Ids(vec![2, 3])]),
            (r#"["a",[2,3]]"#, vec![text("a"), PromptInput::Ids(vec![2, 3])]),
        ];
        for (prompt, expected) in table {
            let body = format!("{{{MODEL},\"prompt\":{prompt}}}");
            assert_eq!(CompletionRequest::parse(body.as_bytes()).expect(prompt).prompts, expected, "{prompt}");
        }
        let ids = format!("{{{MODEL},\"prompt\":[{}1]}}", "1,".repeat(100_000));
        let prompts = CompletionRequest::parse(ids.as_bytes()).expect("a long prompt").prompts;
        assert!(matches!(&prompts[..], [PromptInput::Ids(ids)] if ids.len() == 100_001));
    }

    #[test]
    fn scoring_clients_are_understood() {
        let request = CompletionRequest::parse(
            br#"{"model":"m","prompt":[[1,2]],"echo":true,"logprobs":1,"max_tokens":0,"temperature":0,"seed":1234,
                "n":2,"best_of":2,"suffix":"","stop":null,"parse_special":false}"#,
        )
        .expect("what evaluation harnesses send");
        assert_eq!((request.echo, request.special), (Echo::Prompt, Special::Plain));
        assert_eq!((request.common.logprobs, request.common.tokens_max), (Some(1), Some(0)));
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let request = CompletionRequest::parse(format!("{{{MINIMUM}}}").as_bytes()).expect("enough");
        assert_eq!((request.echo, request.special), (Echo::Nothing, Special::Parsed));
        assert_eq!((request.common.logprobs, request.common.tokens_max), (None, None));
    }
}
