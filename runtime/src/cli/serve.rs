//! `dayfly serve`

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::flags::{Context, ServerFlags, block_on, word};
use super::output::{self, Format};
use crate::app::{self, Manner, Reload};
use crate::config::{Choice, Layer, Span, Stay};
use crate::logging::LogFormat;
use crate::service::{Notifier, passed_listener};
use crate::shutdown::Signals;

/// Serve the models of the models directories by OpenAI's HTTP interface
///
/// The first SIGTERM or SIGINT lets running requests end, a second ends all at once; SIGHUP reads the configuration file again.
/// What is listened on goes to stdout, the log to stderr.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Address and port; port 0 takes a free one. Other than loopback needs keys in the configuration. A socket that a
    /// service manager passes is listened on instead
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// How long a model stays after its last answer: 5m, 30s; 0 unloads it at once, -1 keeps it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    keep_alive: Option<Stay>,
    /// End when nobody has used the server for so long: 10m, 30s. Probes and scrapes are no use; a pinned model keeps it
    #[arg(long, value_name = "TIME")]
    exit_when_idle: Option<Span>,
    /// How to log
    #[arg(long, value_name = "FORMAT", value_parser = word::<LogFormat>())]
    log_format: Option<Choice<LogFormat>>,
    #[command(flatten)]
    server: ServerFlags,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it is an IP address and a port, such as 127.0.0.1:8787 or [::1]:8787".to_owned())
}

impl Serve {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        // Before there are threads.
        let passed = passed_listener().map_err(anyhow::Error::from)?;
        let notifier = Notifier::of(&context.environment);
        let (reload, config) = Reload::begin(context.source(self.layer())?, context.log.clone())?;
        let format = context.format();
        block_on(async {
            let manner = Manner { passed, exit_when_idle: config.exit_when_idle };
            let mut server = app::start_as(config, manner).await?;
            // Until here a signal just ends the process; from when it is told that it serves, each means what it says.
            let mut signals = Signals::listen().map_err(anyhow::Error::from)?;
            let hangup = signal(SignalKind::hangup()).map_err(anyhow::Error::from)?;
            // A server goes on, whether anybody reads where it listens or not.
            let url = format!("http://{}", server.address());
            let _ = match format {
                Format::Json => output::print_json_line(&json!({ "url": url, "pid": std::process::id() })),
                Format::Text => output::print(format_args!("listening on {url}")),
            };
            notifier.ready(&format!("listening on {url}"));
            let app = std::sync::Arc::clone(&server.app);
            let why = tokio::select! {
                _ = signals.next() => "a signal",
                () = server.idle() => "nobody uses it",
                () = reload.follow(std::sync::Arc::clone(&app), &notifier, hangup) => {
                    "the configuration is not followed any more"
                }
                () = notifier.watch(&app) => "the service manager is not told any more",
            };
            drop(app);
            tracing::info!(why, "the server ends");
            notifier.stopping(why);
            signals.end_at_the_next();
            server.stop().await;
            Ok(())
        })
    }

    /// The layer of these flags.
    pub(super) fn layer(&self) -> Layer {
        Layer {
            listen: self.listen,
            keep_alive: self.keep_alive,
            exit_when_idle: self.exit_when_idle,
            ..self.server.layer()
        }
    }

    /// How to log, where that is said.
    pub(super) fn log_format(&self) -> Option<Choice<LogFormat>> {
        self.log_format
    }
}
