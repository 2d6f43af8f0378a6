//! Schemas in few words, for what is read and written by hand.
//!
//! A body's fields are closed: what is unknown is refused. Of those that need not be there `null` is as good as none, which
//! [`maybe`] says. What is answered is open, so that clients go on when it grows.

use std::ops::RangeInclusive;

use serde_json::{Value, json};
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Object, Ref, RefOr, Schema};

/// What a value may be.
pub(super) type Form = RefOr<Schema>;

/// The component that is any object.
pub(super) const ANY_OBJECT: &str = "AnyObject";

/// A member of an object.
pub(super) struct Member {
    name: &'static str,
    form: Form,
    presence: Presence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    Sometimes,
}

impl Member {
    /// Whether this is its name.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name
    }
}

/// One that is always there.
pub(super) fn must(name: &'static str, form: Form) -> Member {
    Member { name, form, presence: Presence::Always }
}

/// One that need not be there, or may be `null`.
pub(super) fn maybe(name: &'static str, form: Form) -> Member {
    Member { name, form: nullable(form), presence: Presence::Sometimes }
}

/// One that is not always there, and never `null`.
pub(super) fn at_times(name: &'static str, form: Form) -> Member {
    Member { name, form, presence: Presence::Sometimes }
}

/// One that is always there, and may be `null`.
pub(super) fn or_null(name: &'static str, form: Form) -> Member {
    Member { name, form: nullable(form), presence: Presence::Always }
}

/// An object of a request: nothing else is in it.
pub(super) fn asked<const N: usize>(about: &str, members: [Member; N]) -> Form {
    closed(about, members.into_iter().collect())
}

/// The same of several lists of members.
pub(super) fn closed(about: &str, members: Vec<Member>) -> Form {
    object(about, members).additional_properties(Some(AdditionalProperties::FreeForm(false))).into()
}

/// An object of an answer.
pub(super) fn told<const N: usize>(about: &str, members: [Member; N]) -> Form {
    object(about, members.into_iter().collect()).into()
}

/// The same of several lists of members.
pub(super) fn open(about: &str, members: Vec<Member>) -> Form {
    object(about, members).into()
}

/// An object whose names are not known before.
pub(super) fn map(about: &str, value: Form, entries_max: Option<usize>) -> Form {
    mapping(about, value, entries_max).into()
}

/// One whose names are of this form.
pub(super) fn map_from(pattern: &str, about: &str, (value, entries_max): (Form, usize)) -> Form {
    let names: Schema = of_type(Type::String, "").pattern(Some(pattern)).build().into();
    mapping(about, value, Some(entries_max)).property_names(Some(names)).into()
}

/// An object that has one of these members at least, and not as `null`.
pub(super) fn with_one_of(names: &[&str], form: Form) -> Form {
    saying("anyOf", names.iter().map(|name| having(name)).collect(), form)
}

/// An object that has one of these two members at most, but for `null`.
pub(super) fn without_both(names: [&str; 2], form: Form) -> Form {
    saying("not", json!({ "allOf": names.map(having) }), form)
}

/// The object has this member, and not as `null`.
fn having(name: &str) -> Value {
    json!({ "required": [name], "properties": { (name): { "not": { "type": "null" } } } })
}

/// An object, a text or a number of which a keyword of JSON Schema says more that the builder does not know there.
pub(super) fn saying(keyword: &'static str, value: Value, form: Form) -> Form {
    match form {
        RefOr::T(Schema::Object(mut object)) => {
            object.extensions = Some([(keyword, value)].into_iter().collect());
            object.into()
        }
        _ => unreachable!("`{keyword}` is said of what the builder has no words for"),
    }
}

/// Any object: a name, since generators of clients make a type of each object that has none.
pub(super) fn any_object(about: &str) -> Form {
    let mut name = Ref::from_schema_name(ANY_OBJECT);
    about.clone_into(&mut name.description);
    name.into()
}

/// What it is the name of.
pub(super) fn object_of_any(about: &str) -> Form {
    ObjectBuilder::new()
        .description(some(about))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
        .into()
}

/// Anything.
pub(super) fn anything(about: &str) -> Form {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(some(about)).into()
}

/// A text.
pub(super) fn text(about: &str) -> Form {
    of_type(Type::String, about).into()
}

/// A text of so many characters.
pub(super) fn text_of(about: &str, chars: RangeInclusive<usize>) -> Form {
    let most = Some(*chars.end()).filter(|most| *most < usize::MAX);
    of_type(Type::String, about).min_length(Some(*chars.start()).filter(|least| *least > 0)).max_length(most).into()
}

/// A text of this form, a regular expression of ECMA-262.
pub(super) fn text_like(about: &str, pattern: &str) -> Form {
    of_type(Type::String, about).pattern(Some(pattern)).into()
}

/// A text of that form and so many characters.
pub(super) fn bounded_like(about: &str, pattern: &str, chars_max: usize) -> Form {
    of_type(Type::String, about).pattern(Some(pattern)).max_length(Some(chars_max)).into()
}

/// One of some words.
pub(super) fn word(about: &str, words: &[&str]) -> Form {
    of_type(Type::String, about).enum_values(Some(words.iter().copied())).into()
}

/// A text that is JSON of this form.
pub(super) fn json_text(form: Form) -> Form {
    of_type(Type::String, "").content_media_type("application/json").content_schema(Some(form)).into()
}

/// True or false.
pub(super) fn flag(about: &str) -> Form {
    of_type(Type::Boolean, about).into()
}

/// One of the two alone.
pub(super) fn always(about: &str, value: bool) -> Form {
    saying("const", value.into(), flag(about))
}

/// A whole number.
pub(super) fn whole(about: &str, range: RangeInclusive<i64>) -> Form {
    let bound = |value: i64| isize::try_from(value).expect("machines have 64 bits");
    let (least, most) = (*range.start(), *range.end());
    of_type(Type::Integer, about)
        .minimum(Some(bound(least)).filter(|_| least > i64::MIN))
        .maximum(Some(bound(most)).filter(|_| most < i64::MAX))
        .into()
}

/// Any whole number that 64 bits hold, with or without a sign.
pub(super) fn whole_of_64_bits(about: &str) -> Form {
    of_type(Type::Integer, about).minimum(Some(isize::MIN)).maximum(Some(usize::MAX)).into()
}

/// Any whole number that 64 bits hold with a sign.
pub(super) fn whole_of_63_bits(about: &str) -> Form {
    of_type(Type::Integer, about).minimum(Some(isize::MIN)).maximum(Some(isize::MAX)).into()
}

/// A count.
pub(super) fn count(about: &str) -> Form {
    whole(about, 0..=i64::MAX)
}

/// A number.
pub(super) fn number(about: &str) -> Form {
    of_type(Type::Number, about).into()
}

/// A number within bounds.
pub(super) fn number_in(about: &str, range: RangeInclusive<f64>) -> Form {
    of_type(Type::Number, about).minimum(Some(*range.start())).maximum(Some(*range.end())).into()
}

/// A number that is not above one.
pub(super) fn of_at_most(most: f64) -> Form {
    of_type(Type::Number, "").maximum(Some(most)).into()
}

/// A list.
pub(super) fn list(about: &str, item: Form) -> Form {
    ArrayBuilder::new().items(item).description(some(about)).into()
}

/// A list of so many.
pub(super) fn list_of(about: &str, item: Form, items: RangeInclusive<usize>) -> Form {
    let least = Some(*items.start()).filter(|least| *least > 0);
    let most = Some(*items.end()).filter(|most| *most < usize::MAX);
    ArrayBuilder::new().items(item).min_items(least).max_items(most).description(some(about)).into()
}

/// A list of nothing: what would stand in it is not supported.
pub(super) fn nothing_of(about: &str) -> Form {
    list_of(about, anything(""), 0..=0)
}

/// One of several forms.
pub(super) fn either<const N: usize>(about: &str, forms: [Form; N]) -> Form {
    forms.into_iter().fold(AnyOfBuilder::new().description(some(about)), AnyOfBuilder::item).into()
}

/// What is defined among the components.
pub(super) fn named(name: &str) -> Form {
    Ref::from_schema_name(name).into()
}

/// `null` alone.
pub(super) fn null() -> Form {
    ObjectBuilder::new().schema_type(Type::Null).into()
}

fn object(about: &str, members: Vec<Member>) -> ObjectBuilder {
    let mut object = ObjectBuilder::new().description(some(about));
    for Member { name, form, presence } in members {
        object = object.property(name, form);
        if presence == Presence::Always {
            object = object.required(name);
        }
    }
    object
}

fn mapping(about: &str, value: Form, entries_max: Option<usize>) -> ObjectBuilder {
    ObjectBuilder::new().description(some(about)).max_properties(entries_max).additional_properties(Some(value))
}

fn of_type(kind: Type, about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind).description(some(about))
}

fn some(about: &str) -> Option<&str> {
    Some(about).filter(|about| !about.is_empty())
}

/// The same, or `null`.
fn nullable(form: Form) -> Form {
    let or_null = |kind: &SchemaType| match kind {
        SchemaType::Type(kind) if *kind != Type::Null => SchemaType::Array(vec![kind.clone(), Type::Null]),
        kind => kind.clone(),
    };
    let is_constant = |object: &Object| object.extensions.as_ref().is_some_and(|said| said.contains_key("const"));
    match form {
        RefOr::T(Schema::Object(mut object)) if !is_constant(&object) => {
            object.schema_type = or_null(&object.schema_type);
            object.enum_values.iter_mut().for_each(|values| values.push(Value::Null));
            object.into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = or_null(&array.schema_type);
            array.into()
        }
        RefOr::T(Schema::AnyOf(mut any)) => {
            any.items.push(null());
            RefOr::T(any.into())
        }
        form => either("", [form, null()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_as(form: Form) -> Value {
        serde_json::to_value(form).unwrap()
    }

    #[test]
    fn what_need_not_be_there_may_be_null() {
        let members = [
            maybe("a", whole("", 1..=2)),
            maybe("b", word("", &["x"])),
            maybe("c", list("", text(""))),
            maybe("d", either("", [text(""), flag("")])),
            maybe("e", named("Tool")),
            maybe("f", null()),
            must("g", text_of("", 1..=usize::MAX)),
        ];
        let form = told_as(asked("", members));
        let of = |name: &str| &form["properties"][name];
        assert_eq!((&form["required"], &form["additionalProperties"]), (&json!(["g"]), &json!(false)));
        assert_eq!(*of("a"), json!({ "type": ["integer", "null"], "minimum": 1, "maximum": 2 }));
        assert_eq!(*of("b"), json!({ "type": ["string", "null"], "enum": ["x", null] }));
        assert_eq!(of("c")["type"], json!(["array", "null"]));
        assert_eq!(of("d")["anyOf"][2], json!({ "type": "null" }));
        assert_eq!(of("e")["anyOf"], json!([{ "$ref": "#/components/schemas/Tool" }, { "type": "null" }]));
        assert_eq!((of("f"), of("g")), (&json!({ "type": "null" }), &json!({ "type": "string", "minLength": 1 })));
    }

    #[test]
    fn one_of_several_names_is_enough() {
        let form = told_as(with_one_of(&["a", "b"], asked("", [maybe("a", text("")), maybe("b", text(""))])));
        let having = json!({ "required": ["b"], "properties": { "b": { "not": { "type": "null" } } } });
        assert_eq!((&form["anyOf"][1], &form["required"]), (&having, &Value::Null));
        let form = told_as(without_both(["a", "b"], asked("", [maybe("a", text("")), maybe("b", text(""))])));
        assert_eq!(form["not"]["allOf"][1], having);
    }
}
