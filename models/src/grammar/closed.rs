//! Objects without properties of their own making: where a schema names `properties` and does not say whether there may
//! be others (`additionalProperties`), an answer has none.
//!
//! JSON Schema lets such an object have any others. Those who write schemas for answers and for the arguments of functions
//! seldom mean that, and a small model that may go on inventing names does so until its answer is cut. Other servers do the
//! same (llama.cpp's, vLLM's).
//!
//! Invariants: whatever is valid by the closed schema is valid by the one that was given, and what could be kept to still
//! can be. So a schema is left as it is where its parts look at one object together, or where one has to fail (`oneOf`,
//! `not`): there, closing one part would change what another means.

use serde_json::{Map, Value};

/// What makes an object's properties matter elsewhere than where they are named.
const ENTANGLING: [&str; 9] = [
    "oneOf",
    "not",
    "if",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "unevaluatedProperties",
    "$dynamicRef",
];
/// What says something of an object's properties.
const OF_OBJECTS: [&str; 5] = ["properties", "required", "additionalProperties", "patternProperties", "minProperties"];
/// Where schemas stand by name, in a list, and alone.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
const LISTED: [&str; 4] = ["anyOf", "allOf", "items", "prefixItems"];
const ALONE: [&str; 2] = ["items", "additionalProperties"];

/// `schema`, its objects closed if that is safe.
pub(super) fn closed(schema: &Value) -> Value {
    let mut closed = schema.clone();
    match close(&mut closed) {
        Ok(()) => closed,
        Err(Entangled) => schema.clone(),
    }
}

/// That some part of a schema looks at another's object.
struct Entangled;

fn close(schema: &mut Value) -> Result<(), Entangled> {
    let Value::Object(keywords) = schema else { return Ok(()) };
    if is_entangled(keywords) {
        return Err(Entangled);
    }
    parts(keywords).try_for_each(close)?;
    let Some(Value::Object(properties)) = keywords.get("properties") else { return Ok(()) };
    let is_named = |name: &Value| name.as_str().is_some_and(|name| properties.contains_key(name));
    let all_named = keywords.get("required").and_then(Value::as_array).is_none_or(|names| names.iter().all(is_named));
    let least = keywords.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    let says = keywords.contains_key("additionalProperties") || keywords.contains_key("patternProperties");
    if all_named && least <= properties.len() as u64 && !says {
        keywords.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Ok(())
}

/// What looks at the same value as the keywords beside it.
const IN_PLACE: [&str; 5] = ["anyOf", "allOf", "$ref", "const", "enum"];

fn is_entangled(keywords: &Map<String, Value>) -> bool {
    let has = |name: &&str| keywords.contains_key(*name);
    let several = keywords.get("allOf").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
    let in_place = IN_PLACE.iter().copied().filter(|name| has(name)).count();
    ENTANGLING.iter().any(has) || several || in_place > 1 || (in_place > 0 && OF_OBJECTS.iter().any(has))
}

/// The schemas directly within one: no constants, defaults or examples, which may look alike.
fn parts(keywords: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    keywords.iter_mut().flat_map(|(keyword, value)| {
        let is_one_of = |names: &[&str]| names.contains(&keyword.as_str());
        let parts: Vec<&mut Value> = if is_one_of(&NAMED) {
            value.as_object_mut().into_iter().flat_map(Map::values_mut).collect()
        } else if is_one_of(&LISTED) && value.is_array() {
            value.as_array_mut().into_iter().flatten().collect()
        } else if is_one_of(&ALONE) {
            vec![value]
        } else {
            Vec::new()
        };
        parts
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::closed;

    fn unchanged(schema: &Value) {
        assert_eq!(closed(schema), *schema, "{schema}");
    }

    #[test]
    fn objects_that_do_not_say_are_closed_wherever_they_stand() {
        let open = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
        let mut shut = open.clone();
        shut["additionalProperties"] = json!(false);
        let around = |inner: &Value| {
            json!({
                "type": "object", "additionalProperties": inner, "$defs": { "d": inner }, "required": ["list"],
                "properties": {
                    "list": { "type": "array", "items": inner, "prefixItems": [inner] },
                    "either": { "anyOf": [inner, { "type": "null" }] },
                    "referred": { "description": "one", "allOf": [{ "$ref": "#/$defs/d" }] },
                    "constant": { "const": open },
                },
            })
        };
        assert_eq!(closed(&around(&open)), around(&shut));
        let none = json!({ "type": "object", "properties": {} });
        assert_eq!(closed(&none), json!({ "type": "object", "properties": {}, "additionalProperties": false }));
    }

    #[test]
    fn what_says_or_names_nothing_stays() {
        unchanged(&json!({ "type": "object" }));
        unchanged(&json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": true }));
        unchanged(&json!({ "type": "object", "properties": { "a": {} }, "patternProperties": { "^x": {} } }));
        unchanged(&json!({ "type": "object", "properties": { "a": {} }, "required": ["b"] }));
        unchanged(&json!({ "type": "object", "properties": { "a": {} }, "minProperties": 2 }));
    }

    #[test]
    fn what_is_entangled_stays() {
        let a = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
        let b = json!({ "type": "object", "properties": { "b": { "type": "integer" } } });
        unchanged(&json!({ "allOf": [a, b] }));
        unchanged(&json!({ "oneOf": [a, b] }));
        unchanged(&json!({ "items": { "not": a } }));
        unchanged(&json!({ "properties": { "c": {} }, "anyOf": [a, b] }));
        unchanged(&json!({ "$ref": "#/$defs/a", "properties": { "c": {} }, "$defs": { "a": a } }));
        let of_a = json!({ "$ref": "#/$defs/a" });
        unchanged(&json!({ "allOf": [of_a], "anyOf": [b, { "type": "object" }], "$defs": { "a": a } }));
        unchanged(&json!({ "properties": { "a": {} }, "enum": [{ "a": 1, "b": 2 }] }));
    }
}
