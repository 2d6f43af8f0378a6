//! Tools, calls and values as templates see them, and as they are told where a template knows none.

use serde_json::{Value, json};

use super::{ChatTemplate, Extras, Message, Tool, ToolCall};
use crate::tokenizer::Tokenizer;

const MARK: char = '\u{fdd0}';

fn tokenizer() -> Tokenizer {
    let writer = loader::fixture::tiny_model(&loader::fixture::TinyModel::default());
    Tokenizer::from_header(&loader::gguf::parse(&writer.to_bytes()).unwrap()).unwrap()
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned(), ..Message::default() }
}

fn conversation() -> Vec<Message> {
    let call = |id: &str, arguments: &str| ToolCall {
        id: id.to_owned(),
        name: "weather".to_owned(),
        arguments: arguments.to_owned(),
    };
    let calls = Message {
        tool_calls: vec![call("1", r#"{"z":1,"city":"Rome"}"#), call("2", "Oslo")],
        ..message("assistant", "")
    };
    let answer = |id: &str, content: &str| Message { tool_call_id: Some(id.to_owned()), ..message("tool", content) };
    vec![message("user", "Well?"), calls, answer("1", "warm"), answer("2", "cold"), message("user", "So?")]
}

fn extras() -> Extras {
    let parameters = Some(json!({ "type": "object", "properties": { "city": { "type": "string" } } }));
    let tool = Tool { name: "weather".to_owned(), description: Some("it's <now>".to_owned()), parameters };
    Extras { tools: vec![tool], ..Extras::default() }
}

fn render(source: &str, messages: &[Message], extras: &Extras) -> String {
    ChatTemplate::compile(source, &tokenizer()).unwrap().render(messages, extras, MARK).unwrap()
}

#[test]
fn a_template_in_the_manner_of_hermes_sees_tools_and_calls() {
    let source = r#"
{%- if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '\n' }}{% endif %}
{%- for message in messages %}
    {{- message.role }}:{{ message.content }}
    {%- for tool_call in message.tool_calls %}
        {%- if tool_call.function %}{% set tool_call = tool_call.function %}{% endif %}
        {{- '<tool_call>{"name": "' + tool_call.name + '", "arguments": ' }}
        {%- if tool_call.arguments is string %}{{ tool_call.arguments }}{% else %}{{ tool_call.arguments | tojson }}{% endif %}
        {{- '}</tool_call>' }}
    {%- endfor %}
    {%- if message.tool_call_id %}#{{ message.tool_call_id }}{% endif %}
    {{- ';' }}
{%- endfor %}"#;
    let expected = r#"{"type": "function", "function": {"name": "weather", "description": "it's <now>", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
user:Well?;assistant:<tool_call>{"name": "weather", "arguments": {"z": 1, "city": "Rome"}}</tool_call><tool_call>{"name": "weather", "arguments": Oslo}</tool_call>;tool:warm#1;tool:cold#2;user:So?;"#;
    assert_eq!(render(source, &conversation(), &extras()), expected);
    let none = "{{ tools is none }}{{ messages[0].tool_calls is defined }}";
    assert_eq!(render(none, &[message("user", "a")], &Extras::default()), "TrueFalse");
}

#[test]
fn where_a_template_knows_no_tools_they_are_said() {
    let source = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}";
    let template = ChatTemplate::compile(source, &tokenizer()).unwrap();
    let said = |messages: &[Message], extras: &Extras| {
        let ids = template.encode_with(messages, extras, &tokenizer(), usize::MAX).unwrap();
        tokenizer().decode(&ids)
    };
    let text = said(&conversation(), &extras());
    assert!(text.contains("[system] You may call functions"), "{text}");
    assert!(text.contains(r#"<tools>"#) && text.contains(r#"{"name":"weather","description":"it's <now>""#), "{text}");
    let rest = "[user] Well?\n[assistant] <tool_call>\n{\"name\":\"weather\",\"arguments\":{\"z\":1,\"city\":\"Rome\"}}\n</tool_call>\n\
                <tool_call>\n{\"name\":\"weather\",\"arguments\":\"Oslo\"}\n</tool_call>\n\
                [user] <tool_response>\nwarm\n</tool_response>\n<tool_response>\ncold\n</tool_response>\n[user] So?\n";
    assert!(text.ends_with(rest), "{text}");
    assert!(
        said(&conversation(), &Extras::default()).ends_with(rest),
        "what was called is told whatever may be called now"
    );
    let with_system = said(&[message("system", "Be brief."), message("user", "Hi")], &extras());
    assert!(with_system.contains("[system] Be brief.\n\nYou may call"), "{with_system}");
    assert_eq!(said(&[message("user", "Hi")], &Extras::default()).trim_start(), "[user] Hi\n");
}

#[test]
fn row_17_control_tokens_in_tools_calls_and_values_are_text() {
    let tokenizer = tokenizer();
    let control = tokenizer.control_texts().find(|text| text.len() > 2).unwrap().to_owned();
    let template =
        "{{ messages[0].content }}{{ tools | tojson }}{{ messages[1].tool_calls | tojson }}{{ own | tojson }}";
    let template = ChatTemplate::compile(template, &tokenizer).unwrap();
    let mut extras = extras();
    extras.tools[0].description = Some(control.clone());
    extras.tools[0].parameters = Some(json!({ "properties": { &control: { "enum": [&control] } } }));
    extras.values.insert("own".to_owned(), json!([&control]));
    let arguments = json!({ &control: &control }).to_string();
    let call = ToolCall { id: control.clone(), name: control.clone(), arguments };
    let calling = Message { tool_calls: vec![call], ..message("assistant", "") };
    let ids = template.encode_with(&[message("user", "a"), calling], &extras, &tokenizer, usize::MAX).unwrap();
    let added = usize::from(tokenizer.added_bos().is_some());
    assert!(ids[added..].iter().all(|&id| !tokenizer.is_control(id)));
    assert_eq!(tokenizer.decode(&ids).matches(&control).count(), 8);
}

#[test]
fn values_are_there_by_their_names() {
    let mut extras = Extras::default();
    extras.values.insert("enable_thinking".to_owned(), Value::Bool(false));
    let source = "{% if enable_thinking is defined and enable_thinking is false %}off{% else %}on{% endif %}";
    assert_eq!(render(source, &[], &extras), "off");
    assert_eq!(render(source, &[], &Extras::default()), "on");
}
