//! Servers under measurement: any that speaks OpenAI's completions, as a child process.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::process::{Held, processor_time_of};

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
        Self::spawn(Command::new(program), arguments, "/v1/models")
    }

    /// Starts `command`, and asks for `path` until that is answered.
    fn spawn(mut command: Command, arguments: &[String], path: &str) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let fill = |argument: &String| {
            argument.replace("{address}", &address.to_string()).replace("{port}", &address.port().to_string())
        };
        let child = command
            .args(arguments.iter().map(fill))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let mut server = Self { child, client: Client::new(address), state: None };
        let began = Instant::now();
        // Who wants a key is there as well.
        while !server.client.get(path).is_ok_and(|answer| matches!(answer.status, 200 | 401)) {
            if began.elapsed() > START_MAX || server.child.try_wait()?.is_some() {
                bail!("{} does not answer", program.display());
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
        Self::dayfly_beside(state_folder(), program, folder, config)
    }

    /// The same with its ledger in the folder `state`, which goes with it.
    fn dayfly_beside(state: PathBuf, program: &str, folder: &Path, config: &str) -> anyhow::Result<Self> {
        let mut server = Self::dayfly_in(program, folder, config, &state)?;
        server.state = Some(state);
        Ok(server)
    }

    /// As [`Server::dayfly`], with its ledger in the folder `state`, which outlives it.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn dayfly_in(program: &str, folder: &Path, config: &str, state: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(state)?;
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
        Self::start(program, &arguments)
    }

    /// As [`Server::dayfly`], over `files` alone.
    ///
    /// # Errors
    /// As [`Server::start`], and when a file is not there or two have the same name.
    pub fn dayfly_over(program: &str, files: &[&Path], config: &str) -> anyhow::Result<Self> {
        let state = state_folder();
        let folder = state.join("models");
        fs::create_dir_all(&folder)?;
        for file in files {
            let file = fs::canonicalize(file).with_context(|| file.display().to_string())?;
            symlink(&file, folder.join(file.file_name().context("a path of a file")?))?;
        }
        Self::dayfly_beside(state, program, &folder, &format!("links = \"followed\"\n{config}"))
    }

    /// Starts the llama-server at `program`, whose libraries are in `libraries` if not where the system looks.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn llama(program: &str, libraries: Option<&Path>, arguments: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        // It lists its models before it has loaded them.
        Self::spawn(command, arguments, "/health")
    }

    /// How to reach it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Processor time that it has taken.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        processor_time_of(self.child.id())
    }

    /// The id of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it in the middle of whatever it does; the processor time that it has taken in its life.
    ///
    /// # Errors
    /// When the system does not tell, or it does not end.
    pub fn crash(mut self) -> anyhow::Result<Duration> {
        self.child.kill()?;
        self.end()
    }

    /// Asks it to end, and waits; the processor time that it has taken in its life.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub fn stop(mut self) -> anyhow::Result<Duration> {
        let id = Pid::from_raw(self.child.id().try_into()?).context("it has an id")?;
        kill_process(id, Signal::TERM)?;
        self.end()
    }

    /// Waits until it has ended: until its status is asked for, the system keeps what it took.
    fn end(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let process = Process::new(self.child.id().try_into()?)?;
        while process.stat()?.state != 'Z' {
            anyhow::ensure!(began.elapsed() < START_MAX, "it does not end");
            std::thread::park_timeout(ATTEMPT_EVERY);
        }
        let taken = self.processor_time()?;
        self.child.wait()?;
        Ok(taken)
    }

    /// What its process holds now.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn held(&self) -> anyhow::Result<Held> {
        Held::of_child(self.child.id())
    }
}

/// A folder for another server of this run.
fn state_folder() -> PathBuf {
    static SERVERS: AtomicU64 = AtomicU64::new(0);
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("dayfly-bench-{}-{number}", std::process::id()))
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
