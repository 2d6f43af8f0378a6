//! Values taken out of an object by name, each with the type and range that its taker expects.
//!
//! `null` is as good as absent. What nobody took is refused by [`Fields::finish`], so a handler cannot forget a field; where
//! the operator lets what means nothing pass, that is told ([`unknown`](mod@super::unknown)).
//! Errors name the field by its path in the body, such as `messages[2].content`.

use std::fmt;
use std::ops::RangeInclusive;

use indexmap::IndexMap;

use super::json::Node;
use super::unknown;
use crate::config::ByteSize;
use crate::http::error::ApiError;
use crate::limits::MODEL_NAME_CHARS_MAX;

/// The fields of an object that nobody took yet.
#[derive(Debug)]
pub(crate) struct Fields {
    /// What stands before each name in errors.
    prefix: String,
    entries: IndexMap<String, Node>,
}

/// The values that a number may have.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    /// Completes "must be …".
    pub(crate) words: &'static str,
    /// Whether a value is one of them.
    pub(crate) holds: fn(f32) -> bool,
}

impl Fields {
    pub(crate) fn new(prefix: String, mut entries: IndexMap<String, Node>) -> Self {
        entries.retain(|_, node| *node != Node::Null);
        Self { prefix, entries }
    }

    /// The fields of `node`, which stands at `path`.
    pub(crate) fn of(node: Node, path: &str) -> Result<Self, ApiError> {
        match node {
            Node::Object(entries) => Ok(Self::new(format!("{path}."), entries)),
            _ => Err(ApiError::invalid_type(path, "an object")),
        }
    }

    /// The name of a field in errors.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether the field holds anything.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whatever the field holds.
    pub(crate) fn take(&mut self, name: &str) -> Option<Node> {
        self.entries.shift_remove(name)
    }

    /// A string.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid_type(self.path(name), "a string")),
        }
    }

    /// A string that must be there.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, ApiError> {
        self.text(name)?.ok_or_else(|| ApiError::missing_field(self.path(name)))
    }

    /// The name of a model. One that is too long for a name is the name of no model.
    pub(crate) fn model(&mut self) -> Result<String, ApiError> {
        let name = self.required_text("model")?;
        if name.is_empty() {
            return Err(ApiError::invalid_value(self.path("model"), "is empty"));
        }
        if name.chars().nth(MODEL_NAME_CHARS_MAX).is_some() {
            return Err(ApiError::model_not_found(&name));
        }
        Ok(name)
    }

    /// True or false.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Node::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(ApiError::invalid_type(self.path(name), "true or false")),
        }
    }

    /// A whole number in `range`, which `T` holds.
    pub(crate) fn integer<T: TryFrom<i128>>(
        &mut self,
        name: &str,
        range: RangeInclusive<i128>,
    ) -> Result<Option<T>, ApiError> {
        let value = match self.take(name) {
            None => return Ok(None),
            Some(node) => node.whole().ok_or_else(|| ApiError::invalid_type(self.path(name), "a whole number"))?,
        };
        match T::try_from(value) {
            Ok(value_in_t) if range.contains(&value) => Ok(Some(value_in_t)),
            _ => {
                let why = format!("must be from {} to {}", range.start(), range.end());
                Err(ApiError::invalid_value(self.path(name), why))
            }
        }
    }

    /// A size: a whole number of bytes, or a text such as `700MiB`.
    pub(crate) fn bytes(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let words = "a number of bytes, or a size such as \"700MiB\"";
        let size = match self.take(name) {
            None => return Ok(None),
            Some(Node::Text(text)) => text.parse().ok().map(|ByteSize(bytes)| bytes),
            Some(node) => match node.whole() {
                Some(bytes) => u64::try_from(bytes).ok(),
                None => return Err(ApiError::invalid_type(self.path(name), words)),
            },
        };
        let invalid = || ApiError::invalid_value(self.path(name), format_args!("must be {words}"));
        size.map(Some).ok_or_else(invalid)
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, allowed: Allowed) -> Result<Option<f32>, ApiError> {
        let Some(node) = self.take(name) else { return Ok(None) };
        number_of(&node, &self.path(name), allowed).map(Some)
    }

    /// An object's own fields.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(node) => Self::of(node, &self.path(name)).map(Some),
        }
    }

    /// Takes a field that would change the answer unless it holds what is done anyway.
    pub(crate) fn only(&mut self, name: &str, honoured: impl FnOnce(&Node) -> bool) -> Result<(), ApiError> {
        match self.take(name) {
            Some(node) if !honoured(&node) => Err(ApiError::unsupported_field(self.path(name))),
            _ => Ok(()),
        }
    }

    /// Whatever the field holds, if it holds something of a kind.
    pub(crate) fn take_if(&mut self, name: &str, is_of_kind: fn(&Node) -> bool) -> Option<Node> {
        self.entries.get(name).is_some_and(is_of_kind).then(|| self.entries.shift_remove(name))?
    }

    /// Splits off the fields of these names.
    pub(crate) fn only_named(&mut self, names: &[&str]) -> Fields {
        let named = names.iter().filter_map(|&name| self.entries.shift_remove_entry(name));
        Self { prefix: self.prefix.clone(), entries: named.collect() }
    }

    /// Refuses what is left.
    ///
    /// # Errors
    /// `unsupported_parameter`, with the first name that nobody took and that may not pass.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.entries.keys().find(|name| !unknown::may_pass(name, &self.path(name))) {
            None => Ok(()),
            Some(name) if unknown::is_known(name) => Err(ApiError::unsupported_field(self.path(name))),
            Some(name) => Err(ApiError::unknown_field(self.path(name))),
        }
    }
}

/// The number that `node`, the value of `param`, is. It is judged as the 32 bits that will be computed with.
pub(crate) fn number_of(node: &Node, param: &str, allowed: Allowed) -> Result<f32, ApiError> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "32 bits are what sampling has")]
    let value = match node {
        Node::Integer(value) => *value as f32,
        Node::Float(value) => *value as f32,
        _ => return Err(ApiError::invalid_type(param, "a number")),
    };
    if (allowed.holds)(value) { Ok(value) } else { Err(ApiError::invalid_value(param, allowed)) }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be {}", self.words)
    }
}
#[cfg(test)]
mod tests {
    use super::Allowed;
    use crate::http::error::ApiError;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::{each_refused, refused};
    use crate::limits::MODEL_NAME_CHARS_MAX;

    const HALF: Allowed = Allowed { words: "from 0 to 0.5", holds: |value| (0.0..=0.5).contains(&value) };

    fn parse(body: &[u8]) -> Result<(), ApiError> {
        let mut fields = parse_object(body)?;
        fields.text("text")?;
        fields.flag("flag")?;
        fields.integer::<u8>("integer", 1..=3)?;
        fields.integer::<u8>("wide", 0..=1000)?;
        fields.number("number", HALF)?;
        fields.bytes("bytes")?;
        if let Some(mut object) = fields.object("object")? {
            object.flag("inner")?;
            object.finish()?;
        }
        fields.only("only", |_| false)?;
        fields.finish()
    }

    #[test]
    fn row_19_a_wrong_type_names_its_field() {
        let table = [
            (r#""text":1"#, "invalid_type", "text"),
            (r#""text":["a"]"#, "invalid_type", "text"),
            (r#""flag":0"#, "invalid_type", "flag"),
            (r#""flag":"true""#, "invalid_type", "flag"),
            (r#""integer":1.5"#, "invalid_type", "integer"),
            (r#""integer":1e300"#, "invalid_type", "integer"),
            (r#""integer":1e2"#, "invalid_value", "integer"),
            (r#""integer":"1""#, "invalid_type", "integer"),
            (r#""integer":[1]"#, "invalid_type", "integer"),
            (r#""integer":0"#, "invalid_value", "integer"),
            (r#""integer":4"#, "invalid_value", "integer"),
            (r#""wide":256"#, "invalid_value", "wide"),
            (r#""bytes":1.5"#, "invalid_type", "bytes"),
            (r#""bytes":-1"#, "invalid_value", "bytes"),
            (r#""bytes":"1 XiB""#, "invalid_value", "bytes"),
            (r#""number":"0.5""#, "invalid_type", "number"),
            (r#""number":true"#, "invalid_type", "number"),
            (r#""number":0.51"#, "invalid_value", "number"),
            (r#""number":1e300"#, "invalid_value", "number"),
            (r#""object":[]"#, "invalid_type", "object"),
            (r#""object":{"inner":1}"#, "invalid_type", "object.inner"),
            (r#""object":{"other":1}"#, "unsupported_parameter", "object.other"),
            (r#""only":1"#, "unsupported_parameter", "only"),
            (r#""other":1"#, "unsupported_parameter", "other"),
            (r#""":1"#, "unsupported_parameter", ""),
        ];
        each_refused(parse, "", &table);
    }

    #[test]
    fn null_is_absent_even_where_nobody_knows_the_field() {
        parse(br#"{"text":null,"integer":null,"object":{"inner":null,"x":null},"only":null,"other":null}"#)
            .expect("ok");
    }

    #[test]
    fn values_in_range_are_taken() {
        let mut fields = parse_object(br#"{"a":3,"b":0.25,"c":0,"d":"x","e":true,"f":"1.5KiB","g":7,"h":2.0,"i":1e3}"#)
            .expect("valid");
        assert_eq!(fields.integer::<u8>("a", 1..=3).expect("in range"), Some(3));
        assert_eq!(fields.integer::<u8>("h", 1..=3).expect("whole, however it is written"), Some(2));
        assert_eq!(fields.bytes("i").expect("whole, however it is written"), Some(1000));
        assert_eq!(fields.number("b", HALF).expect("in range"), Some(0.25));
        assert_eq!(fields.number("c", HALF).expect("an integer is a number"), Some(0.0));
        assert_eq!(fields.required_text("d").expect("there"), "x");
        assert_eq!((fields.bytes("f").expect("a size"), fields.bytes("g").expect("bytes")), (Some(1536), Some(7)));
        assert_eq!(fields.flag("e").expect("a flag"), Some(true));
        assert_eq!(refused(fields.required_text("d")), ("missing_required_parameter", Some("d".to_owned())));
        fields.finish().expect("nothing is left");
    }

    #[test]
    fn a_name_too_long_for_a_model_is_the_name_of_none() {
        let model =
            |name: &str| parse_object(format!("{{\"model\":\"{name}\"}}").as_bytes()).and_then(|mut f| f.model());
        assert_eq!(model("../x").expect("the catalog judges names"), "../x");
        assert!(model(&"é".repeat(MODEL_NAME_CHARS_MAX)).is_ok());
        let error = model(&"é".repeat(MODEL_NAME_CHARS_MAX + 1)).expect_err("too long");
        assert_eq!((error.status().as_u16(), error.code()), (404, "model_not_found"));
        assert_eq!(refused(model("")), ("invalid_value", Some("model".to_owned())));
    }
}
