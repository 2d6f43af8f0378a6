//! `POST /v1/rerank`: the request, as Jina's and Cohere's servers have it (`documents`) and as Hugging Face's
//! text-embeddings-inference has it (`texts`), and the answer's body.

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

/// Documents to be ordered by what they have to do with a query.
#[derive(Clone, Debug)]
pub(crate) struct RerankRequest {
    /// The model as the request names it.
    pub(crate) model: String,
    /// Not empty.
    pub(crate) query: String,
    /// At least one; any may be empty.
    pub(crate) documents: Vec<String>,
    /// What is answered.
    pub(crate) results: Results,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long the answer may take, and who goes first.
    pub(crate) urgency: Urgency,
}

/// Which results are answered, and what is in them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Results {
    /// The best of them, at most.
    pub(crate) top: usize,
    /// Whether each has its document.
    pub(crate) documents: Documents,
    /// How they are told.
    pub(crate) style: Style,
}

/// How results are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// In an object, with usage and receipt, to who asked with `documents`.
    Documents,
    /// As a list and nothing else, to who asked with `texts`.
    Texts,
}

/// Whether a result has its document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Documents {
    /// It has.
    Returned,
    /// It has its index alone.
    Omitted,
}

impl RerankRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let query = fields.required_text("query")?;
        if query.is_empty() {
            return Err(ApiError::invalid_value(fields.path("query"), "is empty"));
        }
        let style = if fields.has("texts") { Style::Texts } else { Style::Documents };
        let (name, returns) = match style {
            Style::Documents => ("documents", "return_documents"),
            Style::Texts => ("texts", "return_text"),
        };
        let documents = documents(&mut fields, name)?;
        let top = fields.integer("top_n", 1..=i128::from(u32::MAX))?.unwrap_or(documents.len());
        let returned = fields.flag(returns)?.unwrap_or(false);
        if style == Style::Texts {
            // Scores are probabilities, and nothing is cut.
            fields.only_off("raw_scores")?;
            fields.only_off("truncate")?;
        }
        let keep_alive = keep_alive::take(&mut fields)?;
        let urgency = Urgency::take(&mut fields)?;
        take_harmless(&mut fields)?;
        fields.finish()?;
        let returned = if returned { Documents::Returned } else { Documents::Omitted };
        let results = Results { top, documents: returned, style };
        Ok(Self { model, query, documents, results, keep_alive, urgency })
    }
}

/// Texts, or objects with a text each.
fn documents(fields: &mut Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let path = fields.path(name);
    let items = match fields.take(name) {
        None => return Err(ApiError::missing_field(path)),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, "an array of strings")),
    };
    if items.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    if items.len() > PASSAGES_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {PASSAGES_MAX} entries")));
    }
    items.into_iter().enumerate().map(|(index, item)| document(item, &format!("{path}[{index}]"))).collect()
}

fn document(item: Node, path: &str) -> Result<String, ApiError> {
    match item {
        Node::Text(text) => Ok(text),
        Node::Object(_) => {
            let mut fields = Fields::of(item, path)?;
            let text = fields.required_text("text")?;
            fields.finish()?;
            Ok(text)
        }
        _ => Err(ApiError::invalid_type(path, "a string or an object with a `text`")),
    }
}

/// The body of an answer: `ranked` are numbers of documents with their scores, the best first.
pub(crate) fn body(model: &str, ranked: &[(usize, f32)], documents: Option<&[String]>, receipt: &Receipt) -> String {
    let results = ranked.iter().map(|&(index, relevance_score)| RankedDocument {
        index,
        relevance_score,
        document: documents.map(|documents| Document { text: &documents[index] }),
    });
    let body = Body {
        id: &receipt.id,
        object: "list",
        results: results.collect(),
        model,
        usage: EncodingUsage::of(receipt),
        dayfly: receipt,
    };
    serde_json::to_string(&body).expect("strings, numbers and maps with names are always JSON")
}

/// The same as a list and nothing else.
pub(crate) fn list(ranked: &[(usize, f32)], texts: Option<&[String]>) -> String {
    let ranked = ranked.iter().map(|&(index, score)| RankedText {
        index,
        score,
        text: texts.map(|texts| texts[index].as_str()),
    });
    serde_json::to_string(&ranked.collect::<Vec<_>>()).expect("numbers and strings are always JSON")
}

/// Documents in order, the best first.
#[derive(Serialize, ToSchema)]
#[schema(as = Ranking)]
pub(crate) struct Body<'a> {
    /// The receipt is found by it.
    id: &'a str,
    /// `list`.
    object: &'static str,
    results: Vec<RankedDocument<'a>>,
    /// As the request names it.
    model: &'a str,
    usage: EncodingUsage,
    dayfly: &'a Receipt,
}

/// A document, and how well it fits.
#[derive(Serialize, ToSchema)]
struct RankedDocument<'a> {
    /// Which of the request's documents.
    index: usize,
    /// Greater is better.
    relevance_score: f32,
    /// Where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document<'a>>,
}

/// A text, and how well it fits, as text-embeddings-inference tells it.
#[derive(Serialize, ToSchema)]
pub(crate) struct RankedText<'a> {
    /// Which of the request's texts.
    index: usize,
    /// From 0 to 1; greater is better.
    score: f32,
    /// Where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// A document.
#[derive(Serialize, ToSchema)]
struct Document<'a> {
    text: &'a str,
}

#[cfg(test)]
mod tests {
    use super::{Documents, RerankRequest, Results, Style};
    use crate::http::wire::refusal::{each_refused, refused};

    const MINIMUM: &str = r#""model":"m","query":"q""#;

    #[test]
    fn what_cannot_be_ranked_is_refused_by_name() {
        let table = [
            (r#""documents":"a""#, "invalid_type", "documents"),
            (r#""documents":[]"#, "invalid_value", "documents"),
            (r#""documents":[1]"#, "invalid_type", "documents"),
            (r#""documents":["a",1]"#, "invalid_type", "documents[1]"),
            (r#""documents":["a",{}]"#, "missing_required_parameter", "documents[1].text"),
            (r#""documents":[{"text":"a","title":"b"}]"#, "unsupported_parameter", "documents[0].title"),
            (r#""documents":["a"],"top_n":0"#, "invalid_value", "top_n"),
            (r#""documents":["a"],"return_documents":1"#, "invalid_type", "return_documents"),
            (r#""documents":["a"],"max_chunks_per_doc":1"#, "unsupported_parameter", "max_chunks_per_doc"),
            (r#""documents":["a"],"return_text":true"#, "unsupported_parameter", "return_text"),
            (r#""documents":["a"],"texts":["a"]"#, "unsupported_parameter", "documents"),
            (r#""texts":["a"],"raw_scores":true"#, "unsupported_parameter", "raw_scores"),
            (r#""texts":["a"],"truncate":true"#, "unsupported_parameter", "truncate"),
            (r#""texts":[]"#, "invalid_value", "texts"),
        ];
        each_refused(RerankRequest::parse, MINIMUM, &table);
        let empty = RerankRequest::parse(br#"{"model":"m","query":"","documents":["a"]}"#);
        assert_eq!(refused(empty), ("invalid_value", Some("query".to_owned())));
        let missing = |field: &str| ("missing_required_parameter", Some(field.to_owned()));
        assert_eq!(refused(RerankRequest::parse(br#"{"model":"m","documents":["a"]}"#)), missing("query"));
        assert_eq!(refused(RerankRequest::parse(br#"{"model":"m","query":"q"}"#)), missing("documents"));
        let many = format!("{{{MINIMUM},\"documents\":[{}\"a\"]}}", "\"a\",".repeat(2048));
        assert_eq!(refused(RerankRequest::parse(many.as_bytes())), ("invalid_value", Some("documents".to_owned())));
    }

    #[test]
    fn documents_are_texts_or_hold_one() {
        let request = RerankRequest::parse(
            br#"{"model":"m","query":"q","documents":["a",{"text":"b"},""],"top_n":9,"return_documents":true}"#,
        );
        let request = request.expect("all of it is supported");
        assert_eq!(request.documents, ["a", "b", ""]);
        assert_eq!(request.results, Results { top: 9, documents: Documents::Returned, style: Style::Documents });
        let request = RerankRequest::parse(br#"{"model":"m","query":"q","documents":["a","b"]}"#).expect("enough");
        assert_eq!(request.results, Results { top: 2, documents: Documents::Omitted, style: Style::Documents });
        let texts = br#"{"model":"m","query":"q","texts":["a","b"],"raw_scores":false,"return_text":true}"#;
        let request = RerankRequest::parse(texts).expect("it is supported");
        assert_eq!(request.results, Results { top: 2, documents: Documents::Returned, style: Style::Texts });
    }
}
