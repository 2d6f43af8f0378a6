//! What whoever asks is told when it may not, or not so much, or has asked before.

use std::error::Error;
use std::time::Duration;

use axum::http::StatusCode;

use super::{ApiError, ErrorKind, seconds_rounded_up};

/// Who may not.
impl ApiError {
    /// No key, or none that is known: alike in every byte.
    pub(crate) fn invalid_api_key() -> Self {
        Self::invalid(StatusCode::UNAUTHORIZED, "invalid_api_key", "a valid API key is needed".to_owned())
    }

    /// The key is not for this.
    pub(crate) fn insufficient_scope(scope: &str) -> Self {
        let message = format!("this key is not for that: it needs the scope `{scope}`");
        Self::invalid(StatusCode::FORBIDDEN, "insufficient_scope", message)
    }

    /// Which keys there are cannot be read, so nobody is let in by one.
    pub(crate) fn keys_unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::unavailable("keys_unavailable", "the keys cannot be read".to_owned()).because(source)
    }
}

/// What is too much for a tenant.
impl ApiError {
    /// More requests, or tokens, than its rate.
    pub(crate) fn rate_limited(of: &str, wait: Duration) -> Self {
        let message = format!("the rate limit of {of} is reached: try again in {} s", seconds_rounded_up(wait));
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::RateLimit, "rate_limit_exceeded", message).later(wait)
    }

    /// Its budget is spent. Without Retry-After: whoever tries again by itself is not to do that for hours.
    pub(crate) fn insufficient_quota(budget: &str, anew_in: Duration) -> Self {
        let seconds = seconds_rounded_up(anew_in);
        let message = format!("the budget of {budget} is used up; it begins anew in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::RateLimit, "insufficient_quota", message)
    }
}

/// What was asked before.
impl ApiError {
    /// The first request with this key goes on.
    pub(crate) fn idempotency_key_in_use(id: &str) -> Self {
        let message = format!("the request {id} had this Idempotency-Key before, and goes on");
        Self::repeated("idempotency_key_in_use", id, message)
    }

    /// The first request with this key is over.
    pub(crate) fn idempotency_key_used(id: &str, outcome: &str) -> Self {
        let message = format!(
            "the request {id} had this Idempotency-Key before, and is {outcome}: it is charged once, by its receipt; its \
             answer is not kept"
        );
        Self::repeated("idempotency_key_used", id, message)
    }

    fn repeated(code: &'static str, id: &str, message: String) -> Self {
        let location = Some(format!("/v1/usage/{id}").into());
        Self { location, ..Self::invalid(StatusCode::CONFLICT, code, message) }.about("Idempotency-Key")
    }
}
