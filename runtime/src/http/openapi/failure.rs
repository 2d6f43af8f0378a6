//! Errors, as answers of a route: in the words of its interface.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{Content, Response, ResponseBuilder};

use super::form::{Form, either, named, text};
use super::operation::{JSON, RATES, REQUEST_ID, shared_header};
use crate::http::error::envelope::Envelope;

/// Whose words an error of a route at `path` has, and its form in them.
pub(super) fn form(path: &str) -> (String, Form) {
    let name = |envelope: Envelope| match envelope {
        Envelope::OpenAi => "OpenAi",
        Envelope::Ollama => "Ollama",
        Envelope::Anthropic => "Anthropic",
        Envelope::LlamaCpp => "LlamaCpp",
    };
    let named_by = |envelope: Envelope| named(&format!("{}Error", name(envelope)));
    let usual = Envelope::of(path, &HeaderMap::new());
    let anthropic =
        HeaderMap::from_iter([(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"))]);
    match Envelope::of(path, &anthropic) {
        other if other != usual => {
            (format!("{}Or{}", name(usual), name(other)), either("", [named_by(usual), named_by(other)]))
        }
        _ => (name(usual).to_owned(), named_by(usual)),
    }
}

/// An error of this status, in that form.
pub(super) fn response(status: StatusCode, form: Form) -> Response {
    let mut response = ResponseBuilder::new().description(why(status)).content(JSON, Content::new(Some(form)));
    let rates = if status == StatusCode::TOO_MANY_REQUESTS { &RATES[..] } else { &[] };
    for name in rates.iter().chain([&REQUEST_ID]) {
        response = response.header_ref(*name, shared_header(name));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let retry =
            HeaderBuilder::new().schema(Some(text("Whole seconds after which it may go well, where that is known.")));
        response = response.header("Retry-After", retry.build());
    }
    if status == StatusCode::CONFLICT {
        let place =
            HeaderBuilder::new().schema(Some(text("The receipt of the first request with this Idempotency-Key.")));
        response = response.header("Location", place.build());
    }
    response.build()
}

/// What a status means here.
fn why(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "The request cannot be read or honoured; the field is named where there is one.",
        StatusCode::UNAUTHORIZED => "No key, or none that is known.",
        StatusCode::FORBIDDEN => "The host or origin is foreign, or the key is not for this.",
        StatusCode::NOT_FOUND => "There is no such thing, or none that is open to this key.",
        StatusCode::REQUEST_TIMEOUT => "The body did not arrive in time.",
        StatusCode::CONFLICT => "It was asked before with this Idempotency-Key, or what there is stands against it.",
        StatusCode::PAYLOAD_TOO_LARGE => "The body is too long.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "The body is not JSON, or is compressed.",
        StatusCode::TOO_MANY_REQUESTS => "A rate is reached, or a budget spent.",
        StatusCode::INTERNAL_SERVER_ERROR => "The server or the model failed at this request.",
        StatusCode::NOT_IMPLEMENTED => "Another server does this at this path; this one does not.",
        StatusCode::BAD_GATEWAY => "The model could not be brought from where it is.",
        StatusCode::SERVICE_UNAVAILABLE => "It may work later: too much work, no room, or the model is set aside.",
        StatusCode::GATEWAY_TIMEOUT => "The time was over before the answer.",
        StatusCode::INSUFFICIENT_STORAGE => "There is no room for another context.",
        _ => "It failed.",
    }
}
