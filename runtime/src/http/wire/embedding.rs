//! `POST /v1/embeddings`: the request, and the answer's body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meter::Receipt;
use models::limits::PASSAGES_MAX;
use scheduler::KeepAlive;
use serde::Serialize;
use utoipa::ToSchema;

use super::generation::take_harmless;
use super::inputs::{self, PromptInput};
use super::{Fields, Urgency, keep_alive, parse_object};
use crate::http::error::ApiError;

/// Texts to make vectors of.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddingRequest {
    /// The model as the request names it.
    pub(crate) model: String,
    /// At least one; no text is empty.
    pub(crate) inputs: Vec<PromptInput>,
    /// How vectors are written.
    pub(crate) format: VectorFormat,
    /// How many numbers a vector is expected to have; no model here gives another width than its own.
    pub(crate) dimensions: Option<usize>,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long the answer may take, and who goes first.
    pub(crate) urgency: Urgency,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum VectorFormat {
    /// As a list of numbers.
    Floats,
    /// As 32-bit floats, the least significant byte first, in base64.
    Base64,
}

impl EmbeddingRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let inputs = inputs::take(&mut fields, "input", PASSAGES_MAX)?;
        let is_empty = |input: &PromptInput| matches!(input, PromptInput::Text(text) if text.is_empty());
        if let Some(index) = inputs.iter().position(is_empty) {
            return Err(ApiError::invalid_value(inputs::path("input", index, inputs.len()), "is empty"));
        }
        let format = format(&mut fields)?;
        let dimensions = fields.integer("dimensions", 1..=i128::from(u32::MAX))?;
        let keep_alive = keep_alive::take(&mut fields)?;
        let urgency = Urgency::take(&mut fields)?;
        take_harmless(&mut fields)?;
        fields.finish()?;
        Ok(Self { model, inputs, format, dimensions, keep_alive, urgency })
    }
}

fn format(fields: &mut Fields) -> Result<VectorFormat, ApiError> {
    const NAME: &str = "encoding_format";
    match fields.text(NAME)?.as_deref() {
        None | Some("float") => Ok(VectorFormat::Floats),
        Some("base64") => Ok(VectorFormat::Base64),
        Some(_) => Err(ApiError::invalid_value(fields.path(NAME), "must be \"float\" or \"base64\"")),
    }
}

/// The body of an answer: `vectors` in the order of the inputs.
pub(crate) fn body(model: &str, vectors: &[Vec<f32>], format: VectorFormat, receipt: &Receipt) -> String {
    let data = vectors.iter().enumerate().map(|(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: match format {
            VectorFormat::Floats => Vector::Floats(vector),
            VectorFormat::Base64 => Vector::Base64(base64(vector)),
        },
    });
    let body = Body { object: "list", data: data.collect(), model, usage: EncodingUsage::of(receipt), dayfly: receipt };
    serde_json::to_string(&body).expect("strings, numbers and maps with names are always JSON")
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// Vectors, in the order of the inputs.
#[derive(Serialize, ToSchema)]
#[schema(as = Embeddings)]
pub(crate) struct Body<'a> {
    /// `list`.
    object: &'static str,
    data: Vec<Embedding<'a>>,
    /// As the request names it.
    model: &'a str,
    usage: EncodingUsage,
    dayfly: &'a Receipt,
}

/// A vector.
#[derive(Serialize, ToSchema)]
struct Embedding<'a> {
    /// `embedding`.
    object: &'static str,
    /// Which input it is of.
    index: usize,
    embedding: Vector<'a>,
}

/// A vector's numbers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Vector<'a> {
    /// As they are.
    Floats(&'a [f32]),
    /// As 32-bit floats, the least significant byte first, in base64.
    Base64(String),
}

/// Token counts of an answer in which nothing is generated.
#[derive(Serialize, ToSchema)]
pub(super) struct EncodingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl EncodingUsage {
    pub(super) fn of(receipt: &Receipt) -> Self {
        Self { prompt_tokens: receipt.tokens.prompt, total_tokens: receipt.tokens.total }
    }
}

#[cfg(test)]
mod tests {
    use super::{EmbeddingRequest, VectorFormat, base64};
    use crate::http::wire::PromptInput;
    use crate::http::wire::refusal::{each_refused, refused};

    const MODEL: &str = r#""model":"m""#;

    #[test]
    fn what_cannot_be_embedded_is_refused_by_name() {
        let table = [
            (r#""input":5"#, "invalid_type", "input"),
            (r#""input":"""#, "invalid_value", "input"),
            (r#""input":["a",""]"#, "invalid_value", "input[1]"),
            (r#""input":[]"#, "invalid_value", "input"),
            (r#""input":[[]]"#, "invalid_value", "input[0]"),
            (r#""input":[1.5]"#, "invalid_type", "input[0]"),
            (r#""input":{"text":"a"}"#, "invalid_type", "input"),
            (r#""input":"a","encoding_format":"int8""#, "invalid_value", "encoding_format"),
            (r#""input":"a","encoding_format":1"#, "invalid_type", "encoding_format"),
            (r#""input":"a","dimensions":0"#, "invalid_value", "dimensions"),
            (r#""input":"a","dimensions":1.5"#, "invalid_type", "dimensions"),
            (r#""input":"a","user":5"#, "invalid_type", "user"),
            (r#""input":"a","truncate":true"#, "unsupported_parameter", "truncate"),
            (r#""input":"a","task":"query""#, "unsupported_parameter", "task"),
        ];
        each_refused(EmbeddingRequest::parse, MODEL, &table);
        let missing = ("missing_required_parameter", Some("input".to_owned()));
        assert_eq!(refused(EmbeddingRequest::parse(br#"{"model":"m"}"#)), missing);
        let many = format!("{{{MODEL},\"input\":[{}\"a\"]}}", "\"a\",".repeat(2048));
        assert_eq!(refused(EmbeddingRequest::parse(many.as_bytes())), ("invalid_value", Some("input".to_owned())));
    }

    #[test]
    fn inputs_are_read_in_every_form() {
        let text = |text: &str| PromptInput::Text(text.to_owned());
        for (input, expected) in [
            (r#""a""#, vec![text("a")]),
            (r#"["a","b"]"#, vec![text("a"), text("b")]),
            ("[1,2]", vec![PromptInput::Ids(vec![1, 2])]),
            ("[[1],[2,3]]", vec![PromptInput::Ids(vec![1]), PromptInput::Ids(vec![2, 3])]),
        ] {
            let body = format!("{{{MODEL},\"input\":{input}}}");
            assert_eq!(EmbeddingRequest::parse(body.as_bytes()).expect(input).inputs, expected, "{input}");
        }
        let request = EmbeddingRequest::parse(
            br#"{"model":"m","input":"a","encoding_format":"base64","dimensions":64,"user":"me","keep_alive":"1s"}"#,
        );
        let request = request.expect("all of it is supported");
        assert_eq!((request.format, request.dimensions), (VectorFormat::Base64, Some(64)));
    }

    #[test]
    fn base64_is_of_little_endian_floats() {
        assert_eq!(base64(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}
