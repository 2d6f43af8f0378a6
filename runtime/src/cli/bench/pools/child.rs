//! Servers under measurement: `dayfly serve` of this very binary, as child processes with folders of their own.
//!
//! Invariants: a child sees nothing of the user's environment or configuration but what it is told; dropping one ends
//! it. Deliberately absent: waiting for ever. What does not answer or end in time is an error that shows what it said.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

use crate::cli::failure::Failure;
use crate::config::{Config, StaticKey};

/// How long a server may take until it listens, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of what it said that an error shows.
const SHOWN_BYTES_MAX: usize = 2000;

/// What a server is told.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Told<'a> {
    /// The user's choices; of these the threads, instructions, prices and limits go on.
    pub(in crate::cli) config: &'a Config,
    /// As `--keep-alive` has it.
    pub(in crate::cli) keep_alive: &'a str,
    /// Models that are loaded at the start and stay.
    pub(in crate::cli) pinned: &'a [&'a str],
    /// Who may ask.
    pub(in crate::cli) keys: &'a [StaticKey],
    /// An object of configuration in the place of what is otherwise said by the same names.
    pub(in crate::cli) besides: Value,
}

/// A running server.
#[derive(Debug)]
pub(in crate::cli) struct ServerChild {
    child: Child,
    url: String,
    folder: PathBuf,
    has_ended: bool,
}

impl ServerChild {
    /// Starts a server over `models_dir` whose ledger and all else are in `folder`, and returns when it listens.
    ///
    /// # Errors
    /// When it cannot be started or does not listen.
    pub(in crate::cli) async fn start(folder: PathBuf, models_dir: &Path, told: &Told<'_>) -> Result<Self, Failure> {
        let mut server = Self::spawn(folder, models_dir, told).context("a server cannot be started")?;
        let stdout = server.child.stdout.take().expect("it is piped");
        let told = tokio::task::spawn_blocking(move || first_line(stdout));
        let line = tokio::time::timeout(PATIENCE, told).await;
        let line = line.ok().and_then(Result::ok).and_then(Result::ok).unwrap_or_default();
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        match told["url"].as_str() {
            Some(url) => server.url = url.to_owned(),
            None => return Err(server.failed("does not listen").into()),
        }
        Ok(server)
    }

    fn spawn(folder: PathBuf, models_dir: &Path, told: &Told<'_>) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        let config = folder.join("config.toml");
        fs::write(&config, told.toml(&folder)?)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--json", "--no-pull", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--models-dir")
            .arg(models_dir)
            .arg("--ledger")
            .arg(folder.join(LEDGER))
            .env_clear()
            .env("HOME", &folder)
            .env("DAYFLY_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join(SAID))?)
            .spawn()?;
        Ok(Self { child, url: String::new(), folder, has_ended: false })
    }

    /// Its process.
    pub(in crate::cli) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(in crate::cli) fn url(&self) -> &str {
        &self.url
    }

    /// Its ledger.
    pub(in crate::cli) fn ledger(&self) -> PathBuf {
        self.folder.join(LEDGER)
    }

    /// Lets it end as an operator would, so that its ledger is complete.
    ///
    /// # Errors
    /// When it does not end well.
    pub(in crate::cli) async fn stop(&mut self) -> Result<(), Failure> {
        // It may have ended by itself, which is seen below.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("a server cannot be waited for")? {
                self.has_ended = true;
                return if status.success() { Ok(()) } else { Err(self.failed("did not end well").into()) };
            }
            if began.elapsed() > PATIENCE {
                return Err(self.failed("does not end").into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn failed(&self, how: &str) -> anyhow::Error {
        let said = fs::read(self.folder.join(SAID)).unwrap_or_default();
        let said = &said[said.len().saturating_sub(SHOWN_BYTES_MAX)..];
        anyhow::anyhow!("a server {how}; it said: {}", String::from_utf8_lossy(said).trim())
    }
}

const LEDGER: &str = "ledger.sqlite";
const SAID: &str = "stderr.txt";

impl Drop for ServerChild {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Where it listens is on the first line. Nothing is written behind it.
fn first_line(stdout: ChildStdout) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line)
}

impl Told<'_> {
    /// The configuration file. Unless it is said besides, nothing is kept of what was computed: prompts share nothing.
    fn toml(&self, folder: &Path) -> anyhow::Result<String> {
        let Config { threads, isa, context_max, memory_budget_asked, rates, .. } = self.config;
        let price = |price: Option<meter::PicoUnits>| price.map(meter::PicoUnits::units);
        let mut told = json!({
            "keep_alive": self.keep_alive,
            "threads": threads,
            "isa": isa.name(),
            "ctx_max": context_max,
            "memory_budget": memory_budget_asked.map(|bytes| bytes.to_string()),
            "descriptors_dir": folder.join("descriptors"),
            "scheduler": { "prefix_cache": "0" },
            "contexts": { "dir": folder.join("contexts") },
            "models": self.pinned.iter().map(|&name| (name.to_owned(), json!({ "pinned": true }))).collect::<Map<_, _>>(),
            "keys": self.keys.iter().map(key).collect::<Vec<Value>>(),
            "rates": {
                "name": rates.name,
                "currency": rates.currency,
                "cpu_hour": price(rates.cpu_hour),
                "memory_gb_hour": price(rates.memory_gb_hour),
                "kilowatt_hour": price(rates.kilowatt_hour),
                "prompt_token": price(rates.prompt_token),
                "cached_token": price(rates.cached_token),
                "completion_token": price(rates.completion_token),
            },
        });
        if let Value::Object(besides) = &self.besides {
            told.as_object_mut().expect("it is one").extend(besides.clone());
        }
        without_nulls(&mut told);
        Ok(toml::to_string(&told)?)
    }
}

fn key(key: &StaticKey) -> Value {
    let hex: String = key.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "tenant": key.tenant, "sha256": hex, "scopes": key.scopes })
}

/// TOML has no word for nothing.
fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(without_nulls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::reach;
    use crate::config::{Environment, Layer};

    #[test]
    fn what_a_server_is_told_is_a_valid_configuration() {
        let flags = Layer { models_dirs: Some(vec!["m".into()]), ..Layer::default() };
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none.toml");
        fs::write(&none, "").unwrap();
        let config = Config::load(flags, Some(&none), &Environment::default()).unwrap();
        let (_, key) = reach::fresh_key("tenant \"1\"");
        let keys = [key.clone()];
        let besides = json!({ "pool": { "let_go": "dont-need" } });
        let told = Told { config: &config, keep_alive: "-1", pinned: &["a \"model\".Q4_1"], keys: &keys, besides };
        let file = folder.path().join("config.toml");
        fs::write(&file, told.toml(folder.path()).unwrap()).unwrap();
        let read = Config::load(Layer::default(), Some(&file), &Environment::default()).unwrap();
        assert_eq!(read.keys, [key]);
        assert_eq!(read.threads, config.threads);
        assert_eq!(read.rates, config.rates);
        assert_eq!(read.models.pinned.iter().map(|name| &**name).collect::<Vec<_>>(), ["a \"model\".Q4_1"]);
        assert_eq!(read.scheduler.prefix_cache_bytes_max, 0);
        assert_eq!(read.pages.let_go, loader::LetGo::DontNeed);
    }
}
