//! `dayfly savings`

mod own;
mod text;
mod tiers;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use ledger::{SavingsQuery, Since};
use meter::savings::{SavingsReport, TenantReport};
use serde_json::Value;

pub(super) use self::text::text as savings_text;
use super::failure::Failure;
use super::flags::{Context, block_on};
use super::ledger::opened;
use super::output::{self, Format};
use super::usage::since_ms;
use crate::client::Client;
use crate::config::Layer;
use crate::reports::{self, Baseline};

/// Show what serving models on demand has saved, or lost, against servers that never unload
///
/// Read from the configured ledger, whether a server writes it or not; with --server, asked of that server, which also tells
/// of its process and of the page cache, and tells a tenant of its own use alone.
#[derive(Args, Debug)]
pub(super) struct Savings {
    /// Compare with one copy for all alone (shared) or with a copy for each tenant (dedicated)
    #[arg(long, value_name = "NAME", value_parser = baseline)]
    baseline: Option<Baseline>,
    /// From the hour of this second since 1970, or of so long ago, such as 24h or 30d; from the beginning without it
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// The ledger's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

fn baseline(name: &str) -> Result<Baseline, String> {
    let found = Baseline::WORDS.into_iter().find(|(word, _)| *word == name);
    found.map(|(_, baseline)| baseline).ok_or_else(|| "it is shared or dedicated".to_owned())
}

/// What there is to show.
enum Told {
    Everyone(Box<SavingsReport>),
    Tenant(Box<TenantReport>),
}

impl Savings {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let since = self.since.as_deref().map(since_ms).transpose()?;
        let told = match context.server() {
            Some(url) => ask(context, url, since)?,
            None => Told::Everyone(Box::new(self.read(context, since)?)),
        };
        if matches!(told, Told::Tenant(_)) && self.baseline == Some(Baseline::Shared) {
            let why =
                "a tenant is told of copies of its own alone: what a shared one costs depends on who else uses it";
            return Err(Failure::Usage(anyhow::anyhow!(why)));
        }
        match (context.format(), &told) {
            (Format::Json, Told::Everyone(report)) => {
                let shown = serde_json::to_value(report).context("the report is no JSON")?;
                output::print_json(&reports::against(shown, self.baseline))
            }
            (Format::Json, Told::Tenant(report)) => output::print_json(report),
            (Format::Text, Told::Everyone(report)) => output::print(savings_text(report, self.baseline)),
            (Format::Text, Told::Tenant(report)) => output::print(own::text(report)),
        }
    }

    fn read(&self, context: &Context, since: Option<i64>) -> Result<SavingsReport, Failure> {
        let config = context.config(Layer { ledger: self.ledger.clone(), ..Layer::default() })?;
        let query = SavingsQuery { since: since.map_or(Since::Beginning, Since::UnixMillis), until: None };
        let prices = reports::prices_of(&config);
        let reader = opened(&config.ledger)?;
        let read = || {
            let inputs = reports::savings_inputs(&reader, query, 0)?;
            let report = reports::savings_of(&inputs, &prices);
            reports::told_in_money(report, &inputs, (&reader, query), &config.savings)
        };
        Ok(read().with_context(|| format!("{} cannot be read", config.ledger.display()))?)
    }
}

fn ask(context: &Context, url: &str, since: Option<i64>) -> Result<Told, Failure> {
    let client = Client::new(url, context.environment.api_key())?;
    let path = since.map_or("/v1/savings".to_owned(), |since| format!("/v1/savings?since={}", since.div_euclid(1000)));
    let report: Value = block_on(async { Ok(client.get(&path).await?) })?;
    let told = if report["tenant"].is_string() {
        serde_json::from_value(report).map(|report| Told::Tenant(Box::new(report)))
    } else {
        serde_json::from_value(report).map(|report| Told::Everyone(Box::new(report)))
    };
    Ok(told.context("the server's report is of another version")?)
}
