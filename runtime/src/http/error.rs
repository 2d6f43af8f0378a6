//! What a client is told when something goes wrong: one type, one envelope (OpenAI's), one name for each cause.
//!
//! Each constructor is named by what happened and fixes status, `type` and `code` together, so that no handler can
//! combine them wrongly. The client sees the message; the source is for the log.
//!
//! Deliberately absent: how an error of another crate becomes one of these (the handler that meets it knows), and
//! headers other than `Retry-After`.

mod tenants;

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use scheduler::limits::RETRY_AFTER_MIN;
use serde_json::{Value, json};

use crate::limits::{CONTEXT_NAME_CHARS_MAX, ERROR_PARAM_CHARS_MAX, MODEL_NAME_CHARS_MAX};

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

/// What the request got wrong.
impl ApiError {
    /// There is not exactly one Host.
    pub(crate) fn bad_host() -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_host", "a request names exactly one host".to_owned())
    }

    /// The body is no JSON object in UTF-8.
    pub(crate) fn invalid_json(why: impl Display) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not a valid JSON object: {why}"))
    }

    /// A field has the wrong type. `expected` completes "`param` must be …".
    pub(crate) fn invalid_type(param: impl Into<String>, expected: impl Display) -> Self {
        let param = shortened(param);
        let message = format!("`{param}` must be {expected}");
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_type", message).about(param)
    }

    /// A field has the right type and an impossible value.
    pub(crate) fn invalid_value(param: impl Into<String>, why: impl Display) -> Self {
        let param = shortened(param);
        let message = format!("`{param}`: {why}");
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_value", message).about(param)
    }

    /// A field that every such request needs is not there.
    pub(crate) fn missing_field(param: impl Into<String>) -> Self {
        let param = shortened(param);
        let message = format!("`{param}` is missing");
        Self::invalid(StatusCode::BAD_REQUEST, "missing_required_parameter", message).about(param)
    }

    /// A field that this server does not know, or that asks for what it cannot do.
    pub(crate) fn unsupported_field(param: impl Into<String>) -> Self {
        let param = shortened(param);
        let message = format!("`{param}` is not supported, or not with this value");
        Self::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message).about(param)
    }

    /// A schema or a grammar cannot be kept to, or not within its bounds.
    pub(crate) fn invalid_schema(param: impl Into<String>, why: impl Display) -> Self {
        let param = shortened(param);
        let message = format!("`{param}`: {why}");
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_schema", message).about(param)
    }

    /// An answer came to where its grammar takes more than its bounds, or leads nowhere.
    pub(crate) fn grammar_failed(why: impl Display) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_schema", why.to_string())
    }

    /// A message's content is something else than text.
    pub(crate) fn unsupported_content(param: impl Into<String>) -> Self {
        let param = shortened(param);
        let message = format!("`{param}` holds something else than text, which no model here reads");
        Self::invalid(StatusCode::BAD_REQUEST, "unsupported_content", message).about(param)
    }

    /// There is no such model, or none that this client may use: alike in every byte.
    pub(crate) fn model_not_found(name: &str) -> Self {
        let name: String = name.chars().take(MODEL_NAME_CHARS_MAX).collect();
        let message = format!("the model `{name}` does not exist or is not open to you");
        Self::invalid(StatusCode::NOT_FOUND, "model_not_found", message).about("model")
    }

    /// There is no such context.
    pub(crate) fn context_not_found(name: &str) -> Self {
        let name: String = name.chars().take(CONTEXT_NAME_CHARS_MAX).collect();
        let message = format!("there is no context `{name}`");
        Self::invalid(StatusCode::NOT_FOUND, "context_not_found", message).about("context")
    }

    /// Contexts of several models have this name.
    pub(crate) fn context_ambiguous(name: &str) -> Self {
        let message = format!("contexts of several models are called `{name}`: use an id");
        Self::invalid(StatusCode::CONFLICT, "context_ambiguous", message).about("context")
    }

    /// The tenant may not do this.
    pub(crate) fn permission_denied(why: impl Display) -> Self {
        Self::invalid(StatusCode::FORBIDDEN, "permission_denied", why.to_string())
    }

    /// The model that someone wants loaded cannot be.
    pub(crate) fn model_file_invalid(why: impl Display) -> Self {
        let message = format!("the model's file cannot be used: {why}");
        Self::invalid(StatusCode::BAD_REQUEST, "model_file_invalid", message).about("model")
    }

    /// The model stays because someone pinned it.
    pub(crate) fn model_pinned(name: &str) -> Self {
        let name: String = name.chars().take(MODEL_NAME_CHARS_MAX).collect();
        let message = format!("the model `{name}` is pinned; unpin it first");
        Self::invalid(StatusCode::CONFLICT, "model_pinned", message).about("model")
    }

    /// What is pinned leaves no room for that budget.
    pub(crate) fn budget_too_small(why: impl Display) -> Self {
        Self::invalid(StatusCode::CONFLICT, "budget_too_small", why.to_string()).about("memory_budget")
    }

    /// The model does something else than what this path is for.
    pub(crate) fn wrong_model(why: impl Display) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "model_not_suitable", why.to_string()).about("model")
    }

    /// The prompt, or prompt and answer together, are longer than the context. `param` is the field to shorten.
    pub(crate) fn context_length_exceeded(param: impl Into<String>, why: impl Display) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "context_length_exceeded", why.to_string()).about(param)
    }

    /// A host, origin or action that is not allowed.
    pub(crate) fn forbidden(why: impl Display) -> Self {
        Self::invalid(StatusCode::FORBIDDEN, "forbidden", why.to_string())
    }

    /// There is nothing at this path.
    pub(crate) fn not_found() -> Self {
        Self::invalid(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path".to_owned())
    }

    /// The path does not answer this method. The router adds `Allow`.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "this path does not answer this method".to_owned();
        Self::invalid(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// The body's type or coding is not read here.
    pub(crate) fn unsupported_media_type() -> Self {
        let message = "the body must be `application/json` without a content coding".to_owned();
        Self::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// The body is longer than `max_bytes`.
    pub(crate) fn payload_too_large(max_bytes: usize) -> Self {
        let message = format!("the body is longer than {max_bytes} bytes");
        Self::invalid(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// The body did not arrive in time.
    pub(crate) fn request_timeout() -> Self {
        Self::invalid(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not arrive in time".to_owned())
    }
}

/// What may work later.
impl ApiError {
    /// Every place in a queue is taken.
    pub(crate) fn overloaded(retry_after: Duration) -> Self {
        let message = "the server has more work than it can queue".to_owned();
        Self::unavailable("server_is_overloaded", message).later(retry_after)
    }

    /// The model's file failed to load, or failed at work, and is not tried again yet.
    pub(crate) fn model_quarantined(retry_after: Duration, why: impl Display) -> Self {
        let message = format!("the model is set aside after a failure: {why}");
        Self::unavailable("model_quarantined", message).about("model").later(retry_after)
    }

    /// The model alone needs more than the memory budget.
    pub(crate) fn model_too_large(why: impl Display) -> Self {
        Self::unavailable("model_too_large", why.to_string()).about("model")
    }

    /// No receipt can be written, so no answer is given.
    pub(crate) fn ledger_unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::unavailable("ledger_unavailable", "the ledger cannot be written".to_owned()).because(source)
    }

    /// Everything that may be kept of contexts is: one has to be deleted first.
    pub(crate) fn contexts_full(why: impl Display) -> Self {
        let message = format!("there is no room for the context: {why}");
        Self::new(StatusCode::INSUFFICIENT_STORAGE, ErrorKind::ServiceUnavailable, "contexts_full", message)
    }

    /// A context's file cannot be written.
    pub(crate) fn context_not_stored(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::unavailable("context_not_stored", "the context's file cannot be written".to_owned()).because(source)
    }

    /// The server drains.
    pub(crate) fn shutting_down() -> Self {
        Self::unavailable("shutting_down", "the server is shutting down".to_owned())
    }
}

/// What the server or the model got wrong.
impl ApiError {
    /// The request's time was over before its answer.
    pub(crate) fn deadline_passed() -> Self {
        let message = "the request's time was over before its answer".to_owned();
        Self::new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::Server, "deadline_exceeded", message)
    }

    /// A step of the model did not return.
    pub(crate) fn engine_timeout() -> Self {
        let message = "the model's computation did not return".to_owned();
        Self::new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::Server, "engine_timeout", message)
    }

    /// The model's file changed under the running model.
    pub(crate) fn model_file_changed() -> Self {
        Self::server("model_file_changed", "the model's file changed while it was being read".to_owned())
    }

    /// The file of a published context, which is a part of the model for whoever reads it, changed under them.
    pub(crate) fn context_file_changed() -> Self {
        let message = "the context's file changed while it was being read: the same request computes it".to_owned();
        Self::server("model_file_changed", message)
    }

    /// The model computed something that is no number.
    pub(crate) fn non_finite_logits() -> Self {
        Self::server("non_finite_logits", "the model's logits are not finite".to_owned())
    }

    /// The model computed a vector or score that is no number.
    pub(crate) fn non_finite_vector() -> Self {
        Self::server("non_finite_vector", "the model's vectors are not finite".to_owned())
    }

    /// The model's chat template took more than its budget, or failed.
    pub(crate) fn template_budget(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::server("template_budget", "the model's chat template does not end within its budget".to_owned())
            .because(source)
    }

    /// The engine panicked; the request is lost, the server is not.
    pub(crate) fn engine_panicked(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::server("engine_panicked", "the engine failed at this request".to_owned()).because(source)
    }

    /// The device could not compute a step: its memory is used up, or it is gone. Another try may meet another device.
    pub(crate) fn device_failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::unavailable("device_failed", "the device could not compute this request".to_owned())
            .later(RETRY_AFTER_MIN)
            .because(source)
    }

    /// The model could not be loaded now, for no fault of its file. Another try may succeed.
    pub(crate) fn load_failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::unavailable("model_load_failed", "the model could not be loaded now".to_owned())
            .later(RETRY_AFTER_MIN)
            .because(source)
    }

    /// A bug, or a failure of the machine. The client is not told more.
    pub(crate) fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::server("internal_error", "the server failed at this request".to_owned()).because(source)
    }
}

impl ApiError {
    /// The HTTP status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The cause's name, for clients and metrics.
    #[cfg(test)]
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
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(&*location).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
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
