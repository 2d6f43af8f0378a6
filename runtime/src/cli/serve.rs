//! `dayfly serve`

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::flags::{Context, ServerFlags, block_on};
use super::output::{self, Format};
use crate::config::{Layer, Stay};
use crate::{app, shutdown};

/// Serve the models of the models directories. The first SIGTERM or SIGINT lets running requests end, a second ends all.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Address and port; port 0 takes a free one. Other than loopback needs keys in the configuration
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// How long a model stays after its last answer: 5m, 30s; 0 unloads it at once, -1 keeps it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    keep_alive: Option<Stay>,
    #[command(flatten)]
    server: ServerFlags,
}

impl Serve {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(self.layer())?;
        let format = context.format();
        block_on(async {
            let server = app::start(config).await?;
            // A server goes on, whether anybody reads where it listens or not.
            let url = format!("http://{}", server.address());
            let _ = match format {
                Format::Json => output::print_json_line(&json!({ "url": url, "pid": std::process::id() })),
                Format::Text => output::print(format_args!("listening on {url}")),
            };
            shutdown::requested().await.map_err(anyhow::Error::from)?;
            server.stop().await;
            Ok(())
        })
    }

    /// The layer of these flags.
    pub(super) fn layer(&self) -> Layer {
        Layer { listen: self.listen, keep_alive: self.keep_alive, ..self.server.layer() }
    }
}
