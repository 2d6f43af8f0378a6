//! HTTP/1.1 by hand, so that requests can be as wrong as a test wants them.
//!
//! Every read has a time-out; one that passes fails the test, unless the call says that it asks for just that.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far more than any answer takes, also on a busy machine.
const READ_MAX: Duration = Duration::from_secs(60);

/// An open connection and what was read of it ahead.
pub(crate) struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("the server listens")
    }

    pub(crate) fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, READ_MAX)?;
        stream.set_read_timeout(Some(READ_MAX))?;
        stream.set_write_timeout(Some(READ_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// For answers that take long by design.
    pub(crate) fn patient(self, patience: Duration) -> Self {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        self
    }

    /// Writes bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
        self
    }

    /// Writes bytes that the server may refuse to read.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Asks, and keeps the connection.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Response {
        self.send(request).response()
    }

    /// The next answer.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("an answer arrives")
    }

    pub(crate) fn try_response(&mut self) -> io::Result<Response> {
        let (status, headers) = self.head()?;
        let mut body = Vec::new();
        match framing(status, &headers) {
            Framing::Length(bytes) => body = self.exactly(bytes)?,
            Framing::Chunked => {
                while let Some(chunk) = self.chunk()? {
                    body.extend(chunk);
                }
            }
            Framing::Close => {
                body.append(&mut self.ahead);
                self.stream.read_to_end(&mut body)?;
            }
        }
        Ok(Response { status, headers, body })
    }

    /// The status of an answer whose body is left unread.
    pub(crate) fn try_head(&mut self) -> io::Result<u16> {
        self.head().map(|(status, _)| status)
    }

    /// Reads an answer's head; events follow.
    pub(crate) fn events(mut self) -> Events {
        let (status, headers) = self.head().expect("a head arrives");
        let framing = framing(status, &headers);
        if framing != Framing::Chunked {
            let body = match framing {
                Framing::Length(bytes) => self.exactly(bytes).unwrap_or_default(),
                _ => Vec::new(),
            };
            panic!("no stream but {status}: {}", String::from_utf8_lossy(&body));
        }
        assert_eq!(status, 200);
        let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        assert_eq!(kind, Some("text/event-stream; charset=utf-8"));
        Events { connection: self, text: Vec::new(), comments: VecDeque::new(), end: None }
    }

    /// Whether the server ends the connection, without another byte, before `patience` has passed.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        if !self.ahead.is_empty() {
            return false;
        }
        self.stream.set_read_timeout(Some(patience)).unwrap();
        match self.stream.read(&mut [0; 256]) {
            Ok(count) => count == 0,
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }

    /// Status and headers of an answer; a stream's come with its first piece.
    pub(crate) fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Ok((status.unwrap_or_else(|| panic!("no status line: {first:?}")), headers.collect()))
    }

    fn exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < bytes {
            self.more()?;
        }
        Ok(self.ahead.drain(..bytes).collect())
    }

    /// The next chunk of a chunked body; `None` after the last.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let end = loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                break end;
            }
            self.more()?;
        };
        let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
        let line = String::from_utf8_lossy(&line[..end]).into_owned();
        let bytes = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        let mut chunk = self.exactly(bytes + 2)?;
        assert_eq!(chunk.split_off(bytes), b"\r\n", "a chunk ends as it says");
        Ok((bytes > 0).then_some(chunk))
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.ahead.extend(&buffer[..count]);
                    return Ok(());
                }
                // A read with a time-out is not begun again after the process was stopped for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of an answer that went well.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self}");
        self.json()
    }

    /// The error in OpenAI's envelope, which must be this one.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, kind: &str, code: &str) -> Value {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self}");
        let mut body = self.json();
        let error = body["error"].take();
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), Some(code)), "{self}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self}");
        let names: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 4, "message, type, param and code: {names:?}");
        error
    }

    /// The same, about `param`.
    #[track_caller]
    pub(crate) fn refused_about(&self, status: u16, code: &str, param: &str) {
        let error = self.refused(status, "invalid_request_error", code);
        assert_eq!(error["param"].as_str(), Some(param), "{self}");
    }

    /// Seconds after which to try again.
    #[track_caller]
    pub(crate) fn retry_after(&self) -> u64 {
        let value = self.header("retry-after").unwrap_or_else(|| panic!("no Retry-After: {self}"));
        value.parse().unwrap_or_else(|_| panic!("Retry-After is no whole number: {value:?}"))
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.text().chars().take(600).collect();
        write!(f, "{} {body}", self.status)
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The body ended as chunked bodies do.
    Whole,
    /// The connection ended in the middle of the body.
    Cut,
}

/// Server-sent events as they come.
pub(crate) struct Events {
    connection: Connection,
    text: Vec<u8>,
    comments: VecDeque<String>,
    end: Option<End>,
}

impl Events {
    /// The data of the next event; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<String> {
        loop {
            let block = self.block()?;
            match block.strip_prefix(": ") {
                Some(comment) => self.comments.push_back(comment.to_owned()),
                None => {
                    let data = block.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {block:?}"));
                    return Some(data.to_owned());
                }
            }
        }
    }

    /// The next comment, before any further event.
    #[track_caller]
    pub(crate) fn comment(&mut self) -> String {
        if let Some(comment) = self.comments.pop_front() {
            return comment;
        }
        let block = self.block().expect("another comment");
        block.strip_prefix(": ").unwrap_or_else(|| panic!("no comment: {block:?}")).to_owned()
    }

    /// The next event or comment as it was sent.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.text, b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("events are UTF-8");
                return Some(event.trim_end().to_owned());
            }
            if self.end.is_some() {
                assert!(self.text.is_empty(), "half an event: {:?}", String::from_utf8_lossy(&self.text));
                return None;
            }
            match self.connection.chunk() {
                Ok(Some(chunk)) => self.text.extend(chunk),
                Ok(None) => self.end = Some(End::Whole),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the stream stands still")
                }
                Err(_) => self.end = Some(End::Cut),
            }
        }
    }

    /// The next event as JSON.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Value {
        let data = self.next().expect("another event");
        serde_json::from_str(&data).unwrap_or_else(|_| panic!("no JSON: {data:?}"))
    }

    /// The data of all events to the end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// All chunks to `[DONE]`, which must be the last.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Vec<Value> {
        let mut rest = self.rest();
        assert_eq!(rest.pop().as_deref(), Some("[DONE]"), "{:?}", rest.last());
        assert_eq!(self.end, Some(End::Whole));
        rest.iter().map(|data| serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data:?}"))).collect()
    }
}

/// The text of a choice from its chunks, of chats or completions.
pub(crate) fn text_of(chunks: &[Value], choice: u64) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].as_array()).flatten();
    let own = choices.filter(|one| one["index"].as_u64() == Some(choice));
    own.filter_map(|one| one["text"].as_str().or_else(|| one["delta"]["content"].as_str())).collect()
}

/// A request's bytes. `headers` are whole lines without their ends; Host is added, and Content-Length for a body.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// A POST of JSON.
pub(crate) fn post(path: &str, body: &Value) -> Vec<u8> {
    request("POST", path, &["content-type: application/json"], body.to_string().as_bytes())
}

/// Asks until `accepted` gives something, for `patience` at most; `what` is said if it never does.
#[track_caller]
pub(crate) fn until<T>(what: &str, patience: Duration, mut accepted: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = accepted() {
            return found;
        }
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}");
    }
}

fn framing(status: u16, headers: &[(String, String)]) -> Framing {
    let value = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
    if matches!(status, 100..=199 | 204 | 304) {
        return Framing::Length(0);
    }
    match (value("transfer-encoding"), value("content-length")) {
        (Some("chunked"), _) => Framing::Chunked,
        (_, Some(length)) => Framing::Length(length.parse().expect("a length is a number")),
        _ => Framing::Close,
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
