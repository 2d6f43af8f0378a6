//! A request's body, within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header, request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ledger::IDEMPOTENCY_KEY_BYTES_MAX;

use super::error::ApiError;
use super::record::RequestRecord;
use super::wire::header_timeout;
use crate::app::App;
use crate::limits::{BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_READ_MAX};
use crate::tenancy::{Access, Asker};
use bytes::BytesMut;
use scheduler::limits::RETRY_AFTER_MIN;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes of all bodies at once, in KiB.
static BODIES_KIB: Semaphore = Semaphore::const_new(BODIES_BYTES_MAX / 1024);

/// The bytes of a JSON body, and their place among all bodies for as long as they are kept.
pub(super) struct JsonBody {
    /// How long the header says that the answer may take.
    pub(super) timeout: Option<Duration>,
    /// What the client calls the request, by `Idempotency-Key`.
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) bytes: Bytes,
    /// What is known of the request.
    record: Option<Arc<RequestRecord>>,
    _place: Option<SemaphorePermit<'static>>,
}

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _app: &Arc<App>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        check_type(&parts)?;
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(ApiError::payload_too_large(BODY_BYTES_MAX));
        }
        let timeout = header_timeout(&parts.headers)?;
        let idempotency_key = idempotency_key(&parts.headers)?;
        let record = parts.extensions.get::<Arc<RequestRecord>>().cloned();
        let read = tokio::time::timeout(BODY_READ_MAX, read(body)).await.map_err(|_| ApiError::request_timeout())?;
        read.map(|body| Self { timeout, idempotency_key, record, ..body })
    }
}

impl JsonBody {
    /// Whose request it is and what that one calls it; of its bytes nothing is needed any more.
    pub(super) fn asker(self, access: Arc<Access>) -> Asker {
        Asker { access, idempotency_key: self.idempotency_key, record: self.record }
    }
}

/// Reads a body, taking a place for its bytes as they come: what is declared and never sent keeps nobody out.
async fn read(body: Body) -> Result<JsonBody, ApiError> {
    let mut body = Limited::new(body, BODY_BYTES_MAX);
    let (mut bytes, mut place) = (BytesMut::new(), None::<SemaphorePermit<'static>>);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return ApiError::payload_too_large(BODY_BYTES_MAX);
            }
            ApiError::invalid_json(format_args!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        bytes.extend_from_slice(&data);
        let needed = bytes.len().div_ceil(1024) - place.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = BODIES_KIB.try_acquire_many(u32::try_from(needed).unwrap_or(u32::MAX));
        let more = more.map_err(|_| ApiError::overloaded(RETRY_AFTER_MIN))?;
        match &mut place {
            Some(place) => place.merge(more),
            None => place = Some(more),
        }
    }
    Ok(JsonBody { timeout: None, idempotency_key: None, bytes: bytes.freeze(), record: None, _place: place })
}

/// What the client calls the request, if it does: visible characters.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, ApiError> {
    const NAME: &str = "Idempotency-Key";
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.trim().is_empty() && key.len() <= IDEMPOTENCY_KEY_BYTES_MAX => Ok(Some(key.into())),
        _ => {
            let why = format_args!("must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible characters");
            Err(ApiError::invalid_value(NAME, why))
        }
    }
}

/// JSON, as it is: nothing else, and not compressed. Under Ollama's paths any other name for it will do, as Ollama's own
/// examples give none, unless the request is from a page: a page can send what looks like a form without asking.
fn check_type(parts: &request::Parts) -> Result<(), ApiError> {
    let headers = &parts.headers;
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(ApiError::unsupported_media_type());
    }
    if parts.uri.path().starts_with("/api/") && !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|part| match part.split_once('=') {
        Some((key, value)) if key.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if is_json && is_utf8 {
        return Ok(());
    }
    Err(ApiError::unsupported_media_type())
}
