//! `tools` and how they are to be called: functions, each alone or in a namespace.
//!
//! Functions are kept to their parameters where `strict` is said, and not where nothing is.

use std::collections::BTreeMap;

use models::grammar::CallNumber;
use serde_json::{Value, json};

use crate::http::error::ApiError;
use crate::http::wire::tools::functions::{check_choice, choice_of, function_of, name, named, no_function, offer};
use crate::http::wire::tools::{Offered, call_number};
use crate::http::wire::{ChatOptions, Fields, Node, ToolChoice};
use crate::limits::TOOLS_MAX;

/// What an answer tells again of tools.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToldTools {
    pub(super) offered: Vec<Value>,
    pub(super) choice: Value,
    pub(super) number: CallNumber,
    pub(super) namespaces: Namespaces,
}

/// Functions that stand in a namespace, by what the model knows them as: both names, with a dot between.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Namespaces(BTreeMap<String, (String, String)>);

impl Namespaces {
    /// The namespace of what the model called, and the name that it has there.
    pub(super) fn of(&self, called: &str) -> Option<(&str, &str)> {
        self.0.get(called).map(|(namespace, name)| (namespace.as_str(), name.as_str()))
    }

    /// What the model knows a function of a `namespace` as.
    pub(super) fn known_as(namespace: &str, name: &str) -> String {
        format!("{namespace}.{name}")
    }
}

/// Takes the fields.
pub(super) fn take(fields: &mut Fields) -> Result<(ChatOptions, ToldTools), ApiError> {
    let Tools { offered, told, namespaces } = tools(fields)?;
    let choice = choice(fields, &offered)?;
    let number = call_number(fields.flag("parallel_tool_calls")?);
    // Of tools that are the service's own, of which there are none.
    fields.integer::<u32>("max_tool_calls", 0..=i128::from(u32::MAX))?;
    let told = ToldTools {
        offered: told,
        choice: match &choice {
            None => json!("none"),
            Some(ToolChoice::Auto) => json!("auto"),
            Some(ToolChoice::Required) => json!("required"),
            Some(ToolChoice::Named(name)) => json!({ "type": "function", "name": name }),
        },
        number,
        namespaces,
    };
    Ok((ChatOptions::offering(offered, choice, number), told))
}

/// What is offered, and how that is told again.
#[derive(Default)]
struct Tools {
    offered: Vec<Offered>,
    told: Vec<Value>,
    namespaces: Namespaces,
}

fn tools(fields: &mut Fields) -> Result<Tools, ApiError> {
    let path = fields.path("tools");
    let items = fields.list("tools", TOOLS_MAX, "an array of tools")?.unwrap_or_default();
    let mut tools = Tools::default();
    for (index, item) in items.into_iter().enumerate() {
        let mut fields = Fields::of(item, &format!("{path}[{index}]"))?;
        match fields.required_text("type")?.as_str() {
            "function" => {
                let function = function(fields)?;
                tools.told.push(told(&function));
                offer(&mut tools.offered, function)?;
            }
            "namespace" => tools.add_namespace(fields)?,
            _ => return Err(no_function(&fields)),
        }
    }
    Ok(tools)
}

impl Tools {
    /// Adds the functions of a namespace; what is said of it stands before what is said of each.
    fn add_namespace(&mut self, mut fields: Fields) -> Result<(), ApiError> {
        let (namespace, description) = (name(&mut fields)?, fields.required_text("description")?);
        let path = fields.path("tools");
        let items = fields.list("tools", TOOLS_MAX, "an array of functions")?;
        let items = items.ok_or_else(|| ApiError::missing_field(path.as_str()))?;
        fields.finish()?;
        let mut of_namespace = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let mut fields = Fields::of(item, &format!("{path}[{index}]"))?;
            if fields.required_text("type")? != "function" {
                return Err(no_function(&fields));
            }
            let mut function = function(fields)?;
            of_namespace.push(told(&function));
            let tool = &mut function.tool;
            let known_as = Namespaces::known_as(&namespace, &tool.name);
            let name = std::mem::replace(&mut tool.name, known_as.clone());
            tool.description = Some([&description, tool.description.as_deref().unwrap_or_default()].join("\n"));
            offer(&mut self.offered, function)?;
            self.namespaces.0.insert(known_as, (namespace.clone(), name));
        }
        self.told.push(json!({
            "type": "namespace", "name": namespace, "description": description, "tools": of_namespace,
        }));
        Ok(())
    }
}

fn function(mut fields: Fields) -> Result<Offered, ApiError> {
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
        let namespace = r#"{"type":"namespace","name":"n","description":"Of n.","tools":[
            {"type":"function","name":"get","description":"Gets.","parameters":{"type":"object"}},
            {"type":"function","name":"set","strict":false}]}"#;
        let body = format!(r#"{{"tools":[{namespace},{{"type":"function","name":"get"}}]}}"#);
        let (options, told) = parse(body.as_bytes()).expect("names that differ");
        let known: Vec<_> = options.extras.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(known, ["n.get", "n.set", "get"]);
        assert_eq!(options.extras.tools[0].description.as_deref(), Some("Of n.\nGets."));
        assert_eq!((told.namespaces.of("n.set"), told.namespaces.of("get")), (Some(("n", "set")), None));
        let set =
            json!({ "type": "function", "name": "set", "description": null, "parameters": null, "strict": false });
        assert_eq!(
            (told.offered.len(), &told.offered[0]["name"], &told.offered[0]["tools"][1]),
            (2, &json!("n"), &set)
        );
        assert_eq!(parse(br#"{"tools":[],"tool_choice":"auto"}"#).expect("nothing").0, ChatOptions::default());
    }
}
