//! What a client is told when its request is wrong.

use std::fmt::Display;

use axum::http::StatusCode;

use super::{ApiError, shortened};
use crate::limits::{CONTEXT_NAME_CHARS_MAX, MODEL_NAME_CHARS_MAX};

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

    /// A field that means nothing here, which the operator could let pass.
    pub(crate) fn unknown_field(param: impl Into<String>) -> Self {
        let param = shortened(param);
        let message = format!(
            "`{param}` is not supported: leave it out, or let fields that mean nothing here pass by `unknown_fields = \"accept\"` \
             in the server's configuration"
        );
        Self::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message).about(param)
    }

    /// A field that asks for what this server cannot do, and what to do about it.
    pub(crate) fn unsupported_value(param: impl Into<String>, why: impl Display) -> Self {
        let param = shortened(param);
        let message = format!("`{param}`: {why}");
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

    /// There is no such receipt, or none that this client may see: alike in every byte.
    pub(crate) fn receipt_not_found() -> Self {
        let message = "there is no request with this id, or it is another tenant's";
        Self::invalid(StatusCode::NOT_FOUND, "not_found", message.to_owned())
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

    /// The tenant may not go first.
    pub(crate) fn tier_not_open(param: &str) -> Self {
        Self::permission_denied("this service tier is not open to this tenant").about(param)
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
        let message = "there is nothing at this path: OpenAI's and Anthropic's begin with /v1 (once), Ollama's with /api, and \
                       `GET /openapi.json` tells all of them";
        Self::invalid(StatusCode::NOT_FOUND, "not_found", message.to_owned())
    }

    /// The path does not answer this method. The router adds `Allow`.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "this path does not answer this method".to_owned();
        Self::invalid(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// Another server does this at this path; this one does not.
    pub(crate) fn not_supported(why: impl Display) -> Self {
        Self::invalid(StatusCode::NOT_IMPLEMENTED, "not_supported", why.to_string())
    }

    /// The model's files are not this server's to delete.
    pub(crate) fn model_not_deletable(why: impl Display) -> Self {
        Self::invalid(StatusCode::CONFLICT, "model_not_deletable", why.to_string()).about("model")
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
