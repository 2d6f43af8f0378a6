//! What the bodies of several interfaces have alike: bounded lists, objects that must be there, and fields that are known, that
//! cannot be honoured, and that may be there all the same where they ask for nothing.

use super::json::Node;
use super::{Fields, samplers};
use crate::http::error::ApiError;
use crate::limits::USER_BYTES_MAX;

impl Fields {
    /// A list of at most `max` values. `expected` completes "must be …".
    pub(crate) fn list(&mut self, name: &str, max: usize, expected: &str) -> Result<Option<Vec<Node>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Node::List(items)) if items.len() > max => {
                Err(ApiError::invalid_value(self.path(name), format_args!("has more than {max} entries")))
            }
            Some(Node::List(items)) => Ok(Some(items)),
            Some(_) => Err(ApiError::invalid_type(self.path(name), expected)),
        }
    }

    /// An object's own fields, which must be there.
    pub(crate) fn required_object(&mut self, name: &str) -> Result<Fields, ApiError> {
        self.object(name)?.ok_or_else(|| ApiError::missing_field(self.path(name)))
    }

    /// Takes a field that may hold an empty text or list.
    pub(crate) fn only_empty(&mut self, name: &str) -> Result<(), ApiError> {
        self.only(name, |node| match node {
            Node::Text(text) => text.is_empty(),
            Node::List(items) => items.is_empty(),
            _ => false,
        })
    }

    /// Takes a text that means nothing here.
    ///
    /// # Errors
    /// `invalid_value` where it is longer than such a text may be.
    pub(crate) fn bounded_text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.text(name)? {
            Some(text) if text.len() > USER_BYTES_MAX => {
                let why = format!("is longer than {USER_BYTES_MAX} bytes");
                Err(ApiError::invalid_value(self.path(name), why))
            }
            text => Ok(text),
        }
    }

    /// Takes a field that may hold one of these words.
    pub(crate) fn only_words(&mut self, name: &str, words: &[&str]) -> Result<(), ApiError> {
        self.only(name, |node| matches!(node, Node::Text(text) if words.contains(&text.as_str())))
    }

    /// Takes a field that may hold a list of nothing but this word.
    pub(crate) fn only_listing(&mut self, name: &str, word: &str) -> Result<(), ApiError> {
        let is_it = |item: &Node| matches!(item, Node::Text(text) if text == word);
        self.only(name, |node| matches!(node, Node::List(items) if !items.is_empty() && items.iter().all(is_it)))
    }

    /// Takes a field that may hold this number.
    pub(crate) fn only_number(&mut self, name: &str, number: i32) -> Result<(), ApiError> {
        self.only(name, |node| samplers::is_number(node, number))
    }

    /// Takes a field that may be false.
    pub(crate) fn only_off(&mut self, name: &str) -> Result<(), ApiError> {
        self.only(name, |node| *node == Node::Bool(false))
    }

    /// Takes a field that may be true.
    pub(crate) fn only_on(&mut self, name: &str) -> Result<(), ApiError> {
        self.only(name, |node| *node == Node::Bool(true))
    }
}

#[cfg(test)]
mod tests {
    use crate::http::error::ApiError;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    fn parse(body: &[u8]) -> Result<(), ApiError> {
        let mut fields = parse_object(body)?;
        fields.list("list", 2, "an array")?;
        fields.required_object("object")?.finish()?;
        fields.only_empty("empty")?;
        fields.only_words("word", &["a", "b"])?;
        fields.only_listing("listing", "a")?;
        fields.only_number("number", 1)?;
        fields.only_off("off")?;
        fields.only_on("on")?;
        fields.finish()
    }

    #[test]
    fn what_asks_for_nothing_may_be_there() {
        let table = [
            (r#""list":[true,true,true]"#, "invalid_value", "list"),
            (r#""list":[1]"#, "invalid_type", "list"),
            (r#""object":{"a":1}"#, "unsupported_parameter", "object.a"),
            (r#""empty":" ""#, "unsupported_parameter", "empty"),
            (r#""empty":[true]"#, "unsupported_parameter", "empty"),
            (r#""empty":{}"#, "unsupported_parameter", "empty"),
            (r#""word":"c""#, "unsupported_parameter", "word"),
            (r#""word":true"#, "unsupported_parameter", "word"),
            (r#""listing":[]"#, "unsupported_parameter", "listing"),
            (r#""listing":["a","b"]"#, "unsupported_parameter", "listing"),
            (r#""number":2"#, "unsupported_parameter", "number"),
            (r#""off":true"#, "unsupported_parameter", "off"),
            (r#""on":false"#, "unsupported_parameter", "on"),
        ];
        for (fields, code, param) in table {
            let rest = if fields.starts_with(r#""object""#) { "" } else { r#""object":{}"# };
            each_refused(parse, rest, &[(fields, code, param)]);
        }
        each_refused(parse, r#""list":[]"#, &[(r#""object":null"#, "missing_required_parameter", "object")]);
        let all =
            br#"{"list":[true],"object":{},"empty":[],"word":"b","listing":["a"],"number":1.0,"off":false,"on":true}"#;
        parse(all).expect("nothing is asked for");
    }
}
