//! Answers on their way out: whole, or as a stream of pieces.
//!
//! What is written is for a [`Dialect`] to say: the words of one interface. The status is decided by the first piece: an
//! error from before anything was shown is an answer of its own. What fails later is told in the stream, which then ends
//! without the end of an answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use meter::Receipt;
use models::Descriptor;
use models::generation::Output;
use models::tokenizer::Tokenizer;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::progress;
use super::wire::answer::{Choice, Collector};
use super::wire::{Delivery, IncludeProgress};
use crate::app::App;
use crate::config::Overlong;
use crate::generate::{Answer, Asked, CacheUse, Finished, Piece, generate};

/// The type of a stream of server-sent events.
const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// How an interface tells the answers to one request. Of a stream the parts follow each other as they are, so each brings
/// its own framing.
pub(super) trait Dialect: Send {
    /// How many answers there are.
    fn answers(&self) -> usize;

    /// What kind of thing a stream is.
    fn stream_type(&self) -> &'static str {
        EVENT_STREAM
    }

    /// Makes ready for the answers of a model.
    ///
    /// # Errors
    /// When the model's template, which did well with the conversation, fails without it.
    fn prepare(&mut self, _descriptor: &Descriptor) -> Result<(), ApiError> {
        Ok(())
    }

    /// What a stream begins with, before its first piece. The prompts have so many tokens.
    fn begin(&mut self, _prompt_tokens: u64) -> String {
        String::new()
    }

    /// A piece of an answer.
    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String;

    /// What a stream ends with, once the request is settled.
    fn end(&mut self, receipt: &Receipt) -> String;

    /// What a stream ends with when it fails.
    fn failed(&mut self, error: &ApiError) -> String;

    /// The body of an answer in one piece.
    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, tokenizer: &Tokenizer) -> String;
}

/// Answers with all of it.
async fn whole(mut answer: Answer, mut dialect: Box<dyn Dialect>) -> Response {
    if let Err(error) = dialect.prepare(&answer.descriptor) {
        return error.into_response();
    }
    let mut collected = Collector::new(dialect.answers());
    loop {
        match answer.next().await {
            Piece::Output(output) => collected.push(output),
            Piece::End(Err(error)) => return error.into_response(),
            Piece::End(Ok(Finished { receipt, .. })) => {
                let body = dialect.whole(&collected.finish(), &receipt, &answer.descriptor.tokenizer);
                let mut headers = receipt_headers(&receipt);
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.extend(cache_header(&answer));
                return (headers, body).into_response();
            }
        }
    }
}

/// Whether the answer is from the response cache, where it was looked for there.
fn cache_header(answer: &Answer) -> Option<(HeaderName, HeaderValue)> {
    let said = match answer.cache? {
        CacheUse::Hit => "hit",
        CacheUse::Miss => "miss",
    };
    Some((HeaderName::from_static("x-dayfly-response-cache"), HeaderValue::from_static(said)))
}

/// Answers with a body that `write` makes of the receipt; it may take long, so no thread that serves sockets writes it.
pub(super) async fn json(
    receipt: Box<Receipt>,
    write: impl FnOnce(&Receipt) -> String + Send + 'static,
) -> Result<Response, ApiError> {
    let mut headers = receipt_headers(&receipt);
    let body = tokio::task::spawn_blocking(move || write(&receipt)).await.map_err(ApiError::internal)?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((headers, body).into_response())
}

/// Answers as it comes.
async fn streamed(mut answer: Answer, mut dialect: Box<dyn Dialect>) -> Response {
    if let Err(error) = dialect.prepare(&answer.descriptor) {
        return error.into_response();
    }
    let first = match answer.next().await {
        Piece::End(Err(error)) => return error.into_response(),
        piece => piece,
    };
    let is_cold = HeaderValue::from_static(if answer.is_cold { "true" } else { "false" });
    let from_cache = cache_header(&answer);
    let (parts, body) = mpsc::channel(1);
    let mut response = stream_of(body, dialect.stream_type());
    tokio::spawn(write(Writer { answer, dialect, parts }, first));
    response.headers_mut().insert(HeaderName::from_static("x-dayfly-cold"), is_cold);
    response.headers_mut().extend(from_cache);
    response
}

/// A response of the server-sent events that come out of `events`.
pub(super) fn event_stream(events: mpsc::Receiver<Bytes>) -> Response {
    stream_of(events, EVENT_STREAM)
}

/// A response of what comes out of `parts`.
pub(super) fn stream_of(parts: mpsc::Receiver<Bytes>, kind: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Body::new(Parts(parts))).into_response()
}

/// Answers as the request asked.
///
/// # Errors
/// Those from before anything was shown, where the answer is not to tell what it waits for.
pub(super) async fn answer(
    app: &Arc<App>,
    mut asked: Asked,
    dialect: impl Dialect + 'static,
) -> Result<Response, ApiError> {
    if app.config().overlong_answers == Overlong::Cut {
        asked.common.overlong = Overlong::Cut;
    }
    let dialect: Box<dyn Dialect> = Box::new(dialect);
    Ok(match asked.common.delivery {
        Delivery::Whole => whole(generate(app, asked).await?, dialect).await,
        Delivery::Streamed { include_progress: IncludeProgress::No, .. } => {
            streamed(generate(app, asked).await?, dialect).await
        }
        Delivery::Streamed { include_progress: IncludeProgress::Yes, .. } => progress::streamed(app, asked, dialect),
    })
}

pub(super) struct Writer {
    pub(super) answer: Answer,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) parts: mpsc::Sender<Bytes>,
}

/// Writes every piece; ends when the client has left, which drops the answer and so cancels it.
pub(super) async fn write(mut writer: Writer, first: Piece) {
    let mut text = writer.dialect.begin(writer.answer.prompt_tokens);
    let mut piece = first;
    loop {
        let is_last = matches!(piece, Piece::End(_));
        match piece {
            Piece::Output(output) => {
                text.push_str(&writer.dialect.piece(&output, &writer.answer.descriptor.tokenizer));
            }
            Piece::End(Ok(Finished { receipt, .. })) => text.push_str(&writer.dialect.end(&receipt)),
            Piece::End(Err(error)) => {
                error.log();
                text.push_str(&writer.dialect.failed(&error));
            }
        }
        if !text.is_empty() && writer.parts.send(std::mem::take(&mut text).into()).await.is_err() || is_last {
            return;
        }
        piece = tokio::select! {
            piece = writer.answer.next() => piece,
            () = writer.parts.closed() => return,
        };
    }
}

/// Adds an event with this data, which is one line.
pub(super) fn push_event(text: &mut String, event: &str) {
    text.push_str("data: ");
    text.push_str(event);
    text.push_str("\n\n");
}

/// Adds an event of this name.
pub(super) fn push_named_event(text: &mut String, name: &str, event: &str) {
    text.push_str("event: ");
    text.push_str(name);
    text.push('\n');
    push_event(text, event);
}

fn receipt_headers(receipt: &Receipt) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let cost = receipt.cost.amount.map(|amount| format!("{amount} {}", receipt.cost.currency));
    let figures = [
        ("x-dayfly-cost", cost),
        ("x-dayfly-energy-joules", Some(receipt.energy.joules.to_string())),
        ("x-dayfly-cold", Some(receipt.cold.to_string())),
    ];
    for (name, value) in figures {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// A body of parts as they come.
struct Parts(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
