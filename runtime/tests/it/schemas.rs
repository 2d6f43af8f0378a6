//! Fifty schemas, and whether a value is valid by one: as much of JSON Schema as they use, by hand, so that what was
//! generated is not judged by what generated it. Texts are not held against patterns and formats.

use serde_json::Value;

/// The schemas.
pub(crate) fn schemas() -> Vec<Value> {
    serde_json::from_str(include_str!("schemas.json")).unwrap()
}

/// Whether `value` is valid by `schema`.
pub(crate) fn is_valid(value: &Value, schema: &Value) -> bool {
    Judge { root: schema }.is_valid(value, schema)
}

struct Judge<'a> {
    root: &'a Value,
}

impl Judge<'_> {
    fn is_valid(&self, value: &Value, schema: &Value) -> bool {
        let Value::Object(keywords) = schema else { return *schema != Value::Bool(false) };
        keywords.iter().all(|(keyword, argument)| self.keeps(value, (keyword, argument), schema))
    }

    fn keeps(&self, value: &Value, (keyword, argument): (&str, &Value), schema: &Value) -> bool {
        let all = || argument.as_array().unwrap().iter();
        match keyword {
            "$ref" => {
                let target = self.root.pointer(argument.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
                self.is_valid(value, target)
            }
            "type" => match argument {
                Value::Array(kinds) => kinds.iter().any(|kind| is_of(value, kind.as_str().unwrap())),
                kind => is_of(value, kind.as_str().unwrap()),
            },
            "const" => value == argument,
            "enum" => all().any(|one| is_same(one, value)),
            "anyOf" => all().any(|one| self.is_valid(value, one)),
            "oneOf" => all().filter(|one| self.is_valid(value, one)).count() == 1,
            "allOf" => all().all(|one| self.is_valid(value, one)),
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "required"
            | "minProperties"
            | "maxProperties" => {
                value.as_object().is_none_or(|_| self.keeps_properties(value, (keyword, argument), schema))
            }
            "items" | "prefixItems" | "minItems" | "maxItems" => {
                value.as_array().is_none_or(|items| self.keeps_items(items, (keyword, argument), schema))
            }
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= argument.as_u64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= argument.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= argument.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= argument.as_f64().unwrap()),
            "exclusiveMaximum" => value.as_f64().is_none_or(|number| number < argument.as_f64().unwrap()),
            "multipleOf" => value.as_i64().is_none_or(|number| number % argument.as_i64().unwrap() == 0),
            "$defs" | "title" | "description" | "pattern" | "format" => true,
            _ => panic!("{keyword} is not judged"),
        }
    }

    fn keeps_properties(&self, value: &Value, (keyword, argument): (&str, &Value), schema: &Value) -> bool {
        let object = value.as_object().unwrap();
        let named = schema.get("properties").and_then(Value::as_object);
        let is_named = |name: &String| named.is_some_and(|named| named.contains_key(name));
        // The only pattern of these schemas.
        let is_patterned = |name: &String| {
            schema.get("patternProperties").is_some()
                && matches!(name.as_bytes(), [b'k', digit] if digit.is_ascii_digit())
        };
        match keyword {
            "properties" => {
                let known =
                    |(name, one): (&String, &Value)| object.get(name).is_none_or(|inner| self.is_valid(inner, one));
                argument.as_object().unwrap().iter().all(known)
            }
            "patternProperties" => {
                let one = argument.as_object().unwrap().values().next().unwrap();
                object.iter().filter(|(name, _)| is_patterned(name)).all(|(_, inner)| self.is_valid(inner, one))
            }
            "additionalProperties" => {
                let others = object.iter().filter(|(name, _)| !is_named(name) && !is_patterned(name));
                others.into_iter().all(|(_, inner)| self.is_valid(inner, argument))
            }
            "required" => argument.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap())),
            "minProperties" => object.len() as u64 >= argument.as_u64().unwrap(),
            _ => object.len() as u64 <= argument.as_u64().unwrap(),
        }
    }

    fn keeps_items(&self, items: &[Value], (keyword, argument): (&str, &Value), schema: &Value) -> bool {
        let first = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
        match keyword {
            "items" => items.iter().skip(first).all(|item| self.is_valid(item, argument)),
            "prefixItems" => items.iter().zip(argument.as_array().unwrap()).all(|(item, one)| self.is_valid(item, one)),
            "minItems" => items.len() as u64 >= argument.as_u64().unwrap(),
            _ => items.len() as u64 <= argument.as_u64().unwrap(),
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{kind} is no type"),
    }
}

/// 1 and 1.0 are the same number.
fn is_same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}
