//! The binary as a child process with folders of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Connection, Events, Response, post, request, until};
use crate::models::endless;

/// For what happens at once on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
const START_MAX: Duration = Duration::from_secs(60);

/// How to start a server.
pub(crate) struct Options {
    folder: TempDir,
    models_dir: PathBuf,
    flags: Vec<String>,
    config: String,
    /// What starts the binary: a program and its arguments before the binary's path.
    launcher: Vec<String>,
    /// What is its standard input.
    listener: Option<TcpListener>,
}

/// A server that runs. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// Always there, until the server is taken apart.
    options: Option<Options>,
    said: Arc<Mutex<String>>,
}

impl Options {
    /// Serves the models that `write` puts into a folder.
    pub(crate) fn with_models(write: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models_dir = folder.path().join("models");
        fs::create_dir(&models_dir).unwrap();
        write(&models_dir);
        Self {
            folder,
            models_dir,
            flags: Vec::new(),
            config: "threads = 1\n".to_owned(),
            launcher: Vec::new(),
            listener: None,
        }
    }

    /// Serves the models of a folder that is not the test's.
    pub(crate) fn with_models_in(models_dir: PathBuf) -> Self {
        Self { models_dir, ..Self::with_models(|_| ()) }
    }

    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// The folder of the models that are served.
    pub(crate) fn models_path(&self) -> &Path {
        &self.models_dir
    }

    /// Adds lines to the configuration file.
    pub(crate) fn config(mut self, toml: &str) -> Self {
        writeln!(self.config, "{toml}").unwrap();
        self
    }

    /// Has the server started by a program that is given its path and arguments.
    pub(crate) fn launched_by(self, launcher: &[&str]) -> Self {
        Self { launcher: launcher.iter().map(|&part| part.to_owned()).collect(), ..self }
    }

    /// Gives the server a socket to listen on, as a service manager does.
    pub(crate) fn passing(self, listener: TcpListener) -> Self {
        // Its standard input becomes the first descriptor that is passed.
        let pass = r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@""#;
        Self { listener: Some(listener), ..self.launched_by(&["sh", "-c", pass, "sh"]) }
    }

    pub(crate) fn start(self) -> Server {
        let folder = self.folder.path().to_owned();
        let config = folder.join("dayfly.toml");
        fs::write(&config, &self.config).unwrap();
        let mut parts = self.launcher.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_dayfly")]);
        let mut child = Command::new(parts.next().expect("the binary at least"))
            .args(parts)
            .args(["serve", "--no-pull", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--models-dir")
            .arg(&self.models_dir)
            .arg("--ledger")
            .arg(folder.join("ledger.sqlite"))
            .args(&self.flags)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &folder)
            .env("XDG_DATA_HOME", folder.join("data"))
            .env("XDG_STATE_HOME", folder.join("state"))
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .stdin(
                self.listener
                    .as_ref()
                    .map_or_else(Stdio::null, |listener| OwnedFd::from(listener.try_clone().unwrap()).into()),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, heard) = mpsc::channel();
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().unwrap(), lines.clone(), Arc::clone(&said));
        listen(child.stderr.take().unwrap(), lines, Arc::clone(&said));
        match bound_address(&heard) {
            Some(address) => Server { child, address, options: Some(self), said },
            None => {
                let _ = child.kill();
                panic!("the server told no address ({:?}):\n{}", child.wait(), said.lock().unwrap());
            }
        }
    }
}

/// Reads a pipe to its end on a thread of its own, so that the child never waits for us.
fn listen(pipe: impl Read + Send + 'static, lines: Sender<String>, said: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            writeln!(said.lock().unwrap(), "{line}").unwrap();
            // Nobody listens any more once the address is known.
            let _ = lines.send(line);
        }
    });
}

fn bound_address(lines: &Receiver<String>) -> Option<SocketAddr> {
    let began = Instant::now();
    loop {
        match lines.recv_timeout(START_MAX.saturating_sub(began.elapsed())) {
            Ok(line) => {
                let address = line.split("http://").nth(1).and_then(|rest| {
                    let end = rest.find(|character: char| !"0123456789.:".contains(character)).unwrap_or(rest.len());
                    rest[..end].parse::<SocketAddr>().ok()
                });
                if let Some(address) = address.filter(|address| address.port() != 0) {
                    return Some(address);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

impl Server {
    /// With these models and nothing else said.
    pub(crate) fn serving(write: impl FnOnce(&Path)) -> Self {
        Options::with_models(write).start()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn models_dir(&self) -> &Path {
        &self.options().models_dir
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.options().folder.path().join("ledger.sqlite")
    }

    /// The folder that is its user's home.
    pub(crate) fn home(&self) -> &Path {
        self.options().folder.path()
    }

    /// Writes the configuration file anew, as it began and with these lines, as editors do: another file in its place.
    pub(crate) fn configure(&self, toml: &str) {
        let path = self.home().join("dayfly.toml");
        let beside = path.with_extension("new");
        fs::write(&beside, format!("{}{toml}\n", self.options().config)).unwrap();
        fs::rename(beside, path).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it printed and logged so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send(&request("GET", path, &[], b""))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.send(&post(path, body))
    }

    /// Sends a request's bytes on a connection of their own.
    pub(crate) fn send(&self, request: &[u8]) -> Response {
        self.connect().ask(request)
    }

    /// Sends bytes as a body of JSON.
    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Response {
        self.send(&request("POST", path, &["content-type: application/json"], body))
    }

    pub(crate) fn complete(&self, body: &Value) -> Response {
        self.post("/v1/completions", body)
    }

    pub(crate) fn chat(&self, body: &Value) -> Response {
        self.post("/v1/chat/completions", body)
    }

    /// Starts a streamed completion.
    pub(crate) fn stream(&self, body: &Value) -> Events {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let mut connection = self.connect();
        connection.send(post("/v1/completions", &body));
        connection.events()
    }

    /// As many endless streams of `model` as one tenant may have begun at once: whoever comes next waits.
    pub(crate) fn crowd(&self, model: &str) -> Vec<Events> {
        const STARTED_MAX: usize = 64;
        let mut streams: Vec<_> = (0..STARTED_MAX).map(|_| self.stream(&endless(model))).collect();
        for stream in &mut streams {
            stream.chunk();
        }
        streams
    }

    /// `GET /models`.
    #[track_caller]
    pub(crate) fn pool(&self) -> Value {
        self.get("/models").ok()
    }

    /// What `GET /models` says of one model.
    #[track_caller]
    pub(crate) fn model(&self, name: &str) -> Value {
        let pool = self.pool();
        let models = pool["data"].as_array().unwrap();
        models.iter().find(|model| model["id"] == name).cloned().unwrap_or_else(|| panic!("no {name} in {pool}"))
    }

    /// Whether the model is in memory: `loaded`, `loading`, `unloading` or `unloaded`.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> String {
        self.model(name)["status"]["value"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for_status(&self, name: &str, status: &str) {
        until(&format!("{name} {status}"), SOON, || (self.status(name) == status).then_some(()));
    }

    /// Bytes of the budget that somebody holds: all but pages that are kept for a chance alone.
    #[track_caller]
    pub(crate) fn held_bytes(&self) -> u64 {
        let memory = &self.pool()["memory"];
        memory["used_bytes"].as_u64().unwrap() - memory["prefix_cache"]["unused_bytes"].as_u64().unwrap()
    }

    /// Bytes of weights and key-value caches.
    #[track_caller]
    pub(crate) fn used_bytes(&self) -> u64 {
        self.pool()["memory"]["used_bytes"].as_u64().unwrap()
    }

    /// A value of `GET /metrics`; `series` is a name with its labels as they are written. 0 if there is none.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200, "{response}");
        let text = response.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// `GET /v1/usage/{id}` once it is settled.
    #[track_caller]
    pub(crate) fn settled(&self, id: &str) -> Value {
        until(&format!("{id} settled"), SOON, || {
            let record = self.get(&format!("/v1/usage/{id}")).ok();
            (record["state"] == "settled").then_some(record)
        })
    }

    /// Every request that the ledger knows is settled, and there are this many; the latest first.
    #[track_caller]
    pub(crate) fn settled_rows(&self, count: usize) -> Vec<ledger::UsageRecord> {
        let reader = ledger::Reader::open(&self.ledger()).unwrap();
        let rows = until("all rows settled", SOON, || {
            let rows = reader.recent(ledger::RECENT_MAX).unwrap();
            rows.iter().all(|row| row.state == ledger::UsageState::Settled).then_some(rows)
        });
        let ids: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!((rows.len(), ids.len()), (count, count), "{rows:?}");
        rows
    }

    /// The process lives, and this model answers.
    #[track_caller]
    pub(crate) fn answers(&self, model: &str) {
        assert_eq!(self.get("/livez").status, 200);
        let answer = self.complete(&json!({ "model": model, "prompt": "hello", "max_tokens": 2 })).ok();
        assert_eq!(answer["usage"]["prompt_tokens"], 1, "{answer}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn exit(&mut self, patience: Duration) -> ExitStatus {
        let said = Arc::clone(&self.said);
        let (paced, pace) = mpsc::channel::<()>();
        let status = until("the process ends", patience, || {
            // Nothing is ever sent: the time-out is the pace.
            let _ = pace.recv_timeout(Duration::from_millis(5));
            self.child.try_wait().unwrap()
        });
        drop(paced);
        assert!(!said.lock().unwrap().contains("panicked"), "{}", said.lock().unwrap());
        status
    }

    /// Ends the process if it still runs, and starts another on the same folders.
    pub(crate) fn restart(self) -> Self {
        self.into_options().start()
    }

    /// Ends the process if it still runs, and gives back its folders.
    pub(crate) fn into_options(mut self) -> Options {
        self.end();
        self.options.take().expect("taken once, here")
    }

    fn options(&self) -> &Options {
        self.options.as_ref().expect("there until the server is taken apart")
    }

    fn end(&mut self) {
        // Both fail on a process that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.said());
        }
    }
}
