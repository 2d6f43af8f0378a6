//! What chats and completions have in common.

use models::generation::{End, Ending, Shown};
use models::limits::{CHOICES_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX};
use models::sampling::Sampling;
use scheduler::KeepAlive;

use super::delivery::{self, Delivery, IncludeUsage};
use super::json::Node;
use super::sampling::{self, Repeats};
use super::{Constraint, Fields, Urgency, constraint, ending, keep_alive, restated};
use crate::config::Overlong;
use crate::http::error::ApiError;
use crate::limits::TOKENS_MAX;

/// The fields that chats and completions share.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// The model as the request names it.
    pub(crate) model: String,
    /// Answers for each prompt, at least 1.
    pub(crate) choices: usize,
    /// Tokens of an answer at most; `None` is what is left of the context.
    pub(crate) tokens_max: Option<usize>,
    /// How tokens are drawn.
    pub(crate) sampling: Sampling,
    /// What each answer has to keep to.
    pub(crate) constraint: Option<Constraint>,
    /// Texts that end an answer; none is empty.
    pub(crate) stop: Vec<String>,
    /// What a token that ends a text does.
    pub(crate) end: End,
    /// What else ends an answer, and from when on.
    pub(crate) ending: Ending,
    /// Whether the names of control tokens are shown.
    pub(crate) control_tokens: Shown,
    /// Alternatives to show for each token; `None` shows no log-probabilities.
    pub(crate) logprobs: Option<usize>,
    /// What tokens with log-probabilities are called.
    pub(crate) token_names: TokenNames,
    /// In one piece or as it comes.
    pub(crate) delivery: Delivery,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long the answer may take, and who goes first.
    pub(crate) urgency: Urgency,
    /// The published context that stands before the prompt, by id or name.
    pub(crate) context: Option<String>,
    /// Positions that prompt and answer may have together, where the request bounds them below what the model has.
    pub(crate) context_max: Option<usize>,
    /// What becomes of it where the answer may be longer than that.
    pub(crate) overlong: Overlong,
    /// Whether the same request has the same answer again.
    pub(crate) repeats: Repeats,
    /// Whether the answer may be one that was given before.
    pub(crate) cache: CacheWish,
}

/// What tokens with log-probabilities are called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TokenNames {
    /// By their texts.
    Texts,
    /// `token_id:` and their ids, which no two share.
    Ids,
}

/// What a request says of the response cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CacheWish {
    /// `cache: true`.
    Use,
    /// `cache: false`.
    Avoid,
    /// Nothing: as its tenant has it.
    Unsaid,
}

impl Common {
    /// Takes what both kinds share. `tokens_max` and `logprobs`, which they spell differently, are the caller's.
    pub(super) fn take(
        fields: &mut Fields,
        tokens_max: Option<usize>,
        logprobs: Option<usize>,
    ) -> Result<Self, ApiError> {
        take_harmless(fields)?;
        restated::take(fields)?;
        let (sampling, repeats) = sampling::take(fields)?;
        let constraint = constraint::take(fields)?;
        Ok(Self {
            model: fields.model()?,
            choices: fields.integer("n", 1..=CHOICES_MAX as i128)?.unwrap_or(1),
            tokens_max,
            sampling,
            constraint,
            stop: stops(fields, "stop")?,
            end: if fields.flag("ignore_eos")?.unwrap_or(false) { End::Ignored } else { End::Honoured },
            ending: ending::take(fields, tokens_max)?,
            control_tokens: ending::control_tokens(fields)?,
            logprobs,
            token_names: match fields.flag("return_tokens_as_token_ids")? {
                Some(true) => TokenNames::Ids,
                Some(false) | None => TokenNames::Texts,
            },
            delivery: delivery::take(fields)?,
            keep_alive: keep_alive::take(fields)?,
            urgency: Urgency::take(fields)?,
            context: fields.text("context")?,
            context_max: None,
            overlong: Overlong::default(),
            repeats,
            cache: cache_wish(fields, repeats)?,
        })
    }

    /// The same, whose tokens come with their pieces where they are to be counted there.
    pub(crate) fn counted(mut self) -> Self {
        if let Delivery::Streamed { include_usage: IncludeUsage::Continuous, .. } = self.delivery {
            self.logprobs = self.logprobs.or(Some(0));
        }
        self
    }

    /// Checks what only the model's vocabulary, of this many tokens, can tell.
    ///
    /// # Errors
    /// `invalid_value` when `logit_bias` or `stop_token_ids` name a token that is not in it.
    pub(crate) fn check_vocabulary(&self, tokens: usize) -> Result<(), ApiError> {
        let biased = self.sampling.logit_bias.iter().map(|(id, _)| ("logit_bias", *id));
        let ending = self.ending.tokens.iter().map(|id| ("stop_token_ids", *id));
        match biased.chain(ending).find(|(_, id)| *id as usize >= tokens) {
            None => Ok(()),
            Some((param, id)) => Err(ApiError::invalid_value(param, format_args!("names {id}, which is no token"))),
        }
    }
}

/// A bound on an answer's tokens.
pub(crate) fn tokens_max(fields: &mut Fields, name: &str, least: usize) -> Result<Option<usize>, ApiError> {
    fields.integer(name, least as i128..=i128::from(TOKENS_MAX))
}

/// Fields that change no answer, checked and dropped.
pub(super) fn take_harmless(fields: &mut Fields) -> Result<(), ApiError> {
    take_names(fields)?;
    fields.object("metadata")?;
    fields.only_off("store")
}

/// Names of who asks and what for, which mean nothing here.
pub(crate) const CLIENT_NAMES: [&str; 4] = ["user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

/// Those of them that are told again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClientNames {
    pub(crate) user: Option<String>,
    pub(crate) safety_identifier: Option<String>,
    pub(crate) prompt_cache_key: Option<String>,
}

/// Takes who asks and what for.
pub(crate) fn take_names(fields: &mut Fields) -> Result<ClientNames, ApiError> {
    let [user, safety_identifier, prompt_cache_key, retention] = CLIENT_NAMES.map(|name| fields.bounded_text(name));
    retention?;
    Ok(ClientNames { user: user?, safety_identifier: safety_identifier?, prompt_cache_key: prompt_cache_key? })
}

/// `cache`, which is for answers that are the same each time.
fn cache_wish(fields: &mut Fields, repeats: Repeats) -> Result<CacheWish, ApiError> {
    match (fields.flag("cache")?, repeats) {
        (None, _) => Ok(CacheWish::Unsaid),
        (Some(false), _) => Ok(CacheWish::Avoid),
        (Some(true), Repeats::Yes) => Ok(CacheWish::Use),
        (Some(true), Repeats::No) => {
            let why = "is for answers that are the same each time: say `temperature: 0` or a `seed`";
            Err(ApiError::invalid_value(fields.path("cache"), why))
        }
    }
}

/// Texts that end an answer: one, or a list.
pub(crate) fn stops(fields: &mut Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let path = fields.path(name);
    let items = match fields.take(name) {
        None => return Ok(Vec::new()),
        Some(Node::Text(text)) => return Ok(vec![stop_string(Node::Text(text), path)?]),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, "a string or an array of strings")),
    };
    if items.len() > STOP_STRINGS_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {STOP_STRINGS_MAX} strings")));
    }
    items.into_iter().enumerate().map(|(index, item)| stop_string(item, format!("{path}[{index}]"))).collect()
}

fn stop_string(node: Node, path: String) -> Result<String, ApiError> {
    match node {
        Node::Text(text) if text.is_empty() => Err(ApiError::invalid_value(path, "is empty")),
        Node::Text(text) if text.len() > STOP_STRING_BYTES_MAX => {
            Err(ApiError::invalid_value(path, format_args!("is longer than {STOP_STRING_BYTES_MAX} bytes")))
        }
        Node::Text(text) => Ok(text),
        _ => Err(ApiError::invalid_type(path, "a string")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use models::generation::End;
    use scheduler::KeepAlive;

    use super::{CacheWish, Common, Delivery, IncludeUsage, Repeats, TokenNames};
    use crate::http::error::ApiError;
    use crate::http::wire::refusal::{each_refused, refused};
    use crate::http::wire::{IncludeProgress, parse_object};

    fn parse(body: &[u8]) -> Result<Common, ApiError> {
        let mut fields = parse_object(body)?;
        let common = Common::take(&mut fields, None, None)?;
        fields.finish()?;
        Ok(common)
    }

    const MODEL: &str = r#""model":"m""#;

    #[test]
    fn row_29_counts_and_stops_that_cannot_be_are_refused() {
        let table = [
            (r#""n":0"#, "invalid_value", "n"),
            (r#""n":-1"#, "invalid_value", "n"),
            (r#""n":129"#, "invalid_value", "n"),
            (r#""n":9223372036854775808"#, "invalid_value", "n"),
            (r#""n":1.5"#, "invalid_type", "n"),
            (r#""stop":"""#, "invalid_value", "stop"),
            (r#""stop":["a",""]"#, "invalid_value", "stop[1]"),
            (r#""stop":["a",1]"#, "invalid_type", "stop[1]"),
            (r#""stop":[1,2]"#, "invalid_type", "stop"),
            (r#""stop":5"#, "invalid_type", "stop"),
        ];
        each_refused(parse, MODEL, &table);
        let stops = |count: usize, bytes: usize| {
            let stops = vec![format!("\"{}\"", "x".repeat(bytes)); count];
            parse(format!("{{{MODEL},\"stop\":[{}]}}", stops.join(",")).as_bytes())
        };
        assert_eq!(stops(16, 1024).expect("as allowed").stop.len(), 16);
        assert_eq!(refused(stops(1_000, 1)), ("invalid_value", Some("stop".to_owned())));
        assert_eq!(refused(stops(1, 1_025)), ("invalid_value", Some("stop[0]".to_owned())));
    }

    #[test]
    fn row_19_wrong_types_are_refused() {
        let table = [
            (r#""stream":"true""#, "invalid_type", "stream"),
            (r#""stream":true,"stream_options":true"#, "invalid_type", "stream_options"),
            (r#""stream":true,"stream_options":{"include_usage":1}"#, "invalid_type", "stream_options.include_usage"),
            (r#""stream":true,"stream_options":{"x":1}"#, "unsupported_parameter", "stream_options.x"),
            (
                r#""stream":true,"stream_options":{"include_obfuscation":true}"#,
                "unsupported_parameter",
                "stream_options.include_obfuscation",
            ),
            (r#""stream_options":{"include_usage":true}"#, "invalid_value", "stream_options"),
            (r#""ignore_eos":1"#, "invalid_type", "ignore_eos"),
            (r#""user":5"#, "invalid_type", "user"),
            (r#""prompt_cache_key":5"#, "invalid_type", "prompt_cache_key"),
            (r#""metadata":"x""#, "invalid_type", "metadata"),
            (r#""store":true"#, "unsupported_parameter", "store"),
            (r#""reasoning_effort":"high""#, "unsupported_parameter", "reasoning_effort"),
        ];
        each_refused(parse, MODEL, &table);
        assert_eq!(refused(parse(b"{}")), ("missing_required_parameter", Some("model".to_owned())));
        assert_eq!(refused(parse(br#"{"model":5}"#)), ("invalid_type", Some("model".to_owned())));
        let user = format!("{{{MODEL},\"user\":\"{}\"}}", "x".repeat(513));
        assert_eq!(refused(parse(user.as_bytes())), ("invalid_value", Some("user".to_owned())));
    }

    #[test]
    fn row_31_a_bias_past_the_vocabulary_is_refused() {
        let common = parse(br#"{"model":"m","logit_bias":{"9":1,"10":1}}"#).expect("the parser knows no vocabulary");
        common.check_vocabulary(11).expect("10 is the last token");
        assert_eq!(refused(common.check_vocabulary(10)), ("invalid_value", Some("logit_bias".to_owned())));
        let common = parse(br#"{"model":"m","stop_token_ids":[10]}"#).expect("the parser knows no vocabulary");
        assert_eq!(refused(common.check_vocabulary(10)), ("invalid_value", Some("stop_token_ids".to_owned())));
    }

    #[test]
    fn what_changes_no_answer_is_taken() {
        parse(
            br#"{"model":"m","user":"u","safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h",
                "metadata":{"a":"b"},"stream":true,
                "stream_options":{"include_obfuscation":false,"continuous_usage_stats":false},
                "store":false,"service_tier":"auto","seed":null,"made_up":null}"#,
        )
        .expect("harmless");
    }

    #[test]
    fn the_cache_is_for_answers_that_repeat() {
        let parsed = |fields: &str| parse(format!("{{{MODEL}{fields}}}").as_bytes());
        for (fields, repeats, wish) in [
            ("", Repeats::No, CacheWish::Unsaid),
            (r#","temperature":0"#, Repeats::Yes, CacheWish::Unsaid),
            (r#","temperature":0,"cache":true"#, Repeats::Yes, CacheWish::Use),
            (r#","seed":0,"cache":true"#, Repeats::Yes, CacheWish::Use),
            (r#","seed":null,"cache":false"#, Repeats::No, CacheWish::Avoid),
            (r#","temperature":0.7,"seed":1,"cache":true"#, Repeats::Yes, CacheWish::Use),
            (r#","temperature":0,"cache":null"#, Repeats::Yes, CacheWish::Unsaid),
        ] {
            let common = parsed(fields).expect("all in range");
            assert_eq!((common.repeats, common.cache), (repeats, wish), "{fields}");
        }
        let table = [
            (r#""cache":true"#, "invalid_value", "cache"),
            (r#""cache":true,"temperature":0.7"#, "invalid_value", "cache"),
            (r#""cache":true,"temperature":0.7,"seed":null"#, "invalid_value", "cache"),
            (r#""cache":1"#, "invalid_type", "cache"),
        ];
        each_refused(parse, MODEL, &table);
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let common = parse(br#"{"model":"m"}"#).expect("enough");
        assert_eq!((common.model.as_str(), common.choices, common.stop.len()), ("m", 1, 0));
        assert_eq!((common.end, common.delivery, common.keep_alive), (End::Honoured, Delivery::Whole, None));
    }

    #[test]
    fn what_is_given_is_taken() {
        let common = parse(
            br#"{"model":"m","n":128,"stop":"end","ignore_eos":true,"stream":true,
                "stream_options":{"include_usage":true},"keep_alive":"1s"}"#,
        )
        .expect("all in range");
        assert_eq!((common.choices, common.stop), (128, vec!["end".to_owned()]));
        assert_eq!(common.end, End::Ignored);
        let include_progress = IncludeProgress::No;
        assert_eq!(common.delivery, Delivery::Streamed { include_usage: IncludeUsage::Yes, include_progress });
        assert_eq!(common.keep_alive, Some(KeepAlive::For(Duration::from_secs(1))));
        for options in ["", r#","stream_options":null"#, r#","stream_options":{}"#] {
            let body = format!("{{{MODEL},\"stream\":true{options}}}");
            let delivery = parse(body.as_bytes()).expect("streamed").delivery;
            assert_eq!(delivery, Delivery::Streamed { include_usage: IncludeUsage::No, include_progress }, "{options}");
        }
        for (options, include_usage) in [
            (r#"{"include_usage":true,"continuous_usage_stats":true}"#, IncludeUsage::Continuous),
            (r#"{"continuous_usage_stats":true}"#, IncludeUsage::No),
        ] {
            let body = format!("{{{MODEL},\"stream\":true,\"stream_options\":{options}}}");
            let delivery = parse(body.as_bytes()).expect("streamed").delivery;
            assert_eq!(delivery, Delivery::Streamed { include_usage, include_progress }, "{options}");
        }
        assert_eq!(parse(br#"{"model":"m","stop":[]}"#).expect("no stop").stop.len(), 0);
        let ids = parse(br#"{"model":"m","return_tokens_as_token_ids":true}"#).expect("a flag");
        assert_eq!(ids.token_names, TokenNames::Ids);
    }
}
