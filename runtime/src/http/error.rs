//! What a client is told when something goes wrong: one type, one envelope for each interface (OpenAI's here, the others in
//! [`envelope`]), one name for each cause.
//!
//! Each constructor is named by what happened and fixes status, `type` and `code` together, so that no handler can
//! combine them wrongly. They stand by whose it is: the request's (`request`), the tenant's (`tenants`), the server's, or
//! nobody's (`server`). The client sees the message; the source is for the log.
//!
//! Deliberately absent: how an error of another crate becomes one of these (the handler that meets it knows), and
//! headers other than `Retry-After`.

pub(crate) mod envelope;
mod request;
mod server;
mod tenants;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::limits::ERROR_PARAM_CHARS_MAX;

/// An error on its way to a client.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: ErrorKind,
    code: &'static str,
    param: Option<String>,
    message: String,
    retry_after: Option<Duration>,
    /// Where more is told.
    location: Option<Box<str>>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The envelope's `type`: whose fault it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ErrorKind {
    /// The request's: sent again unchanged, it fails again.
    InvalidRequest,
    /// The tenant's: there are too many of them, or they use too much.
    RateLimit,
    /// Nobody's: it may work later.
    ServiceUnavailable,
    /// The server's or the model's.
    Server,
}

impl ErrorKind {
    /// Its name in the envelope.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::RateLimit => "rate_limit_error",
            Self::ServiceUnavailable => "service_unavailable_error",
            Self::Server => "server_error",
        }
    }
}

impl ApiError {
    /// The HTTP status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The cause's name, for clients, metrics and the log.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// Whether the same may go well later.
    pub(crate) fn is_retryable(&self) -> bool {
        self.retry_after.is_some() || self.status == StatusCode::GATEWAY_TIMEOUT
    }

    /// The error as OpenAI's envelope: a response's body, or the data of an event once a stream has begun.
    pub(crate) fn envelope(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind.name(),
            "param": self.param,
            "code": self.code,
        } })
    }

    /// Writes what is not the client's fault to the log, sources included.
    pub(crate) fn log(&self) {
        if matches!(self.kind, ErrorKind::InvalidRequest | ErrorKind::RateLimit) {
            return;
        }
        let mut reasons = String::new();
        let mut source = self.source();
        while let Some(error) = source {
            reasons.push_str(": ");
            reasons.push_str(&error.to_string());
            source = error.source();
        }
        match self.kind {
            ErrorKind::Server => tracing::error!(code = self.code, "{}{reasons}", self.message),
            _ => tracing::warn!(code = self.code, "{}{reasons}", self.message),
        }
    }

    /// Keeps the error below for the log.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    fn new(status: StatusCode, kind: ErrorKind, code: &'static str, message: String) -> Self {
        Self { status, kind, code, param: None, message, retry_after: None, location: None, source: None }
    }

    fn invalid(status: StatusCode, code: &'static str, message: String) -> Self {
        Self::new(status, ErrorKind::InvalidRequest, code, message)
    }

    fn unavailable(code: &'static str, message: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::ServiceUnavailable, code, message)
    }

    fn server(code: &'static str, message: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Server, code, message)
    }

    fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    fn later(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let mut response = (self.status, axum::Json(self.envelope())).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds_rounded_up(wait)));
        }
        if let Some(location) = self.location.as_deref().and_then(|location| HeaderValue::try_from(location).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        // For whoever tells it in the words of another interface.
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Whole seconds that are never too early, and never zero: a client must not try again at once.
fn seconds_rounded_up(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// The name of a field as it is told back: a client may have sent megabytes of it.
fn shortened(param: impl Into<String>) -> String {
    let mut param = param.into();
    if let Some((end, _)) = param.char_indices().nth(ERROR_PARAM_CHARS_MAX) {
        param.truncate(end);
        param.push('…');
    }
    param
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{StatusCode, header};
    use axum::response::IntoResponse;
    use serde_json::json;

    use super::ApiError;

    #[test]
    fn the_envelope_is_openai_s() {
        let error = ApiError::invalid_type("messages[0].role", "a string");
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            error.envelope(),
            json!({"error": {
                "message": "`messages[0].role` must be a string",
                "type": "invalid_request_error",
                "param": "messages[0].role",
                "code": "invalid_type",
            }})
        );
        assert_eq!(ApiError::invalid_api_key().envelope()["error"]["param"], json!(null));
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_too_early() {
        for (wait_ms, expected) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (30_000, "30")] {
            let response = ApiError::overloaded(Duration::from_millis(wait_ms)).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], expected, "{wait_ms} ms");
        }
        assert!(!ApiError::shutting_down().into_response().headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn a_source_is_for_the_log_alone() {
        let error = ApiError::internal(std::io::Error::other("secret path"));
        assert!(!error.envelope().to_string().contains("secret"));
        assert_eq!(std::error::Error::source(&error).expect("kept").to_string(), "secret path");
    }

    #[test]
    fn a_long_name_is_told_back_short() {
        let long = "é".repeat(100_000);
        assert!(ApiError::unsupported_field(long.clone()).envelope().to_string().len() < 2_000);
        assert!(ApiError::model_not_found(&long).envelope().to_string().len() < 2_000);
    }
}
