//! One line of the log for each request, when it is over: who asked, what came of it, how long it took.
//!
//! A request is over when its answer was sent or its client left, and what it computed is settled, whichever is later: the
//! [`RequestRecord`] is shared by all who still have to do with it, and its drop writes the line. Until then it keeps the
//! server from being idle.
//!
//! What a request failed with is counted then as well.
//!
//! Invariants: nothing that a client wrote is in the line: no prompt, no answer, no key, and of paths and models only those
//! that there are. Deliberately absent: lines for probes and scrapes that went well.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use meter::{Nanos, Receipt};
use uuid::{NoContext, Timestamp, Uuid};

use super::error::ApiError;
use crate::activity::Hold;
use crate::app::App;
use crate::tenancy::Access;

/// Who looks whether the server lives, and does nothing with it.
const PROBES: [&str; 5] = ["/livez", "/readyz", "/health", "/v1/health", "/metrics"];

/// What is known of one request.
pub(crate) struct RequestRecord {
    id: String,
    arrived: Instant,
    /// The route, which is no text of the client's.
    route: String,
    method: &'static str,
    app: Arc<App>,
    told: Mutex<Told>,
    _hold: Hold,
}

/// What is told of it as it goes on.
#[derive(Default)]
struct Told {
    access: Option<Arc<Access>>,
    status: Option<StatusCode>,
    /// The name of the error that it came to.
    error: Option<&'static str>,
    first_token: Option<Duration>,
    receipt: Option<Brief>,
}

/// What a receipt tells the log.
struct Brief {
    id: String,
    model: String,
    outcome: &'static str,
    cold: bool,
    prompt: u64,
    cached: u64,
    completion: u64,
    queue: Nanos,
    load: Nanos,
    prefill: Nanos,
    decode: Nanos,
}

/// Methods are what clients write: those that there are, and one word for all others.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The middleware that follows every request.
pub(super) async fn follow(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let record = Arc::new(RequestRecord {
        id: format!("req_{}", Uuid::new_v7(Timestamp::now(NoContext)).simple()),
        arrived: Instant::now(),
        route: route.unwrap_or_else(|| "none".to_owned()),
        method: method_name(request.method()),
        told: Mutex::default(),
        _hold: app.activity.hold(),
        app,
    });
    request.extensions_mut().insert(Arc::clone(&record));
    let mut response = next.run(request).await;
    let error = response.extensions().get::<Arc<ApiError>>().map(|error| error.code());
    record.answers(response.status(), error);
    if let Ok(id) = HeaderValue::try_from(&*record.id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response.map(|body| Body::new(Followed { body, _record: record }))
}

impl RequestRecord {
    /// Somebody who may come in asks.
    pub(super) fn is_let_in(&self, access: &Arc<Access>) {
        self.told().access = Some(Arc::clone(access));
        if !self.is_probe() {
            self.app.activity.used();
        }
    }

    /// Its first token is there.
    pub(crate) fn has_first_token(&self, after: Duration) {
        self.told().first_token.get_or_insert(after);
    }

    /// What it computed is settled.
    pub(crate) fn is_settled(&self, receipt: &Receipt) {
        let (tokens, times) = (&receipt.tokens, &receipt.times);
        self.told().receipt = Some(Brief {
            id: receipt.id.clone(),
            model: receipt.model.clone(),
            outcome: receipt.outcome.name(),
            cold: receipt.cold,
            prompt: tokens.prompt,
            cached: tokens.cached,
            completion: tokens.completion,
            queue: times.queue_ns,
            load: times.load_wait_ns,
            prefill: times.prefill_ns,
            decode: times.decode_ns,
        });
    }

    /// It came to this error, whether a status can still say so or not.
    pub(crate) fn has_failed(&self, error: &ApiError) {
        self.told().error.get_or_insert(error.code());
    }

    fn answers(&self, status: StatusCode, error: Option<&'static str>) {
        let mut told = self.told();
        told.status = Some(status);
        told.error = told.error.or(error);
    }

    fn is_probe(&self) -> bool {
        PROBES.contains(&self.route.as_str())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let told = std::mem::take(self.told.get_mut().unwrap_or_else(PoisonError::into_inner));
        let is_probe = self.is_probe();
        if is_probe && told.status.is_some_and(|status| status.is_success()) {
            return;
        }
        if told.access.is_some() && !is_probe {
            self.app.activity.used();
        }
        if let Some(error) = told.error {
            self.app.metering.metrics().failed(error);
        }
        let (access, receipt) = (told.access.as_deref(), told.receipt.as_ref());
        let key_id = access.and_then(Access::key_id);
        tracing::info!(
            target: "dayfly::request",
            request = self.id,
            method = self.method,
            route = self.route,
            // None: the client left before there was one.
            status = told.status.map(|status| status.as_u16()),
            error = told.error,
            tenant = access.map(|access| &*access.tenant),
            key_id = key_id.as_deref(),
            id = receipt.map(|receipt| receipt.id.as_str()),
            model = receipt.map(|receipt| receipt.model.as_str()),
            outcome = receipt.map(|receipt| receipt.outcome),
            cold = receipt.map(|receipt| receipt.cold),
            prompt_tokens = receipt.map(|receipt| receipt.prompt),
            cached_tokens = receipt.map(|receipt| receipt.cached),
            completion_tokens = receipt.map(|receipt| receipt.completion),
            queue_ms = receipt.map(|receipt| millis(receipt.queue.into())),
            load_ms = receipt.map(|receipt| millis(receipt.load.into())),
            prefill_ms = receipt.map(|receipt| millis(receipt.prefill.into())),
            decode_ms = receipt.map(|receipt| millis(receipt.decode.into())),
            first_token_ms = told.first_token.map(millis),
            total_ms = millis(self.arrived.elapsed()),
            "over"
        );
    }
}

impl fmt::Debug for RequestRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// A body that keeps its request's record for as long as it is sent.
struct Followed {
    body: Body,
    _record: Arc<RequestRecord>,
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
