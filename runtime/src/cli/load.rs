//! `dayfly load`, `dayfly pin` and `dayfly unpin`

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::flags::{Context, block_on};
use super::output::{self, Format, seconds_text};
use super::{complete, names, reach};
use crate::client::{Client, ClientError};
use crate::config::Layer;

/// Let a running server load a model, so that the first request need not wait
#[derive(Args, Debug)]
pub(super) struct Load {
    /// A name or alias
    #[arg(add = complete::models_here())]
    model: String,
    /// How long it stays when nobody uses it, such as 5m; -1 until memory is needed, auto by what reloading costs
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    keep_alive: Option<String>,
}

/// Let a running server load a model and keep it, whatever else needs the memory
#[derive(Args, Debug)]
pub(super) struct Pin {
    /// A name or alias
    #[arg(add = complete::models_here())]
    model: String,
}

/// Let a pinned model go as any other
#[derive(Args, Debug)]
pub(super) struct Unpin {
    /// A name or alias
    #[arg(add = complete::models_here())]
    model: String,
}

impl Load {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({ "model": self.model });
        if let Some(keep_alive) = &self.keep_alive {
            // As in a request: a number is seconds, anything else a duration.
            body["keep_alive"] = keep_alive.parse::<f64>().map_or_else(|_| json!(keep_alive), |seconds| json!(seconds));
        }
        let answer = post(context, "/models/load", &body)?;
        show(context, &answer, |answer| {
            let model = answer["model"].as_str().unwrap_or(&self.model);
            match (answer["was_loaded"].as_bool(), answer["state"]["last_load_seconds"].as_f64()) {
                (Some(true), _) => format!("{model} is in memory already"),
                (_, Some(seconds)) => format!("{model} is loaded, in {}", seconds_text(seconds)),
                _ => format!("{model} is loaded"),
            }
        })
    }
}

impl Pin {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let answer = post(context, "/models/pin", &json!({ "model": self.model }))?;
        show(context, &answer, |answer| format!("{} stays", answer["model"].as_str().unwrap_or(&self.model)))
    }
}

impl Unpin {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let answer = post(context, "/models/unpin", &json!({ "model": self.model }))?;
        show(context, &answer, |answer| {
            let model = answer["model"].as_str().unwrap_or(&self.model);
            let is_unpinned = answer["outcome"] == "unpinned";
            if is_unpinned { format!("{model} goes as any other") } else { format!("{model} was not pinned") }
        })
    }
}

/// Asks the running server; a name that it does not know comes with the nearest one that it does.
pub(super) fn post(context: &Context, path: &str, body: &Value) -> Result<Value, Failure> {
    let config = context.config(Layer::default())?;
    block_on(async {
        let client = reach::running(context, &config).await?;
        match client.post(path, body).await {
            Err(error) if error.is_model_not_found() => Err(not_found(&client, body, error).await),
            answer => Ok(answer?),
        }
    })
}

async fn not_found(client: &Client, body: &Value, error: ClientError) -> Failure {
    let name = body["model"].as_str().unwrap_or_default();
    let known = super::ps::names(client).await.unwrap_or_default();
    Failure::NotFound(anyhow::anyhow!("{error}{}", names::hint(name, &known)))
}

pub(super) fn show(context: &Context, answer: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    match context.format() {
        Format::Json => output::print_json(answer),
        Format::Text => output::print(text(answer)),
    }
}
