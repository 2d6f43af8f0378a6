//! Answers on their way out: whole, or as server-sent events.
//!
//! The status is decided by the first piece: an error from before anything was shown is an answer of its own. After the
//! first event an error is `data: {"error":…}`, and the stream ends without `[DONE]`.

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
use models::reading::{AnswerReader, Thinking};
use serde_json::Value;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::progress;
use super::wire::answer::{AnswerWriter, ChoiceReader, Collector, Usage};
use super::wire::{ChatOptions, Delivery, IncludeProgress, IncludeUsage};
use crate::app::App;
use crate::generate::{Answer, Asked, CacheUse, Finished, Piece, generate, template_error};

/// How an answer looks, and how many there are.
pub(super) struct Format {
    pub(super) writer: AnswerWriter,
    pub(super) answers: usize,
    /// How the text of a chat's answer is read; none where it is only text.
    pub(super) reading: Option<Reading>,
}

/// What decides how an answer's text is read.
pub(super) struct Reading {
    pub(super) options: ChatOptions,
    pub(super) thinking: Thinking,
}

impl Format {
    /// Makes ready for the answers of a model.
    ///
    /// # Errors
    /// When the model's template, which did well with the conversation, fails without it.
    pub(super) fn prepare(&mut self, descriptor: &Descriptor) -> Result<(), ApiError> {
        let (Some(Reading { options, thinking }), Some(template)) = (&self.reading, &descriptor.template) else {
            return Ok(());
        };
        let reader = AnswerReader::new(template, &options.extras_for(template)?, *thinking).map_err(template_error)?;
        if !reader.is_plain() {
            self.writer.read_by(reader);
        }
        Ok(())
    }
}

/// Answers with all of it.
async fn whole(mut answer: Answer, mut format: Format) -> Response {
    if let Err(error) = format.prepare(&answer.descriptor) {
        return error.into_response();
    }
    let mut collected = Collector::new(format.answers);
    loop {
        match answer.next().await {
            Piece::Output(output) => collected.push(output),
            Piece::End(Err(error)) => return error.into_response(),
            Piece::End(Ok(finished)) => {
                let tokenizer = &answer.descriptor.tokenizer;
                let settled = (usage(&finished), &receipt(&finished));
                let body = format.writer.whole(&collected.finish(), settled, tokenizer);
                let mut headers = receipt_headers(&finished.receipt);
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
async fn streamed(mut answer: Answer, mut format: Format, include_usage: IncludeUsage) -> Response {
    if let Err(error) = format.prepare(&answer.descriptor) {
        return error.into_response();
    }
    let first = match answer.next().await {
        Piece::End(Err(error)) => return error.into_response(),
        piece => piece,
    };
    let is_cold = HeaderValue::from_static(if answer.is_cold { "true" } else { "false" });
    let from_cache = cache_header(&answer);
    let (events, body) = mpsc::channel(1);
    tokio::spawn(write(Writer { answer, format, include_usage, events }, first));
    let mut response = event_stream(body);
    response.headers_mut().insert(HeaderName::from_static("x-dayfly-cold"), is_cold);
    response.headers_mut().extend(from_cache);
    response
}

/// A response of the server-sent events that come out of `events`.
pub(super) fn event_stream(events: mpsc::Receiver<Bytes>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Body::new(Events(events))).into_response()
}

/// Answers as the request asked.
///
/// # Errors
/// Those from before anything was shown, where the answer is not to tell what it waits for.
pub(super) async fn answer(
    app: &Arc<App>,
    asked: Asked,
    format: Format,
    delivery: Delivery,
) -> Result<Response, ApiError> {
    Ok(match delivery {
        Delivery::Whole => whole(generate(app, asked).await?, format).await,
        Delivery::Streamed { include_usage, include_progress: IncludeProgress::No } => {
            streamed(generate(app, asked).await?, format, include_usage).await
        }
        Delivery::Streamed { include_usage, include_progress: IncludeProgress::Yes } => {
            progress::streamed(app, asked, format, include_usage)
        }
    })
}

pub(super) struct Writer {
    pub(super) answer: Answer,
    pub(super) format: Format,
    pub(super) include_usage: IncludeUsage,
    pub(super) events: mpsc::Sender<Bytes>,
}

/// Writes every piece as events; ends when the client has left, which drops the answer and so cancels it.
pub(super) async fn write(mut writer: Writer, first: Piece) {
    let mut piece = first;
    let mut readers = vec![writer.format.writer.reader(); writer.format.answers];
    let mut begun = vec![false; writer.format.answers];
    loop {
        let (text, is_last) = match piece {
            Piece::Output(output) => (writer.output(&output, (&mut begun, &mut readers)), false),
            Piece::End(end) => (writer.end(end), true),
        };
        // What may mean this or that is shown with what follows.
        if (!text.is_empty() && writer.events.send(text.into()).await.is_err()) || is_last {
            return;
        }
        piece = tokio::select! {
            piece = writer.answer.next() => piece,
            () = writer.events.closed() => return,
        };
    }
}

impl Writer {
    fn output(&self, output: &Output, (begun, readers): (&mut [bool], &mut [Option<ChoiceReader>])) -> String {
        let mut text = String::new();
        if let Some(begun) = begun.get_mut(output.choice)
            && !std::mem::replace(begun, true)
            && let Some(first) = self.format.writer.first_chunk(output.choice)
        {
            push_event(&mut text, &first);
        }
        let tokenizer = &self.answer.descriptor.tokenizer;
        match readers.get_mut(output.choice).and_then(Option::as_mut) {
            Some(reader) => {
                let chunks = self.format.writer.read_chunks(output, reader, tokenizer);
                chunks.iter().for_each(|chunk| push_event(&mut text, chunk));
            }
            None => push_event(&mut text, &self.format.writer.chunk(output, tokenizer)),
        }
        text
    }

    fn end(&self, end: Result<Finished, ApiError>) -> String {
        let mut text = String::new();
        match end {
            Ok(finished) => {
                if self.include_usage == IncludeUsage::Yes {
                    push_event(&mut text, &self.format.writer.usage_chunk(usage(&finished), &receipt(&finished)));
                }
                text.push_str("data: [DONE]\n\n");
            }
            Err(error) => {
                error.log();
                push_event(&mut text, &error.envelope().to_string());
            }
        }
        text
    }
}

/// Adds an event with this data, which is one line.
pub(super) fn push_event(text: &mut String, event: &str) {
    text.push_str("data: ");
    text.push_str(event);
    text.push_str("\n\n");
}

fn usage(finished: &Finished) -> Usage {
    let tokens = &finished.receipt.tokens;
    Usage {
        prompt: tokens.prompt,
        cached: tokens.cached,
        completion: tokens.completion,
        drafted: tokens.drafted,
        accepted_draft: tokens.accepted_draft,
    }
}

fn receipt(finished: &Finished) -> Value {
    serde_json::to_value(&finished.receipt).unwrap_or(Value::Null)
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

/// A body of events.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
