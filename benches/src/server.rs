//! Servers under measurement: any that speaks OpenAI's completions, as a child process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(120);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `command` with the place of the address filled in: `{address}` as `host:port`, `{port}` as the port.
    ///
    /// # Errors
    /// When it cannot be started, or does not accept connections within a minute.
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
        let mut server = Self { child, address };
        let began = Instant::now();
        while server.get("/v1/models").is_err() {
            if began.elapsed() > START_MAX || server.child.try_wait()?.is_some() {
                bail!("{program} does not answer");
            }
            // Paces the attempts without a clock: an address that nobody listens on refuses at once.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn get(&self, path: &str) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(REQUEST_MAX))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "not ready");
        Ok(())
    }

    /// Time from sending a one-token streamed completion to its first event.
    ///
    /// # Errors
    /// When the server does not answer with a stream.
    pub fn time_to_first_token(&self, model: &str) -> anyhow::Result<Duration> {
        let prompt = "The capital of France is";
        let body = json!({ "model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "stream": true });
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REQUEST_MAX))?;
        let began = Instant::now();
        write!(
            stream,
            "POST /v1/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut first = None;
        let mut begin = String::new();
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if begin.is_empty() {
                begin.clone_from(&line);
            }
            if line.starts_with("data:") && first.is_none() {
                first = Some(began.elapsed());
            }
        }
        first.with_context(|| format!("{model}: no event after {begin:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
