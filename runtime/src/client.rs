//! The commands' own HTTP client: one server, one connection for each request.
//!
//! Invariants: an answer is read to a written limit; a stream that ends without its `[DONE]` is an error, never a short
//! answer. Deliberately absent: TLS (put a tunnel in front of a server that is far away), connection reuse, retries.

mod events;

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::events::{Event, Events};

/// How long a server may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long `/livez` may take, before whoever listens there counts as somebody else.
const LIVEZ_MAX: Duration = Duration::from_secs(2);
/// How long a server may take to tell what it knows, with the ledger's sums over years.
const GET_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A server to talk to.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Host and port, as in a URL.
    authority: String,
    /// What stands before every path; no slash at its end.
    prefix: String,
    authorization: Option<HeaderValue>,
}

/// Why a server did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No address of a server.
    #[error("{url:?} is no address of a server: {reason}")]
    Address { url: String, reason: &'static str },
    /// Nobody answers there.
    #[error("no server answers at {authority}")]
    Unreachable { authority: String, source: io::Error },
    /// The connection failed in the middle.
    #[error("the connection to the server failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server says no.
    #[error("{message}")]
    Refused { status: StatusCode, code: Option<String>, message: String },
    /// The answer is not what it should be.
    #[error("the server's answer makes no sense: {0}")]
    Answer(&'static str),
    /// The stream ended before its end.
    #[error("the server's answer broke off")]
    BrokenOff,
    /// Whoever was to get the pieces cannot.
    #[error("the answer cannot be passed on")]
    Passing(#[source] io::Error),
}

impl ClientError {
    /// Whether the server said that there is no such model.
    pub(crate) fn is_model_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: Some(code), .. } if code == "model_not_found")
    }
}

impl Client {
    /// A client of the server at `url`: `http://HOST[:PORT][/PREFIX]`. `api_key` is presented as a bearer.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub(crate) fn new(url: &str, api_key: Option<&str>) -> Result<Self, ClientError> {
        let bad = |reason| ClientError::Address { url: url.into(), reason };
        let uri: Uri = url.parse().map_err(|_| bad("it has the form http://HOST:PORT"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("https is not supported here; use a tunnel")),
            _ => return Err(bad("it has the form http://HOST:PORT")),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host"))?;
        let authorization = api_key.map(|key| HeaderValue::try_from(format!("Bearer {key}"))).transpose();
        let mut authorization = authorization.map_err(|_| bad("the API key is no plain text"))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    /// The server's address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.prefix)
    }

    /// The version of the dayfly that listens there, if it is one.
    pub(crate) async fn version(&self) -> Option<String> {
        let asked = timeout(LIVEZ_MAX, self.send(Method::GET, "/livez", None)).await;
        let response = asked.ok()?.ok().filter(|response| response.status() == StatusCode::OK)?;
        let server = response.headers().get(SERVER)?.to_str().ok()?;
        server.strip_prefix("dayfly/").map(str::to_owned)
    }

    /// Asks for `path`: what there is, and nothing that first has to be done.
    ///
    /// # Errors
    /// [`ClientError`]; a server that does not answer in time is one that cannot be reached.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let asked = async { whole(self.send(Method::GET, path, None).await?).await };
        timeout(GET_MAX, asked).await.unwrap_or_else(|_| {
            let source = io::ErrorKind::TimedOut.into();
            Err(ClientError::Unreachable { authority: self.authority.clone(), source })
        })
    }

    /// Sends `body` to `path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        whole(self.send(Method::POST, path, Some(body)).await?).await
    }

    /// Has what `path` leads to deleted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        whole(self.send(Method::DELETE, path, None).await?).await
    }

    /// Has what `body` names deleted; there is nothing to tell of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) async fn delete_named(&self, path: &str, body: &Value) -> Result<(), ClientError> {
        let response = self.send(Method::DELETE, path, Some(body)).await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    /// Sends `body` to `path` and hands every event of the answer to `each`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Passing`] is what `each` said.
    pub(crate) async fn stream(
        &self,
        path: &str,
        body: &Value,
        mut each: impl FnMut(&Value) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let mut body = response.into_body();
        let mut events = Events::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ClientError::Connection(error.into()))?;
            let Some(bytes) = frame.data_ref() else { continue };
            for event in events.push(bytes)? {
                match event {
                    Event::Done => return Ok(()),
                    Event::Data(value) if value.get("error").is_some() => {
                        return Err(refused(StatusCode::INTERNAL_SERVER_ERROR, &value));
                    }
                    Event::Data(value) => each(&value).map_err(ClientError::Passing)?,
                }
            }
        }
        Err(ClientError::BrokenOff)
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response<Incoming>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { authority: self.authority.clone(), source };
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let connected = timeout(CONNECT_MAX, TcpStream::connect(&self.authority)).await;
        let socket = connected.map_err(|_| unreachable(late()))?.map_err(unreachable)?;
        // Tokens come one by one.
        socket.set_nodelay(true).map_err(unreachable)?;
        let broken = |error: hyper::Error| ClientError::Connection(error.into());
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
        // It ends with the response; what goes wrong is seen there.
        tokio::spawn(connection);
        let request = self.request(method, path, body)?;
        sender.send_request(request).await.map_err(broken)
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(bytes)).map_err(|error| ClientError::Connection(error.into()))
    }
}

/// The whole answer, as JSON.
async fn whole(response: Response<Incoming>) -> Result<Value, ClientError> {
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let bytes = collected(response).await?;
    serde_json::from_slice(&bytes).map_err(|_| ClientError::Answer("it is no JSON"))
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match collected(response).await {
        Ok(bytes) => refused(status, &serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) => error,
    }
}

/// What OpenAI's envelope says, or Ollama's, if it is one of them.
fn refused(status: StatusCode, envelope: &Value) -> ClientError {
    let text = |name: &str| envelope.pointer(&format!("/error/{name}")).and_then(Value::as_str).map(str::to_owned);
    let of_ollama = || envelope["error"].as_str().map(str::to_owned);
    let message = text("message").or_else(of_ollama).unwrap_or_else(|| format!("the server answered {status}"));
    ClientError::Refused { status, code: text("code"), message }
}

async fn collected(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(ClientError::Connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_plain_http() {
        let client = Client::new("http://127.0.0.1:8787/", None).unwrap();
        assert_eq!(client.url(), "http://127.0.0.1:8787");
        assert_eq!(Client::new("http://host/a/b/", None).unwrap().url(), "http://host:80/a/b");
        assert_eq!(Client::new("http://[::1]:9", None).unwrap().url(), "http://[::1]:9");
        for wrong in ["", "127.0.0.1:8787", "https://host", "ftp://host", "http://", "/path"] {
            assert!(matches!(Client::new(wrong, None), Err(ClientError::Address { .. })), "{wrong:?}");
        }
        assert!(matches!(Client::new("http://host", Some("a\nb")), Err(ClientError::Address { .. })));
    }

    #[test]
    fn a_request_carries_the_key_and_the_prefix() {
        let client = Client::new("http://host:1/base", Some("k")).unwrap();
        let request = client.request(Method::POST, "/v1/x", Some(&Value::Bool(true))).unwrap();
        assert_eq!(request.uri(), "/base/v1/x");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer k");
        assert_eq!(request.headers()[HOST], "host:1");
        assert!(!format!("{client:?}").contains("Bearer"), "a key is never shown");
    }

    #[test]
    fn the_envelope_is_read_where_there_is_one() {
        let envelope = serde_json::json!({ "error": { "message": "no", "code": "model_not_found" } });
        let error = refused(StatusCode::NOT_FOUND, &envelope);
        assert!(error.is_model_not_found());
        assert_eq!(error.to_string(), "no");
        let error = refused(StatusCode::CONFLICT, &serde_json::json!({ "error": "not so" }));
        assert_eq!(error.to_string(), "not so");
        let error = refused(StatusCode::BAD_GATEWAY, &Value::Null);
        assert!(error.to_string().contains("502") && !error.is_model_not_found());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stands_still_is_not_waited_for_for_ever() {
        // The kernel takes the connection, and nobody answers on it.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        let began = tokio::time::Instant::now();
        assert!(matches!(client.get("/models").await, Err(ClientError::Unreachable { .. })));
        assert!(began.elapsed() <= GET_MAX);
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        // Bound, and given back at once: nobody listens there now.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::new(&format!("http://{address}"), None).unwrap();
        assert!(matches!(client.get("/livez").await, Err(ClientError::Unreachable { .. })));
        assert_eq!(client.version().await, None);
    }
}
