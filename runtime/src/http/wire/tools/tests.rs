use serde_json::json;

use super::{CallNumber, ChatOptions, ThinkingLevel, ThinkingWish, ToolChoice, has_word};
use crate::http::error::ApiError;
use crate::http::wire::parse_object;
use crate::http::wire::refusal::each_refused;

fn parse(body: &[u8]) -> Result<ChatOptions, ApiError> {
    let mut fields = parse_object(body)?;
    let options = ChatOptions::take(&mut fields)?;
    fields.finish()?;
    Ok(options)
}

const GET: &str = r#""tools":[{"type":"function","function":{"name":"get"}}]"#;

#[test]
fn what_is_no_tool_is_refused() {
    let table = [
        (r#""tools":{}"#, "invalid_type", "tools"),
        (r#""tools":["get"]"#, "invalid_type", "tools[0]"),
        (r#""tools":[{"type":"web_search"}]"#, "unsupported_parameter", "tools[0].type"),
        (r#""tools":[{"type":"function"}]"#, "missing_required_parameter", "tools[0].function"),
        (r#""tools":[{"type":"function","function":{}}]"#, "missing_required_parameter", "tools[0].function.name"),
        (r#""tools":[{"type":"function","function":{"name":"a b"}}]"#, "invalid_value", "tools[0].function.name"),
        (
            r#""tools":[{"type":"function","function":{"name":"a","parameters":[1]}}]"#,
            "invalid_type",
            "tools[0].function.parameters",
        ),
        (
            r#""tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}]"#,
            "invalid_value",
            "tools[1].function.name",
        ),
        (r#""tool_choice":"auto""#, "invalid_value", "tool_choice"),
        (r#""tool_choice":"required","tools":[]"#, "invalid_value", "tool_choice"),
        (r#""tool_choice":{"type":"allowed_tools"}"#, "unsupported_parameter", "tool_choice.type"),
        (
            r#""tool_choice":{"type":"function","function":{"name":"get"}}"#,
            "invalid_value",
            "tool_choice.function.name",
        ),
        (r#""chat_template_kwargs":[]"#, "invalid_type", "chat_template_kwargs"),
        (r#""chat_template_kwargs":{"messages":[]}"#, "unsupported_parameter", "chat_template_kwargs.messages"),
        (r#""reasoning_effort":"endless""#, "invalid_value", "reasoning_effort"),
    ];
    each_refused(parse, "", &table);
    each_refused(parse, GET, &[(r#""tool_choice":"any""#, "invalid_value", "tool_choice")]);
}

#[test]
fn tools_are_read_with_how_they_may_be_called() {
    let parsed = |body: &str| parse(body.as_bytes()).expect(body);
    let get = parsed(&format!("{{{GET}}}"));
    assert_eq!((&get.choice, get.number, get.strict.len()), (&ToolChoice::Auto, CallNumber::Several, 0));
    assert_eq!(get.extras.tools[0].name, "get");
    let hidden = parsed(&format!(r#"{{{GET},"tool_choice":"none"}}"#));
    assert!(hidden.extras.tools.is_empty() && !hidden.calls_are_forced());
    let named = parsed(
        r#"{"tools":[{"type":"function","function":{"name":"get","description":"d","strict":true,
            "parameters":{"type":"object","properties":{"z":{},"a":{}}}}}],"parallel_tool_calls":false,
            "tool_choice":{"type":"function","function":{"name":"get"}},
            "chat_template_kwargs":{"enable_thinking":false},"reasoning_effort":"low"}"#,
    );
    assert_eq!((&named.choice, named.number), (&ToolChoice::Named("get".to_owned()), CallNumber::One));
    assert!(named.calls_are_forced());
    let effort = ThinkingWish { level: ThinkingLevel::Effort("low".to_owned()), param: "reasoning_effort" };
    assert_eq!((named.strict, named.thinking), (vec!["get".to_owned()], vec![effort]));
    assert_eq!(named.extras.values["enable_thinking"], json!(false));
    let told = named.extras.tools[0].to_json().to_string();
    assert_eq!(
        told,
        r#"{"type":"function","function":{"name":"get","description":"d","parameters":{"type":"object","properties":{"z":{},"a":{}}}}}"#
    );
    assert_eq!(parsed(r#"{"tools":[],"tool_choice":"none"}"#), ChatOptions::default());
}

#[test]
fn a_template_looks_at_values_by_their_whole_names() {
    let template = "{% if enable_thinking is defined and not enable_thinking %}{{ a.thinking_budget }}{% endif %}e";
    for (name, is_there) in [
        ("enable_thinking", true),
        ("thinking_budget", true),
        ("thinking", false),
        ("enable", false),
        ("e", true),
        ("", false),
    ] {
        assert_eq!(has_word(template, name), is_there, "{name:?}");
    }
}

#[test]
fn what_becomes_json_is_bounded_before_it_does() {
    let ids = |count: usize| vec!["1"; count].join(",");
    let body = |ids: &str| {
        let parameters = format!("{{\"enum\":[{ids}]}}");
        format!(r#""tools":[{{"type":"function","function":{{"name":"get","parameters":{parameters}}}}}]"#)
    };
    parse(format!("{{{}}}", body(&ids(9_000))).as_bytes()).expect("few enough");
    let (many, values) = (body(&ids(10_000)), format!("\"chat_template_kwargs\":{{\"a\":[{}]}}", ids(10_000)));
    let table = [
        (many.as_str(), "invalid_schema", "tools[0].function.parameters"),
        (values.as_str(), "invalid_schema", "chat_template_kwargs"),
    ];
    each_refused(parse, "", &table);
}
