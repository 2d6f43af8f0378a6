//! What an answer has to keep to: OpenAI's `response_format`, and the same by the names that other servers know.

use models::grammar::{GrammarSource, is_gbnf, quoted};
use models::limits::SCHEMA_VALUES_MAX;
use serde_json::{Value, json};

use super::Fields;
use super::json::Node;
use crate::http::error::ApiError;
use crate::limits::SCHEMA_TEXT_BYTES_MAX;

/// A grammar, and the field that it came in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Constraint {
    pub(crate) source: GrammarSource,
    /// Its path in the body, for refusals.
    pub(crate) param: String,
}

/// Takes the fields that say what an answer has to keep to: one of them at most.
pub(super) fn take(fields: &mut Fields) -> Result<Option<Constraint>, ApiError> {
    let readers: [(&str, Reader); 8] = [
        ("response_format", response_format),
        ("grammar", grammar),
        ("regex", regex),
        ("structured_outputs", structured_outputs),
        // llama.cpp's and vLLM's names for a schema.
        ("json_schema", schema),
        ("guided_json", schema),
        ("guided_regex", regex),
        ("guided_choice", choice),
    ];
    let mut taken: Option<Constraint> = None;
    for (name, read) in readers {
        let Some(found) = read(fields, name)? else { continue };
        if let Some(Constraint { param, .. }) = taken {
            return Err(ApiError::invalid_value(found.param, format_args!("an answer keeps to `{param}` already")));
        }
        taken = Some(found);
    }
    Ok(taken)
}

type Reader = fn(&mut Fields, &str) -> Result<Option<Constraint>, ApiError>;

fn response_format(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let Some(mut format) = fields.object(name)? else { return Ok(None) };
    let param = format.path("type");
    let taken = match format.required_text("type")?.as_str() {
        "text" => None,
        // With a schema as llama.cpp's server has it.
        "json_object" => Some(match schema(&mut format, "schema")? {
            Some(held) => held,
            None => Constraint { source: GrammarSource::json_object(), param },
        }),
        "json_schema" => {
            let path = format.path("json_schema");
            let mut about = format.object("json_schema")?.ok_or_else(|| ApiError::missing_field(path))?;
            // Names and descriptions are for services that show them to the model; every schema is kept to strictly.
            about.text("name")?;
            about.text("description")?;
            about.flag("strict")?;
            let missing = about.path("schema");
            let taken = schema(&mut about, "schema")?.ok_or_else(|| ApiError::missing_field(missing))?;
            about.finish()?;
            Some(taken)
        }
        _ => return Err(ApiError::unsupported_field(param)),
    };
    format.finish()?;
    Ok(taken)
}

/// Values in `node`, itself included: of lists of ids each, which take no room before they are values of a schema.
fn values(node: &Node) -> usize {
    1 + match node {
        Node::Ids(ids) => ids.len(),
        Node::List(items) => items.iter().map(values).sum(),
        Node::Object(entries) => entries.values().map(values).sum(),
        Node::Null | Node::Bool(_) | Node::Integer(_) | Node::Float(_) | Node::Text(_) => 0,
    }
}

/// What a field holds as JSON, if it has no more values than a schema may have.
///
/// # Errors
/// `invalid_schema` about `param` when it has more.
pub(crate) fn bounded_json(node: Node, param: &str) -> Result<Value, ApiError> {
    if values(&node) > SCHEMA_VALUES_MAX {
        return Err(ApiError::invalid_schema(param, format_args!("it has more than {SCHEMA_VALUES_MAX} values")));
    }
    Ok(Value::from(node))
}

/// A schema, also as a text that holds it.
pub(crate) fn schema(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let param = fields.path(name);
    let schema = match fields.take(name) {
        None => return Ok(None),
        Some(Node::Text(text)) if text.len() > SCHEMA_TEXT_BYTES_MAX => {
            let why = format_args!("it has more than {SCHEMA_TEXT_BYTES_MAX} bytes");
            return Err(ApiError::invalid_schema(param, why));
        }
        Some(Node::Text(text)) => {
            serde_json::from_str(&text).map_err(|error| ApiError::invalid_schema(param.as_str(), error))?
        }
        Some(node) => bounded_json(node, &param)?,
    };
    if !schema.is_object() {
        return Err(ApiError::invalid_type(param, "a JSON schema, which is an object"));
    }
    Ok(Some(Constraint { source: GrammarSource::JsonSchema(schema), param }))
}

/// A schema, of which one that says nothing lets any JSON be.
pub(crate) fn schema_or_any(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let is_any = |source: &GrammarSource| match source {
        GrammarSource::JsonSchema(schema) => schema.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    };
    Ok(schema(fields, name)?.map(|constraint| match constraint {
        Constraint { source, param } if is_any(&source) => {
            let any = json!({ "type": ["object", "array", "string", "number", "boolean", "null"] });
            Constraint { source: GrammarSource::JsonSchema(any), param }
        }
        constraint => constraint,
    }))
}

fn regex(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let param = fields.path(name);
    Ok(fields.text(name)?.map(|regex| Constraint { source: GrammarSource::Regex(regex), param }))
}

/// A grammar in GBNF, which llama.cpp has in this field, where it begins as that does, and otherwise one in Lark's notation.
fn grammar(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let param = fields.path(name);
    let Some(text) = fields.text(name)? else { return Ok(None) };
    let source = if is_gbnf(&text) { GrammarSource::Gbnf(text) } else { GrammarSource::Lark(text) };
    Ok(Some(Constraint { source, param }))
}

/// A grammar in GBNF, whatever it begins with; an empty one is none.
pub(crate) fn gbnf(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let param = fields.path(name);
    let text = fields.text(name)?.filter(|text| !text.is_empty());
    Ok(text.map(|text| Constraint { source: GrammarSource::Gbnf(text), param }))
}

/// One of some texts.
fn choice(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let param = fields.path(name);
    let items = match fields.take(name) {
        None => return Ok(None),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(param, "an array of texts")),
    };
    let text = |(index, item)| match item {
        Node::Text(text) if !text.is_empty() => Ok(quoted(&text)),
        Node::Text(_) => Err(ApiError::invalid_value(format!("{param}[{index}]"), "is empty")),
        _ => Err(ApiError::invalid_type(format!("{param}[{index}]"), "a string")),
    };
    let texts = items.into_iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?;
    if texts.is_empty() {
        return Err(ApiError::invalid_value(param, "is empty"));
    }
    Ok(Some(Constraint { source: GrammarSource::Lark(format!("start: {}", texts.join(" | "))), param }))
}

/// vLLM's newer name for all of them.
fn structured_outputs(fields: &mut Fields, name: &str) -> Result<Option<Constraint>, ApiError> {
    let Some(mut inner) = fields.object(name)? else { return Ok(None) };
    let taken = [schema(&mut inner, "json")?, regex(&mut inner, "regex")?, choice(&mut inner, "choice")?];
    let path = inner.path("");
    inner.finish()?;
    let mut taken = taken.into_iter().flatten();
    match (taken.next(), taken.next()) {
        (Some(_), Some(second)) => Err(ApiError::invalid_value(second.param, "an answer keeps to one of them")),
        (Some(one), None) => Ok(Some(one)),
        (None, _) => Err(ApiError::missing_field(format!("{path}json"))),
    }
}

impl From<Node> for Value {
    fn from(node: Node) -> Self {
        match node {
            Node::Null => Self::Null,
            Node::Bool(flag) => Self::Bool(flag),
            Node::Integer(number) => match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => json!(number),
                (_, Ok(number)) => json!(number),
                _ => unreachable!("a body's whole numbers have 64 bits"),
            },
            Node::Float(number) => json!(number),
            Node::Text(text) => Self::String(text),
            Node::Ids(ids) => ids.into(),
            Node::List(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Node::Object(entries) => {
                Self::Object(entries.into_iter().map(|(name, node)| (name, Self::from(node))).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Constraint, GrammarSource};
    use crate::http::error::ApiError;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    fn parse(body: &[u8]) -> Result<Option<Constraint>, ApiError> {
        let mut fields = parse_object(body)?;
        let taken = super::take(&mut fields)?;
        fields.finish()?;
        Ok(taken)
    }

    fn source(body: &str) -> Option<GrammarSource> {
        parse(body.as_bytes()).expect(body).map(|constraint| constraint.source)
    }

    #[test]
    fn what_is_no_constraint_is_refused() {
        let table = [
            (r#""response_format":"text""#, "invalid_type", "response_format"),
            (r#""response_format":{}"#, "missing_required_parameter", "response_format.type"),
            (r#""response_format":{"type":"xml"}"#, "unsupported_parameter", "response_format.type"),
            (r#""response_format":{"type":"text","schema":{}}"#, "unsupported_parameter", "response_format.schema"),
            (
                r#""response_format":{"type":"json_schema"}"#,
                "missing_required_parameter",
                "response_format.json_schema",
            ),
            (
                r#""response_format":{"type":"json_schema","json_schema":{"name":"a"}}"#,
                "missing_required_parameter",
                "response_format.json_schema.schema",
            ),
            (
                r#""response_format":{"type":"json_schema","json_schema":{"schema":[1]}}"#,
                "invalid_type",
                "response_format.json_schema.schema",
            ),
            (
                r#""response_format":{"type":"json_schema","json_schema":{"schema":{"type":"null"},"strict":1}}"#,
                "invalid_type",
                "response_format.json_schema.strict",
            ),
            (r#""grammar":5"#, "invalid_type", "grammar"),
            (r#""regex":"a","grammar":"start: \"a\"""#, "invalid_value", "regex"),
            (r#""guided_json":"{","#, "invalid_schema", "guided_json"),
            (r#""guided_choice":[]"#, "invalid_value", "guided_choice"),
            (r#""guided_choice":["a",""]"#, "invalid_value", "guided_choice[1]"),
            (r#""guided_grammar":"root ::= a""#, "unsupported_parameter", "guided_grammar"),
            (r#""structured_outputs":{}"#, "missing_required_parameter", "structured_outputs.json"),
            (r#""structured_outputs":{"grammar":"a"}"#, "unsupported_parameter", "structured_outputs.grammar"),
            (r#""structured_outputs":{"regex":"a","choice":["b"]}"#, "invalid_value", "structured_outputs.choice"),
        ];
        let table: Vec<_> =
            table.iter().map(|(fields, code, param)| (fields.trim_end_matches(','), *code, *param)).collect();
        each_refused(parse, "", &table);
    }

    #[test]
    fn each_name_is_understood() {
        let schema = GrammarSource::JsonSchema(json!({ "type": "integer" }));
        let regex = GrammarSource::Regex("a+".to_owned());
        let choice = GrammarSource::Lark(r#"start: "a" | "\"b\"""#.to_owned());
        for (body, expected) in [
            ("{}", None),
            (r#"{"response_format":{"type":"text"}}"#, None),
            (r#"{"response_format":{"type":"json_object"}}"#, Some(GrammarSource::json_object())),
            (
                r#"{"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","strict":true,
                   "schema":{"type":"integer"}}}}"#,
                Some(schema.clone()),
            ),
            (r#"{"response_format":{"type":"json_object","schema":{"type":"integer"}}}"#, Some(schema.clone())),
            (r#"{"json_schema":{"type":"integer"}}"#, Some(schema.clone())),
            (r#"{"guided_json":{"type":"integer"}}"#, Some(schema.clone())),
            (r#"{"guided_json":"{\"type\":\"integer\"}"}"#, Some(schema.clone())),
            (r#"{"structured_outputs":{"json":{"type":"integer"}}}"#, Some(schema)),
            (r#"{"regex":"a+"}"#, Some(regex.clone())),
            (r#"{"guided_regex":"a+"}"#, Some(regex)),
            (r#"{"guided_choice":["a","\"b\""]}"#, Some(choice)),
            (r#"{"grammar":"start: \"a\""}"#, Some(GrammarSource::Lark("start: \"a\"".to_owned()))),
            (r#"{"grammar":"root ::= \"a\""}"#, Some(GrammarSource::Gbnf("root ::= \"a\"".to_owned()))),
        ] {
            assert_eq!(source(body), expected, "{body}");
        }
    }

    #[test]
    fn a_schema_keeps_its_order_and_its_nulls() {
        let body =
            r#"{"guided_json":{"type":"object","properties":{"z":{"enum":[null,1,-1,0.5]},"a":{"enum":[1,2]}}}}"#;
        let Some(GrammarSource::JsonSchema(schema)) = source(body) else { panic!("a schema") };
        let expected = r#"{"type":"object","properties":{"z":{"enum":[null,1,-1,0.5]},"a":{"enum":[1,2]}}}"#;
        assert_eq!(schema.to_string(), expected);
    }
}
