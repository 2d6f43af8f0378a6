//! Grammars over a vocabulary of bytes; over those of real models they are tested in `tests/it/grammars.rs`.

mod gbnf;
mod thoughtful;

use serde_json::{Value, json};

use super::{CallNumber, Calls, Grammar, GrammarError, GrammarSource, Instead, Vocabulary, quoted};
use crate::limits::{GRAMMAR_BYTES_MAX, GRAMMAR_NESTING_MAX, REGEX_SIZE_MAX, SCHEMA_REFERENCES_MAX, SCHEMA_VALUES_MAX};
use crate::reading::CallFormat;
use crate::template::Tool;
use crate::tokenizer::{Special, Start, Tokenizer};

/// 256 bytes and three control tokens, the last of which ends a text.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    loader::fixture::tiny_model(&loader::fixture::TinyModel::default()).write_to(&path).unwrap();
    let artifact = loader::Artifact::open(&path).unwrap();
    Tokenizer::from_header(artifact.header()).unwrap()
}

/// How an answer of `text` goes: whether all of it is allowed, and whether it may end there.
fn follow(source: &GrammarSource, text: &str) -> (bool, bool) {
    let tokenizer = tokenizer();
    let vocabulary = Vocabulary::of(&tokenizer).unwrap();
    walk(&tokenizer, &vocabulary.compile(source).unwrap(), text)
}

fn walk(tokenizer: &Tokenizer, grammar: &Grammar, text: &str) -> (bool, bool) {
    let mut matching = grammar.begin();
    for id in tokenizer.encode(text, Special::Plain, Start::Bare).unwrap() {
        if matching.is_complete() || !matching.allowed().unwrap().holds(id) {
            return (false, false);
        }
        matching.take(id).unwrap();
    }
    let end = (0..).find(|&id| tokenizer.is_end(id)).unwrap();
    let may_end = matching.is_complete() || matching.allowed().unwrap().holds(end);
    (true, may_end)
}

#[track_caller]
fn check(source: &GrammarSource, whole: &[&str], beginnings: &[&str], wrong: &[&str]) {
    whole.iter().for_each(|text| assert_eq!(follow(source, text), (true, true), "{text:?} is whole"));
    beginnings.iter().for_each(|text| assert_eq!(follow(source, text), (true, false), "{text:?} goes on"));
    wrong.iter().for_each(|text| assert!(!follow(source, text).0, "{text:?} is wrong"));
}

fn refusal(source: &GrammarSource) -> GrammarError {
    let compiled = Vocabulary::of(&tokenizer()).unwrap().compile(source);
    compiled.err().unwrap_or_else(|| panic!("{source:?} is accepted"))
}

fn schema(schema: Value) -> GrammarSource {
    GrammarSource::JsonSchema(schema)
}

#[test]
fn json_is_kept_to_its_schema_in_its_order() {
    let person = schema(json!({
        "type": "object", "required": ["name", "age"], "additionalProperties": false,
        "properties": { "name": { "type": "string" }, "age": { "type": "integer", "minimum": 0, "maximum": 150 } },
    }));
    check(
        &person,
        &[r#"{"name":"Ann","age":7}"#, "{ \"name\" : \"é\\n\",\n  \"age\": 150 }"],
        &["", "{", r#"{"name":"Ann""#, r#"{"name":"Ann","age":7"#],
        &[
            r#"{"age":7"#,
            r#"{"name":7"#,
            r#"{"name":"Ann","age":151"#,
            r#"{"name":"Ann","age":7}x"#,
            " {",
            r#"{"name":"Ann"}"#,
        ],
    );
    let spaces = |count: usize| format!("{{{}\"name\":\"\",\"age\":1}}", " ".repeat(count));
    check(&person, &[&spaces(20)], &[], &[&spaces(21)]);
    check(&GrammarSource::json_object(), &["{}", r#"{"a":[1,null]}"#], &["{"], &["[", "1"]);
}

#[test]
fn an_object_has_the_properties_that_its_schema_names() {
    let unsaid = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    let mut open = unsaid.clone();
    open["additionalProperties"] = json!(true);
    check(&schema(unsaid), &["{}", r#"{"a":1}"#], &[], &[r#"{"b"#, r#"{"a":1,"b"#]);
    check(&schema(open), &["{}", r#"{"a":1,"b":2}"#], &[], &[r#"{"a":""#]);
}

#[test]
fn a_schema_that_refers_to_itself_may_end() {
    let list = schema(json!({
        "$ref": "#/$defs/node",
        "$defs": { "node": {
            "type": "object", "required": ["value", "next"], "additionalProperties": false,
            "properties": { "value": { "type": "integer" }, "next": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] } },
        } },
    }));
    check(&list, &[r#"{"value":1,"next":{"value":2,"next":null}}"#], &[r#"{"value":1,"next":"#], &[r#"{"value":1}"#]);
}

#[test]
fn texts_are_kept_to_regular_expressions_and_rules() {
    let date = GrammarSource::Regex("[0-9]{4}-[0-9]{2}(-[0-9]{2})?".to_owned());
    check(&date, &["2026-11", "2026-11-28"], &["2026-11-", ""], &["26-", "2026-11-28T"]);
    let sum = GrammarSource::Lark("start: term (\"+\" term)*\nterm: /[0-9]+/ | \"(\" start \")\"".to_owned());
    check(&sum, &["1", "1+(2+30)"], &["1+", "(1"], &["1)", "+"]);
    let choice = GrammarSource::Lark(format!("start: {} | {}", quoted("a \"b\"\n"), quoted("é")));
    check(&choice, &["a \"b\"\n", "é"], &["a"], &["b", "éa"]);
}

#[test]
fn row_32_what_cannot_be_kept_to_is_refused() {
    let endless = [
        json!({ "$ref": "#" }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        json!({ "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#" } } }),
        json!({ "type": "array", "minItems": 1, "items": { "anyOf": [{ "$ref": "#" }] } }),
        json!({ "type": "object", "required": ["a"], "properties": { "a": { "allOf": [{ "type": "object" }, { "$ref": "#" }] } } }),
    ];
    for endless in endless {
        assert!(matches!(refusal(&schema(endless.clone())), GrammarError::Endless), "{endless}");
    }
    let refused = [
        json!({ "$ref": "#/$defs/nowhere" }),
        json!({ "$ref": "http://127.0.0.1/schema.json" }),
        json!({ "$ref": "file:///etc/passwd" }),
        json!({ "type": "integer", "minimum": 2, "maximum": 1 }),
        json!({ "type": "unknown" }),
        json!({ "type": "array", "uniqueItems": true }),
        json!({ "not": { "type": "string" } }),
        json!({ "enum": [] }),
        json!({ "type": "string", "pattern": "(" }),
        json!({ "type": "string", "pattern": "(?=a)b" }),
    ];
    for refused in refused {
        let refusal = refusal(&schema(refused.clone()));
        let GrammarError::Refused { reason } = refusal else { panic!("{refused}: {refusal}") };
        assert!(!reason.is_empty() && !reason.contains("panic"), "{refused}: {reason}");
    }
    assert!(matches!(refusal(&schema(json!({}))), GrammarError::Empty));
    assert!(matches!(refusal(&schema(json!({ "type": "null", "x-guidance": {} }))), GrammarError::Options));
    for lark in ["start: <|im_end|>", "start: nowhere", "begin: \"a\"", "start: \"a", "start: <[2]>"] {
        let refusal = refusal(&GrammarSource::Lark(lark.to_owned()));
        assert!(matches!(refusal, GrammarError::Refused { .. }), "{lark}: {refusal}");
    }
    for regex in ["(", "(?=a)b", "(a)\\1", "[z-a]"] {
        let refusal = refusal(&GrammarSource::Regex(regex.to_owned()));
        assert!(matches!(refusal, GrammarError::Refused { .. }), "{regex}: {refusal}");
    }
    let unclosed = refusal(&GrammarSource::Regex("(".to_owned())).to_string();
    assert!(unclosed.ends_with("unclosed group"), "{unclosed}");
}

#[test]
fn row_32_expressions_that_others_choke_on_are_followed() {
    // Nothing goes back here: an expression is followed by its derivatives, whose number is bounded.
    let nested = GrammarSource::Regex("(x+x+)+y".to_owned());
    check(&nested, &[&format!("{}y", "x".repeat(300))], &["x", "xx"], &["y", "xy"]);
    let counted = GrammarSource::Regex("([a-z]{1,20} ){0,20}[a-z]{1,20}".to_owned());
    check(&counted, &["a", &"abc ".repeat(20)[..79]], &["", "a "], &["A", &"a".repeat(21)]);
}

#[test]
fn row_32_what_is_too_much_is_refused_before_it_is_compiled() {
    let too_large = |source: &GrammarSource, expected: usize| {
        let refusal = refusal(source);
        assert!(matches!(refusal, GrammarError::TooLarge { max, .. } if max == expected), "{refusal}");
    };
    let names: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    too_large(&schema(json!({ "enum": names })), SCHEMA_VALUES_MAX);
    too_large(&schema(json!({ "const": "x".repeat(GRAMMAR_BYTES_MAX + 1) })), GRAMMAR_BYTES_MAX);
    too_large(&GrammarSource::Regex("a".repeat(GRAMMAR_BYTES_MAX + 1)), GRAMMAR_BYTES_MAX);
    let counts = "((a{1,1000}){1,1000}){1,1000}";
    too_large(&GrammarSource::Regex(counts.to_owned()), REGEX_SIZE_MAX);
    too_large(&schema(json!({ "items": { "type": "string", "pattern": counts } })), REGEX_SIZE_MAX);
    too_large(&schema(json!({ "patternProperties": { counts: {} } })), REGEX_SIZE_MAX);
    let brackets = "(".repeat(GRAMMAR_NESTING_MAX + 1);
    too_large(&GrammarSource::Lark(format!("start: {brackets}")), GRAMMAR_NESTING_MAX);
    let chain = |links: usize| {
        let link = |number: usize| (format!("a{number}"), json!({ "$ref": format!("#/$defs/a{}", number + 1) }));
        let mut links: serde_json::Map<String, Value> = (0..links).map(link).collect();
        links.insert(format!("a{}", links.len()), json!({ "type": "null" }));
        schema(json!({ "$ref": "#/$defs/a0", "$defs": links }))
    };
    too_large(&chain(SCHEMA_REFERENCES_MAX + 1), SCHEMA_REFERENCES_MAX);
    check(&chain(SCHEMA_REFERENCES_MAX - 1), &["null"], &["n"], &["x"]);
}

fn tool(name: &str, parameters: Value) -> Tool {
    Tool { name: name.to_owned(), description: None, parameters: Some(parameters) }
}

fn calls(format: CallFormat, number: CallNumber, instead: Instead) -> GrammarSource {
    let city = json!({
        "type": "object", "required": ["city"], "additionalProperties": false,
        "properties": { "city": { "$ref": "#/$defs/city" } }, "$defs": { "city": { "enum": ["Rome", "Oslo"] } },
    });
    let functions = vec![tool("weather", city), tool("time", json!({}))];
    GrammarSource::Calls(Box::new(Calls { format, functions, number, instead }))
}

const WEATHER: &str = r#"{"name": "weather", "arguments": {"city": "Rome"}}"#;

#[test]
fn calls_that_are_asked_for_are_made() {
    let one = calls(CallFormat::Tagged, CallNumber::One, Instead::Nothing);
    let whole = format!("<tool_call>\n{WEATHER}\n</tool_call>");
    let time = "<tool_call>\n{\"name\": \"time\", \"arguments\": {\"zone\":[1]}}\n</tool_call>";
    check(
        &one,
        &[&whole, time],
        &["<tool_call>"],
        &["I", "{", &whole.replace("Rome", "Paris"), &whole.replace("weather", "other"), &format!("{whole}\n")],
    );
    let several = calls(CallFormat::Tagged, CallNumber::Several, Instead::Nothing);
    check(&several, &[&whole, &format!("{whole}\n{time}\n{whole}")], &[&format!("{whole}\n")], &[&format!("{whole} ")]);
    let bare = calls(CallFormat::Bare, CallNumber::One, Instead::Nothing);
    check(&bare, &[WEATHER], &[], &["[", "<tool_call>"]);
    let llama = calls(CallFormat::Llama3, CallNumber::Several, Instead::Nothing);
    check(&llama, &[&WEATHER.replace("arguments", "parameters")], &[], &[WEATHER]);
}

#[test]
fn what_may_stand_instead_of_calls_may() {
    let whole = format!("<tool_call>\n{WEATHER}\n</tool_call>");
    let text = calls(CallFormat::Tagged, CallNumber::Several, Instead::Text);
    check(
        &text,
        &["", "Hi <tool", &whole, &format!("I look.\n{whole}\n{whole} There.")],
        &["Hi <tool_call>", "<tool_call>\n{"],
        &["<tool_call>no", &format!("a {}", whole.replace("Rome", "Bonn"))],
    );
    let one = calls(CallFormat::Tagged, CallNumber::One, Instead::Text);
    check(&one, &[&format!("{whole} There.")], &[], &[&format!("{whole}{whole}")]);
    let bare = calls(CallFormat::Bare, CallNumber::One, Instead::Text);
    check(&bare, &["", "Hi {", WEATHER], &["{"], &["{}", "[", &format!("{WEATHER} ")]);
    let json = calls(CallFormat::Tagged, CallNumber::One, Instead::Json(json!({ "type": "integer" })));
    check(&json, &["12", &whole], &["<tool"], &["I", "12 "]);
}
