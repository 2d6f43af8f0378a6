//! `dayfly stop`

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::flags::{Context, block_on};
use super::output::{self, Format};
use super::{complete, names, ps, reach};
use crate::config::Layer;

/// Let a running server unload a model
///
/// At once, or when the requests that use it have ended.
#[derive(Args, Debug)]
pub(super) struct Stop {
    /// A name or alias
    #[arg(add = complete::models_here())]
    model: String,
}

impl Stop {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let answer = block_on(async {
            let client = reach::running(context, &config).await?;
            let answer = client.post("/models/unload", &json!({ "model": self.model })).await?;
            let known = ps::names(&client).await?;
            let model = answer["model"].as_str().unwrap_or(&self.model);
            if outcome(&answer) == "not_loaded" && !known.iter().any(|name| name == model) {
                let hint = names::hint(&self.model, &known);
                return Err(Failure::NotFound(anyhow::anyhow!("no model is called {:?}{hint}", self.model)));
            }
            Ok(answer)
        })?;
        match context.format() {
            Format::Json => output::print_json(&answer),
            Format::Text => output::print(text(&answer)),
        }
    }
}

fn outcome(answer: &Value) -> &str {
    answer["outcome"].as_str().unwrap_or_default()
}

fn text(answer: &Value) -> String {
    let model = answer["model"].as_str().unwrap_or("the model");
    match outcome(answer) {
        "evicting" => format!("{model} is being unloaded"),
        "when_free" => {
            let users = answer["users"].as_u64().unwrap_or(0);
            let requests = if users == 1 { "request" } else { "requests" };
            format!("{model} will be unloaded after {users} {requests}")
        }
        "not_loaded" => format!("{model} is not in memory"),
        other => format!("{model}: {other}"),
    }
}
