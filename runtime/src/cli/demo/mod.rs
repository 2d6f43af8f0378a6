//! `dayfly demo`: the whole way once, on this machine, with three tenants.

mod story;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ledger::{SavingsQuery, Since};
use meter::savings::SavingsReport;
use serde_json::json;

use self::story::{Story, Teller, Tenant};
use super::failure::Failure;
use super::flags::{Context, ServerFlags, block_on, interrupted};
use super::output::{self, Format};
use super::receipt::{Line, receipts};
use super::savings::savings_text;
use super::{pull, reach};
use crate::app::{self, Server};
use crate::client::Client;
use crate::config::{Config, bytes_text};
use crate::reports::{self, savings_inputs};
use crate::shutdown;

/// Who asks.
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Serve a small model to three tenants, and show what that cost and saved
///
/// Starts a server on a free loopback port with a ledger of its own, sends requests that find the model cold, warm, and
/// unloaded again, and prints the answers, the receipts, and what serving so cost against copies that are never
/// unloaded. With --json: {"url", "model", "weights_bytes", "requests": [{"phase", "tenant", "prompt", "answer",
/// "dayfly", …}], "quiet": {"seconds", "held_bytes_max"}, "savings", "keys" (with --keep)}.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Go on serving afterwards, and say how to ask
    #[arg(long)]
    keep: bool,
    /// The model, which must have a chat template
    #[arg(long, value_name = "MODEL", default_value = "smollm2")]
    model: String,
    /// How long nobody asks anything, between two requests
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    quiet: u64,
    #[command(flatten)]
    server: ServerFlags,
}

impl Demo {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let folder = tempfile::Builder::new().prefix("dayfly-demo-").tempdir();
        let folder = folder.context("no temporary folder can be made")?;
        let mut config = context.config(self.server.layer())?;
        if self.server.ledger.is_none() {
            config.ledger = folder.path().join("ledger.sqlite");
        }
        config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let model = pull::find_or_pull(&config, &self.model)?;
        if context.format() == Format::Text {
            output::print(format_args!("{} ({} in the file)", model.name, bytes_text(model.size_bytes)))?;
        }
        block_on(self.serve_and_show(context.format(), config, &model.name))
    }

    async fn serve_and_show(&self, format: Format, mut config: Config, model: &str) -> Result<(), Failure> {
        let keys: Vec<_> = TENANTS.iter().map(|tenant| reach::fresh_key(tenant)).collect();
        config.keys = keys.iter().map(|(_, key)| key.clone()).collect();
        let server = app::start(config).await?;
        let url = reach::url_of(server.address());
        let tenants = TENANTS
            .iter()
            .zip(&keys)
            .map(|(name, (key, _))| Ok(Tenant { name, key: key.clone(), client: Client::new(&url, Some(key))? }))
            .collect::<Result<Vec<Tenant>, Failure>>()?;
        let teller = Teller { format, model: model.to_owned(), quiet: Duration::from_secs(self.quiet) };
        let shown = tokio::select! {
            shown = self.show(&server, &teller, &tenants) => shown,
            failure = interrupted() => Err(failure),
        };
        let kept = match shown {
            Ok(()) if self.keep => {
                shutdown::requested().await.map(|_| ()).map_err(|error| Failure::Failed(error.into()))
            }
            shown => shown,
        };
        server.stop().await;
        kept
    }

    async fn show(&self, server: &Server, teller: &Teller, tenants: &[Tenant]) -> Result<(), Failure> {
        let story = teller.tell(tenants).await?;
        let savings = savings_of(server).await?;
        let url = reach::url_of(server.address());
        if teller.format == Format::Json {
            let mut shown = story.to_json();
            shown["url"] = json!(url);
            shown["savings"] = json!(savings);
            if self.keep {
                shown["keys"] = tenants.iter().map(|tenant| (tenant.name.to_owned(), json!(tenant.key))).collect();
            }
            return output::print_json(&shown);
        }
        output::print(format_args!("\nReceipts\n{}", receipts(&lines(&story)?)))?;
        output::print(format_args!("\n{}", savings_text(&savings, None)))?;
        if self.keep {
            output::print(format_args!("\n{}", how_to_ask(&url, &teller.model, &tenants[0])))?;
        }
        Ok(())
    }
}

fn lines(story: &Story) -> Result<Vec<Line>, Failure> {
    let line = |(number, told): (usize, &story::Told)| {
        let title = format!("{} {}", number + 1, told.tenant);
        Ok(Line { title, first_token: told.answer.first_token, receipt: told.answer.receipt()? })
    };
    story.told.iter().enumerate().map(line).collect()
}

/// What the ledger says about the run, the time until now included.
async fn savings_of(server: &Server) -> Result<SavingsReport, Failure> {
    let metering = &server.app.metering;
    metering.store_accounts().await.context("the accounts cannot be stored")?;
    let query = SavingsQuery { since: Since::LatestRun, until: Some(metering.accounted_until()) };
    let reader = metering.ledger().reader();
    let inputs = tokio::task::block_in_place(|| savings_inputs(reader, query, server.app.process_bytes));
    Ok(reports::savings_of(&inputs.context("the ledger cannot be read")?, &metering.prices_of(0)))
}

fn how_to_ask(url: &str, model: &str, tenant: &Tenant) -> String {
    let Tenant { name, key, .. } = tenant;
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] });
    format!(
        "Serving at {url} until Ctrl-C. To ask as {name}:\n\n  \
         curl {url}/v1/chat/completions -H 'Authorization: Bearer {key}' \\\n    \
         -H 'Content-Type: application/json' -d '{body}'\n\n  \
         DAYFLY_API_KEY={key} dayfly --server {url} chat {model}"
    )
}
