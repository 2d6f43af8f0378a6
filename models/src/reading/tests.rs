use serde_json::{Map, json};

use super::{AnswerReader, Call, CallFormat, Said};
use crate::template::{ChatTemplate, Extras, Tool};
use crate::tokenizer::Tokenizer;

fn template(source: &str) -> ChatTemplate {
    let writer = loader::fixture::tiny_model(&loader::fixture::TinyModel::default());
    let tokenizer = Tokenizer::from_header(&loader::gguf::parse(&writer.to_bytes()).unwrap()).unwrap();
    ChatTemplate::compile(source, &tokenizer).unwrap()
}

fn tools(names: &[&str]) -> Extras {
    let tool = |name: &&str| Tool { name: (*name).to_owned(), description: None, parameters: None };
    Extras { tools: names.iter().map(tool).collect(), values: Map::new(), ..Extras::default() }
}

/// What an answer says, texts of a kind in one, whatever pieces it comes in.
fn read(source: &str, extras: &Extras, answer: &str) -> Vec<Said> {
    let template = template(source);
    let in_pieces = |bytes: usize| {
        let mut reader = AnswerReader::new(&template, extras, template.thoughts(extras).unwrap());
        let mut said: Vec<Said> = Vec::new();
        let characters: Vec<char> = answer.chars().collect();
        for piece in characters.chunks(bytes) {
            said.extend(reader.push(&piece.iter().collect::<String>()));
        }
        said.extend(reader.finish());
        joined(said)
    };
    let whole = in_pieces(usize::MAX);
    for bytes in 1..=13 {
        assert_eq!(in_pieces(bytes), whole, "in pieces of {bytes}");
    }
    whole
}

fn joined(said: Vec<Said>) -> Vec<Said> {
    let mut parts: Vec<Said> = Vec::new();
    for part in said {
        match (parts.last_mut(), part) {
            (Some(Said::Text(before)), Said::Text(text)) | (Some(Said::Thought(before)), Said::Thought(text)) => {
                before.push_str(&text);
            }
            (_, part) => parts.push(part),
        }
    }
    parts
}

fn text(text: &str) -> Said {
    Said::Text(text.to_owned())
}

fn call(name: &str, arguments: &str) -> Said {
    Said::Call(Call { name: name.to_owned(), arguments: arguments.to_owned() })
}

const HERMES: &str = "{{ tools }}<tool_call>";
const LLAMA: &str = "{{ tools }}<|python_tag|>";
const BARE: &str = "{{ tools }}";

#[test]
fn the_template_tells_the_format() {
    assert_eq!(CallFormat::of(&template(HERMES)), CallFormat::Tagged);
    assert_eq!(CallFormat::of(&template(LLAMA)), CallFormat::Llama3);
    assert_eq!(CallFormat::of(&template(BARE)), CallFormat::Bare);
    assert_eq!(CallFormat::of(&template("{{ messages }}")), CallFormat::Tagged, "as it is told");
}

#[test]
fn tagged_calls_stand_anywhere() {
    let extras = tools(&["get", "set"]);
    let answer = "I look.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"b\": 1, \"a\": \"é\"}}\n</tool_call>\n<tool_call>\
                  {\"name\":\"set\"}</tool_call>\n";
    assert_eq!(read(HERMES, &extras, answer), [text("I look."), call("get", r#"{"b":1,"a":"é"}"#), call("set", "{}")]);
    let listed = r#"<tool_call>[{"name":"get","arguments":{}},{"name":"set","arguments":"x"}]</tool_call> done"#;
    assert_eq!(read(HERMES, &extras, listed), [call("get", "{}"), call("set", "x"), text("done")]);
    let unclosed = r#"<tool_call>{"name":"get","arguments":{}}"#;
    assert_eq!(read(HERMES, &extras, unclosed), [call("get", "{}")]);
    for none in [
        "a < b <tool",
        "  spaces  \n",
        "<tool_call>{\"name\": \"other\"}</tool_call>",
        "<tool_call>no JSON</tool_call>",
        "a <tool_call>no JSON</tool_call> b",
        "<tool_call>{\"name\": \"get\", \"argum",
        "",
    ] {
        let expected: Vec<Said> = Some(text(none)).filter(|_| !none.is_empty()).into_iter().collect();
        assert_eq!(read(HERMES, &extras, none), expected, "{none:?} is said");
    }
    assert_eq!(read(HERMES, &Extras::default(), answer), [text(answer)], "where nothing may be called");
}

#[test]
fn bare_calls_are_all_of_an_answer() {
    let extras = tools(&["get"]);
    assert_eq!(read(LLAMA, &extras, r#"{"name": "get", "parameters": {"a": 1}}"#), [call("get", r#"{"a":1}"#)]);
    let two = r#" {"name":"get","parameters":{}}; {"name":"get","parameters":{"a":2}}"#;
    assert_eq!(read(LLAMA, &extras, two), [call("get", "{}"), call("get", r#"{"a":2}"#)]);
    let list = r#"[{"name":"get","arguments":{}}]"#;
    assert_eq!(read(BARE, &extras, list), [call("get", "{}")]);
    for none in
        [r#"{"name":"other"}"#, r#"{"a":1}"#, "{", "[]", r#"{"name":"get"} and more"#, "It is {\"name\":\"get\"}"]
    {
        assert_eq!(read(BARE, &extras, none), [text(none)], "{none:?} is said");
    }
}

#[test]
fn thoughts_come_first() {
    let thinking = "{% if false %}<think>{% endif %}";
    let thought = |text: &str| Said::Thought(text.to_owned());
    let none = Extras::default();
    assert_eq!(read(thinking, &none, "<think>\nHm. <b>\n</think>\n\nYes.\n"), [thought("Hm. <b>"), text("Yes.\n")]);
    assert_eq!(read(thinking, &none, "\n<think>Hm"), [thought("Hm")]);
    assert_eq!(read(thinking, &none, "<think>\n\n</think>\n\nYes"), [text("Yes")]);
    assert_eq!(read(thinking, &none, "Yes <think>no</think>"), [text("Yes <think>no</think>")]);
    assert_eq!(read("{{ messages }}", &none, "<think>a</think>b"), [text("<think>a</think>b")], "it knows none");
    let begun = "{{ messages[0].content }}{% if enable_thinking is defined and not enable_thinking %}<think></think>\
                 {% else %}<think>\n{% endif %}";
    assert_eq!(read(begun, &none, "Hm.</think>Yes"), [thought("Hm."), text("Yes")]);
    assert_eq!(read(begun, &none, "<think> Hm.</think>Yes"), [thought("Hm."), text("Yes")]);
    let mut off = Extras::default();
    off.values.insert("enable_thinking".to_owned(), json!(false));
    assert_eq!(read(begun, &off, "Yes"), [text("Yes")]);
    let both = format!("{thinking}{HERMES}");
    let answer = "<think>I call.</think>\n<tool_call>{\"name\":\"get\"}</tool_call>";
    assert_eq!(read(&both, &tools(&["get"]), answer), [thought("I call."), call("get", "{}")]);
}
