//! `dayfly health`: whether the server is ready, for whoever starts and restarts it.
//!
//! No key is needed, no model woken, and it is no use that keeps a server from ending when idle.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::flags::{Context, block_on};
use super::output::{self, Format};
use super::reach;
use crate::client::Client;
use crate::config::Layer;

/// How long the server may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Ask whether the server at the configured address is ready: exit status 0 if it is, 1 if it is not, 4 if none answers
#[derive(Args, Debug)]
pub(super) struct Health {}

impl Health {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let url = match context.server() {
            Some(url) => url.to_owned(),
            None => reach::url_of(context.config(Layer::default())?.listen),
        };
        let client = Client::new(&url, None)?;
        block_on(async {
            let answered = tokio::time::timeout(ANSWER_MAX, client.get("/health")).await;
            answered.map_err(|_| anyhow::anyhow!("the server at {} does not answer in time", client.url()))??;
            Ok(())
        })?;
        match context.format() {
            Format::Json => output::print_json(&json!({ "url": client.url(), "status": "ready" })),
            Format::Text => output::print(format_args!("{} is ready", client.url())),
        }
    }
}
