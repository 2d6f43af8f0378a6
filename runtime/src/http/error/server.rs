//! What a client is told when the server or the model is at fault, or nobody is and it may work later.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use axum::http::StatusCode;
use scheduler::limits::RETRY_AFTER_MIN;

use super::{ApiError, ErrorKind};

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

    /// Something that every request needs does not answer.
    pub(crate) fn not_ready(what: impl Display) -> Self {
        Self::unavailable("not_ready", format!("not ready: {what}"))
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
    pub(crate) fn engine_panicked() -> Self {
        Self::server("engine_panicked", "the engine failed at this request".to_owned())
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

    /// A model could not be brought. `why` holds no secret of an address.
    pub(crate) fn pull_failed(why: impl Display, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let message = format!("the model could not be pulled: {why}");
        Self::new(StatusCode::BAD_GATEWAY, ErrorKind::ServiceUnavailable, "pull_failed", message)
            .about("model")
            .because(source)
    }

    /// Whoever asked has left, or took nothing for too long: nothing failed, and no alert is about it.
    pub(crate) fn cancelled(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::server("request_cancelled", "the request was cancelled".to_owned()).because(why)
    }

    /// A bug, or a failure of the machine. The client is not told more.
    pub(crate) fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::server("internal_error", "the server failed at this request".to_owned()).because(source)
    }
}
