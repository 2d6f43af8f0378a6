//! A body's bytes to values, in memory that the body's length bounds.
//!
//! Lists of token ids are kept as such, four bytes each; all other values count against [`BODY_VALUES_MAX`], objects
//! against [`OBJECT_ENTRIES_MAX`], while they are read: what is too much is refused before it is built.
//!
//! Stricter than JSON where clients and servers could read different things: a name may be given once, numbers must be
//! finite, nesting ends at serde_json's 127 levels.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::Fields;
use crate::http::error::ApiError;
use crate::limits::{BODY_VALUES_MAX, OBJECT_ENTRIES_MAX};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// Whole numbers of 64 bits, with or without a sign.
    Integer(i128),
    /// Numbers written with a fraction or an exponent, or past 64 bits.
    Float(f64),
    Text(String),
    /// A list that is not empty and has nothing but whole numbers below 2³².
    Ids(Vec<u32>),
    /// Any other list.
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
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
    type Value = BTreeMap<String, Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
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
        let mut entries = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            insert(self.0, &mut entries, name, &mut map)?;
        }
        Ok(Node::Object(entries))
    }
}

/// Reads the value of `name` into `entries`.
fn insert<'de, A: MapAccess<'de>>(
    reading: &Reading,
    entries: &mut BTreeMap<String, Node>,
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
