//! A request's body, within bounds of size, time and memory.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::error::ApiError;
use crate::app::App;
use crate::limits::{BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_READ_MAX};
use tokio::sync::Semaphore;

/// Bytes of all bodies at once, in KiB.
static BODIES_KIB: Semaphore = Semaphore::const_new(BODIES_BYTES_MAX / 1024);

/// The bytes of a JSON body.
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _app: &Arc<App>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        check_type(&parts.headers)?;
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = declared.unwrap_or(BODY_BYTES_MAX);
        if bytes > BODY_BYTES_MAX {
            return Err(ApiError::payload_too_large(BODY_BYTES_MAX));
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let read = async {
            let permit = BODIES_KIB.acquire_many(kib).await.map_err(ApiError::internal)?;
            let read = read(body).await;
            drop(permit);
            read
        };
        tokio::time::timeout(BODY_READ_MAX, read).await.map_err(|_| ApiError::request_timeout())?.map(Self)
    }
}

async fn read(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::payload_too_large(BODY_BYTES_MAX)),
        Err(error) => Err(ApiError::invalid_json(format!("the body could not be read: {error}"))),
    }
}

/// JSON, as it is: nothing else, and not compressed.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(ApiError::unsupported_media_type());
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
