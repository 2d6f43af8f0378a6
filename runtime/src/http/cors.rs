//! What browsers are told of pages of other origins, as the Fetch standard has it: who may ask, and what such a page may read.
//!
//! Such a page may send any header, since clients have many of their own (`x-stainless-…`, `anthropic-…`), and read every
//! header of an answer. Invariants: nothing is told but to origins that the operator named (`origins`); credentials of the
//! browser's own, such as the cookie of a sign-in, are never let in, so that a page of another origin shows a key or nothing.
//! `tower_http`'s layer is not used, since it answers every OPTIONS, and says something of methods to everybody.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::limits::PREFLIGHT_LASTS;

/// Whether a browser asks by it what a page may do.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What is answered then.
pub(super) fn allowed(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        headers.append(header::VARY, HeaderValue::from_name(header::ACCESS_CONTROL_REQUEST_HEADERS));
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_LASTS.as_secs()));
    response
}

/// The answer to a page of this origin, which may ask.
pub(super) fn told_to(origin: HeaderValue, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    response
}
