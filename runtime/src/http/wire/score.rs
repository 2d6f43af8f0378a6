//! `POST /v1/score`: the request, as vLLM has it, and the answer's body.

use std::iter;
use std::time::{SystemTime, UNIX_EPOCH};

use meter::Receipt;
use models::limits::PASSAGES_MAX;
use scheduler::KeepAlive;
use serde::Serialize;
use utoipa::ToSchema;

use super::embedding::EncodingUsage;
use super::generation::take_harmless;
use super::json::Node;
use super::{Fields, Urgency, keep_alive, parse_object};
use crate::http::error::ApiError;

/// Pairs of texts to be scored.
#[derive(Clone, Debug)]
pub(crate) struct ScoreRequest {
    /// The model as the request names it.
    pub(crate) model: String,
    /// `text_1`: one for all of the second, or as many as there are of those.
    pub(crate) firsts: Vec<String>,
    /// `text_2`, at least one.
    pub(crate) seconds: Vec<String>,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long the answer may take, and who goes first.
    pub(crate) urgency: Urgency,
}

impl ScoreRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let (firsts, seconds) = (texts(&mut fields, "text_1")?, texts(&mut fields, "text_2")?);
        if firsts.len() != 1 && firsts.len() != seconds.len() {
            let why = "has to be one text, or as many as `text_2` has";
            return Err(ApiError::invalid_value(fields.path("text_1"), why));
        }
        let keep_alive = keep_alive::take(&mut fields)?;
        let urgency = Urgency::take(&mut fields)?;
        take_harmless(&mut fields)?;
        fields.finish()?;
        Ok(Self { model, firsts, seconds, keep_alive, urgency })
    }

    /// The pairs, and which of the first texts each has.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        self.seconds.iter().enumerate().map(|(index, second)| {
            let first = if self.firsts.len() == 1 { 0 } else { index };
            (first, self.firsts[first].as_str(), second.as_str())
        })
    }
}

/// A text, or several; none is empty.
fn texts(fields: &mut Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let path = fields.path(name);
    let items = match fields.take(name) {
        None => return Err(ApiError::missing_field(path)),
        Some(Node::List(items)) if items.is_empty() => return Err(ApiError::invalid_value(path, "is empty")),
        Some(Node::List(items)) if items.len() > PASSAGES_MAX => {
            return Err(ApiError::invalid_value(path, format_args!("has more than {PASSAGES_MAX} entries")));
        }
        Some(Node::List(items)) => {
            items.into_iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)).collect()
        }
        Some(text) => iter::once((path, text)).collect::<Vec<_>>(),
    };
    let text = |(path, item)| match item {
        Node::Text(text) if text.is_empty() => Err(ApiError::invalid_value(path, "is empty")),
        Node::Text(text) => Ok(text),
        _ => Err(ApiError::invalid_type(path, "a string or an array of strings")),
    };
    items.into_iter().map(text).collect()
}

/// The body of an answer: `scores` in the order of the pairs.
pub(crate) fn body(model: &str, scores: &[f32], receipt: &Receipt) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let data = scores.iter().enumerate().map(|(index, &score)| Score { object: "score", index, score });
    let body = Body {
        id: &receipt.id,
        object: "list",
        created: since.as_secs(),
        model,
        data: data.collect(),
        usage: EncodingUsage::of(receipt),
        dayfly: receipt,
    };
    serde_json::to_string(&body).expect("strings, numbers and maps with names are always JSON")
}

/// A score for each pair.
#[derive(Serialize, ToSchema)]
#[schema(as = Scores)]
pub(crate) struct Body<'a> {
    /// The receipt is found by it.
    id: &'a str,
    /// `list`.
    object: &'static str,
    /// When it was answered, in seconds since 1970.
    created: u64,
    /// As the request names it.
    model: &'a str,
    data: Vec<Score>,
    usage: EncodingUsage,
    dayfly: &'a Receipt,
}

/// How well two texts fit.
#[derive(Serialize, ToSchema)]
struct Score {
    /// `score`.
    object: &'static str,
    /// Which pair it is of.
    index: usize,
    /// Greater is better: from 0 to 1 of a model that ranks, the cosine of their vectors of one that embeds.
    score: f32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::{each_refused, refused};

    #[test]
    fn what_is_no_pair_is_refused_by_name() {
        let table = [
            (r#""text_1":"","text_2":"b""#, "invalid_value", "text_1"),
            (r#""text_1":5,"text_2":"b""#, "invalid_type", "text_1"),
            (r#""text_1":"a","text_2":[]"#, "invalid_value", "text_2"),
            (r#""text_1":"a","text_2":["b",""]"#, "invalid_value", "text_2[1]"),
            (r#""text_1":"a","text_2":["b",1]"#, "invalid_type", "text_2[1]"),
            (r#""text_1":["a","b"],"text_2":"c""#, "invalid_value", "text_1"),
            (
                r#""text_1":"a","text_2":"b","truncate_prompt_tokens":5"#,
                "unsupported_parameter",
                "truncate_prompt_tokens",
            ),
        ];
        each_refused(ScoreRequest::parse, r#""model":"m""#, &table);
        let missing = |field: &str| ("missing_required_parameter", Some(field.to_owned()));
        assert_eq!(refused(ScoreRequest::parse(br#"{"model":"m","text_2":"b"}"#)), missing("text_1"));
        let many = format!("{{\"model\":\"m\",\"text_1\":\"a\",\"text_2\":[{}\"b\"]}}", "\"b\",".repeat(PASSAGES_MAX));
        assert_eq!(refused(ScoreRequest::parse(many.as_bytes())), ("invalid_value", Some("text_2".to_owned())));
    }

    #[test]
    fn one_text_is_for_all_and_several_are_each_for_one() {
        let pairs = |texts: &str| {
            let request = ScoreRequest::parse(format!("{{\"model\":\"m\",{texts}}}").as_bytes()).expect(texts);
            let told = request.pairs().map(|(first, one, other)| format!("{first}:{one}{other}"));
            told.collect::<Vec<_>>()
        };
        assert_eq!(pairs(r#""text_1":"a","text_2":"x""#), ["0:ax"]);
        assert_eq!(pairs(r#""text_1":["a"],"text_2":["x","y"]"#), ["0:ax", "0:ay"]);
        assert_eq!(pairs(r#""text_1":["a","b"],"text_2":["x","y"]"#), ["0:ax", "1:by"]);
    }
}
