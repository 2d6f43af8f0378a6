//! Servers under measurement: any that speaks OpenAI's completions, as a child process.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::client::Client;
use crate::process::Held;

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// Between two attempts to reach it.
const ATTEMPT_EVERY: Duration = Duration::from_millis(20);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    client: Client,
    /// Of a dayfly: removed with it, since what measured requests cost is of no use to anyone.
    state: Option<PathBuf>,
}

impl Server {
    /// Starts `program` with the place of the address filled in: `{address}` as `host:port`, `{port}` as the port.
    ///
    /// # Errors
    /// When it cannot be started, or does not answer within a minute.
    pub fn start(program: &str, arguments: &[String]) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let fill = |argument: &String| {
            argument.replace("{address}", &address.to_string()).replace("{port}", &address.port().to_string())
        };
        let child = Command::new(program)
            .args(arguments.iter().map(fill))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{program} cannot be started"))?;
        let mut server = Self { child, client: Client::new(address), state: None };
        let began = Instant::now();
        // Who wants a key is there as well.
        while !server.client.get("/v1/models").is_ok_and(|answer| matches!(answer.status, 200 | 401)) {
            if began.elapsed() > START_MAX || server.child.try_wait()?.is_some() {
                bail!("{program} does not answer");
            }
            std::thread::park_timeout(ATTEMPT_EVERY);
        }
        Ok(server)
    }

    /// Starts the dayfly at `program` over the models in `folder`, with a ledger of its own and `config` as its whole
    /// configuration file.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn dayfly(program: &str, folder: &Path, config: &str) -> anyhow::Result<Self> {
        let state = std::env::temp_dir().join(format!("dayfly-bench-{}", std::process::id()));
        fs::create_dir_all(&state)?;
        let config_file = state.join("config.toml");
        fs::write(&config_file, config)?;
        let path = |path: &Path| path.display().to_string();
        let mut arguments = ["serve", "--no-pull", "--listen", "{address}"].map(str::to_owned).to_vec();
        arguments.extend([
            "--config".into(),
            path(&config_file),
            "--ledger".into(),
            path(&state.join("ledger.sqlite")),
        ]);
        arguments.extend(["--models-dir".into(), path(folder)]);
        let mut server = Self::start(program, &arguments)?;
        server.state = Some(state);
        Ok(server)
    }

    /// How to reach it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What its process holds now.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn held(&self) -> anyhow::Result<Held> {
        Held::of_child(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(state) = &self.state {
            let _ = fs::remove_dir_all(state);
        }
    }
}
