//! Grammars of function calls: which may be called, with which arguments, and what may stand instead.
//!
//! What is written between the arguments is what the models of a format were trained to write, to the letter.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::source::{GrammarError, GrammarSource, quoted, values, with_options};
use crate::limits::SCHEMA_VALUES_MAX;
use crate::reading::CallFormat;
use crate::template::Tool;

/// What may be called, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// In which words.
    pub format: CallFormat,
    /// The functions; their arguments are kept to their parameters, where they have any.
    pub functions: Vec<Tool>,
    /// How many calls an answer may have, where its format has several.
    pub number: CallNumber,
    /// What an answer may have instead.
    pub instead: Instead,
}

/// How many calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallNumber {
    /// One.
    One,
    /// One after another.
    #[default]
    Several,
}

/// What an answer may have instead of calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Instead {
    /// Nothing: a call is asked for.
    Nothing,
    /// Any text, also before calls where the format lets it.
    Text,
    /// JSON of this schema.
    Json(Value),
}

impl Calls {
    /// Refuses what a schema of its own would be refused for.
    pub(super) fn check(&self) -> Result<(), GrammarError> {
        let json = match &self.instead {
            Instead::Json(schema) => Some(schema),
            Instead::Nothing | Instead::Text => None,
        };
        let schemas =
            self.functions.iter().filter_map(|function| function.parameters.as_ref()).filter(|schema| !is_any(schema));
        let schemas: Vec<&Value> = schemas.chain(json).collect();
        let mut bytes = 0;
        if schemas.iter().map(|schema| values(schema, &mut bytes)).sum::<usize>() > SCHEMA_VALUES_MAX {
            return Err(GrammarError::TooLarge { max: SCHEMA_VALUES_MAX, unit: "values" });
        }
        schemas.into_iter().try_for_each(|schema| GrammarSource::JsonSchema(schema.clone()).check())
    }

    /// The grammar in Lark's notation.
    pub(super) fn lark(&self) -> String {
        let (open, close) = match self.format {
            CallFormat::Tagged => ("<tool_call>", "\n</tool_call>"),
            CallFormat::Llama3 | CallFormat::Bare => ("", ""),
        };
        let is_tagged = self.format == CallFormat::Tagged;
        let more = if is_tagged && self.number == CallNumber::Several { " (\"\\n\" call)*" } else { "" };
        let mut lark = match &self.instead {
            Instead::Nothing => format!("start: call{more}\n"),
            Instead::Json(schema) => format!("start: call{more} | answer\nanswer: %json {}\n", with_options(schema)),
            Instead::Text if is_tagged => {
                let times = if self.number == CallNumber::Several { "*" } else { "?" };
                format!(
                    "start: (HEAD function {close}){times} TEXT\n\
                     TEXT: /(?s:.*)/ & ~/(?s:.*)<tool_call>(?s:.*)/\n\
                     HEAD: TEXT \"<tool_call>\\n\"\n",
                    close = quoted(close)
                )
            }
            // What begins as JSON is a call.
            Instead::Text => "start: call | TEXT\nTEXT: /([ \\n]*[^ \\n\\[{](?s:.*))?/\n".to_owned(),
        };
        if !(is_tagged && self.instead == Instead::Text) {
            let open = if is_tagged { format!("{} ", quoted(&format!("{open}\n"))) } else { String::new() };
            let close = if is_tagged { format!(" {}", quoted(close)) } else { String::new() };
            writeln!(lark, "call: {open}function{close}").expect("a string takes all that is written");
        }
        let names: Vec<String> = (0..self.functions.len()).map(|index| format!("f{index}")).collect();
        writeln!(lark, "function: {}", names.join(" | ")).expect("a string takes all that is written");
        for (index, function) in self.functions.iter().enumerate() {
            lark.push_str(&self.function(index, function));
        }
        lark
    }

    fn function(&self, index: usize, function: &Tool) -> String {
        let arguments = match self.format {
            CallFormat::Llama3 => "parameters",
            CallFormat::Tagged | CallFormat::Bare => "arguments",
        };
        let before = format!("{{\"name\": {}, \"{arguments}\": ", Value::from(function.name.as_str()));
        let any = json!({ "type": "object" });
        let schema = function.parameters.as_ref().filter(|schema| !is_any(schema)).unwrap_or(&any);
        format!("f{index}: {} a{index} \"}}\"\na{index}: %json {}\n", quoted(&before), with_options(schema))
    }
}

/// Whether it says nothing: such parameters are any.
fn is_any(schema: &Value) -> bool {
    schema.as_object().is_some_and(serde_json::Map::is_empty)
}
