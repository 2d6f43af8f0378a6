//! `dayfly config show`

use clap::Args;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::flags::Context;
use crate::cli::output::{self, Format};
use crate::config::{Config, Origin, Setting};

/// Show what is effective as a configuration file, each value with where it is from; hashes of keys are left out
///
/// Of flags those count that every command has: --models-dir and --no-pull.
#[derive(Args, Debug)]
pub(in crate::cli) struct Show {}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let told = Config::told(&context.layer(), context.global.config.as_deref(), &context.environment)?;
        match context.format() {
            Format::Json => {
                let settings: Vec<Value> = told.settings.iter().map(described).collect();
                output::print_json(&json!({ "file": told.file, "settings": settings }))
            }
            Format::Text => {
                let read = told.file.as_ref().map_or("no file is read".to_owned(), |file| file.display().to_string());
                output::print(format_args!("# {read}\n{}", told.to_toml()))
            }
        }
    }
}

fn described(Setting { table, key, value, origin }: &Setting) -> Value {
    let mut path = table.path().to_vec();
    path.push(key.clone());
    let (from, at) = match origin {
        Origin::Default => ("default", Value::Null),
        Origin::File(line) => ("file", json!(line)),
        Origin::Environment(name) => ("environment", json!(name)),
        Origin::Flag(name) => ("flag", json!(name)),
    };
    json!({ "key": path, "value": value, "origin": from, "at": at })
}
