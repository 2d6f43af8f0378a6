//! A body's bytes to values, in memory that the body's length bounds.
//!
//! Lists of token ids are kept as such, four bytes each; all other values count against [`BODY_VALUES_MAX`], objects
//! against [`OBJECT_ENTRIES_MAX`], while they are read: what is too much is refused before it is built.
//!
//! Stricter than JSON where clients and servers could read different things: a name may be given once, numbers must be
//! finite, nesting ends at serde_json's 127 levels.

use std::cell::{Cell, RefCell};
use std::fmt;

use indexmap::IndexMap;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::Fields;
use crate::http::error::ApiError;
use crate::limits::{BODY_VALUES_MAX, OBJECT_ENTRIES_MAX};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// Whole numbers of 64 bits, with or without a sign.
    Integer(i128),
    /// Numbers written with a fraction or an exponent, or past 64 bits; see [`Node::whole`].
    Float(f64),
    Text(String),
    /// A list that is not empty and has nothing but whole numbers below 2³².
    Ids(Vec<u32>),
    /// Any other list.
    List(Vec<Node>),
    /// In the order of the body, which a schema's properties keep.
    Object(IndexMap<String, Node>),
}

impl Node {
    /// The whole number that it is, however it is written: as JSON Schema has it, `1.0` is one.
    pub(crate) fn whole(&self) -> Option<i128> {
        /// Up to here 64-bit floats are whole numbers without a gap.
        const EXACT_MAX: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
        match self {
            Self::Integer(value) => Some(*value),
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and is small")]
            Self::Float(value) if value.fract() == 0.0 && value.abs() <= EXACT_MAX => Some(*value as i128),
            _ => None,
        }
    }

    /// The same, with a list of nothing but ids as such, however they are written.
    pub(crate) fn with_ids(self) -> Self {
        let Self::List(items) = self else { return self };
        let id = |item: &Self| item.whole().and_then(|id| u32::try_from(id).ok());
        match items.iter().map(id).collect::<Option<Vec<u32>>>() {
            Some(ids) if !ids.is_empty() => Self::Ids(ids),
            _ => Self::List(items),
        }
    }
}

/// The fields of a body.
///
/// # Errors
/// `invalid_json` unless `body` is one JSON object; `invalid_value`, naming the field, where it holds too many values.
pub(crate) fn parse_object(body: &[u8]) -> Result<Fields, ApiError> {
    let reading = Reading::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = deserializer.deserialize_any(Body(&reading)).and_then(|entries| {
        deserializer.end()?;
        Ok(entries)
    });
    match (read, reading.refusal.into_inner()) {
        (Ok(entries), _) => Ok(Fields::new(String::new(), entries)),
        (Err(_), Some(refusal)) => Err(refusal),
        (Err(error), None) => Err(ApiError::invalid_json(error)),
    }
}

/// What is known while a body is read.
#[derive(Default)]
struct Reading {
    values: Cell<usize>,
    /// The field of the body that is being read.
    field: RefCell<String>,
    refusal: RefCell<Option<ApiError>>,
}

impl Reading {
    fn count<E: serde::de::Error>(&self, values: usize) -> Result<(), E> {
        let values = self.values.get().saturating_add(values);
        self.values.set(values);
        if values > BODY_VALUES_MAX {
            return Err(self.refuse(ApiError::invalid_value(self.field.take(), "holds too many values")));
        }
        Ok(())
    }

    fn refuse<E: serde::de::Error>(&self, refusal: ApiError) -> E {
        let error = E::custom(&refusal);
        self.refusal.replace(Some(refusal));
        error
    }
}

/// Reads the object that a body is.
struct Body<'a>(&'a Reading);

impl<'de> Visitor<'de> for Body<'_> {
    type Value = IndexMap<String, Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = IndexMap::new();
        while let Some(name) = map.next_key::<String>()? {
            self.0.field.replace(name.clone());
            insert(self.0, &mut entries, name, &mut map)?;
        }
        Ok(entries)
    }
}

/// Reads any value.
#[derive(Clone, Copy)]
struct Any<'a>(&'a Reading);

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut ids: Vec<u32> = Vec::new();
        let first_other = loop {
            match list.next_element_seed(self)? {
                Some(Node::Integer(id)) if u32::try_from(id).is_ok() => ids.extend(u32::try_from(id)),
                other => break other,
            }
        };
        let Some(first_other) = first_other else {
            return Ok(if ids.is_empty() { Node::List(Vec::new()) } else { Node::Ids(ids) });
        };
        self.0.count(ids.len() + 1)?;
        let mut items: Vec<Node> = ids.into_iter().map(|id| Node::Integer(id.into())).collect();
        items.push(first_other);
        while let Some(item) = list.next_element_seed(self)? {
            self.0.count(1)?;
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = IndexMap::new();
        while let Some(name) = map.next_key::<String>()? {
            insert(self.0, &mut entries, name, &mut map)?;
        }
        Ok(Node::Object(entries))
    }
}

/// Reads the value of `name` into `entries`.
fn insert<'de, A: MapAccess<'de>>(
    reading: &Reading,
    entries: &mut IndexMap<String, Node>,
    name: String,
    map: &mut A,
) -> Result<(), A::Error> {
    if entries.len() == OBJECT_ENTRIES_MAX {
        let why = format!("has more than {OBJECT_ENTRIES_MAX} entries");
        return Err(reading.refuse(ApiError::invalid_value(reading.field.take(), why)));
    }
    if entries.contains_key(&name) {
        return Err(A::Error::custom("a name is given twice in one object"));
    }
    reading.count(1)?;
    let value = map.next_value_seed(Any(reading))?;
    entries.insert(name, value);
    Ok(())
}
#[cfg(test)]
mod tests {
    use super::{Node, parse_object};
    use crate::http::wire::refusal::refused;
    use crate::limits::{BODY_VALUES_MAX, OBJECT_ENTRIES_MAX};

    #[test]
    fn row_18_what_is_no_json_object_is_invalid_json() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let bodies: [(&str, Vec<u8>); 20] = [
            ("nothing", b"".to_vec()),
            ("white space", b" \n".to_vec()),
            ("invalid UTF-8 in a value", b"{\"a\":\"\xff\"}".to_vec()),
            ("invalid UTF-8 in a name", b"{\"\xc3(\":1}".to_vec()),
            ("half a character", b"{\"a\":\"\xf0\x9f\xa6\"}".to_vec()),
            ("a lone leading surrogate", br#"{"a":"\ud83e"}"#.to_vec()),
            ("a lone trailing surrogate", br#"{"a":"\udd80"}"#.to_vec()),
            ("a lone surrogate in a name", br#"{"\ud800":1}"#.to_vec()),
            ("a lone surrogate inside an array", br#"{"a":[{"b":"\ud800x"}]}"#.to_vec()),
            ("a control character", b"{\"a\":\"\n\"}".to_vec()),
            ("depth 129", nested(128).into_bytes()),
            ("depth 100,000", nested(100_000).into_bytes()),
            ("trailing garbage", br#"{"a":1} x"#.to_vec()),
            ("a second object", br#"{"a":1}{"a":1}"#.to_vec()),
            ("an unfinished object", br#"{"a":1"#.to_vec()),
            ("1e999", br#"{"a":1e999}"#.to_vec()),
            ("-1e999 inside an array", br#"{"a":[1,-1e999]}"#.to_vec()),
            ("NaN", br#"{"a":NaN}"#.to_vec()),
            ("an array", b"[]".to_vec()),
            ("a name given twice", br#"{"a":1,"a":2}"#.to_vec()),
        ];
        for (what, body) in bodies {
            assert_eq!(refused(parse_object(&body)), ("invalid_json", None), "{what}");
        }
        assert!(parse_object(nested(100).as_bytes()).is_ok(), "what is not too deep is read");
        assert!(parse_object(br#" {"a":"\ud83e\udd80"} "#).is_ok(), "a pair of surrogates is a character");
    }

    #[test]
    fn row_31_a_million_entries_are_refused_when_the_first_is_too_many() {
        // Cut off after the first entry too many: it would be invalid JSON if anything behind were read.
        let entries: Vec<String> = (0..=OBJECT_ENTRIES_MAX).map(|id| format!("\"{id}\":1")).collect();
        let body = format!("{{\"logit_bias\":{{{}", entries.join(","));
        assert_eq!(refused(parse_object(body.as_bytes())), ("invalid_value", Some("logit_bias".to_owned())));
        let entries: Vec<String> = (0..1_000_000).map(|id| format!("\"{id}\":1")).collect();
        let body = format!("{{\"logit_bias\":{{{}}}}}", entries.join(","));
        assert_eq!(refused(parse_object(body.as_bytes())), ("invalid_value", Some("logit_bias".to_owned())));
    }

    #[test]
    fn bodies_of_too_many_values_are_refused_by_field() {
        let bodies = [
            format!("{{\"a\":[{}null]}}", "null,".repeat(BODY_VALUES_MAX)),
            format!("{{\"a\":[{}[]]}}", "[],".repeat(BODY_VALUES_MAX)),
            format!("{{\"a\":[{}\"\"]}}", "1,".repeat(BODY_VALUES_MAX)),
            format!("{{\"b\":1,\"a\":[{}{{}}]}}", "{\"c\":1},".repeat(BODY_VALUES_MAX / 2)),
        ];
        for body in bodies {
            let refusal = refused(parse_object(body.as_bytes()));
            assert_eq!(refusal, ("invalid_value", Some("a".to_owned())), "{}", &body[..32]);
        }
    }

    #[test]
    fn token_ids_are_one_value_however_many() {
        let body = format!("{{\"a\":[{}4294967295]}}", "1,".repeat(2 * BODY_VALUES_MAX));
        let Some(Node::Ids(ids)) = parse_object(body.as_bytes()).expect("fits").take("a") else { panic!("ids") };
        assert_eq!((ids.len(), ids.last()), (2 * BODY_VALUES_MAX + 1, Some(&u32::MAX)));
    }

    #[test]
    fn values_are_what_they_were_written_as() {
        let mut fields = parse_object(
            br#"{"n":null,"i":-9223372036854775808,"u":18446744073709551615,"f":1.0,"big":18446744073709551616,
                "t":"\u00e9","b":true,"empty":[],"mixed":[1,-1],"o":{"x":{}}}"#,
        )
        .expect("valid");
        assert_eq!(fields.take("n"), None, "null is absent");
        assert_eq!(fields.take("i"), Some(Node::Integer(i64::MIN.into())));
        assert_eq!(fields.take("u"), Some(Node::Integer(u64::MAX.into())));
        assert_eq!(fields.take("f"), Some(Node::Float(1.0)), "a whole float is no integer");
        assert_eq!(fields.take("big"), Some(Node::Float(18_446_744_073_709_551_616.0)));
        assert_eq!(fields.take("t"), Some(Node::Text("é".to_owned())));
        assert_eq!(fields.take("b"), Some(Node::Bool(true)));
        assert_eq!(fields.take("empty"), Some(Node::List(Vec::new())));
        assert_eq!(fields.take("mixed"), Some(Node::List(vec![Node::Integer(1), Node::Integer(-1)])));
        assert!(matches!(fields.take("o"), Some(Node::Object(entries)) if entries.len() == 1));
        fields.finish().expect("nothing is left");
    }
}
