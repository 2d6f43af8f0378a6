//! A client as small as can be, so that what is timed is the server: one connection a request, read line by line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// How long a read may wait for its next byte.
const READ_MAX: Duration = Duration::from_secs(180);
/// Bytes of an answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where requests go, and as whom.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    key: Option<Box<str>>,
    idempotency_key: Option<Box<str>>,
}

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// Seconds after which a refused request may come again.
    pub retry_after: Option<u64>,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Client {
    /// Without a key.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, key: None, idempotency_key: None }
    }

    /// The same server, with a key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    /// The same, whose requests are called `idempotency_key`.
    #[must_use]
    pub fn calling_it(&self, idempotency_key: &str) -> Self {
        Self { idempotency_key: Some(idempotency_key.into()), ..self.clone() }
    }

    /// Asks for what is no JSON.
    ///
    /// # Errors
    /// As [`Client::get`], and when the answer is no success.
    pub fn text(&self, path: &str) -> anyhow::Result<String> {
        let (head, body) = self.head_and_body("GET", path, "")?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {}", head.lines().next().unwrap_or_default());
        Ok(body)
    }

    /// Asks and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer, or it is delimited in a way that servers of whole answers do not use.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.whole("GET", path, "")
    }

    /// As [`Client::get`], with a body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.whole("POST", path, &body.to_string())
    }

    /// Posts all of `bodies` at once, and reads every answer whole.
    ///
    /// # Errors
    /// As [`Client::get`], of any of them.
    pub fn post_at_once(&self, path: &str, bodies: &[Value]) -> anyhow::Result<Vec<Answer>> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = bodies.iter().map(|body| scope.spawn(move || self.post(path, body))).collect();
            asked.into_iter().map(|asked| asked.join().expect("it returns its errors")).collect()
        })
    }

    /// Asks, and hands each event's data and the time since the request to `on_event`, until that breaks or all is read.
    /// Without a body it is a GET.
    ///
    /// # Errors
    /// When the answer is no success.
    pub fn events(
        &self,
        path: &str,
        body: Option<&Value>,
        mut on_event: impl FnMut(Duration, &str) -> ControlFlow<()>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        let (method, body) = body.map_or(("GET", String::new()), |body| ("POST", body.to_string()));
        let mut lines = BufReader::new(self.send(method, path, &body)?).lines();
        let status = lines.next().context("no answer")??;
        if !status.starts_with("HTTP/1.1 200") {
            let rest: Vec<String> = lines.map_while(Result::ok).collect();
            bail!("{status}: {}", rest.last().map_or("", String::as_str));
        }
        for line in lines {
            // Between the events stand the lengths of their chunks.
            if let Some(data) = line?.strip_prefix("data:")
                && on_event(began.elapsed(), data.trim_start()).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    /// Sends a request whose answer is the caller's to read, or to leave: dropping the connection closes it.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn begin(&self, path: &str, body: &Value) -> anyhow::Result<TcpStream> {
        self.send("POST", path, &body.to_string())
    }

    /// Time from sending a one-token streamed completion to its first event.
    ///
    /// # Errors
    /// When the server does not answer with a stream.
    pub fn time_to_first_token(&self, model: &str) -> anyhow::Result<Duration> {
        let prompt = "The capital of France is";
        let body = json!({ "model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "stream": true });
        let mut first = None;
        self.events("/v1/completions", Some(&body), |at, _| {
            first.get_or_insert(at);
            ControlFlow::Continue(())
        })
        .with_context(|| model.to_owned())?;
        first.with_context(|| format!("{model}: no event"))
    }

    fn whole(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let (head, body) = self.head_and_body(method, path, body)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let head = head.to_ascii_lowercase();
        anyhow::ensure!(!head.contains("transfer-encoding"), "the answer comes in chunks");
        let retry_after = head.lines().find_map(|line| line.strip_prefix("retry-after:")?.trim().parse().ok());
        Ok(Answer { status, retry_after, body: serde_json::from_str(&body).unwrap_or_default() })
    }

    fn head_and_body(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(String, String)> {
        let mut text = String::new();
        self.send(method, path, body)?.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
        Ok((head.to_owned(), body.to_owned()))
    }

    fn send(&self, method: &str, path: &str, body: &str) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_MAX))?;
        let (address, length) = (self.address, body.len());
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        if let Some(key) = &self.key {
            head.push_str(&format!("Authorization: Bearer {key}\r\n"));
        }
        if let Some(key) = &self.idempotency_key {
            head.push_str(&format!("Idempotency-Key: {key}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        Ok(stream)
    }
}
