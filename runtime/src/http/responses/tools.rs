//! `tools` and how they are to be called.
//!
//! Functions are kept to their parameters where `strict` is said, and not where nothing is.

use models::grammar::CallNumber;
use serde_json::{Value, json};

use crate::http::error::ApiError;
use crate::http::wire::tools::functions::{check_choice, choice_of, function_of, named, offered};
use crate::http::wire::tools::{Offered, call_number};
use crate::http::wire::{ChatOptions, Fields, Node, ToolChoice};

/// What an answer tells again of tools.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToldTools {
    pub(super) offered: Vec<Value>,
    pub(super) choice: Value,
    pub(super) number: CallNumber,
}

/// Takes the fields.
pub(super) fn take(fields: &mut Fields) -> Result<(ChatOptions, ToldTools), ApiError> {
    let offered = offered(fields, tool)?;
    let choice = choice(fields, &offered)?;
    let number = call_number(fields.flag("parallel_tool_calls")?);
    // Of tools that are the service's own, of which there are none.
    fields.integer::<u32>("max_tool_calls", 0..=i128::from(u32::MAX))?;
    let told = ToldTools {
        offered: offered.iter().map(told).collect(),
        choice: match &choice {
            None => json!("none"),
            Some(ToolChoice::Auto) => json!("auto"),
            Some(ToolChoice::Required) => json!("required"),
            Some(ToolChoice::Named(name)) => json!({ "type": "function", "name": name }),
        },
        number,
    };
    Ok((ChatOptions::offering(offered, choice, number), told))
}

fn tool(item: Node, path: &str) -> Result<Offered, ApiError> {
    let mut fields = Fields::of(item, path)?;
    if fields.required_text("type")? != "function" {
        return Err(ApiError::unsupported_field(fields.path("type")));
    }
    let offered = function_of(&mut fields, "parameters")?;
    fields.only_off("defer_loading")?;
    fields.only_listing("allowed_callers", "direct")?;
    fields.finish()?;
    Ok(offered)
}

fn told(Offered { tool, is_strict, .. }: &Offered) -> Value {
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": is_strict,
    })
}

/// `tool_choice`; none where nothing may be called.
fn choice(fields: &mut Fields, offered: &[Offered]) -> Result<Option<ToolChoice>, ApiError> {
    let path = fields.path("tool_choice");
    let choice = match fields.take("tool_choice") {
        None => return Ok(Some(ToolChoice::Auto)),
        // Without tools it means the same as nothing.
        Some(Node::Text(word)) if word == "auto" => return Ok(Some(ToolChoice::Auto)),
        Some(Node::Text(word)) => choice_of(&word, &path)?,
        Some(node) => {
            let mut fields = Fields::of(node, &path)?;
            if fields.required_text("type")? != "function" {
                return Err(ApiError::unsupported_field(fields.path("type")));
            }
            let named = named(&mut fields, offered)?;
            fields.finish()?;
            Some(named)
        }
    };
    check_choice(choice, offered, &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    const GET: &str =
        r#""tools":[{"type":"function","name":"get","description":"d","parameters":{"type":"object"},"strict":true}]"#;

    fn parse(body: &[u8]) -> Result<(ChatOptions, ToldTools), ApiError> {
        let mut fields = parse_object(body)?;
        let taken = take(&mut fields)?;
        fields.finish()?;
        Ok(taken)
    }

    #[test]
    fn what_is_no_function_is_refused() {
        let table = [
            (r#""tools":[{"name":"get"}]"#, "missing_required_parameter", "tools[0].type"),
            (r#""tools":[{"type":"web_search"}]"#, "unsupported_parameter", "tools[0].type"),
            (r#""tools":[{"type":"function"}]"#, "missing_required_parameter", "tools[0].name"),
            (r#""tools":[{"type":"function","name":"a","parameters":[]}]"#, "invalid_type", "tools[0].parameters"),
            (
                r#""tools":[{"type":"function","name":"a","defer_loading":true}]"#,
                "unsupported_parameter",
                "tools[0].defer_loading",
            ),
            (r#""tools":[{"type":"function","function":{"name":"a"}}]"#, "missing_required_parameter", "tools[0].name"),
            (r#""tool_choice":"required""#, "invalid_value", "tool_choice"),
            (r#""tool_choice":"any""#, "invalid_value", "tool_choice"),
            (r#""tool_choice":{"type":"allowed_tools"}"#, "unsupported_parameter", "tool_choice.type"),
            (r#""parallel_tool_calls":1"#, "invalid_type", "parallel_tool_calls"),
        ];
        each_refused(parse, "", &table);
        each_refused(
            parse,
            GET,
            &[(r#""tool_choice":{"type":"function","name":"set"}"#, "invalid_value", "tool_choice.name")],
        );
    }

    #[test]
    fn what_is_offered_is_taken_and_told_again() {
        let parsed = |more: &str| parse(format!("{{{GET}{more}}}").as_bytes()).expect(more);
        let (options, told) = parsed(r#","tool_choice":{"type":"function","name":"get"},"parallel_tool_calls":false"#);
        assert_eq!((options.choice, options.number), (ToolChoice::Named("get".to_owned()), CallNumber::One));
        assert_eq!(options.strict, ["get"]);
        assert_eq!(told.choice, json!({ "type": "function", "name": "get" }));
        let parameters = json!({ "type": "object" });
        let offered = json!({
            "type": "function", "name": "get", "description": "d", "parameters": parameters, "strict": true,
        });
        assert_eq!((told.offered, told.number), (vec![offered], CallNumber::One));
        let (options, told) = parsed(r#","tool_choice":"none","max_tool_calls":3"#);
        assert_eq!((options.extras.tools.len(), told.offered.len(), told.choice), (0, 1, json!("none")));
        assert_eq!(parse(br#"{"tools":[],"tool_choice":"auto"}"#).expect("nothing").0, ChatOptions::default());
    }
}
